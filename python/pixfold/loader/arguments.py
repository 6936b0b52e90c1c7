"""Checks of the arguments that FoldLoader and DeviceDataset share, made before a sample is read."""

from __future__ import annotations

from collections.abc import Mapping
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
from pixfold.util.checks import check_all, switch, whole_number
from pixfold.util.text import must_be, one_of

_SHARES = ("samples", "batches")
_SHUFFLES = (True, False, "full", "block", "auto")
_OF_ORDER = {
    "batch_size": whole_number(1),
    "seed": whole_number(0),
    "check_finite": switch,
    "prefetch": whole_number(0, optional=True),
    "rank": whole_number(0, optional=True),
    "world_size": whole_number(1, optional=True),
}


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


def check_order(given: Mapping[str, Any], shuffle: Any, share: Any) -> None:
    """Check what the order of a FoldLoader's batches depends on."""
    check_all("FoldLoader", _OF_ORDER, given)
    if not any(shuffle is known or (isinstance(known, str) and shuffle == known) for known in _SHUFFLES):
        raise InputError(must_be("FoldLoader", "shuffle", one_of(map(repr, _SHUFFLES)), shuffle))
    if share not in _SHARES:
        raise InputError(must_be("FoldLoader", "share", one_of(map(repr, _SHARES)), share))


def place_of(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """Rank and number of ranks, from torch.distributed where they are not given."""
    if (rank is None) != (world_size is None):
        raise InputError(f"FoldLoader: rank and world_size must be given together, got {rank} and {world_size}")
    if rank is not None and world_size is not None:
        return int(rank), int(world_size)
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1
