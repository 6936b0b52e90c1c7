"""Sizes in bytes, as users write them and messages show them."""

from __future__ import annotations

import re

import numpy as np

from pixfold.errors import InputError
from pixfold.util.text import counted, must_be

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]i?|)b?\s*", re.IGNORECASE)


def bytes_of(op: str, size: object) -> int:
    """Read the argument `memory` of a function.

    Parameters
    ----------
    op : str
        The function, for the message.
    size : int or str
        Bytes, or a number with a unit: ``"500MB"``, ``"1.5 GB"`` (powers of ten), ``"512MiB"``, ``"2GiB"`` (of two).

    Returns
    -------
    int
        Bytes.

    Raises
    ------
    InputError
        For anything that is no positive size.
    """
    found: float = -1
    if isinstance(size, str):
        match = _SIZE.fullmatch(size)
        if match:
            found = float(match[1]) * _UNITS[match[2].lower()]
    elif isinstance(size, int | np.integer) and not isinstance(size, bool):
        found = int(size)
    if not 1 <= found < 2**63:
        raise InputError(must_be(op, "memory", "a size such as '500MB', '1GB', '2GiB' or a number of bytes", size))
    return int(found)


def in_words(n_bytes: float) -> str:
    """Bytes for a message: ``1.4 GB``."""
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if n_bytes >= scale:
            return f"{n_bytes / scale:,.3g} {unit}" if n_bytes < 1000 * scale else f"{n_bytes / scale:,.0f} {unit}"
    return counted(int(n_bytes), "byte")
