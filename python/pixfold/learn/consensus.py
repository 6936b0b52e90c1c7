"""What the runs agree on: importances, ranks, selection frequency, and when to stop.

Gradients of two networks are on two scales, so every run is first divided by the sum of its importances: a
feature's importance is its share of all the importance that the run found, and the shares of one run add up
to 1. The signed and absolute means per class are divided by the same number, so they stay comparable with the
importance.

**Convergence.** With ``n`` accepted runs, let ``m`` be the mean of all of them and ``m_i`` the mean without
run ``i``. The *standing* of a feature is how far its importance rises above the (k + 1)-th largest, ``s_j =
max(0, m_j - m_(k+1))``: zero outside the top ``k``, and zero for a tied group that straddles ``k``. The
agreement of two standings is the weighted Jaccard index ``sum_j min(s_j, t_j) / sum_j max(s_j, t_j)``, and
the agreement of the consensus is the smallest one between ``m`` and any ``m_i``. The ranking has converged
when there are at least ``min_runs`` accepted runs and the agreement is at least ``1 - tolerance``: leaving
out any one run would move at most that share of what the top features stand out by. The order of the runs
does not matter. Features that barely pass the cut weigh next to nothing: among thousands of features without
a signal the order is noise, and waiting for it to settle (as a plain top-k overlap or a rank correlation over
all features would) means waiting for ever.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.ops import rank, top_k
from pixfold.util.checks import check_all, number, whole_number

Floats = NDArray[np.float64]

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
        At least 0; any scale.
    class_mean : float64[n_classes, n_features]
        Signed mean attribution per class, on the scale of ``importance``. ``n_classes`` may be 0.
    class_mean_abs : float64[n_classes, n_features]
        Mean absolute attribution per class, on the scale of ``importance``.
    n_used : int
        How many samples were attributed.
    class_count : int64[n_classes] or None
        How many samples of each class were attributed: a class with none says nothing in this run and is left
        out of the class means. None: every class whose row holds no NaN counts.
    """

    importance: Floats
    class_mean: Floats
    class_mean_abs: Floats
    n_used: int
    class_count: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class ConsensusResult:
    """What the accepted runs agree on, in feature order.

    Without an accepted run, importances and ranks are NaN and ``selection_frequency`` is 0.

    Parameters
    ----------
    importance, importance_median, importance_std : float64[n_features]
        Over runs, of each run's share of importance. The standard deviation is that of a sample (n - 1); NaN
        for one run.
    mean_rank : float64[n_features]
        Mean over runs of the rank in the run: 1 is the largest, ties get their average rank.
    selection_frequency : float64[n_features]
        Share of the runs in which the feature is among the top ``k``; a tied group that straddles ``k`` is
        left out.
    rank : float64[n_features]
        Rank of ``importance``, 1 is the largest, ties averaged. NaN where the importance is 0: a feature that
        no run used has no rank.
    class_mean, class_mean_abs : float64[n_classes, n_features]
        Mean over the runs that attributed samples of the class, each run divided by its sum of importances.
        NaN for a class that no run attributed.
    n_runs, n_rejected : int
        Accepted and rejected runs.
    k : int
        Size of the top.
    agreement : float
        Smallest agreement between the consensus and the consensus without one run (see the module); NaN below
        two runs.
    converged : bool
        Whether the criterion of the module is met.
    """

    importance: Floats
    importance_median: Floats
    importance_std: Floats
    mean_rank: Floats
    selection_frequency: Floats
    rank: Floats
    class_mean: Floats
    class_mean_abs: Floats
    n_runs: int
    n_rejected: int
    k: int
    agreement: float
    converged: bool


def default_k(n_features: int) -> int:
    """Give the size of the top: 1 % of the features, at least 10, at most 100, never more than half."""
    return max(1, min(100, max(10, round(0.01 * n_features)), n_features // 2))


class Consensus:
    """Collects runs one by one and says what they agree on.

    Parameters
    ----------
    n_features : int
        Features per run.
    k : int, optional
        Size of the top that selection frequency and convergence look at; :func:`default_k` when None.
    tolerance : float
        How much of the top's standing may move when one run is left out, from 0 to 1.
    min_runs : int
        Accepted runs below which nothing counts as converged, at least 2.

    Raises
    ------
    InputError
        When a parameter is out of range.
    """

    def __init__(self, n_features: int, *, k: int | None = None, tolerance: float = 0.1, min_runs: int = 3) -> None:
        given = {"n_features": n_features, "k": k, "tolerance": tolerance, "min_runs": min_runs}
        check_all("Consensus", _CHECKS, given)
        self.n_features = n_features
        self.k = default_k(n_features) if k is None else min(k, n_features)
        self.tolerance = tolerance
        self.min_runs = min_runs
        self.rejected: list[str] = []
        self._runs: list[Floats] = []
        self._sum = np.zeros(n_features)
        self._rank_sum = np.zeros(n_features)
        self._selected = np.zeros(n_features)
        # Of classes, whose number the first run tells: sums of their means, and the runs that are in them.
        self._class_sum = self._class_abs_sum = np.empty((0, n_features))
        self._class_runs = np.empty(0, dtype=np.int64)
        self._agreement: float | None = None

    @property
    def n_runs(self) -> int:
        """Accepted runs so far."""
        return len(self._runs)

    def add(self, run: RunImportance) -> bool:
        """Add a run; False when its importances cannot rank anything.

        A run whose importances are all zero, all equal, or not finite is left out, and the reason is appended
        to ``rejected``.

        Raises
        ------
        InputError
            When shapes do not match or an importance is negative: a mistake of the caller, not a bad run.
        """
        importance = np.asarray(run.importance, dtype=np.float64)
        mean, mean_abs, counted = self._checked_classes(run, importance)
        reason = _why_unusable(importance)
        if reason is not None:
            self.rejected.append(reason)
            return False
        total = float(importance.sum())
        share = importance / total
        self._runs.append(share)
        self._sum += share
        self._rank_sum += rank(share)
        self._selected[top_k(share, self.k)] += 1.0
        if self.n_runs == 1:
            self._class_sum, self._class_abs_sum = np.zeros_like(mean), np.zeros_like(mean)
            self._class_runs = np.zeros(len(mean), dtype=np.int64)
        self._class_sum[counted] += mean[counted] / total
        self._class_abs_sum[counted] += mean_abs[counted] / total
        self._class_runs += counted
        self._agreement = None
        return True

    @property
    def agreement(self) -> float:
        """Smallest agreement with the consensus that leaves one run out; NaN below two runs."""
        if self.n_runs < 2:
            return float("nan")
        if self._agreement is None:
            whole = _standing(self._sum / self.n_runs, self.k)
            self._agreement = min(
                _weighted_jaccard(whole, _standing((self._sum - run) / (self.n_runs - 1), self.k)) for run in self._runs
            )
        return self._agreement

    @property
    def converged(self) -> bool:
        """Whether enough runs agree: the criterion of the module."""
        return self.n_runs >= self.min_runs and self.agreement >= 1.0 - self.tolerance

    def result(self) -> ConsensusResult:
        """Sum up what the runs added so far agree on."""
        n = self.n_runs
        nothing = np.full(self.n_features, np.nan)
        runs = np.stack(self._runs or [nothing])
        importance = runs.mean(axis=0)
        return ConsensusResult(
            importance=importance,
            importance_median=np.median(runs, axis=0),
            importance_std=runs.std(axis=0, ddof=1) if n > 1 else nothing,
            mean_rank=self._rank_sum / n if n else nothing,
            selection_frequency=self._selected / max(n, 1),
            rank=np.where(importance > 0.0, rank(importance), np.nan) if n else nothing,
            class_mean=_divided(self._class_sum, self._class_runs),
            class_mean_abs=_divided(self._class_abs_sum, self._class_runs),
            n_runs=n,
            n_rejected=len(self.rejected),
            k=self.k,
            agreement=self.agreement,
            converged=self.converged,
        )

    def _checked_classes(self, run: RunImportance, importance: Floats) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        """Give the class means as float64 arrays and which classes count, after checking every shape."""
        if importance.shape != (self.n_features,):
            raise InputError(f"Consensus.add: importance must have shape ({self.n_features},), got {importance.shape}")
        if np.any(importance < 0.0):
            raise InputError(f"Consensus.add: importance must be 0 or more, got {importance.min()}")
        mean = np.asarray(run.class_mean, dtype=np.float64)
        mean_abs = np.asarray(run.class_mean_abs, dtype=np.float64)
        n_classes = len(self._class_runs) if self._runs else len(mean)
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


def _why_unusable(importance: Floats) -> str | None:
    if not np.isfinite(importance).all():
        return f"{int((~np.isfinite(importance)).sum())} importances are not finite"
    if not importance.any():
        return "all importances are zero"
    if importance.min() == importance.max():
        return "all importances are equal"
    return None


def _standing(mean: Floats, k: int) -> Floats:
    """Measure how far each feature rises above the (k + 1)-th largest mean, or above 0 when there is none."""
    if k >= len(mean):
        return mean
    cut = np.partition(mean, len(mean) - k - 1)[len(mean) - k - 1]
    standing: Floats = np.maximum(mean - cut, 0.0)
    return standing


def _weighted_jaccard(a: Floats, b: Floats) -> float:
    """Sum of the smaller over the sum of the larger; 0 when nothing stands out in either."""
    larger = float(np.maximum(a, b).sum())
    return float(np.minimum(a, b).sum()) / larger if larger > 0.0 else 0.0


def _divided(total: Floats, runs: NDArray[np.int64]) -> Floats:
    mean = np.full_like(total, np.nan)
    counted = runs > 0
    mean[counted] = total[counted] / runs[counted, None]
    return mean
