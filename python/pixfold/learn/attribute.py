"""Attribution of class scores to pixels, batch by batch, into per-class accumulators."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pixfold.arrays import cuda as _cuda_arrays
from pixfold.errors import InputError
from pixfold.learn import methods
from pixfold.learn.batches import Batches
from pixfold.learn.torch_settings import torch_settings
from pixfold.learn.training_options import TrainingOptions
from pixfold.ops import AttributionAccumulator
from pixfold.util.progress import Progress, tracked


class Accumulator(Protocol):
    """What attributions are streamed into; :class:`pixfold.ops.AttributionAccumulator` is one."""

    def update(self, attributions: Any, labels: Any, *, keep: Any) -> Any:
        """Add ``(B, C, H, W)`` attributions of samples with ``labels`` where ``keep`` is true."""


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
) -> int:
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
        One of :data:`pixfold.learn.methods.METHODS`.
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
    int
        Samples whose attributions were added.

    Raises
    ------
    InputError
        Unknown method, a value out of range, no samples, or labels missing where they are needed.
    """
    bind = methods.bound(method, n_steps=n_steps, baseline=baseline, rows=internal_batch_size)
    seen = used = 0
    with torch_settings(options or TrainingOptions()) as device, frozen(module, device):
        for images, labels, _ in tracked(batches, progress, f"attribution ({method})", len(batches)):
            images = images.to(device)
            with torch.no_grad():
                predicted = module(images).argmax(1)
            if labels is None and only_correct:
                raise InputError("attribute: the batches must have labels for only_correct, got none")
            target = predicted if labels is None else labels.to(device)
            keep = target == predicted if only_correct else torch.ones_like(target, dtype=torch.bool)
            seen += len(images)
            if n_kept := int(keep.sum()):
                chosen, target = images[keep].requires_grad_(), target[keep]
                found = bind(module, n_kept)(chosen, target)
                add(accumulator, found, target)
                used += n_kept
    if not seen:
        raise InputError("attribute: the batches must hold 1 sample or more, got none")
    return used


def attribute_evidence(
    module: nn.Module,
    batches: Batches,
    evidence: Accumulator,
    gradients: Accumulator,
    pixels: Accumulator | None = None,
    *,
    options: TrainingOptions | None = None,
    progress: Progress | None = None,
) -> int:
    """Attribute the score of each sample's own class: pixel x gradient of all samples, gradients of those got right.

    The score is the output less the mean of all classes' outputs, which is what a softmax looks at: what raises all
    outputs alike says nothing of the class.

    Samples that are misclassified count, too: leaving them out keeps the samples on which chance was kind, and costs a
    fifth of the planted features in weak signals (benchmarks/list_bars).

    Parameters
    ----------
    module, batches, options, progress
        As for :func:`attribute`; batches with labels.
    evidence, gradients : AttributionAccumulator
        Get pixel x gradient, and the gradient.
    pixels : AttributionAccumulator, optional
        Gets the pixels themselves: what a test of the evidence needs that a network which bends cannot mislead.

    Returns
    -------
    int
        Samples that were attributed.
    """
    bind = methods.bound("saliency", n_steps=1, baseline=0.0, rows=None)
    used = 0
    with torch_settings(options or TrainingOptions()) as device, frozen(module, device):
        contrast = _Contrast(module)
        for images, labels, _ in tracked(batches, progress, "evidence", len(batches)):
            if labels is None:
                raise InputError("attribute_evidence: batches must have labels, got none")
            images, target = images.to(device), labels.to(device)
            with torch.no_grad():
                right = module(images).argmax(1) == target
            gradient = bind(contrast, len(images))(images.detach().clone().requires_grad_(), target).detach()
            add(evidence, images * gradient, target)
            if pixels is not None:
                add(pixels, images, target)
            if bool(right.any()):
                add(gradients, gradient[right], target[right])
            used += len(images)
    if not used:
        raise InputError("attribute_evidence: batches must hold 1 sample or more, got none")
    return used


def attribute_quantity(
    module: nn.Module,
    batches: Batches,
    evidence: Accumulator,
    gradients: Accumulator,
    pixels: Accumulator | None = None,
    *,
    values: NDArray[np.float32],
    options: TrainingOptions | None = None,
    progress: Progress | None = None,
) -> int:
    """Attribute the output of a network to a quantity: pixel x gradient x the sample's quantity, and the gradient.

    Parameters
    ----------
    module, batches, options, progress
        As for :func:`attribute`; the labels of batches are positions in ``values``.
    evidence, gradients : AttributionAccumulator
        Of one class; get pixel x gradient x quantity, and the gradient.
    pixels : AttributionAccumulator, optional
        Of one class; gets pixel x quantity.
    values : float32 (n,)
        Standardised quantity, with a mean of 0 over the samples of the batches.

    Returns
    -------
    int
        Samples that were attributed.
    """
    used = 0
    with torch_settings(options or TrainingOptions()) as device, frozen(module, device):
        known = torch.from_numpy(values).to(device)
        for images, labels, _ in tracked(batches, progress, "evidence", len(batches)):
            if labels is None:
                raise InputError("attribute_quantity: batches must have positions as labels, got none")
            images, at = images.to(device).detach().clone().requires_grad_(), labels.to(device)
            (gradient,) = torch.autograd.grad(module(images)[:, 0].float().sum(), images)
            one = torch.zeros_like(at)
            spoken = images.detach() * known[at, None, None, None]
            add(evidence, spoken * gradient, one)
            if pixels is not None:
                add(pixels, spoken, one)
            add(gradients, gradient, one)
            used += len(images)
    if not used:
        raise InputError("attribute_quantity: batches must hold 1 sample or more, got none")
    return used


class _Contrast(nn.Module):
    """Outputs of a network, less their mean over the classes."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, images: Tensor) -> Tensor:
        outputs: Tensor = self.module(images)
        return outputs - outputs.mean(1, keepdim=True)


def add(accumulator: Accumulator, found: Tensor, target: Tensor) -> None:
    """Add the attributions of a batch to the classes of ``target``."""
    values: Any = found.detach().float()
    if not (isinstance(accumulator, AttributionAccumulator) and _cuda_arrays.has_kernels(values)):
        values = np.ascontiguousarray(values.cpu().numpy())
    accumulator.update(values, target.cpu().numpy().astype(np.int64), keep=np.ones(len(values), dtype=bool))


@contextmanager
def frozen(module: nn.Module, device: torch.device) -> Iterator[None]:
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
