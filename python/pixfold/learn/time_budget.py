"""A budget of time, as a user writes it."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from pixfold.errors import InputError
from pixfold.util.text import must_be

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def seconds_of(op: str, name: str, value: Any) -> float | None:
    """Give the seconds of a budget such as 90, ``"90s"``, ``"10m"`` or ``"2h"``; None stays None.

    Raises
    ------
    InputError
        For anything else; the message names who asked and the option.
    """
    if value is None:
        return None
    if (
        isinstance(value, int | float | np.integer | np.floating)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and value > 0
    ):
        return float(value)
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", value.lower()) if isinstance(value, str) else None
    if found and found[2] in _UNITS and float(found[1]) > 0:
        return float(found[1]) * _UNITS[found[2]]
    raise InputError(must_be(op, name, "seconds above 0, or a text such as '90s', '10m' or '2h'", value))
