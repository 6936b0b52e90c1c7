"""Dense numbers in the CPU's memory, as the kernels read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.arrays.interop import NUMPY, Library, to_torch
from pixfold.errors import BackendError, InputError
from pixfold.util.arguments import as_array
from pixfold.util.optional import is_torch

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Dense:
    """Numbers in the CPU's memory, and the library that results go back to.

    `array` is NumPy's view of them; of bfloat16, which NumPy lacks, a torch tensor, or an array of ml_dtypes' type.
    """

    array: Any
    library: Library = NUMPY

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return tuple(self.array.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type; of bfloat16, what it is computed in."""
        return number_type(self.array.dtype)

    def give(self, op: str, result: Any) -> Any:
        """Give a result of :meth:`empty` as an array of the samples' library."""
        return self.library.give(op, result)

    def empty(self, shape: tuple[int, ...]) -> Any:
        """Make memory of the same element type, for a result."""
        if is_torch(self.array):
            return to_torch(np.empty(shape, dtype=np.uint16), bfloat16=True)
        return np.empty(shape, dtype=self.array.dtype)

    def contiguous(self, shape: tuple[int, ...]) -> Any:
        """Give the numbers in C order in that shape, copied only where they do not lie so."""
        return plain(self.array).reshape(shape)

    def doubles(self) -> Any:
        """Give the numbers as float64 in C order, copied only where they are not so yet."""
        return self.array.double().contiguous() if is_torch(self.array) else plain(self.array, np.float64)


def type_name(dtype: Any) -> str:
    """Name of an element type of NumPy or torch."""
    return str(dtype).removeprefix("torch.")


def number_type(dtype: Any) -> np.dtype[Any]:
    """NumPy's element type for one of NumPy or torch; of bfloat16, what it is computed in."""
    if isinstance(dtype, np.dtype) and dtype.kind != "V":
        return dtype
    name = type_name(dtype)
    return np.dtype(np.float32 if name == "bfloat16" else name)


def computes_in_double(dtype: np.dtype[Any]) -> bool:
    """Whether the kernels compute in double with such elements: float holds not all of them."""
    return dtype.itemsize == 8 or (dtype.itemsize == 4 and dtype.kind in "iu")


def read_dense(op: str, argument: str, x: Any, library: Library) -> Dense:
    """Read NumPy's arrays and the CPU's tensors, without a copy where the kernels can read them as they are."""
    if is_torch(x):
        tensor = readable(op, argument, x)
        # torch's bfloat16 has no type in NumPy: the kernels read the tensor itself.
        return Dense(tensor if type_name(tensor.dtype) == "bfloat16" else tensor.numpy(), library)
    values = as_array(op, argument, x)
    dtype = values.dtype
    if dtype.kind == "V" and dtype.name == "bfloat16":  # NumPy works a name out anew, which takes a microsecond
        return Dense(values, library)
    if dtype.kind not in "fiub" or dtype.itemsize > 8:
        raise TypeError(f"{op}: {argument} must be of a float16/32/64, bool or integer dtype, got {dtype}")
    if not dtype.isnative:
        values = values.astype(dtype.newbyteorder("="))
    return Dense(values, library)


def readable(op: str, argument: str, x: Any) -> Any:
    """Give a dense tensor of the CPU, detached, or raise the error that says what it is instead."""
    import torch

    check_device(op, argument, x)
    check_tensor(op, argument, x)
    if x.layout != torch.strided:
        raise InputError(f"{op}: {argument} must be a dense or sparse CSR tensor, got layout {x.layout}")
    return x.detach().resolve_neg()


def check_device(op: str, argument: str, x: Any) -> None:
    """Refuse a tensor on a device for which there are no kernels."""
    if x.device.type != "cpu":
        raise BackendError(
            f"{op}: {argument} is on {x.device}, for which pixfold has no kernels of this op: pass {argument}.cpu()"
        )


def check_tensor(op: str, argument: str, x: Any) -> None:
    """Refuse a tensor whose gradient would be lost, or whose elements are no real numbers."""
    import torch

    if x.requires_grad and torch.is_grad_enabled():
        raise InputError(
            f"{op}: {argument} requires a gradient, which this op does not propagate: pass {argument}.detach()"
        )
    if x.dtype.is_complex or x.is_quantized:
        raise TypeError(f"{op}: {argument} must be of a real dtype, got {x.dtype}")


def plain(values: Any, dtype: Any = None) -> Any:
    """Give C-ordered memory at addresses that the element type is read at, copied only where it is not yet so."""
    if is_torch(values):
        return values.contiguous()
    if type(values) is np.ndarray and (dtype is None or values.dtype == dtype):
        flags = values.flags
        if flags.c_contiguous and flags.aligned:
            return values
    return np.require(values, dtype, ["C", "ALIGNED"])
