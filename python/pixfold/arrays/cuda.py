"""Tensors on CUDA devices, as the kernels read them, and the streams that calls are queued on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.arrays.cuda_extension import extension, load, runs_on
from pixfold.arrays.dense import check_tensor, number_type
from pixfold.arrays.interop import Library
from pixfold.errors import InputError
from pixfold.util.optional import is_torch


@dataclass(frozen=True, slots=True)
class Queue:
    """Where kernels are queued: the extension, the device of their arrays and the stream that is current on it."""

    kernels: Any
    device: Any
    torch_stream: Any  # None where tensors are on the CPU, for kernels that run there

    @property
    def stream(self) -> int:
        """Handle of the stream."""
        return 0 if self.torch_stream is None else int(self.torch_stream.cuda_stream)

    def holds(self, *tensors: Any) -> None:
        """Keep the memory of tensors from being used again before what is queued here is done."""
        if self.torch_stream is not None:
            for tensor in tensors:
                tensor.record_stream(self.torch_stream)

    def wait(self) -> None:
        """Wait for what is queued here."""
        if self.torch_stream is not None:
            self.torch_stream.synchronize()

    def to_device(self, values: NDArray[Any]) -> Any:
        """Queue the copy of an array to the device, out of memory that is pinned: nothing waits for what is before."""
        import torch

        tensor = torch.from_numpy(np.array(values))  # a copy: the caller's array may change before it is read
        if self.torch_stream is None:
            return tensor
        return tensor.pin_memory().to(self.device, non_blocking=True)

    def to_host(self, tensor: Any) -> NDArray[Any]:
        """Wait for a tensor and give it as an array, in pinned memory of its own."""
        import torch

        there = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=self.torch_stream is not None)
        there.copy_(tensor, non_blocking=True)
        self.wait()
        values: NDArray[Any] = there.numpy()
        return values


@dataclass(frozen=True, slots=True)
class OnCuda:
    """A dense tensor on a CUDA device, detached, and the library that results go back to."""

    tensor: Any
    library: Library
    queue: Queue

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor."""
        return tuple(self.tensor.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type; of bfloat16, what it is computed in."""
        return number_type(self.tensor.dtype)


@dataclass(frozen=True, slots=True)
class CsrOnCuda:
    """Compressed sparse rows in a tensor on a CUDA device. Nobody looks at their indices: kernels count bad ones."""

    tensor: Any
    library: Library
    queue: Queue
    rows: Any
    values: Any
    parts: tuple[Any, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Samples and features."""
        return tuple(self.tensor.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type; of bfloat16, what it is computed in."""
        return number_type(self.tensor.dtype)


def is_on_cuda(x: Any) -> bool:
    """Whether `x` is a torch tensor on a CUDA device."""
    return is_torch(x) and bool(x.device.type == "cuda")


def has_kernels(x: Any) -> bool:
    """Whether a tensor is on a CUDA device that the extension is there for and runs on."""
    return is_on_cuda(x) and runs_on(x.device.index or 0)


def queue_of(op: str, argument: str, device: Any) -> Queue:
    """Give the queue of a device that an op's argument is on, or the BackendError that says why there is none."""
    import torch

    if device.type == "cpu":  # the extension whose kernels run on the host
        return Queue(load(), device, None)
    kernels = extension(op, argument, device.index or 0)
    return Queue(kernels, device, torch.cuda.current_stream(device))


def wait_for(device: Any) -> None:
    """Wait for all that is queued on a device, on any of its streams."""
    if device.type == "cuda":
        import torch

        torch.cuda.synchronize(device)


def read_cuda(op: str, argument: str, x: Any, library: Library) -> OnCuda | CsrOnCuda:
    """Read a tensor on a CUDA device, where it is."""
    import torch

    check_tensor(op, argument, x)
    if x.layout not in (torch.strided, torch.sparse_csr):
        raise InputError(f"{op}: {argument} must be a dense or sparse CSR tensor, got layout {x.layout}")
    queue = queue_of(op, argument, x.device)
    x = x.detach()
    if x.layout == torch.strided:
        return OnCuda(x.resolve_neg(), library, queue)
    parts = (x.values().contiguous(), x.col_indices().contiguous(), x.crow_indices().long())
    if os.environ.get("PIXFOLD_CHECK") == "1":
        _check_rows(*parts[1:], x.shape[1])
    rows = queue.kernels.CsrRows(op, *parts, x.shape[1])
    return CsrOnCuda(x, library, queue, rows, parts[0], parts)


def _check_rows(indices: Any, starts: Any, n_features: int) -> None:
    """Look at every index, as the CPU's kernels always do; this waits for the device."""
    import torch

    row = torch.repeat_interleave(torch.arange(starts.numel() - 1, device=starts.device), starts.diff())
    in_range = (indices >= 0) & (indices < n_features)
    rising = (indices[1:] > indices[:-1]) | (row[1:] != row[:-1])
    if not bool(in_range.all()) or not bool(rising.all()):
        raise InputError(f"fold: indices of each row of sparse X must rise within [0, {n_features}), got others")
