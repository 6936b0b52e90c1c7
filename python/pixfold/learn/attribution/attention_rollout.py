"""Attention rollout: how far the class token attends to each patch, through all layers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pixfold.learn.attribution.positions import to_pixels
from pixfold.learn.attribution.registry import Attributed, Bound, Setting, Target, method


def _layers(network: nn.Module) -> list[nn.Module]:
    """Layers of self-attention over all tokens: torch's, and those of timm's vision transformers."""
    found = []
    for part in network.modules():
        if isinstance(part, nn.MultiheadAttention) or (hasattr(part, "fused_attn") and hasattr(part, "attn_drop")):
            found.append(part)
    return found


def _refuses(network: nn.Module) -> str | None:
    if any(_is_windowed(part) for part in network.modules()):
        return "a vision transformer that attends to the whole image, got one that attends within windows"
    return None if _layers(network) else "one with attention, such as vit, got one without"


def _is_windowed(part: nn.Module) -> bool:
    return "Window" in type(part).__name__ or type(part).__name__ == "PartitionAttentionLayer"


@method("attention_rollout", refuses=_refuses, unit="patch")
def attention_rollout(network: nn.Module, setting: Setting) -> Bound:
    """Attention of the class token to each patch, multiplied through the layers (Abnar and Zuidema, 2020).

    Of each layer the mean over the heads, half of it the token itself, for the residual path. It is the same for all
    classes, never negative, and as coarse as patches. Networks without a class token give the mean over all tokens.
    """

    def attribute(images: Tensor, target: Target, classes: Tensor | None) -> Attributed:
        with torch.no_grad(), _recorded(network) as seen:
            network(images)
        rolled = None
        for weights in seen:
            own = 0.5 * weights + 0.5 * torch.eye(weights.shape[-1], device=weights.device)
            rolled = own if rolled is None else own @ rolled
        assert rolled is not None  # a network without attention is refused
        n = rolled.shape[-1]
        side = int(n**0.5)
        # With a class token there is one more than a square of patches.
        found = rolled.mean(1) if side * side == n else rolled[:, 0, -(side * side) :]
        places = found.reshape(len(images), 1, side, side)
        return Attributed(to_pixels(network, places, tuple(images.shape)))

    return attribute


@contextmanager
def _recorded(network: nn.Module) -> Iterator[list[Tensor]]:
    """Keep the attention ``(B, tokens, tokens)`` of every layer, the mean over its heads, while the network runs."""
    seen: list[Tensor] = []
    hooks, fused = [], []

    def ask(part: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, {**kwargs, "need_weights": True, "average_attn_weights": True}

    def keep(part: nn.Module, args: Any, output: Any) -> None:
        seen.append(output[1].detach())

    def keep_input(part: nn.Module, args: Any) -> None:
        seen.append(args[0].detach().mean(1))

    try:
        for part in _layers(network):
            if isinstance(part, nn.MultiheadAttention):
                hooks.append(part.register_forward_pre_hook(ask, with_kwargs=True))
                hooks.append(part.register_forward_hook(keep))
            else:
                plain: Any = part
                fused.append((plain, plain.fused_attn))
                plain.fused_attn = False  # the fused kernel shows no weights
                hooks.append(plain.attn_drop.register_forward_pre_hook(keep_input))
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
        for part, was in fused:
            part.fused_attn = was
