"""Rows of CSR matrices."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray


def csr_rows(parts: Sequence[tuple[Any, NDArray[np.int64]]]) -> Any:
    """Put rows of several CSR matrices under each other.

    SciPy takes ten times as long for some dozens of rows, and copies all indices where they are narrower than the
    pointers.

    Parameters
    ----------
    parts : sequence of (matrix, rows)
        Matrices of one kind, and positions in each.

    Returns
    -------
    CSR of the first one's class
    """
    spans = [
        (matrix, start, stop)
        for matrix, rows in parts
        for start, stop in zip(matrix.indptr[rows].tolist(), matrix.indptr[rows + 1].tolist(), strict=True)
    ]
    starts = np.concatenate([[0], np.cumsum([stop - start for _, start, stop in spans], dtype=np.int64)])
    first = parts[0][0]
    if spans and all(a[0] is b[0] and a[2] == b[1] for a, b in pairwise(spans)):
        whole = slice(spans[0][1], spans[-1][2])  # one behind the other: nothing to copy
        data, indices = spans[0][0].data[whole], spans[0][0].indices[whole]
    else:
        data = np.concatenate([first.data[:0], *(matrix.data[start:stop] for matrix, start, stop in spans)])
        indices = np.concatenate([first.indices[:0], *(matrix.indices[start:stop] for matrix, start, stop in spans)])
    return type(first)((data, indices, starts), shape=(len(spans), first.shape[1]))
