"""How an op for a tensor on a CUDA device calls the extension."""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

from pixfold.errors import BackendError, InputError
from pixfold.ops._arrays import is_torch


class Queue(NamedTuple):
    """Where kernels are queued: the extension, the device and the stream that is current on it."""

    cuda: Any
    ordinal: int
    stream: int


def is_on_cuda(x: object) -> bool:
    """Whether `x` is a torch tensor on a CUDA device."""
    device: Any = getattr(x, "device", None)
    return is_torch(x) and device.type == "cuda"


def queue_of(op: str, argument: str, x: Any) -> Queue:
    """Where an op on `x` is queued."""
    import torch

    try:
        cuda = importlib.import_module("pixfold._cuda")
    except ImportError as error:
        raise BackendError(
            f"{op}: {argument} is on {x.device}, and this build of pixfold has CPU kernels only: pass {argument}.cpu()"
        ) from error
    return Queue(cuda, x.device.index or 0, torch.cuda.current_stream(x.device).cuda_stream)


def tensor_argument(op: str, argument: str, x: Any) -> Any:
    """Give a tensor that the kernels can read: dense, of real numbers, without a gradient to be propagated."""
    import torch

    if x.requires_grad and torch.is_grad_enabled():
        raise InputError(
            f"{op}: {argument} requires a gradient, which this op does not propagate: pass {argument}.detach()"
        )
    if x.layout != torch.strided:
        raise InputError(f"{op}: {argument} must be a dense tensor, got layout {x.layout}")
    if x.dtype.is_complex or x.is_quantized:
        raise TypeError(f"{op}: {argument} must be of a real dtype, got {x.dtype}")
    return x.detach().resolve_neg()


def address(tensor: Any) -> int:
    """Where a tensor's memory begins, 0 for None."""
    return 0 if tensor is None else int(tensor.data_ptr())
