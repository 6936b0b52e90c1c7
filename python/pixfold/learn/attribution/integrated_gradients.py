"""Integrated gradients, in bounded memory."""

from __future__ import annotations

from torch import Tensor, nn

from pixfold.learn.attribution.registry import Attributed, Bound, Setting, Target, captum, joined, method, missed, parts


@method("integrated_gradients", baseline="zero")
def integrated_gradients(network: nn.Module, setting: Setting) -> Bound:
    """Integral of the gradient along the line from the baseline, times the way from it (Sundararajan et al., 2017).

    The integral is a Gauss-Legendre sum of ``n_steps`` terms. Attributions of one image add up to the difference
    between the outputs for the image and for the baseline, up to the error of that sum, which is the delta.
    """
    found = captum().IntegratedGradients(network)

    def attribute(images: Tensor, target: Target, classes: Tensor | None) -> Attributed:
        # Captum raises an internal batch size that is below the number of images. The images are therefore cut first,
        # and the bound holds.
        got = []
        for part, aim, own in parts(setting.rows, images, target, classes):
            baselines = setting.baselines.one(own)
            values = found.attribute(
                part,
                baselines=baselines,
                target=aim,
                n_steps=setting.n_steps,
                internal_batch_size=max(setting.rows, len(part)),
            )
            got.append(Attributed(values.detach(), missed(network, values, part, baselines, aim)))
        return joined(got)

    return attribute
