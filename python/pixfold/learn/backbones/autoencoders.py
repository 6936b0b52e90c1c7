"""The networks for samples without labels, by their names."""

from __future__ import annotations

from typing import Any

from pixfold.learn.backbones.autoencoder import Autoencoder
from pixfold.learn.backbones.latent_network import LatentNetwork
from pixfold.learn.backbones.principal import PrincipalComponents

AUTOENCODERS = ("principal", "convolutional")


def autoencoder(name: Any, shape: tuple[int, int, int], latent_dim: int | None) -> LatentNetwork:
    """Build one; "principal" with one direction, until its own are loaded.

    Parameters
    ----------
    name : str or None
        One of :data:`AUTOENCODERS`; None (models of before it was written) is "convolutional".
    shape : (int, int, int)
        Image shape ``(C, H, W)``.
    latent_dim : int, optional
        Size of the bottleneck of "convolutional".
    """
    return PrincipalComponents(shape, 1) if name == "principal" else Autoencoder(shape, latent_dim)
