"""fold of packed genotypes: what the four codes become at each pixel is worked out once, the rest is looking up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pixfold import _core
from pixfold.arrays.packed import Packed
from pixfold.ops.formula_arguments import packed_table, row_scale, slot_parameters
from pixfold.ops.refusals import check_values

if TYPE_CHECKING:
    from pixfold.formula import Formula
    from pixfold.layout import Layout

_DENSE_BYTES = 1 << 24


def fold_packed(x: Packed, layout: Layout, formula: Formula | None, dtype: str, images: Any, threads: int) -> None:
    """Write the images of `x` into `images`, or raise before anything is written."""
    genotypes = x.genotypes
    parameters = None
    if formula is not None:
        row_scale(formula, x)  # refuses a library size
        parameters = slot_parameters(formula, layout, in_double=False)
        if not formula.accepted.missing and _core.any_missing_packed(x.bits, x.shape[1], threads):
            check_values(x, layout, formula.accepted, threads=threads or None)
    if layout.is_one_to_one:
        table = packed_table(formula, layout, genotypes.code_values(), dtype)
        _core.fold_packed(x.bits, table, images, threads)
        return
    # Pixels that average their features are made from dense rows, a few at a time.
    rows = max(1, _DENSE_BYTES // (4 * layout.n_features))
    for start in range(0, len(genotypes), rows):
        part = slice(start, start + rows)
        dense = genotypes[part].toarray(np.float32, threads=threads or None)
        _core.fold_dense(dense, layout.slots, parameters, None, images[part], threads)
