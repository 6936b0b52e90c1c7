"""Shapes of patches and paddings, and the small layers that apply them."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def ceil_div(a: int, b: int) -> int:
    """``ceil(a / b)`` of positive integers."""
    return -(-a // b)


class PadTo(nn.Module):
    """Pad images with zeros at the bottom and the right to ``(height, width)``."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.height, self.width = height, width

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` padded to ``(B, C, height, width)``."""
        bottom, right = self.height - x.shape[-2], self.width - x.shape[-1]
        return nn.functional.pad(x, (0, right, 0, bottom)) if bottom or right else x

    def extra_repr(self) -> str:
        """Sizes shown by ``repr``."""
        return f"height={self.height}, width={self.width}"


class SpaceToDepth(nn.Module):
    """Move blocks of ``fh x fw`` pixels into channels: ``(B, C, H, W) -> (B, C*fh*fw, H/fh, W/fw)``.

    ``torch.nn.PixelUnshuffle`` with a factor for each side, so that a long narrow image is not blown up.
    """

    def __init__(self, fh: int, fw: int) -> None:
        super().__init__()
        self.fh, self.fw = fh, fw

    def forward(self, x: Tensor) -> Tensor:
        """Return the rearranged images."""
        if self.fh == self.fw == 1:
            return x
        b, c, h, w = x.shape
        blocks = x.reshape(b, c, h // self.fh, self.fh, w // self.fw, self.fw).permute(0, 1, 3, 5, 2, 4)
        return blocks.reshape(b, c * self.fh * self.fw, h // self.fh, w // self.fw)

    def extra_repr(self) -> str:
        """Factors shown by ``repr``."""
        return f"fh={self.fh}, fw={self.fw}"


class Repeat(nn.Module):
    """Repeat every pixel ``kh x kw`` times (nearest-neighbour enlargement by whole factors)."""

    def __init__(self, kh: int, kw: int) -> None:
        super().__init__()
        self.kh, self.kw = kh, kw

    def forward(self, x: Tensor) -> Tensor:
        """Return the enlarged images."""
        return x.repeat_interleave(self.kh, dim=-2).repeat_interleave(self.kw, dim=-1)

    def extra_repr(self) -> str:
        """Factors shown by ``repr``."""
        return f"kh={self.kh}, kw={self.kw}"


def patch_grid(height: int, width: int, *, most: int = 15) -> tuple[tuple[int, int], tuple[int, int]]:
    """Patch size and number of patches for each side: at most ``most`` patches a side.

    Returns
    -------
    (patch_height, patch_width), (rows, columns)
        135 x 135 gives 9 x 9 patches on a 15 x 15 grid; 8 x 8 gives single pixels on an 8 x 8 grid.
    """
    ph, pw = ceil_div(height, most), ceil_div(width, most)
    return (ph, pw), (ceil_div(height, ph), ceil_div(width, pw))


@torch.no_grad()
def probe(module: nn.Module, shape: tuple[int, int, int]) -> Tensor:
    """Output of ``module`` for two images of zeros, in evaluation mode; the mode is put back."""
    training = module.training
    parameter = next(iter(module.parameters()), None)
    device = parameter.device if parameter is not None else torch.device("cpu")
    try:
        output: Tensor = module.eval()(torch.zeros(2, *shape, device=device))
    finally:
        module.train(training)
    return output
