"""rank and top_k: order features by importance, with ties treated as ties."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pixfold import _core
from pixfold.errors import InputError
from pixfold.ops._arrays import as_array, plain


def rank(importance: ArrayLike) -> NDArray[np.float64]:
    """Average ranks: 1 for the most important feature, tied features share the mean of the ranks they span.

    Parameters
    ----------
    importance : array (n_features,)
        Any float or integer dtype; NaN is refused.

    Returns
    -------
    ranks : float64 array (n_features,)

    Raises
    ------
    InputError
        For an input that is not one-dimensional or holds NaN. It is a ValueError.
    """
    ranks: NDArray[np.float64] = _core.rank(_importance("rank", importance))
    return ranks


def top_k(importance: ArrayLike, k: int) -> NDArray[np.int64]:
    """Positions of the `k` most important features, by decreasing importance.

    Ties are never broken by position: a tied group that would straddle the cut is left out whole, and importances
    that are all equal select nothing. Fewer than `k` positions may therefore come back.

    Parameters
    ----------
    importance : array (n_features,)
        Any float or integer dtype; NaN is refused.
    k : int
        At least 0; more than n_features counts as n_features.

    Returns
    -------
    positions : int64 array (at most k,)

    Raises
    ------
    InputError
        For NaN, a wrong shape or a negative `k`. It is a ValueError.
    """
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 0:
        raise InputError(f"top_k: k must be a non-negative integer, got {k!r}")
    values = _importance("top_k", importance)
    order: NDArray[np.int64] = _core.sort_descending(values)
    if k == 0 or values.size == 0 or values[order[0]] == values[order[-1]]:
        return order[:0]
    end = min(int(k), values.size)
    if end < values.size:
        # Step back over the group that goes on beyond the cut.
        beyond = values[order[end]]
        end = int(np.searchsorted(-values[order[:end]], -beyond, side="left"))
    return order[:end]


def _importance(op: str, importance: Any) -> NDArray[np.float64]:
    values = as_array(op, "importance", importance)
    if values.dtype.kind not in "fiub":
        raise TypeError(f"{op}: importance must be of a float or integer dtype, got {values.dtype}")
    if values.ndim != 1:
        raise InputError(f"{op}: importance must be one-dimensional, got shape {values.shape}")
    return plain(values, np.float64)
