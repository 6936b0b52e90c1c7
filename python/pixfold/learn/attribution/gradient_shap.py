"""Gradient SHAP: gradients between random baselines and the image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pixfold.learn.attribution.registry import Attributed, Bound, Setting, Target, captum, joined, method, missed


@method("gradient_shap", baseline="others")
def gradient_shap(network: nn.Module, setting: Setting) -> Bound:
    """Mean gradient at random points between baselines and the image, times the way (Lundberg and Lee, 2017).

    ``n_steps`` points are drawn for each image. The sum of attributions misses the change of the output from the mean
    baseline by what is drawn: the delta shrinks with the root of the number of points.
    """
    found = captum().GradientShap(network)

    def attribute(images: Tensor, target: Target, classes: Tensor | None) -> Attributed:
        got = []
        for at in range(len(images)):
            here = slice(at, at + 1)
            several = setting.baselines.several(None if classes is None else int(classes[at]))
            aim = target if isinstance(target, int) else target[here]
            values, left = [], setting.n_steps
            while left:
                n = min(left, setting.rows)
                values.append(found.attribute(images[here], several, n_samples=n, target=aim).detach() * n)
                left -= n
            mean = torch.stack(values).sum(0) / setting.n_steps
            rests = [
                missed(network, mean, images[here], some, aim) * len(some)
                for some in torch.split(several, setting.rows)
            ]
            got.append(Attributed(mean, torch.stack(rests).sum(0) / len(several)))
        return joined(got)

    return attribute
