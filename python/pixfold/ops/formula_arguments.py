"""A fitted formula as the CPU kernels take it."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pixfold import _core
from pixfold.arrays.entry import Samples
from pixfold.arrays.packed import Packed
from pixfold.errors import InputError
from pixfold.formula import Formula
from pixfold.layout import Layout
from pixfold.ops.arguments import check_features
from pixfold.ops.stats import row_sums

_Made = TypeVar("_Made")

# Of each formula: what was made for the layout that it was last used with, by what it is.
_made: weakref.WeakKeyDictionary[Formula, dict[Any, tuple[weakref.ref[Layout], Any]]] = weakref.WeakKeyDictionary()


def slot_parameters(formula: Formula, layout: Layout, *, in_double: bool) -> _core.Parameters:
    """Give the formula to the kernels: arrays in the order in which `layout` walks its features.

    Raises
    ------
    InputError
        When the formula was fitted on another number of features than the layout's.
    """
    check_features("fold", formula, layout)
    return _kept(formula, layout, in_double, lambda: _slot_parameters(formula, layout, in_double))


def packed_table(formula: Formula | None, layout: Layout, values: NDArray[np.float32], dtype: str) -> _core.PackedTable:
    """Work out what each code of a packed genotype becomes at each pixel of a 1:1 layout, in the fold's output type.

    `values` are what codes 0 to 3 stand for.
    """
    if formula is None:
        return _core.PackedTable(layout.slots, None, values, dtype, 0)

    def make() -> _core.PackedTable:
        return _core.PackedTable(layout.slots, slot_parameters(formula, layout, in_double=False), values, dtype, 0)

    return _kept(formula, layout, (dtype, values.tobytes()), make)


def row_scale(formula: Formula, x: Samples, threads: int = 0) -> NDArray[np.float64] | None:
    """library_size over each sample's sum (0 for a sum of 0), None without a library size."""
    return row_scale_to(formula.library_size, x, threads)


def row_scale_to(library_size: float | None, x: Samples, threads: int = 0) -> NDArray[np.float64] | None:
    """Scale each sample of `x` to a library size: :func:`row_scale` before there is a formula."""
    if library_size is None:
        return None
    if isinstance(x, Packed):
        raise InputError(
            "Normalizer: packed genotypes cannot be scaled to a library size, which would make every sample's "
            "values its own: pass X.toarray()"
        )
    sums = row_sums(x, threads)
    return np.divide(library_size, sums, out=np.zeros(sums.size), where=sums > 0)


def _slot_parameters(formula: Formula, layout: Layout, in_double: bool) -> _core.Parameters:
    kind = np.float64 if in_double else np.float32
    # What does nothing is not read once per value.
    offsets = formula.offset if formula.offset.any() else None
    plain = not formula.shift.any() and bool(np.all(formula.scale == 1.0))
    arrays = (offsets, *((None, None) if plain else (formula.shift, formula.scale)), formula.fill)
    offset, shift, scale, fill = (
        None if values is None else np.ascontiguousarray(values[layout.slot_feature], dtype=kind) for values in arrays
    )
    return _core.Parameters(formula.log, formula.clip_below_zero, offset, shift, scale, fill, formula.lo, formula.hi)


def _kept(formula: Formula, layout: Layout, key: Any, make: Callable[[], _Made]) -> _Made:
    """Give what `make` made for this formula, layout and key, now or before; of each key, for the last layout alone."""
    kept = _made.setdefault(formula, {})
    found = kept.get(key)
    if found is not None and found[0]() is layout:
        before: _Made = found[1]
        return before
    made = make()
    kept[key] = (weakref.ref(layout), made)
    return made
