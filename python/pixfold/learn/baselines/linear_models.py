"""Linear models of a job's samples on given splits: how well they predict, and which features they lean on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pixfold.errors import InputError
from pixfold.learn.baselines.batches import matrix_of, row_loader, rows_of, used_features
from pixfold.learn.baselines.moments import moments_of_job
from pixfold.learn.baselines.solvers import Linear, solve
from pixfold.learn.baselines.streamed import solve_streamed
from pixfold.learn.baselines.target import is_quantity, target_of
from pixfold.learn.job import Job
from pixfold.learn.results import classification_metrics
from pixfold.normalize.normalizer import Normalizer
from pixfold.stream.budget import free_memory
from pixfold.util.checks import check_all, number, switch, whole_number
from pixfold.util.optional import require
from pixfold.util.text import must_be

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Split = tuple[Ints, Ints]

PENALTIES = ("l2", "l1")

_NAMES = {
    ("l2", False): "logistic regression (L2)",
    ("l1", False): "logistic regression (L1)",
    ("l2", True): "ridge regression (L2)",
    ("l1", True): "lasso (L1)",
}
# The part of the memory that a matrix may take; solvers copy it.
_SHARE = 0.25
# Products of two samples, feature by feature, that a split in memory may need: some seconds' worth.
_MOST_WORK = 3e11


@dataclass(frozen=True)
class LinearModel:
    """What a linear model finds.

    Attributes
    ----------
    name : str
        The model, in words.
    penalty : {"l2", "l1"}
        Of its coefficients.
    scores : dict of str to float64 array (n_done,)
        Of the test samples of each split that was done: ``accuracy`` and ``balanced_accuracy``, or ``r2`` (NaN for
        fewer than two samples) and ``spearman`` (0 where all predictions are the same).
    importance : float64 array (n_features,)
        Mean over the splits of each feature's share of the absolute coefficients, averaged over the classes; 0 for
        features that are left out.
    n_splits, n_done : int
        Splits that were asked for, and those that the time was enough for.
    streamed : bool
        Whether samples were learned batch by batch.
    seconds : float
        That it took, reading included, without the other penalty's solver.
    """

    name: str
    penalty: str
    scores: dict[str, Floats]
    importance: Floats
    n_splits: int
    n_done: int
    streamed: bool
    seconds: float


def linear_models(
    job: Job,
    splits: Sequence[tuple[ArrayLike, ArrayLike]],
    labels: ArrayLike | None = None,
    *,
    penalties: Sequence[str] = PENALTIES,
    seconds: float | None = None,
    streamed: bool | None = None,
    seed: int = 0,
) -> list[LinearModel]:
    """Fit and score linear models on splits of a job's samples.

    Parameters
    ----------
    job : Job
        Whose samples are used. Those of each split are normalised by what its training samples alone say.
    splits : sequence of (train, test)
        Positions in ``prepared.rows``; train and test share none.
    labels : array (n_samples,), optional
        Integers are classes, floats a quantity. Default: the job's own.
    penalties : sequence of {"l2", "l1"}
        One model each, on the same splits.
    seconds : float, optional
        After this time no further split is begun; the first one always is. What is streamed stops learning then.
    streamed : bool, optional
        Learn batch by batch. Default: where the matrix of training samples takes more than a quarter of the memory, or
        solving it would take long.
    seed : int
        Of cross-validation and of the order of batches.

    Returns
    -------
    list of LinearModel
        In the order of `penalties`.

    Raises
    ------
    InputError
        For splits, labels and options that are not as described.
    """
    op = "linear_models"
    if seconds is not None:
        check_all(op, {"seconds": number()}, {"seconds": seconds})
    if streamed is not None:
        switch(op, "streamed", streamed)
    whole_number(0)(op, "seed", seed)
    unknown = [penalty for penalty in penalties if penalty not in PENALTIES]
    if unknown or not penalties or isinstance(penalties, str):
        raise InputError(must_be(op, "penalties", "some of 'l2', 'l1'", penalties))
    prepared = job.prepared
    n_samples = len(prepared.rows)
    target = target_of(op, prepared.labels if labels is None else labels, n_samples)
    parts = _checked(op, splits, n_samples)
    began = time.monotonic()
    deadline = None if seconds is None else began + seconds
    by_batches = _is_large(job, max(len(train) for train, _ in parts)) if streamed is None else bool(streamed)
    records = [_Record(prepared.keep.size) for _ in penalties]
    for number_of_split, (train, test) in enumerate(parts):
        if number_of_split and deadline is not None and time.monotonic() > deadline:
            break
        task = _Task(job, target, train, test, seed + number_of_split, deadline)
        for record, found in zip(records, task.models(penalties, by_batches), strict=True):
            record.add(*found)
    return [
        LinearModel(
            name=_NAMES[penalty, is_quantity(target)],
            penalty=penalty,
            scores=record.scores(),
            importance=record.importance / record.n,
            n_splits=len(parts),
            n_done=record.n,
            streamed=by_batches,
            seconds=record.seconds,
        )
        for penalty, record in zip(penalties, records, strict=True)
    ]


class _Record:
    """What the splits say of one model so far."""

    def __init__(self, n_features: int) -> None:
        self.importance = np.zeros(n_features)
        self.seconds = 0.0
        self.n = 0
        self._scores: list[dict[str, float]] = []

    def add(self, scores: dict[str, float], features: Ints, weights: Floats, seconds: float) -> None:
        """Add a split: its scores, and the absolute coefficients of some features."""
        total = float(weights.sum())
        if total > 0.0:
            self.importance[features] += weights / total
        self._scores.append(scores)
        self.seconds += seconds
        self.n += 1

    def scores(self) -> dict[str, Floats]:
        return {name: np.array([scores[name] for scores in self._scores]) for name in self._scores[0]}


@dataclass(frozen=True)
class _Task:
    """One split."""

    job: Job
    target: NDArray[Any]
    train: Ints
    test: Ints
    seed: int
    deadline: float | None

    def models(self, penalties: Sequence[str], by_batches: bool) -> list[tuple[dict[str, float], Ints, Floats, float]]:
        began = time.monotonic()
        normalizer = self.job.fitted(self.train)
        known = self.target[self.train]
        values, mean = np.empty((0, 0), dtype=np.float32), np.empty(0)
        if by_batches:
            moments = moments_of_job(self.job, normalizer, known, self.train, task="linear models")
        else:
            values = matrix_of(self.job, normalizer, self.train)
            mean = values.mean(axis=0, dtype=np.float64)
            values -= mean.astype(np.float32)
            mean = mean.astype(np.float32).astype(np.float64)
        shared = time.monotonic() - began
        solved, took = [], []
        for place, penalty in enumerate(penalties):
            began = time.monotonic()
            if by_batches:
                # What time is left is shared among the models to come.
                left = None if self.deadline is None else (self.deadline - began) / (len(penalties) - place)
                model = solve_streamed(
                    self.job,
                    normalizer,
                    self.train,
                    known,
                    moments,
                    penalty,
                    seed=self.seed,
                    deadline=None if left is None else began + left,
                )
            else:
                model = solve(values, known, penalty, self.seed)
                model = Linear(model.coefficients, model.intercept - model.coefficients @ mean, model.classes)
            solved.append(model)
            took.append(time.monotonic() - began)
        del values
        began = time.monotonic()
        scores = self._scores(normalizer, solved)
        shared += time.monotonic() - began
        features = used_features(self.job)
        weights = [np.abs(model.coefficients).mean(axis=0) for model in solved]
        return [(scores[i], features, weights[i], shared + took[i]) for i in range(len(solved))]

    def _scores(self, normalizer: Normalizer, solved: list[Linear]) -> list[dict[str, float]]:
        """Score the test samples, which are read once for all models."""
        truth = self.target[self.test]
        predicted = [np.empty_like(truth) for _ in solved]
        for rows, at in rows_of(row_loader(self.job, normalizer, self.test)):
            for model, out in zip(solved, predicted, strict=True):
                out[at] = model.predict(rows)
        if is_quantity(self.target):
            return [_of_quantity(truth, out) for out in predicted]
        n_classes = int(self.target.max()) + 1
        found = [classification_metrics(truth, out, n_classes) for out in predicted]
        return [{name: one[name] for name in ("accuracy", "balanced_accuracy")} for one in found]


def _of_quantity(truth: Floats, predicted: Floats) -> dict[str, float]:
    stats = require("scipy.stats", "train", "scoring predictions")
    if len(truth) < 2 or np.ptp(truth) == 0.0:
        return {"r2": float("nan"), "spearman": float("nan")}
    r2 = 1.0 - float(((truth - predicted) ** 2).sum() / ((truth - truth.mean()) ** 2).sum())
    spearman = float(stats.spearmanr(truth, predicted).statistic) if np.ptp(predicted) > 0.0 else 0.0
    return {"r2": r2, "spearman": spearman}


def _is_large(job: Job, n_train: int) -> bool:
    n_used = int(job.prepared.keep.sum())
    memory = free_memory() if job.options.memory is None else min(job.options.memory, free_memory())
    n_bytes = 4 * n_train * n_used
    return n_bytes > _SHARE * memory or float(n_train) * n_used * min(n_train, n_used) > _MOST_WORK


def _checked(op: str, splits: Sequence[tuple[ArrayLike, ArrayLike]], n_samples: int) -> list[Split]:
    parts: list[Split] = []
    for pair in splits:
        if not isinstance(pair, Sequence) or len(pair) != 2:
            raise InputError(must_be(op, "splits", "pairs of positions (train, test)", pair))
        arrays = [np.asarray(part) for part in pair]
        for part in arrays:
            fits = part.ndim == 1 and part.size and part.dtype.kind in "iu"
            if not fits or part.min() < 0 or part.max() >= n_samples:
                raise InputError(must_be(op, "splits", f"positions from 0 to {n_samples - 1}, some in each part", part))
        train, test = (part.astype(np.int64) for part in arrays)
        n_shared = len(np.intersect1d(train, test))
        if n_shared:
            raise InputError(f"{op}: splits must share no sample between train and test, got {n_shared:,} shared")
        parts.append((train, test))
    if not parts:
        raise InputError(must_be(op, "splits", "one split or more", splits))
    return parts
