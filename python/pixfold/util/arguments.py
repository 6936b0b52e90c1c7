"""Arguments that many functions take: read once, or refused in the one grammar of messages."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.util.text import must_be


def flag_argument(op: str, argument: str, value: object) -> bool:
    """Read a bool, and nothing that only behaves like one."""
    if not isinstance(value, bool | np.bool_):
        raise InputError(must_be(op, argument, "True or False", value))
    return bool(value)


def count_argument(op: str, argument: str, value: object, least: int = 1) -> int:
    """Read a whole number of at least `least` (1 or 0)."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise InputError(must_be(op, argument, f"a {'positive' if least else 'non-negative'} integer", value))
    return int(value)


def threads_argument(op: str, threads: int | None) -> int:
    """Read how many threads the kernels may use: 0 stands for their default."""
    if threads is None:
        return 0
    if isinstance(threads, bool) or not isinstance(threads, int | np.integer) or not 1 <= threads < 2**31:
        raise InputError(must_be(op, "threads", "a positive integer or None", threads))
    return int(threads)


def as_array(op: str, argument: str, x: Any) -> NDArray[Any]:
    """Read `x` as NumPy does, or raise one error that names the argument."""
    try:
        return np.asarray(x)
    except (ValueError, TypeError, RuntimeError) as error:  # RuntimeError: torch's tensors that require a gradient
        raise InputError(f"{op}: {argument} must be an array of numbers, got {type(x).__name__} ({error})") from error
