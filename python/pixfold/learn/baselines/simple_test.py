"""A test of each feature by itself: whether its values differ among the classes, or go along with a quantity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pixfold.errors import InputError
from pixfold.learn.baselines.batches import used_features
from pixfold.learn.baselines.moments import Moments, moments_of_array, moments_of_job
from pixfold.learn.baselines.target import is_quantity, target_of
from pixfold.learn.job import Job
from pixfold.normalize.normalizer import Normalizer
from pixfold.util.arguments import as_array
from pixfold.util.optional import require

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class SimpleTest:
    """What a test says of every feature, in feature order.

    Attributes
    ----------
    name : str
        The test, in words.
    statistic : float64 array (n_features,)
        Its statistic: Welch's t (positive where the mean of the first class is the higher one), F, or the t of a
        correlation. Infinite where values do not vary within the classes but differ between them; 0 for a feature
        that does not vary at all.
    p : float64 array (n_features,)
        Two-sided p value; 1 for a feature that does not vary.
    q : float64 array (n_features,)
        Benjamini and Hochberg's adjusted p value over the features that vary: a feature that does not is no test.
    direction : int64 array (n_features,)
        Of classes, the code of the one with the highest mean; of a quantity, 1 where the feature rises with it and 0
        where it falls. -1 where neither is so, because the means are equal.
    """

    name: str
    statistic: Floats
    p: Floats
    q: Floats
    direction: Ints


def simple_test(job: Job, normalizer: Normalizer, labels: ArrayLike | None = None) -> SimpleTest:
    """Test each feature of a job's samples, normalised, in one pass over them.

    Parameters
    ----------
    job : Job
        Whose samples are used, all of ``prepared.rows``.
    normalizer : Normalizer
        Fitted, so that the test is on the scale that networks are trained on.
    labels : array (n_samples,), optional
        Integers are classes, floats a quantity. Default: the job's own.

    Returns
    -------
    SimpleTest
        Of all features of the source; those that are left out as empty do not vary.

    Raises
    ------
    InputError
        As :func:`simple_test_of`; and for missing values that the normaliser does not replace.
    """
    prepared = job.prepared
    target = target_of("simple_test", prepared.labels if labels is None else labels, len(prepared.rows))
    _check_size("simple_test", target)
    moments = moments_of_job(job, normalizer, target)
    return _result(moments, used_features(job), prepared.keep.size)


def simple_test_of(values: ArrayLike, labels: ArrayLike) -> SimpleTest:
    """Test each feature of an array.

    Parameters
    ----------
    values : array (n_samples, n_features)
        Numbers, none of them missing.
    labels : array (n_samples,)
        Integers 0, 1, 2, ... are classes, floats are a quantity.

    Returns
    -------
    SimpleTest
        Two classes are compared by Welch's t test (Welch, 1947), which allows for different variances, more classes
        by a one-way analysis of variance, and a quantity by the t test of Pearson's correlation. A class of one sample
        has no variance of its own: then two classes are compared by Student's t test, with one variance for both.

    Raises
    ------
    InputError
        For values that are no matrix or not finite, for labels that do not fit, and for fewer than two classes or no
        more samples than classes (three samples, for a quantity).
    """
    op = "simple_test_of"
    matrix = as_array(op, "values", values)
    if matrix.ndim != 2 or matrix.dtype.kind not in "fiub" or not matrix.size:
        raise InputError(f"{op}: values must be a matrix of numbers, got {matrix.dtype} of shape {matrix.shape}")
    n_odd = int(np.count_nonzero(~np.isfinite(matrix)))
    if n_odd:
        raise InputError(f"{op}: values must be finite, got {n_odd:,} that are not")
    target = target_of(op, labels, len(matrix))
    _check_size(op, target)
    return _result(moments_of_array(matrix, target), np.arange(matrix.shape[1]), matrix.shape[1])


def _check_size(op: str, target: NDArray[Any]) -> None:
    if is_quantity(target):
        if len(target) < 3:
            raise InputError(f"{op}: labels must be quantities of 3 samples or more, got {len(target)}")
        return
    n_classes = len(np.unique(target))
    if n_classes < 2 or len(target) <= n_classes:
        raise InputError(
            f"{op}: labels must be of two classes or more and of more samples than classes, "
            f"got {n_classes} classes of {len(target)} samples"
        )


def _result(moments: Moments, features: Ints, n_features: int) -> SimpleTest:
    """Test the features that vary; all others have the statistic 0 and the p value 1."""
    seen = np.flatnonzero(moments.count)
    count, mean, m2 = moments.count[seen].astype(np.float64), moments.mean[seen], moments.m2[seen]
    differ = np.any(mean != mean[0], axis=0)
    # Divisions by 0 are told apart below.
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if moments.with_target is not None:
            name = "t test of Pearson's correlation"
            statistic, p = _correlation(count[0], m2[0], moments)
            direction = np.where(statistic > 0, 1, np.where(statistic < 0, 0, -1))
        else:
            if len(seen) > 2:
                name = "one-way analysis of variance (F test)"
                statistic, p = _anova(count, mean, m2)
            elif count.min() < 2:
                name = "Student's t test"
                statistic, p = _anova(count, mean, m2)
                statistic = np.sqrt(statistic) * np.sign(mean[0] - mean[1])
            else:
                name = "Welch's t test"
                statistic, p = _welch(count, mean, m2)
            direction = np.where(differ, seen[np.argmax(mean, axis=0)], -1)
    varies = differ | np.any(m2 > 0.0, axis=0)
    # 0 / 0: nothing differs, or the target itself does not vary.
    varies &= ~np.isnan(p)
    out = SimpleTest(
        name,
        statistic=np.zeros(n_features),
        p=np.ones(n_features),
        q=np.ones(n_features),
        direction=np.full(n_features, -1, dtype=np.int64),
    )
    tested = features[varies]
    out.statistic[tested], out.p[tested], out.direction[tested] = statistic[varies], p[varies], direction[varies]
    if tested.size:
        stats = require("scipy.stats", "train", "adjusting p values")
        out.q[tested] = stats.false_discovery_control(p[varies], method="bh")
    return out


def _welch(count: Floats, mean: Floats, m2: Floats) -> tuple[Floats, Floats]:
    """Welch's t and its p value, with the degrees of freedom of Welch and Satterthwaite."""
    variance = m2 / (count - 1.0)[:, None] / count[:, None]
    t = (mean[0] - mean[1]) / np.sqrt(variance.sum(axis=0))
    freedom = variance.sum(axis=0) ** 2 / (variance**2 / (count - 1.0)[:, None]).sum(axis=0)
    # Without any variance t is infinite, whatever the degrees of freedom.
    return t, _two_sided(t, np.where(np.isnan(freedom), 1.0, freedom))


def _anova(count: Floats, mean: Floats, m2: Floats) -> tuple[Floats, Floats]:
    """F of a one-way analysis of variance, and its p value."""
    special = require("scipy.special", "train", "testing features")
    between, within = len(count) - 1.0, count.sum() - len(count)
    # From the mean of the first class, so that equal means give exactly 0.
    shifted = mean - mean[0]
    total = (count @ shifted) / count.sum()
    f = (count @ (shifted - total) ** 2 / between) / (m2.sum(axis=0) / within)
    p: Floats = special.fdtrc(between, within, f)
    return f, np.where(np.isinf(f), 0.0, p)


def _correlation(n: float, m2: Floats, moments: Moments) -> tuple[Floats, Floats]:
    """Give the t of a correlation, r sqrt((n - 2) / (1 - r^2)), and its p value."""
    assert moments.with_target is not None
    r = np.clip(moments.with_target / np.sqrt(m2 * moments.target_m2), -1.0, 1.0)
    t = r * np.sqrt((n - 2.0) / ((1.0 - r) * (1.0 + r)))
    return t, _two_sided(t, np.full_like(t, n - 2.0))


def _two_sided(t: Floats, freedom: Floats) -> Floats:
    special = require("scipy.special", "train", "testing features")
    p: Floats = 2.0 * special.stdtr(freedom, -np.abs(t))
    return np.where(np.isinf(t), 0.0, p)
