"""Count, mean and spread of each feature per class, which tests are made of: of an array, or in one pass of a job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.learn.baselines.batches import row_layout, row_loader, rows_of
from pixfold.learn.job import Job
from pixfold.normalize.normalizer import Normalizer
from pixfold.ops import AttributionAccumulator
from pixfold.util.progress import tracked

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """Statistics of each feature.

    Attributes
    ----------
    count : int64 array (n_classes,)
        Samples of each class; one class for quantities.
    mean, m2 : float64 array (n_classes, n_features)
        Mean of a class, and the sum of squared differences from it: exactly 0 where all values are the same.
    with_target : float64 array (n_features,) or None
        Sum over samples of (value - mean) (target - mean of the target), for quantities.
    target_m2 : float
        Sum of squared differences of the target from its mean, for quantities.
    """

    count: NDArray[np.int64]
    mean: Floats
    m2: Floats
    with_target: Floats | None = None
    target_m2: float = 0.0


def moments_of_array(values: NDArray[Any], target: NDArray[Any]) -> Moments:
    """Moments of an array (n_samples, n_features); `target` is as :func:`target_of` gives it."""
    quantity = target.dtype.kind == "f"
    classes = np.zeros(len(values), dtype=np.int64) if quantity else target
    count = np.bincount(classes)
    mean, m2 = (np.zeros((len(count), values.shape[1])) for _ in range(2))
    for k in np.flatnonzero(count):
        own = values[classes == k].astype(np.float64)
        first = own[0].copy()
        # Differences from a value of the class are exactly 0 where all are the same.
        own -= first
        shift = own.mean(axis=0)
        own -= shift
        mean[k], m2[k] = first + shift, np.einsum("ij,ij->j", own, own)
    if not quantity:
        return Moments(count, mean, m2)
    centred = target - target.mean()
    return Moments(count, mean, m2, centred @ (values - mean[0]), float(centred @ centred))


def moments_of_job(
    job: Job,
    normalizer: Normalizer,
    target: NDArray[Any],
    positions: NDArray[np.int64] | None = None,
    *,
    task: str = "simple test",
) -> Moments:
    """Moments of normalised samples in one pass, of the features that are used.

    Parameters
    ----------
    job : Job
        Whose samples are read.
    normalizer : Normalizer
        Fitted.
    target : array (n,)
        Classes or quantities of the samples, as :func:`target_of` gives them.
    positions : int64 array (n,), optional
        Which of ``prepared.rows``. Default: all.
    task : str
        What the progress calls the pass.

    Returns
    -------
    Moments
        Memory holds a batch and 48 bytes per class and feature beside them.
    """
    loader = row_loader(job, normalizer, slice(None) if positions is None else positions)
    layout = row_layout(job)
    quantity = target.dtype.kind == "f"
    accumulator = AttributionAccumulator(layout, 1 if quantity else int(target.max()) + 1)
    centred = target - target.mean() if quantity else np.zeros(len(target))
    first, with_target = np.zeros(layout.n_pixels), np.zeros(layout.n_pixels)
    begun = False
    for rows, at in tracked(rows_of(loader), job.progress, task, len(loader)):
        accumulator.update(rows[:, None, None, :], np.zeros(len(at), dtype=np.int64) if quantity else target[at])
        if quantity:
            if not begun:
                first, begun = rows[0].astype(np.float64), True
            # The centred target sums to 0, so that any value may stand for the mean: one of the feature's own is near.
            with_target += centred[at] @ (rows - first)
    found = accumulator.result()
    used = job.prepared.keep
    moments = found.count, found.mean[:, used], found.m2[:, used]
    return Moments(*moments, with_target, float(centred @ centred)) if quantity else Moments(*moments)
