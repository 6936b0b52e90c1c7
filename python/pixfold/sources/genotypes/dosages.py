"""Dosages at a byte each, as packed stores hold them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# 0, 1 and 2 copies are 0, 127 and 254: exact, and every other dosage is less than 0.004 away from its byte.
_STEPS = 127
_MISSING = 255
_VALUES = np.append(np.arange(_MISSING) / _STEPS, np.nan).astype(np.float32)


def to_bytes(dosages: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Round dosages between 0 and 2 to steps of 1/127; missing ones (NaN) are 255."""
    steps = np.rint(dosages * np.float32(_STEPS))
    np.clip(steps, 0, _MISSING - 1, out=steps)
    np.nan_to_num(steps, copy=False, nan=_MISSING)
    found: NDArray[np.uint8] = steps.astype(np.uint8)
    return found


def from_bytes(values: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the dosages of bytes, float32 with NaN for missing ones."""
    found: NDArray[np.float32] = np.take(_VALUES, values)
    return found
