"""Occlusion: windows of pixels that are set to the baseline."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pixfold.learn.attribution.registry import Attributed, Bound, Setting, Target, captum, joined, method, parts
from pixfold.learn.backbones.geometry import patch_grid


@method("occlusion", unit="window", baseline="zero")
def occlusion(network: nn.Module, setting: Setting) -> Bound:
    """Fall of the output when a window of pixels is set to the baseline (Zeiler and Fergus, 2014).

    At most 15 x 15 windows cover the image: single pixels up to 15 x 15, 9 x 9 pixels at 135 x 135. All pixels of a
    window share its value.
    """
    found = captum().Occlusion(network)

    def attribute(images: Tensor, target: Target, classes: Tensor | None) -> Attributed:
        channels, height, width = images.shape[1:]
        (ph, pw), _ = patch_grid(height, width)
        window = (channels, ph, pw)
        got = []
        with torch.no_grad():
            for part, aim, own in parts(setting.rows, images, target, classes):
                values = found.attribute(
                    part,
                    sliding_window_shapes=window,
                    strides=window,
                    baselines=setting.baselines.one(own),
                    target=aim,
                    perturbations_per_eval=max(1, setting.rows // len(part)),
                )
                got.append(Attributed(values.detach()))
        return joined(got)

    return attribute
