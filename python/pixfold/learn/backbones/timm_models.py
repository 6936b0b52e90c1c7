"""Models of timm by their names, where timm is installed."""

from __future__ import annotations

import difflib
import inspect
from typing import Any

from torch import nn

from pixfold.errors import InputError
from pixfold.learn.backbones.geometry import PadTo, Repeat, ceil_div
from pixfold.util.optional import require
from pixfold.util.text import must_be, reason_of

PREFIX = "timm:"
# Strides of 32 leave one place of a side of this length; patches of 16 and 32 divide it.
_STEP = 32


def _timm() -> Any:
    return require("timm", "timm", "a backbone of timm")


def check(op: str, argument: str, name: str) -> None:
    """Raise InputError unless timm has a model of the name, which begins with "timm:".

    Names of model hubs, which timm would download, are no names of its own.
    """
    known = _timm().list_models()
    wanted = name.removeprefix(PREFIX)
    if wanted not in known:
        close = difflib.get_close_matches(wanted, known, n=3)
        hint = f" (did you mean {' or '.join(PREFIX + match for match in close)}?)" if close else ""
        raise InputError(must_be(op, argument, f"a model of the installed timm{hint}", name))


def model(name: str, shape: tuple[int, int, int], n_outputs: int) -> nn.Module:
    """Build a model of timm without pretrained weights.

    Sides below 32 are enlarged by repeating pixels a whole number of times. Models that are built for one size of image
    (transformers) get the image's, padded with zeros to multiples of 32.

    Parameters
    ----------
    name : str
        ``"timm:NAME"``.
    shape : tuple of int
        ``(C, H, W)``.
    n_outputs : int
        Number of outputs.

    Raises
    ------
    InputError
        When timm cannot build it for such images.
    """
    timm = _timm()
    channels, h, w = shape
    kh, kw = ceil_div(_STEP, h), ceil_div(_STEP, w)
    height, width = h * kh, w * kw
    options: dict[str, Any] = {"pretrained": False, "in_chans": channels, "num_classes": n_outputs}
    wanted = name.removeprefix(PREFIX)
    if _sized(timm, wanted):
        height, width = (_STEP * ceil_div(side, _STEP) for side in (height, width))
        options["img_size"] = (height, width)
    try:
        trunk: nn.Module = timm.create_model(wanted, **options)
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise InputError(
            f"backbones.build: backbone must be one for images of {shape}, got {name!r} ({reason_of(error)})"
        ) from error
    before: list[nn.Module] = []
    if (kh, kw) != (1, 1):
        before.append(Repeat(kh, kw))
    if (height, width) != (h * kh, w * kw):
        before.append(PadTo(height, width))
    return nn.Sequential(*before, trunk)


def _sized(timm: Any, name: str) -> bool:
    """Whether a model is built for one size of image: its class takes one."""
    entry = timm.model_entrypoint(name)
    family = inspect.getmodule(entry)
    assert family is not None  # timm defines its entry points in modules
    kinds = [kind for _, kind in inspect.getmembers(family, inspect.isclass) if kind.__module__ == family.__name__]
    takes = [kind for kind in kinds if "img_size" in inspect.signature(kind.__init__).parameters]
    # The networks of a family, not their layers.
    return any("num_classes" in inspect.signature(kind.__init__).parameters for kind in takes)
