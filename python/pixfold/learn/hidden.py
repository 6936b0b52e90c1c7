"""The latent space of an auto-encoder: its bottleneck, or any layer by its name."""

from __future__ import annotations

from torch import Tensor, nn

from pixfold.errors import InputError
from pixfold.learn.backbones.geometry import probe
from pixfold.learn.backbones.latent_network import LatentNetwork
from pixfold.util.text import one_of


class HiddenLayer(nn.Module):
    """An auto-encoder up to one of its layers, whose flattened output is the latent space.

    Parameters
    ----------
    module : LatentNetwork
        Shares its layers.
    name : str
        Of a layer in the order of the pass: ``"encoder.4"``, ``"decoder.1"``.

    Attributes
    ----------
    encoder : Sequential
        The layers up to that one.
    n_latent : int
        Number of values that it gives for a sample.

    Raises
    ------
    InputError
        When there is no such layer; the message names them.
    """

    def __init__(self, module: LatentNetwork, name: str) -> None:
        super().__init__()
        parts = {f"encoder.{number}": part for number, part in module.encoder.named_children()}
        parts |= {f"decoder.{number}": part for number, part in module.decoder.named_children()}
        if name not in parts:
            known = (f"{layer} ({type(part).__name__})" for layer, part in parts.items())
            raise InputError(f"DeepMapperAutoencoder: latent_layer must be {one_of(known)}, got {name!r}")
        self.encoder = nn.Sequential(*list(parts.values())[: list(parts).index(name) + 1])
        self.n_latent = probe(self.encoder, module.shape)[0].numel()

    def encode(self, images: Tensor) -> Tensor:
        """Latent values ``(B, L)`` of images ``(B, C, H, W)``."""
        values: Tensor = self.encoder(images)
        return values.flatten(1)

    def forward(self, images: Tensor) -> Tensor:
        """Return :meth:`encode`."""
        return self.encode(images)


def latent_space(module: nn.Module, layer: str | None) -> LatentNetwork | HiddenLayer:
    """What encodes samples: the auto-encoder itself, or the part of it up to a layer."""
    assert isinstance(module, LatentNetwork)
    return module if layer is None else HiddenLayer(module, layer)
