"""Attribution with Captum, batch by batch, into per-class accumulators."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pixfold.arrays import cuda as _cuda_arrays
from pixfold.errors import InputError
from pixfold.learn.backbones.autoencoder import Autoencoder
from pixfold.learn.train import Batches, TrainingOptions, torch_settings
from pixfold.ops import AttributionAccumulator
from pixfold.util.optional import require
from pixfold.util.progress import Progress, SilentProgress

_SPREAD_FLOOR = 1e-6  # latent directions whose spread is below this part of the widest are dead


class Accumulator(Protocol):
    """What attributions are streamed into; :class:`pixfold.ops.AttributionAccumulator` is one."""

    def update(self, attributions: Any, labels: Any, *, keep: Any) -> Any:
        """Add ``(B, C, H, W)`` attributions of samples with ``labels`` where ``keep`` is true."""


@dataclass(frozen=True)
class AttributionSummary:
    """What was attributed.

    Attributes
    ----------
    n_used : int
        Samples whose attributions were added.
    n_seen : int
        Samples in the batches.
    probabilities : float32 (n_seen, K)
        Softmax of the outputs, for every sample seen.
    indices : int64 (n_seen,)
        Sample of each row of ``probabilities``.
    """

    n_used: int
    n_seen: int
    probabilities: NDArray[np.float32]
    indices: NDArray[np.int64]


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


Forward = Callable[[Tensor], Tensor]
Target = Tensor | int
# images, target output of each image -> signed attributions of the images' shape
Method = Callable[[Tensor, Target], Tensor]


def _captum() -> Any:
    return require("captum.attr", "train", "attribution")


def _saliency(forward: Forward, n_steps: int, baseline: float, rows: int) -> Method:
    """Gradient of the target output with respect to every pixel, signed (Simonyan et al., 2014)."""
    method = _captum().Saliency(forward)
    return lambda images, target: method.attribute(images, target=target, abs=False)


def _input_x_gradient(forward: Forward, n_steps: int, baseline: float, rows: int) -> Method:
    """Gradient times the pixel's value (Shrikumar et al., 2016)."""
    method = _captum().InputXGradient(forward)
    return lambda images, target: method.attribute(images, target=target)


def _integrated_gradients(forward: Forward, n_steps: int, baseline: float, rows: int) -> Method:
    """Integral of the gradient along the line from the baseline, times the way (Sundararajan et al., 2017).

    The integral is a Gauss-Legendre sum of ``n_steps`` terms. Attributions of one image add up to the
    difference between the outputs for the image and for the baseline, up to the error of that sum.
    """
    method = _captum().IntegratedGradients(forward)

    def attribute(images: Tensor, target: Target) -> Tensor:
        # Captum raises an internal batch size that is below the number of images. The images are therefore
        # cut first, and the bound holds.
        parts = []
        for begin in range(0, len(images), rows):
            part = images[begin : begin + rows]
            parts.append(
                method.attribute(
                    part,
                    baselines=baseline,
                    target=target if isinstance(target, int) else target[begin : begin + rows],
                    n_steps=n_steps,
                    internal_batch_size=max(rows, len(part)),
                )
            )
        return torch.cat(parts)

    return attribute


_METHODS: dict[str, Callable[[Forward, int, float, int], Method]] = {
    "saliency": _saliency,
    "integrated_gradients": _integrated_gradients,
    "input_x_gradient": _input_x_gradient,
}


def methods() -> list[str]:
    """Names of the attribution methods; any other name is an error."""
    return list(_METHODS)


def _maker(method: str, n_steps: int, baseline: float, rows: int | None) -> Callable[[Forward, int], Method]:
    """Check the arguments; return what binds the method to a network and a batch's number of images."""
    if method not in _METHODS:
        close = difflib.get_close_matches(str(method), _METHODS, n=1)
        raise InputError(
            f"attribution method {method!r} is not built"
            + (f"; did you mean {close[0]}?" if close else ";")
            + f" There are {', '.join(_METHODS)}"
        )
    for name, value in (("n_steps", n_steps), ("internal_batch_size", rows)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise InputError(f"attribution: {name} must be a whole number of 1 or more, not {value!r}")
    if not math.isfinite(baseline):
        raise InputError(f"attribution: baseline must be a finite number, not {baseline!r}")
    return lambda forward, n_images: _METHODS[method](forward, n_steps, float(baseline), rows or n_images)


def attribute(
    module: nn.Module,
    batches: Batches,
    accumulator: Accumulator,
    *,
    method: str = "saliency",
    options: TrainingOptions | None = None,
    only_correct: bool = True,
    internal_batch_size: int | None = None,
    n_steps: int = 32,
    baseline: float = 0.0,
    progress: Progress | None = None,
) -> AttributionSummary:
    """Attribute the class score of each sample's label to the pixels; add them up per class.

    Memory holds one batch of images and its attributions (integrated gradients: ``internal_batch_size``
    images at a time pass through the network), whatever the number of samples. Signs are kept. All is
    float32.

    Parameters
    ----------
    module : Module
        ``(B, C, H, W) -> (B, K)`` class scores; put into evaluation mode on the device of ``options``.
    batches : Batches
        Held-out samples. Without labels (with ``only_correct=False``) the predicted class is attributed.
    accumulator : AttributionAccumulator
        Gets ``update(attributions, labels, keep=...)`` with NumPy arrays; an AttributionAccumulator gets attributions
        where they are, if pixfold's CUDA kernels run there.
    method : str
        One of :func:`methods`.
    options : TrainingOptions, optional
        Device, threads and seed.
    only_correct : bool
        Use correctly classified samples only, so that label and predicted class are the same.
    internal_batch_size : int, optional
        Images in one pass of integrated gradients at most, never raised. Without it: the size of the batch.
    n_steps : int
        Points of the integral of integrated gradients.
    baseline : float
        Pixel value at which integrated gradients begin; 0 is the mean of standardised features.
    progress : Progress, optional
        Where to report.

    Returns
    -------
    AttributionSummary
        With the probabilities of all samples, so that no second pass is needed for predictions.

    Raises
    ------
    InputError
        Unknown method, a value out of range, no samples, or labels missing where they are needed.
    """
    make = _maker(method, n_steps, baseline, internal_batch_size)
    used, probabilities, indices = 0, [], []
    with (
        torch_settings(options or TrainingOptions()) as device,
        _frozen(module, device),
        (progress or SilentProgress()).task(f"attribution ({method})", total=len(batches)) as task,
    ):
        for images, labels, index in batches:
            images = images.to(device)
            with torch.no_grad():
                scores = module(images).float()
            predicted = scores.argmax(1)
            if labels is None and only_correct:
                raise InputError("attribution: the batches have no labels: only_correct needs them")
            target = predicted if labels is None else labels.to(device)
            keep = target == predicted if only_correct else torch.ones_like(target, dtype=torch.bool)
            probabilities.append(torch.softmax(scores, dim=1).cpu().numpy())
            indices.append(index.cpu().numpy())
            if n_kept := int(keep.sum()):
                chosen, target = images[keep].requires_grad_(), target[keep]
                found = make(module, n_kept)(chosen, target)
                _add(accumulator, found, target)
                used += n_kept
            task.advance(1)
    if not indices:
        raise InputError("attribution: there are no samples")
    joined = np.concatenate(indices)
    return AttributionSummary(used, len(joined), np.concatenate(probabilities), joined)


def attribute_latent(
    module: Autoencoder,
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
    module : Autoencoder
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
    make = _maker(method, n_steps, baseline, internal_batch_size)
    if max_directions < 1:
        raise InputError(f"attribution: max_directions must be 1 or more, not {max_directions}")
    options = options or TrainingOptions()
    with torch_settings(options) as device, _frozen(module, device):
        directions, spread, n_seen = _principal(module, batches, max_directions, options.seed, device)
        if not float(spread.max()) > 0:
            raise InputError("attribution: the latent values of all samples are the same")
        alive = [k for k, s in enumerate(spread.tolist()) if s > _SPREAD_FLOOR * float(spread.max())]
        place = accumulator(len(directions)) if callable(accumulator) else accumulator
        columns = directions.T.contiguous()
        bound = partial(_project, module, columns)
        with (progress or SilentProgress()).task(f"attribution ({method})", total=len(batches)) as task:
            for images, _, _ in batches:
                images = images.to(device).requires_grad_()
                run = make(bound, len(images))
                for k in alive:
                    found = run(images, k) * spread[k]
                    _add(place, found, torch.full((len(images),), k))
                task.advance(1)
    return LatentSummary(n_seen, directions.cpu().numpy(), spread.cpu().numpy())


def n_directions(module: Autoencoder, max_directions: int = 16) -> int:
    """Return how many directions :func:`attribute_latent` attributes: the classes of its accumulator."""
    return min(module.n_latent, max_directions)


def _project(module: Autoencoder, columns: Tensor, images: Tensor) -> Tensor:
    return module.encode(images) @ columns


def _add(accumulator: Accumulator, found: Tensor, target: Tensor) -> None:
    values: Any = found.detach().float()
    if not (isinstance(accumulator, AttributionAccumulator) and _cuda_arrays.has_kernels(values)):
        values = np.ascontiguousarray(values.cpu().numpy())
    accumulator.update(values, target.cpu().numpy().astype(np.int64), keep=np.ones(len(values), dtype=bool))


@contextmanager
def _frozen(module: nn.Module, device: torch.device) -> Iterator[None]:
    """Put the module into evaluation mode on a device; its parameters take no gradients in the body."""
    module.to(device).eval()
    learned = [p for p in module.parameters() if p.requires_grad]
    try:
        for parameter in learned:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in learned:
            parameter.requires_grad_(True)


@torch.no_grad()
def _principal(
    module: Autoencoder, batches: Batches, most: int, seed: int, device: torch.device
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


def _covariance_times(module: Autoencoder, batches: Batches, block: Tensor) -> tuple[Tensor, int]:
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
        raise InputError(f"attribution: 2 samples or more are needed to tell samples apart, not {n}")
    return (product - torch.outer(total / n, total @ block)) / (n - 1), n
