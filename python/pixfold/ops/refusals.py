"""Values that a formula has no answer for: the error that says how many, in which features, and what handles them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.arrays.dense import Csr, Dense, OnCuda, Packed, samples_anywhere, threads_argument
from pixfold.errors import InputError
from pixfold.formula import Accepted
from pixfold.layout import Layout
from pixfold.ops.census import census_of
from pixfold.ops.column_stats import ColumnStats, stats_of
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
    x = samples_anywhere("fold", X, n_threads)
    could_miss = not accepted.missing and (x.dtype.kind == "f" or x.bfloat16)
    could_be_negative = not accepted.negative and x.dtype.kind != "u"
    if not could_miss and not could_be_negative:
        return
    if not accepted.genotypes_only and not isinstance(x, Packed):
        counts = census_of(x, n_threads)
        if not accepted.refuses(counts.missing, counts.negative):
            return
    stats = stats_of(x, False, None, None, False, n_threads)
    placed = layout.pixel_of_feature >= 0
    # A dropped feature is as good as one without values.
    seen = replace(
        stats,
        missing=np.where(placed, stats.missing, 0),
        min=np.where(placed, stats.min, np.nan),
        max=np.where(placed, stats.max, np.nan),
    )
    refuse("fold", x, seen, accepted)


def refuse(op: str, x: Dense | Csr | Packed | OnCuda, stats: ColumnStats, accepted: Accepted) -> None:
    """Raise the error for samples whose statistics hold what is not accepted; infinite values too, but for folds."""
    names = accepted.feature_names
    if not accepted.missing and stats.missing.any():
        raise InputError(
            f"{op}: X must have no missing values, got {int(stats.missing.sum())} NaN in "
            f"{_named(stats.missing > 0, names)}; missing='mean' or missing='zero' handles them"
        )
    if op != "fold" and stats.n_infinite:
        found = stats_of(x, False, None, None, False, 0)
        where = ~np.isfinite(found.min) & (found.count > 0) | ~np.isfinite(found.max) & (found.count > 0)
        raise InputError(
            f"{op}: X must be finite, got {counted(stats.n_infinite, 'infinite value')} in {_named(where, names)}"
        )
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


def _named(where: NDArray[np.bool_], names: Sequence[str] | None) -> str:
    positions = np.flatnonzero(where)
    told = [f"{names[j]!r}" if names is not None else f"number {j}" for j in positions[:3]]
    more = ", ..." if positions.size > 3 else ""
    return f"{counted(positions.size, 'feature')} ({', '.join(told)}{more})"
