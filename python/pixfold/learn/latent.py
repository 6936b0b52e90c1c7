"""Attribution of an auto-encoder's latent space: which features tell samples apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pixfold.errors import InputError
from pixfold.learn.attribute import Accumulator, add, frozen
from pixfold.learn.attribution.baselines import Baselines
from pixfold.learn.attribution.choices import OF_PASSES, refuse
from pixfold.learn.attribution.registry import Bound, Setting, known
from pixfold.learn.backbones.latent_network import LatentNetwork
from pixfold.learn.batches import Batches
from pixfold.learn.hidden import HiddenLayer
from pixfold.learn.torch_settings import torch_settings
from pixfold.learn.training_options import TrainingOptions
from pixfold.util.checks import check_all, whole_number
from pixfold.util.progress import Progress, tracked

_SPREAD_FLOOR = 1e-6  # latent directions whose spread is below this part of the widest are dead


@dataclass(frozen=True)
class LatentSummary:
    """Directions of the latent space that were attributed.

    Attributes
    ----------
    n_seen : int
        Samples in the batches.
    directions : float32 (D, L)
        Unit vectors, one per class of the accumulator: the latent dimensions themselves where ``L`` is small
        enough, else the leading principal directions.
    spread : float32 (D,)
        Standard deviation of the latent values along each direction, the weight of its attributions.
    """

    n_seen: int
    directions: NDArray[np.float32]
    spread: NDArray[np.float32]


def attribute_latent(
    module: LatentNetwork | HiddenLayer,
    batches: Batches,
    accumulator: Accumulator | Callable[[int], Accumulator],
    *,
    method: str = "input_x_gradient",
    options: TrainingOptions | None = None,
    max_directions: int = 16,
    internal_batch_size: int | None = None,
    n_steps: int = 32,
    baseline: float = 0.0,
    progress: Progress | None = None,
) -> LatentSummary:
    """Attribute the latent space of an auto-encoder to the pixels: which features tell samples apart.

    Up to ``max_directions`` latent dimensions are attributed one by one; a larger latent space by its leading
    principal directions over the samples (block power iteration from a seeded start, in two more passes; it
    holds ``L x max_directions`` numbers, never ``L x L``). The attribution of each direction is multiplied by
    the standard deviation of the samples along it, and enters the accumulator as the class of that number.
    Directions in which samples do not differ (spread below 1e-6 of the widest) are left out, so dead
    dimensions count nothing.

    The default method multiplies the gradient by the pixel's value: with standardised features that is what
    the feature of this sample adds to its place along the direction, and a feature that never varies adds
    nothing, whatever the weights that it met.

    Parameters
    ----------
    module : LatentNetwork
        Anything with ``encode(images) -> (B, L)``.
    batches : Batches
        Samples; labels are not looked at.
    accumulator : AttributionAccumulator, or callable
        With at least :func:`n_directions` classes; or a function that makes one from that number.
    method, options, internal_batch_size, n_steps, baseline, progress
        As for :func:`attribute`.
    max_directions : int
        Directions at most.

    Returns
    -------
    LatentSummary
        The directions and their spread.

    Raises
    ------
    InputError
        Unknown method, a value out of range, no samples, or latent values that do not differ between samples.
    """
    given = {"method": method, "n_steps": n_steps, "internal_batch_size": internal_batch_size, "baseline": baseline}
    check_all("attribute_latent", OF_PASSES, given)
    whole_number(1)("attribute_latent", "max_directions", max_directions)
    options = options or TrainingOptions()
    with torch_settings(options) as device, frozen(module, device):
        directions, spread, n_seen = _principal(module, batches, max_directions, options.seed, device)
        if not float(spread.max()) > 0:
            raise InputError("attribute_latent: latent values must differ between samples, got the same for all")
        alive = [k for k, s in enumerate(spread.tolist()) if s > _SPREAD_FLOOR * float(spread.max())]
        place = accumulator(len(directions)) if callable(accumulator) else accumulator
        projection = Projection(module, directions.T.contiguous())
        refuse("attribute_latent", projection, method, "of the auto-encoder")
        attributed: Bound | None = None
        for batch, _, _ in tracked(batches, progress, f"attribution ({method})", len(batches)):
            images = batch.to(device).requires_grad_()
            if attributed is None:
                start = Baselines.constant(baseline, (images.shape[1], images.shape[2], images.shape[3]), device)
                setting = Setting(baselines=start, rows=internal_batch_size or len(images), n_steps=n_steps)
                attributed = known(method).bind(projection, setting)
            for k in alive:
                add(place, attributed(images, k, None).values * spread[k], torch.full((len(images),), k))
    return LatentSummary(n_seen, directions.cpu().numpy(), spread.cpu().numpy())


def n_directions(module: LatentNetwork | HiddenLayer, max_directions: int = 16) -> int:
    """Return how many directions :func:`attribute_latent` attributes: the classes of its accumulator."""
    return min(module.n_latent, max_directions)


class Projection(nn.Module):
    """Places of samples along directions of the latent space.

    Attributes
    ----------
    trunk : Module
        The encoder, where the auto-encoder has one as a layer.
    """

    def __init__(self, module: LatentNetwork | HiddenLayer, columns: Tensor) -> None:
        super().__init__()
        self.whole = module
        self.trunk = getattr(module, "encoder", module)
        self.columns = nn.Linear(columns.shape[0], columns.shape[1], bias=False, device=columns.device).requires_grad_(
            False
        )
        self.columns.weight.copy_(columns.T)

    def forward(self, images: Tensor) -> Tensor:
        """``(B, C, H, W) -> (B, D)``."""
        places: Tensor = self.columns(self.whole.encode(images))
        return places


@torch.no_grad()
def _principal(
    module: LatentNetwork | HiddenLayer, batches: Batches, most: int, seed: int, device: torch.device
) -> tuple[Tensor, Tensor, int]:
    """Directions (D, L) and spread (D,) of the latent values, float32.

    One pass gives the product of the covariance with a block of columns; three passes of block power
    iteration with a final Rayleigh-Ritz rotation are enough for directions that are only summed over. Sums
    are float64.
    """
    length = module.n_latent
    exact = torch.float32 if device.type == "mps" else torch.float64
    if length <= most:
        covariance, n = _covariance_times(module, batches, torch.eye(length, dtype=exact, device=device))
        spread = covariance.diagonal().clamp(min=0).sqrt()
        return torch.eye(length, device=device), spread.float(), n
    start = torch.randn(length, most, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    block = torch.linalg.qr(start).Q.to(exact).to(device)
    for _ in range(2):
        product, n = _covariance_times(module, batches, block)
        block = torch.linalg.qr(product).Q
    product, n = _covariance_times(module, batches, block)
    values, vectors = torch.linalg.eigh(block.T @ product)
    order = torch.argsort(values, descending=True)
    directions = (block @ vectors[:, order]).T.contiguous()
    # Either sign is a principal direction; the largest entry is made positive so that signs repeat.
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    directions = directions * torch.where(largest < 0, -1.0, 1.0)
    return directions.float(), values[order].clamp(min=0).sqrt().float(), n


def _covariance_times(module: LatentNetwork | HiddenLayer, batches: Batches, block: Tensor) -> tuple[Tensor, int]:
    """Covariance of the latent values times ``block (L, D)``, and the number of samples, in one pass.

    Values are taken relative to the first sample, which keeps differences exact when the mean is large.
    """
    n, origin = 0, None
    total = block.new_zeros(block.shape[0])
    product = torch.zeros_like(block)
    for images, _, _ in batches:
        z = module.encode(images.to(block.device)).to(block.dtype)
        origin = z[0].clone() if origin is None else origin
        z = z - origin
        n += len(z)
        total += z.sum(0)
        product += z.T @ (z @ block)
    if n < 2:
        raise InputError(f"attribute_latent: the batches must hold 2 samples or more, got {n}")
    return (product - torch.outer(total / n, total @ block)) / (n - 1), n
