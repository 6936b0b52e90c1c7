"""A sum of all values of a source, by which other data are told from the same ones."""

from __future__ import annotations

import zlib

import numpy as np

from pixfold.arrays.csr import Csr
from pixfold.arrays.dense import Dense
from pixfold.arrays.packed import Packed


class Digest:
    """A sum (CRC-32) over samples in their order, the same however they are cut into blocks.

    It tells files that changed by mistake; it is no defence against somebody who makes two that have the same sum.
    """

    def __init__(self) -> None:
        self._sums = [0, 0, 0]

    def add(self, x: Dense | Csr | Packed) -> None:
        """Take the next samples."""
        if isinstance(x, Packed):
            parts = [x.bits]
        elif isinstance(x, Csr):
            parts = [x.values, np.asarray(x.indices, dtype=np.int64), np.diff(x.row_start)]
        else:
            parts = [x.array]
        for number, part in enumerate(parts):
            values = np.ascontiguousarray(part).reshape(-1).view(np.uint8)
            self._sums[number] = zlib.crc32(values.data, self._sums[number])

    def __str__(self) -> str:
        return "".join(f"{total:08x}" for total in self._sums)
