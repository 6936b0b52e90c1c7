"""Values that a formula has no answer for: the error that says how many, in which features, and what handles them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.arrays.entry import Samples, samples
from pixfold.arrays.packed import Packed
from pixfold.errors import InputError
from pixfold.formula import Accepted
from pixfold.layout import Layout
from pixfold.ops.stats import ColumnStats, census_of, stats_of
from pixfold.util.arguments import threads_argument
from pixfold.util.text import counted


def check_values(X: Any, layout: Layout, accepted: Accepted, *, threads: int | None = None) -> None:
    """Raise the error that folding `X` would raise for missing or negative values; write nothing.

    Parameters
    ----------
    X : array (n_samples, n_features)
        As for :func:`pixfold.fold`.
    layout : Layout
        Features without a pixel are not looked at.
    accepted : Accepted
        Which values are no error.
    threads : int, optional
        As for :func:`pixfold.fold`.

    Raises
    ------
    InputError
        Saying how many there are, in which features, and which option handles them.
    """
    n_threads = threads_argument("fold", threads)
    x = samples("fold", X, n_threads)
    could_miss = not accepted.missing and x.dtype.kind == "f"
    could_be_negative = not accepted.negative and x.dtype.kind != "u"
    if not could_miss and not could_be_negative:
        return
    if not accepted.genotypes_only and not isinstance(x, Packed):
        counts = census_of(x, n_threads)
        if not accepted.refuses(counts.missing, counts.negative):
            return
    stats = stats_of(x, False, None, None, False, n_threads)
    placed = layout.pixel_of_feature >= 0
    if not accepted.missing:
        missing = np.where(placed, stats.missing, 0)
        if missing.any():
            raise _missing("fold", missing, accepted.feature_names)
    refuse("fold", x, stats, accepted, placed)


def refuse(
    op: str,
    x: Samples,
    stats: ColumnStats,
    accepted: Accepted,
    used: NDArray[np.bool_] | None = None,
) -> None:
    """Raise the error for samples whose statistics hold what is not accepted; infinite values too, but for folds.

    Missing values are not looked at. Where `used` names some features, a value of another one is no error.
    """
    names = accepted.feature_names
    if op != "fold" and stats.n_infinite:
        found = stats_of(x, False, None, None, False, 0)
        where = np.isinf(found.min) | np.isinf(found.max)
        if used is not None:
            where &= used
        if where.any():
            n = counted(stats.n_infinite, "infinite value")
            raise InputError(f"{op}: X must be finite, got {n} in {_named(where, names)}")
    if used is not None:  # a feature that is not used is as good as one without values
        low, high = np.where(used, stats.min, np.nan), np.where(used, stats.max, np.nan)
        n_negative = stats.n_negative if np.any(low < 0) else 0
        stats = replace(stats, min=low, max=high, n_negative=n_negative)
    if not accepted.negative and np.any(stats.min < 0):
        raise InputError(
            f"{op}: X must not be negative before a logarithm, got {counted(stats.n_negative, 'negative value')} in "
            f"{_named(stats.min < 0, names)}; negative='shift' handles them"
        )
    if accepted.genotypes_only and (stats.n_negative or np.any(stats.max > 2)):
        raise InputError(
            f"{op}: genotypes must be 0, 1 or 2 (NaN for a missing call), got other values in "
            f"{_named((stats.min < 0) | (stats.max > 2), names)}"
        )


def refuse_missing(
    op: str, stats: ColumnStats, names: Sequence[str] | None, used: NDArray[np.bool_] | None = None
) -> None:
    """Raise the error for features that have missing values beside others, those that are not `used` aside."""
    missing = np.where(stats.count > 0, stats.missing, 0)
    if used is not None:
        missing = np.where(used, missing, 0)
    if missing.any():
        raise _missing(op, missing, names)


def _missing(op: str, missing: NDArray[np.int64], names: Sequence[str] | None) -> InputError:
    return InputError(
        f"{op}: X must have no missing values, got {int(missing.sum())} NaN in {_named(missing > 0, names)}; "
        "missing='mean' or missing='zero' handles them"
    )


def _named(where: NDArray[np.bool_], names: Sequence[str] | None) -> str:
    positions = np.flatnonzero(where)
    shown = [f"{names[j]!r}" if names is not None else f"number {j}" for j in positions[:3]]
    more = ", ..." if positions.size > 3 else ""
    return f"{counted(positions.size, 'feature')} ({', '.join(shown)}{more})"
