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
from pixfold.learn.accept import SIGNIFICANCE, chance_p_value
from pixfold.learn.attribute import attribute
from pixfold.learn.consensus import RunImportance
from pixfold.learn.job import Job
from pixfold.learn.latent import attribute_latent, n_directions
from pixfold.learn.predict import in_order, predict_proba
from pixfold.learn.results import classification_metrics
from pixfold.learn.split import Split, split
from pixfold.learn.torch_settings import torch_settings
from pixfold.learn.train import TrainingResult, train, train_autoencoder
from pixfold.learn.training_options import TrainingOptions
from pixfold.loader import FoldLoader
from pixfold.normalize.normalizer import Normalizer
from pixfold.ops import AttributionAccumulator
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
        None without labels.
    score : float
        Best validation loss: the lowest decides which run's model is kept.
    messages : list of str
        What the user should be told.
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
    parts = split(
        len(prepared.rows),
        prepared.labels,
        fractions=job.options.fractions,
        seed=seed,
        class_names=prepared.class_names,
    )
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
        messages=[*parts.messages, *_never_seen(job, normalizer)],
    )


def _never_seen(job: Job, normalizer: Normalizer) -> list[str]:
    """Tell the user of features that are used and have values, but none in the training samples."""
    names = [job.source.feature_names[j] for j in np.flatnonzero(normalizer.never_seen() & job.prepared.keep)]
    if not names:
        return []
    n = counted(len(names), "feature")
    return [f"{n} ({listed(names)}) had no value in the training samples of a run, which took 0 for all their values"]


def classify(job: Job, run: int) -> RunOutcome:
    """Train a classifier on a new split and attribute its correct predictions of test samples.

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
    p_value = chance_p_value(held_out, guessed, k, s.seed)
    reason = result.rejected or _not_good_enough(accuracy, p_value, job.options.min_accuracy)
    importance = None
    if reason is None:
        accumulator = AttributionAccumulator(s.layout, k)
        n_used = attribute(
            result.module, s.test, accumulator, method=job.options.method, options=s.options, progress=job.progress
        )
        found = accumulator.result()
        importance = RunImportance(found.importance, found.mean, found.mean_abs, n_used, found.count)
    return s.outcome(
        result,
        {"accepted": reason is None, "reason": reason, "held_out_accuracy": accuracy, "p_value": p_value, **scores},
        importance=importance,
        probabilities=probabilities,
    )


def _predict(
    module: nn.Module, batches: FoldLoader, options: TrainingOptions, progress: Progress
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Probabilities and predicted classes, in the order of the loader's rows."""
    probabilities = in_order(*predict_proba(module, batches, options, progress))
    return probabilities, probabilities.argmax(axis=1)


def _not_good_enough(accuracy: float, p_value: float, min_accuracy: float | None) -> str | None:
    if min_accuracy is not None:
        enough = accuracy >= min_accuracy
        return None if enough else f"held-out accuracy {accuracy:.3f} is below {min_accuracy:g}"
    if p_value <= SIGNIFICANCE:
        return None
    return f"held-out accuracy {accuracy:.3f} is not above chance (p = {p_value:.2g})"


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
            module, s.test, accumulator, method=job.options.method, options=s.options, progress=job.progress
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
