"""Arguments that several ops share: layouts, fitted formulas, element types of images."""

from __future__ import annotations

from typing import Any

import numpy as np

from pixfold.errors import BackendError, InputError
from pixfold.formula import Fitted, Formula
from pixfold.layout import Layout
from pixfold.util.text import must_be, one_of

IMAGE_TYPES = ("float32", "float16", "bfloat16")


def layout_argument(op: str, layout: object) -> None:
    """Refuse what is no layout (a normaliser in its place, say) before an attribute of it is missed."""
    if not isinstance(layout, Layout):
        raise TypeError(f"{op}: layout must be a Layout, got {type(layout).__name__}")


def formula_of(op: str, normalizer: object) -> Formula | None:
    """Give the fitted formula of the argument `normalizer`, None for None.

    Raises
    ------
    TypeError
        When it is neither a normaliser nor None.
    InputError
        When it is not fitted.
    """
    if normalizer is None:
        return None
    if not isinstance(normalizer, Fitted):
        raise TypeError(f"{op}: normalizer must be a Normalizer or None, got {type(normalizer).__name__}")
    return normalizer.parameters()


def check_features(op: str, formula: Formula, layout: Layout) -> None:
    """Refuse a formula that was fitted on another number of features than the layout's."""
    if formula.n_features != layout.n_features:
        raise InputError(
            f"{op}: normalizer must be fitted on the layout's {layout.n_features} features, got {formula.n_features}"
        )


def dtype_name(dtype: Any) -> str:
    """Name of an element type that images can have."""
    name = _name_of(dtype)
    if name not in IMAGE_TYPES:
        raise InputError(must_be("fold", "dtype", one_of(IMAGE_TYPES), dtype))
    return name


def _name_of(dtype: Any) -> str:
    if isinstance(dtype, str) and dtype in IMAGE_TYPES:
        return dtype
    if type(dtype).__module__ == "torch":
        return str(dtype).removeprefix("torch.")
    try:
        return str(np.dtype(dtype).name)
    except (TypeError, ValueError, DeprecationWarning):  # whatever NumPy makes of something that is no dtype
        return ""


def image_dtype(name: str) -> np.dtype[Any]:
    """NumPy's element type of that name; bfloat16 is that of ml_dtypes."""
    if name != "bfloat16":
        return np.dtype(name)
    try:
        import ml_dtypes
    except ImportError as error:
        raise BackendError(
            "fold: NumPy has no bfloat16 of its own: pip install ml_dtypes, pass a torch tensor, or use float16"
        ) from error
    bfloat16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return bfloat16
