"""ResNet18, with the gate and a trunk that sees a small image, and as in the paper."""

from __future__ import annotations

from torch import nn

from pixfold._optional import require
from pixfold.backbones.gate import Gate
from pixfold.backbones.geometry import PadTo, SpaceToDepth, ceil_div
from pixfold.backbones.registry import register

_MAX_SIDE = 64  # pixels a side after blocks have been moved into channels


def _trunk(n_outputs: int) -> nn.Module:
    models = require("torchvision.models", "train", "the backbone resnet18")
    module: nn.Module = models.resnet18(weights=None, num_classes=n_outputs)
    return module


@register("resnet18")
def resnet18(shape: tuple[int, int, int], n_outputs: int) -> nn.Module:
    """Gate, blocks of pixels moved into channels, then torchvision's ResNet18.

    Each side longer than 64 is divided by the smallest whole factor that brings it to 64 or less, after padding with
    zeros to a multiple of the factor: 135 -> 45 (factor 3, 9 channels), 1,000 -> 63 (factor 16). A side up to 64
    keeps its pixels. The stem follows the longer side that is left, so that the first residual stage always works
    on at most 16 x 16 positions: 33 to 64 as in torchvision (7x7, stride 2, max-pool), 17 to 32 3x3 with stride 2,
    up to 16 3x3 with stride 1, neither of them followed by a max-pool.
    """
    c, h, w = shape
    fh, fw = ceil_div(h, _MAX_SIDE), ceil_div(w, _MAX_SIDE)
    rows, cols = ceil_div(h, fh), ceil_div(w, fw)
    channels, side = c * fh * fw, max(rows, cols)
    trunk = _trunk(n_outputs)
    if side > 32:
        trunk.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
    else:
        trunk.conv1 = nn.Conv2d(channels, 64, 3, stride=2 if side > 16 else 1, padding=1, bias=False)
        trunk.maxpool = nn.Identity()
    nn.init.kaiming_normal_(trunk.conv1.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(Gate(shape), PadTo(rows * fh, cols * fw), SpaceToDepth(fh, fw), trunk)


@register("resnet18-plain")
def resnet18_plain(shape: tuple[int, int, int], n_outputs: int) -> nn.Module:
    """torchvision's ResNet18 as in the paper: only the first convolution takes the image's channels; no gate."""
    trunk = _trunk(n_outputs)
    trunk.conv1 = nn.Conv2d(shape[0], 64, 7, stride=2, padding=3, bias=False)
    nn.init.kaiming_normal_(trunk.conv1.weight, mode="fan_out", nonlinearity="relu")
    return trunk
