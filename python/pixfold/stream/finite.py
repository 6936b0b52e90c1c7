"""Infinite values of a source are refused: how many there are, of which features and samples."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.arrays.csr import Csr
from pixfold.arrays.dense import Dense
from pixfold.arrays.entry import cpu_samples
from pixfold.arrays.packed import Packed
from pixfold.errors import InputError
from pixfold.ops.stats import census_of
from pixfold.sources.base import Source
from pixfold.util.text import counted, listed


class InfiniteValues:
    """Where a source has infinite values."""

    def __init__(self, source: Source) -> None:
        self._source, self._count = source, 0
        self._features: set[int] = set()
        self._samples: list[int] = []

    def add(self, x: Dense | Csr | Packed, rows: NDArray[np.int64]) -> None:
        """Note the infinite values of some samples, whose positions in the source are `rows`, rising."""
        if isinstance(x, Packed):  # which has none
            return
        if isinstance(x, Csr):
            (where,) = np.nonzero(np.isinf(x.values))
            features, places = x.indices[where], np.searchsorted(x.row_start, where, side="right") - 1
        else:
            places, features = np.nonzero(np.isinf(x.array))
        self._count += len(features)
        self._features.update(features.tolist())
        self._samples += rows[np.unique(places)].tolist()

    def refuse(self) -> None:
        """Raise InputError where any were noted."""
        if self._count:
            features = [self._source.feature_names[i] for i in sorted(self._features)]
            names = [self._source.sample_names[i] for i in self._samples]
            raise InputError(
                f"{self._source.name}: values must be finite, got {self._count:,} infinite in "
                f"{counted(len(features), 'feature')} ({listed(features)}) and "
                f"{counted(len(names), 'sample')} ({listed(names)})"
            )


def check_finite(source: Source, block: Any, rows: NDArray[np.int64], threads: int | None = None) -> None:
    """Raise InputError for infinite values in a block that `source` has read, of samples that nobody has looked at."""
    x = cpu_samples("check_finite", block, threads or 0)
    if x.dtype.kind == "f" and not isinstance(x, Packed) and census_of(x, threads or 0).infinite:
        found = InfiniteValues(source)
        found.add(x, rows)
        found.refuse()
