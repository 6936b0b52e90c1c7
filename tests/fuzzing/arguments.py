"""Arguments of calls: the arrays in them, what these hold, how they are told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse

from fuzzing.calls import Random
from pixfold.ops import AttributionAccumulator

GUARD = 64


def arrays_in(value: Any) -> Iterator[np.ndarray]:
    """Every array that a call could write to."""
    if isinstance(value, np.ndarray):
        yield value
    elif scipy.sparse.issparse(value):
        for part in ("data", "indices", "indptr", "row", "col"):
            yield from arrays_in(getattr(value, part, None))
    elif isinstance(value, list):
        for item in value:
            yield from arrays_in(item)
    elif isinstance(value, AttributionAccumulator):
        result = value.result()
        yield from (result.count, result.mean, result.m2, result.mean_abs)


def content(value: Any) -> list[bytes]:
    """Copy what is in them; arrays of objects and those that only pretend to be large are left out."""
    return [a.tobytes() for a in arrays_in(value) if not a.dtype.hasobject and a.size < 2**24]


def is_enormous(arguments: dict[str, Any]) -> bool:
    """Whether a call may run out of memory: an array that only pretends to be large, or a large number."""
    numbers = (value for value in arguments.values() if isinstance(value, int | np.integer))
    return any(a.size >= 2**31 for value in arguments.values() for a in arrays_in(value)) or any(
        number >= 2**31 - 1 for number in numbers
    )


def told(value: Any) -> str:
    """Describe an argument in a line."""
    if isinstance(value, np.ndarray):
        shown = f" {value.tolist()}" if value.size <= 6 else ""
        flags = "" if value.flags.aligned and value.flags.writeable else f" {value.flags.num:#x}"
        return f"array({value.dtype}, shape {value.shape}, strides {value.strides}{flags}{shown})"
    if scipy.sparse.issparse(value):
        parts = ", ".join(told(a) for a in arrays_in(value))
        return f"{type(value).__name__}({value.shape}: {parts})"
    text = repr(value)
    return text if len(text) < 200 else text[:200] + "..."


def guarded(rng: Random, value: Any, guards: list[np.ndarray]) -> Any:
    """The same numbers in other memory: of exactly their size, or between bytes that are looked at afterwards."""
    if not isinstance(value, np.ndarray) or value.dtype.hasobject:
        return value
    if rng.random() < 0.5:
        return np.copy(value, order="K")
    memory = np.full(value.nbytes + 2 * GUARD, 0xA5, dtype=np.uint8)
    copy = memory[GUARD : GUARD + value.nbytes].view(value.dtype).reshape(value.shape)
    copy[...] = value
    copy.setflags(write=value.flags.writeable)
    guards.append(memory)
    return copy
