"""Dask arrays: block by block or as a tree of results; what one machine cannot hold, a cluster can."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from pixfold.errors import InputError
from pixfold.util.optional import require

T = TypeVar("T")

# Results that one task merges: a tree of them is deep enough for millions of blocks, and no task gets much to hold.
_FAN_IN = 8


def is_dask(x: object) -> bool:
    """Whether `x` is a Dask array, found out without importing Dask."""
    return any(base.__module__.startswith("dask.array") and base.__name__ == "Array" for base in type(x).__mro__)


def map_samples(
    op: str,
    X: Any,
    n_features: int,
    run: Callable[..., Any],
    how: Any,
    shape: tuple[int, ...],
    meta: Any,
    **options: Any,
) -> Any:
    """Give the lazy array that `run` makes of each block of samples.

    Parameters
    ----------
    op : str
        For messages.
    X : dask.array.Array (n_samples, n_features)
        Each block has all features of some samples when it is run.
    n_features : int
        How many features X must have.
    run : callable
        Picklable; called as ``run(block, how, **options)``.
    how
        What all blocks share: one task of the graph.
    shape : tuple of int
        What a sample becomes.
    meta : array
        An empty result.
    """
    rows = sample_blocks(op, X)
    if rows.shape[1] != n_features:
        raise InputError(f"{op}: X must have the layout's {n_features} features, got {rows.shape[1]}")
    return rows.map_blocks(
        run,
        _shared(how),
        drop_axis=1,
        new_axis=list(range(1, 1 + len(shape))),
        chunks=(rows.chunks[0], *((size,) for size in shape)),
        dtype=meta.dtype,
        meta=meta,
        **options,
    )


def reduce_blocks(op: str, X: Any, measure: Callable[[Any], T], merge: Callable[[T, T], T]) -> T:
    """Measure each block of samples, and merge the results as a tree, always in the same order.

    Parameters
    ----------
    op : str
        For messages.
    X : dask.array.Array (n_samples, n_features)
        Each block has all features of some samples when it is measured.
    measure, merge : callable
        Picklable. `measure` gets a block; `merge` two results, of which the first is of earlier samples.

    Returns
    -------
    result
        Computed by Dask's scheduler, or its cluster.
    """
    dask = require("dask", "dask", "a Dask array")
    shared = _shared(measure)
    apply, join = dask.delayed(_apply, pure=True), dask.delayed(_join, pure=True)
    level = [apply(shared, block) for block in sample_blocks(op, X).to_delayed().ravel()]
    while len(level) > 1:
        level = [join(merge, level[first : first + _FAN_IN]) for first in range(0, len(level), _FAN_IN)]
    result: T = level[0].compute()
    return result


def sample_blocks(op: str, X: Any) -> Any:
    """Bring a Dask array to blocks of whole samples, or raise InputError when it is no matrix of numbers."""
    if X.ndim != 2:
        raise InputError(f"{op}: X must be two-dimensional (n_samples, n_features), got shape {X.shape}")
    if X.dtype.kind not in "fiub" or X.dtype.itemsize > 8:
        raise TypeError(f"{op}: X must be of a float16/32/64, bool or integer dtype, got {X.dtype}")
    if np.isnan(X.shape[1]):
        raise InputError(f"{op}: the number of features of X is unknown: X.compute_chunk_sizes() finds it out")
    return X if X.numblocks[1] == 1 else X.rechunk({1: -1})


def _shared(value: Any) -> Any:
    """One task of the graph for what every block needs, rather than a copy in each of them."""
    return require("dask", "dask", "a Dask array").delayed(value, pure=True, traverse=False)


def _apply(measure: Callable[[Any], T], block: Any) -> T:
    return measure(block)


def _join(merge: Callable[[T, T], T], results: list[T]) -> T:
    joined = results[0]
    for result in results[1:]:
        joined = merge(joined, result)
    return joined
