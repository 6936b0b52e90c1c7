"""ResNet18, with the gate and a trunk that sees a small image, and as in the paper."""

from __future__ import annotations

from torch import nn

from pixfold._optional import require
from pixfold.backbones.gate import Gate
from pixfold.backbones.geometry import PadTo, SpaceToDepth, ceil_div
from pixfold.backbones.registry import register

_MAX_SIDE = 12  # pixels a side after blocks have been moved into channels
_DROPOUT = 0.3


def _trunk(n_outputs: int, stem: nn.Module, **options: bool) -> nn.Module:
    models = require("torchvision.models", "train", "the backbone resnet18")
    trunk: nn.Module = models.resnet18(weights=None, num_classes=n_outputs, **options)
    nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")  # as torchvision's own
    trunk.conv1 = stem
    return trunk


@register("resnet18")
def resnet18(shape: tuple[int, int, int], n_outputs: int) -> nn.Module:
    """Gate, blocks of pixels moved into channels, then torchvision's ResNet18 with a 3x3 stem of stride 1.

    Each side longer than 12 is divided by the smallest whole factor that brings it to 12 or less, after padding
    with zeros to a multiple of the factor: 135 -> 12 (factor 12, 144 channels), 32 -> 11 (factor 3). Neighbours
    in the table are not neighbours in meaning, so little is lost by giving each pixel of a block filters of its
    own; much is won: the last stage has 2 x 2 positions left to average over, and steps are fast.

    The gate drops 30 % of the pixels while training, and the residual branches begin at zero
    (``zero_init_residual``, Goyal et al., 2017): without these two, 360 samples of 1,024 features with two
    needles are memorised before the needles are found.
    """
    c, h, w = shape
    fh, fw = ceil_div(h, _MAX_SIDE), ceil_div(w, _MAX_SIDE)
    rows, cols = ceil_div(h, fh), ceil_div(w, fw)
    stem = nn.Conv2d(c * fh * fw, 64, 3, padding=1, bias=False)
    trunk = _trunk(n_outputs, stem, zero_init_residual=True)
    trunk.maxpool = nn.Identity()
    return nn.Sequential(
        Gate(shape, dropout=_DROPOUT), PadTo(rows * fh, cols * fw), SpaceToDepth(fh, fw), trunk
    )


@register("resnet18-plain")
def resnet18_plain(shape: tuple[int, int, int], n_outputs: int) -> nn.Module:
    """torchvision's ResNet18 as in the paper: the first convolution takes the image's channels; no gate."""
    return _trunk(n_outputs, nn.Conv2d(shape[0], 64, 7, stride=2, padding=3, bias=False))
