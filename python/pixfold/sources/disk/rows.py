"""Rows of matrices that lie in files: which stretches to read, and how the rows come out of them.

The functions take whatever is read by slices: h5py and Zarr arrays, arrays in memory, :class:`ScratchArray`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.sources.base import BLOCK_BYTES

# Wanted stretches that lie apart by less than this are read in one go with what is between them.
_GAP_BYTES = 256 * 2**10

Rows = slice | NDArray[np.int64]


def rising(wanted: Rows) -> tuple[Rows, NDArray[np.intp] | None]:
    """Bring rows into the order of the file, each once, and say how to bring what was read back from it."""
    if isinstance(wanted, slice) or not np.any(np.diff(wanted) <= 0):
        return wanted, None
    once, order = np.unique(wanted, return_inverse=True)
    return once, order


def read_dense(array: Any, wanted: Rows, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Read rows of a 2-D array; index arrays must rise."""
    if isinstance(wanted, slice):
        block: NDArray[Any] = array[wanted]
        return block.astype(dtype, copy=False)
    n_columns = array.shape[1]
    row_bytes = n_columns * array.dtype.itemsize
    out = np.empty((len(wanted), n_columns), dtype=dtype)
    for first, last in _spans(wanted, wanted + 1, _gap(array, row_bytes), max(1, BLOCK_BYTES // row_bytes)):
        start = int(wanted[first])
        block = array[start : int(wanted[last - 1]) + 1]
        out[first:last] = block[wanted[first:last] - start]
    return out


def read_csr(
    indptr: NDArray[np.int64], indices: Any, data: Any, wanted: Rows, dtype: np.dtype[Any]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.int64]]:
    """Read rows of three CSR arrays as (data, indices, indptr) of those rows; index arrays must rise."""
    if isinstance(wanted, slice):
        start, stop = int(indptr[wanted.start]), int(indptr[wanted.stop])
        pointers = indptr[wanted.start : wanted.stop + 1] - start
        return np.asarray(data[start:stop]).astype(dtype, copy=False), np.asarray(indices[start:stop]), pointers
    starts, stops = indptr[wanted], indptr[wanted + 1]
    pointers = np.concatenate([[0], np.cumsum(stops - starts)])
    values = np.empty(pointers[-1], dtype=dtype)
    columns = np.empty(pointers[-1], dtype=indices.dtype)
    size = max(data.dtype.itemsize, indices.dtype.itemsize)
    for first, last in _spans(starts, stops, _gap(data, size), max(1, BLOCK_BYTES // size)):
        start, stop = int(starts[first]), int(stops[last - 1])
        out = slice(int(pointers[first]), int(pointers[last]))
        entries: Any = slice(None)
        if out.stop - out.start < stop - start:
            lengths = stops[first:last] - starts[first:last]
            entries = np.repeat(starts[first:last] - pointers[first:last], lengths)
            entries += np.arange(out.start, out.stop) - start
        values[out] = data[start:stop][entries]
        columns[out] = indices[start:stop][entries]
    return values, columns, pointers


def index_type(size: int) -> np.dtype[Any]:
    """Return the type of indices below ``size``."""
    return np.dtype(np.int32 if size <= 2**31 else np.int64)


def csr_bytes(n_entries: int, shape: tuple[int, int], dtype: np.dtype[Any]) -> int:
    """Bytes that a CSR matrix takes in memory."""
    return n_entries * (dtype.itemsize + index_type(shape[1]).itemsize) + 8 * (shape[0] + 1)


def _gap(array: Any, item_bytes: int) -> int:
    """Items between two wanted ones that are not worth a second read: a chunk is decompressed as a whole."""
    chunks = getattr(array, "chunks", None)
    return max(1, chunks[0] if chunks else _GAP_BYTES // item_bytes)


def _spans(starts: NDArray[np.int64], stops: NDArray[np.int64], gap: int, longest: int) -> Iterator[tuple[int, int]]:
    """Group rising stretches that lie close together, into spans of about ``longest`` items at most."""
    first = 0
    for i in range(1, len(starts)):
        if starts[i] - stops[i - 1] >= gap or stops[i] - starts[first] > longest:
            yield first, i
            first = i
    yield first, len(starts)
