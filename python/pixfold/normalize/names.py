"""The names of features that a normaliser is given, and the features that it is told to keep."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pixfold.errors import InputError
from pixfold.util.text import must_be, short_repr


def names_of(op: str, given: object, X: Any = None) -> list[str] | None:
    """Check the argument `feature_names`; where it is None, take the names that a DataFrame brings."""
    if given is None:
        return [str(name) for name in X.columns] if hasattr(X, "columns") else None
    if isinstance(given, Iterable) and not isinstance(given, str):
        names = list(given)
        if all(isinstance(name, str) for name in names):
            return names
    raise InputError(must_be(op, "feature_names", "a sequence of str or None", given))


def check_same_names(op: str, before: list[str] | None, more: list[str] | None) -> None:
    """Refuse samples whose features have other names than those of before, or another order."""
    if before is None or more is None or len(before) != len(more):  # their counts say that the numbers differ
        return
    for j, (expected, name) in enumerate(zip(before, more, strict=True)):
        if name != expected:
            differ = "in another order" if sorted(before) == sorted(more) else "others"
            raise InputError(
                f"{op}: features must be those of the samples before, in their order, got {differ}: "
                f"number {j} must be {short_repr(expected)}, got {short_repr(name)}"
            )


def kept_features(op: str, keep: ArrayLike | None) -> NDArray[np.bool_] | None:
    """Check the argument `keep`."""
    if keep is None:
        return None
    mask = np.asarray(keep)
    if mask.dtype != np.bool_ or mask.ndim != 1:
        raise InputError(f"{op}: keep must be a bool array (n_features,), got {mask.dtype} of shape {mask.shape}")
    return mask
