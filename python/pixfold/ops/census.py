"""census: how many values are missing, infinite or negative, in one read at the speed of memory."""

from __future__ import annotations

from typing import Any, NamedTuple

from pixfold import _core
from pixfold.arrays.dense import Csr, Dense, OnCuda, Packed, samples_anywhere, threads_argument
from pixfold.ops.column_stats import stats_of


class Census(NamedTuple):
    """Counts over all values of all features.

    Attributes
    ----------
    missing : int
        NaN.
    infinite : int
        Of either sign.
    negative : int
        Below 0: -infinity is, -0 is not.
    """

    missing: int
    infinite: int
    negative: int


def census(X: Any, *, threads: int | None = None) -> Census:
    """Count what an op may have to refuse, before it writes anything.

    It says how many there are; where they are is what :func:`column_stats` says.

    Parameters
    ----------
    X : array (n_samples, n_features)
        As for :func:`fold`: dense of any number dtype and any strides, SciPy sparse, torch tensor, or packed
        genotypes.
    threads : int, optional
        Default: OMP_NUM_THREADS and the process's CPU affinity decide.

    Returns
    -------
    Census
        ``missing``, ``infinite`` and ``negative`` values.

    Raises
    ------
    InputError
        For an array of the wrong shape. It is a ValueError.
    TypeError
        For a dtype that is not a number.
    """
    n_threads = threads_argument("census", threads)
    return census_of(samples_anywhere("census", X, n_threads), n_threads)


def census_of(x: Dense | Csr | Packed | OnCuda, threads: int) -> Census:
    """Compute :func:`census` of memory that was read already."""
    if isinstance(x, OnCuda):
        from pixfold.ops.cuda.stats import census_on_device

        return Census(*census_on_device(x))
    if isinstance(x, Packed):
        return Census(int(stats_of(x, False, None, None, False, threads).missing.sum()), 0, 0)
    if isinstance(x, Csr):
        return Census(*_core.census_csr(x.rows, threads))
    return Census(*_core.census_dense(x.array, x.bfloat16, threads))
