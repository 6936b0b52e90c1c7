"""Checks of the arguments that FoldLoader and DeviceDataset share, made before a sample is read."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pixfold.arrays.dense import layout_argument
from pixfold.errors import InputError
from pixfold.formula import Fitted
from pixfold.layout import Layout
from pixfold.ops import formula_arguments
from pixfold.ops.fold import dtype_name
from pixfold.ops.formula_arguments import formula_of
from pixfold.util.text import must_be, short_repr

Int64Array = NDArray[np.int64]


def check_formula(op: str, layout: Layout, normalizer: Fitted | None) -> None:
    """Refuse a layout or normaliser that is none, and a normaliser that is not fitted on the layout's features."""
    layout_argument(op, layout)
    try:
        formula = formula_of(op, normalizer)
    except InputError:
        raise InputError(must_be(op, "normalizer", "fitted (call its fit first)", normalizer)) from None
    if formula is not None:
        formula_arguments.check_features(op, formula, layout)


def check_features(op: str, argument: str, n_features: int, layout: Layout) -> None:
    """Refuse samples of another number of features than the layout's."""
    if n_features != layout.n_features:
        raise InputError(f"{op}: {argument} must have the layout's {layout.n_features} features, got {n_features}")


def image_dtype(op: str, dtype: Any) -> str:
    """Name of an element type that images can have."""
    try:
        return dtype_name(dtype)
    except InputError as error:
        raise InputError(str(error).replace("fold:", f"{op}:", 1)) from None


def device_of(op: str, device: Any) -> torch.device:
    """Return the device that a name or a number stands for."""
    try:
        return torch.device(device)
    except (RuntimeError, TypeError):
        raise InputError(must_be(op, "device", "a torch device, such as 'cpu' or 'cuda:0'", device)) from None


def positions_of(op: str, argument: str, values: Any, n_samples: int) -> Int64Array:
    """Return positions of samples as int64: in any order, repeated or not."""
    found = _integers(values)
    if found is None or found.ndim != 1:
        raise InputError(must_be(op, argument, "1-D integers, the positions of samples", values))
    if found.size and not 0 <= found.min() <= found.max() < n_samples:
        raise InputError(f"{op}: {argument} must be in [0, {n_samples}), got {found.min()} to {found.max()}")
    return found.astype(np.int64)


def labels_of(op: str, labels: Any, n_samples: int) -> Int64Array:
    """Return classes of samples as int64."""
    found = _integers(labels)
    if found is None or found.shape != (n_samples,):
        shape = "" if found is None else f" of shape {found.shape}"
        raise InputError(f"{op}: labels must be {n_samples} integers, one per sample, got {short_repr(labels)}{shape}")
    return found.astype(np.int64)


def _integers(values: Any) -> NDArray[Any] | None:
    try:
        found = np.asarray(values.cpu() if isinstance(values, torch.Tensor) else values)
    except (ValueError, TypeError, RuntimeError):  # rows of different lengths, what is no array at all
        return None
    # NumPy reads [] as floats.
    return found if found.dtype.kind in "iu" or found.size == 0 else None
