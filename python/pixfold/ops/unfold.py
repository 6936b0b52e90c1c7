"""unfold: bring every pixel back to its feature."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pixfold.arrays.entry import goes_through_torch
from pixfold.ops.fold_samples import unfold_images
from pixfold.util.arguments import threads_argument

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

    Examples
    --------
    >>> import numpy as np
    >>> import pixfold as pf
    >>> layout = pf.Layout.natural(3)
    >>> pf.unfold(np.array([[[[7, 8], [9, 0]]]]), layout).tolist()
    [[7, 8, 9]]
    """
    if goes_through_torch(images):
        from pixfold.ops.torch import unfold_tensor

        return unfold_tensor(images, layout, threads)
    return unfold_images(images, layout, threads_argument("unfold", threads))
