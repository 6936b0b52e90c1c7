"""fold of packed genotypes: what the four codes become at each pixel is worked out once, the rest is looking up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pixfold import _core
from pixfold.arrays.dense import Array, Packed

if TYPE_CHECKING:
    from pixfold.layout import Layout
    from pixfold.normalize.normalizer import Normalizer

_DENSE_BYTES = 1 << 24


def fold_packed(
    x: Packed, layout: Layout, normalizer: Normalizer | None, dtype: str, images: Array, threads: int
) -> None:
    """Write the images of `x` into `images` (uint16 bits for bfloat16), or raise before anything is written."""
    genotypes = x.genotypes
    parameters = None
    if normalizer is not None:
        normalizer.row_scale(x)  # refuses a library size
        parameters = normalizer.slot_parameters(layout, in_double=False)
        if normalizer.refuses(1, 0) and _core.any_missing_packed(x.bits, x.shape[1], threads):
            normalizer.check(genotypes, layout, threads=threads or None)
    if layout.is_one_to_one:
        values = genotypes.code_values()
        if normalizer is None:
            table = packed_table(layout, parameters, values, dtype)
        else:
            table = normalizer.packed_table(layout, values, dtype)
        _core.fold_packed(x.bits, table, images, threads)
        return
    # Pixels that average their features are made from dense rows, a few at a time.
    rows = max(1, _DENSE_BYTES // (4 * layout.n_features))
    for start in range(0, len(genotypes), rows):
        part = slice(start, start + rows)
        dense = genotypes[part].toarray(np.float32, threads=threads or None)
        _core.fold_dense(dense, False, layout.slots, parameters, None, images[part], dtype == "bfloat16", threads)


def packed_table(layout: Layout, parameters: Any, values: Array, dtype: str) -> _core.PackedTable:
    """Work out what each of the four codes, which stand for `values`, becomes at each pixel of a 1:1 layout."""
    return _core.PackedTable(layout.slots, parameters, values, dtype, 0)
