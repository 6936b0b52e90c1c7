"""Checks of options, each written once: they raise InputError in the one grammar of messages, or return."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from pixfold.errors import InputError
from pixfold.util.text import must_be, one_of

# Who refuses, the option's name, its value.
Check = Callable[[str, str, Any], None]


def is_whole(value: Any, least: int) -> bool:
    """Whether a value is an integer of at least ``least``; True and False are none."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value >= least)


def whole_number(least: int, *, below: int | None = None, optional: bool = False) -> Check:
    """Check for an integer of at least ``least``; None passes where the option is optional."""
    expected = "a positive integer" if least == 1 else f"an integer of {least} or more"
    if below is not None:
        expected += f" and below {below}"

    def check(op: str, name: str, value: Any) -> None:
        fits = is_whole(value, least) and (below is None or value < below)
        if not fits and not (optional and value is None):
            raise InputError(must_be(op, name, expected, value))

    return check


def number(*, most: float = math.inf, above_zero: bool = False, signed: bool = False, optional: bool = False) -> Check:
    """Check for a finite number: of 0 or more, above 0, from 0 to ``most``, or of any sign."""
    expected = "a finite number" + ("" if signed else " above 0" if above_zero else " of 0 or more")
    if most < math.inf:
        expected = f"a number above 0, at most {most:g}" if above_zero else f"a number from 0 to {most:g}"

    def check(op: str, name: str, value: Any) -> None:
        numeric = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
        fits = numeric and math.isfinite(value) and (signed or 0 <= value <= most) and not (above_zero and value == 0)
        if not fits and not (optional and value is None):
            raise InputError(must_be(op, name, expected, value))

    return check


def choice(names: Iterable[str]) -> Check:
    """Check for one of some names."""
    known = tuple(names)

    def check(op: str, name: str, value: Any) -> None:
        if not isinstance(value, str) or value not in known:
            raise InputError(must_be(op, name, one_of(known), value))

    return check


def switch(op: str, name: str, value: Any) -> None:
    """Check for True or False."""
    if not isinstance(value, bool | np.bool_):
        raise InputError(must_be(op, name, "True or False", value))


def check_all(op: str, checks: Mapping[str, Check], values: Mapping[str, Any]) -> None:
    """Apply the checks to the values of their names."""
    for name, value in values.items():
        checks[name](op, name, value)
