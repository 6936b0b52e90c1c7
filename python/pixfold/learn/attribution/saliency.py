"""Saliency: the gradient of the output."""

from __future__ import annotations

from torch import Tensor, nn

from pixfold.learn.attribution.registry import Attributed, Bound, Setting, Target, captum, method


@method("saliency")
def saliency(network: nn.Module, setting: Setting) -> Bound:
    """Gradient of the output with respect to every pixel, signed (Simonyan et al., 2014)."""
    found = captum().Saliency(network)

    def attribute(images: Tensor, target: Target, classes: Tensor | None) -> Attributed:
        return Attributed(found.attribute(images, target=target, abs=False))

    return attribute
