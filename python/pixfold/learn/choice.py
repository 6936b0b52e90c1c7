"""Which network a job trains, and how its runs are done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pixfold.errors import InputError
from pixfold.learn import run as runs
from pixfold.learn.additive.fit import MOST_SAMPLES, fit_additive, serves
from pixfold.learn.fit import Fitted, fit
from pixfold.learn.job import Job
from pixfold.learn.run import RunOutcome
from pixfold.stream.budget import free_memory


def fit_classes(job: Job) -> Fitted:
    """Learn classes with the network that was asked for, or the one that suits the data."""
    return _fit(job, runs.classify)


def fit_quantity(job: Job) -> Fitted:
    """Learn a quantity, with the network that :func:`fit_classes` would take."""
    return _fit(job, runs.regress)


def fit_autoencoders(job: Job) -> Fitted:
    """Learn samples without labels."""
    return fit(job, runs.autoencode)


def _fit(job: Job, run: Callable[[Job, int], RunOutcome]) -> Fitted:
    backbone, memory = job.options.backbone, job.options.memory or free_memory() // 2
    if backbone == "auto":
        # An attribution method that is asked for is of networks that are trained.
        small = job.options.method is None and serves(job, memory)
        backbone = "additive" if small else "patchnet"
        job = replace(job, options=replace(job.options, backbone=backbone))
    if backbone == "additive":
        if job.options.method is not None:
            raise InputError(
                f"{job.source.name}: method must be None with the backbone 'additive', whose evidence has one form, "
                f"got {job.options.method!r}"
            )
        if not serves(job, memory):
            raise InputError(
                f"{job.source.name}: backbone must be another than 'additive', which is solved among at most "
                f"{MOST_SAMPLES:,} samples that fit into half of the memory, got {len(job.prepared.rows):,} samples x "
                f"{job.source.n_features:,} features"
            )
        return fit_additive(job)
    return fit(job, run)
