"""Outputs that are attributed: those of a network as they are, or the difference of two of them."""

from __future__ import annotations

from torch import Tensor, nn


class Difference(nn.Module):
    """One output: that of class ``a`` less that of class ``b``.

    Attributes
    ----------
    trunk : Module
        The network ``(B, C, H, W) -> (B, K)``.
    """

    def __init__(self, network: nn.Module, a: int, b: int) -> None:
        super().__init__()
        self.trunk = network
        self.a, self.b = a, b

    def forward(self, images: Tensor) -> Tensor:
        """``(B, C, H, W) -> (B, 1)``."""
        outputs: Tensor = self.trunk(images)
        return outputs[:, self.a : self.a + 1] - outputs[:, self.b : self.b + 1]
