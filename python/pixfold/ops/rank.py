"""rank and top_k: order features by importance, with ties treated as ties."""

from __future__ import annotations

from typing import Any

from pixfold import _core
from pixfold.arrays.cuda import OnCuda
from pixfold.arrays.dense import Dense
from pixfold.arrays.entry import numbers
from pixfold.errors import InputError
from pixfold.ops.cuda.rank import rank_on_cuda, top_k_on_cuda
from pixfold.util.arguments import count_argument, threads_argument


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
    x = _importance("rank", importance)
    if isinstance(x, OnCuda):
        return x.library.give("rank", rank_on_cuda(x))
    return x.give("rank", _core.rank(x.doubles(), n_threads))


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

    Examples
    --------
    >>> import pixfold as pf
    >>> pf.top_k([0.1, 0.9, 0.0, 0.4], 2).tolist()
    [1, 3]
    >>> pf.top_k([0.5, 0.9, 0.5], 2).tolist()  # a tie across the cut is left out
    [1]
    """
    n_wanted = count_argument("top_k", "k", k, least=0)
    n_threads = threads_argument("top_k", threads)
    x = _importance("top_k", importance)
    n_wanted = min(n_wanted, x.shape[0])
    if isinstance(x, OnCuda):
        return x.library.give("top_k", top_k_on_cuda(x, n_wanted))
    return x.give("top_k", _core.top_k(x.doubles(), n_wanted, n_threads))


def _importance(op: str, importance: Any) -> Dense | OnCuda:
    x = numbers(op, "importance", importance)
    if len(x.shape) != 1:
        raise InputError(f"{op}: importance must be one-dimensional, got shape {x.shape}")
    return x
