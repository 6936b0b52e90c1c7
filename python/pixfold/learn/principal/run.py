"""One run of principal components: found among training samples, judged on test samples."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pixfold.learn.backbones.principal import PrincipalComponents
from pixfold.learn.consensus import RunImportance
from pixfold.learn.job import Job
from pixfold.learn.outcome import RunOutcome
from pixfold.learn.principal.directions import principal_directions, work
from pixfold.learn.run import Setting, set_up
from pixfold.learn.torch_settings import torch_settings
from pixfold.learn.training_result import TrainingResult

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
            _pixels(job, s, part).to(device) for part in (s.split.train, s.split.validation, s.split.test)
        )
        mean = train.mean(0)
        found = principal_directions(train.sub_(mean), most=job.options.latent_dim or _MOST, seed=s.seed)
        reason = None if len(found) else "samples differ along no direction more than features do by themselves"
        if len(test) < 2:
            reason = "there is one test sample, which cannot say how samples differ"
        # A network has one direction at least; that of a run without any predicts nothing.
        directions = found if len(found) else train.new_zeros(1, train.shape[1])
        places = test.sub_(mean) @ directions.T
        n_values = int((s.layout.feature_of_pixel >= 0).sum())
        losses = {
            name: _missed(part, directions) / (len(part) * n_values)
            for name, part in (("train", train), ("validation", validation.sub_(mean)), ("test", test))
        }
        spread = float((test - test.mean(0)).double().square().sum())
        missed = losses["test"] * len(test) * n_values
        importance = None
        if reason is None:
            shared = places.var(0, correction=0) @ directions.square()
            importance = _of_features(shared.double().cpu().numpy(), s, len(test))
        module = PrincipalComponents.of(s.layout.shape, directions, mean)
    epoch = {
        "epoch": 1,
        "train_loss": losses["train"],
        "validation_loss": losses["validation"],
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
        "loss": losses["test"],
        "explained_variance": 1.0 - missed / spread if spread > 0 else 0.0,
        "n_directions": len(found),
    }
    return s.outcome(result, metrics, importance=importance, probabilities=None)


def _pixels(job: Job, s: Setting, part: NDArray[np.int64]) -> Tensor:
    """All pixels of samples, ``float32 (n, p)``, new memory; every process has all of them."""
    loader = job.loader(s.layout, s.normalizer, part, batch_size=max(1, len(part)))
    return torch.cat([images for images, _, _ in loader]).flatten(1)


def _missed(centred: Tensor, directions: Tensor) -> float:
    """Sum of the squares that the directions leave over; these have length 1 or 0."""
    return float(centred.double().square().sum() - (centred @ directions.T).double().square().sum())


def _of_features(values: NDArray[np.float64], s: Setting, n_used: int) -> RunImportance:
    pixel = s.layout.pixel_of_feature
    importance = np.where(pixel >= 0, values[np.maximum(pixel, 0)], 0.0)
    empty = np.empty((0, s.layout.n_features))
    return RunImportance(importance, empty, empty, n_used)
