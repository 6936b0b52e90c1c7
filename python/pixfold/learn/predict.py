"""Outputs of trained networks for all samples: class probabilities, quantities and latent values."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pixfold.errors import InputError
from pixfold.learn.backbones.latent_network import LatentNetwork
from pixfold.learn.batches import Batches
from pixfold.learn.hidden import HiddenLayer
from pixfold.learn.micro_batches import MicroBatches
from pixfold.learn.torch_settings import torch_settings
from pixfold.learn.training_options import TrainingOptions
from pixfold.util.progress import Progress, SilentProgress, tracked


def predict_proba(
    module: nn.Module, batches: Batches, options: TrainingOptions | None = None, progress: Progress | None = None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Class probabilities (softmax of the outputs), in evaluation mode, float32.

    Returns
    -------
    probabilities : float32 (n, K)
    indices : int64 (n,)
        The ``indices`` of the batches: row ``i`` of ``probabilities`` is sample ``indices[i]``.
    """
    return _collect(module, lambda x: torch.softmax(module(x).float(), dim=1), batches, options, progress)


def outputs(
    module: nn.Module, batches: Batches, options: TrainingOptions | None = None, progress: Progress | None = None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Outputs as the network gives them, ``float32 (n, K)``, and the samples' indices."""
    return _collect(module, module, batches, options, progress)


def encode(
    module: LatentNetwork | HiddenLayer,
    batches: Batches,
    options: TrainingOptions | None = None,
    progress: Progress | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Latent values of an auto-encoder, ``float32 (n, L)``, and the samples' indices."""
    return _collect(module, module.encode, batches, options, progress)


def in_order(values: NDArray[np.float32], indices: NDArray[np.int64]) -> NDArray[np.float32]:
    """Put rows of :func:`predict_proba`, :func:`outputs` or :func:`encode` into the order of the samples."""
    return np.asarray(values[np.argsort(indices)])


def _collect(
    module: nn.Module,
    function: Callable[[Tensor], Tensor],
    batches: Batches,
    options: TrainingOptions | None,
    progress: Progress | None,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    with torch_settings(options or TrainingOptions()) as device, torch.no_grad():
        module.to(device).eval()
        micro = MicroBatches(
            None if options is None else options.micro_batch, least=1, progress=progress or SilentProgress()
        )
        rows, indices = _Grown(np.dtype(np.float32)), _Grown(np.dtype(np.int64))
        for images, _, index in tracked(batches, progress, "predicting", len(batches)):
            rows.append(micro.done(len(images), partial(_outputs, function, images.to(device))).cpu().numpy())
            indices.append(index.cpu().numpy())
    if not rows.n:
        raise InputError("predict: batches must hold 1 sample or more, got none")
    return rows.values[: rows.n], indices.values[: indices.n]


def _outputs(function: Callable[[Tensor], Tensor], images: Tensor, parts: list[slice]) -> Tensor:
    return torch.cat([function(images[part]).float() for part in parts])


class _Grown:
    """Rows that are put together as they come.

    A list of the parts would keep a small array of each batch, between which the allocator cannot give back the memory
    of the batches themselves.
    """

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.n = 0
        self.values: NDArray[Any] = np.empty(0, dtype=dtype)

    def append(self, part: NDArray[Any]) -> None:
        stop = self.n + len(part)
        if stop > len(self.values):
            grown = np.empty((max(stop, 2 * len(self.values)), *part.shape[1:]), dtype=self.values.dtype)
            grown[: self.n] = self.values[: self.n] if self.n else grown[:0]
            self.values = grown
        self.values[self.n : stop] = part
        self.n = stop
