"""How sharp class probabilities are: one factor on the scores, fitted to held-out samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pixfold.util.optional import require


def temperature(
    held_out: Sequence[tuple[NDArray[np.int64], Tensor]],
    labels: NDArray[np.int64],
    weights: NDArray[np.float64] | None = None,
) -> float:
    """Find the factor on the scores with the least cross-entropy over the held-out samples (Guo et al., 2017).

    Parameters
    ----------
    held_out : sequence of (int64 (h,), float32 (h, K))
        Of each run: its held-out samples and their scores.
    labels : int64 (n,)
        Classes of all samples.
    weights : float64 (n,), optional
        How much each sample counts among those of its class.

    Returns
    -------
    float
        Above 0; it changes no prediction.
    """
    optimize = require("scipy.optimize", "train", "class probabilities")
    scores = torch.cat([part for _, part in held_out]).double()
    wanted = torch.from_numpy(np.concatenate([labels[rows] for rows, _ in held_out]))
    possible = torch.isfinite(scores.gather(1, wanted[:, None])[:, 0])
    share = torch.ones(len(wanted), dtype=torch.float64)
    if weights is not None:
        share = torch.from_numpy(np.concatenate([weights[rows] for rows, _ in held_out]))
    scores, wanted, share = scores[possible], wanted[possible], share[possible]
    if not len(wanted):
        return 1.0
    typical = float(scores.masked_fill(~torch.isfinite(scores), 0.0).abs().mean().clamp(min=1e-12))
    # Classes as rare as they come: the weight of a class is the same for all.
    of_class = torch.zeros(scores.shape[1], dtype=torch.float64).index_add_(0, wanted, share)
    share = share / of_class[wanted]

    def loss(log_factor: float) -> float:
        factor = float(np.exp(log_factor)) / typical
        missed = torch.nn.functional.cross_entropy(factor * scores, wanted, reduction="none")
        return float(share @ missed)

    best = optimize.minimize_scalar(loss, bounds=(-6.0, 6.0), method="bounded", options={"xatol": 1e-3})
    return float(np.exp(best.x)) / typical
