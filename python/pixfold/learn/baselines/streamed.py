"""Linear models of samples that do not fit into memory, by stochastic gradient descent over batches."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.learn.baselines.batches import row_loader, rows_of
from pixfold.learn.baselines.moments import Moments
from pixfold.learn.baselines.solvers import L1_SHARE, PRIOR_VARIANCE, Linear
from pixfold.learn.job import Job
from pixfold.normalize.normalizer import Normalizer
from pixfold.util.optional import require

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Passes over the training samples; small samples are gone through more often, until so many steps are done.
_EPOCHS = 5
_STEPS = 20_000
_MOST_EPOCHS = 20


def solve_streamed(
    job: Job,
    normalizer: Normalizer,
    positions: Ints,
    target: NDArray[Any],
    moments: Moments,
    penalty: str,
    *,
    seed: int,
    deadline: float | None,
) -> Linear:
    """Fit a logistic regression of classes (integers), or a linear one of a quantity (floats), batch by batch.

    Parameters
    ----------
    job, normalizer
        Whose samples are read, and what normalises them.
    positions : int64 array (n,)
        Of the training samples in ``prepared.rows``.
    target : int64 or float64 array (n,)
        Classes or quantities of these.
    moments : Moments
        Of these: :func:`pixfold.learn.baselines.moments.moments_of_job`.
    penalty : {"l2", "l1"}
        As strong as in :func:`pixfold.learn.baselines.solvers.solve` without cross-validation.
    seed : int
        Of the order of the samples.
    deadline : float or None
        Time of ``time.monotonic()`` after which no further batch is learned.

    Returns
    -------
    Linear
        Of values as they come.

    Notes
    -----
    Samples are centred and divided by the root of their mean squared norm, so that one rate of learning fits all data.
    The steps after the first pass are averaged (Polyak and Juditsky, 1992), so that the L1 penalty leaves small
    coefficients where the exact solution has none.
    """
    n = len(positions)
    mean, scale, strongest = _facts(moments, n)
    root = np.sqrt(scale)
    classes = None if target.dtype.kind == "f" else np.unique(target)
    if classes is not None and len(classes) == 1:
        return Linear(np.zeros((1, len(mean))), np.zeros(1), classes)
    centre, width = (0.0, 1.0) if classes is not None else (float(target.mean()), float(target.std()) or 1.0)
    # What the penalty is per sample, of values that are divided by `root`.
    alpha = 1.0 / (PRIOR_VARIANCE * n) if penalty == "l2" else max(L1_SHARE * strongest / (root * width * n), 1e-12)
    model = _model(penalty, alpha, seed, n, classes)
    shift, factor = mean.astype(np.float32), np.float32(1.0 / root)
    loader = row_loader(job, normalizer, positions, shuffle="auto", seed=seed)
    for epoch in range(int(np.clip(_STEPS // n, _EPOCHS, _MOST_EPOCHS))):
        loader.set_epoch(epoch)
        for rows, at in rows_of(loader):
            values = (rows - shift) * factor
            if classes is None:
                model.partial_fit(values, (target[at] - centre) / width)
            else:
                model.partial_fit(values, target[at], classes=classes)
            if deadline is not None and time.monotonic() > deadline:
                break
        else:
            continue
        break
    coefficients = np.atleast_2d(np.asarray(model.coef_, dtype=np.float64)) * (width / root)
    intercept = np.atleast_1d(np.asarray(model.intercept_, dtype=np.float64)) * width + centre
    return Linear(coefficients, intercept - coefficients @ mean, classes)


def _facts(moments: Moments, n: int) -> tuple[Floats, float, float]:
    """Mean of each feature, mean squared norm of a centred sample, and the L1 penalty that leaves no feature in."""
    mean: Floats = moments.count @ moments.mean / n
    apart = moments.mean - mean
    scale = float((moments.m2.sum(axis=0) + moments.count @ apart**2).sum()) / n or 1.0
    if moments.with_target is not None:
        return mean, scale, float(np.abs(moments.with_target).max())
    # One penalty for all classes, each against all others: the median of theirs.
    each = (moments.count[:, None] * np.abs(apart)).max(axis=1)[moments.count > 0]
    return mean, scale, float(np.median(each))


def _model(penalty: str, alpha: float, seed: int, n: int, classes: Ints | None) -> Any:
    models = require("sklearn.linear_model", "train", "linear models")
    shared = {"penalty": penalty, "alpha": alpha, "random_state": seed, "average": n + 1, "shuffle": False}
    if classes is not None:
        # The largest steps that are stable for samples of norm 1 are 8 for log loss and 2 for squared loss.
        return models.SGDClassifier(loss="log_loss", learning_rate="invscaling", eta0=4.0, power_t=0.1, **shared)
    return models.SGDRegressor(learning_rate="constant", eta0=0.5, **shared)
