"""Pixels as the additive network takes them: standardised on the training samples, with squares and products."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pixfold.learn.backbones.additive import CLIP, products

# Columns of one step: their samples stay in the cache.
_COLUMNS = 4096


@dataclass(frozen=True)
class Products:
    """Standardised products of pairs of pixels.

    Attributes
    ----------
    pairs : int64 (k, 2)
        The pixels.
    factor_center : float32 (k, 2)
        Their medians over the training samples.
    values : float32 (n, k)
        Of all samples, standardised by ``center`` and ``scale`` (k,), the moments of the training samples.
    weight : float
        In the kernel. A pixel has weight 1, which among p >> n others would leave a single product unheard.
    """

    pairs: Tensor
    factor_center: Tensor
    values: Tensor
    center: Tensor
    scale: Tensor
    weight: float


@dataclass(frozen=True)
class Pixels:
    """Standardised pixels ``z`` (n, p) of all samples, and what standardised them on the training samples."""

    z: Tensor
    center: Tensor
    scale: Tensor
    square_center: Tensor
    square_scale: Tensor
    products: Products | None = None

    @classmethod
    def standardise(cls, images: Tensor, train: Tensor, weights: Tensor | None = None) -> Pixels:
        """Standardise images ``(n, p)`` in place, by the mean and standard deviation of the training samples.

        Samples count by ``weights`` (float64 ``(n,)``, of all samples); all alike without them.
        """
        share = None if weights is None else (weights[train] / weights[train].sum()).float()
        kept = [torch.empty(images.shape[1], device=images.device) for _ in range(4)]
        for part in _columns(images.shape[1]):
            center, scale = _moments(images[train, part], share)
            z = images[:, part].sub_(center).mul_(scale).clamp_(-CLIP, CLIP)
            for whole, some in zip(kept, (center, scale, *_moments(z[train].square(), share)), strict=True):
                whole[part] = some
        return cls(images, kept[0], kept[1], kept[2], kept[3])

    def with_products(self, pairs: Tensor, train: Tensor) -> Pixels:
        """Add the products of pairs of pixels ``(k, 2)``, standardised on the training samples."""
        middle = self.z[train][:, pairs].median(0).values
        values = products(self.z, pairs, middle)
        center, scale = _moments(values[train])
        weight = 2.0 * (self.z.shape[1] / len(train)) ** 0.5 / len(pairs) ** 0.5
        return replace(self, products=Products(pairs, middle, (values - center) * scale, center, scale, weight))

    def parts(self) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Yield columns, with the pixels and the standardised squares of all samples there."""
        for part in _columns(self.z.shape[1]):
            z = self.z[:, part]
            yield part, z, z.square().sub_(self.square_center[part]).mul_(self.square_scale[part])


def _columns(n: int) -> Iterator[slice]:
    return (slice(begin, min(begin + _COLUMNS, n)) for begin in range(0, n, _COLUMNS))


def _moments(values: Tensor, share: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Mean, and 1 over the standard deviation, 0 for a column that is constant up to rounding.

    ``share`` (n,) is that of each sample, where they are not alike; it adds up to 1.
    """
    mean = values.mean(0) if share is None else share @ values
    squares = (values - mean).square()
    spread = (squares.mean(0) if share is None else share @ squares).sqrt()
    constant = spread <= 1e-6 * mean.abs().clamp(min=1e-30)
    return mean, torch.where(constant, torch.zeros_like(spread), 1 / spread)
