"""The order of an epoch: which rank gets which samples, in which batches, and what is read for them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError

Int64Array = NDArray[np.int64]
# From so many blocks for each rank on, ranks read blocks of their own.
_BLOCKS_OF_A_RANK = 8


@dataclass(frozen=True)
class Order:
    """All that the order of an epoch depends on: the same values give the same batches.

    Attributes
    ----------
    n_samples : int
        Of all ranks together.
    batch_size : int
        Samples per batch at most.
    shuffle : {"full", "block"} or False
        How samples are drawn.
    seed : int
        Of the shuffle.
    block_rows : int
        Samples that are read together; 0 where every batch is read by itself.
    buffer_blocks : int
        Blocks that "block" draws from at one time.
    rank, world_size : int
        Which share of the samples.
    share : {"samples", "batches"}
        Whether ranks go through samples of their own, in batches of `batch_size` each; or through a part of every batch
        of the one order that a single rank has.
    """

    n_samples: int
    batch_size: int
    shuffle: str | bool
    seed: int
    block_rows: int
    buffer_blocks: int
    rank: int = 0
    world_size: int = 1
    share: str = "samples"

    def __post_init__(self) -> None:
        """Refuse a rank that would have no samples."""
        if not 0 <= self.rank < self.world_size:
            raise InputError(
                f"FoldLoader: rank must be in [0, world_size), got rank {self.rank} of world_size {self.world_size}"
            )
        if self.share == "samples" and 0 < self.n_samples < self.world_size:
            raise InputError(
                f"FoldLoader: world_size must be at most the number of samples, {self.n_samples}, got {self.world_size}"
            )

    @property
    def bounds(self) -> tuple[int, int]:
        """Where this rank's part of the epoch's stream begins and ends; parts differ by one sample at most."""
        if self.share == "batches":
            return 0, self.n_samples
        return (
            self.n_samples * self.rank // self.world_size,
            self.n_samples * (self.rank + 1) // self.world_size,
        )

    @property
    def cuts(self) -> Int64Array:
        """Where batches begin and end in this rank's part.

        One rank alone fills its batches, and the last one is what is left. Several have the same number of batches,
        whose sizes are as even as can be: no rank waits for another that has run out, none has a sample twice.
        """
        first, last = self.bounds
        own = last - first
        if self.world_size == 1 or self.share == "batches":
            steps = -(-own // self.batch_size)
            return np.minimum(np.arange(steps + 1, dtype=np.int64) * self.batch_size, own)
        most = -(-self.n_samples // self.world_size)
        steps = min(-(-most // self.batch_size), own)
        return np.arange(steps + 1, dtype=np.int64) * own // max(steps, 1)

    def epoch(self, number: int) -> Epoch:
        """Draw the order of an epoch."""
        if self.share == "batches" and self.world_size > 1:
            whole = replace(self, rank=0, world_size=1, share="samples").epoch(number)
            return whole.shared(self._owners(whole, number) == self.rank)
        first, last = self.bounds
        if self.shuffle == "block":
            return self._mixed(number)
        stream = np.arange(self.n_samples, dtype=np.int64)
        if self.shuffle:
            stream = np.random.Generator(np.random.PCG64([self.seed, number])).permutation(stream)
        stream, cuts = stream[first:last], self.cuts
        if self.block_rows and not self.shuffle:
            return Epoch.of(stream, cuts, (stream - first) // self.block_rows)
        return Epoch.of(stream, cuts, _batches(cuts))

    def _owners(self, epoch: Epoch, number: int) -> Int64Array:
        """Rank that each sample of an epoch belongs to.

        What is read in blocks belongs to ranks block by block, in turn: each rank reads its own blocks alone. (Parts of
        a batch are then even on average; where blocks are few, they would not be.) Else a batch is cut into parts whose
        sizes differ by one at most.
        """
        n_blocks = -(-self.n_samples // self.block_rows) if self.shuffle == "block" else 0
        if n_blocks >= _BLOCKS_OF_A_RANK * self.world_size:
            turn = np.empty(n_blocks, dtype=np.int64)
            turn[self._blocks(number)] = np.arange(len(turn))
            return turn[epoch.positions // self.block_rows] % self.world_size
        sizes = np.repeat(np.diff(epoch.cuts), np.diff(epoch.cuts))
        owners: Int64Array = ((epoch.within + 1) * self.world_size - 1) // sizes
        return owners

    def _blocks(self, number: int) -> Int64Array:
        """Blocks of samples in the order of an epoch."""
        n = -(-self.n_samples // self.block_rows)
        return np.random.Generator(np.random.PCG64([self.seed, number])).permutation(n)

    def _mixed(self, number: int) -> Epoch:
        first, last = self.bounds
        blocks = self._blocks(number)
        sizes = np.minimum(self.n_samples - blocks * self.block_rows, self.block_rows)
        ends = np.cumsum(sizes)
        # The blocks follow each other in their new order; this rank takes its part of that stream.
        starts = np.maximum(ends - sizes, first)
        counts = np.maximum(np.minimum(ends, last) - starts, 0)
        within = starts - (ends - sizes)  # where the part of a block begins in it
        kept = counts > 0
        begins, counts, starts = (blocks * self.block_rows + within)[kept], counts[kept], (starts - first)[kept]
        own = int(counts.sum())
        piece = np.repeat(np.arange(len(counts)), counts)
        positions = np.arange(own) - np.repeat(starts, counts) + np.repeat(begins, counts)
        chance = np.random.Generator(np.random.PCG64([self.seed, number, 1 + self.rank]))
        if len(counts) <= self.buffer_blocks:
            order = chance.permutation(own)
            segment = piece
        else:
            # Each sample gets a random place in the span that begins with its block and is as long as the buffer. The
            # stream is a circle: the buffer is as full at its beginning and at its end as in between.
            time = np.repeat(starts, counts) + chance.random(own) * (self.buffer_blocks * self.block_rows)
            wrapped = time >= own
            order = np.argsort(np.where(wrapped, time - own, time), kind="stable")
            # Samples that come round to the beginning are read there; the rest of their block is read in its turn.
            segment = 2 * piece + ~wrapped
        return Epoch.of(positions[order], self.cuts, segment[order])


@dataclass(frozen=True)
class Epoch:
    """Batches, and the segments that are read for them.

    Attributes
    ----------
    positions : int64 array
        Of the samples, batch after batch; those of one segment follow each other within a batch.
    cuts : int64 array
        Where batches begin and end.
    segment, place : int64 array
        Of each of them: the segment that it is read with, and where it stands in it. Segments are counted in the order
        in which they are first needed.
    members : int64 array
        Positions of the samples segment after segment, rising.
    starts : int64 array
        Where segments begin and end in `members`.
    last : int64 array
        The last batch that needs each segment.
    within, sizes : int64 arrays
        Place of each sample in its batch, and samples of each batch, those of all ranks that share it.
    """

    positions: Int64Array
    cuts: Int64Array
    segment: Int64Array
    place: Int64Array
    members: Int64Array
    starts: Int64Array
    last: Int64Array
    within: Int64Array
    sizes: Int64Array

    @classmethod
    def of(cls, positions: Int64Array, cuts: Int64Array, segment: Int64Array) -> Epoch:
        """Find what is read when, from positions in their order and a number for the segment of each."""
        segment = _by_first_use(segment)
        # Within a batch samples stand by segment.
        inner = np.lexsort((positions, segment, _batches(cuts)))
        return cls._of(positions[inner], cuts, segment[inner])

    @classmethod
    def _of(
        cls,
        positions: Int64Array,
        cuts: Int64Array,
        segment: Int64Array,
        within: Int64Array | None = None,
        sizes: Int64Array | None = None,
    ) -> Epoch:
        members = np.lexsort((positions, segment))
        counts = np.bincount(segment)
        starts = np.concatenate([[0], np.cumsum(counts)])
        place = np.empty_like(members)
        place[members] = np.arange(len(members)) - starts[segment[members]]
        last = np.zeros(len(counts), dtype=np.int64)
        last[segment] = _batches(cuts)  # the last of repeated places is the one that stays
        if within is None or sizes is None:
            sizes = np.diff(cuts)
            within = np.arange(len(positions)) - np.repeat(cuts[:-1], sizes)
        return cls(positions, cuts, segment, place, positions[members], starts, last, within, sizes)

    def shared(self, own: NDArray[np.bool_]) -> Epoch:
        """Return an epoch of as many batches, each without the samples that are not `own`."""
        counts = np.bincount(_batches(self.cuts)[own], minlength=len(self))
        cuts = np.concatenate([[0], np.cumsum(counts)])
        return self._of(self.positions[own], cuts, _by_first_use(self.segment[own]), self.within[own], self.sizes)

    def part(self, batches: Int64Array) -> Epoch:
        """Return an epoch of some of the batches, unchanged; it reads only the samples that these need."""
        first, sizes = self.cuts[batches], np.diff(self.cuts)[batches]
        cuts = np.concatenate([[0], np.cumsum(sizes)])
        chosen = np.repeat(first - cuts[:-1], sizes) + np.arange(cuts[-1])
        segment = _by_first_use(self.segment[chosen])
        return self._of(self.positions[chosen], cuts, segment, self.within[chosen], self.sizes[batches])

    def __len__(self) -> int:
        return len(self.cuts) - 1

    def batch(self, number: int) -> tuple[Int64Array, Int64Array, Int64Array]:
        """Positions, segments and places of a batch."""
        part = slice(int(self.cuts[number]), int(self.cuts[number + 1]))
        return self.positions[part], self.segment[part], self.place[part]

    def read_with(self, segment: int) -> Int64Array:
        """Positions that are read together, rising."""
        return self.members[self.starts[segment] : self.starts[segment + 1]]


def _by_first_use(segment: Int64Array) -> Int64Array:
    """Number segments in the order in which they are first needed."""
    _, first, code = np.unique(segment, return_index=True, return_inverse=True)
    number = np.empty(len(first), dtype=np.int64)
    number[np.argsort(first, kind="stable")] = np.arange(len(first))
    return number[code]


def _batches(cuts: Int64Array) -> Int64Array:
    """Number of the batch of each sample."""
    return np.repeat(np.arange(len(cuts) - 1), np.diff(cuts))
