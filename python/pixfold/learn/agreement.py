"""How far two ranked lists of features agree, with the top weighing most, and how to say it.

The measure is rank-biased overlap (Webber, Moffat and Zobel, 2010). A reader goes down both lists together and stops
after each rank with probability ``1 - p``; the overlap is the share of features that the lists have in common down to
where the reader stops, on average. With the mean depth ``k`` of the reader, ``p = 1 - 1 / k``: the first ``k`` ranks
have about 86 % of the weight.

References
----------
W. Webber, A. Moffat and J. Zobel (2010). A similarity measure for indefinite rankings. ACM Transactions on Information
Systems 28 (4), article 20.

M. Corsi and J. Urbano (2024). The treatment of ties in rank-biased overlap. SIGIR 2024.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pixfold.errors import InputError
from pixfold.util.arguments import as_array
from pixfold.util.checks import check_all, whole_number

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Beyond this many times the mean depth of the reader, all ranks together have a weight of exp(-10).
_DEPTHS = 10

_CHECKS = {
    "k": whole_number(1),
    "depth": whole_number(1, optional=True),
}

_WORDS = (
    (0.9, "the two halves of the runs name nearly the same features"),
    (0.7, "the two halves of the runs name mostly the same features, in a similar order"),
    (0.4, "the two halves of the runs agree on some features and differ on others"),
    (-math.inf, "the two halves of the runs name different features"),
)


def rank_biased_overlap(a: ArrayLike, b: ArrayLike, k: int = 50, *, depth: int | None = None) -> float:
    """Extrapolated rank-biased overlap of two lists that are given as scores.

    Parameters
    ----------
    a, b : float array (n_features,)
        Scores of the same features in the same order, the largest is the best. Infinity is allowed, NaN is not.
    k : int
        Mean depth of the reader, ``p = 1 - 1 / k``. Both lists are looked at down to rank ``10 k``.
    depth : int, optional
        Last rank that is looked at, where that is less: what follows is taken to overlap as much as down to there.

    Returns
    -------
    float
        From 0, no feature in common down to that rank, to 1, the same features in the same order. Lists without any
        order in them (all scores equal) overlap as two random ones do.

    Raises
    ------
    InputError
        For scores of different or wrong shapes, NaN among them, and a wrong `k`.

    Notes
    -----
    With ``A_d`` the share of the first ``d`` features that the lists have in common, and ``D`` the last rank that is
    looked at, it is ``A_D p^D + (1 - p) sum_{d=1..D} p^(d-1) A_d`` (equation 30 of Webber et al., for two lists of one
    length). Features of equal scores have no order among them: ``A_d`` is its mean over all of their orders, which is
    RBO^a of Corsi and Urbano. A feature of a tied group that spans the ranks ``t .. s`` is among the first ``d`` with
    probability ``(d - t + 1) / (s - t + 1)``.
    """
    op = "rank_biased_overlap"
    check_all(op, _CHECKS, {"k": k, "depth": depth})
    one, other = _scores(op, "a", a), _scores(op, "b", b)
    if one.shape != other.shape:
        raise InputError(f"{op}: b must be {one.size:,} scores, as many as in a, got {other.size:,}")
    depth = min(one.size, _DEPTHS * k if depth is None else depth)
    share = _common(_Top.of(one, depth), _Top.of(other, depth), depth) / np.arange(1, depth + 1)
    # Rounding of sums of shares must not lead out of 0 .. 1.
    share = np.clip(share, 0.0, 1.0)
    p = 1.0 - 1.0 / k
    weights = (1.0 - p) * p ** np.arange(depth)
    return float(min(1.0, share @ weights + share[-1] * p**depth))


def in_words(agreement: float) -> str:
    """Say what an agreement of two halves of the runs means; NaN stands for too few runs."""
    if math.isnan(agreement):
        return "there are too few runs to compare two halves of them"
    return next(words for least, words in _WORDS if agreement >= least)


class _Top(NamedTuple):
    """The features that may be among the first ``depth`` of a list.

    Those above the score at that rank, best first, and the group of the score itself, which may be very large: nearly
    all features of a list have a score of 0 now and then.
    """

    scores: Floats  # all scores
    cut: float  # score at rank `depth`
    above: Floats  # scores above the cut, in falling order
    n_at_cut: int

    @classmethod
    def of(cls, scores: Floats, depth: int) -> _Top:
        # Without the lowest score, which is often that of nearly all features: a partition is slow where many are tied.
        cut = float(scores.min())
        ranked = scores[scores > cut]
        if ranked.size >= depth:
            cut = float(np.partition(ranked, ranked.size - depth)[ranked.size - depth])
        above = np.sort(scores[scores > cut])[::-1]
        return cls(scores, cut, above, int(np.count_nonzero(scores == cut)))

    def spans(self, features: Ints) -> tuple[NDArray[Any], NDArray[Any]]:
        """First and last rank of the groups of some features that are at or above the cut."""
        rising = -self.above
        wanted = -self.scores[features]
        first = np.searchsorted(rising, wanted, side="left") + 1.0
        last = np.searchsorted(rising, wanted, side="right").astype(np.float64)
        at_cut = self.scores[features] == self.cut
        return first, np.where(at_cut, self.above.size + self.n_at_cut, last)


def _common(one: _Top, other: _Top, depth: int) -> Floats:
    """Expected number of features that both lists have among their first d, for d = 1 .. depth, (depth,)."""
    reach_one, reach_other = one.scores >= one.cut, other.scores >= other.cut
    both = reach_one & reach_other
    both_at_cut = both & (one.scores == one.cut) & (other.scores == other.cut)
    # The features at both cuts are alike and may be very many: one of them stands for all. Others are 2 depth at most.
    features = np.flatnonzero(both & ~both_at_cut)
    n_alike = int(np.count_nonzero(both_at_cut))
    times = np.ones(features.size)
    if n_alike:
        features = np.append(features, int(np.argmax(both_at_cut)))
        times = np.append(times, float(n_alike))
    (t1, s1), (t2, s2) = one.spans(features), other.spans(features)
    n1, n2 = s1 - t1 + 1.0, s2 - t2 + 1.0
    # A feature counts 0 before both groups have begun and 1 once both are over. In between, its count is a product of
    # two ramps, then one ramp: polynomials in d, which begin at one rank and end at the next.
    begin, middle, end = np.maximum(t1, t2), np.minimum(s1, s2) + 1.0, np.maximum(s1, s2) + 1.0
    polynomials = np.zeros((3, depth + 2))
    c1, c2 = (1.0 - t1) / n1, (1.0 - t2) / n2

    def piece(start: Floats, stop: Floats, *coefficients: Floats) -> None:
        stop = np.maximum(start, stop)
        for order, values in enumerate(coefficients):
            for at, sign in ((start, 1.0), (stop, -1.0)):
                inside = np.minimum(at, depth + 1).astype(np.int64)
                polynomials[order] += np.bincount(inside, weights=sign * times * values, minlength=depth + 2)

    longer_is_one = s1 > s2
    slope, constant = np.where(longer_is_one, 1.0 / n1, 1.0 / n2), np.where(longer_is_one, c1, c2)
    piece(begin, middle, c1 * c2, c1 / n2 + c2 / n1, 1.0 / (n1 * n2))
    piece(np.maximum(begin, middle), end, constant, slope)
    piece(np.maximum(begin, end), np.full_like(end, np.inf), np.ones_like(end))
    d = np.arange(1.0, depth + 1)
    q0, q1, q2 = np.cumsum(polynomials, axis=1)[:, 1 : depth + 1]
    common: Floats = q0 + d * (q1 + d * q2)
    return common


def _scores(op: str, name: str, values: Any) -> Floats:
    scores = as_array(op, name, values)
    if scores.dtype.kind not in "fiub" or scores.ndim != 1 or not scores.size:
        raise InputError(f"{op}: {name} must be a score for each feature, got {scores.dtype} of shape {scores.shape}")
    found: Floats = scores.astype(np.float64, copy=False)
    n_missing = int(np.count_nonzero(np.isnan(found)))
    if n_missing:
        raise InputError(f"{op}: {name} must be without NaN, got {n_missing:,} of them")
    return found
