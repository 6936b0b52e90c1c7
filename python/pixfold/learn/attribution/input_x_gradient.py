"""Input x gradient."""

from __future__ import annotations

from torch import Tensor, nn

from pixfold.learn.attribution.registry import Attributed, Bound, Setting, Target, captum, method


@method("input_x_gradient")
def input_x_gradient(network: nn.Module, setting: Setting) -> Bound:
    """Gradient of the output times the pixel's value (Shrikumar et al., 2016)."""
    found = captum().InputXGradient(network)

    def attribute(images: Tensor, target: Target, classes: Tensor | None) -> Attributed:
        return Attributed(found.attribute(images, target=target))

    return attribute
