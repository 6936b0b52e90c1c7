"""Guided backpropagation."""

from __future__ import annotations

from torch import Tensor, nn

from pixfold.learn.attribution.layers import needs_relu, separated
from pixfold.learn.attribution.registry import Attributed, Bound, Setting, Target, captum, hooked, method


@method("guided_backprop", refuses=needs_relu("guided backpropagation"))
def guided_backprop(network: nn.Module, setting: Setting) -> Bound:
    """Gradient of which every ReLU lets only the positive part pass (Springenberg et al., 2015)."""
    found = captum().GuidedBackprop(separated(network))

    def attribute(images: Tensor, target: Target, classes: Tensor | None) -> Attributed:
        with hooked():
            return Attributed(found.attribute(images, target=target).detach())

    return attribute
