"""How many features without a signal a selection by frequency lets through: upper bounds of their expected number.

A procedure selects some features from each of many halves of the samples, ``q`` of ``p`` on average. Those that it
selects in at least a share ``threshold`` of the halves are kept. The bounds say how many of the kept ones are, in
expectation, features that a single half selects with a probability of at most ``q / p``: no more often than a
procedure that draws features at random.

The halves come in complementary pairs: the samples are divided into two halves of ``n // 2`` samples that share none,
``n_pairs`` times. The bounds "worst case", "unimodal" and "r-concave" hold for such pairs alone. The one of Meinshausen
and Buehlmann holds for independent halves too, and asks for more: that features without a signal are exchangeable, and
that the procedure does not do worse than chance. No bound is proved for subsamples that are larger than a half.

References
----------
R. D. Shah and R. J. Samworth (2013). Variable selection with error control: another look at stability selection.
Journal of the Royal Statistical Society B 75, 55-80.

N. Meinshausen and P. Buehlmann (2010). Stability selection. Journal of the Royal Statistical Society B 72, 417-473.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.util.checks import check_all, choice, number, whole_number
from pixfold.util.text import must_be

Floats = NDArray[np.float64]

ASSUMPTIONS = ("exchangeable", "worst case", "unimodal", "r-concave")

_CHECKS = {
    "n_features": whole_number(1),
    "q": number(above_zero=True),
    "expected": number(above_zero=True),
    "n_pairs": whole_number(1),
    "assumption": choice(ASSUMPTIONS),
}
# Shapes that are tried at once, and how often the neighbourhood of the best one is looked at more closely.
_GRID = 20
_ZOOMS = 4
# Between which logarithms a shape is looked for, and how often that interval is halved: to its last bit.
_LOG_A = (-50.0, 25.0)
_HALVINGS = 60
# What rounding may add to a threshold that is meant to be a multiple of 1 / (2 n_pairs).
_SLACK = 1e-9


@dataclass(frozen=True)
class FalseSelectionBounds:
    """Upper bounds of the expected number of false selections; none is above the number of features.

    Attributes
    ----------
    exchangeable : float
        Meinshausen and Buehlmann (2010), Theorem 1: ``q^2 / (p (2 threshold - 1))``.
    worst_case : float
        Shah and Samworth (2013), Theorem 1: the same number, of features of low selection probability, without any
        assumption.
    unimodal : float
        Their Theorem 2: where the share of the pairs of which both halves select a feature is distributed unimodally.
        ``worst_case`` where the theorem says nothing.
    r_concave : float
        Their Section 3.3: where that share is (-1/2)-concave, and the selection frequency (-1/4)-concave.
    """

    exchangeable: float
    worst_case: float
    unimodal: float
    r_concave: float

    def under(self, assumption: str) -> float:
        """Give the bound under one of ``ASSUMPTIONS``."""
        choice(ASSUMPTIONS)("FalseSelectionBounds.under", "assumption", assumption)
        bound: float = getattr(self, assumption.replace(" ", "_").replace("-", "_"))
        return bound


def false_selection_bounds(n_features: int, q: float, threshold: float, *, n_pairs: int = 50) -> FalseSelectionBounds:
    """Bound the expected number of features of low selection probability among those that are kept.

    Parameters
    ----------
    n_features : int
        Features that can be selected, ``p``.
    q : float
        Features that a half selects on average, above 0 and at most ``p``.
    threshold : float
        Share of the halves that must select a feature for it to be kept: above 1/2, at most 1. A frequency is a
        multiple of ``1 / (2 n_pairs)``, so that a threshold between two multiples acts as the upper one.
    n_pairs : int
        Complementary pairs, ``B``.

    Returns
    -------
    FalseSelectionBounds

    Raises
    ------
    InputError
        For an argument out of its range.
    """
    op = "false_selection_bounds"
    check_all(op, _CHECKS, {"n_features": n_features, "q": q, "n_pairs": n_pairs})
    if q > n_features:
        raise InputError(must_be(op, "q", f"at most the {n_features} features", q))
    number(most=1.0)(op, "threshold", threshold)
    if threshold <= 0.5:
        raise InputError(must_be(op, "threshold", "above 0.5 and at most 1", threshold))
    halves = 2 * n_pairs
    least = math.ceil(threshold * halves - _SLACK)
    theta, tau = q / n_features, least / halves
    worst = q * theta / (2.0 * tau - 1.0)
    unimodal = _unimodal_constant(theta, tau, n_pairs) * q * theta
    # Both halves of a pair select a feature in at least a share 2 tau - 1 of the pairs (Lemma 1).
    r_concave = min(
        r_concave_tail(theta * theta, least - n_pairs, n_pairs, r=-0.5),
        r_concave_tail(theta, least, halves, r=-0.25),
    )
    most = float(n_features)
    return FalseSelectionBounds(
        exchangeable=min(most, worst),
        worst_case=min(most, worst),
        unimodal=min(most, worst, unimodal),
        r_concave=min(most, n_features * r_concave),
    )


def threshold_for(
    expected: float, n_features: int, q: float, *, n_pairs: int = 50, assumption: str = "r-concave"
) -> float | None:
    """Give the smallest threshold that bounds the expected number of false selections.

    Parameters
    ----------
    expected : float
        What the bound may be at most, above 0.
    n_features, q, n_pairs
        As for :func:`false_selection_bounds`.
    assumption : str
        One of ``ASSUMPTIONS``.

    Returns
    -------
    float or None
        A multiple of ``1 / (2 n_pairs)``; None where even 1 does not bound it so.
    """
    op = "threshold_for"
    check_all(op, _CHECKS, {"expected": expected, "n_pairs": n_pairs, "assumption": assumption})
    # The bound falls with the threshold, so that the smallest one is found by halving.
    low, high = n_pairs, 2 * n_pairs + 1
    while high - low > 1:
        middle = (low + high) // 2
        bounds = false_selection_bounds(n_features, q, middle / (2 * n_pairs), n_pairs=n_pairs)
        low, high = (low, middle) if bounds.under(assumption) <= expected else (middle, high)
    return None if high > 2 * n_pairs else high / (2 * n_pairs)


def _unimodal_constant(theta: float, tau: float, n_pairs: int) -> float:
    """Give ``C(tau, B)`` of Theorem 2; infinity where the theorem says nothing."""
    step = 1.0 / (2 * n_pairs)
    if theta > 1.0 / math.sqrt(3.0) or tau <= 0.5 + min(theta**2, step + 0.75 * theta**2):
        return math.inf
    if tau <= 0.75:
        room = 2.0 * tau - 1.0 - step
        return 1.0 / (2.0 * room) if room > 0.0 else math.inf
    return 4.0 * (1.0 - tau + step) / (1.0 + 2.0 * step)


def r_concave_tail(mean: float, least: int, n_steps: int, *, r: float) -> float:
    """Give the largest probability that an r-concave variable is at least a value, where its mean is known.

    The variable takes the values ``0, 1/n, ..., 1`` with probabilities whose ``r``-th power is convex (``r < 0``). It
    is ``D(mean, least / n, n, r)`` of Shah and Samworth (2013), Section 3.3.

    Parameters
    ----------
    mean : float
        Upper bound of the mean, from 0 to 1.
    least : int
        The value is ``least / n_steps``.
    n_steps : int
        ``n``.
    r : float
        Below 0.

    Returns
    -------
    float
        1 for values of at most twice the mean (rounded up), where the variable may be spread evenly around it.

    Notes
    -----
    The extremal variable (their Appendix A.4) has probabilities proportional to ``(a + i)^(1/r)`` for ``i = 0 .. k``,
    and what the mean then asks for at ``k + 1``, at most as much as the formula would give there. The mean over
    ``0 .. k`` grows with ``a``, so each ``k`` belongs to an interval of ``a``: all of them are searched on a grid, and
    the neighbourhood of the best value is then looked at more closely.
    """
    asked = mean * n_steps
    if least <= math.ceil(2.0 * asked - _SLACK):
        return 1.0
    if asked <= 0.0:
        return 0.0
    ends = np.log([_shape_of_mean(asked, k, r) for k in range(n_steps, least - 2, -1)])
    grid = np.append((ends[:-1, None] + np.diff(ends)[:, None] * np.arange(_GRID) / _GRID).ravel(), ends[-1])
    best = 0.0  # below which rounding may put the smallest tails
    for _ in range(1 + _ZOOMS):
        tails = _tails(np.exp(grid), asked, least, n_steps, r)
        at = int(np.argmax(tails))
        best = max(best, float(tails[at]))
        grid = np.linspace(grid[max(0, at - 1)], grid[min(len(grid) - 1, at + 1)], _GRID)
    return min(1.0, best)


def _shape_of_mean(asked: float, k: int, r: float) -> float:
    """Find the ``a`` for which the mean over ``0 .. k`` is the asked one, by halving its logarithm."""
    i = np.arange(k + 1)
    low, high = _LOG_A
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        weights = np.power(1.0 + i / math.exp(middle), 1.0 / r)
        low, high = (middle, high) if i @ weights < asked * weights.sum() else (low, middle)
    return math.exp(high)


def _tails(a: Floats, asked: float, least: int, n: int, r: float) -> Floats:
    """Probability of ``least`` and more for each ``a``, (len(a),)."""
    i = np.arange(n + 1)
    # Relative to the weight at 0, which is the largest: a power of a small `a` would overflow.
    weights = np.power(1.0 + i / a[:, None], 1.0 / r)
    total, first = np.cumsum(weights, axis=1), np.cumsum(i * weights, axis=1)
    # Rounding may put the ends of the interval just outside of it.
    k = np.clip(np.count_nonzero(first <= asked * total, axis=1) - 1, least - 1, n - 1)
    row = np.arange(len(a))
    # Sum of probabilities 1 and mean `asked` give the factor c of the weights: c * sum (k + 1 - i) w_i = k + 1 - asked.
    denominator = (k + 1) * total[row, k] - first[row, k]
    tails: Floats = 1.0 - (k + 1 - asked) * total[row, least - 1] / denominator
    return tails
