"""Which network a job trains, and how its runs are done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pixfold.errors import InputError
from pixfold.learn import ranks
from pixfold.learn import run as runs
from pixfold.learn.additive.fit import fit_additive
from pixfold.learn.additive.size import MOST_SAMPLES, serves
from pixfold.learn.fit import Fitted, fit
from pixfold.learn.job import Job
from pixfold.learn.outcome import RunOutcome
from pixfold.learn.peers import Peers
from pixfold.learn.principal import run as principal
from pixfold.stream.budget import free_memory


def fit_classes(job: Job) -> Fitted:
    """Learn classes with the network that was asked for, or the one that suits the data."""
    return _fit(job, runs.classify)


def fit_quantity(job: Job) -> Fitted:
    """Learn a quantity, with the network that :func:`fit_classes` would take."""
    return _fit(job, runs.regress)


def fit_autoencoders(job: Job) -> Fitted:
    """Learn samples without labels, by their principal components where the job is small enough."""
    options, memory = job.options, job.options.memory or free_memory() // 2
    # Options of a training, where any is given.
    of_training = {
        name: value
        for name, value in {
            "method": options.method,
            "latent_layer": options.latent_layer,
            "epochs": options.training.epochs,
        }.items()
        if value is not None
    }
    backbone, small = options.backbone, principal.serves(job, memory)
    if backbone == "auto":
        fits = small and not of_training and options.latent_dim is not None
        backbone = "principal" if Peers.of_world().agreed(fits) else "convolutional"
    elif backbone == "principal":
        for name, value in of_training.items():
            raise InputError(
                f"DeepMapperAutoencoder: {name} must be left out with the backbone 'principal', which is solved and "
                f"not trained, got {value!r}"
            )
        if not small:
            raise InputError(
                f"{job.source.name}: backbone must be 'convolutional' for so many values: 'principal' is for some "
                f"hundred samples that fit into half of the memory, got {len(job.prepared.rows):,} samples x "
                f"{job.source.n_features:,} features"
            )
    job = ranks.together(replace(job, options=replace(options, backbone=backbone)), "self-supervised")
    return principal.fit_principal(job) if backbone == "principal" else fit(job, runs.autoencode)


def _fit(job: Job, run: Callable[[Job, int], RunOutcome]) -> Fitted:
    backbone, memory = job.options.backbone, job.options.memory or free_memory() // 2
    if backbone == "auto":
        # An attribution method or weights that are asked for are of networks that are trained.
        small = job.options.method is None and job.options.weights is None and serves(job, memory)
        # One decides for all processes, whose free memory differs.
        backbone = "additive" if Peers.of_world().agreed(small) else "patchnet"
        job = replace(job, options=replace(job.options, backbone=backbone))
    if backbone == "additive":
        if job.options.method is not None:
            raise InputError(
                f"{job.source.name}: method must be None with the backbone 'additive', whose evidence has one form, "
                f"got {job.options.method!r}"
            )
        if job.options.weights is not None:
            raise InputError(
                f"{job.source.name}: weights must be None with the backbone 'additive', which is solved and not "
                f"trained, got {str(job.options.weights)!r}"
            )
        if not serves(job, memory):
            raise InputError(
                f"{job.source.name}: backbone must be another than 'additive', which is solved among at most "
                f"{MOST_SAMPLES:,} samples that fit into half of the memory, got {len(job.prepared.rows):,} samples x "
                f"{job.source.n_features:,} features"
            )
    task = "regression" if job.prepared.is_quantity else "classification"
    job = ranks.together(job, task)
    return fit_additive(job) if backbone == "additive" else fit(job, run)
