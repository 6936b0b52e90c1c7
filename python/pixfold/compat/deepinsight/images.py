"""Samples as images of the three kinds that pyDeepInsight gives, folded block by block."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.layout import Layout
from pixfold.ops.fold import fold
from pixfold.util.checks import choice
from pixfold.util.optional import require
from pixfold.util.text import must_be

FORMATS = ("scalar", "rgb", "pytorch")
# Bytes of one block, which stays in the processor's cache while it is copied to three channels.
_BLOCK = 2 << 20


def samples(op: str, X: Any, n_features: int) -> Any:
    """Give samples as an array that `fold` takes, with the right number of features."""
    if not hasattr(X, "tocsr"):
        X = np.asarray(X)
        if X.dtype.kind == "c":
            raise InputError(f"{op}: X must hold real numbers, got {X.dtype}")
        if X.dtype.kind not in "fiub" or X.dtype.itemsize > 8:
            try:
                X = X.astype(np.float64)
            except (TypeError, ValueError) as error:
                raise InputError(f"{op}: X must hold numbers, got {X.dtype} ({error})") from error
    if len(X.shape) != 2 or X.shape[1] != n_features:
        raise InputError(f"{op}: X must have the shape (n_samples, {n_features}), got {X.shape}")
    return X.tocsr() if hasattr(X, "tocsr") else X


def images(X: Any, layout: Layout, img_format: str, empty_value: float) -> Any:
    """Fold samples into float32 images.

    Parameters
    ----------
    X : array (n_samples, n_features)
        As :func:`samples` gives it.
    layout : Layout
        With one channel.
    img_format : {"scalar", "rgb", "pytorch"}
        Shape ``(n, height, width)``, ``(n, height, width, 3)``, or ``(n, 3, height, width)`` as a torch tensor.
    empty_value : float
        Of pixels without a feature.
    """
    choice(FORMATS)("transform", "img_format", img_format)
    if not isinstance(empty_value, int | float | np.integer | np.floating):
        raise InputError(must_be("transform", "empty_value", "a number", empty_value))
    n, (_, height, width) = X.shape[0], layout.shape
    if img_format == "scalar":
        whole: NDArray[np.float32] = fold(X, layout).reshape(n, height, width)
        _fill(whole, layout, empty_value)
        return whole
    torch = require("torch", "train", "img_format='pytorch'") if img_format == "pytorch" else None
    last = img_format == "rgb"
    result = np.empty((n, height, width, 3) if last else (n, 3, height, width), dtype=np.float32)
    step = max(1, _BLOCK // (4 * layout.n_pixels))
    for start in range(0, n, step):
        block = fold(X[start : start + step], layout)[:, 0]
        _fill(block, layout, empty_value)
        for channel in range(3):
            where = (..., channel) if last else (slice(None), channel)
            result[start : start + step][where] = block
    return torch.from_numpy(result) if torch is not None else result


def _fill(block: NDArray[np.float32], layout: Layout, empty_value: float) -> None:
    if empty_value != 0:
        block.reshape(len(block), -1)[:, layout.features_per_pixel == 0] = empty_value
