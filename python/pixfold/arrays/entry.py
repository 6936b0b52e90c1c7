"""The way in: whatever a caller hands to an op becomes one of a few kinds of array, and the ops go by these."""

from __future__ import annotations

from typing import Any, TypeVar

from pixfold.arrays import cuda
from pixfold.arrays.csr import Csr, parts_of, read_csr
from pixfold.arrays.cuda import CsrOnCuda, OnCuda
from pixfold.arrays.dense import Array, Dense, read_dense
from pixfold.arrays.interop import adopted
from pixfold.arrays.packed import Packed
from pixfold.errors import InputError
from pixfold.genotypes import PackedGenotypes
from pixfold.util.arguments import as_array
from pixfold.util.optional import is_torch

Samples = Dense | Csr | Packed | OnCuda | CsrOnCuda

AnyRows = TypeVar("AnyRows", Dense, OnCuda | CsrOnCuda)


def samples(op: str, x: Any, threads: int = 0) -> Samples:
    """Read `x` as samples (n_samples, n_features), where they are, without copying dense data.

    Parameters
    ----------
    op : str
        For errors.
    x : array (n_samples, n_features)
        Whatever an op takes for X but a Dask array; what was read before is given back.
    threads : int
        How many threads look at sparse indices; 0 for the default.
    """
    if isinstance(x, Dense | Csr | Packed | OnCuda | CsrOnCuda):
        return x
    if isinstance(x, PackedGenotypes):
        return Packed(x)
    x, library = adopted(op, "X", x)
    if cuda.is_on_cuda(x):
        return _matrix(op, cuda.read_cuda(op, "X", x, library))
    parts = parts_of(op, x)
    if parts is not None:
        return read_csr(op, parts, library, threads)
    return _matrix(op, read_dense(op, "X", x, library))


def cpu_samples(op: str, x: Any, threads: int = 0) -> Dense | Csr | Packed:
    """Read `x` like :func:`samples`, and refuse what is on a CUDA device."""
    found = samples(op, x, threads)
    if isinstance(found, OnCuda | CsrOnCuda):
        raise InputError(f"{op}: X must be on the CPU, got a tensor on {found.queue.device}")
    return found


def _matrix(op: str, x: AnyRows) -> AnyRows:
    if len(x.shape) != 2:
        raise InputError(f"{op}: X must be two-dimensional (n_samples, n_features), got shape {x.shape}")
    return x


def numbers(op: str, argument: str, x: Any) -> Dense | OnCuda:
    """Read `x` as a dense array of numbers of any shape, where it is."""
    x, library = adopted(op, argument, x)
    if not cuda.is_on_cuda(x):
        return read_dense(op, argument, x, library)
    found = cuda.read_cuda(op, argument, x, library)
    if isinstance(found, CsrOnCuda):
        raise InputError(f"{op}: {argument} must be a dense tensor, got layout {x.layout}")
    return found


def on_host(op: str, argument: str, x: Any) -> Array:
    """Read `x` as a NumPy array of whatever it holds, copied from its device where it is not on the CPU."""
    x, _ = adopted(op, argument, x)
    return as_array(op, argument, x.detach().cpu() if is_torch(x) else x)


def goes_through_torch(x: object) -> bool:
    """Whether `x` is a tensor for which an op must go through torch's dispatcher.

    These are a dense one that wants its gradient, one that stands for others (while a graph is traced), and any that a
    function meets that is being compiled. All others are plain memory, which costs nothing to look at.
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
