"""Statistics of samples: column_stats and row sums, which normalisers are made of, and a census of unusual values."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pixfold import _core
from pixfold.arrays.csr import Csr
from pixfold.arrays.cuda import CsrOnCuda, OnCuda
from pixfold.arrays.dask import is_dask, reduce_blocks
from pixfold.arrays.dense import plain
from pixfold.arrays.entry import Samples, samples
from pixfold.arrays.packed import Packed
from pixfold.errors import InputError
from pixfold.ops.cuda import stats as cuda
from pixfold.util.arguments import as_array, flag_argument, threads_argument

Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]


@dataclass(frozen=True)
class ColumnStats:
    """Mergeable statistics of each feature over the samples seen.

    Attributes
    ----------
    count, missing, zeros : int64 array, shape (n_features,)
        Values that are there, NaN, and values equal to 0 before any transformation.
    min, max, mean : float64 array, shape (n_features,)
        Of the (transformed) values; NaN for a feature without any.
    m2 : float64 array, shape (n_features,)
        Sum of squared differences from the mean.
    n_negative, n_infinite : int
        Values (plus offset) below zero, and infinite values, over all features.
    """

    count: Int64Array
    missing: Int64Array
    zeros: Int64Array
    min: Float64Array
    max: Float64Array
    mean: Float64Array
    m2: Float64Array
    n_negative: int = 0
    n_infinite: int = 0

    @property
    def variance(self) -> Float64Array:
        """Population variance, m2 / count; NaN for a feature without values."""
        variance: Float64Array = np.divide(
            self.m2, self.count, out=np.full(self.m2.shape, np.nan), where=self.count > 0
        )
        return variance

    @property
    def std(self) -> Float64Array:
        """Population standard deviation."""
        return np.sqrt(self.variance)

    def merge(self, other: ColumnStats) -> ColumnStats:
        """Statistics of both sets of samples (Chan, Golub and LeVeque, 1983).

        Raises
        ------
        InputError
            When the numbers of features differ.
        """
        if self.count.size != other.count.size:
            raise InputError(f"ColumnStats.merge: both must have {self.count.size} features, got {other.count.size}")
        count = self.count + other.count
        total = np.maximum(count, 1).astype(np.float64)
        mine, theirs = self.count > 0, other.count > 0
        both = mine & theirs
        delta = np.where(both, other.mean - self.mean, 0.0)
        mean = np.where(both, self.mean + delta * (other.count / total), np.where(mine, self.mean, other.mean))
        m2 = self.m2 + other.m2 + delta * delta * self.count * (other.count / total)
        return ColumnStats(
            count,
            self.missing + other.missing,
            self.zeros + other.zeros,
            np.fmin(self.min, other.min),
            np.fmax(self.max, other.max),
            mean,
            m2,
            self.n_negative + other.n_negative,
            self.n_infinite + other.n_infinite,
        )


def column_stats(
    X: Any,
    *,
    log: bool = False,
    offset: ArrayLike | None = None,
    row_scale: ArrayLike | None = None,
    clip_below_zero: bool = False,
    threads: int | None = None,
) -> ColumnStats:
    """Count, missing, zeros, min, max, mean and M2 of ``g((x + offset) * row_scale)`` per feature, in one pass.

    Parameters
    ----------
    X : array (n_samples, n_features)
        As for :func:`fold`: dense of any number dtype, sparse, packed genotypes, of any of its libraries. NaN is
        missing. A Dask array is measured block by block and the results are merged as a tree. An array on a CUDA device
        is read there, and the statistics come to the host: to 1e-6 relative those of the CPU.
    log : bool
        g is log1p when set, else the identity.
    offset : array (n_features,), optional
        Added to each feature first.
    row_scale : array (n_samples,), optional
        Multiplies each sample. With a sparse `X` it cannot be combined with `offset`; packed genotypes take none.
    clip_below_zero : bool
        Raise negative arguments of g to 0.
    threads : int, optional
        Default: OMP_NUM_THREADS and the process's CPU affinity decide. The result's bits do not depend on it.

    Returns
    -------
    ColumnStats

    Raises
    ------
    InputError
        For arrays of the wrong shape, and for `row_scale` where it has no meaning. It is a ValueError.
    TypeError
        For a dtype that is not a number.
    """
    n_threads = threads_argument("column_stats", threads)
    log = flag_argument("column_stats", "log", log)
    clip_below_zero = flag_argument("column_stats", "clip_below_zero", clip_below_zero)
    if is_dask(X):
        if row_scale is not None:
            raise InputError("column_stats: row_scale must be None for a Dask array, got an array: scale X itself")
        measure = partial(column_stats, log=log, offset=offset, clip_below_zero=clip_below_zero, threads=threads or 1)
        return reduce_blocks("column_stats", X, measure, ColumnStats.merge)
    x = samples("column_stats", X, n_threads)
    offsets = _vector("offset", offset, x.shape[1])
    return stats_of(x, log, offsets, _vector("row_scale", row_scale, x.shape[0]), clip_below_zero, n_threads)


def stats_of(
    x: Samples,
    log: bool = False,
    offset: Float64Array | None = None,
    row_scale: Float64Array | None = None,
    clip_below_zero: bool = False,
    threads: int = 0,
) -> ColumnStats:
    """Compute :func:`column_stats` of samples that were read already."""
    if isinstance(x, Csr | CsrOnCuda) and offset is not None and row_scale is not None and np.any(offset):
        raise InputError(
            "column_stats: offset and row_scale cannot be combined for sparse X: a zero would differ per sample"
        )
    if isinstance(x, OnCuda | CsrOnCuda):
        return ColumnStats(*cuda.stats_on_cuda(x, log, clip_below_zero, offset, row_scale))
    how = (log, clip_below_zero, offset, row_scale, threads)
    if isinstance(x, Csr):
        return ColumnStats(*_core.column_stats_csr(x.rows, *how))
    if isinstance(x, Packed):
        if row_scale is not None:
            raise InputError(
                "column_stats: row_scale must be None for packed genotypes, got an array: pass X.toarray()"
            )
        genotypes = (x.bits, x.shape[1], x.genotypes.count_first)
        return ColumnStats(*_core.column_stats_packed(*genotypes, log, clip_below_zero, offset, threads))
    return ColumnStats(*_core.column_stats_dense(x.array, *how))


def row_sums(x: Samples, threads: int = 0) -> Float64Array:
    """Sum of each sample over its features, NaN left out (float64, shape (n_samples,))."""
    sums: Float64Array
    if isinstance(x, OnCuda | CsrOnCuda):
        sums = cuda.row_sums_on_cuda(x).cpu().numpy()
    elif isinstance(x, Csr):
        sums = _core.row_sums_csr(x.rows, threads)
    elif isinstance(x, Packed):
        raise InputError("row_sums: X must be dense or sparse, got packed genotypes: pass X.toarray()")
    else:
        sums = _core.row_sums_dense(x.array, threads)
    return sums


def _vector(name: str, values: ArrayLike | None, n: int) -> Float64Array | None:
    if values is None:
        return None
    vector = as_array("column_stats", name, values)
    if vector.dtype.kind not in "fiub" or vector.shape != (n,):
        raise InputError(
            f"column_stats: {name} must hold numbers, in shape ({n},), got {vector.dtype} of shape {vector.shape}"
        )
    found: Float64Array = plain(vector, np.float64)
    return found


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
    return census_of(samples("census", X, n_threads), n_threads)


def census_of(x: Samples, threads: int = 0) -> Census:
    """Compute :func:`census` of samples that were read already."""
    if isinstance(x, OnCuda | CsrOnCuda):
        return Census(*cuda.census_on_cuda(x))
    if isinstance(x, Packed):
        return Census(int(stats_of(x, threads=threads).missing.sum()), 0, 0)
    if isinstance(x, Csr):
        return Census(*_core.census_csr(x.rows, threads))
    return Census(*_core.census_dense(x.array, threads))
