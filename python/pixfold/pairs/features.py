"""Features of a source side by side in blocks, ready to be multiplied: in memory, or in a temporary file."""

from __future__ import annotations

from concurrent.futures import Executor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.genotypes import PackedGenotypes
from pixfold.pairs.target import Target, pieces
from pixfold.pairs.transform import Operand, operand_of
from pixfold.sources.base import Source
from pixfold.sources.disk.scratch import ScratchArray
from pixfold.stream.blocks import read_ahead, sample_bytes
from pixfold.stream.finite import check_finite
from pixfold.util.progress import Progress, SilentProgress
from pixfold.util.sizes import in_words
from pixfold.util.text import counted, listed

# Width of blocks in memory: they are transformed, and their values freed, one after the other.
_WIDTH = 4096
# What transforming takes beside a block: a few copies of as many features as this holds.
_PIECE_BYTES = 16 * 2**20
# A block in memory is made of dense float64 at worst, twice: as it is read and as float32 relative to one sample.
_READING = 24
# Samples that say where a feature lies.
_FIRST = 9


class Features:
    """All features of n samples in blocks of equal width.

    Parameters
    ----------
    n_features, n_samples : int
        The shape.
    width : int, optional
        Features of a block.
    on_disk : bool
        Whether blocks are kept in a temporary file.
    """

    def __init__(self, n_features: int, n_samples: int, width: int = _WIDTH, *, on_disk: bool = False) -> None:
        self.n_features, self.n_samples, self.width = n_features, n_samples, min(width, n_features)
        self.starts = list(range(0, n_features, self.width))
        self._raw: list[Any] = [None] * len(self.starts)
        self._blocks: list[Operand | None] = [None] * len(self.starts)
        self._means: list[NDArray[np.float32] | None] = [None] * len(self.starts)
        self.on_disk = on_disk
        self._file = ScratchArray(n_features * n_samples, np.float32) if on_disk else None
        self._made: ScratchArray | None = None

    def size(self, block: int) -> int:
        """Features of a block: the last one may be narrower."""
        return min(self.width, self.n_features - self.starts[block])

    def load(self, block: int) -> Operand:
        """Block of features, after :meth:`transform`."""
        held = self._blocks[block]
        if held is not None:
            return held
        file = self._made if self._made is not None else self._file
        assert file is not None
        values = file[self._span(block)].reshape(self.size(block), self.n_samples)
        return Operand(values, self._means[block])

    def put(self, places: NDArray[np.int64], values: NDArray[np.float32]) -> None:
        """Store samples (len(places), n_features) at their places among the n."""
        for block, start in enumerate(self.starts):
            size = self.size(block)
            part = values[:, start : start + size]
            if self._file is None:
                if self._raw[block] is None:
                    self._raw[block] = np.empty((self.n_samples, size), dtype=np.float32)
                self._raw[block][places] = part
                continue
            # Samples that follow each other go in one write.
            cuts = np.flatnonzero(np.diff(places) != 1) + 1
            for rows in np.split(np.arange(len(places)), cuts):
                begin = start * self.n_samples + int(places[rows[0]]) * size
                self._file[begin : begin + len(rows) * size] = part[rows].ravel()

    def put_features(self, start: int, values: NDArray[np.float32]) -> None:
        """Store one whole block in memory: features (width, n) from `start` on."""
        self._raw[start // self.width] = values.T

    def transform(
        self,
        transform: str,
        target: Target,
        pool: Executor,
        *,
        signs: bool,
        keep: bool = False,
        places: NDArray[np.int64] | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Turn stored samples into operands, block by block.

        Parameters
        ----------
        transform, target, signs
            As for :func:`pixfold.pairs.transform.operand_of`.
        pool : Executor
            Threads that share the work.
        keep : bool
            Whether the samples stay, for another call.
        places : int64 array (n,), optional
            Another order of the samples.
        progress : Progress, optional
            Where features are counted; silent without it.
        """
        if self.on_disk and (signs or keep) and self._made is None:
            self._made = ScratchArray(self.n_features * self.n_samples, np.int8 if signs else np.float32)
        step = max(1, _PIECE_BYTES // (4 * self.n_samples))
        with (progress or SilentProgress()).task("transforming features", self.n_features) as counter:
            for block in range(len(self.starts)):
                size = self.size(block)
                raw = self._raw[block]
                if self._file is not None:
                    raw = self._file[self._span(block)].reshape(self.n_samples, size)
                if not keep:
                    self._raw[block] = None
                if places is not None:
                    raw = raw[places]
                values = np.empty((size, self.n_samples), dtype=np.int8 if signs else np.float32)
                means = np.empty((size, len(target.classes)), dtype=np.float32) if signs else None

                def work(piece: tuple[int, int], raw: Any = raw, values: Any = values, means: Any = means) -> None:
                    first, last = piece
                    part = np.array(raw[:, first:last].T, order="C")  # which is overwritten
                    made = operand_of(part, transform, target, signs=signs)
                    values[first:last] = made.values
                    if means is not None:
                        means[first:last] = made.means

                for _ in pool.map(work, list(pieces(size, step))):
                    pass
                if self._file is None:
                    self._blocks[block] = Operand(values, means)
                else:
                    (self._made or self._file)[self._span(block)] = values.ravel()
                    self._means[block] = means
                counter.advance(size)
                del raw, values, means, work
        if self._made is not None and self._file is not None and not keep:
            self._file.close()

    def rows(self, wanted: NDArray[np.int64], target: Target) -> NDArray[np.float32]:
        """Features at some positions, which rise, free of class means: (len(wanted), n)."""
        out = np.empty((len(wanted), self.n_samples), dtype=np.float32)
        for block, start in enumerate(self.starts):
            inside = np.flatnonzero((wanted >= start) & (wanted < start + self.size(block)))
            if len(inside):
                held, at = self.load(block), wanted[inside] - start
                means = None if held.means is None else held.means[at]
                out[inside] = Operand(held.values[at], means).centred(target)
        return out

    def close(self) -> None:
        """Give temporary files back."""
        for file in (self._file, self._made):
            if file is not None:
                file.close()

    def _span(self, block: int) -> slice:
        start = self.starts[block] * self.n_samples
        return slice(start, start + self.size(block) * self.n_samples)


def width_within(
    op: str, n_features: int, n_samples: int, memory: int, device_width: int | None = None, *, keep: bool = False
) -> tuple[int, bool]:
    """Width of blocks, and whether they go to disk.

    Parameters
    ----------
    op : str
        Who asks, for the message.
    n_features, n_samples : int
        The shape.
    memory : int
        Budget in bytes.
    device_width : int, optional
        Width that the device has room for, where that is not the CPU.
    keep : bool
        Whether samples are kept beside what they are transformed to.

    Returns
    -------
    width : int
    on_disk : bool

    Raises
    ------
    InputError
        When the budget does not hold one feature of each of two blocks.
    """
    # A quarter more than all values: blocks are transformed one after the other, and their values freed.
    width = min(device_width or _WIDTH, n_features)
    if (9 if keep else 5) * n_features * n_samples + 8 * width * n_samples <= memory:
        return width, False
    # Two blocks as they are multiplied, or one as it is read and as it is made, and their like on the device.
    within = memory // (16 * n_samples)
    if within < 1:
        raise InputError(
            f"{op}: memory must be at least {16 * n_samples:,} bytes for {counted(n_samples, 'sample')}, "
            f"got {in_words(memory)}"
        )
    # As wide as may be: every block is read again for each one before it.
    return min(n_features if device_width is None else device_width, within), True


def read_features(
    source: Source,
    rows: NDArray[np.int64],
    target: Target,
    features: Features,
    *,
    memory: int,
    missing: str,
    progress: Progress | None = None,
) -> int:
    """Read samples once into `features`, and return how many values are missing.

    Values of 64 bits are stored relative to the middle of their feature: float32 holds what distinguishes the samples,
    however far from 0 they lie.

    Raises
    ------
    InputError
        For infinite values, values missing that may not be, and values whose differences float32 does not hold.
    """
    n, p = len(rows), source.n_features
    dense = max(sample_bytes(source), _READING * p)
    size = int(min(n, max(1, memory // (4 * dense)), max(1, source.block_size)))
    places = np.empty(n, dtype=np.int64)
    places[target.order] = np.arange(n)
    shift = _middle(source, rows)
    gaps = np.zeros(p, dtype=np.int64)

    def read(start: int) -> Any:
        return source.read(rows[start : start + size])

    depth = 0 if source.held_in_memory else 1
    genotypes = False
    with (progress or SilentProgress()).task("reading", n) as counter:
        for start, block in zip(range(0, n, size), read_ahead(read, range(0, n, size), depth), strict=True):
            stop = start + block.shape[0]
            genotypes = genotypes or isinstance(block, PackedGenotypes)
            check_finite(source, block, rows[start:stop])
            values = dense_of(block)
            with np.errstate(over="ignore"):
                made = (values if shift is None else values - shift).astype(np.float32, copy=False)
            if genotypes or values.dtype.kind == "f":
                gaps += np.isnan(made).sum(axis=0)
            if values.dtype == np.float64 and np.isinf(made).any():
                names = [source.feature_names[i] for i in np.flatnonzero(np.isinf(made).any(axis=0))]
                raise InputError(f"{source.name}: values must be within float32's range, got larger in {listed(names)}")
            features.put(places[start:stop], made)
            counter.advance(stop - start)
    total = int(gaps.sum())
    if total and missing == "error" and not genotypes:
        names = [source.feature_names[i] for i in np.flatnonzero(gaps)]
        raise InputError(
            f"{source.name}: {counted(total, 'value')} missing (NaN) in {counted(len(names), 'feature')} "
            f'({listed(names)}); choose missing="mean" (command line: --missing mean)'
        )
    return total


def _middle(source: Source, rows: NDArray[np.int64]) -> NDArray[np.float64] | None:
    """Medians of the first samples, where values have more bits than float32 holds."""
    if source.dtype in (np.float32, np.float16) or (source.dtype.kind in "iub" and source.dtype.itemsize <= 2):
        return None
    first = dense_of(source.read(rows[:_FIRST])).astype(np.float64)
    first[~np.isfinite(first)] = 0
    # Not one sample: beside an outlier, all others would be rounded alike.
    return np.asarray(np.median(first, axis=0))


def dense_of(block: Any) -> NDArray[Any]:
    """Samples that a source has read, as a dense array."""
    return np.asarray(block.toarray() if hasattr(block, "toarray") else block)


def columns_of(
    source: Source, rows: NDArray[np.int64], wanted: NDArray[np.int64], memory: int
) -> tuple[NDArray[np.float64], bool]:
    """Values of a few features: float64 (len(wanted), len(rows)), and whether they are genotypes."""
    out = np.empty((len(wanted), len(rows)))
    dense = max(sample_bytes(source), _READING * source.n_features)
    size = int(min(len(rows), max(1, memory // (4 * dense)), max(1, source.block_size)))
    genotypes = False
    for start in range(0, len(rows), size):
        block = source.read(rows[start : start + size])
        genotypes = genotypes or isinstance(block, PackedGenotypes)
        out[:, start : start + block.shape[0]] = dense_of(block)[:, wanted].T
    return out, genotypes
