"""The rotation that DeepInsight gives features: a rectangle around their convex hull comes to stand upright.

The smallest rectangle has a side on an edge of the hull (Freeman and Shapira, 1975): one is tried for each edge.
pyDeepInsight turns by the edge's angle where it should turn back by it, and leaves one edge out. Its rectangle stands
upright, but is seldom the smallest one. Both are here: its own for the same images, and the smallest one of the paper.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.util.optional import require

Points = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Upright:
    """Points turned so that their rectangle stands upright.

    Attributes
    ----------
    points : float array (n, 2)
    hull : int array
        Positions of the hull's corners among the points, in their order around it.
    corners : float array (4, 2)
        Of the rectangle, before the turn.
    """

    points: Points
    hull: NDArray[np.int64]
    corners: Points


def upright(points: Points, *, smallest: bool = False) -> Upright:
    """Turn points so that a rectangle around their convex hull stands upright.

    Parameters
    ----------
    points : float array (n, 2)
        At least one, finite. Points that lie on one line are turned onto an axis; the other axis is constant then.
    smallest : bool
        The smallest rectangle of all, rather than pyDeepInsight's.
    """
    spatial = require("scipy.spatial", "train", "turning features upright")
    try:
        hull = spatial.ConvexHull(points).vertices.astype(np.int64)
    except (spatial.QhullError, ValueError):
        # Fewer than three points, or all on one line: Qhull wants an area.
        along = int(np.ptp(points, axis=0).argmax())
        hull = np.unique([points[:, along].argmin(), points[:, along].argmax()])
        corners, rotation = rectangle(points[hull], smallest=True)
        turned = np.dot(rotation, points.T).T
        flat = int(np.ptp(turned, axis=0).argmin())
        turned[:, flat] = turned[:, flat].mean()  # what rounding left there would be stretched over the image
        return Upright(turned, hull, corners)
    corners, rotation = rectangle(points[hull], smallest=smallest)
    return Upright(np.dot(rotation, points.T).T, hull, corners)


def rectangle(hull: Points, *, smallest: bool = False) -> tuple[Points, Points]:
    """Find a small rectangle around a convex polygon, one for the angle of each edge being tried.

    Parameters
    ----------
    hull : float array (n, 2)
        Corners of the polygon, in order.
    smallest : bool
        As for :func:`upright`.

    Returns
    -------
    corners : float array (4, 2)
        Of the rectangle.
    rotation : float array (2, 2)
        Turns a column vector so that the rectangle stands upright.
    """
    ends = np.roll(hull, -1, axis=0) if smallest else hull[1:]
    edges = ends - hull[: len(ends)]
    # Four quarter turns give the same rectangle.
    angles = np.unique(np.mod(np.arctan2(edges[:, 1], edges[:, 0]), np.pi / 2)) if len(edges) else np.zeros(1)
    cosine, sine = np.cos(angles), np.sin(-angles if smallest else angles)
    rotations = np.stack([cosine, -sine, sine, cosine], axis=1).reshape(-1, 2, 2)
    # (n_angles, 2, n_corners); with `dot`, as there: of two rectangles alike, the last bit picks the same one.
    turned = np.dot(rotations, hull.T)
    low, high = turned.min(axis=2), turned.max(axis=2)
    best = int(np.prod(high - low, axis=1).argmin())
    (left, bottom), (right, top) = low[best], high[best]
    upright_corners = np.array([[right, bottom], [left, bottom], [left, top], [right, top]])
    return upright_corners @ rotations[best], rotations[best]
