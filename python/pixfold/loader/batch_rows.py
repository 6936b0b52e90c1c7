"""The samples of a batch, put together from blocks that were read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.genotypes import PackedGenotypes
from pixfold.sources.arrays.csr import csr_rows

Int64Array = NDArray[np.int64]


def batch_rows(parts: Sequence[tuple[Any, Int64Array]], empty: Callable[..., NDArray[Any]] = np.empty) -> Any:
    """Put rows of several blocks under each other.

    Parameters
    ----------
    parts : sequence of (block, rows)
        Blocks of one kind (dense, CSR or packed genotypes), and positions in each: in any order, repeated or not.
    empty : callable
        Makes the memory of dense rows, as ``numpy.empty`` does.

    Returns
    -------
    array, CSR or PackedGenotypes
        A view where the rows of a single block follow each other.
    """
    block, rows = parts[0]
    if len(parts) == 1 and len(rows) and bool((np.diff(rows) == 1).all()):
        if len(rows) == block.shape[0]:
            return block
        if isinstance(block, np.ndarray | PackedGenotypes):
            return block[int(rows[0]) : int(rows[-1]) + 1]
    if isinstance(block, PackedGenotypes):
        bits = _dense([(packed.bits, rows) for packed, rows in parts], empty)
        return PackedGenotypes(bits, block.n_features, count_first=block.count_first)
    return _dense(parts, empty) if isinstance(block, np.ndarray) else csr_rows(parts)


def _dense(parts: Sequence[tuple[NDArray[Any], Int64Array]], empty: Callable[..., NDArray[Any]]) -> NDArray[Any]:
    first = parts[0][0]
    out = empty((sum(len(rows) for _, rows in parts), first.shape[1]), first.dtype)
    at = 0
    for block, rows in parts:
        # mode: the default writes by way of a copy.
        np.take(block, rows, axis=0, out=out[at : at + len(rows)], mode="clip")
        at += len(rows)
    return out
