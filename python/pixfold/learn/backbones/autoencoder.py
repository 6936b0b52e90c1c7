"""The auto-encoder for samples without labels: the input is the target."""

from __future__ import annotations

from torch import nn

from pixfold.errors import InputError
from pixfold.learn.backbones.gate import Gate
from pixfold.learn.backbones.geometry import PadTo, patch_grid
from pixfold.learn.backbones.latent_network import LatentNetwork

_WIDTH = 32
_CODE = 8  # channels of the latent grid


class Autoencoder(LatentNetwork):
    """A small convolutional auto-encoder over patches.

    Encoder: gate, patch stem (at most 15 x 15 patches, kernel = stride), 3x3 convolution to 8 channels,
    flattened; with ``latent_dim`` a linear bottleneck follows. Decoder: the mirror image; what was padded is
    cut off again.

    Parameters
    ----------
    shape : tuple of int
        Image shape ``(C, H, W)``.
    latent_dim : int, optional
        Size of the bottleneck. Without it the latent space is the flattened grid, 8 values per patch.
    gate : bool
        Whether a :class:`~pixfold.learn.backbones.gate.Gate` comes first.

    Attributes
    ----------
    n_latent : int
        Number of latent values of a sample, ``L``.

    Raises
    ------
    InputError
        A shape or ``latent_dim`` below 1.
    """

    def __init__(self, shape: tuple[int, int, int], latent_dim: int | None = None, gate: bool = True) -> None:
        c, h, w = shape
        if min(shape) < 1 or (latent_dim is not None and latent_dim < 1):
            raise InputError(f"Autoencoder: shape and latent_dim must be 1 or more, got {shape} and {latent_dim}")
        (ph, pw), (rows, cols) = patch_grid(h, w)
        grid = _CODE * rows * cols
        super().__init__(shape, grid if latent_dim is None else latent_dim)
        self.encoder = nn.Sequential(
            Gate(self.shape) if gate else nn.Identity(),
            PadTo(rows * ph, cols * pw),
            nn.Conv2d(c, _WIDTH, (ph, pw), stride=(ph, pw)),
            nn.GELU(),
            nn.Conv2d(_WIDTH, _CODE, 3, padding=1),
            nn.Flatten(),
            nn.Identity() if latent_dim is None else nn.Linear(grid, latent_dim),
        )
        self.decoder = nn.Sequential(
            nn.Identity() if latent_dim is None else nn.Linear(latent_dim, grid),
            nn.Unflatten(1, (_CODE, rows, cols)),
            nn.Conv2d(_CODE, _WIDTH, 3, padding=1),
            nn.GELU(),
            nn.ConvTranspose2d(_WIDTH, c, (ph, pw), stride=(ph, pw)),
        )
