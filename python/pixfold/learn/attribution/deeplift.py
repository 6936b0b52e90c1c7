"""DeepLIFT, and its mean over many baselines."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pixfold.learn.attribution.layers import has_attention, separated
from pixfold.learn.attribution.registry import (
    Attributed,
    Bound,
    Setting,
    Target,
    captum,
    hooked,
    joined,
    method,
    missed,
    parts,
)

# Activations that act on each value alone, to which the rescale rule applies as to ReLU; Captum has no entry for them.
_ELEMENTWISE = (
    nn.GELU,
    nn.SiLU,
    nn.Hardswish,
    nn.Hardsigmoid,
    nn.Hardtanh,
    nn.ReLU6,
    nn.Mish,
    nn.SELU,
    nn.CELU,
    nn.LogSigmoid,
    nn.Softsign,
)


def _refuses(network: nn.Module) -> str | None:
    if has_attention(network):
        return "one without attention, whose products DeepLIFT has no rule for, got one with attention"
    return None


def _rules() -> None:
    """Let Captum rescale the activations that its table lacks."""
    from captum.attr._core.deep_lift import SUPPORTED_NON_LINEAR, nonlinear

    for kind in _ELEMENTWISE:
        SUPPORTED_NON_LINEAR.setdefault(kind, nonlinear)


@method("deeplift", refuses=_refuses, baseline="zero")
def deeplift(network: nn.Module, setting: Setting) -> Bound:
    """Differences from the baseline, layer by layer, by the rescale rule (Shrikumar et al., 2017).

    The delta is 0 where all layers are sums, activations of single values and maxima; products of two layers (squeeze
    and excitation) have no rule and show in it.
    """
    _rules()
    found = captum().DeepLift(separated(network))

    def attribute(images: Tensor, target: Target, classes: Tensor | None) -> Attributed:
        got = []
        # A pass holds images and baselines.
        for part, aim, own in parts(max(1, setting.rows // 2), images, target, classes):
            baselines = setting.baselines.one(own).expand_as(part)
            with hooked():
                values = found.attribute(part, baselines, target=aim).detach()
            got.append(Attributed(values, missed(network, values, part, baselines, aim)))
        return joined(got)

    return attribute


@method("deeplift_shap", refuses=_refuses, baseline="others")
def deeplift_shap(network: nn.Module, setting: Setting) -> Bound:
    """Mean of DeepLIFT over many baselines, which approximates Shapley values (Lundberg and Lee, 2017)."""
    _rules()
    found = captum().DeepLiftShap(separated(network))

    def attribute(images: Tensor, target: Target, classes: Tensor | None) -> Attributed:
        got = []
        for at in range(len(images)):
            here = slice(at, at + 1)
            several = setting.baselines.several(None if classes is None else int(classes[at]))
            aim = target if isinstance(target, int) else target[here]
            sums, deltas = [], []
            # Each pass holds the image once for every baseline, and the baselines, of which Captum wants two.
            for baselines in torch.split(several, max(2, setting.rows // 2)):
                pair = baselines if len(baselines) > 1 else baselines.expand(2, -1, -1, -1)
                with hooked():
                    values = found.attribute(images[here], pair, target=aim).detach()
                sums.append(values * len(baselines))
                deltas.append(missed(network, values, images[here], baselines, aim) * len(baselines))
            got.append(Attributed(sum_of(sums) / len(several), sum_of(deltas) / len(several)))
        return joined(got)

    return attribute


def sum_of(tensors: list[Tensor]) -> Tensor:
    """Sum of tensors of one shape."""
    return torch.stack(tensors).sum(0)
