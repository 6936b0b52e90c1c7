"""Layer-wise relevance propagation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pixfold.learn.attribution.layers import functions, kinds, leaves, separated
from pixfold.learn.attribution.registry import Attributed, Bound, Setting, Target, captum, hooked, method
from pixfold.learn.backbones.gate import Gate
from pixfold.learn.backbones.geometry import PadTo, Repeat, SpaceToDepth
from pixfold.learn.backbones.sequences import OverChannels, Strongest, ToSequence
from pixfold.util.optional import require

# Layers that act on each value alone: relevance passes through them as through ReLU.
_PASSED = (nn.GELU, nn.SiLU, nn.Hardswish, nn.ReLU6, nn.LeakyReLU, nn.ELU)
# Layers that are sums, means or choices, for which the epsilon rule holds and Captum has no entry.
_SUMMED = (
    nn.Identity,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Conv1d,
    nn.AdaptiveMaxPool1d,
    nn.AdaptiveMaxPool2d,
    nn.Flatten,
    Gate,
    PadTo,
    Repeat,
    SpaceToDepth,
    ToSequence,
    OverChannels,
    Strongest,
)
_NO_RULE = "one whose layers all have a rule for LRP"
# Products of two layers: relevance cannot be split between them by a rule for sums.
_PRODUCTS = ("mul", "matmul", "bmm", "scaled_dot_product_attention", "softmax", "mul_", "imul", "sigmoid")


def _lrp() -> Any:
    return require("captum.attr._core.lrp", "train", "layer-wise relevance propagation")


def _ruled(network: nn.Module) -> nn.Module:
    module = _lrp()
    return separated(network, addition=module.Addition_Module)


def _refuses(network: nn.Module) -> str | None:
    module = _lrp()
    ruled = _ruled(network)
    have = (*module.SUPPORTED_LAYERS_WITH_RULES, *module.SUPPORTED_NON_LINEAR_LAYERS, *_PASSED, *_SUMMED)
    without = [part for part in leaves(ruled) if type(part) not in have and not hasattr(part, "rule")]
    if without:
        return f"{_NO_RULE}, got one with {kinds(without)}"
    products = sorted({getattr(f, "__name__", str(f)) for f in functions(ruled)} & set(_PRODUCTS))
    return f"{_NO_RULE}, got one with the function {products[0]}" if products else None


@method("lrp", refuses=_refuses)
def lrp(network: nn.Module, setting: Setting) -> Bound:
    """Relevance of the output, shared out layer by layer by the epsilon rule (Bach et al., 2015).

    The delta is the output less the sum of relevances: what biases took.
    """
    from captum.attr._utils.lrp_rules import EpsilonRule, IdentityRule

    ruled = _ruled(network)

    def attribute(images: Tensor, target: Target, classes: Tensor | None) -> Attributed:
        for part in leaves(ruled):  # Captum takes rules off in the end
            if type(part) in _PASSED:
                part.rule = IdentityRule()
            elif type(part) in _SUMMED:
                part.rule = EpsilonRule()
        with torch.enable_grad(), hooked():
            found, missing = captum().LRP(ruled).attribute(images, target=target, return_convergence_delta=True)
        return Attributed(found.detach(), -missing.detach())

    return attribute
