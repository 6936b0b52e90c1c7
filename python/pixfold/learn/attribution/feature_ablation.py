"""Feature ablation by groups: pathways, chromosomes, any table."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pixfold.learn.attribution.registry import Attributed, Bound, Setting, Target, captum, joined, method, parts


@method("feature_ablation", unit="group", baseline="zero")
def feature_ablation(network: nn.Module, setting: Setting) -> Bound:
    """Fall of the output when all features of a group are set to the baseline together.

    A feature's attribution is the sum, over its groups, of the group's fall divided by the number of its features.
    Groups that share features are ablated in different passes.
    """
    found = captum().FeatureAblation(network)
    groups = setting.groups
    assert groups is not None  # the options ask for them

    def attribute(images: Tensor, target: Target, classes: Tensor | None) -> Attributed:
        got = []
        with torch.no_grad():
            for part, aim, own in parts(setting.rows, images, target, classes):
                values = torch.zeros_like(part)
                falls = part.new_zeros(len(part), len(groups.sizes))
                for mask, held in groups.masks:
                    ablated = found.attribute(
                        part,
                        baselines=setting.baselines.one(own),
                        target=aim,
                        feature_mask=mask,
                        perturbations_per_eval=max(1, setting.rows // len(part)),
                    ).detach()
                    for place, group in enumerate(held, start=1):
                        at = (mask[0] == place).nonzero()[:1]
                        if not len(at):  # all of its features were dropped
                            continue
                        fall = ablated[:, *at[0]]
                        falls[:, group] = fall
                        values += (mask == place) * (fall / groups.sizes[group])[:, None, None, None]
                got.append(Attributed(values, groups=falls))
        return joined(got)

    return attribute
