"""Is a pair more than its two features? The score test of their product in a model that has both."""

from __future__ import annotations

from concurrent.futures import Executor

import numpy as np
import torch
from numpy.typing import NDArray

# What a few pairs take at work: about a core's second cache.
_CHUNK_BYTES = 2 * 2**20
_STEPS = 25
# Added to an information matrix, relative to its diagonal: two equal features must not stop the fit.
_RIDGE = 1e-9
# Newton's steps end when no linear predictor moves by more: the error that is left is about the square of it.
_STILL = 1e-5


def interaction_z(
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    label: NDArray[np.float64],
    covariates: NDArray[np.float64] | None = None,
    *,
    logistic: bool,
    pool: Executor | None = None,
) -> NDArray[np.float64]:
    """Score statistics of a * b in models of a label by 1, a, b and covariates.

    With the fitted mean mu of the model without the product, its variance w (mu (1 - mu) for classes, the residual
    variance for a measurement), and x the product freed of the model's columns by weighted least squares,
    z = sum(x (label - mu)) / sqrt(sum(w x^2)) (Rao, Proc Camb Phil Soc 1948; Cox and Hinkley, Theoretical Statistics,
    1974, section 9.3).

    Parameters
    ----------
    a, b : float64 array (k, n)
        Features of each pair, standardised.
    label : float64 array (k, n)
        1 and 0, or a measurement.
    covariates : float64 array (n, q), optional
        More columns of the model.
    logistic : bool
        Whether labels are classes.
    pool : Executor, optional
        Threads that share the pairs.

    Returns
    -------
    float64 array (k,)
        About standard normal where the product adds nothing; 0 where it is a sum of the model's columns.
    """
    k, n = a.shape
    out = np.zeros(k)
    step = max(1, _CHUNK_BYTES // (8 * n * 8))
    fixed = np.ones((n, 1)) if covariates is None else np.column_stack([np.ones(n), covariates])
    shared = torch.from_numpy(np.ascontiguousarray(fixed.T))

    def work(first: int) -> None:
        part = slice(first, first + step)
        with torch.inference_mode():
            x, w, y = (torch.from_numpy(values[part]) for values in (a, b, label))
            columns = torch.cat([shared.expand(len(x), -1, -1), x[:, None], w[:, None]], dim=1)
            out[part] = (_logistic if logistic else _linear)(columns, x * w, y).numpy()

    for _ in (map if pool is None else pool.map)(work, range(0, k, step)):
        pass
    return out


def _logistic(columns: torch.Tensor, product: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Columns (k, d, n); the others (k, n)."""
    beta = torch.zeros(columns.shape[:2], dtype=torch.float64)
    share = y.mean(dim=1).clamp(1e-9, 1 - 1e-9)
    beta[:, 0] = torch.log(share / (1 - share))
    mean = torch.sigmoid(_times(columns, beta))
    for _ in range(_STEPS):
        weight = (mean * (1 - mean)).clamp_min(1e-12)
        change = _solved(columns, weight, _dot(columns, y - mean))
        # A step of more than a few units is one that separation or a poor start asks for.
        moved = _times(columns, change)
        largest = moved.abs().amax(dim=1, keepdim=True)
        shrink = torch.clamp(4 / largest.clamp_min(1e-300), max=1.0)
        beta = beta + change * shrink
        mean = torch.sigmoid(_times(columns, beta))
        if float(largest.max()) < _STILL:
            break
    weight = (mean * (1 - mean)).clamp_min(1e-12)
    left = _left(columns, product, weight)
    variance = (weight * left * left).sum(dim=1)
    return _ratio((left * (y - mean)).sum(dim=1), variance, (weight * product * product).sum(dim=1))


def _linear(columns: torch.Tensor, product: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    weight = torch.ones_like(y)
    rest = _left(columns, y, weight)
    left = _left(columns, product, weight)
    free = max(y.shape[1] - columns.shape[1] - 1, 1)
    # The variance of the model that has the product: Student's t of its coefficient.
    square = (left * left).sum(dim=1)
    score = (left * rest).sum(dim=1)
    explained = score * score / square.clamp_min(1e-300)
    variance = ((rest * rest).sum(dim=1) - explained).clamp_min(1e-300) / free
    return _ratio(score, square * variance, (product * product).sum(dim=1) * variance)


def _ratio(score: torch.Tensor, variance: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
    """Score over its deviation; 0 where nothing of the product is its own."""
    own = variance > 1e-9 * whole
    return torch.where(own, score / torch.sqrt(torch.where(own, variance, 1.0)), 0.0)


def _left(columns: torch.Tensor, values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Values without what columns explain."""
    return values - _times(columns, _solved(columns, weight, _dot(columns, weight * values)))


def _solved(columns: torch.Tensor, weight: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    information = torch.bmm(columns * weight[:, None], columns.transpose(1, 2))
    ridge = torch.diagonal(information, dim1=1, dim2=2) * _RIDGE + 1e-12
    found: torch.Tensor = torch.linalg.solve(information + torch.diag_embed(ridge), right[:, :, None])
    return found[:, :, 0]


def _times(columns: torch.Tensor, beta: torch.Tensor) -> torch.Tensor:
    return torch.bmm(beta[:, None], columns)[:, 0]


def _dot(columns: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    return torch.bmm(columns, values[:, :, None])[:, :, 0]
