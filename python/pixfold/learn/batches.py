"""What training, prediction and attribution read: batches of images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from torch import Tensor


class Batches(Protocol):
    """Batches of images that can be gone through again and again; :class:`pixfold.FoldLoader` is one."""

    @property
    def n_samples(self) -> int:
        """Number of samples in all batches together."""

    def __len__(self) -> int:
        """Return the number of batches."""

    def set_epoch(self, epoch: int, /) -> None:
        """Choose the shuffle of the next pass."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor | None, Tensor]]:
        """Yield ``images float32 (B, C, H, W), labels int64 (B,) or None, indices int64 (B,)``."""
