"""Attribution methods of Captum by their names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pixfold.util.checks import check_all, choice, number, whole_number
from pixfold.util.optional import require

Forward = Callable[[Tensor], Tensor]
Target = Tensor | int
# images, target output of each image -> signed attributions of the images' shape
Method = Callable[[Tensor, Target], Tensor]


def _captum() -> Any:
    return require("captum.attr", "train", "attribution")


def _saliency(forward: Forward, n_steps: int, baseline: float, rows: int) -> Method:
    """Gradient of the target output with respect to every pixel, signed (Simonyan et al., 2014)."""
    method = _captum().Saliency(forward)
    return lambda images, target: method.attribute(images, target=target, abs=False)


def _input_x_gradient(forward: Forward, n_steps: int, baseline: float, rows: int) -> Method:
    """Gradient times the pixel's value (Shrikumar et al., 2016)."""
    method = _captum().InputXGradient(forward)
    return lambda images, target: method.attribute(images, target=target)


def _integrated_gradients(forward: Forward, n_steps: int, baseline: float, rows: int) -> Method:
    """Integral of the gradient along the line from the baseline, times the way from it (Sundararajan et al., 2017).

    The integral is a Gauss-Legendre sum of ``n_steps`` terms. Attributions of one image add up to the
    difference between the outputs for the image and for the baseline, up to the error of that sum.
    """
    method = _captum().IntegratedGradients(forward)

    def attribute(images: Tensor, target: Target) -> Tensor:
        # Captum raises an internal batch size that is below the number of images. The images are therefore
        # cut first, and the bound holds.
        parts = []
        for begin in range(0, len(images), rows):
            part = images[begin : begin + rows]
            parts.append(
                method.attribute(
                    part,
                    baselines=baseline,
                    target=target if isinstance(target, int) else target[begin : begin + rows],
                    n_steps=n_steps,
                    internal_batch_size=max(rows, len(part)),
                )
            )
        return torch.cat(parts)

    return attribute


_METHODS: dict[str, Callable[[Forward, int, float, int], Method]] = {
    "saliency": _saliency,
    "integrated_gradients": _integrated_gradients,
    "input_x_gradient": _input_x_gradient,
}


METHODS = tuple(_METHODS)
_CHECKS = {
    "method": choice(METHODS),
    "n_steps": whole_number(1),
    "internal_batch_size": whole_number(1, optional=True),
    "baseline": number(signed=True),
}


def bound(method: str, *, n_steps: int, baseline: float, rows: int | None) -> Callable[[Forward, int], Method]:
    """Check the arguments; return a function that binds the method to a network and a batch's number of images."""
    given = {"method": method, "n_steps": n_steps, "internal_batch_size": rows, "baseline": baseline}
    check_all("attribute", _CHECKS, given)
    return lambda forward, n_images: _METHODS[method](forward, n_steps, float(baseline), rows or n_images)
