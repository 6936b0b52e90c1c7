"""AdditiveNetwork: every pixel and its square, each with a weight per class, and products of chosen pairs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pixfold.learn.backbones.registry import register

# The same for the factors of products, from their medians: which side a value lies on counts, as in the screen.
CLIP_OF_FACTORS = 0.5
# Standardised pixels beyond this many standard deviations count as this many: a value that no training sample came
# near must not decide alone.
CLIP = 6.0


class AdditiveNetwork(nn.Module):
    """Class scores that are sums over pixels, ``b_k + sum_j w_kj z_j + s_kj (z_j^2 - m_j) / d_j + products``.

    ``z_j`` is pixel ``j``, standardised on the training samples and cut at :data:`CLIP`; ``m_j`` and ``d_j`` are the
    mean and the standard deviation of its square there. The square finds what shifts only some samples of a class, or
    spreads them. Products are of pairs of pixels that a screen has found, each with a weight per class.

    Parameters
    ----------
    shape : (int, int, int)
        Image shape ``(C, H, W)``.
    n_outputs : int
        Number of outputs K.

    Attributes
    ----------
    weight, square : float32 (K, C * H * W)
        ``w`` and ``s``.
    bias : float32 (K,)
        ``b``.
    center, scale, square_center, square_scale : float32 (C * H * W,)
        What standardises pixels and squares; a scale is 1 over a standard deviation, and 0 for a constant pixel.
    pairs : int64 (n_pairs, 2)
        Pixels whose products count.
    factor_center : float32 (n_pairs, 2)
        Medians of these pixels. Factors are the differences from them, cut at :data:`CLIP_OF_FACTORS`.
    product : float32 (K, n_pairs)
        Their weights, for products standardised by ``product_center`` and ``product_scale`` (n_pairs,).
    """

    def __init__(self, shape: tuple[int, int, int], n_outputs: int) -> None:
        super().__init__()
        pixels = shape[0] * shape[1] * shape[2]
        self.weight = nn.Parameter(torch.zeros(n_outputs, pixels))
        self.square = nn.Parameter(torch.zeros(n_outputs, pixels))
        self.bias = nn.Parameter(torch.zeros(n_outputs))
        self.center: Tensor
        self.scale: Tensor
        self.square_center: Tensor
        self.square_scale: Tensor
        for name in ("center", "square_center"):
            self.register_buffer(name, torch.zeros(pixels))
        for name in ("scale", "square_scale"):
            self.register_buffer(name, torch.ones(pixels))
        self.pairs: Tensor
        self.factor_center: Tensor
        self.product_center: Tensor
        self.product_scale: Tensor
        self.set_pairs(0)

    def standardised(self, images: Tensor) -> Tensor:
        """Pixels as the sums take them, ``(B, C * H * W)``."""
        centred = images.flatten(1) - self.center
        return (centred * self.scale).clamp(-CLIP, CLIP)

    def set_pairs(self, n: int) -> None:
        """Make room for ``n`` pairs, of pixel 0 with itself and of no weight."""
        device = self.weight.device
        self.product = nn.Parameter(torch.zeros(len(self.weight), n, device=device))
        self.register_buffer("pairs", torch.zeros(n, 2, dtype=torch.int64, device=device))
        self.register_buffer("factor_center", torch.zeros(n, 2, device=device))
        for name in ("product_center", "product_scale"):
            self.register_buffer(name, torch.zeros(n, device=device))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # The number of pairs is known only from what is loaded.
        if f"{prefix}pairs" in state_dict:
            self.set_pairs(len(state_dict[f"{prefix}pairs"]))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def forward(self, images: Tensor) -> Tensor:
        """``(B, C, H, W) -> (B, K)``."""
        z = self.standardised(images)
        squares = (z.square() - self.square_center) * self.square_scale
        scores: Tensor = z @ self.weight.T + squares @ self.square.T + self.bias
        if len(self.pairs):
            standard = (products(z, self.pairs, self.factor_center) - self.product_center) * self.product_scale
            scores = scores + standard @ self.product.T
        return scores


def products(z: Tensor, pairs: Tensor, center: Tensor) -> Tensor:
    """Products of pairs of standardised pixels: ``(n, p), (n_pairs, 2), (n_pairs, 2) -> (n, n_pairs)``."""
    factors = (z[:, pairs] - center).clamp(-CLIP_OF_FACTORS, CLIP_OF_FACTORS)
    return factors[..., 0] * factors[..., 1]


@register("additive")
def additive(shape: tuple[int, int, int], n_outputs: int) -> nn.Module:
    """Build an :class:`AdditiveNetwork` of zeros."""
    return AdditiveNetwork(shape, n_outputs)
