"""A layout and a fitted normaliser as one immutable thing with a name that torch's graphs can hold.

torch.library passes tensors, numbers and strings to an op, and a compiled graph keeps them as constants. The name of a
fold is such a string: a digest of everything that decides what a fold gives. The same layout and parameters have the
same name in every process, so a graph that was saved or cached never means another fold; and what a kernel reads is
always a layout that was checked when it was made, never a number from a graph.
"""

from __future__ import annotations

import hashlib
import threading
import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.formula import Fitted, Formula
from pixfold.layout import Layout
from pixfold.ops.arguments import check_features, formula_of, layout_argument
from pixfold.util.identity import KeptWith

_alive: weakref.WeakValueDictionary[str, NamedFold] = weakref.WeakValueDictionary()
_lock = threading.Lock()


class NamedFold:
    """A layout and, if there is one, a fitted normaliser as it was when the name was given.

    Attributes
    ----------
    layout : Layout
        Equal to the caller's, over the same arrays.
    formula : Formula or None
        Fitting the normaliser again gives it another one, and changes nothing here.
    name : str
        What :func:`fold_named` finds it by, as long as something refers to it.
    """

    __slots__ = ("__weakref__", "formula", "layout", "name")

    def __init__(self, layout: Layout, formula: Formula | None, name: str) -> None:
        self.layout = layout
        self.formula = formula
        self.name = name

    def __repr__(self) -> str:
        return f"NamedFold({self.layout!r}, {self.formula!r})"


# Of each layout: what was made of it with each formula, and without one. Beside it stands the formula itself: no other
# has its number meanwhile.
_of_layout: KeptWith[tuple[Formula | None, NamedFold]] = KeptWith(most=4)


def named_fold(layout: Layout, normalizer: Fitted | None = None) -> NamedFold:
    """Give a layout and a normaliser a name, on first use.

    It lives as long as the layout, or longer where something refers to it; of each layout, the last few are kept.

    Raises
    ------
    InputError
        When the normaliser is not fitted, or fitted on another number of features.
    TypeError
        When `layout` is no layout or `normalizer` no normaliser.
    """
    layout_argument("fold", layout)
    formula = formula_of("fold", normalizer)
    return _of_layout.get(layout, id(formula), lambda: (formula, _made(layout, formula)))[1]


def fold_named(op: str, name: str) -> NamedFold:
    """Find a fold by its name.

    Raises
    ------
    InputError
        When none of this name is alive in this process.
    """
    found = _alive.get(name)
    if found is None:
        raise InputError(
            f"{op}: name must be that of a layout and a normaliser that are alive in this process, got {name!r}; keep "
            "them (or the pixfold.Fold that holds them) as long as what was made with them"
        )
    return found


def _made(layout: Layout, formula: Formula | None) -> NamedFold:
    if formula is not None:
        check_features("fold", formula, layout)
    name = _digest(layout, formula)
    with _lock:
        found = _alive.get(name)
        if found is None:
            # Not the layout itself: what is kept with it would keep it alive.
            found = _alive[name] = NamedFold(layout.alias(), formula, name)
    return found


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
