"""vit and swin: torchvision's vision transformers, small, with patches that suit the image."""

from __future__ import annotations

from typing import Any

from torch import nn

from pixfold.learn.backbones.geometry import PadTo, SpaceToDepth, patch_grid
from pixfold.learn.backbones.registry import register
from pixfold.util.optional import require

_WIDTH = 96
_HEADS = 4
_LAYERS = 4


def _patches(shape: tuple[int, int, int], most: int) -> tuple[list[nn.Module], int, tuple[int, int]]:
    """Layers that move each patch into the channels of one place, their channels, and the grid of places."""
    channels, height, width = shape
    (ph, pw), grid = patch_grid(height, width, most=most)
    before: list[nn.Module] = [PadTo(grid[0] * ph, grid[1] * pw), SpaceToDepth(ph, pw)]
    return before, channels * ph * pw, grid


@register("vit")
def vit(shape: tuple[int, int, int], n_outputs: int) -> nn.Module:
    """Build a vision transformer (Dosovitskiy et al., 2021) of 4 layers, 4 heads and a width of 96.

    A grid of at most 12 x 12 patches covers the image, of any shape: 12 x 12 pixels each at 135 x 135.
    """
    models: Any = require("torchvision.models.vision_transformer", "train", "the backbone vit")
    before, channels, grid = _patches(shape, most=12)
    side = max(grid)
    # Patches are channels by now, so that a patch of the trunk is one place.
    trunk: nn.Module = models.VisionTransformer(
        image_size=side,
        patch_size=1,
        num_layers=_LAYERS,
        num_heads=_HEADS,
        hidden_dim=_WIDTH,
        mlp_dim=2 * _WIDTH,
        dropout=0.1,
        num_classes=n_outputs,
    )
    trunk.conv_proj = nn.Conv2d(channels, _WIDTH, 1)
    return nn.Sequential(*before, PadTo(side, side), trunk)


@register("swin")
def swin(shape: tuple[int, int, int], n_outputs: int) -> nn.Module:
    """Build a Swin transformer (Liu et al., 2021) of two stages of two layers, widths of 96 and 192, windows of 4 x 4.

    A grid of at most 16 x 16 patches covers the image.
    """
    models: Any = require("torchvision.models.swin_transformer", "train", "the backbone swin")
    before, channels, _ = _patches(shape, most=16)
    trunk: nn.Module = models.SwinTransformer(
        patch_size=[1, 1],
        embed_dim=_WIDTH,
        depths=[2, 2],
        num_heads=[3, 6],
        window_size=[4, 4],
        stochastic_depth_prob=0.1,
        num_classes=n_outputs,
    )
    features: Any = trunk.features
    features[0][0] = nn.Conv2d(channels, _WIDTH, 1)
    return nn.Sequential(*before, trunk)
