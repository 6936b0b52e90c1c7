"""Attributions that are added up on a CUDA device, where their moments stay; nothing on the way waits for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.arrays import cuda
from pixfold.arrays.cuda import OnCuda, Queue
from pixfold.arrays.dense import type_name
from pixfold.errors import InputError
from pixfold.util.text import counted

NOT_FINITE = "attributions must be finite, with squares that float64 holds, got NaN, infinite or larger values"


class MomentsOnCuda:
    """Per class: samples so far, and mean, m2 and mean_abs of every pixel, on one device.

    A batch that is refused changes nothing there. Which batches were, the host learns later: the device writes it into
    memory of the host, and :meth:`check` looks.
    """

    def __init__(self, queue: Queue, count: NDArray[np.int64], moments: Sequence[Any], n_pixels: int) -> None:
        """Begin with what is there: `moments` has an array (3, n_pixels) for each class with samples."""
        import torch

        self.device = queue.device
        self._count = queue.to_device(count)
        self._side = torch.zeros_like(self._count)
        self._moments = torch.empty((2, count.size, 3, n_pixels), dtype=torch.float64, device=queue.device)
        for k in np.flatnonzero(count).tolist():
            self._moments[0, k].copy_(torch.from_numpy(moments[k]))
        self._refused = torch.zeros(3, dtype=torch.int64, device=queue.device)
        # Three numbers of the host, which are right once the device has passed `_written`.
        on_card = queue.torch_stream is not None
        self._told = torch.zeros(3, dtype=torch.int64, pin_memory=on_card)
        new_event: Callable[[], Any] = torch.cuda.Event
        self._written = new_event() if on_card else None
        self._raised = np.zeros(3, dtype=np.int64)
        self._stream = queue.stream

    def add(self, attributions: OnCuda, channels_summed: bool, labels: Any, keep: Any) -> None:
        """Queue a batch; `labels` (int64) and `keep` (bool, or None) are tensors on the device."""
        queue = attributions.queue
        if queue.stream != self._stream:
            queue.torch_stream.wait_event(self._written)
            queue.holds(self._count, self._side, self._moments, self._refused)
            self._stream = queue.stream
        x = _by_pixels(attributions.tensor, channels_summed)
        first, second = self._moments
        queue.kernels.aggregate(x, labels, keep, self._count, self._side, first, second, self._refused, queue.stream)
        self._told.copy_(self._refused, non_blocking=True)
        if self._written is not None:
            self._written.record(queue.torch_stream)

    def check(self, wait: bool) -> None:
        """Raise for batches that were refused since the last look: all of them, or those the device is done with."""
        if self._written is not None:
            if wait:
                self._written.synchronize()
            elif not self._written.query():
                return
        total: NDArray[np.int64] = self._told.numpy().copy()
        new, self._raised = total - self._raised, total
        message = refusal(new, self._count.numel())
        if message is not None:
            raise InputError(f"{message}, in a batch on {self.device} that was not added")

    def read(self) -> tuple[NDArray[np.int64], list[Any]]:
        """Copy counts and moments to the host; None for a class without samples."""
        self.check(wait=True)
        count: NDArray[np.int64] = self._count.cpu().numpy().copy()
        side = self._side.tolist()
        moments = [self._moments[side[k], k].cpu().numpy().copy() if n else None for k, n in enumerate(count)]
        return count, moments


def refusal(refused: Any, n_classes: int) -> str | None:
    """What an error says of moments that are not finite, labels out of range and marks that are no booleans."""
    moments, labels, marks = (int(number) for number in refused)
    if labels:
        return f"aggregate: labels must be in [0, {n_classes}), got {counted(labels, 'other label')}"
    if marks:
        return f"aggregate: keep must be True or False, got {counted(marks, 'other byte')}"
    return f"aggregate: {NOT_FINITE}" if moments else None


def aggregated_in_place(
    attributions: OnCuda, channels_summed: bool, labels: Any, keep: Any, count: Any, moments: Any
) -> None:
    """Add a batch to moments (n_classes, 3, n_pixels) and counts of the caller's; waits to know whether all was right.

    Raises
    ------
    InputError
        For a batch that is refused; nothing is changed then.
    """
    import torch

    queue = attributions.queue
    seen = count.to(queue.device, copy=True)
    side, refused = torch.zeros_like(seen), torch.zeros(3, dtype=torch.int64, device=queue.device)
    after = torch.empty_like(moments)
    x = _by_pixels(attributions.tensor, channels_summed)
    queue.kernels.aggregate(x, labels, keep, seen, side, moments, after, refused, queue.stream)
    message = refusal(refused.tolist(), seen.numel())
    if message is not None:
        raise InputError(message)
    for k in side.nonzero().flatten().tolist():
        moments[k].copy_(after[k])
    count.copy_(seen)


def labels_on(queue: Queue, labels: Any, n: int) -> Any | None:
    """Labels that lie on the queue's device, as int64 and unread; None for those that are elsewhere."""
    if not _is_there(queue, labels):
        return None
    import torch

    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise InputError(f"aggregate: labels must be integers, got {type_name(labels.dtype)}")
    if tuple(labels.shape) != (n,):
        raise InputError(f"aggregate: labels must have shape ({n},), got {tuple(labels.shape)}")
    return labels.detach().long().contiguous()


def marks_on(queue: Queue, keep: Any, n: int) -> Any | None:
    """The same of marks, as bool."""
    if not _is_there(queue, keep):
        return None
    import torch

    if keep.dtype != torch.bool or tuple(keep.shape) != (n,):
        raise InputError(
            f"aggregate: keep must be a bool array of shape ({n},), got {type_name(keep.dtype)} of shape "
            f"{tuple(keep.shape)}"
        )
    return keep.detach().contiguous()


def _is_there(queue: Queue, x: Any) -> bool:
    return cuda.is_on_cuda(x) and x.device == queue.device


def _by_pixels(x: Any, channels_summed: bool) -> Any:
    """Attributions as (n_samples, n_channels, n_pixels), copied only where no strides say so.

    Channels that are not summed are pixels.
    """
    first = 2 if channels_summed else 1
    # The dimensions that pixels are numbered over must be one: of any length, as long as one goes on in the other.
    along = [(size, stride) for size, stride in zip(x.shape[first:], x.stride()[first:], strict=True) if size > 1]
    if any(outer != size * stride for (_, outer), (size, stride) in pairwise(along)):
        return _by_pixels(x.contiguous(), channels_summed)
    n_channels = x.shape[1] if channels_summed else 1
    n_pixels = x.shape[1:].numel() // n_channels
    strides = (x.stride(0), x.stride(1) if channels_summed else 0, along[-1][1] if along else 1)
    return x.as_strided((x.shape[0], n_channels, n_pixels), strides)
