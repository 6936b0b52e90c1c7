"""pydeepmapper's layout of features as pixels: sizes, seeded arrangements, images, and back.

Its rule: features are reordered by ``perm`` and fill a square image row by row, so that pixel ``j`` shows feature
``perm[j]``; what is left over is 0.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.layout import Layout
from pixfold.ops.fold import fold
from pixfold.util.checks import whole_number
from pixfold.util.text import must_be


def square_dim(n_features: int, buffer: int = 0) -> int:
    """Side of the smallest square with room for `n_features` and `buffer` more pixels.

    Raises
    ------
    InputError
        When `n_features` is no positive integer or `buffer` is negative. It is a ValueError.
    """
    whole_number(1)("square_dim", "n_features", n_features)
    whole_number(0)("square_dim", "buffer", buffer)
    return math.isqrt(int(n_features) + int(buffer) - 1) + 1


def image_side(n_features: int) -> int:
    """Side of the smallest square with room for `n_features`."""
    return square_dim(n_features)


def permutation(seed: Any, n: int) -> list[int]:
    """Shuffle ``range(n)`` as ``random.Random(seed).shuffle`` does, number for number.

    Parameters
    ----------
    seed
        What ``random.Random`` takes: an integer, a float, a string, bytes, or None for a new order on each call.
    n : int
        Not negative.

    Returns
    -------
    list of int

    Raises
    ------
    InputError
        When `n` is no integer of 0 or more.
    """
    whole_number(0)("permutation", "n", n)
    # Python's own shuffle: with its numbers drawn by NumPy at once, the swaps still take as long.
    order = list(range(n))
    random.Random(seed).shuffle(order)
    return order


def inverse_permutation(perm: Sequence[int]) -> list[int]:
    """Give the permutation that undoes `perm`: ``inverse[perm[i]] == i``.

    Raises
    ------
    InputError
        When `perm` does not hold each of ``0 .. len(perm) - 1`` once.
    """
    op = "inverse_permutation"
    if not hasattr(perm, "__len__"):
        raise InputError(must_be(op, "perm", "a sequence of integers", perm))
    order = _permutation(op, perm, len(perm))
    inverse: list[int] = _inverse(order).tolist()
    return inverse


def to_images(X: Any, buffer: int = 0, perm: Sequence[int] | None = None) -> NDArray[np.float32]:
    """Lay samples out as square images with one channel, the last axis.

    Parameters
    ----------
    X : array (n_samples, n_features)
        Of any number type, or a SciPy sparse matrix, which is not made dense.
    buffer : int
        Pixels beside those of the features that the image must have room for.
    perm : sequence of int, optional
        Feature ``perm[j]`` comes to pixel ``j``. Default: features stay in their order.

    Returns
    -------
    float32 array (n_samples, side, side, 1)
        ``side = square_dim(n_features, buffer)``. Without `perm` and without anything to pad, contiguous float32
        samples are not copied: the images share their memory.

    Raises
    ------
    InputError
        When `X` is not two-dimensional or has no features, or `perm` does not hold each feature once.
    """
    samples = _samples(X)
    n, features = samples.shape
    side = square_dim(features, buffer)
    if perm is None and isinstance(samples, np.ndarray):
        return _padded(samples, side * side).reshape(n, side, side, 1)
    if perm is None:
        layout = Layout.natural(features, shape=(side, side))
    else:
        layout = Layout(_inverse(_permutation("to_images", perm, features)), (1, side, side))
    images: NDArray[np.float32] = fold(samples, layout)
    return images.reshape(n, side, side, 1)


def pixels_to_features(attr_image: Any, perm: Sequence[int] | None, n_features: int) -> NDArray[np.float32]:
    """Read the value of each feature from one image, which :func:`to_images` would have laid out.

    Parameters
    ----------
    attr_image : array
        Of any shape, read row by row; at least `n_features` values.
    perm : sequence of int or None
        As it was given to :func:`to_images`.
    n_features : int
        Not negative.

    Returns
    -------
    float32 array (n_features,)

    Raises
    ------
    InputError
        When the image has fewer pixels than features, or `perm` does not hold each feature once.
    """
    op = "pixels_to_features"
    whole_number(0)(op, "n_features", n_features)
    pixels = np.asarray(attr_image, dtype=np.float32).reshape(-1)
    if pixels.size < n_features:
        raise InputError(f"{op}: attr_image must have {n_features} pixels or more, got {pixels.size}")
    if perm is None:
        return pixels[:n_features]
    # One image is one gather: building a Layout for `unfold` would cost more than the gather itself.
    features = np.empty(n_features, dtype=np.float32)
    features[_permutation(op, perm, int(n_features))] = pixels[:n_features]
    return features


def _padded(samples: NDArray[Any], pixels: int) -> NDArray[np.float32]:
    """Copy rows and put zeros behind them: features in their order need no kernel, and at times no copy."""
    n, features = samples.shape
    if pixels == features and samples.dtype == np.float32 and samples.flags.c_contiguous:
        return samples
    images = np.empty((n, pixels), dtype=np.float32)
    images[:, :features] = samples
    images[:, features:] = 0.0
    return images


def _samples(X: Any) -> Any:
    """Give samples as an array that `fold` takes where it lies."""
    sparse = hasattr(X, "tocsr")
    samples = X if sparse else np.asarray(X)
    if len(samples.shape) != 2:
        raise InputError(f"to_images: X must be two-dimensional (n_samples, n_features), got shape {samples.shape}")
    if samples.shape[1] == 0:
        raise InputError("to_images: X must have a feature or more, got none")
    if samples.dtype.kind == "c":
        raise InputError(f"to_images: X must hold real numbers, got {samples.dtype}")
    if not sparse and (samples.dtype.kind not in "fiub" or samples.dtype.itemsize > 8):
        try:
            samples = samples.astype(np.float32)
        except (TypeError, ValueError) as error:
            raise InputError(f"to_images: X must hold numbers, got {samples.dtype} ({error})") from error
    return samples


def _permutation(op: str, perm: Sequence[int], n: int) -> NDArray[np.int64]:
    try:
        order = np.asarray(perm)
    except ValueError as error:
        raise InputError(must_be(op, "perm", "a sequence of integers", perm)) from error
    if order.shape != (n,):
        raise InputError(f"{op}: perm must have the length {n}, got shape {order.shape}")
    if n == 0:
        return np.empty(0, dtype=np.int64)
    if order.dtype.kind not in "iu":
        raise InputError(must_be(op, "perm", "a sequence of integers", perm))
    inside = (order >= 0) & (order < n)
    if not inside.all():
        at = int(np.flatnonzero(~inside)[0])
        raise InputError(f"{op}: perm must hold integers in [0, {n}), got {order[at]} at {at}")
    counts = np.bincount(order, minlength=n)
    if counts.max() > 1:
        raise InputError(f"{op}: perm must hold each of 0 to {n - 1} once, got {int(counts.argmax())} more than once")
    return order.astype(np.int64, copy=False)


def _inverse(order: NDArray[np.int64]) -> NDArray[np.int64]:
    inverse = np.empty_like(order)
    inverse[order] = np.arange(order.size)
    return inverse
