"""The adjoints of fold and unfold; :mod:`pixfold.ops.torch` makes torch's autograd call them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pixfold import _core
from pixfold.arrays.dense import (
    Array,
    Dense,
    array,
    is_on_cuda,
    layout_argument,
    plain,
    threads_argument,
    to_torch,
)
from pixfold.errors import InputError
from pixfold.ops.formula_arguments import check_features, formula_of, row_scale, slot_parameters

if TYPE_CHECKING:
    from pixfold.formula import Fitted
    from pixfold.layout import Layout


def fold_gradient(
    gradient: Any, X: Any, layout: Layout, normalizer: Fitted | None = None, *, threads: int | None = None
) -> Any:
    """Turn a gradient with respect to images into the one with respect to the samples that they were folded from.

    Parameters
    ----------
    gradient : array (n_samples, channels, height, width)
        NumPy array or torch tensor, float32, float16 or bfloat16; where `X` is.
    X : array (n_samples, n_features)
        What was folded: a dense array of floats, any strides, on the CPU or a CUDA device.
    layout : Layout
        As for the fold.
    normalizer : Normalizer, optional
        As for the fold.
    threads : int, optional
        The result's bits do not depend on it.

    Returns
    -------
    array (n_samples, n_features)
        In the dtype and kind of `X`. 0 for values that do not move their pixel: missing ones, clipped ones, features
        without a pixel. With a library size the derivative of each sample's sum is part of it.

    Raises
    ------
    InputError
        A wrong shape or dtype, a normaliser that does not fit. It is a ValueError.
    TypeError
        A layout or a normaliser that is none, arrays that are no numbers.
    BackendError
        `X` is on a device for which this build has no kernels, or which they do not run on.
    """
    op = "fold_gradient"
    layout_argument(op, layout)
    formula = formula_of(op, normalizer)
    n_threads = threads_argument(op, threads)
    if is_on_cuda(X):
        from pixfold.ops.cuda.gradients import fold_gradient_tensor

        return fold_gradient_tensor(gradient, X, layout, formula)
    x = array(op, "X", X)
    if len(x.shape) != 2 or x.shape[1] != layout.n_features:
        raise InputError(f"{op}: X must have shape (n_samples, {layout.n_features}), got {x.shape}")
    images = array(op, "gradient", gradient)
    if images.shape != (x.shape[0], *layout.shape):
        raise InputError(f"{op}: gradient must have shape {(x.shape[0], *layout.shape)}, got {images.shape}")
    parameters, row_scales, library_size = None, None, 0.0
    if formula is not None:
        check_features(op, formula, layout)
        in_double = _core.computes_in_double(x.array, x.bfloat16)
        parameters = slot_parameters(formula, layout, in_double=in_double)
        row_scales = row_scale(formula, x, n_threads)
        library_size = formula.library_size or 0.0
    out: Array = np.empty(x.shape, dtype=x.dtype)
    flat = plain(images.array).reshape(x.shape[0], layout.n_pixels)
    _core.fold_gradient(
        x.array,
        x.bfloat16,
        layout.slots,
        parameters,
        row_scales,
        library_size,
        flat,
        images.bfloat16,
        out,
        n_threads,
    )
    return _like(x, X, out)


def unfold_gradient(gradient: Any, layout: Layout, *, threads: int | None = None) -> Any:
    """Turn a gradient with respect to what unfold gave into the one with respect to the images.

    Parameters
    ----------
    gradient : array (n_samples, n_features)
        NumPy array or torch tensor of floats, on the CPU or a CUDA device.
    layout : Layout
        As for the unfold.
    threads : int, optional
        The result's bits do not depend on it.

    Returns
    -------
    array (n_samples, channels, height, width)
        In the dtype and kind of `gradient`: the sum over the features of each pixel, 0 for padding.

    Raises
    ------
    InputError
        A wrong shape or dtype. It is a ValueError.
    TypeError
        A layout that is none, an array that is no numbers.
    BackendError
        `gradient` is on a device for which this build has no kernels, or which they do not run on.
    """
    op = "unfold_gradient"
    layout_argument(op, layout)
    n_threads = threads_argument(op, threads)
    if is_on_cuda(gradient):
        from pixfold.ops.cuda.gradients import unfold_gradient_tensor

        return unfold_gradient_tensor(gradient, layout)
    values = array(op, "gradient", gradient)
    if len(values.shape) != 2 or values.shape[1] != layout.n_features:
        raise InputError(f"{op}: gradient must have shape (n_samples, {layout.n_features}), got {values.shape}")
    out: Array = np.empty((values.shape[0], *layout.shape), dtype=values.dtype)
    flat = out.reshape(values.shape[0], layout.n_pixels)
    _core.unfold_gradient(plain(values.array), values.bfloat16, layout.slots, flat, n_threads)
    return _like(values, gradient, out)


def _like(given: Dense, caller: Any, out: Array) -> Any:
    """Give the result in the caller's kind of array."""
    if given.torch:
        return to_torch(out, given.bfloat16)
    return out.view(caller.dtype) if given.bfloat16 else out
