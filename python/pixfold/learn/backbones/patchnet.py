"""patchnet: the gate, one filter bank over patches, a small head that knows where each patch is."""

from __future__ import annotations

from torch import nn

from pixfold.learn.backbones.gate import Gate
from pixfold.learn.backbones.geometry import PadTo, patch_grid
from pixfold.learn.backbones.registry import register

_WIDTH = 32


@register("patchnet")
def patchnet(shape: tuple[int, int, int], n_outputs: int) -> nn.Module:
    """Gate, patch stem, one 3x3 convolution, and a linear layer over all positions.

    The stem's kernel equals its stride: a grid of at most 15 x 15 patches covers the image (9 x 9 pixels each
    at 135 x 135), padded with zeros to whole patches. The head flattens instead of averaging over positions,
    since each position holds its own features.
    """
    c, h, w = shape
    (ph, pw), (rows, cols) = patch_grid(h, w)
    return nn.Sequential(
        Gate(shape),
        PadTo(rows * ph, cols * pw),
        nn.Conv2d(c, _WIDTH, (ph, pw), stride=(ph, pw), bias=False),
        nn.BatchNorm2d(_WIDTH),
        nn.GELU(),
        nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1, bias=False),
        nn.BatchNorm2d(_WIDTH),
        nn.GELU(),
        nn.Flatten(),
        nn.Linear(_WIDTH * rows * cols, n_outputs),
    )
