"""One run: a split, a normaliser fitted on its training samples, a network, its attributions."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pixfold.errors import InputError
from pixfold.layout import Layout
from pixfold.learn import backbones
from pixfold.learn.accept import by_group, chance_p_value, correlation_p_value
from pixfold.learn.attribute import attribute_quantity
from pixfold.learn.attribution.choices import coarse, refuse, target_of
from pixfold.learn.consensus import RunImportance
from pixfold.learn.evidence import merged, of_classes, standard_errors
from pixfold.learn.hidden import latent_space
from pixfold.learn.job import Job
from pixfold.learn.keep import Keep
from pixfold.learn.latent import attribute_latent, n_directions
from pixfold.learn.outcome import RunOutcome
from pixfold.learn.predict import in_order, outputs, predict_proba
from pixfold.learn.results import classification_metrics, regression_metrics
from pixfold.learn.split import Split, split, split_groups
from pixfold.learn.torch_settings import torch_settings
from pixfold.learn.train import Weights, train, train_autoencoder, train_quantity
from pixfold.learn.training_options import TrainingOptions
from pixfold.learn.training_result import TrainingResult
from pixfold.learn.unit import Unit
from pixfold.loader import FoldLoader
from pixfold.normalize.normalizer import Normalizer
from pixfold.ops import AttributionAccumulator
from pixfold.util.progress import Progress, tracked
from pixfold.util.text import counted, listed


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One run's split, layout, normaliser and loaders.

    Where processes share the samples of a run, each of them has a part of every training batch, and a part of the
    validation and test samples.
    """

    number: int
    seed: int
    started: float
    split: Split
    layout: Layout
    normalizer: Normalizer
    options: TrainingOptions
    train: FoldLoader
    validation: FoldLoader
    test: FoldLoader
    messages: list[str]
    keep: Keep

    def outcome(self, result: TrainingResult, metrics: dict[str, Any], **found: Any) -> RunOutcome:
        """Put together what came of the run."""
        losses = [row["validation_loss"] for row in result.history if "validation_loss" in row]
        return RunOutcome(
            number=self.number,
            layout=self.layout,
            normalizer=self.normalizer,
            module=result.module,
            history=[{"run": self.number, **row} for row in result.history],
            metrics={
                "run": self.number,
                "seed": self.seed,
                **metrics,
                "best_epoch": result.best_epoch,
                "stopped": result.stopped,
                "training_seconds": result.seconds,
                "seconds": time.perf_counter() - self.started,
                "device": result.device,
                "precision": result.precision,
                **({} if result.micro_batch is None else {"micro_batch": result.micro_batch}),
            },
            test=self.split.test,
            score=min((loss for loss in losses if np.isfinite(loss)), default=float("inf")),
            messages=self.messages,
            **found,
        )


def set_up(job: Job, run: int) -> Setting:
    """Split the samples of a run, fit its normaliser, make its loaders."""
    started = time.perf_counter()
    seed, layout, parts = job.seed_of(run), job.layout_of(run), _split(job, run)
    peers = job.peers
    for name, part in (("validation", parts.validation), ("test", parts.test)):
        if 0 < len(part) < peers.size:
            raise InputError(
                f"{job.source.name}: processes that share samples must have a {name} sample each, got "
                f"{counted(len(part), name + ' sample')} for {peers.size} of them: share runs, or start fewer"
            )
    normalizer = job.fitted(parts.train, peers)

    def own(positions: NDArray[np.int64]) -> FoldLoader:
        return job.loader(layout, normalizer, positions[peers.part(len(positions))])

    return Setting(
        number=run,
        seed=seed,
        started=started,
        split=parts,
        layout=layout,
        normalizer=normalizer,
        options=replace(job.options.training, seed=seed),
        train=job.loader(layout, normalizer, parts.train, shuffle="auto", seed=seed, peers=peers),
        validation=own(parts.validation),
        test=own(parts.test),
        messages=[*parts.messages, *never_seen(job, normalizer), *_coarse(job)],
        keep=Keep(job.slot(f"run-{run}-epoch"), job.log, run),
    )


def _split(job: Job, run: int) -> Split:
    prepared, seed = job.prepared, job.seed_of(run)
    fractions, names = job.options.fractions, prepared.class_names
    labels = prepared.labels
    if job.groups is not None and labels is not None:
        return split_groups(labels, job.groups, fractions=fractions, seed=seed, class_names=names)
    if labels is not None and prepared.is_quantity:
        return replace(split(len(labels), _bins(labels), fractions=fractions, seed=seed), messages=[])
    return split(len(prepared.rows), labels, fractions=fractions, seed=seed, class_names=names)


def normalizer_of(job: Job, run: int) -> Normalizer:
    """Fit the normaliser of a run again, whose outcome was kept without it."""
    return job.fitted(_split(job, run).train, job.peers)


def _coarse(job: Job) -> list[str]:
    """Tell the user where a method says less than one value for each feature."""
    said = None if job.options.method is None else coarse(job.options.method)
    return [] if said is None else [said]


def _bins(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Bins of a quantity, each of 20 samples or more, of which all parts of a split get their share."""
    n = int(np.clip(len(values) // 20, 1, 10))
    return np.searchsorted(np.quantile(values, np.arange(1, n) / n), values, side="right").astype(np.int64)


def network_of(job: Job, run: int) -> nn.Module:
    """Build the network of a run as it is before its training."""
    shape, seed = job.layout_of(run).shape, job.seed_of(run)
    if job.prepared.labels is None:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return backbones.autoencoder(job.options.backbone, shape, job.options.latent_dim)
    n_outputs = 1 if job.prepared.is_quantity else job.n_classes
    return backbones.build(job.options.backbone, shape=shape, n_outputs=n_outputs, seed=seed)


def never_seen(job: Job, normalizer: Normalizer) -> list[str]:
    """Tell the user of features that are used and have values, but none in the training samples."""
    names = [job.source.feature_names[j] for j in np.flatnonzero(normalizer.never_seen() & job.prepared.keep)]
    if not names:
        return []
    n = counted(len(names), "feature")
    return [f"{n} ({listed(names)}) had no value in the training samples of a run, which took 0 for all their values"]


def classify(job: Job, run: int) -> RunOutcome:
    """Train a classifier on a new split and attribute the scores of test samples to their own classes.

    Parameters
    ----------
    job : Job
        With labels.
    run : int
        Number of the run, from 1.

    Returns
    -------
    RunOutcome
        Also for a run that went wrong by itself or is not good enough: its metrics say why.
    """
    s = set_up(job, run)
    assert job.prepared.labels is not None
    labels, k = job.prepared.labels, job.n_classes
    module = _network(job, s, run)
    if job.options.method is not None:  # what it cannot do is said before the training
        refuse(job.source.name, module, job.options.method, _named(job.options.backbone))
        target_of(job.source.name, job.options.target, job.prepared.class_names or ())
    counts = np.bincount(labels[s.split.train], minlength=k, weights=job.weights_of(s.split.train))
    how: dict[str, Any] = {"progress": job.progress, "keep": s.keep, "peers": job.peers}
    how |= {"sample_weights": _weights(job, s.split)}
    result = train(module, s.train, s.validation, s.options, n_classes=k, class_counts=counts, **how)
    probabilities, predicted = _predict(result.module, s.test, s.options, job)
    _, predicted_validation = _predict(result.module, s.validation, s.options, job)
    scores = classification_metrics(labels[s.split.test], predicted, k, job.prepared.class_names)
    held_out = np.concatenate([labels[s.split.validation], labels[s.split.test]])
    guessed = np.concatenate([predicted_validation, predicted])
    accuracy = float(np.mean(held_out == guessed))
    positions = np.concatenate([s.split.validation, s.split.test])
    groups = None if job.groups is None else job.groups[positions]
    p_value = chance_p_value(*by_group(held_out, guessed, groups), k, s.seed)
    importance = z = falls = None
    of_attribution: dict[str, Any] = {}
    if result.rejected is None:
        found = of_classes(job, result.module, s.layout, s.normalizer, s.split, s.options)
        importance, z, falls, of_attribution = found.importance, found.z, found.falls, found.metrics
    return s.outcome(
        result,
        {
            "accepted": result.rejected is None,
            "reason": result.rejected,
            "held_out_accuracy": accuracy,
            "p_value": p_value,
            **scores,
            **of_attribution,
        },
        importance=importance,
        probabilities=probabilities,
        z=z,
        falls=falls,
    )


def _weights(job: Job, parts: Split) -> Weights | None:
    """Weights of the training samples and of this process's validation samples; None where all count alike."""
    if job.weights is None:
        return None
    own = parts.validation[job.peers.part(len(parts.validation))]
    return job.weights[parts.train], job.weights[own]


def _network(job: Job, s: Setting, run: int) -> nn.Module:
    """Build the network of a run, with weights from a file where the job has one."""
    module = network_of(job, run)
    if job.options.weights is not None:
        s.messages.append(backbones.take_weights(module, job.options.weights))
    return module


def _named(backbone: Any) -> str:
    """Name of a backbone, for messages."""
    return backbone if isinstance(backbone, str) else getattr(backbone, "__name__", type(backbone).__name__)


def _predict(
    module: nn.Module, batches: FoldLoader, options: TrainingOptions, job: Job
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Probabilities and predicted classes, in the order of the samples, of all processes that share them."""
    probabilities = job.peers.rows(in_order(*predict_proba(module, batches, options, job.progress)))
    return probabilities, probabilities.argmax(axis=1)


def regress(job: Job, run: int) -> RunOutcome:
    """Train a network of one output on a new split, and attribute what it says of test samples.

    Parameters
    ----------
    job : Job
        With a quantity.
    run : int
        Number of the run, from 1.

    Returns
    -------
    RunOutcome
        Also for a run that went wrong by itself: its metrics say why.
    """
    s = set_up(job, run)
    assert job.prepared.labels is not None
    known, test = job.prepared.labels, s.split.test
    unit = Unit.of(known[s.split.train])
    module = _network(job, s, run)
    values = unit.of_values(known).astype(np.float32)
    how: dict[str, Any] = {"progress": job.progress, "keep": s.keep, "peers": job.peers}
    how |= {"sample_weights": _weights(job, s.split)}
    result = train_quantity(module, s.train, s.validation, s.options, values=values, **how)
    said = job.peers.rows(in_order(*outputs(result.module, s.test, s.options, job.progress)))[:, 0]
    predicted = unit.center + unit.scale * said.astype(np.float64)
    importance = z = None
    if result.rejected is None:
        slopes, found, pixels = (AttributionAccumulator(s.layout, 1) for _ in range(3))
        centred = values - values[test].mean()
        if (weights := job.weights_of(test)) is not None:
            centred = values - np.average(values[test], weights=weights).astype(np.float32)
            centred[test] *= (weights / weights.mean()).astype(np.float32)
        n_used = attribute_quantity(
            result.module, s.test, found, slopes, pixels, values=centred, options=s.options, progress=job.progress
        )
        says, slope, shown = (merged(each, job.peers).result() for each in (found, slopes, pixels))
        n_used = sum(job.peers.sizes(n_used))
        importance = RunImportance(
            says.mean[0], says.mean, says.mean_abs, n_used, says.count, slope.importance, slope.mean
        )
        z = standard_errors(slope.mean, shown)
    return s.outcome(
        result,
        {
            "accepted": result.rejected is None,
            "reason": result.rejected,
            "p_value": correlation_p_value(known[test], predicted),
            **regression_metrics(known[test], predicted),
        },
        importance=importance,
        probabilities=None,
        z=z,
        predicted=predicted,
        target=(unit.center, unit.scale),
    )


def autoencode(job: Job, run: int) -> RunOutcome:
    """Train an auto-encoder on a new split and attribute its latent space on test samples.

    Parameters
    ----------
    job : Job
        Without labels.
    run : int
        Number of the run, from 1.

    Returns
    -------
    RunOutcome
        Also for a run that went wrong by itself or that explains nothing: its metrics say why.
    """
    s = set_up(job, run)
    module = network_of(job, run)
    assert isinstance(module, backbones.Autoencoder)  # without labels it is one
    latent_space(module, job.options.latent_layer)  # a layer that is not there is said before the training
    mask = (s.layout.feature_of_pixel >= 0).reshape(s.layout.shape)
    how: dict[str, Any] = {"progress": job.progress, "keep": s.keep, "peers": job.peers}
    result = train_autoencoder(module, s.train, s.validation, s.options, mask=mask, **how)
    # Directions of the latent space are those of all test samples: every process goes through all of them.
    test = job.loader(s.layout, s.normalizer, s.split.test)
    loss, explained = _reconstruction(result.module, test, s.layout, s.options, job.progress)
    reason = result.rejected or (None if explained > 0 else "the reconstruction explains no variance")
    importance = None
    if reason is None:
        latent = latent_space(result.module, job.options.latent_layer)
        n = n_directions(latent)
        accumulator = AttributionAccumulator(s.layout, n)
        attribute_latent(
            latent,
            test,
            accumulator,
            method=job.options.method or "input_x_gradient",
            options=s.options,
            progress=job.progress,
        )
        empty = np.empty((0, s.layout.n_features))
        # Directions are weighted by their spread, so their sum is what the latent space as a whole says.
        importance = RunImportance(accumulator.result().mean_abs.sum(axis=0), empty, empty, test.n_samples)
    return s.outcome(
        result,
        {"accepted": reason is None, "reason": reason, "loss": loss, "explained_variance": explained},
        importance=importance,
        probabilities=None,
    )


def _reconstruction(
    module: nn.Module, batches: FoldLoader, layout: Layout, options: TrainingOptions, progress: Progress
) -> tuple[float, float]:
    """Mean squared error over the features of the samples, and the share of their variance that it leaves out."""
    spread = AttributionAccumulator(layout, 1)
    squares = 0.0
    with torch_settings(options) as device, torch.no_grad():
        module.to(device).eval()
        kept = torch.from_numpy((layout.feature_of_pixel >= 0).reshape(layout.shape)).to(device)
        for images, _, indices in tracked(batches, progress, "reconstruction", len(batches)):
            spread.update(images.cpu(), np.zeros(len(indices), dtype=np.int64))
            error = (module(images.to(device)) - images.to(device)) * kept
            squares += float(error.double().square().sum())
    total = float(spread.result().m2.sum())
    n_values = batches.n_samples * int(kept.sum())
    return squares / n_values, 1.0 - squares / total if total > 0 else 0.0
