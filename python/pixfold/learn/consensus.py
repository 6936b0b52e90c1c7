"""What the runs agree on: evidence, ranks, selection frequency, and when to stop.

Scores of two networks are on two scales, so every run is first divided by the sum of its absolute evidence, and then
averaged with its sign: what the random part of single runs says cancels, what they share stays. The signed and absolute
means per class and the gradients are divided by the same number.

**Agreement.** The runs are halved at random a few times; the agreement is the mean rank-biased overlap of the lists
that the two halves give (:mod:`pixfold.learn.agreement`). The list has converged when there are at least ``min_runs``
runs and the agreement is at least ``1 - tolerance``. Halves of the runs know less than all of them together, so the
whole list is at least as stable as the agreement says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.learn.agreement import rank_biased_overlap
from pixfold.ops import rank, top_k
from pixfold.util.checks import check_all, number, whole_number

Floats = NDArray[np.float64]

_HALVINGS = 4
# What a consensus has added up, by the names of its attributes.
_PER_CLASS = ("class_sum", "class_abs_sum", "gradient_sum", "class_runs")
_SUMS = ("sum", "squares", "halves", "last_half", "rank_sum", "selected", "saliency", *_PER_CLASS)

_CHECKS = {
    "n_features": whole_number(1),
    "k": whole_number(1, optional=True),
    "tolerance": number(most=1.0),
    "min_runs": whole_number(2),
}


@dataclass(frozen=True)
class RunImportance:
    """What one run says about every feature.

    Parameters
    ----------
    importance : float64[n_features]
        Evidence; any scale, with its sign. Negative: on held-out samples the feature spoke against the truth.
    class_mean : float64[n_classes, n_features]
        Signed mean attribution per class, on the scale of ``importance``. ``n_classes`` may be 0.
    class_mean_abs : float64[n_classes, n_features]
        Mean absolute attribution per class, on the scale of ``importance``.
    n_used : int
        How many samples were attributed.
    class_count : int64[n_classes] or None
        How many samples of each class were attributed: a class with none says nothing in this run and is left
        out of the class means. None: every class whose row holds no NaN counts.
    saliency : float64[n_features] or None
        Mean absolute gradient, where it was made.
    class_gradient : float64[n_classes, n_features] or None
        Mean gradient of each class's score over the samples of the class, where it was made.
    """

    importance: Floats
    class_mean: Floats
    class_mean_abs: Floats
    n_used: int
    class_count: NDArray[np.int64] | None = None
    saliency: Floats | None = None
    class_gradient: Floats | None = None


@dataclass(frozen=True)
class ConsensusResult:
    """What the runs agree on, in feature order.

    Without a run, importances and ranks are NaN and ``selection_frequency`` is 0.

    Parameters
    ----------
    importance : float64[n_features]
        Evidence: mean over the runs of each run's share, with its sign.
    importance_se : float64[n_features]
        Its standard error: the standard deviation over runs (n - 1) divided by the root of their number. Runs share
        samples, so it says how much the runs differ, not how much new samples would. NaN for one run.
    mean_rank : float64[n_features]
        Mean over runs of the rank in the run: 1 is the largest, ties get their average rank.
    selection_frequency : float64[n_features]
        Share of the runs in which the feature is among the top ``k``; a tied group that straddles ``k`` is
        left out.
    rank : float64[n_features]
        Rank of ``importance``, 1 is the largest, ties averaged. NaN where the importance is not above 0: there is no
        evidence for such a feature.
    saliency : float64[n_features]
        Mean over runs of the mean absolute gradient, each run divided by its sum; NaN where no run made it.
    direction : int64[n_features]
        Class whose score rises most with the feature, by its mean gradient over runs; of a single output (a quantity) 1
        where it rises with the feature and 0 where it falls. -1 where that is not known.
    class_mean, class_mean_abs : float64[n_classes, n_features]
        Mean over the runs that attributed samples of the class, each run divided by its sum of absolute importance.
        NaN for a class that no run attributed.
    n_runs, n_rejected : int
        Runs used, and runs that could not be used.
    k : int
        Size of the top.
    agreement : float
        Of two halves of the runs (see the module); NaN below two runs.
    agreement_curve : float64[n_runs]
        The agreement of the first 1, 2, ... runs; NaN where it was not asked for while they were the last.
    converged : bool
        Whether the criterion of the module is met.
    """

    importance: Floats
    importance_se: Floats
    mean_rank: Floats
    selection_frequency: Floats
    rank: Floats
    saliency: Floats
    direction: NDArray[np.int64]
    class_mean: Floats
    class_mean_abs: Floats
    n_runs: int
    n_rejected: int
    k: int
    agreement: float
    agreement_curve: Floats
    converged: bool


def default_k(n_features: int) -> int:
    """Give the size of the top: 1 % of the features, at least 10, at most 100, never more than half."""
    return max(1, min(100, max(10, round(0.01 * n_features)), n_features // 2))


class Consensus:
    """Collects runs one by one and says what they agree on.

    Memory holds a few sums per feature, whatever the number of runs.

    Parameters
    ----------
    n_features : int
        Features per run.
    k : int, optional
        Size of the top that selection frequency and agreement look at; :func:`default_k` when None.
    tolerance : float
        How far the agreement of two halves of the runs may stay below 1, from 0 to 1.
    min_runs : int
        Runs below which nothing counts as converged, at least 2.

    Raises
    ------
    InputError
        When a parameter is out of range.
    """

    def __init__(self, n_features: int, *, k: int | None = None, tolerance: float = 0.1, min_runs: int = 2) -> None:
        given = {"n_features": n_features, "k": k, "tolerance": tolerance, "min_runs": min_runs}
        check_all("Consensus", _CHECKS, given)
        self.n_features = n_features
        self.k = default_k(n_features) if k is None else min(k, n_features)
        self.tolerance = tolerance
        self.min_runs = min_runs
        self.n_runs = 0
        self.rejected: list[str] = []
        self._sum, self._squares = np.zeros(n_features), np.zeros(n_features)
        # Sums of one half of the runs each; the other half is the rest.
        self._halves = np.zeros((_HALVINGS, n_features))
        self._draw = np.random.default_rng(0)
        self._last_half = np.zeros(_HALVINGS, dtype=bool)
        self._rank_sum, self._selected = np.zeros(n_features), np.zeros(n_features)
        self._saliency, self._n_saliency = np.zeros(n_features), 0
        # Of classes, whose number the first run tells: sums of their means, and the runs that are in them.
        self._class_sum = self._class_abs_sum = self._gradient_sum = np.empty((0, n_features))
        self._class_runs = np.empty(0, dtype=np.int64)
        self._agreement: float | None = None
        self._curve: list[float] = []

    def add(self, run: RunImportance) -> bool:
        """Add a run; False when its importances cannot rank anything.

        A run whose importances are all zero, all equal, or not finite is left out, and the reason is appended
        to ``rejected``.

        Raises
        ------
        InputError
            When shapes do not match: a mistake of the caller, not a bad run.
        """
        importance = np.asarray(run.importance, dtype=np.float64)
        mean, mean_abs, counted = self._checked_classes(run, importance)
        reason = _why_unusable(importance)
        if reason is not None:
            self.rejected.append(reason)
            return False
        total = float(np.abs(importance).sum())
        share = importance / total
        self.n_runs += 1
        self._sum += share
        self._squares += share * share
        # Of every two runs one goes to each half.
        into = self._draw.random(_HALVINGS) < 0.5 if self.n_runs % 2 else ~self._last_half
        self._last_half = into
        self._halves[into] += share
        self._rank_sum += rank(share)
        self._selected[top_k(share, self.k)] += 1.0
        if run.saliency is not None:
            self._saliency += run.saliency / max(float(np.abs(run.saliency).sum()), np.finfo(float).tiny)
            self._n_saliency += 1
        if self.n_runs == 1:
            self._class_sum, self._class_abs_sum = np.zeros_like(mean), np.zeros_like(mean)
            self._gradient_sum = np.zeros_like(mean)
            self._class_runs = np.zeros(len(mean), dtype=np.int64)
        self._class_sum[counted] += mean[counted] / total
        self._class_abs_sum[counted] += mean_abs[counted] / total
        if run.class_gradient is not None:
            self._gradient_sum[counted] += np.nan_to_num(run.class_gradient[counted]) / total
        self._class_runs += counted
        self._agreement = None
        self._curve.append(float("nan"))
        return True

    @property
    def agreement(self) -> float:
        """Agreement of two halves of the runs; NaN below two runs."""
        if self.n_runs < 2:
            return float("nan")
        if self._agreement is None:
            depth = effective_number(self._sum, self.k)
            overlaps = [
                rank_biased_overlap(half, self._sum - half, depth, depth=None if depth == self.k else depth)
                for half in self._halves
            ]
            self._agreement = self._curve[-1] = float(np.mean(overlaps))
        return self._agreement

    @property
    def converged(self) -> bool:
        """Whether enough runs agree: the criterion of the module."""
        return self.n_runs >= self.min_runs and self.agreement >= 1.0 - self.tolerance

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Give what :meth:`restore` needs to go on: arrays and plain values."""
        _ = self.agreement  # its value of this run is part of the state
        arrays = {name: getattr(self, f"_{name}") for name in _SUMS}
        values = {"n_runs": self.n_runs, "n_saliency": self._n_saliency, "rejected": self.rejected}
        values["curve"] = [None if value != value else value for value in self._curve]  # JSON knows no NaN
        return arrays, {**values, "draw": self._draw.bit_generator.state}

    def restore(self, arrays: Mapping[str, NDArray[Any]], values: Mapping[str, Any]) -> None:
        """Go on where :meth:`state` was called.

        Raises
        ------
        ValueError
            When the arrays are of another number of features.
        """
        n_classes = len(arrays["class_runs"])  # known from the first run on
        for name in _SUMS:
            before, after = getattr(self, f"_{name}"), np.array(arrays[name])
            shape = (n_classes, *before.shape[1:]) if name in _PER_CLASS else before.shape
            if after.shape != shape or after.dtype != before.dtype:
                raise ValueError(f"{name} must be {before.dtype} of shape {shape}, got {after.dtype} of {after.shape}")
            setattr(self, f"_{name}", after)
        self.n_runs, self._n_saliency = int(values["n_runs"]), int(values["n_saliency"])
        self.rejected = list(values["rejected"])
        self._curve = [float("nan") if value is None else float(value) for value in values["curve"]]
        if len(self._curve) != self.n_runs:
            raise ValueError(f"curve must be a value for each of {self.n_runs} runs, got {len(self._curve)}")
        self._draw.bit_generator.state = dict(values["draw"])
        self._agreement = None

    def result(self) -> ConsensusResult:
        """Sum up what the runs added so far agree on."""
        n = self.n_runs
        nothing = np.full(self.n_features, np.nan)
        importance = self._sum / n if n else nothing
        variance = np.maximum(self._squares - n * importance**2, 0.0) / max(n - 1, 1)
        gradients = _divided(self._gradient_sum, self._class_runs)
        return ConsensusResult(
            importance=importance,
            importance_se=np.sqrt(variance / n) if n > 1 else nothing,
            mean_rank=self._rank_sum / n if n else nothing,
            selection_frequency=self._selected / max(n, 1),
            rank=ranked(importance) if n else nothing,
            saliency=self._saliency / self._n_saliency if self._n_saliency else nothing,
            direction=_largest(gradients, self.n_features),
            class_mean=_divided(self._class_sum, self._class_runs),
            class_mean_abs=_divided(self._class_abs_sum, self._class_runs),
            n_runs=n,
            n_rejected=len(self.rejected),
            k=self.k,
            agreement=self.agreement,
            agreement_curve=np.array(self._curve),
            converged=self.converged,
        )

    def _checked_classes(self, run: RunImportance, importance: Floats) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        """Give the class means as float64 arrays and which classes count, after checking every shape."""
        if importance.shape != (self.n_features,):
            raise InputError(f"Consensus.add: importance must have shape ({self.n_features},), got {importance.shape}")
        mean = np.asarray(run.class_mean, dtype=np.float64)
        mean_abs = np.asarray(run.class_mean_abs, dtype=np.float64)
        n_classes = len(self._class_runs) if self.n_runs else len(mean)
        for name, rows in (("class_mean", mean), ("class_mean_abs", mean_abs)):
            if rows.shape != (n_classes, self.n_features):
                raise InputError(
                    f"Consensus.add: {name} must have shape ({n_classes}, {self.n_features}), got {rows.shape}"
                )
        if run.class_count is None:
            return mean, mean_abs, np.logical_not(np.isnan(mean).any(axis=1))
        count = np.asarray(run.class_count)
        if count.shape != (n_classes,):
            raise InputError(f"Consensus.add: class_count must have shape ({n_classes},), got {count.shape}")
        return mean, mean_abs, np.asarray(count > 0, dtype=np.bool_)


def effective_number(evidence: Floats, k: int) -> int:
    """Number of features that share the evidence, from 1 to ``k``: ``(sum e)^2 / sum e^2``.

    The sums are over features above the largest negative evidence: evidence without meaning is as often negative as
    positive. Two needles in a haystack are two features, whatever noise there is below them; to wait for the order of
    noise to settle is to wait for ever.
    """
    above = evidence[evidence > max(0.0, -float(evidence.min()))]
    if not len(above):
        return 1
    return int(np.clip(round(float(above.sum() ** 2 / np.square(above).sum())), 1, k))


def ranked(importance: Floats) -> Floats:
    """Rank features, 1 is the largest and ties get their average; NaN for those without evidence, at 0 or below."""
    return np.where(importance > 0.0, rank(importance), np.nan)


def _why_unusable(importance: Floats) -> str | None:
    if not np.isfinite(importance).all():
        return f"{int((~np.isfinite(importance)).sum())} importances are not finite"
    if not importance.any():
        return "all importances are zero"
    if importance.min() == importance.max():
        return "all importances are equal"
    return None


def _divided(total: Floats, runs: NDArray[np.int64]) -> Floats:
    mean = np.full_like(total, np.nan)
    counted = runs > 0
    mean[counted] = total[counted] / runs[counted, None]
    return mean


def _largest(gradients: Floats, n_features: int) -> NDArray[np.int64]:
    """Class of the largest mean gradient, or the sign of the only one; -1 without, or where all are equal."""
    if not len(gradients):
        return np.full(n_features, -1, dtype=np.int64)
    if len(gradients) == 1:  # a fall is a rise of the other direction
        gradients = np.concatenate([-gradients, gradients])
    known = np.nan_to_num(gradients, nan=-np.inf)
    best: NDArray[np.int64] = known.argmax(axis=0).astype(np.int64)
    best[known.max(axis=0) <= known.min(axis=0)] = -1
    return best
