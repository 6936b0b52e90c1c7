"""What a baseline predicts: the classes of the samples, or a number for each."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.sources.base import check_labels


def target_of(op: str, labels: Any, n_samples: int) -> NDArray[Any]:
    """Check labels: integers from 0 on are classes, floats are quantities.

    Parameters
    ----------
    op : str
        Who asks, for the message.
    labels : array (n_samples,)
        One per sample.
    n_samples : int
        How many there must be.

    Returns
    -------
    int64 or float64 array (n_samples,)

    Raises
    ------
    InputError
        For another number of labels, other types, negative classes, and quantities that are missing or infinite.
    """
    if labels is None:
        raise InputError(f"{op}: labels must be classes or quantities of the samples, got None")
    target = check_labels(op, labels, n_samples)
    if target.dtype.kind in "iu" and target.min(initial=0) >= 0:
        return target.astype(np.int64)
    if target.dtype.kind != "f":
        raise InputError(f"{op}: labels must be classes 0, 1, 2, ... or floats, got {target.dtype}")
    n_odd = int(np.count_nonzero(~np.isfinite(target)))
    if n_odd:
        raise InputError(f"{op}: labels must be finite, got {n_odd:,} that are not")
    return target.astype(np.float64)


def is_quantity(target: NDArray[Any]) -> bool:
    """Whether a checked target holds quantities; classes are integers."""
    return target.dtype.kind == "f"
