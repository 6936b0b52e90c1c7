"""Compressed sparse rows in the CPU's memory, as the kernels read them."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold import _core
from pixfold.arrays.dense import Array, check_tensor, plain, readable, type_name
from pixfold.arrays.interop import CsrParts, Library
from pixfold.errors import BackendError, InputError
from pixfold.util.optional import is_torch


@dataclass(frozen=True, slots=True)
class Csr:
    """Compressed sparse rows, canonical: indices sorted within a row, none twice."""

    values: Array
    indices: Array
    row_start: NDArray[np.int64]
    shape: tuple[int, int]
    rows: _core.CsrRows
    library: Library

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type of the values."""
        return self.values.dtype


def parts_of(op: str, x: Any) -> CsrParts | None:
    """Take a sparse matrix of SciPy, JAX or the CPU's torch apart; None for what is none."""
    if isinstance(x, CsrParts):
        return x
    if is_torch(x):
        return _parts_of_tensor(op, x) if str(x.layout) == "torch.sparse_csr" else None
    # Of SciPy, which need not be there.
    if not (type(x).__module__.startswith("scipy.sparse") and hasattr(x, "tocsr")):
        return None
    if x.ndim != 2:
        raise InputError(f"{op}: X must be two-dimensional (n_samples, n_features), got shape {x.shape}")
    csr = x.tocsr()
    return CsrParts(csr.data, csr.indices, csr.indptr, csr.shape)


def _parts_of_tensor(op: str, x: Any) -> CsrParts:
    check_tensor(op, "X", x)
    values = readable(op, "X", x.values().detach())
    if type_name(values.dtype) == "bfloat16":
        values = values.float()  # exact, and what the kernels compute in
    return CsrParts(values.numpy(), x.col_indices().numpy(), x.crow_indices().numpy(), tuple(x.shape))


def read_csr(op: str, csr: CsrParts, library: Library, threads: int) -> Csr:
    """Check sparse rows and make them canonical; `threads` look at their indices."""
    if csr.data.dtype.kind not in "fiub" or csr.data.dtype.itemsize > 8:
        raise TypeError(f"{op}: X must be of a float16/32/64, bool or integer dtype, got {csr.data.dtype}")
    found = _checked(op, csr, library, threads)
    if found.rows.canonical:
        return found
    # SciPy's own meaning of unsorted and repeated entries, in a matrix of what was checked: it trusts indices. It knows
    # no float16; sums of a few of them are exact in float32.
    try:
        sparse = importlib.import_module("scipy.sparse")
    except ImportError as error:
        raise BackendError(
            f'{op}: unsorted or repeated entries of sparse X need SciPy: pip install "pixfold[io]"'
        ) from error
    values = found.values.astype(np.float32) if found.values.dtype == np.float16 else found.values
    summed = sparse.csr_array((values, found.indices, found.row_start), shape=csr.shape, copy=True)
    summed.sum_duplicates()
    return _checked(op, CsrParts(summed.data, summed.indices, summed.indptr, csr.shape), library, threads)


def _checked(op: str, csr: CsrParts, library: Library, threads: int) -> Csr:
    if len(csr.shape) != 2:
        raise InputError(f"{op}: X must be two-dimensional (n_samples, n_features), got shape {csr.shape}")
    for name, part in (("data", csr.data), ("indices", csr.indices), ("indptr", csr.indptr)):
        if part.ndim != 1 or (name != "data" and part.dtype.kind not in "iu"):
            kind = "" if name == "data" else " integers"
            raise InputError(f"{op}: X.{name} must be one-dimensional{kind}, got {part.dtype} of shape {part.shape}")
    n_samples, n_features = (int(n) for n in csr.shape)
    row_start = plain(csr.indptr, np.int64)
    if row_start.shape != (n_samples + 1,):
        raise InputError(f"{op}: X.indptr must have {n_samples + 1} entries, got shape {row_start.shape}")
    # What lies beyond the last row's end belongs to no sample.
    nnz = min(int(row_start[-1]), csr.indices.size, csr.data.size) if row_start[-1] >= 0 else csr.indices.size
    values, indices = plain(csr.data[:nnz]), plain(csr.indices[:nnz])
    if not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    if indices.dtype not in (np.int32, np.int64):
        indices = indices.astype(np.int64)
    rows = _core.CsrRows(op, values, indices, row_start, n_features, threads)
    return Csr(values, indices, row_start, (n_samples, n_features), rows, library)
