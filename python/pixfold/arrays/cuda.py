"""Tensors on CUDA devices as the kernels take them: where calls are queued, what is usable, views of the memory."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from pixfold.arrays.cuda_extension import extension, runs_on
from pixfold.arrays.dense import is_on_cuda
from pixfold.errors import InputError
from pixfold.ops.cuda.placed import address


class Queue(NamedTuple):
    """Where kernels are queued: the extension, the tensor's device and the stream that is current on it."""

    cuda: Any
    device: Any
    ordinal: int
    stream: int


def queue_of(op: str, argument: str, x: Any) -> Queue:
    """Give the queue of a tensor that is an op's argument, or the BackendError that says why there is none."""
    import torch

    index = x.device.index or 0
    cuda = extension(op, argument, index)
    return Queue(cuda, x.device, index, torch.cuda.current_stream(x.device).cuda_stream)


def usable(op: str, argument: str, x: Any) -> Any:
    """Give a tensor whose memory the kernels can read, detached; or raise the error that says what it is instead."""
    import torch

    if x.requires_grad and torch.is_grad_enabled():
        raise InputError(
            f"{op}: {argument} requires a gradient, which this op does not propagate: pass {argument}.detach()"
        )
    if x.layout != torch.strided and not is_csr(x):
        raise InputError(f"{op}: {argument} must be a dense or sparse CSR tensor, got layout {x.layout}")
    if x.dtype.is_complex or x.is_quantized:
        raise TypeError(f"{op}: {argument} must be of a real dtype, got {x.dtype}")
    x = x.detach()
    if x.layout != torch.strided:
        return x
    if x.data_ptr() % x.element_size() != 0:
        raise InputError(f"{op}: {argument} must be aligned to its elements, got address {x.data_ptr():#x}")
    return x.resolve_neg()


def is_csr(x: Any) -> bool:
    """Whether a tensor holds compressed sparse rows."""
    import torch

    return bool(x.layout == torch.sparse_csr)


def type_name(dtype: Any) -> str:
    """Name of a torch dtype as NumPy has it, where NumPy has it."""
    return str(dtype).removeprefix("torch.")


def computes_in_double(name: str) -> bool:
    """Whether the kernels compute in double with elements of that name."""
    return name in ("float64", "int32", "uint32", "int64", "uint64")


def has_kernels(x: Any) -> bool:
    """Whether a tensor is on a CUDA device that the extension is there for and runs on."""
    return is_on_cuda(x) and runs_on(x.device.index or 0)


def dense_view(cuda: Any, x: Any) -> Any:
    """View a dense matrix, which must live as long as the view."""
    size = x.element_size()
    return cuda.Samples(x.data_ptr(), type_name(x.dtype), *x.shape, x.stride(0) * size, x.stride(1) * size)


class CsrRows(NamedTuple):
    """Sparse rows for the kernels, and the memory that they are in."""

    view: Any
    parts: tuple[Any, ...]


def csr_rows(cuda: Any, x: Any, name: str) -> CsrRows:
    """View a sparse tensor of elements of that name."""
    values, indices, starts = x.values().contiguous(), x.col_indices().contiguous(), x.crow_indices().long()
    if os.environ.get("PIXFOLD_CHECK") == "1":
        _check_rows(indices, starts, x.shape[1])
    wide = indices.element_size() == 8
    view = cuda.CsrRows(address(values), name, address(indices), wide, address(starts), *x.shape)
    return CsrRows(view, (values, indices, starts))


def _check_rows(indices: Any, starts: Any, n_features: int) -> None:
    """Look at every index, as the CPU's kernels always do; this waits for the device."""
    import torch

    row = torch.repeat_interleave(torch.arange(starts.numel() - 1, device=starts.device), starts.diff())
    in_range = (indices >= 0) & (indices < n_features)
    rising = (indices[1:] > indices[:-1]) | (row[1:] != row[:-1])
    if not bool(in_range.all()) or not bool(rising.all()):
        raise InputError(f"fold: indices of each row of sparse X must rise within [0, {n_features}), got others")
