"""What held-out samples of a run say of every feature: signed evidence, or the attribution that was asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pixfold.layout import Layout
from pixfold.learn.attribute import attribute, attribute_evidence
from pixfold.learn.attribution.baselines import PER_CLASS, Baselines
from pixfold.learn.attribution.choices import target_of
from pixfold.learn.attribution.groups import PixelGroups
from pixfold.learn.attribution.registry import known
from pixfold.learn.consensus import RunImportance
from pixfold.learn.device import resolve_device
from pixfold.learn.job import Job
from pixfold.learn.peers import Peers
from pixfold.learn.sample_weights import within_classes
from pixfold.learn.split import Split
from pixfold.learn.training_options import TrainingOptions
from pixfold.normalize.normalizer import Normalizer
from pixfold.ops import AttributionAccumulator, fold
from pixfold.ops.aggregate import AttributionResult


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What a run says of the features.

    Attributes
    ----------
    importance : RunImportance
        Of every feature.
    z : float64 (n_features,) or None
        Evidence in standard errors over held-out samples; None where it is not tested.
    falls : float64 (n_groups, n_classes) or None
        Mean fall of the output for each group that was ablated.
    metrics : dict
        What the attribution says of itself: completeness deltas.
    """

    importance: RunImportance
    z: NDArray[np.float64] | None = None
    falls: NDArray[np.float64] | None = None
    metrics: dict[str, Any] = field(default_factory=dict)


def of_classes(
    job: Job,
    module: nn.Module,
    layout: Layout,
    normalizer: Normalizer,
    parts: Split,
    options: TrainingOptions,
) -> Evidence:
    """Attribute the outputs of a trained classifier for its test samples, of which processes take a part each.

    Parameters
    ----------
    job : Job
        With classes.
    module : Module
        The trained network.
    layout, normalizer
        Of the run.
    parts : Split
        Test samples, and training samples, of which baselines are made.
    options : TrainingOptions
        Device, threads and seed.

    Returns
    -------
    Evidence
    """
    if job.options.method is not None:
        return _attributed(job, module, layout, normalizer, parts, options)
    k, peers = job.n_classes, job.peers
    own = peers.part(len(parts.test))
    test = job.loader(layout, normalizer, parts.test[own])
    values, gradients, pixels = (AttributionAccumulator(layout, k) for _ in range(3))
    weights = None
    if (given := job.weights_of(parts.test)) is not None:
        assert job.prepared.labels is not None  # a classifier's job has them
        weights = within_classes(given, job.prepared.labels[parts.test])[own].astype(np.float32)
    n_used = attribute_evidence(
        module, test, values, gradients, pixels, weights=weights, options=options, progress=job.progress
    )
    found, slopes, seen_pixels = (merged(each, peers).result() for each in (values, gradients, pixels))
    n_used = sum(peers.sizes(n_used))
    evidence = found.mean[found.count > 0].sum(axis=0)
    importance = RunImportance(
        evidence, found.mean, found.mean_abs, n_used, found.count, slopes.importance, slopes.mean
    )
    if job.groups is not None:
        return Evidence(importance=importance)  # samples of a group are no independent witnesses
    directions = slopes.mean - slopes.mean.mean(axis=0)
    return Evidence(importance=importance, z=standard_errors(directions, seen_pixels))


def merged(own: AttributionAccumulator, peers: Peers) -> AttributionAccumulator:
    """Add up what the accumulators of all processes have seen."""
    if peers.size == 1:
        return own
    found = AttributionAccumulator(own.layout, own.n_classes)
    for state in peers.arrays(own.state()):
        found.merge(AttributionAccumulator.of_state(own.layout, state))
    return found


def standard_errors(weights: NDArray[np.float64], pixels: AttributionResult) -> NDArray[np.float64]:
    """Test the direction that the network gives a feature on held-out samples, in standard errors.

    It is the sum over classes of weight x mean pixel. Pixel x gradient itself is no test: where the gradient depends on
    the pixel, because the network bends, its mean is not zero for a feature that has nothing to do with the labels.
    """
    several = pixels.count > 1
    if not several.any():
        return np.zeros(weights.shape[1])
    weights, mean, count = weights[several], pixels.mean[several], pixels.count[several]
    variance = (weights**2 * pixels.m2[several] / (count * (count - 1))[:, None]).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(variance > 0, (weights * mean).sum(axis=0) / np.sqrt(variance), 0.0)


def _attributed(
    job: Job,
    module: nn.Module,
    layout: Layout,
    normalizer: Normalizer,
    parts: Split,
    options: TrainingOptions,
) -> Evidence:
    method, names = job.options.method, job.prepared.class_names
    assert method is not None
    assert names is not None  # a classifier's job has classes
    device, k, groups = resolve_device(options.device), job.n_classes, job.feature_groups
    target = target_of(job.source.name, job.options.target, names)
    values = AttributionAccumulator(layout, k)
    falls = None if groups is None else AttributionAccumulator(PixelGroups.layout(len(groups.names)), k)
    peers = job.peers if _by_sample(job) else Peers()
    found = attribute(
        module,
        job.loader(layout, normalizer, parts.test[peers.part(len(parts.test))]),
        values,
        method=method,
        target=target,
        baselines=_baselines(job, layout, normalizer, parts.train, options.seed, device, target),
        groups=None if groups is None else PixelGroups.of(groups, layout, device),
        falls=falls,
        noise_tunnel=job.options.noise_tunnel,
        options=options,
        progress=job.progress,
        peers=peers,
    )
    result = merged(values, peers).result()
    falls = None if falls is None else merged(falls, peers)
    metrics = {"completeness_delta": found.delta, "completeness_delta_relative": found.relative_delta}
    return Evidence(
        importance=RunImportance(result.importance, result.mean, result.mean_abs, found.n_used, result.count),
        falls=None if falls is None else _means(falls.result()),
        metrics={} if found.delta is None else metrics,
    )


def _by_sample(job: Job) -> bool:
    """Whether what a sample gets does not depend on its batch: what is drawn at random, or taken in turn, does."""
    method, kind = job.options.method, job.options.attribution_baseline
    assert method is not None
    others = (kind or known(method).baseline) == "others"
    return job.options.noise_tunnel is None and method != "gradient_shap" and not others


def _means(found: AttributionResult) -> NDArray[np.float64]:
    """Mean of each group and class, (n_groups, n_classes); NaN for a class without samples."""
    return np.where((found.count > 0)[:, None], found.mean, np.nan).T


def _baselines(
    job: Job,
    layout: Layout,
    normalizer: Normalizer,
    train: NDArray[np.int64],
    seed: int,
    device: torch.device,
    target: Any,
) -> Baselines:
    """Make the baselines that were asked for, or those that the method takes."""
    assert job.options.method is not None
    assert job.prepared.labels is not None
    kind = job.options.attribution_baseline or known(job.options.method).baseline
    if kind == "mean":
        mean = normalizer.training_mean()
        assert mean is not None  # a run's normaliser was fitted, and knows it
        return Baselines(torch.from_numpy(fold(mean[None].astype(np.float32), layout)).to(device))
    if kind != "others":
        return Baselines.constant(0.0, layout.shape, device)
    labels = job.prepared.labels[train]
    rng = np.random.default_rng(seed)
    classes = target if isinstance(target, tuple) else np.unique(labels)
    chosen = [rng.permutation(train[labels == label])[:PER_CLASS] for label in classes]
    loader = job.loader(layout, normalizer, np.concatenate(chosen), on_cpu=True)
    seen = [(images, own) for images, own, _ in loader]
    assert all(own is not None for _, own in seen)
    others = torch.cat([images for images, _ in seen]).to(device)
    return Baselines(others[:1], others, torch.cat([own for _, own in seen if own is not None]).to(device))
