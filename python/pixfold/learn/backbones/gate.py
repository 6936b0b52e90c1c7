"""The gate: one factor and one offset per pixel, which is one per feature."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Gate(nn.Module):
    """``x * g + b`` with one ``g`` and one ``b`` per pixel.

    A pixel is a fixed feature here, while a convolution treats all positions alike. The gate gives every
    feature its own weight before the shared filters see it. Training soft-thresholds ``g`` (:meth:`shrink`),
    so the gates of features that do not help shrink to zero.

    Parameters
    ----------
    shape : tuple of int
        Image shape ``(C, H, W)``.
    dropout : float
        Part of the pixels that is set to zero, others for every sample, while training. A network that cannot
        count on any one feature memorises less, and uses all features that tell the classes apart instead of
        the first it finds.

    Attributes
    ----------
    g : Parameter, float32 (C, H, W)
        Factors, 1 at the start.
    b : Parameter, float32 (C, H, W)
        Offsets, 0 at the start.
    """

    def __init__(self, shape: tuple[int, int, int], *, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.g = nn.Parameter(torch.ones(shape))
        self.b = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x * g + b``, shape ``(B, C, H, W)``."""
        return torch.addcmul(self.b, self.dropout(x), self.g)

    @torch.no_grad()
    def shrink(self, amount: float) -> None:
        """Soft-threshold ``g`` in place: ``sign(g) * max(|g| - amount, 0)``, the step of an L1 penalty."""
        self.g.copy_(nn.functional.softshrink(self.g, amount))

    @property
    def n_open(self) -> int:
        """Number of pixels with ``g != 0``."""
        return int(torch.count_nonzero(self.g))


def gates(module: nn.Module) -> list[Gate]:
    """All gates inside ``module``, in the order of its ``modules()``."""
    return [part for part in module.modules() if isinstance(part, Gate)]
