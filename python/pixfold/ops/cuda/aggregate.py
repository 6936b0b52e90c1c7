"""New moments of attributions on a CUDA device, and moments brought from one device to another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.arrays import cuda as arrays
from pixfold.errors import InputError
from pixfold.ops.cuda.placed import address, to_device

FLOATS = ("float16", "float32", "float64", "bfloat16")


@dataclass(frozen=True)
class DeviceAttributions:
    """Attributions on a CUDA device."""

    tensor: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor."""
        return tuple(self.tensor.shape)

    @property
    def dtype(self) -> str:
        """Name of the element type."""
        return str(self.tensor.dtype).removeprefix("torch.")

    @property
    def is_float(self) -> bool:
        """Whether the kernels read such elements."""
        return self.dtype in FLOATS


def device_attributions(attributions: Any) -> DeviceAttributions:
    """Read a CUDA tensor as attributions, where it is."""
    if str(attributions.layout) != "torch.strided":
        raise InputError(f"aggregate: attributions must be a dense tensor, got layout {attributions.layout}")
    return DeviceAttributions(arrays.usable("aggregate", "attributions", attributions))


def moments_after(
    attributions: DeviceAttributions,
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

    x, strides = _strided(attributions.tensor, channels_summed)
    n_channels = x.shape[1] if channels_summed else 1
    n_pixels = x.shape[1] * x.shape[2] * x.shape[3] // n_channels
    queue = arrays.queue_of("aggregate", "attributions", x)
    old = [None if moments is None else _aligned(on_device(moments, x.device)) for moments in before]
    new = [torch.empty((3, n_pixels), dtype=torch.float64, device=x.device) for _ in before]
    lists = queue.cuda.ClassLists(added.tolist(), seen.tolist(), n_pixels)
    table = torch.empty(lists.table_size, dtype=torch.int64, device=x.device)
    workspace = torch.empty(lists.workspace_bytes, dtype=torch.uint8, device=x.device)
    bad = torch.zeros(1, dtype=torch.int64, device=x.device)
    numbers = lists.table(samples, [address(o) for o in old], [address(n) for n in new], address(table))
    table.copy_(torch.from_numpy(numbers), non_blocking=True)  # they live until the wait below
    queue.cuda.aggregate(
        address(x), attributions.dtype, n_channels, *strides, lists, address(table), address(workspace), address(bad),
        queue.ordinal, queue.stream,
    )  # fmt: skip
    return None if bad.item() else new


def on_device(moments: Any, device: Any) -> Any:
    """Moments as a tensor on a CUDA device."""
    return to_device(moments, device) if isinstance(moments, np.ndarray) else moments.to(device)


def _aligned(moments: Any) -> Any:
    """Moments at an address that the kernel reads from: those of one class among others may lie at any double's."""
    return moments.clone() if address(moments) % 16 else moments


def on_host(moments: Any) -> NDArray[np.float64]:
    """Moments as an array, which is not copied where it is one."""
    values: NDArray[np.float64] = moments if isinstance(moments, np.ndarray) else moments.cpu().numpy()
    return values


def placed_like(moments: Any, others: Any) -> Any:
    """Moments where others are."""
    return on_host(moments) if isinstance(others, np.ndarray) else on_device(moments, others.device)


def copied(moments: Any) -> Any:
    """A copy of moments, where they are."""
    return moments.copy() if isinstance(moments, np.ndarray) else moments.clone()


def _strided(x: Any, channels_summed: bool) -> tuple[Any, tuple[int, int, int]]:
    """Strides of samples, channels and pixels, and the tensor that has them: a copy where no strides do."""
    first = 2 if channels_summed else 1
    across, along = x.stride()[:first], list(zip(x.shape[first:], x.stride()[first:], strict=True))
    # The dimensions that pixels are numbered over must be one: of any length, as long as one goes on in the other.
    along = [(size, stride) for size, stride in along if size > 1]
    if any(outer != size * stride for (_, outer), (size, stride) in pairwise(along)):
        return _strided(x.contiguous(), channels_summed)
    pixel = along[-1][1] if along else 1
    return x, (across[0], across[1] if channels_summed else 0, pixel)
