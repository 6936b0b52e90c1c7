"""Plans: a layout and a fitted normaliser as one immutable thing with a name that torch's graphs can hold.

torch.library passes tensors, numbers and strings to an op, and a compiled graph keeps them as constants. A plan's
handle is such a string: a digest of everything that decides what a fold gives. The same layout and parameters have the
same handle in every process, so a graph that was saved or cached never means another plan; and what a kernel reads is
always a plan that was checked when it was made, never a number from a graph.
"""

from __future__ import annotations

import hashlib
import threading
import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.arrays.dense import layout_argument
from pixfold.errors import InputError
from pixfold.formula import Fitted, Formula
from pixfold.layout import Layout
from pixfold.ops.formula_arguments import check_features, formula_of

_alive: weakref.WeakValueDictionary[str, Plan] = weakref.WeakValueDictionary()
_lock = threading.Lock()


class Plan:
    """A layout and, if there is one, a fitted normaliser as it was when the plan was made.

    Attributes
    ----------
    layout : Layout
        Equal to the caller's, over the same arrays.
    formula : Formula or None
        Fitting the normaliser again gives it another one, and changes nothing here.
    handle : str
        What :func:`plan_named` finds the plan by, as long as something refers to it.
    """

    __slots__ = ("__weakref__", "formula", "handle", "layout")

    def __init__(self, layout: Layout, formula: Formula | None, handle: str) -> None:
        self.layout = layout
        self.formula = formula
        self.handle = handle

    def __repr__(self) -> str:
        return f"Plan({self.layout!r}, {self.formula!r})"


def plan_of(layout: Layout, normalizer: Fitted | None = None) -> Plan:
    """Give the plan of a layout and a normaliser, made on first use.

    It lives as long as the two do and the normaliser is not fitted again, or longer where something refers to it.

    Raises
    ------
    InputError
        When the normaliser is not fitted, or fitted on another number of features.
    TypeError
        When `layout` is no layout or `normalizer` no normaliser.
    """
    layout_argument("fold", layout)
    formula = formula_of("fold", normalizer)
    # On the layout itself: a table of layouts would have to compare their indices at every look.
    plans: dict[str, Any] = layout.__dict__.setdefault("_plans", {})
    if formula is None:
        plain: Plan = plans.get("plain") or plans.setdefault("plain", _made(layout, None))
        return plain
    fitted: weakref.WeakKeyDictionary[Formula, Plan]
    fitted = plans.get("fitted") or plans.setdefault("fitted", weakref.WeakKeyDictionary())
    found = fitted.get(formula)
    if found is None:
        found = fitted[formula] = _made(layout, formula)
    return found


def plan_named(op: str, handle: str) -> Plan:
    """Find a plan that is alive.

    Raises
    ------
    InputError
        When no plan of this handle is alive in this process.
    """
    plan = _alive.get(handle)
    if plan is None:
        raise InputError(
            f"{op}: plan must be the handle of a layout and a normaliser that are alive in this process, got "
            f"{handle!r}; keep them (or the pixfold.Fold that holds them) as long as what was made with them"
        )
    return plan


def _made(layout: Layout, formula: Formula | None) -> Plan:
    if formula is not None:
        check_features("fold", formula, layout)
    handle = _digest(layout, formula)
    with _lock:
        plan = _alive.get(handle)
        if plan is None:
            plan = _alive[handle] = Plan(_twin(layout), formula, handle)
    return plan


def _twin(layout: Layout) -> Layout:
    """Give the same layout over the same arrays: a plan that held its own owner would keep both alive."""
    _ = layout.slots  # worked out once for both
    twin = object.__new__(Layout)
    twin.__dict__.update((name, value) for name, value in layout.__dict__.items() if name != "_plans")
    return twin


def _digest(layout: Layout, formula: Formula | None) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name, values in sorted(layout.state().items()):
        _add(digest, name, values)
    if formula is not None:
        for name, values in formula.arrays().items():
            _add(digest, name, values)
        settings = (formula.log, formula.library_size, formula.lo, formula.hi, formula.clip_below_zero)
        digest.update(repr((settings, formula.accepted)).encode())  # whose feature names are those of messages
    return digest.hexdigest()


def _add(digest: hashlib.blake2b, name: str, values: NDArray[Any]) -> None:
    digest.update(f"{name} {values.dtype} {values.shape} ".encode())
    digest.update(np.ascontiguousarray(values).data)
