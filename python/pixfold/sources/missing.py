"""Which labels, and other values about samples, are missing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


def missing_labels(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Tell which labels are None, NaN, NaT, ``pandas.NA`` or blank text."""
    if labels.dtype.kind in "biu":
        return np.zeros(len(labels), dtype=bool)
    if labels.dtype.kind == "f":
        return np.asarray(np.isnan(labels))
    return np.asarray([_is_missing(value) for value in labels.tolist()], dtype=np.bool_)


def _is_missing(value: Any) -> bool:
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return not value.strip() if isinstance(value, str) else isinstance(value, float) and math.isnan(value)
