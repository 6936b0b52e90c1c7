"""Principal components as a network: the best linear auto-encoder, known in closed form."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pixfold.learn.backbones.latent_network import LatentNetwork


class PrincipalComponents(LatentNetwork):
    """Places of samples along their principal directions, and the images that these places stand for.

    Of all linear auto-encoders it loses least (Baldi and Hornik, 1989).

    Parameters
    ----------
    shape : (int, int, int)
        Image shape ``(C, H, W)``.
    n_latent : int
        Number of directions ``L``.
    """

    def __init__(self, shape: tuple[int, int, int], n_latent: int) -> None:
        super().__init__(shape, n_latent)
        self._make(n_latent)

    def _make(self, n_latent: int) -> None:
        pixels = self.shape[0] * self.shape[1] * self.shape[2]
        self.n_latent = n_latent
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(pixels, n_latent))
        self.decoder = nn.Sequential(nn.Linear(n_latent, pixels), nn.Unflatten(1, self.shape))

    @classmethod
    def of(cls, shape: tuple[int, int, int], directions: Tensor, mean: Tensor) -> PrincipalComponents:
        """Make the network of directions.

        Parameters
        ----------
        shape : (int, int, int)
            Image shape ``(C, H, W)``.
        directions : float32 (L, C * H * W)
            Of length 1, each at right angles to the others.
        mean : float32 (C * H * W,)
            Image that all places are relative to.
        """
        network = cls(shape, len(directions)).to(directions.device)
        state = {
            "encoder.1.weight": directions,
            "encoder.1.bias": -(directions @ mean),
            "decoder.0.weight": directions.T.contiguous(),
            "decoder.0.bias": mean,
        }
        network.load_state_dict(state)
        return network.eval()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # The number of directions is known only from what is loaded.
        weight = state_dict.get(f"{prefix}encoder.1.weight")
        if isinstance(weight, torch.Tensor) and weight.ndim == 2 and len(weight) not in (0, self.n_latent):
            before = next(self.parameters()).device
            self._make(len(weight))
            self.to(before)
        super()._load_from_state_dict(state_dict, prefix, *rest)
