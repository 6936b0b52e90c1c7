"""Any classifier of torchvision by its name, fitted to the channels and the size of the images."""

from __future__ import annotations

from functools import cache
from typing import Any

from torch import nn

from pixfold.learn.backbones.geometry import PadTo, Repeat, ceil_div
from pixfold.util.optional import require

# Smallest side that the strides and poolings of a family leave something of; 32 serves all others.
_MIN_SIDE = {"alexnet": 63, "inception_v3": 75}


def _models() -> Any:
    return require("torchvision.models", "train", "a torchvision backbone")


@cache
def classifier_names() -> tuple[str, ...]:
    """Names of torchvision's classifiers, sorted."""
    models = _models()
    return tuple(sorted(models.list_models(module=models)))


def classifier(name: str, shape: tuple[int, int, int], n_outputs: int) -> nn.Module:
    """Build a torchvision classifier without pretrained weights.

    The first convolution takes the image's channels. Sides below the smallest the family accepts (32; alexnet
    63, inception_v3 75) are enlarged by repeating pixels a whole number of times; vision transformers get
    images padded with zeros to a square of whole patches (maxvit: a multiple of 224). Auxiliary outputs are
    off. No gate is added, although most of these networks average over positions at the end.

    Parameters
    ----------
    name : str
        One of :func:`classifier_names`.
    shape : tuple of int
        ``(C, H, W)``.
    n_outputs : int
        Number of classes.
    """
    c, h, w = shape
    smallest = _MIN_SIDE.get(name, 32)
    kh, kw = ceil_div(smallest, h), ceil_div(smallest, w)
    height, width = h * kh, w * kw
    options: dict[str, Any] = {}
    if name.startswith("vit_"):
        patch = int(name.rpartition("_")[2])
        height = width = patch * ceil_div(max(height, width), patch)
        options["image_size"] = height
    elif name.startswith("maxvit"):
        height = width = 224 * ceil_div(max(height, width), 224)
        options["input_size"] = (height, width)
    elif name in ("inception_v3", "googlenet"):
        options.update(aux_logits=False, transform_input=False, init_weights=True)
    module: nn.Module = _models().get_model(name, weights=None, num_classes=n_outputs, **options)
    _adapt_first_convolution(module, c)
    before: list[nn.Module] = []
    if (kh, kw) != (1, 1):
        before.append(Repeat(kh, kw))
    if (height, width) != (h * kh, w * kw):
        before.append(PadTo(height, width))
    return nn.Sequential(*before, module) if before else module


def _adapt_first_convolution(module: nn.Module, channels: int) -> None:
    """Replace the first convolution by one with ``channels`` inputs (it has 3)."""
    name, old = next((n, part) for n, part in module.named_modules() if isinstance(part, nn.Conv2d))
    if old.in_channels == channels:
        return
    new = nn.Conv2d(
        channels,
        old.out_channels,
        old.kernel_size,  # type: ignore[arg-type]
        stride=old.stride,  # type: ignore[arg-type]
        padding=old.padding,  # type: ignore[arg-type]
        dilation=old.dilation,  # type: ignore[arg-type]
        bias=old.bias is not None,
    )
    parent, _, last = name.rpartition(".")
    setattr(module.get_submodule(parent), last, new)
