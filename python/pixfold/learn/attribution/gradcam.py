"""Grad-CAM, alone and with guided backpropagation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pixfold.learn.attribution.guided_backprop import guided_backprop
from pixfold.learn.attribution.layers import needs_convolution, needs_relu
from pixfold.learn.attribution.positions import to_pixels
from pixfold.learn.attribution.registry import Attributed, Bound, Setting, Target, captum, method


def _refuses_guided(network: nn.Module) -> str | None:
    return needs_convolution(network) or needs_relu("guided Grad-CAM")(network)


@method("gradcam", refuses=needs_convolution, unit="place of the last convolution")
def gradcam(network: nn.Module, setting: Setting) -> Bound:
    """Maps of the last convolution, weighted by their mean gradients (Selvaraju et al., 2017).

    The map is that of the last convolution that has more than one place, enlarged to the image. Not pixel-sharp: all
    pixels that a place of the map covers share its value, whatever they hold.
    """
    layers: dict[tuple[int, ...], nn.Module] = {}

    def attribute(images: Tensor, target: Target, classes: Tensor | None) -> Attributed:
        shape = tuple(images.shape[1:])
        if shape not in layers:
            layers[shape] = _last_map(network, images[:1])
        method_of = captum().LayerGradCam(network, layers[shape])
        found = method_of.attribute(images, target=target).detach()
        return Attributed(to_pixels(network, found, tuple(images.shape)))

    return attribute


@method("guided_gradcam", refuses=_refuses_guided)
def guided_gradcam(network: nn.Module, setting: Setting) -> Bound:
    """Guided backpropagation times the positive part of Grad-CAM (Selvaraju et al., 2017): sharp, and of one class."""
    sharp, coarse = guided_backprop(network, setting), gradcam(network, setting)

    def attribute(images: Tensor, target: Target, classes: Tensor | None) -> Attributed:
        where = coarse(images, target, classes).values.relu()
        return Attributed(sharp(images, target, classes).values * where)

    return attribute


@torch.no_grad()
def _last_map(network: nn.Module, image: Tensor) -> nn.Module:
    """Last convolution in the order of the pass whose output has more than one place, else the last one."""
    seen: list[tuple[nn.Module, int]] = []

    def note(part: nn.Module, _: object, output: Tensor) -> None:
        seen.append((part, output.shape[-1] * output.shape[-2]))

    hooks = [part.register_forward_hook(note) for part in network.modules() if isinstance(part, nn.Conv2d)]
    try:
        network(image)
    finally:
        for hook in hooks:
            hook.remove()
    several = [part for part, places in seen if places > 1]
    return several[-1] if several else seen[-1][0]
