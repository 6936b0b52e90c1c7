"""What users hand to the ops, as plain memory for the kernels, and results back in the caller's kind of array."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold import _core
from pixfold.arrays.interop import CsrParts, adopted
from pixfold.errors import BackendError, InputError
from pixfold.genotypes import PackedGenotypes
from pixfold.layout import Layout
from pixfold.util.text import short_repr

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
    rows: _core.CsrRows
    torch: bool = False

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type of the values."""
        return self.values.dtype

    @property
    def bfloat16(self) -> bool:
        """Sparse values are never bfloat16 here."""
        return False


@dataclass(frozen=True)
class Packed:
    """Packed genotypes; `dtype` is that of the dense values they stand for, which hold NaN for a missing one."""

    genotypes: PackedGenotypes
    bfloat16: bool = False
    torch: bool = False

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type of the values."""
        return np.dtype(np.float32)

    @property
    def bits(self) -> NDArray[np.uint8]:
        """The packed rows."""
        return self.genotypes.bits

    @property
    def shape(self) -> tuple[int, int]:
        """Samples and features."""
        return self.genotypes.shape


@dataclass(frozen=True)
class OnCuda:
    """Dense or sparse CSR samples in a torch tensor on a CUDA device, read for the op of that name."""

    op: str
    tensor: Any

    @property
    def shape(self) -> tuple[int, int]:
        """Samples and features."""
        n_samples, n_features = self.tensor.shape
        return n_samples, n_features

    @property
    def is_sparse(self) -> bool:
        """Whether the tensor is sparse CSR."""
        return str(self.tensor.layout) == "torch.sparse_csr"

    @property
    def bfloat16(self) -> bool:
        """Whether elements are bfloat16, which NumPy lacks."""
        return str(self.tensor.dtype) == "torch.bfloat16"

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type of the values; of bfloat16, what it is computed in."""
        return np.dtype("float32" if self.bfloat16 else str(self.tensor.dtype).removeprefix("torch."))


def is_torch(x: object) -> bool:
    """Whether `x` is a torch tensor, found out without importing torch."""
    return type(x).__module__.partition(".")[0] == "torch" and hasattr(x, "requires_grad")


def is_on_cuda(x: object) -> bool:
    """Whether `x` is a torch tensor on a CUDA device."""
    device: Any = getattr(x, "device", None)
    return is_torch(x) and device.type == "cuda"


def is_scipy_sparse(x: object) -> bool:
    """Whether `x` is a SciPy sparse matrix or array, found out without importing SciPy."""
    return type(x).__module__.startswith("scipy.sparse") and hasattr(x, "tocsr")


def samples(op: str, x: Any, threads: int = 0) -> Dense | Csr | Packed:
    """Read `x` as (n_samples, n_features) without copying dense data; `threads` look at sparse indices."""
    if isinstance(x, PackedGenotypes):
        return Packed(x)
    if is_scipy_sparse(x):
        return _from_scipy(op, x, threads)
    if isinstance(x, CsrParts):
        return _canonical(op, x, threads)
    if is_torch(x) and str(x.layout) == "torch.sparse_csr":
        return _from_torch_csr(op, x, threads)
    dense = array(op, "X", x)
    if dense.array.ndim != 2:
        raise InputError(f"{op}: X must be two-dimensional (n_samples, n_features), got shape {dense.array.shape}")
    return dense


def samples_anywhere(op: str, x: Any, threads: int = 0) -> Dense | Csr | Packed | OnCuda:
    """Read `x` like :func:`samples`, whatever library it is of, and leave what is on a CUDA device there."""
    x, _ = adopted(op, "X", x)
    if is_on_cuda(x):
        from pixfold.ops.cuda.stats import usable

        return usable(op, x)
    return samples(op, x, threads)


def array(op: str, argument: str, x: Any) -> Dense:
    """Read `x` as a dense array of numbers, without a copy where NumPy can view it."""
    if is_torch(x):
        return _from_torch(op, argument, x)
    values = as_array(op, argument, x)
    # ml_dtypes gives NumPy its bfloat16; it is the torch and JAX type, and not NumPy's own.
    if values.dtype.name == "bfloat16":
        return Dense(values.view(np.uint16), bfloat16=True)
    if values.dtype.kind not in "fiub" or values.dtype.itemsize > 8:
        raise TypeError(f"{op}: {argument} must be of a float16/32/64, bool or integer dtype, got {values.dtype}")
    if not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    return Dense(values)


def memory_of(x: Any) -> list[Array]:
    """Arrays over the memory that the caller's samples are in, whatever copies are made of them."""
    if is_torch(x):
        if str(x.layout) == "torch.strided":
            return [_from_torch("fold", "X", x).array]
        return [part.detach().numpy() for part in (x.values(), x.col_indices(), x.crow_indices())]
    parts = (getattr(x, name, None) for name in ("data", "indices", "indptr", "row", "col", "bits"))
    return [part for part in (x, *parts) if isinstance(part, np.ndarray)]


def as_array(op: str, argument: str, x: Any) -> Array:
    """NumPy's view of `x`, or one error that names the argument."""
    try:
        return np.asarray(x)
    except (ValueError, TypeError) as error:
        raise InputError(f"{op}: {argument} must be an array of numbers, got {type(x).__name__} ({error})") from error


def takes_torch_op(x: object) -> bool:
    """Whether `x` is a tensor for which an op must go through torch's dispatcher.

    A dense one that wants its gradient, one that stands for others (while a graph is traced), and any that is met in
    a function that is being compiled. All others are plain memory, which costs nothing to look at.
    """
    if not is_torch(x):
        return False
    import torch

    if not isinstance(x, torch.Tensor):
        return False
    if x.requires_grad and torch.is_grad_enabled():
        return x.layout == torch.strided
    return torch.compiler.is_compiling() or (
        type(x) is not torch.Tensor and type(x).__torch_dispatch__ is not torch.Tensor.__torch_dispatch__
    )


def usable_device(op: str, argument: str, x: Any) -> None:
    """Refuse a tensor on a device for which there are no kernels."""
    if x.device.type != "cpu":
        raise BackendError(
            f"{op}: {argument} is on {x.device}, for which pixfold has no kernels of this op: pass {argument}.cpu()"
        )


def _usable_tensor(op: str, argument: str, x: Any) -> None:
    import torch

    usable_device(op, argument, x)
    if x.requires_grad and torch.is_grad_enabled():
        raise InputError(
            f"{op}: {argument} requires a gradient, which this op does not propagate: pass {argument}.detach()"
        )


def _from_torch(op: str, argument: str, x: Any) -> Dense:
    import torch

    _usable_tensor(op, argument, x)
    x = x.detach()
    if x.layout != torch.strided:
        raise InputError(f"{op}: {argument} must be a dense or sparse CSR tensor, got layout {x.layout}")
    if x.dtype == torch.bfloat16:
        return Dense(x.view(torch.int16).numpy().view(np.uint16), bfloat16=True, torch=True)
    if x.dtype.is_complex:
        raise TypeError(f"{op}: {argument} must be of a real dtype, got {x.dtype}")
    return Dense(x.numpy(), torch=True)


def _from_torch_csr(op: str, x: Any, threads: int) -> Csr:
    _usable_tensor(op, "X", x)
    values = x.values().detach()
    if str(values.dtype) == "torch.bfloat16":
        values = values.float()  # exact, and what the kernels compute in
    parts = CsrParts(values.numpy(), x.col_indices().numpy(), x.crow_indices().numpy(), tuple(x.shape))
    return replace(_canonical(op, parts, threads), torch=True)


def _from_scipy(op: str, x: Any, threads: int) -> Csr:
    if x.ndim != 2:
        raise InputError(f"{op}: X must be two-dimensional (n_samples, n_features), got shape {x.shape}")
    csr = x.tocsr()
    return _canonical(op, CsrParts(csr.data, csr.indices, csr.indptr, csr.shape), threads)


def _canonical(op: str, csr: CsrParts, threads: int) -> Csr:
    if csr.data.dtype.kind not in "fiub" or csr.data.dtype.itemsize > 8:
        raise TypeError(f"{op}: X must be of a float16/32/64, bool or integer dtype, got {csr.data.dtype}")
    found = _checked(op, csr, threads)
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
    return _checked(op, CsrParts(summed.data, summed.indices, summed.indptr, csr.shape), threads)


def _checked(op: str, csr: CsrParts, threads: int) -> Csr:
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
    rows = _core.CsrRows(op, values, False, indices, row_start, n_features, threads)
    return Csr(values, indices, row_start, (n_samples, n_features), rows)


def plain(values: Any, dtype: Any = None) -> Array:
    """Give C-ordered memory at addresses that the element type is read at, copied only where it is not yet so."""
    return np.require(np.asarray(values), dtype, ["C", "ALIGNED"])


def layout_argument(op: str, layout: object) -> None:
    """Refuse what is no layout (a normaliser in its place, say) before an attribute of it is missed."""
    if not isinstance(layout, Layout):
        raise TypeError(f"{op}: layout must be a Layout, got {type(layout).__name__}")


def flag_argument(op: str, name: str, value: object) -> bool:
    """Read a bool, and nothing that only behaves like one."""
    if not isinstance(value, bool | np.bool_):
        raise InputError(f"{op}: {name} must be True or False, got {short_repr(value)}")
    return bool(value)


def threads_argument(op: str, threads: int | None) -> int:
    """Threads for the kernels: 0 stands for their default."""
    if threads is None:
        return 0
    if isinstance(threads, bool) or not isinstance(threads, int | np.integer) or not 1 <= threads < 2**31:
        raise InputError(f"{op}: threads must be a positive integer or None, got {short_repr(threads)}")
    return int(threads)


def to_torch(values: Array, bfloat16: bool = False) -> Any:
    """Give NumPy memory back as a torch tensor that shares it."""
    import torch

    if bfloat16:
        return torch.from_numpy(values.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(values)
