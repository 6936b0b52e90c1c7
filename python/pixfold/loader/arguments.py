"""Checks of the arguments that FoldLoader and DeviceDataset share, made before a sample is read."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pixfold.arrays.interop import adopted
from pixfold.errors import InputError
from pixfold.formula import Fitted
from pixfold.layout import Layout
from pixfold.ops import arguments
from pixfold.ops.arguments import dtype_name, formula_of, layout_argument
from pixfold.util.text import must_be


def check_formula(op: str, layout: Layout, normalizer: Fitted | None) -> None:
    """Refuse a layout or normaliser that is none, and a normaliser that is not fitted on the layout's features."""
    layout_argument(op, layout)
    try:
        formula = formula_of(op, normalizer)
    except InputError:
        raise InputError(must_be(op, "normalizer", "fitted (call its fit first)", normalizer)) from None
    if formula is not None:
        arguments.check_features(op, formula, layout)


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


def labels_of(op: str, labels: Any, n_samples: int) -> NDArray[np.int64]:
    """Return classes of samples as int64."""
    found = adopted(op, "labels", labels)[0]
    found = np.asarray(found.cpu() if isinstance(found, torch.Tensor) else found)
    # NumPy reads [] as floats.
    if found.shape != (n_samples,) or (found.dtype.kind not in "iu" and n_samples):
        raise InputError(
            f"{op}: labels must be {n_samples} integers, one per sample, got {found.dtype} of shape {found.shape}"
        )
    return found.astype(np.int64)
