"""One run: a split, a normaliser fitted on its training samples, a network, its attributions."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pixfold.layout import Layout
from pixfold.learn import attribute as attribution
from pixfold.learn import backbones
from pixfold.learn import train as training
from pixfold.learn.accept import SIGNIFICANCE, chance_p_value
from pixfold.learn.consensus import RunImportance
from pixfold.learn.results import classification_metrics
from pixfold.learn.split import Split, split
from pixfold.learn.train import TrainingOptions, TrainingResult
from pixfold.loader import FoldLoader
from pixfold.normalize.normalizer import Normalizer
from pixfold.ops import AttributionAccumulator
from pixfold.sources.base import Source
from pixfold.stream.blocks import blocks
from pixfold.stream.layout_for import layout_for
from pixfold.stream.prepare import Prepared
from pixfold.util.progress import Progress, tracked

Float64Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Job:
    """What all runs of one fit share.

    Attributes
    ----------
    prepared : Prepared
        Samples, labels and features that are used.
    source : Source
        Where samples are read from, in memory where they fit.
    normalizer : callable
        Gives a fresh, unfitted normaliser.
    backbone : str, Module or callable
        As for ``backbones.build``; unused without labels.
    latent_dim : int or None
        Size of the auto-encoder's bottleneck; unused with labels.
    arrangement : {"natural", "shuffled"}
        Whether features stand in their own order or in a new seeded one in each run.
    method : str
        Attribution method.
    fractions : tuple of float
        Of train, validation and test.
    batch_size : int
        Samples per batch.
    min_accuracy : float or None
        Held-out accuracy from which a run is accepted; None: significantly above chance.
    options : TrainingOptions
        Its seed is replaced by each run's own.
    random_state : int
        From which every run's seed comes.
    progress : Progress
        Where to report.
    memory : int or None
        Budget in bytes for reading samples.
    """

    prepared: Prepared
    source: Source
    normalizer: Callable[[], Normalizer]
    backbone: Any
    latent_dim: int | None
    arrangement: str
    method: str
    fractions: tuple[float, float, float]
    batch_size: int
    min_accuracy: float | None
    options: TrainingOptions
    random_state: int
    progress: Progress
    memory: int | None = None

    @property
    def n_classes(self) -> int:
        """Number of classes, 0 without labels."""
        return len(self.prepared.class_names or ())

    def seed_of(self, run: int) -> int:
        """Seed of a run (counted from 1)."""
        return int(np.random.SeedSequence([self.random_state, run]).generate_state(1)[0])

    def layout_of(self, run: int) -> Layout:
        """Layout of a run; see :func:`pixfold.stream.layout_for.layout_for`."""
        # Of the source as it was opened: a copy of it in memory has no say in where features go.
        prepared, seed = self.prepared, self.seed_of(run)
        return layout_for(prepared.source, arrangement=self.arrangement, seed=seed, keep=prepared.keep)

    def fitted(self, rows: NDArray[np.int64]) -> Normalizer:
        """Fit a fresh normaliser on some samples of the source."""
        normalizer = self.normalizer()
        read = blocks(
            self.source,
            rows,
            memory=self.memory,
            fixed=normalizer.fitting_bytes(self.source.n_features),
            op="Normalizer.fit",
            progress=self.progress,
            task="normaliser",
        )
        return normalizer.fit_blocks(read, self.source.feature_names)

    def loader(
        self,
        layout: Layout,
        normalizer: Normalizer,
        positions: NDArray[np.int64] | slice = slice(None),
        *,
        shuffle: bool | str = False,
        seed: int = 0,
        on_cpu: bool = False,
    ) -> FoldLoader:
        """Batches of some of ``prepared.rows``, by their positions there.

        For a CUDA device of the training they are folded there, from samples as compact as they came.
        """
        device = training.resolve_device(self.options.device)
        return FoldLoader(
            self.source,
            layout,
            normalizer,
            rows=self.prepared.rows[positions],
            labels=None if self.prepared.labels is None else self.prepared.labels[positions],
            batch_size=self.batch_size,
            shuffle=shuffle,
            seed=seed,
            device="cpu" if on_cpu or device.type != "cuda" else device,
            threads=self.options.threads,
            # Every process does the whole job.
            rank=0,
            world_size=1,
            memory=self.memory,
        )


@dataclass(frozen=True, kw_only=True)
class RunOutcome:
    """What came of one run.

    Attributes
    ----------
    number : int
        Counted from 1.
    layout, normalizer, module
        Enough to predict with.
    importance : RunImportance or None
        None for a run that is not accepted.
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
    module: nn.Module
    importance: RunImportance | None
    history: list[dict[str, Any]]
    metrics: dict[str, Any]
    test: NDArray[np.int64]
    probabilities: NDArray[np.float32] | None
    score: float
    messages: list[str]


@dataclass(frozen=True)
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
            messages=self.split.messages,
            **found,
        )


def _set_up(job: Job, run: int) -> _Setting:
    started = time.perf_counter()
    prepared, seed, layout = job.prepared, job.seed_of(run), job.layout_of(run)
    parts = split(
        len(prepared.rows),
        prepared.labels,
        fractions=job.fractions,
        seed=seed,
        class_names=prepared.class_names,
    )
    normalizer = job.fitted(prepared.rows[parts.train])

    def loader(positions: NDArray[np.int64], shuffle: bool | str = False) -> FoldLoader:
        return job.loader(layout, normalizer, positions, shuffle=shuffle, seed=seed)

    return _Setting(
        run, seed, started, parts, layout, normalizer, replace(job.options, seed=seed),
        loader(parts.train, shuffle="auto"), loader(parts.validation), loader(parts.test),
    )  # fmt: skip


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
    module = backbones.build(job.backbone, shape=s.layout.shape, n_outputs=k, seed=s.seed)
    result = training.train(
        module, s.train, s.validation, s.options, n_classes=k,
        class_counts=np.bincount(labels[s.split.train], minlength=k), progress=job.progress,
    )  # fmt: skip
    probabilities, predicted = _predict(result.module, s.test, s.options, job.progress)
    _, predicted_validation = _predict(result.module, s.validation, s.options, job.progress)
    scores = classification_metrics(labels[s.split.test], predicted, k, job.prepared.class_names)
    held_out = np.concatenate([labels[s.split.validation], labels[s.split.test]])
    guessed = np.concatenate([predicted_validation, predicted])
    accuracy = float(np.mean(held_out == guessed))
    p_value = chance_p_value(held_out, guessed, k, s.seed)
    reason = result.rejected or _not_good_enough(accuracy, p_value, job.min_accuracy)
    importance = None
    if reason is None:
        accumulator = AttributionAccumulator(s.layout, k)
        summary = attribution.attribute(
            result.module, s.test, accumulator, method=job.method, options=s.options, progress=job.progress
        )
        found = accumulator.result()
        importance = RunImportance(found.importance, found.mean, found.mean_abs, summary.n_used, found.count)
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
    values, indices = training.predict_proba(module, batches, options, progress)
    probabilities = np.empty_like(values)
    probabilities[indices] = values
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
        module = backbones.Autoencoder(s.layout.shape, job.latent_dim)
    mask = (s.layout.feature_of_pixel >= 0).reshape(s.layout.shape)
    result = training.train_autoencoder(module, s.train, s.validation, s.options, mask=mask, progress=job.progress)
    loss, explained = _reconstruction(result.module, s.test, s.layout, s.options, job.progress)
    reason = result.rejected or (None if explained > 0 else "the reconstruction explains no variance")
    importance = None
    if reason is None:
        n = attribution.n_directions(module)
        accumulator = AttributionAccumulator(s.layout, n)
        attribution.attribute_latent(
            module, s.test, accumulator, method=job.method, options=s.options, progress=job.progress
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
    with training.torch_settings(options) as device, torch.no_grad():
        module.to(device).eval()
        kept = torch.from_numpy((layout.feature_of_pixel >= 0).reshape(layout.shape)).to(device)
        for images, _, indices in tracked(batches, progress, "reconstruction", len(batches)):
            spread.update(images.cpu(), np.zeros(len(indices), dtype=np.int64))
            error = (module(images.to(device)) - images.to(device)) * kept
            squares += float(error.double().square().sum())
    total = float(spread.result().m2.sum())
    n_values = batches.n_samples * int(kept.sum())
    return squares / n_values, 1.0 - squares / total if total > 0 else 0.0


def class_means(job: Job, outcome: RunOutcome) -> Float64Array:
    """Mean normalised value per class and feature over all samples used, (n_classes, n_features)."""
    assert job.prepared.labels is not None
    accumulator = AttributionAccumulator(outcome.layout, job.n_classes)
    loader = job.loader(outcome.layout, outcome.normalizer, on_cpu=True)
    for images, labels, _ in tracked(loader, job.progress, "class means", len(loader)):
        assert labels is not None
        accumulator.update(images, labels.numpy())
    return accumulator.result().mean
