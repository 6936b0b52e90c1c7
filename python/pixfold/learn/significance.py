"""Which features are more than chance: p-values from permuted labels or from held-out samples, and what is called."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pixfold.pairs import PairScreen
from pixfold.util.optional import require

Floats = NDArray[np.float64]

# Of the test whether the labels can be learned at all: below it nothing is ranked.
LEVEL = 0.05


@dataclass(frozen=True)
class Significance:
    """Error control of one job.

    Attributes
    ----------
    p, q : float64 (n_features,)
        Of each feature; q by Benjamini and Hochberg. NaN where the job could not test.
    called : bool (n_features,)
        ``q <= fdr`` in a job whose labels can be learned.
    test_p : float
        Whether the labels can be learned at all: p-value of the job.
    method : {"permuted labels", "held-out samples"}
        Where the p-values come from.
    n_permutations : int
        Permuted labellings; 0 for ``"held-out samples"``.
    """

    p: Floats
    q: Floats
    called: NDArray[np.bool_]
    test_p: float
    method: str
    n_permutations: int


def by_permutation(
    evidence: NDArray[np.floating], scores: Floats, *, used: NDArray[np.bool_], fdr: float
) -> Significance:
    """Compare the true labels with permuted ones that went through the same procedure.

    The p-value of a feature is the share of the permuted evidence of all features that reaches its own (the pooled
    null of Tusher, Tibshirani and Chu, 2001): standardised features share one null distribution. The job is tested by
    its score and by its largest evidence; the smaller of the two p-values is compared with the same minimum in the
    permutations (Westfall and Young's min-p), so that a single strong feature counts although the score is at chance.

    Parameters
    ----------
    evidence : float (1 + n_permutations, n_features)
        Of the true labels first.
    scores : float64 (1 + n_permutations,)
        Held-out score of each, averaged over runs.
    used : bool (n_features,)
        Features that were looked at; others get p = 1.
    fdr : float
        False discovery rate for ``called``.

    Returns
    -------
    Significance
    """
    n = len(evidence) - 1
    null = np.sort(evidence[1:][:, used].ravel())
    own = evidence[0][used]
    p = np.ones(evidence.shape[1])
    p[used] = (1 + len(null) - np.searchsorted(null, own, side="left")) / (1 + len(null))
    one, other = _tail(scores), _tail(evidence[:, used].max(axis=1))
    # Of equal minima the one with the better other p-value is ahead: ties would cost most of the level.
    best = np.minimum(one, other) + np.maximum(one, other) / (2 * len(one))
    test_p = float(np.mean(best <= best[0]))
    q = adjusted(p, used)
    return Significance(p, q, (q <= fdr) & (test_p <= LEVEL), test_p, "permuted labels", n)


def with_pairs(found: Significance, pairs: PairScreen, *, fdr: float) -> Significance:
    """Call the features of significant pairs, too: a pair's p-value holds for all pairs together (Bonferroni)."""
    p, q, called = found.p.copy(), found.q.copy(), found.called.copy()
    for features in (pairs.feature_a, pairs.feature_b):
        np.minimum.at(p, features, pairs.p_bonferroni)
        np.minimum.at(q, features, pairs.p_bonferroni)
        called[features] |= pairs.p_bonferroni <= fdr
    # A job that has a pair has learned something, if nothing else.
    test_p = min([found.test_p, *pairs.p_bonferroni])
    return replace(found, p=p, q=q, called=called, test_p=float(test_p))


def by_held_out(z_of_runs: Floats, p_of_tests: Floats, *, used: NDArray[np.bool_], fdr: float) -> Significance:
    """Judge the evidence of networks that are trained one after the other, by their held-out samples.

    What a network says of a feature that has nothing to do with the labels is as often wrong as right on held-out
    samples. Their spread is taken from the features with negative values where that is more than the standard error
    (Efron's empirical null, 2004). A q-value is never below the share of features that lie as far on the negative side
    (the mirror statistics of Dai, Lin, Xing and Liu, 2023). Twice the mean of the p-values of runs that share samples
    is a p-value however they depend on each other (Rueschendorf, 1982).

    Parameters
    ----------
    z_of_runs : float64 (n_runs, n_features)
        Evidence in standard errors, of each run.
    p_of_tests : float64 (n_runs,)
        Whether the run's predictions are better than chance.
    used : bool (n_features,)
        Features that were looked at; others get p = 1.
    fdr : float
        False discovery rate for ``called``.

    Returns
    -------
    Significance
    """
    stats = require("scipy.stats", "train", "p-values of features")
    factor = 2.0 if len(z_of_runs) > 1 else 1.0
    p_of_runs = np.stack([stats.norm.sf(z / _null_spread(z[used])) for z in z_of_runs])
    p = np.where(used, np.minimum(1.0, factor * p_of_runs.mean(axis=0)), 1.0)
    test_p = min(1.0, factor * float(p_of_tests.mean()))
    mean = z_of_runs.mean(axis=0)
    q = adjusted(p, used)
    q[used] = np.maximum(q[used], _mirrored(mean[used]))
    return Significance(p, q, (q <= fdr) & (test_p <= LEVEL), test_p, "held-out samples", 0)


def _null_spread(z: Floats) -> float:
    """Root mean square of the negative values, at least 1: a standard error is the least that evidence spreads."""
    below = z[z < 0]
    return max(1.0, float(np.sqrt(np.mean(below**2)))) if len(below) else 1.0


def _mirrored(z: Floats) -> Floats:
    """How many values are as far below zero, for each that is as far above it; 1 for values at or below zero."""
    ordered = np.sort(z)
    above = len(z) - np.searchsorted(ordered, z, side="left")
    below = np.searchsorted(ordered, -z, side="right")
    share = np.where(z > 0, below / np.maximum(above, 1), 1.0)
    # As with q-values, a feature is no worse than one that ranks behind it.
    order = np.argsort(-z, kind="stable")
    best = np.empty_like(share)
    best[order] = np.minimum.accumulate(share[order][::-1])[::-1]
    return np.minimum(best, 1.0)


def adjusted(p: Floats, used: NDArray[np.bool_]) -> Floats:
    """q-values of the features that were looked at (Benjamini and Hochberg, 1995); 1 for the others."""
    stats = require("scipy.stats", "train", "q-values")
    q = np.ones_like(p)
    if used.any():
        q[used] = stats.false_discovery_control(p[used], method="bh")
    return q


def _tail(values: NDArray[np.floating]) -> Floats:
    """Share of all values that reach each of them."""
    ordered = np.sort(values)
    return np.asarray(
        (len(values) - np.searchsorted(ordered, values - 1e-12, side="left")) / len(values), dtype=np.float64
    )
