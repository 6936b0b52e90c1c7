"""The weights of the gate, which are one per feature."""

from __future__ import annotations

from torch import Tensor, nn

from pixfold.learn.attribution.registry import Attributed, Bound, Setting, Target, method
from pixfold.learn.backbones.gate import gates


def _refuses(network: nn.Module) -> str | None:
    return None if gates(network) else "one with a gate, such as patchnet or resnet18, got one without"


@method("gate", refuses=_refuses, of_samples=False)
def gate(network: nn.Module, setting: Setting) -> Bound:
    """Factor of each pixel in the gate that the network begins with; the same for all samples and classes."""
    first = gates(network)[0]

    def attribute(images: Tensor, target: Target, classes: Tensor | None) -> Attributed:
        return Attributed(first.g.detach().expand_as(images))

    return attribute
