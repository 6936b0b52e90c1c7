"""unfold: bring every pixel back to its feature."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pixfold import _core
from pixfold.arrays.dense import (
    array,
    is_on_cuda,
    layout_argument,
    plain,
    takes_torch_op,
    threads_argument,
    to_torch,
)
from pixfold.arrays.interop import adopted
from pixfold.errors import InputError

if TYPE_CHECKING:
    from pixfold.layout import Layout


def unfold(images: Any, layout: Layout, *, threads: int | None = None) -> Any:
    """Read each feature's pixel: the inverse of the placement that :func:`fold` does.

    Parameters
    ----------
    images : array (n_samples, channels, height, width)
        NumPy, torch, JAX or CuPy array, on the CPU or a CUDA device, of any float or integer dtype. A torch tensor
        that requires a gradient gets one: the sum over the features of each pixel.
    layout : Layout
        The layout that the images were folded with.
    threads : int, optional
        Default: OMP_NUM_THREADS and the process's CPU affinity decide.

    Returns
    -------
    X : array (n_samples, n_features)
        In the images' dtype and kind of array. ``unfold(fold(X)) == X`` for every layout with one feature per pixel;
        features that share a pixel all get its value; a dropped feature gets 0. Values stay normalised:
        ``Normalizer.inverse_transform`` undoes that where it can be undone.

    Raises
    ------
    InputError
        When the images do not have the layout's shape. It is a ValueError.
    TypeError
        For images that are no numbers, or a layout that is none.
    """
    images, kind = adopted("unfold", "images", images)
    if kind is not None:
        return kind.of("unfold", unfold(images, layout, threads=threads))
    if takes_torch_op(images):
        from pixfold.ops.torch import unfold_tensor

        return unfold_tensor(images, layout, threads)
    return unfold_memory(images, layout, threads)


def unfold_memory(images: Any, layout: Layout, threads: int | None) -> Any:
    """:func:`unfold` of an array whose memory the kernel reads: what torch's dispatcher calls in its turn."""
    layout_argument("unfold", layout)
    if is_on_cuda(images):
        from pixfold.ops.cuda.fold import unfold_tensor

        return unfold_tensor(images, layout)
    pixels = array("unfold", "images", images)
    if pixels.array.ndim != 4 or pixels.array.shape[1:] != layout.shape:
        raise InputError(
            f"unfold: images must have shape (n_samples, {', '.join(map(str, layout.shape))}), got {pixels.array.shape}"
        )
    n = pixels.array.shape[0]
    flat = plain(pixels.array).reshape(n, layout.n_pixels)
    features = np.empty((n, layout.n_features), dtype=flat.dtype)
    _core.unfold(flat, layout.slots, features, threads_argument("unfold", threads))
    if pixels.torch:
        return to_torch(features, pixels.bfloat16)
    return features.view(images.dtype) if pixels.bfloat16 else features
