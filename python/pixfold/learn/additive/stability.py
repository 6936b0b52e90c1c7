"""Stability selection beside the evidence: how often a feature is chosen on halves of the samples."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pixfold.learn.additive.pixels import Pixels
from pixfold.learn.additive.solver import Targets, evidence, solve
from pixfold.learn.stability_bound import threshold_for
from pixfold.ops import top_k

N_PAIRS = 25
# Expected number of false selections that the threshold is made for.
EXPECTED = 1.0


def halves(labels: NDArray[np.int64], rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw two halves of the samples, of the same size and as like in classes as they can be."""
    order = np.lexsort((rng.random(len(labels)), labels))
    side = np.empty(len(labels), dtype=bool)
    # Of every two neighbours one goes to each half.
    first = rng.random((len(labels) + 1) // 2) < 0.5
    side[order] = np.stack([first, ~first], axis=1).ravel()[: len(labels)]
    return np.flatnonzero(side), np.flatnonzero(~side)


def chosen(images: Tensor, half: NDArray[np.int64], targets: Targets, pixel: Tensor, k: int) -> NDArray[np.int64]:
    """Choose the ``k`` features of most evidence, from one half of the samples alone.

    Parameters
    ----------
    images : float32 (n, p)
        Normalised pixels of all samples; overwritten.
    half : int64 (n / 2,)
        The samples that are looked at.
    targets : Targets
        The true labels alone.
    pixel : int64 (n_features,)
        Pixel of each feature, -1 without one.
    k : int
        Features to choose.

    Returns
    -------
    int64 array
        Fewer than ``k`` where ties cross the cut.
    """
    at = torch.from_numpy(half).to(images.device)
    pixels = Pixels.standardise(images, at, targets.weights)
    solution = solve(pixels, at, targets)
    found = evidence(pixels, at, at, targets, solution).evidence[0]
    values = torch.where(pixel >= 0, found[pixel.clamp(min=0)], 0.0).double().cpu().numpy()
    return np.asarray(top_k(values, k), dtype=np.int64)


def threshold(n_features: int, k: int, n_pairs: int) -> float | None:
    """Frequency from which at most :data:`EXPECTED` false selections are expected (Shah and Samworth, 2013).

    The r-concave bound, for complementary pairs of halves.
    """
    return threshold_for(EXPECTED, n_features, k, n_pairs=n_pairs)
