"""The samples of a batch, put together from blocks that were read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.genotypes import PackedGenotypes
from pixfold.image_pool import ImagePool
from pixfold.sources.arrays.csr import csr_rows

Int64Array = NDArray[np.int64]


def gather(parts: Sequence[tuple[Any, Int64Array]], pool: ImagePool) -> Any:
    """Put rows of several blocks under each other.

    Parameters
    ----------
    parts : sequence of (block, rows)
        Blocks of one kind (dense, CSR or packed genotypes), and rising positions in each.
    pool : ImagePool
        Where dense rows get their memory from.

    Returns
    -------
    array, CSR or PackedGenotypes
        A view where the rows of a single block follow each other.
    """
    if len(parts) == 1:
        block, rows = parts[0]
        if len(rows) == block.shape[0]:
            return block
        dense = isinstance(block, np.ndarray | PackedGenotypes)
        if dense and rows[-1] - rows[0] == len(rows) - 1:
            return block[int(rows[0]) : int(rows[-1]) + 1]
    first = parts[0][0]
    if isinstance(first, PackedGenotypes):
        bits = _rows([(block.bits, rows) for block, rows in parts], pool)
        return PackedGenotypes(bits, first.n_features, count_first=first.count_first)
    if isinstance(first, np.ndarray):
        return _rows(parts, pool)
    return csr_rows(parts)


def _rows(parts: Sequence[tuple[NDArray[Any], Int64Array]], pool: ImagePool) -> NDArray[Any]:
    first = parts[0][0]
    out: NDArray[Any] = pool.empty((sum(len(rows) for _, rows in parts), first.shape[1]), first.dtype)
    at = 0
    for block, rows in parts:
        # mode: the default writes by way of a copy.
        np.take(block, rows, axis=0, out=out[at : at + len(rows)], mode="clip")
        at += len(rows)
    return out
