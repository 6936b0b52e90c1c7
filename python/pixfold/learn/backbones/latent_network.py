"""What all networks for samples without labels have: an encoder, a latent space, a decoder."""

from __future__ import annotations

from torch import Tensor, nn


class LatentNetwork(nn.Module):
    """An encoder ``(B, C, H, W) -> (B, L)`` and a decoder back.

    Parameters
    ----------
    shape : (int, int, int)
        Image shape ``(C, H, W)``.
    n_latent : int
        Number of latent values of a sample, ``L``.
    """

    encoder: nn.Sequential
    decoder: nn.Sequential

    def __init__(self, shape: tuple[int, int, int], n_latent: int) -> None:
        super().__init__()
        self.shape, self.n_latent = shape, n_latent

    def encode(self, x: Tensor) -> Tensor:
        """Latent values ``(B, L)`` of images ``(B, C, H, W)``."""
        z: Tensor = self.encoder(x)
        return z

    def decode(self, z: Tensor) -> Tensor:
        """Images ``(B, C, H, W)`` of latent values ``(B, L)``."""
        images: Tensor = self.decoder(z)
        return images[..., : self.shape[1], : self.shape[2]]

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct images ``(B, C, H, W)``."""
        return self.decode(self.encode(x))
