"""Any value as JSON can hold it, and JSON that others may have written."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    """Convert a value for JSON: NumPy types to Python's, NaN and infinity to None, other objects to text."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((plain(item) for item in value), key=str)
    if isinstance(value, list | tuple | range):
        return [plain(item) for item in value]
    return str(value)


def parsed(text: str, *, finite: bool = True) -> Any:
    """Read JSON that others may have made.

    Raises
    ------
    ValueError
        For what is no JSON, names a key twice, nests too deeply, or, where `finite` is set, holds NaN or infinity.
    """

    def refused(constant: str) -> float:
        raise ValueError(f"{constant} is no JSON")

    def number(text: str) -> float:
        value = float(text)
        if finite and value - value != 0:
            raise ValueError(f"the number {text[:20]} is too large")
        return value

    try:
        return json.loads(
            text,
            object_pairs_hook=_without_repeats,
            parse_float=number,
            parse_constant=refused if finite else None,
        )
    except RecursionError:
        raise ValueError("lists and objects that are nested too deeply") from None


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:40]!r} twice in one object")
    return found


def written(value: Any) -> str:
    """Write plain values as JSON, every float with all its digits; arrays become lists, NaN stays."""
    return json.dumps(value, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"no JSON for a {type(value).__name__}")
