"""Principal components of a job: found among each run's training samples, judged on its test samples."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pixfold.layout import Layout
from pixfold.learn.backbones.principal import PrincipalComponents
from pixfold.learn.consensus import RunImportance
from pixfold.learn.fit import Fitted, fit
from pixfold.learn.job import Job
from pixfold.learn.outcome import RunOutcome
from pixfold.learn.principal.directions import principal_directions, work
from pixfold.learn.run import set_up
from pixfold.learn.torch_settings import torch_settings
from pixfold.learn.training_result import TrainingResult
from pixfold.normalize.normalizer import Normalizer

# Directions, where the user names no number.
_MOST = 32
# Floating-point operations of a run; 11 to 24 s on two cores with AVX2, beside another job.
_MOST_WORK = 1e12


def serves(job: Job, memory: float) -> bool:
    """Whether a job is small enough: three copies of its images in half of the memory, its runs quick."""
    n, pixels = len(job.prepared.rows), int(np.prod(job.layout_of(1).shape))
    return 12.0 * n * pixels <= memory / 2 and work(n, pixels) <= _MOST_WORK


def describe(job: Job, run: int) -> RunOutcome:
    """Find the principal directions of a new split's training samples, and what of them features share.

    The importance of a feature is the variance of the test samples that the directions give it:
    ``sum_l var(place along l) * direction_l[feature]^2``, its communality.

    Parameters
    ----------
    job : Job
        Without labels.
    run : int
        Number of the run, from 1.

    Returns
    -------
    RunOutcome
        Also for a run without a direction: its metrics say so.
    """
    s, started = set_up(job, run), time.perf_counter()
    with torch_settings(s.options) as device:
        train, validation, test = (
            _pixels(job, s.layout, s.normalizer, part).to(device)
            for part in (s.split.train, s.split.validation, s.split.test)
        )
        mean = train.mean(0)
        train, validation, test = train.sub_(mean), validation.sub_(mean), test.sub_(mean)
        found = principal_directions(train, most=job.options.latent_dim or _MOST, seed=s.seed)
        reason = None if len(found) else "samples differ along no direction more than features do by themselves"
        if len(test) < 2:
            reason = "there is one test sample, which cannot say how samples differ"
        importance = None
        if reason is None:
            shared = (test @ found.T).var(0, correction=0) @ found.square()
            importance = _of_features(shared.double().cpu().numpy(), s.layout, len(test))
        n_values = int((s.layout.feature_of_pixel >= 0).sum())
        loss = {
            name: _missed(part, found) / (len(part) * n_values)
            for name, part in (("train", train), ("validation", validation), ("test", test))
        }
        # Around the mean of the training samples, as the network has it: what directions give is never less than 0.
        spread = float(test.double().square().sum()) / (len(test) * n_values)
        module = PrincipalComponents.of(s.layout.shape, _or_none(found), mean)
    epoch = {
        "epoch": 1,
        "train_loss": loss["train"],
        "validation_loss": loss["validation"],
        "seconds": time.perf_counter() - started,
    }
    if job.log is not None:
        job.log.add(run, {"run": run, **epoch})
    result = TrainingResult(
        module=module,
        history=[epoch],
        best_epoch=1,
        stopped="solved",
        rejected=reason,
        seconds=time.perf_counter() - started,
        device=str(device),
        precision="32-true",
        micro_batch=None,
    )
    metrics: dict[str, Any] = {
        "accepted": reason is None,
        "reason": reason,
        "loss": loss["test"],
        "explained_variance": 1.0 - loss["test"] / spread if spread > 0 else 0.0,
        "n_directions": len(found),
    }
    return s.outcome(result, metrics, importance=importance, probabilities=None)


def fit_principal(job: Job) -> Fitted:
    """Do the runs, then find the directions of all samples, which are what encodes samples.

    Where the job ranks nothing there are none, and all latent values are 0.
    """
    fitted = fit(job, describe)
    layout, normalizer = job.layout_of(1), job.fitted(np.arange(len(job.prepared.rows)))
    with torch_settings(job.options.training) as device:
        samples = _pixels(job, layout, normalizer, np.arange(len(job.prepared.rows))).to(device)
        mean = samples.mean(0)
        most = job.options.latent_dim or _MOST
        found = samples.new_zeros(0, samples.shape[1])
        if fitted.metrics["n_accepted"]:
            found = principal_directions(samples.sub_(mean), most=most, seed=job.seed)
        module = PrincipalComponents.of(layout.shape, _or_none(found), mean)
    messages = [*fitted.messages, *([] if len(found) else ["there is no direction: all latent values are 0"])]
    return replace(
        fitted,
        best=replace(fitted.best, number=0, layout=layout, normalizer=normalizer, module=module),
        module=module,
        metrics=fitted.metrics | {"model_of": "all samples", "n_directions": len(found)},
        messages=messages,
    )


def _pixels(job: Job, layout: Layout, normalizer: Normalizer, samples: NDArray[np.int64]) -> Tensor:
    """All pixels of samples, ``float32 (n, p)``, new memory; every process has all of them."""
    loader = job.loader(layout, normalizer, samples, batch_size=max(1, len(samples)))
    return torch.cat([images for images, _, _ in loader]).flatten(1)


def _or_none(directions: Tensor) -> Tensor:
    """Directions for a network, which has one at least: of length 0 where there is none."""
    return directions if len(directions) else directions.new_zeros(1, directions.shape[1])


def _missed(centred: Tensor, directions: Tensor) -> float:
    """Sum of the squares that the directions leave over."""
    return float(centred.double().square().sum() - (centred @ directions.T).double().square().sum())


def _of_features(values: NDArray[np.float64], layout: Layout, n_used: int) -> RunImportance:
    pixel = layout.pixel_of_feature
    importance = np.where(pixel >= 0, values[np.maximum(pixel, 0)], 0.0)
    empty = np.empty((0, layout.n_features))
    return RunImportance(importance, empty, empty, n_used)
