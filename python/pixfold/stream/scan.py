"""One pass over the values of a source: what is empty, missing or infinite, and what kind of numbers they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.arrays.csr import Csr
from pixfold.arrays.dense import Dense
from pixfold.arrays.entry import cpu_samples
from pixfold.arrays.packed import Packed
from pixfold.ops.stats import stats_of
from pixfold.sources.base import Source
from pixfold.stream.blocks import blocks
from pixfold.stream.digest import Digest
from pixfold.stream.finite import InfiniteValues
from pixfold.util.progress import Progress

# Per feature: the statistics of a block, those of its empty samples, and what is added up.
_FIXED_BYTES = 184
# Fewer values do not show how far they reach: two have the same distance from their mean.
_FEWEST_OF_A_TAIL = 8
# So many features show how far values reach, evenly taken among all.
_MOST_OF_A_TAIL = 10_000
# NumPy looks at so many values at a time: few enough that their masks stay in the caches.
_PIECE = 1 << 18


@dataclass(frozen=True)
class ValueFacts:
    """Facts about the values of the samples that are used.

    Attributes
    ----------
    whole : bool
        All values that are there are whole numbers.
    smallest, largest : float
        Over all values.
    n_negative : int
        Values below zero.
    negative_features : int64 array
        Positions of the features that have any.
    n_binary : int
        Features of whole numbers whose largest value is 1.
    right_tail : float
        How much further values reach above the mean than below it, ``(largest - mean) / (mean - smallest)``, in the
        middle (median) one of up to 10,000 features that vary: 1 where they lie alike on both sides, 2.7 of a hundred
        log-normal values of sigma 0.5. NaN where no feature has 8 values.
    """

    whole: bool
    smallest: float
    largest: float
    n_negative: int
    negative_features: NDArray[np.int64]
    n_binary: int
    right_tail: float

    @property
    def is_whole_and_positive(self) -> bool:
        """Whether all values that are there are 0, 1, 2, 3, ..."""
        return self.whole and self.smallest >= 0


@dataclass(frozen=True)
class Scan:
    """What one pass finds.

    Attributes
    ----------
    nonzero : int64 array, shape (n_features,)
        Values that are neither zero nor missing.
    missing : int64 array, shape (n_features,)
        Missing values, those of empty samples left out.
    empty_samples : bool array, one per row that was looked at
        Which have nothing but zeros and missing values.
    varies : bool array, shape (n_features,)
        Features with two different values or more.
    facts : ValueFacts
        What kind of numbers they are.
    digest : str or None
        Sum of all values, where it was asked for.
    """

    nonzero: NDArray[np.int64]
    missing: NDArray[np.int64]
    empty_samples: NDArray[np.bool_]
    varies: NDArray[np.bool_]
    facts: ValueFacts
    digest: str | None = None


def scan(
    source: Source,
    rows: NDArray[np.int64],
    *,
    memory: int | None = None,
    progress: Progress | None = None,
    digest: bool = False,
) -> Scan:
    """Look at every value of some samples once, block by block.

    Parameters
    ----------
    source : Source
        Where samples are read from.
    rows : int64 array
        Samples that are looked at, sorted.
    memory : int, optional
        Budget in bytes; see :func:`pixfold.stream.blocks.rows_within`.
    progress : Progress, optional
        Where samples are counted; silent without it.
    digest : bool
        Whether to sum up all values (:class:`pixfold.stream.digest.Digest`).

    Returns
    -------
    Scan

    Raises
    ------
    InputError
        When values are infinite: how many, in which features and samples.
    """
    n = source.n_features
    nonzero, missing = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    negative = np.zeros(n, dtype=bool)
    empty_samples = np.zeros(len(rows), dtype=bool)
    whole, n_negative = True, 0
    largest, least = np.full(n, -np.inf), np.full(n, np.inf)
    total, count = np.zeros(n), np.zeros(n, dtype=np.int64)
    infinite = InfiniteValues(source)
    read = blocks(
        source,
        None if len(rows) == source.n_samples else rows,
        memory=memory,
        fixed=_FIXED_BYTES * n,
        op="scan",
        progress=progress,
        task="checking values",
    )
    start, summed = 0, Digest() if digest else None
    for block in read():
        x = cpu_samples("scan", block)
        if summed is not None:
            summed.add(x)
        stop = start + x.shape[0]
        stats = stats_of(x, False, None, None, False, 0)
        if stats.n_infinite:
            infinite.add(x, rows[start:stop])
        nonzero += stats.count
        nonzero -= stats.zeros
        missing += stats.missing
        empty = _empty(x)
        if empty.any():
            empty_samples[start:stop] = empty
            # Empty samples are left out, and their missing values with them.
            if stats.missing.any():
                without = cpu_samples("scan", block[np.flatnonzero(empty)])
                missing -= stats_of(without, False, None, None, False, 0).missing
        if stats.count.any():
            np.fmin(least, stats.min, out=least)
            np.fmax(largest, stats.max, out=largest)
            count += stats.count
            np.add(total, stats.mean * stats.count, out=total, where=stats.count > 0)
        if stats.n_negative:
            n_negative += stats.n_negative
            negative |= stats.min < 0
        whole = whole and _is_whole(x)
        start = stop
        del block, x
    infinite.refuse()
    n_binary = int(np.count_nonzero(largest == 1)) if whole else 0
    varies = largest > least
    facts = ValueFacts(
        whole,
        float(least.min()),
        float(largest.max()),
        n_negative,
        np.flatnonzero(negative),
        n_binary,
        _right_tail(least, total, largest, np.flatnonzero(varies & (count >= _FEWEST_OF_A_TAIL)), count),
    )
    return Scan(nonzero, missing, empty_samples, varies, facts, None if summed is None else str(summed))


def _right_tail(
    least: NDArray[np.float64],
    total: NDArray[np.float64],
    largest: NDArray[np.float64],
    known: NDArray[np.int64],
    count: NDArray[np.int64],
) -> float:
    """See :class:`ValueFacts`; of the features that are ``known``."""
    if not known.size:
        return float("nan")
    known = known[:: -(-known.size // _MOST_OF_A_TAIL)]
    mean = total[known] / count[known]
    # The mean is rounded: of values next to each other it may be their end.
    ratio = (largest[known] - mean) / np.maximum(mean - least[known], np.finfo(np.float64).tiny)
    return float(np.median(ratio))


def _empty(x: Dense | Csr | Packed) -> NDArray[np.bool_]:
    """Which samples have nothing but zeros and missing values."""
    if isinstance(x, Packed):
        return _empty_packed(x)
    if isinstance(x, Csr):
        return _empty_csr(x)
    n_samples, n_features = x.shape
    empty = np.zeros(n_samples, dtype=bool)
    left, first, width = np.arange(n_samples), 0, 64
    while left.size and first < n_features:
        width = max(1, min(width, _PIECE // left.size))
        left = left[~_there(x.array[left, first : first + width]).any(axis=1)]
        first, width = first + width, width * 8
    empty[left] = True
    return empty


def _empty_csr(x: Csr) -> NDArray[np.bool_]:
    starts, ends = x.row_start[:-1], x.row_start[1:]
    empty = np.ones(x.shape[0], dtype=bool)
    storing = np.flatnonzero(ends > starts)
    # The first stored value settles nearly every sample.
    empty[storing] = ~_there(x.values[starts[storing]])
    for i in storing[empty[storing]]:
        empty[i] = not _there(x.values[starts[i] : ends[i]]).any()
    return empty


def _there(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Neither zero nor missing."""
    present: NDArray[np.bool_] = values != 0
    return present & (values == values) if values.dtype.kind == "f" else present


def _empty_packed(x: Packed) -> NDArray[np.bool_]:
    """Codes of zero and missing have the low bit set; where the second allele counts, they lack the high bit."""
    bits, n_features = x.bits, x.shape[1]
    first = x.genotypes.count_first
    used = np.uint8((1 << 2 * ((n_features - 1) % 4 + 1)) - 1)  # of the last byte
    if first:
        common = np.bitwise_and.reduce(bits[:, :-1], axis=1) & (bits[:, -1] | ~used)
        return np.asarray((common & 0x55) == 0x55)
    some = np.bitwise_or.reduce(bits[:, :-1], axis=1) | (bits[:, -1] & used)
    return np.asarray((some & 0xAA) == 0)


def _is_whole(x: Dense | Csr | Packed) -> bool:
    """Whether all values but missing ones are whole numbers; mostly the first piece shows that they are not."""
    if isinstance(x, Packed) or x.dtype.kind != "f":
        return True
    values = x.values if isinstance(x, Csr) else x.array
    rows = _PIECE if values.ndim == 1 else max(1, _PIECE // values.shape[1])
    for start in range(0, len(values), rows):
        piece = values[start : start + rows]
        if not bool(((piece == np.floor(piece)) | (piece != piece)).all()):
            return False
    return True
