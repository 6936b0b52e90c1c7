"""FoldLoader: batches of images from a source, folded as they are asked for."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pixfold.arrays.dense import layout_argument
from pixfold.errors import InputError
from pixfold.genotypes import PackedGenotypes
from pixfold.image_pool import ImagePool
from pixfold.layout import Layout
from pixfold.loader.folding import Folding, folding_on
from pixfold.loader.gather import gather
from pixfold.loader.order import Epoch, Order
from pixfold.normalize.normalizer import Normalizer
from pixfold.ops.census import census
from pixfold.ops.fold import dtype_name
from pixfold.ops.formula_arguments import formula_of
from pixfold.sources import open_source
from pixfold.stream.blocks import bytes_of, held_in_memory, in_words, read_ahead, sample_bytes
from pixfold.util.text import counted, listed, short_repr

_SHUFFLES = (True, False, "full", "block", "auto")
_MEMORY = 512 * 2**20
# Large enough that a disk is read at its speed, small enough that its memory stays in the caches until it is folded.
_BLOCK_BYTES = 4 * 2**20
_AHEAD = 2
_BATCHES_ALIVE = 3  # in use, being made, and the one before


class FoldLoader:
    """Batches of images that can be gone through again and again; nothing larger than a batch is ever dense.

    Samples are read ahead in a thread, which ends with the iterator, and folded when a batch is asked for.

    Parameters
    ----------
    source : Source, array or path
        Where samples come from: what :func:`pixfold.open_source` opens.
    layout : Layout
        Feature -> pixel map.
    normalizer : Normalizer, optional
        A fitted normaliser.
    rows : int64 array, optional
        Positions in the source of the samples that are used, sorted. Default: all.
    labels : int array, one per entry of `rows`, optional
        Class of each sample.
    batch_size : int
        Samples per batch; the last batch may be smaller.
    shuffle : {False, True, "full", "block", "auto"}
        ``"full"`` (or True) draws each epoch's order from all permutations, and reads samples one by one. ``"block"``
        reads whole blocks in random order and draws batches from a buffer of them (see Notes). ``"auto"`` is "full"
        for samples in memory and "block" for others. False keeps the order of `rows`.
    seed : int
        Of the shuffle; the order of an epoch depends on it and on :meth:`set_epoch`.
    dtype : {"float32", "float16", "bfloat16"}
        Of the images.
    device : torch.device or str
        Where batches are put. To a CUDA device the samples go as compactly as they came, by way of pinned memory and
        a stream of their own, and are folded there; where this build has no kernels for it, images are folded on the
        CPU and copied.
    threads : int, optional
        For folding.
    check_finite : bool
        Refuse infinite values, for samples that nobody has looked at; missing ones are the normaliser's matter.
    prefetch : int, optional
        How many blocks (or batches, where those are read one by one) are read ahead. Default: 2, and 0 for samples in
        memory. 0 reads without a thread.
    memory : int or str
        Budget, ``"2GB"`` or bytes, for the blocks that are read ahead or drawn from, and for batches: their samples and
        three sets of images. Default: 512 MiB for the blocks, whatever a batch takes.
    rank, world_size : int, optional
        Which share of the samples this process goes through. Default: what torch.distributed says where it is
        initialised, else everything.

    Yields
    ------
    images : Tensor (batch, channels, height, width)
    labels : int64 Tensor (batch,), or None without labels
    indices : int64 Tensor (batch,)
        Positions in `rows`.

    Raises
    ------
    InputError
        When labels and rows differ in length, rows are not sorted, the batch size is not positive, a budget does not
        hold the blocks, a value is infinite and `check_finite` is set, or what the source raises while it is read.

    Notes
    -----
    *How far a block shuffle is from a full one.* The source is cut into blocks of b samples (:attr:`block_rows`, about
    4 MB of them, or what the file stores together), which are put in random order; a sample is then drawn uniformly
    from the W = K b samples (:attr:`buffer_blocks` K, as many as `memory` holds) from its block's place on, on a
    circle. Of n samples, against a full shuffle:

    - every sample is equally likely to come at any place of the epoch, as in a full shuffle: the expected displacement
      is n / 3;
    - two samples of one block are W / 3 apart on average (round the circle), not n / 4;
    - they share a batch of B with probability (B - 1) / W (for B much smaller than W), not (B - 1) / (n - 1);
    - a batch is drawn from K blocks: where a file is sorted by class, the share of a class in a batch varies as it
      would in a full shuffle with batches of B / (1 + (B - 1) / K) samples.

    With n = 1,306,127 cells, b = 512, K = 100 and B = 128: neighbours are 17,000 samples apart on average, and meet in
    a batch once in 400 epochs (once in 10,000 in a full shuffle). A source of K blocks or fewer is shuffled in full.
    ``tests/loader/test_order.py`` measures these numbers.

    *Ranks.* The epoch's stream of samples is cut into one part per rank, whose sizes differ by one sample at most: each
    sample comes exactly once, at one rank. With more than one rank all make the same number of steps, as
    DistributedDataParallel needs it: a part is spread evenly over its batches, which then hold up to one in
    ``len(loader)`` samples fewer than `batch_size`. (Only a batch size of 1 can leave a rank one step short; torch's
    ``Join`` is for that.)

    *Resuming.* :meth:`state_dict` says after which batch an epoch stands; a loader of the same arguments that is given
    it goes on with exactly the remaining batches.
    """

    def __init__(
        self,
        source: Any,
        layout: Layout,
        normalizer: Normalizer | None = None,
        *,
        rows: NDArray[np.int64] | None = None,
        labels: NDArray[np.int64] | None = None,
        batch_size: int = 64,
        shuffle: bool | str = False,
        seed: int = 0,
        dtype: str = "float32",
        device: torch.device | str = "cpu",
        threads: int | None = None,
        check_finite: bool = False,
        prefetch: int | None = None,
        memory: int | str | None = None,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        layout_argument("FoldLoader", layout)
        formula_of("FoldLoader", normalizer)
        self.source = open_source(source)
        self.rows = np.arange(self.source.n_samples) if rows is None else np.asarray(rows, dtype=np.int64)
        if np.any(np.diff(self.rows) < 0):
            raise InputError("FoldLoader: rows must be sorted")
        if labels is not None and len(labels) != len(self.rows):
            raise InputError(f"FoldLoader: labels must have {len(self.rows)} entries, got {len(labels)}")
        _whole_number("batch_size", batch_size, 1)
        _whole_number("seed", seed, 0)
        if not any(shuffle is known or (isinstance(known, str) and shuffle == known) for known in _SHUFFLES):
            known_ones = ", ".join(map(repr, _SHUFFLES))
            raise InputError(f"FoldLoader: shuffle must be one of {known_ones}, got {short_repr(shuffle)}")
        self.layout, self.normalizer = layout, normalizer
        self.labels = None if labels is None else np.asarray(labels, dtype=np.int64)
        self.batch_size, self.seed = int(batch_size), int(seed)
        self.dtype, self.device, self.threads = dtype_name(dtype), torch.device(device), threads
        self.check_finite = check_finite
        held = held_in_memory(self.source)
        self.prefetch = (0 if held else _AHEAD) if prefetch is None else _whole_number("prefetch", prefetch, 0)
        if shuffle == "auto":
            shuffle = "full" if held else "block"
        self.shuffle = "full" if shuffle is True else shuffle
        budget = None if memory is None else bytes_of(memory, "FoldLoader: memory")
        block_rows, buffer_blocks = 0, 0
        if self.shuffle == "block" or (self.shuffle is False and not held):
            block_rows, buffer_blocks = self._blocks(budget)
        rank, world_size = _place(rank, world_size)
        self.order = Order(
            self.rows.size, self.batch_size, self.shuffle, self.seed, block_rows, buffer_blocks, rank, world_size
        )
        self._epoch = 0
        self._next = 0  # batch of the epoch that comes next
        self._pool = ImagePool()
        self._folding: Folding | None = None

    def _blocks(self, budget: int | None) -> tuple[int, int]:
        """How many samples are read together, and from how many such blocks batches are drawn."""
        each = sample_bytes(self.source)
        chunk = int(getattr(self.source, "chunk_rows", self.source.block_size))
        unit = chunk if self.shuffle == "block" or chunk > self.batch_size else self.batch_size
        # One block that is drawn from, those that wait, and one on its way.
        least, beside, block = self.prefetch + 2, 0, _BLOCK_BYTES
        if budget is not None:
            image = self.layout.n_pixels * (4 if self.dtype == "float32" else 2)
            beside = self.batch_size * (_BATCHES_ALIVE * image + each)
            block = min(block, max(0, budget - beside) // (2 * least))
        rows = max(block // each // unit * unit, unit)
        if budget is not None and budget < least * rows * each + beside:
            raise InputError(
                f"FoldLoader: memory={budget:,} bytes ({in_words(budget)}) is too small for {self.source.name}: "
                f"{least} blocks of {counted(rows, 'sample')} take {in_words(least * rows * each)}, and batches of "
                f"{counted(self.batch_size, 'sample')} {in_words(beside)}; expected at least "
                f"{least * rows * each + beside:,} bytes, or smaller batches"
            )
        if self.shuffle is False:
            return rows, 1
        return rows, max(1, ((_MEMORY if budget is None else budget) - beside) // (rows * each) - least + 1)

    @property
    def n_samples(self) -> int:
        """Samples per epoch, of this rank."""
        first, last = self.order.bounds
        return last - first

    @property
    def block_rows(self) -> int:
        """Samples that are read together; 0 where every batch is read by itself."""
        return self.order.block_rows

    @property
    def buffer_blocks(self) -> int:
        """Blocks that a block shuffle draws from at one time."""
        return self.order.buffer_blocks

    def __len__(self) -> int:
        return len(self.order.cuts) - 1

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next pass: the same seed and epoch give the same order.

        A pass that was resumed half-way (:meth:`load_state_dict`) goes on where it is of the same epoch.
        """
        if int(epoch) != self._epoch:
            self._next = 0
        self._epoch = int(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Where the pass under way stands, and what its order depends on: plain values.

        One state serves all ranks, which make their steps together.
        """
        return {"epoch": self._epoch, "batch": self._next, **self._identity()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on after the batch that :meth:`state_dict` was called after.

        Raises
        ------
        InputError
            When the state is of a loader with other samples, batches or ranks: which of them, and how it differs.
        """
        own = self._identity()
        missing = [name for name in ("epoch", "batch", *own) if name not in state]
        if missing:
            raise InputError(
                f"FoldLoader.load_state_dict: expected what state_dict gave, received one without {missing[0]!r}"
            )
        for name, value in own.items():
            if state[name] != value:
                raise InputError(
                    f"FoldLoader.load_state_dict: the state is of a loader with {name}={state[name]!r}, expected "
                    f"{value!r}: its batches would be others"
                )
        if not 0 <= state["batch"] <= len(self):
            raise InputError(
                f"FoldLoader.load_state_dict: batch must be in 0 to {len(self)}, got {short_repr(state['batch'])}"
            )
        self._epoch, self._next = int(state["epoch"]), int(state["batch"])

    def _identity(self) -> dict[str, Any]:
        order = self.order
        return {
            "n_samples": order.n_samples,
            "batch_size": order.batch_size,
            "shuffle": order.shuffle,
            "seed": order.seed,
            "block_rows": order.block_rows,
            "buffer_blocks": order.buffer_blocks,
            "world_size": order.world_size,
        }

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor | None, Tensor]]:
        if self._next >= len(self):  # the last pass came to its end
            self._next = 0
        return self._batches(self._next)

    def _batches(self, first: int) -> Iterator[tuple[Tensor, Tensor | None, Tensor]]:
        if self._folding is None:
            self._folding = folding_on(self.device, self.layout, self.normalizer, self.dtype, self.threads)
        epoch = self.order.epoch(self._epoch)
        batches = self._samples(epoch, first)
        try:
            for number, (positions, images) in enumerate(self._folding.images(batches), first + 1):
                labels = None if self.labels is None else torch.from_numpy(self.labels[positions]).to(self.device)
                self._next = number
                yield images, labels, torch.from_numpy(positions)
                del images
        finally:
            batches.close()  # and with it the thread that reads

    def _samples(self, epoch: Epoch, first: int) -> Generator[tuple[NDArray[np.int64], Any], None, None]:
        """Positions and samples of each batch, from batch `first` on."""
        wanted = np.flatnonzero(epoch.last >= first)
        blocks = read_ahead(lambda segment: self._read(epoch.read_with(segment)), wanted.tolist(), self.prefetch)
        coming = iter(wanted.tolist())
        held: dict[int, Any] = {}
        try:
            for number in range(first, len(epoch)):
                positions, segment, place = epoch.batch(number)
                # Within a batch samples stand by segment, and mostly all are of one.
                cuts = (
                    np.zeros(1, np.int64) if segment[0] == segment[-1] else np.flatnonzero(np.diff(segment, prepend=-1))
                )
                needed = segment[cuts].tolist()
                while not held.keys() >= set(needed):
                    held[next(coming)] = next(blocks)
                ends = [*cuts[1:].tolist(), len(segment)]
                parts = [(held[s], place[a:b]) for s, a, b in zip(needed, cuts.tolist(), ends, strict=True)]
                samples = gather(parts, self._pool)
                del parts
                for s in needed:
                    if epoch.last[s] == number:
                        del held[s]
                yield positions, samples
                del samples
        finally:
            blocks.close()

    def _read(self, positions: NDArray[np.int64]) -> Any:
        rows = self.rows[positions]
        first, last = int(rows[0]), int(rows[-1])
        samples = self.source.read(slice(first, last + 1) if last - first == len(rows) - 1 else rows)
        if self.check_finite and not isinstance(samples, PackedGenotypes):
            self._refuse_infinite(samples)
        return samples

    def _refuse_infinite(self, samples: Any) -> None:
        values: NDArray[Any] = samples.data if self.source.is_sparse else samples
        if values.dtype.kind != "f" or not census(samples, threads=self.threads).infinite:
            return
        infinite = np.isinf(values)
        columns = samples.indices[infinite] if self.source.is_sparse else np.flatnonzero(infinite.any(axis=0))
        names = [self.source.feature_names[j] for j in np.unique(columns)]
        raise InputError(
            f"{self.source.name}: {counted(int(np.count_nonzero(infinite)), 'value')} infinite in "
            f"{counted(len(names), 'feature')} ({listed(names)}); expected finite numbers"
        )


def _whole_number(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        kind = "a positive integer" if least else "an integer, not negative"
        raise InputError(f"FoldLoader: {name} must be {kind}, got {short_repr(value)}")
    return int(value)


def _place(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """Rank and number of ranks, from torch.distributed where they are not given."""
    if (rank is None) != (world_size is None):
        raise InputError(
            f"FoldLoader: rank and world_size go together, got {short_repr(rank)} and {short_repr(world_size)}"
        )
    if rank is not None and world_size is not None:
        return _whole_number("rank", rank, 0), _whole_number("world_size", world_size, 1)
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1
