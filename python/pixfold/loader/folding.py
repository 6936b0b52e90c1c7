"""Samples of a batch become images where they are wanted: on the CPU, or on a CUDA device from compact bytes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pixfold.arrays.cuda_extension import extension
from pixfold.arrays.interop import to_torch
from pixfold.errors import BackendError
from pixfold.image_pool import ImagePool
from pixfold.layout import Layout
from pixfold.loader.transfer import Transfer
from pixfold.normalize.normalizer import Normalizer
from pixfold.ops.fold_samples import fold_into_fresh

Positions = NDArray[np.int64]
Batches = Iterable[tuple[Positions, Any]]


class Folding(Protocol):
    """How images are made."""

    def images(self, batches: Batches) -> Iterator[tuple[Positions, Tensor]]:
        """Give positions and images for positions and samples."""


def folding_on(
    device: torch.device, layout: Layout, normalizer: Normalizer | None, dtype: str, threads: int | None
) -> Folding:
    """Choose where images for a device are folded."""
    on_host = HostFolding(device, layout, normalizer, dtype, threads)
    if device.type != "cuda" or not layout.is_one_to_one:
        return on_host
    try:
        extension("FoldLoader", "device", device.index or 0)
    except BackendError:
        return on_host
    return DeviceFolding(Transfer(device), layout, normalizer, dtype)


class HostFolding:
    """Images are folded on the CPU, and copied where they are wanted elsewhere."""

    def __init__(
        self, device: torch.device, layout: Layout, normalizer: Normalizer | None, dtype: str, threads: int | None
    ) -> None:
        self.device, self.layout, self.normalizer, self.dtype, self.threads = device, layout, normalizer, dtype, threads
        self.pool = ImagePool()

    def images(self, batches: Batches) -> Iterator[tuple[Positions, Tensor]]:
        """Fold batch by batch, into memory that is used again."""
        bfloat16 = self.dtype == "bfloat16"
        for positions, samples in batches:
            shape = (len(positions), *self.layout.shape)
            out = to_torch(self.pool.empty(shape, "uint16" if bfloat16 else self.dtype), bfloat16)
            fold_into_fresh(samples, self.layout, self.normalizer, dtype=self.dtype, out=out, threads=self.threads)
            del samples
            yield positions, out.to(self.device)
            del out


class DeviceFolding:
    """The device folds; the samples of a batch are copied to it while the batch before is used."""

    def __init__(self, transfer: Transfer, layout: Layout, normalizer: Normalizer | None, dtype: str) -> None:
        self.transfer, self.layout, self.normalizer, self.dtype = transfer, layout, normalizer, dtype

    def images(self, batches: Batches) -> Iterator[tuple[Positions, Tensor]]:
        """Fold batch by batch, one batch behind the copies."""
        sent: deque[tuple[Positions, Any]] = deque()
        for positions, samples in batches:
            sent.append((positions, self.transfer.send(samples)))
            if len(sent) > 1:
                yield self._fold(*sent.popleft())
        while sent:
            yield self._fold(*sent.popleft())
        if self.normalizer is not None:
            # A fold on a device only queues its work; what it had to refuse is known when the epoch is over.
            from pixfold.ops.cuda.fold import check_folds

            check_folds(self.normalizer)

    def _fold(self, positions: Positions, arrived: Any) -> tuple[Positions, Tensor]:
        return positions, self.transfer.fold(arrived, self.layout, self.normalizer, self.dtype)
