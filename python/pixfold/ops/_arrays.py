"""What users hand to the ops, as plain memory for the kernels, and results back in the caller's kind of array."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import BackendError, InputError

Array = NDArray[Any]


@dataclass(frozen=True)
class Dense:
    """A NumPy view of dense samples; `bfloat16` says that uint16 elements hold bfloat16 bits."""

    array: Array
    bfloat16: bool = False
    torch: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return tuple(self.array.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type of the array."""
        return self.array.dtype


@dataclass(frozen=True)
class Csr:
    """Compressed sparse rows, canonical: indices sorted within a row, none twice."""

    values: Array
    indices: Array
    row_start: NDArray[np.int64]
    shape: tuple[int, int]
    torch: bool = False

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type of the values."""
        return self.values.dtype

    @property
    def bfloat16(self) -> bool:
        """Sparse values are never bfloat16 here."""
        return False


def is_torch(x: object) -> bool:
    """Whether `x` is a torch tensor, found out without importing torch."""
    return type(x).__module__.partition(".")[0] == "torch" and hasattr(x, "requires_grad")


def is_scipy_sparse(x: object) -> bool:
    """Whether `x` is a SciPy sparse matrix or array, found out without importing SciPy."""
    return type(x).__module__.startswith("scipy.sparse") and hasattr(x, "tocsr")


def samples(op: str, x: Any) -> Dense | Csr:
    """Read `x` as (n_samples, n_features) without copying dense data."""
    if is_scipy_sparse(x):
        return _from_scipy(op, x)
    if is_torch(x) and str(x.layout) == "torch.sparse_csr":
        return _from_torch_csr(op, x)
    dense = array(op, "X", x)
    if dense.array.ndim != 2:
        raise InputError(f"{op}: X must be two-dimensional (n_samples, n_features), got shape {dense.array.shape}")
    return dense


def array(op: str, argument: str, x: Any) -> Dense:
    """Read `x` as a dense array of numbers, without a copy where NumPy can view it."""
    if is_torch(x):
        return _from_torch(op, argument, x)
    try:
        values = np.asarray(x)
    except (ValueError, TypeError) as error:
        raise InputError(f"{op}: {argument} must be an array of numbers, got {type(x).__name__} ({error})") from error
    # ml_dtypes gives NumPy its bfloat16; it is the torch and JAX type, and not NumPy's own.
    if values.dtype.name == "bfloat16":
        return Dense(values.view(np.uint16), bfloat16=True)
    if values.dtype.kind not in "fiub" or values.dtype.itemsize > 8:
        raise TypeError(f"{op}: {argument} must be of a float16/32/64, bool or integer dtype, got {values.dtype}")
    if not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    return Dense(values)


def _from_torch(op: str, argument: str, x: Any) -> Dense:
    import torch

    if x.device.type != "cpu":
        raise BackendError(
            f"{op}: {argument} is on {x.device}, and this build of pixfold has CPU kernels only: pass {argument}.cpu()"
        )
    if x.requires_grad and torch.is_grad_enabled():
        raise InputError(
            f"{op}: {argument} requires a gradient, which this op does not propagate: pass {argument}.detach()"
        )
    x = x.detach()
    if x.layout != torch.strided:
        raise InputError(f"{op}: {argument} must be a dense or sparse CSR tensor, got layout {x.layout}")
    if x.dtype == torch.bfloat16:
        return Dense(x.view(torch.int16).numpy().view(np.uint16), bfloat16=True, torch=True)
    if x.dtype.is_complex:
        raise TypeError(f"{op}: {argument} must be of a real dtype, got {x.dtype}")
    return Dense(x.numpy(), torch=True)


def _from_torch_csr(op: str, x: Any) -> Csr:
    if x.device.type != "cpu":
        raise BackendError(f"{op}: X is on {x.device}; this build of pixfold has CPU kernels only: pass X.cpu()")
    # SciPy's checks and canonical form serve torch's CSR too.
    import importlib

    try:
        sparse = importlib.import_module("scipy.sparse")
    except ImportError as error:
        raise BackendError(f'{op}: sparse tensors need SciPy: pip install "pixfold[io]"') from error
    parts = (x.values().detach().numpy(), x.col_indices().numpy(), x.crow_indices().numpy())
    csr = _from_scipy(op, sparse.csr_matrix(parts, shape=tuple(x.shape)))
    return Csr(csr.values, csr.indices, csr.row_start, csr.shape, torch=True)


def _from_scipy(op: str, x: Any) -> Csr:
    if x.ndim != 2:
        raise InputError(f"{op}: X must be two-dimensional (n_samples, n_features), got shape {x.shape}")
    csr = x.tocsr()
    indptr = np.asarray(csr.indptr)
    rising = indptr.size == csr.shape[0] + 1 and indptr[0] == 0 and not np.any(np.diff(indptr) < 0)
    if not rising or indptr[-1] > csr.indices.size:
        raise InputError(f"{op}: X.indptr must rise from 0 to at most nnz = {csr.indices.size}, got {indptr}")
    nnz = int(indptr[-1])
    used = csr.indices[:nnz]
    if nnz and (used.min() < 0 or used.max() >= csr.shape[1]):
        bad = used[(used < 0) | (used >= csr.shape[1])][0]
        raise InputError(f"{op}: X.indices must be in [0, {csr.shape[1]}), got {bad}")
    if csr.data.dtype.kind not in "fiub" or csr.data.dtype.itemsize > 8:
        raise TypeError(f"{op}: X must be of a float16/32/64, bool or integer dtype, got {csr.data.dtype}")
    if not _is_canonical(used, indptr):
        csr = csr.copy()
        csr.sum_duplicates()
        nnz = int(csr.indptr[-1])
    indices = csr.indices[:nnz]
    if indices.dtype not in (np.int32, np.int64):
        indices = indices.astype(np.int64)
    return Csr(
        np.ascontiguousarray(csr.data[:nnz]),
        np.ascontiguousarray(indices),
        np.ascontiguousarray(csr.indptr, dtype=np.int64),
        (int(csr.shape[0]), int(csr.shape[1])),
    )


def _is_canonical(indices: Array, indptr: Array) -> bool:
    """Whether indices increase within each row; SciPy's cached flags can be stale, so this looks."""
    rising = np.ones(indices.size, dtype=bool)
    np.greater(indices[1:], indices[:-1], out=rising[1:])
    starts = indptr[:-1]
    rising[starts[starts < indices.size]] = True
    return bool(rising.all())


def threads_argument(op: str, threads: int | None) -> int:
    """Threads for the kernels: 0 stands for their default."""
    if threads is None:
        return 0
    if isinstance(threads, bool) or not isinstance(threads, int | np.integer) or threads < 1:
        raise InputError(f"{op}: threads must be a positive integer or None, got {threads!r}")
    return int(threads)


def to_torch(values: Array, bfloat16: bool = False) -> Any:
    """Give NumPy memory back as a torch tensor that shares it."""
    import torch

    if bfloat16:
        return torch.from_numpy(values.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(values)
