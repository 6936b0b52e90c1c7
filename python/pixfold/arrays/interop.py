"""Arrays of other libraries: read where they are through the array protocols, and results given back in their kind.

On the CPU NumPy sees the memory of a JAX array. On a CUDA device torch does, through DLPack or the CUDA array
interface: the ops know tensors alone there. In neither case is anything copied, and nothing waits for the device: the
stream on which an array is made is waited for by torch's current one, and that one by whoever reads the result.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from pixfold.errors import BackendError, InputError
from pixfold.util.optional import is_torch, require

_OWN = frozenset({"numpy", "scipy", "pixfold", "builtins", "pandas"})
_CUDA_IN_DLPACK = (2, 13)  # kDLCUDA, kDLCUDAManaged


class CsrParts(NamedTuple):
    """Compressed sparse rows as they came, unchecked."""

    data: Any
    indices: Any
    indptr: Any
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Library:
    """A library of arrays: how results become its own, and whether results may be written into its arrays."""

    name: str
    give: Callable[[str, Any], Any]
    writeable: bool = True


def to_torch(values: Any, bfloat16: bool = False) -> Any:
    """Give NumPy memory back as a torch tensor that shares it; what is a tensor stays one."""
    if not isinstance(values, np.ndarray):
        return values
    import torch

    if bfloat16:
        return torch.from_numpy(values.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(values)


NUMPY = Library("NumPy", lambda op, result: result)
TORCH = Library("torch", lambda op, result: to_torch(result))


def adopted(op: str, argument: str, x: Any) -> tuple[Any, Library]:
    """Read an array of any library as one of NumPy or torch, without a copy.

    Parameters
    ----------
    op, argument : str
        For errors.
    x : object
        Whatever a user gave.

    Returns
    -------
    array, library
        A NumPy array, :class:`CsrParts` or torch tensor over the same memory, and the library that results go back to;
        `x` itself where it is of NumPy or torch, or no array.

    Raises
    ------
    InputError
        For what JAX traces, for an array on several devices, and for sparse arrays that are not compressed rows.
    MissingDependencyError
        For an array on a GPU where torch, which brings it to the kernels, is not installed.
    BackendError
        For an array on neither the CPU nor a CUDA device.
    """
    if isinstance(x, np.ndarray):
        return x, NUMPY
    if is_torch(x):
        return x, TORCH
    library = type(x).__module__.partition(".")[0]
    if library in _OWN:
        return x, NUMPY
    if library in ("jax", "jaxlib"):
        return _from_jax(op, argument, x), _JAX
    if library == "cupyx" and hasattr(x, "tocsr"):
        csr = x.tocsr()
        parts = CsrParts(csr.data, csr.indices, csr.indptr, csr.shape)
        return _csr_tensor(op, argument, parts), _CUPY
    if library == "cupy" and hasattr(x, "__dlpack__"):
        return _tensor(op, argument, x), _CUPY
    if _is_on_cuda(x):
        return _tensor(op, argument, x), Library(type(x).__name__, lambda op, result: result)
    return x, NUMPY


def _is_on_cuda(x: Any) -> bool:
    if hasattr(x, "__dlpack_device__"):
        return int(x.__dlpack_device__()[0]) in _CUDA_IN_DLPACK
    return hasattr(x, "__cuda_array_interface__")


def _tensor(op: str, argument: str, x: Any) -> Any:
    """A torch tensor over the memory of an array on a CUDA device."""
    torch = require("torch", "train", f"{op} of arrays on a GPU")
    try:
        return torch.from_dlpack(x) if hasattr(x, "__dlpack__") else _from_interface(torch, x)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"{op}: {argument} cannot be read as an array on a GPU: {error}") from error


def _from_interface(torch: Any, x: Any) -> Any:
    # torch reads this interface without a look at the stream that it names.
    tensor = torch.as_tensor(x)
    stream = x.__cuda_array_interface__.get("stream")
    if stream is not None:
        # The interface has numbers for CUDA's two default streams; torch's default is the first of them.
        made_on = torch.cuda.ExternalStream(0 if stream == 1 else stream, device=tensor.device)
        torch.cuda.current_stream(tensor.device).wait_stream(made_on)
    return tensor


def _csr_tensor(op: str, argument: str, parts: CsrParts) -> Any:
    data, indices, indptr = (_tensor(op, argument, part) for part in parts[:3])
    torch = importlib.import_module("torch")
    with warnings.catch_warnings():  # that the layout is new, which torch says of the first such tensor
        warnings.simplefilter("ignore")
        return torch.sparse_csr_tensor(indptr, indices, data, parts.shape, check_invariants=False)


def _from_jax(op: str, argument: str, x: Any) -> Any:
    if any(kind.__name__ == "Tracer" for kind in type(x).__mro__):
        raise InputError(
            f"{op}: {argument} is traced by JAX, and this op cannot be part of what JAX compiles or derives: call it "
            "outside of jit, grad and vmap, or inside of jax.pure_callback"
        )
    if type(x).__module__.startswith("jax.experimental.sparse"):
        return _from_bcsr(op, argument, x)
    if not hasattr(x, "devices"):
        return x  # a dtype, a key: the op says what it wants instead
    try:
        where = x.devices()
        if len(where) != 1:
            raise InputError(
                f"{op}: {argument} must be on one device, got an array on {len(where)}: use jax.device_put"
            )
        platform = next(iter(where)).platform
        if platform == "cpu":
            return np.asarray(x)
        if platform in ("gpu", "cuda"):
            return _tensor(op, argument, x)
    except (RuntimeError, TypeError) as error:  # deleted, donated to a compiled function, or no numbers
        raise InputError(f"{op}: {argument} cannot be read: {error}") from error
    raise BackendError(f"{op}: {argument} is on {platform}, for which pixfold has no kernels: use jax.device_put")


def _from_bcsr(op: str, argument: str, x: Any) -> Any:
    if type(x).__name__ != "BCSR" or x.n_batch != 0 or x.n_dense != 0:
        raise InputError(
            f"{op}: {argument} must be a BCSR matrix without batch or dense dimensions, got {type(x).__name__} of "
            f"shape {x.shape}"
        )
    data, indices, indptr = (_from_jax(op, argument, part) for part in (x.data, x.indices, x.indptr))
    parts = CsrParts(data, indices, indptr, tuple(x.shape))
    return parts if isinstance(data, np.ndarray) else _csr_tensor(op, argument, parts)


def _to_jax(op: str, result: Any) -> Any:
    jax = importlib.import_module("jax")
    if isinstance(result, np.ndarray) and result.dtype.name == "bfloat16":  # which NumPy does not hand over
        return jax.dlpack.from_dlpack(result.view(np.uint16)).view(result.dtype)
    return jax.dlpack.from_dlpack(result)


def _to_cupy(op: str, result: Any) -> Any:
    cupy = importlib.import_module("cupy")
    if str(result.dtype) == "torch.bfloat16":
        raise BackendError(f"{op}: CuPy has no bfloat16: use float16, or pass torch.from_dlpack(X)")
    return cupy.from_dlpack(result)


_JAX = Library("JAX", _to_jax, writeable=False)
_CUPY = Library("CuPy", _to_cupy)
