"""ResNet18, with the gate and a trunk that sees a small image, and as in the paper."""

from __future__ import annotations

from typing import Any

from torch import nn

from pixfold.learn.backbones.gate import Gate
from pixfold.learn.backbones.geometry import PadTo, SpaceToDepth, ceil_div
from pixfold.learn.backbones.registry import register
from pixfold.util.optional import require

_MAX_SIDE = 8  # pixels a side after blocks have been moved into channels
_DROPOUT = 0.3


def _trunk(n_outputs: int, stem: nn.Conv2d, **options: bool) -> nn.Module:
    models = require("torchvision.models", "train", "the backbone resnet18")
    trunk: nn.Module = models.resnet18(weights=None, num_classes=n_outputs, **options)
    nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")  # as torchvision's own
    trunk.conv1 = stem
    return trunk


@register("resnet18")
def resnet18(shape: tuple[int, int, int], n_outputs: int) -> nn.Module:
    """Gate, blocks of pixels moved into channels, then torchvision's ResNet18 with a 3x3 stem of stride 1.

    Each side longer than 8 is divided by the smallest whole factor that brings it to 8 or less, after
    padding with zeros to a multiple of the factor: 135 -> 8 (factor 17, 289 channels), 32 -> 8 (factor 4).
    Neighbours in the table are not neighbours in meaning, so little is lost by giving each pixel of a block
    filters of its own; much is won: one position is left at the end, so nothing is averaged away, and steps
    are fast.

    The gate drops 30 % of the pixels while training, and the residual branches begin at zero
    (``zero_init_residual``, Goyal et al., 2017). Without these two, 360 samples of 1,024 features with two
    needles are memorised and the needles are not found; with the second alone, one of them is. While the
    branches are zero only the shortcuts speak, and a shortcut that takes every second position would hear the
    top left corner alone: each halves its size by a mean of 2 x 2 instead (ResNet-D, He et al., 2019).
    """
    c, h, w = shape
    fh, fw = ceil_div(h, _MAX_SIDE), ceil_div(w, _MAX_SIDE)
    rows, cols = ceil_div(h, fh), ceil_div(w, fw)
    stem = nn.Conv2d(c * fh * fw, 64, 3, padding=1, bias=False)
    trunk: Any = _trunk(n_outputs, stem, zero_init_residual=True)
    trunk.maxpool = nn.Identity()
    for stage in (trunk.layer2, trunk.layer3, trunk.layer4):
        stage[0].downsample[0].stride = (1, 1)
        stage[0].downsample.insert(0, nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False))
    return nn.Sequential(Gate(shape, dropout=_DROPOUT), PadTo(rows * fh, cols * fw), SpaceToDepth(fh, fw), trunk)


@register("resnet18-plain")
def resnet18_plain(shape: tuple[int, int, int], n_outputs: int) -> nn.Module:
    """Build torchvision's ResNet18 as in the paper: only the first convolution fits the channels; no gate."""
    return _trunk(n_outputs, nn.Conv2d(shape[0], 64, 7, stride=2, padding=3, bias=False))
