"""One run: a split, a normaliser fitted on its training samples, a network, its attributions."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pixfold.layout import Layout
from pixfold.learn import backbones
from pixfold.learn.accept import by_group, chance_p_value, correlation_p_value
from pixfold.learn.attribute import attribute, attribute_evidence, attribute_quantity
from pixfold.learn.consensus import RunImportance
from pixfold.learn.job import Job
from pixfold.learn.latent import attribute_latent, n_directions
from pixfold.learn.predict import in_order, outputs, predict_proba
from pixfold.learn.results import classification_metrics, regression_metrics
from pixfold.learn.split import Split, split, split_groups
from pixfold.learn.torch_settings import torch_settings
from pixfold.learn.train import TrainingResult, train, train_autoencoder, train_quantity
from pixfold.learn.training_options import TrainingOptions
from pixfold.learn.unit import Unit
from pixfold.loader import FoldLoader
from pixfold.normalize.normalizer import Normalizer
from pixfold.ops import AttributionAccumulator
from pixfold.ops.aggregate import AttributionResult
from pixfold.util.progress import Progress, tracked
from pixfold.util.text import counted, listed


@dataclass(frozen=True, kw_only=True)
class RunOutcome:
    """What came of one run.

    Attributes
    ----------
    number : int
        Counted from 1.
    layout, normalizer, module
        Enough to predict with. The module is None for a run whose network is not kept.
    importance : RunImportance or None
        None for a run that is not accepted, or whose importance the consensus has taken.
    history : list of dict
        One row per epoch.
    metrics : dict
        ``run``, ``seed``, ``accepted``, ``reason``, scores on the test samples, ``seconds``.
    test : int64 array
        Positions of the test samples in ``Prepared.rows``.
    probabilities : float32 array (n_test, n_classes) or None
        None without classes.
    score : float
        Best validation loss: the lowest decides which run's model is kept.
    messages : list of str
        What the user should be told.
    z : float64 array (n_features,) or None
        Evidence in units of its standard error over held-out samples; None where there is none.
    predicted : float64 array (n_test,) or None
        The quantity of the test samples as the run says it; None where none is learned.
    target : (float, float) or None
        Center and scale of that quantity: the module's output is in units of the scale.
    """

    number: int
    layout: Layout
    normalizer: Normalizer
    module: nn.Module | None
    importance: RunImportance | None
    history: list[dict[str, Any]]
    metrics: dict[str, Any]
    test: NDArray[np.int64]
    probabilities: NDArray[np.float32] | None
    score: float
    messages: list[str]
    z: NDArray[np.float64] | None = None
    predicted: NDArray[np.float64] | None = None
    target: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class _Setting:
    """One run's split, layout, normaliser and loaders."""

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

    def outcome(self, result: TrainingResult, metrics: dict[str, Any], **found: Any) -> RunOutcome:
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
            },
            test=self.split.test,
            score=min((loss for loss in losses if np.isfinite(loss)), default=float("inf")),
            messages=self.messages,
            **found,
        )


def _set_up(job: Job, run: int) -> _Setting:
    started = time.perf_counter()
    prepared, seed, layout = job.prepared, job.seed_of(run), job.layout_of(run)
    fractions, names = job.options.fractions, prepared.class_names
    labels = prepared.labels
    if job.groups is not None and labels is not None:
        parts = split_groups(labels, job.groups, fractions=fractions, seed=seed, class_names=names)
    elif labels is not None and prepared.is_quantity:
        parts = replace(split(len(labels), _bins(labels), fractions=fractions, seed=seed), messages=[])
    else:
        parts = split(len(prepared.rows), labels, fractions=fractions, seed=seed, class_names=names)
    normalizer = job.fitted(parts.train)

    def loader(positions: NDArray[np.int64], shuffle: bool | str = False) -> FoldLoader:
        return job.loader(layout, normalizer, positions, shuffle=shuffle, seed=seed)

    return _Setting(
        number=run,
        seed=seed,
        started=started,
        split=parts,
        layout=layout,
        normalizer=normalizer,
        options=replace(job.options.training, seed=seed),
        train=loader(parts.train, shuffle="auto"),
        validation=loader(parts.validation),
        test=loader(parts.test),
        messages=[*parts.messages, *never_seen(job, normalizer)],
    )


def _bins(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Bins of a quantity, each of 20 samples or more, of which all parts of a split get their share."""
    n = int(np.clip(len(values) // 20, 1, 10))
    return np.searchsorted(np.quantile(values, np.arange(1, n) / n), values, side="right").astype(np.int64)


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
    s = _set_up(job, run)
    assert job.prepared.labels is not None
    labels, k = job.prepared.labels, job.n_classes
    module = backbones.build(job.options.backbone, shape=s.layout.shape, n_outputs=k, seed=s.seed)
    counts = np.bincount(labels[s.split.train], minlength=k)
    result = train(module, s.train, s.validation, s.options, n_classes=k, class_counts=counts, progress=job.progress)
    probabilities, predicted = _predict(result.module, s.test, s.options, job.progress)
    _, predicted_validation = _predict(result.module, s.validation, s.options, job.progress)
    scores = classification_metrics(labels[s.split.test], predicted, k, job.prepared.class_names)
    held_out = np.concatenate([labels[s.split.validation], labels[s.split.test]])
    guessed = np.concatenate([predicted_validation, predicted])
    accuracy = float(np.mean(held_out == guessed))
    positions = np.concatenate([s.split.validation, s.split.test])
    groups = None if job.groups is None else job.groups[positions]
    p_value = chance_p_value(*by_group(held_out, guessed, groups), k, s.seed)
    importance = z = None
    if result.rejected is None:
        importance, z = _evidence(job, s, result.module)
    return s.outcome(
        result,
        {
            "accepted": result.rejected is None,
            "reason": result.rejected,
            "held_out_accuracy": accuracy,
            "p_value": p_value,
            **scores,
        },
        importance=importance,
        probabilities=probabilities,
        z=z,
    )


def _evidence(job: Job, s: _Setting, module: nn.Module) -> tuple[RunImportance, NDArray[np.float64] | None]:
    """What the test samples say of every feature, and its evidence in standard errors."""
    k, method = job.n_classes, job.options.method
    values, gradients = AttributionAccumulator(s.layout, k), AttributionAccumulator(s.layout, k)
    if method is not None:
        n_used = attribute(module, s.test, values, method=method, options=s.options, progress=job.progress)
        found = values.result()
        return RunImportance(found.importance, found.mean, found.mean_abs, n_used, found.count), None
    pixels = AttributionAccumulator(s.layout, k)
    n_used = attribute_evidence(module, s.test, values, gradients, pixels, options=s.options, progress=job.progress)
    found, slopes, seen_pixels = values.result(), gradients.result(), pixels.result()
    seen = found.count > 0
    evidence = found.mean[seen].sum(axis=0)
    importance = RunImportance(
        evidence, found.mean, found.mean_abs, n_used, found.count, slopes.importance, slopes.mean
    )
    if job.groups is not None:
        return importance, None  # samples of a group are no independent witnesses
    weights = slopes.mean - slopes.mean.mean(axis=0)
    return importance, _z(weights, seen_pixels)


def _z(weights: NDArray[np.float64], pixels: AttributionResult) -> NDArray[np.float64]:
    """Test the direction that the network gives a feature on held-out samples, in standard errors.

    It is the sum over classes of weight x mean pixel. Pixel x gradient itself is no test: where the gradient depends on
    the pixel, because the network bends, its mean is not zero for a feature that has nothing to do with the labels.
    """
    several = pixels.count > 1
    if not several.any():
        return np.zeros(weights.shape[1])
    weights, mean, count = weights[several], pixels.mean[several], pixels.count[several]
    variance = (weights**2 * pixels.m2[several] / (count * (count - 1))[:, None]).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(variance > 0, (weights * mean).sum(axis=0) / np.sqrt(variance), 0.0)


def _predict(
    module: nn.Module, batches: FoldLoader, options: TrainingOptions, progress: Progress
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Probabilities and predicted classes, in the order of the loader's rows."""
    probabilities = in_order(*predict_proba(module, batches, options, progress))
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
    s = _set_up(job, run)
    assert job.prepared.labels is not None
    known, test = job.prepared.labels, s.split.test
    unit = Unit.of(known[s.split.train])
    module = backbones.build(job.options.backbone, shape=s.layout.shape, n_outputs=1, seed=s.seed)
    values = unit.of_values(known).astype(np.float32)
    result = train_quantity(module, s.train, s.validation, s.options, values=values, progress=job.progress)
    said = in_order(*outputs(result.module, s.test, s.options, job.progress))[:, 0]
    predicted = unit.center + unit.scale * said.astype(np.float64)
    importance = z = None
    if result.rejected is None:
        slopes, found, pixels = (AttributionAccumulator(s.layout, 1) for _ in range(3))
        centred = values - values[test].mean()
        n_used = attribute_quantity(
            result.module, s.test, found, slopes, pixels, values=centred, options=s.options, progress=job.progress
        )
        says, slope = found.result(), slopes.result()
        importance = RunImportance(
            says.mean[0], says.mean, says.mean_abs, n_used, says.count, slope.importance, slope.mean
        )
        z = _z(slope.mean, pixels.result())
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
    s = _set_up(job, run)
    with torch.random.fork_rng():
        torch.manual_seed(s.seed)
        module = backbones.Autoencoder(s.layout.shape, job.options.latent_dim)
    mask = (s.layout.feature_of_pixel >= 0).reshape(s.layout.shape)
    result = train_autoencoder(module, s.train, s.validation, s.options, mask=mask, progress=job.progress)
    loss, explained = _reconstruction(result.module, s.test, s.layout, s.options, job.progress)
    reason = result.rejected or (None if explained > 0 else "the reconstruction explains no variance")
    importance = None
    if reason is None:
        n = n_directions(module)
        accumulator = AttributionAccumulator(s.layout, n)
        attribute_latent(
            module,
            s.test,
            accumulator,
            method=job.options.method or "input_x_gradient",
            options=s.options,
            progress=job.progress,
        )
        empty = np.empty((0, s.layout.n_features))
        # Directions are weighted by their spread, so their sum is what the latent space as a whole says.
        importance = RunImportance(accumulator.result().mean_abs.sum(axis=0), empty, empty, s.test.n_samples)
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
