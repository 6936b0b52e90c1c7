"""From where features stand in the plane to the pixels of an image: bins, quantiles and assignments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.compat.deepinsight.nearest_pixels import assign_near
from pixfold.util.optional import require

Points = NDArray[Any]
Pixels = NDArray[np.int64]
Shape = tuple[int, int]

_PURPOSE = "assigning features to pixels"
# So many distances the exact solver takes in about a second, or a fraction of it.
_EXACT = 2_000_000
_AT_ONCE = 300_000


def scaled(points: Points, extent: Any) -> Points:
    """Scale each axis from 0 to its extent; a constant axis stands in the middle."""
    low = points.min(axis=0)
    span = points.max(axis=0) - low
    constant = span == 0
    share = (points - low) / np.where(constant, 1, span)
    share[:, constant] = 0.5
    placed: Points = np.multiply(share, extent)
    return placed


def binned(points: Points, shape: Shape) -> Pixels:
    """Pixel in which each scaled point lies; those on the far edge belong to the last one."""
    pixels = np.floor(scaled(points, shape)).astype(np.int64)
    inside: Pixels = np.minimum(pixels, np.array(shape) - 1)
    return inside


def binned_quantiles(points: Points, shape: Shape) -> Pixels:
    """Pixel of each point after each axis was spread evenly by its quantiles, as many as the axis has pixels."""
    preprocessing = require("sklearn.preprocessing", "train", "quantile bins")
    # A seed: beyond 100,000 features, quantiles are those of a random part of them.
    spread = [
        preprocessing.quantile_transform(
            points[:, axis, None],
            n_quantiles=min(shape[axis], len(points)),
            random_state=0,
            output_distribution="uniform",
        )
        for axis in (0, 1)
    ]
    return binned(np.concatenate(spread, axis=1), shape)


def centres(shape: Shape) -> NDArray[np.float64]:
    """Centres of the pixels, row by row, (height * width, 2)."""
    middle: NDArray[np.float64] = np.indices(shape, dtype=np.float64).reshape(2, -1).T + 0.5
    return middle


def squared_distances(positions: Points, shape: Shape) -> NDArray[np.float64]:
    """Cost of each assignment, (n_positions, height * width)."""
    distance = require("scipy.spatial.distance", "train", _PURPOSE)
    costs: NDArray[np.float64] = distance.cdist(positions, centres(shape), metric="sqeuclidean")
    return costs


def on_grid(flat: NDArray[Any], shape: Shape) -> Pixels:
    """Rows and columns of flat pixel indices."""
    return np.stack(np.divmod(flat, shape[1]), axis=1).astype(np.int64)


def assigned(points: Points, shape: Shape, solve: Callable[[NDArray[np.float64]], Any]) -> Pixels:
    """Assignment by a solver of rectangular problems, which gives rows and the column of each.

    Where there are more features than pixels, every pixel is used: each takes a feature, and the other features go to
    the pixel nearest to them. A feature that is taken costs what it lies further away than that, so that an exact
    solver still gives the lowest total cost.
    """
    costs = squared_distances(scaled(points, shape), shape)
    n, n_pixels = costs.shape
    if n <= n_pixels:
        return on_grid(np.asarray(solve(costs)[1]), shape)
    flat = costs.argmin(axis=1)
    costs -= costs.min(axis=1, keepdims=True)
    flat[np.asarray(solve(costs.T)[1])] = np.arange(n_pixels)
    return on_grid(flat, shape)


def exact(points: Points, shape: Shape) -> Pixels:
    """Assignment of the lowest total cost (SciPy's `linear_sum_assignment`). Holds all distances in memory."""
    return assigned(points, shape, require("scipy.optimize", "train", _PURPOSE).linear_sum_assignment)


def near(points: Points, shape: Shape) -> Pixels:
    """Assignment of a low total cost, of any number of features: see :mod:`.nearest_pixels`. Exact for few."""
    n_pixels = shape[0] * shape[1]
    if len(points) <= n_pixels and len(points) * n_pixels <= _AT_ONCE:
        return exact(points, shape)
    return assign_near(scaled(points, shape).astype(np.float64), shape)


def greedy(points: Points, shape: Shape) -> Pixels:
    """What stands in for the asymmetric greedy search: the exact assignment of few features, :func:`near` of many."""
    few = len(points) * shape[0] * shape[1] <= _EXACT
    return exact(points, shape) if few else near(points, shape)
