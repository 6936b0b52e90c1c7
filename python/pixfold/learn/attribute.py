"""Attribution of class scores to pixels, batch by batch, into per-class accumulators."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pixfold.arrays import cuda as _cuda_arrays
from pixfold.errors import InputError
from pixfold.learn.attribution.baselines import Baselines
from pixfold.learn.attribution.choices import OF_PASSES, TargetOf, refuse
from pixfold.learn.attribution.groups import PixelGroups
from pixfold.learn.attribution.noise_tunnel import through_noise
from pixfold.learn.attribution.outputs import Difference
from pixfold.learn.attribution.registry import Bound, Setting, known
from pixfold.learn.batches import Batches
from pixfold.learn.peers import Peers
from pixfold.learn.torch_settings import torch_settings
from pixfold.learn.training_options import TrainingOptions
from pixfold.ops import AttributionAccumulator
from pixfold.util.checks import check_all
from pixfold.util.progress import Progress, tracked


class Accumulator(Protocol):
    """What attributions are streamed into; :class:`pixfold.ops.AttributionAccumulator` is one."""

    def update(self, attributions: Any, labels: Any, *, keep: Any) -> Any:
        """Add ``(B, C, H, W)`` attributions of samples with ``labels`` where ``keep`` is true."""


@dataclass(frozen=True)
class AttributionSummary:
    """What came of an attribution beside what the accumulator holds.

    Attributes
    ----------
    n_used : int
        Samples whose attributions were added.
    delta : float or None
        Mean absolute completeness delta: how far the attributions of a sample miss the change of the output from the
        baseline. None for methods that promise no sum, and through a noise tunnel.
    relative_delta : float or None
        The same as a share of the mean absolute change of the output; None where that is 0, too.
    """

    n_used: int
    delta: float | None = None
    relative_delta: float | None = None


def attribute(
    module: nn.Module,
    batches: Batches,
    accumulator: Accumulator,
    *,
    method: str = "saliency",
    target: TargetOf = "correct",
    baselines: Baselines | None = None,
    baseline: float = 0.0,
    groups: PixelGroups | None = None,
    falls: Accumulator | None = None,
    noise_tunnel: int | None = None,
    internal_batch_size: int | None = None,
    n_steps: int = 32,
    options: TrainingOptions | None = None,
    progress: Progress | None = None,
    peers: Peers | None = None,
) -> AttributionSummary:
    """Attribute an output for each sample to the pixels; add them up per class.

    Memory holds one batch of images and its attributions, whatever the number of samples. Methods that take many passes
    for an image give the network ``internal_batch_size`` images at a time, whatever the number of steps, baselines,
    windows or noisy copies. Signs are kept. All is float32.

    Parameters
    ----------
    module : Module
        ``(B, C, H, W) -> (B, K)`` class scores; put into evaluation mode on the device of ``options``.
    batches : Batches
        Held-out samples; with labels, unless the target is "predicted".
    accumulator : AttributionAccumulator
        Gets ``update(attributions, labels, keep=...)`` with NumPy arrays; an AttributionAccumulator gets attributions
        where they are, if pixfold's CUDA kernels run there.
    method : str
        One of :data:`pixfold.learn.attribution.METHODS`.
    target : {"correct", "true", "predicted"} or (int, int)
        The output of a sample's own class, of samples that were classified rightly ("correct") or of all ("true"); that
        of the predicted class; or the difference of the outputs of two classes, of the samples of both. Attributions
        are added to the class of the output; of a difference, to the sample's own.
    baselines : Baselines, optional
        Where the way to an image begins. Without them: images of ``baseline``.
    baseline : float
        Pixel value of the baseline; 0 is the mean of standardised features.
    groups : PixelGroups, optional
        What ``feature_ablation`` ablates together.
    falls : AttributionAccumulator, optional
        Of as many features as there are groups; gets how far the output fell for each group.
    noise_tunnel : int, optional
        Average over so many noisy copies of each image.
    internal_batch_size : int, optional
        Images in one pass at most, never raised, of methods that take many. Without it: the size of the batch.
    n_steps : int
        Points of an integral.
    options : TrainingOptions, optional
        Device, threads and seed.
    progress : Progress, optional
        Where to report.
    peers : Peers, optional
        Processes with other samples, which are part of the summary; each keeps the accumulator of its own.

    Returns
    -------
    AttributionSummary

    Raises
    ------
    InputError
        Unknown method, a method that does not serve the network, a value out of range, no samples, or labels missing
        where they are needed.
    """
    given = {"method": method, "n_steps": n_steps, "internal_batch_size": internal_batch_size, "baseline": baseline}
    check_all("attribute", OF_PASSES, {**given, "noise_tunnel": noise_tunnel})
    seen = used = 0
    missed = change = 0.0
    complete = False
    with torch_settings(options or TrainingOptions()) as device, frozen(module, device):
        refuse("attribute", module, method, type(module).__name__)
        network = Difference(module, *target) if isinstance(target, tuple) else module
        bound: Bound | None = None
        for batch, labels, _ in tracked(batches, progress, f"attribution ({method})", len(batches)):
            images = batch.to(device)
            seen += len(images)
            chosen, outputs, classes = _chosen(module, images, labels, target)
            if not len(chosen):
                continue
            if bound is None:
                rows = internal_batch_size or len(images)
                shape = (images.shape[1], images.shape[2], images.shape[3])
                start = baselines or Baselines.constant(baseline, shape, device)
                setting = Setting(baselines=start, rows=rows, n_steps=n_steps, groups=groups)
                bound = known(method).bind(network, setting)
                if noise_tunnel is not None:
                    bound = through_noise(bound, noise_tunnel, rows)
            found = bound(chosen.detach().requires_grad_(), outputs, classes)
            add(accumulator, found.values, classes)
            if falls is not None and found.groups is not None:
                add(falls, found.groups[:, None, None, :], classes)
            if found.delta is not None:
                complete = True
                missed += float(found.delta.abs().sum())
                change += float((found.values.flatten(1).sum(1) - found.delta).abs().sum())
            used += len(chosen)
    if not seen:
        raise InputError("attribute: the batches must hold 1 sample or more, got none")
    of_all = torch.tensor([used, missed, change, complete], dtype=torch.float64)
    used_by_all, missed, change, complete_by_any = (peers or Peers()).sums(of_all).tolist()
    used = int(used_by_all)
    if not complete_by_any:
        return AttributionSummary(used)
    return AttributionSummary(used, missed / used, missed / change if change > 0 else None)


def _chosen(
    module: nn.Module, images: Tensor, labels: Tensor | None, target: TargetOf
) -> tuple[Tensor, Tensor | int, Tensor]:
    """Images that are attributed, the output of each, and the class that each is added to."""
    if labels is None and target != "predicted":
        raise InputError(f"attribute: the batches must have labels for the target {target!r}, got none")
    own = None if labels is None else labels.to(images.device)
    if isinstance(target, tuple):
        assert own is not None  # checked above
        keep = (own == target[0]) | (own == target[1])
        return images[keep], 0, own[keep]
    if target == "true":
        assert own is not None
        return images, own, own
    with torch.no_grad():
        predicted = module(images).argmax(1)
    if target == "predicted":
        return images, predicted, predicted
    keep = predicted == own
    return images[keep], predicted[keep], predicted[keep]


def attribute_evidence(
    module: nn.Module,
    batches: Batches,
    evidence: Accumulator,
    gradients: Accumulator,
    pixels: Accumulator | None = None,
    *,
    weights: NDArray[np.float32] | None = None,
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
    weights : float32 (n,), optional
        What evidence and pixels of each sample are multiplied by, by the ``indices`` of the batches. Gradients are of
        the network and are not.

    Returns
    -------
    int
        Samples that were attributed.
    """
    used = 0
    with torch_settings(options or TrainingOptions()) as device, frozen(module, device):
        contrast = _Contrast(module)
        nothing = Setting(baselines=Baselines(torch.empty(0)), rows=1)  # a gradient begins nowhere
        gradients_of = known("saliency").bind(contrast, nothing)
        for images, labels, indices in tracked(batches, progress, "evidence", len(batches)):
            if labels is None:
                raise InputError("attribute_evidence: batches must have labels, got none")
            images, target = images.to(device), labels.to(device)
            with torch.no_grad():
                right = module(images).argmax(1) == target
            gradient = gradients_of(images.detach().clone().requires_grad_(), target, None).values.detach()
            if weights is not None:
                images = images * torch.from_numpy(weights)[indices.cpu()].to(device)[:, None, None, None]
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
    if isinstance(accumulator, AttributionAccumulator) and _cuda_arrays.has_kernels(values):
        accumulator.update(values, target.detach().long())  # all of them: nothing waits for the device
        return
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
