"""The adjoints of fold and unfold; :mod:`pixfold.ops.torch` makes torch's autograd call them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pixfold import _core
from pixfold.arrays.cuda import OnCuda
from pixfold.arrays.dense import Dense, computes_in_double, type_name
from pixfold.arrays.entry import numbers
from pixfold.errors import InputError
from pixfold.ops.arguments import IMAGE_TYPES, check_features, formula_of, layout_argument
from pixfold.ops.cuda import gradients as cuda
from pixfold.ops.formula_arguments import row_scale, slot_parameters
from pixfold.util.arguments import threads_argument

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
    x = _floats(op, "X", X, (*IMAGE_TYPES, "float64"))
    if len(x.shape) != 2 or x.shape[1] != layout.n_features:
        raise InputError(f"{op}: X must have shape (n_samples, {layout.n_features}), got {x.shape}")
    images = _floats(op, "gradient", gradient, IMAGE_TYPES)
    if images.shape != (x.shape[0], *layout.shape) or type(images) is not type(x):
        raise InputError(
            f"{op}: gradient must have shape {(x.shape[0], *layout.shape)} and be where X is, got {images.shape} on "
            f"{'a CUDA device' if isinstance(images, OnCuda) else 'the CPU'}"
        )
    if isinstance(x, OnCuda) and isinstance(images, OnCuda):
        return x.library.give(op, cuda.fold_gradient_on_cuda(images, x, layout, formula))
    parameters, scales, library_size = None, None, 0.0
    if formula is not None:
        check_features(op, formula, layout)
        parameters = slot_parameters(formula, layout, in_double=computes_in_double(x.dtype))
        scales = row_scale(formula, x, n_threads)
        library_size = formula.library_size or 0.0
    out, pixels = x.empty(x.shape), images.contiguous(images.shape)
    _core.fold_gradient(x.array, layout.slots, parameters, scales, library_size, pixels, out, n_threads)
    return x.give(op, out)


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
    features = _floats(op, "gradient", gradient, (*IMAGE_TYPES, "float64"))
    if len(features.shape) != 2 or features.shape[1] != layout.n_features:
        raise InputError(f"{op}: gradient must have shape (n_samples, {layout.n_features}), got {features.shape}")
    if isinstance(features, OnCuda):
        return features.library.give(op, cuda.unfold_gradient_on_cuda(features, layout))
    out = features.empty((features.shape[0], *layout.shape))
    _core.unfold_gradient(features.contiguous(features.shape), layout.slots, out, n_threads)
    return features.give(op, out)


def _floats(op: str, argument: str, x: Any, types: tuple[str, ...]) -> Any:
    """Read a dense array of one of the element types."""
    found = numbers(op, argument, x)
    name = type_name(found.array.dtype if isinstance(found, Dense) else found.tensor.dtype)
    if name not in types:
        raise InputError(f"{op}: {argument} must be {', '.join(types[:-1])} or {types[-1]}, got {name}")
    return found
