"""New moments of attributions on a CUDA device, and moments brought from one device to another."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.arrays.cuda import OnCuda
from pixfold.ops.cuda.placed import to_device


def moments_after(
    attributions: OnCuda,
    channels_summed: bool,
    samples: NDArray[np.int64],
    added: NDArray[np.int64],
    seen: NDArray[np.int64],
    before: Sequence[Any],
) -> list[Any] | None:
    """Moments after a batch, on its device; None where one of them is not finite. This waits for the device.

    `samples` are positions class after class, `added` of each class; `before` has an array of moments, wherever it
    is, or None for each.
    """
    import torch

    queue = attributions.queue
    x = _by_pixels(attributions.tensor, channels_summed)
    old = [None if moments is None else _aligned(on_device(moments, x.device)) for moments in before]
    new = [torch.empty((3, x.shape[2]), dtype=torch.float64, device=x.device) for _ in before]
    bad = torch.zeros(1, dtype=torch.int64, device=x.device)
    held = queue.kernels.aggregate(x, samples, added, seen, old, new, bad, queue.stream)
    finite = not bad.item()
    del held  # the device has read it
    return new if finite else None


def on_device(moments: Any, device: Any) -> Any:
    """Moments as a tensor on a CUDA device."""
    return to_device(moments, device) if isinstance(moments, np.ndarray) else moments.to(device)


def _aligned(moments: Any) -> Any:
    """Moments at an address that the kernel reads from: those of one class among others may lie at any double's."""
    return moments.clone() if moments.data_ptr() % 16 else moments


def moments_on_host(moments: Any) -> NDArray[np.float64]:
    """Moments as an array, which is not copied where it is one."""
    values: NDArray[np.float64] = moments if isinstance(moments, np.ndarray) else moments.cpu().numpy()
    return values


def placed_like(moments: Any, others: Any) -> Any:
    """Moments where others are."""
    return moments_on_host(moments) if isinstance(others, np.ndarray) else on_device(moments, others.device)


def copied(moments: Any) -> Any:
    """A copy of moments, where they are."""
    return moments.copy() if isinstance(moments, np.ndarray) else moments.clone()


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
