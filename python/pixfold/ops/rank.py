"""rank and top_k: order features by importance, with ties treated as ties."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold import _core
from pixfold.arrays.dense import as_array, is_on_cuda, plain, threads_argument
from pixfold.arrays.interop import adopted
from pixfold.errors import InputError
from pixfold.util.text import short_repr


def rank(importance: Any, *, threads: int | None = None) -> Any:
    """Average ranks: 1 for the most important feature, tied features share the mean of the ranks they span.

    Parameters
    ----------
    importance : array (n_features,)
        NumPy, torch, JAX or CuPy array, on the CPU or a CUDA device, of any float, integer or bool dtype, compared as
        float64; NaN is refused. -0.0 equals 0.0.
    threads : int, optional
        The result does not depend on it.

    Returns
    -------
    ranks : float64 array (n_features,)
        Of the importances' library, on their device. Looking for NaN waits for a GPU once. Where JAX has no types of
        64 bits, it is float32, which holds ranks of up to 8 million features.

    Raises
    ------
    InputError
        For an input that is not one-dimensional or holds NaN. It is a ValueError.
    TypeError
        For another dtype.
    BackendError
        For a tensor on a CUDA device for which this build has no kernels, or which they do not run on.
    """
    n_threads = threads_argument("rank", threads)
    importance, kind = adopted("rank", "importance", importance)
    if kind is not None:
        return kind.of("rank", rank(importance, threads=threads))
    if is_on_cuda(importance):
        from pixfold.ops.cuda.rank import rank_tensor

        return rank_tensor(importance)
    return _core.rank(_importance("rank", importance), n_threads)


def top_k(importance: Any, k: int, *, threads: int | None = None) -> Any:
    """Positions of the `k` most important features, by decreasing importance.

    Ties are never broken by position: a tied group that would straddle the cut is left out whole, and importances
    that are all equal select nothing. Fewer than `k` positions may therefore come back.

    Parameters
    ----------
    importance : array (n_features,)
        NumPy, torch, JAX or CuPy array, on the CPU or a CUDA device, of any float, integer or bool dtype, compared as
        float64; NaN is refused. -0.0 equals 0.0.
    k : int
        At least 0; more than n_features counts as n_features.
    threads : int, optional
        The result does not depend on it.

    Returns
    -------
    positions : int64 array (at most k,)
        Of the importances' library, on their device; int32 where JAX has no types of 64 bits. It waits for a GPU
        twice, for NaN and for how many there are.

    Raises
    ------
    InputError
        For NaN, a wrong shape or a negative `k`. It is a ValueError.
    TypeError
        For another dtype.
    BackendError
        For a tensor on a CUDA device for which this build has no kernels, or which they do not run on.
    """
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 0:
        raise InputError(f"top_k: k must be a non-negative integer, got {short_repr(k)}")
    n_threads = threads_argument("top_k", threads)
    importance, kind = adopted("top_k", "importance", importance)
    if kind is not None:
        return kind.of("top_k", top_k(importance, k, threads=threads))
    if is_on_cuda(importance):
        from pixfold.ops.cuda.rank import top_k_tensor

        return top_k_tensor(importance, int(k))
    values = _importance("top_k", importance)
    return _core.top_k(values, min(int(k), values.size), n_threads)


def _importance(op: str, importance: Any) -> NDArray[np.float64]:
    values = as_array(op, "importance", importance)
    if values.dtype.kind not in "fiub":
        raise TypeError(f"{op}: importance must be of a float, integer or bool dtype, got {values.dtype}")
    if values.ndim != 1:
        raise InputError(f"{op}: importance must be one-dimensional, got shape {values.shape}")
    return plain(values, np.float64)
