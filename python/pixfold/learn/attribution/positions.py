"""From coarse maps of a network's inner layers back to the pixels that they cover."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pixfold.learn.backbones.geometry import PadTo, Repeat, SpaceToDepth

_MOVES = (PadTo, Repeat, SpaceToDepth)


def to_pixels(network: nn.Module, found: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Spread maps ``(B, 1, h, w)`` over the pixels of images ``(B, C, H, W)`` that a network takes.

    The map is enlarged to the size that the network's trunk sees: after padding, repetition and the move of blocks into
    channels. What happens to pixels on that way is linear, and its transpose brings each place of the map back to the
    pixels that went there; a pixel that was repeated gets the mean of its places.

    Parameters
    ----------
    network : Module
        Whose leading layers may pad, repeat or move pixels.
    found : tensor (B, 1, h, w)
        Values of places.
    shape : tuple of int
        Of the images, ``(B, C, H, W)``.

    Returns
    -------
    tensor (B, C, H, W)
    """
    moves = [part for part in leading(network) if isinstance(part, _MOVES)]
    with torch.enable_grad():
        pixels = torch.zeros(shape, device=found.device, requires_grad=True)
        seen: Tensor = pixels
        for move in moves:
            seen = move(seen)
        size = seen.shape[-2:]
        places = nn.functional.interpolate(found.detach(), size, mode="bilinear", align_corners=False).expand_as(seen)
        if not moves:
            return places.clone()
        (gathered,) = torch.autograd.grad(seen, pixels, places.contiguous(), retain_graph=True)
        (copies,) = torch.autograd.grad(seen, pixels, torch.ones_like(seen))
    return torch.where(copies > 0, gathered / copies.clamp(min=1), gathered)


def leading(network: nn.Module) -> list[nn.Module]:
    """Layers of a chain, with those of chains in it; of a network that only changes the output, those of its trunk."""
    if isinstance(trunk := getattr(network, "trunk", None), nn.Module):
        return leading(trunk)
    if not isinstance(network, nn.Sequential):
        return [network]
    return [part for child in network for part in leading(child)]
