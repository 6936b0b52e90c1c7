"""FoldLoader: batches of images from a source, folded as they are asked for."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from pixfold.errors import InputError
from pixfold.image_pool import ImagePool
from pixfold.layout import Layout
from pixfold.loader.arguments import (
    check_features,
    check_formula,
    check_order,
    device_of,
    image_dtype,
    labels_of,
    place_of,
)
from pixfold.loader.batch_rows import batch_rows
from pixfold.loader.folding import Folding, folding_on
from pixfold.loader.order import Epoch, Order
from pixfold.normalize.normalizer import Normalizer
from pixfold.sources import normalize_rows, open_source
from pixfold.stream.blocks import read_ahead, sample_bytes
from pixfold.stream.finite import check_finite
from pixfold.util.arguments import threads_argument
from pixfold.util.checks import whole_number
from pixfold.util.sizes import bytes_of, in_words
from pixfold.util.text import counted

_MEMORY = 512 * 2**20
# Large enough that a disk is read at its speed, small enough that its memory stays in the caches until it is folded.
_BLOCK_BYTES = 4 * 2**20
_AHEAD = 2
_BATCHES_ALIVE = 3  # in use, being made, and the one before

Batch = tuple[Tensor, Tensor | None, Tensor]


class FoldLoader(IterableDataset[Batch]):
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
    rows : int array or boolean mask, optional
        Positions in the source of the samples that are used, in any order; a position that is repeated (a bootstrap)
        is a sample of its own each time. Default: all.
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
    share : {"samples", "batches"}
        What several ranks share: see Notes.

    Yields
    ------
    images : Tensor (batch, channels, height, width)
    labels : int64 Tensor (batch,), or None without labels
    indices : int64 Tensor (batch,)
        Positions in `rows`.

    Raises
    ------
    InputError
        For an argument that is not as described; for a budget that does not hold the blocks; for an infinite value
        where `check_finite` is set; and what the source raises while it is read.

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

    With ``share="batches"`` all ranks go through the batches of a single rank, and each gets a part of every batch:
    what they add up is what one process has. Parts of a batch differ by one sample at most. Under a block shuffle of 8
    blocks or more for each rank, a rank gets the samples of its own blocks and reads no others, so that parts are even
    on average; a part may be empty. :attr:`part` says where its samples stand in the whole batch.

    *Resuming.* :meth:`state_dict` says after which batch an epoch stands; a loader of the same arguments that is given
    it goes on with exactly the remaining batches. Without a state, every pass begins with the first batch.

    *Workers.* ``DataLoader(loader, batch_size=None, num_workers=2)`` gives the same batches in the same order: worker w
    of W makes batches w, w + W, w + 2 W, ..., so that each sample comes once. A loader reads ahead and folds in several
    threads by itself, so that workers seldom make it faster. The states of the workers' copies do not come back:
    :meth:`state_dict` of the loader in the main process stays where it was. To resume there, count the batches and load
    ``loader.state_dict() | {"batch": count}`` before the DataLoader starts. A loader that is made within a worker with
    `rank` and `world_size` is not shared again. Images for a CUDA device cannot be made in workers.
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
        share: str = "samples",
    ) -> None:
        check_formula("FoldLoader", layout, normalizer)
        given = {"batch_size": batch_size, "seed": seed, "check_finite": check_finite, "prefetch": prefetch}
        check_order({**given, "rank": rank, "world_size": world_size}, shuffle, share)
        threads_argument("FoldLoader", threads)
        self.layout, self.normalizer, self.threads, self.check_finite = layout, normalizer, threads, check_finite
        self.batch_size, self.seed = int(batch_size), int(seed)
        self.dtype, self.device = image_dtype("FoldLoader", dtype), device_of("FoldLoader", device)
        budget = None if memory is None else bytes_of("FoldLoader", memory)
        self._shared_by_caller = rank is not None and get_worker_info() is not None
        rank, world_size = place_of(rank, world_size)

        self.source = open_source(source)
        check_features("FoldLoader", "source", self.source.n_features, layout)
        n = self.source.n_samples
        self.rows = np.arange(n)[slice(None) if rows is None else normalize_rows(rows, n, "FoldLoader")]
        self.labels = None if labels is None else labels_of("FoldLoader", labels, len(self.rows))
        held = self.source.held_in_memory
        self.prefetch = (0 if held else _AHEAD) if prefetch is None else int(prefetch)
        if shuffle == "auto":
            shuffle = "full" if held else "block"
        self.shuffle = "full" if shuffle is True else shuffle
        block_rows, buffer_blocks = 0, 0
        if self.shuffle == "block" or (self.shuffle is False and not held):
            block_rows, buffer_blocks = self._blocks(budget, held)
        self.order = Order(
            self.rows.size,
            self.batch_size,
            self.shuffle,
            self.seed,
            block_rows,
            buffer_blocks,
            rank,
            world_size,
            share,
        )
        # A shuffle may draw from the rows in any order: in that of the source, what is read together lies together.
        self._by_row = np.argsort(self.rows, kind="stable") if self.shuffle else np.arange(self.rows.size)
        self._epoch = 0
        self._first = 0  # batch that the next pass begins with
        self._next = 0  # batch of the pass under way that comes next
        self._part = np.empty(0, dtype=np.int64), 0
        self._pool = ImagePool()
        self._folding: Folding | None = None

    def _blocks(self, budget: int | None, held: bool) -> tuple[int, int]:
        """How many samples are read together, and from how many such blocks batches are drawn."""
        each = sample_bytes(self.source)
        chunk = 1 if held else self.source.chunk_rows
        unit = chunk if self.shuffle == "block" or chunk > self.batch_size else self.batch_size
        # One block that is drawn from, those that wait, and one on its way.
        least, beside, block = self.prefetch + 2, 0, _BLOCK_BYTES
        if budget is not None:
            image = self.layout.n_pixels * (4 if self.dtype == "float32" else 2)
            beside = self.batch_size * (_BATCHES_ALIVE * image + each)
            block = min(block, max(0, budget - beside) // (2 * least))
        rows = max(block // each // unit * unit, unit)
        needed = least * rows * each + beside
        if budget is not None and budget < needed:
            raise InputError(
                f"FoldLoader: memory must be at least {needed:,} bytes for {self.source.name}, where {least} "
                f"blocks of {counted(rows, 'sample')} take {in_words(needed - beside)} and batches of "
                f"{counted(self.batch_size, 'sample')} {in_words(beside)}, got {budget:,} bytes"
            )
        if self.shuffle is False:
            return rows, 1
        return rows, max(1, ((_MEMORY if budget is None else budget) - beside) // (rows * each) - least + 1)

    @property
    def part(self) -> tuple[NDArray[np.int64], int]:
        """Places of the samples that came last in their whole batch, which ranks may share, and its size."""
        return self._part

    @property
    def n_samples(self) -> int:
        """Samples per epoch, of this rank; of all ranks where they share batches."""
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

        A pass that is to be resumed half-way (:meth:`load_state_dict`) goes on where it is of the same epoch.

        Raises
        ------
        InputError
            When `epoch` is no integer of 0 or more.
        """
        whole_number(0)("FoldLoader.set_epoch", "epoch", epoch)
        if int(epoch) != self._epoch:
            self._first = self._next = 0
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
        op, own = "FoldLoader.load_state_dict", self._identity()
        missing = [name for name in ("epoch", "batch", *own) if name not in state]
        if missing:
            raise InputError(f"{op}: state must be what state_dict gave, got one without {missing[0]!r}")
        for name, value in own.items():
            if state[name] != value:
                raise InputError(
                    f"{op}: state must be of a loader with {name}={value!r}, got {state[name]!r}: "
                    "its batches are others"
                )
        whole_number(0)(op, "epoch", state["epoch"])
        whole_number(0, below=len(self) + 1)(op, "batch", state["batch"])
        self._epoch = int(state["epoch"])
        self._first = self._next = int(state["batch"])

    def _identity(self) -> dict[str, Any]:
        order = self.order
        return {
            "n_samples": order.n_samples,
            "batch_size": order.batch_size,
            "shuffle": order.shuffle,
            "seed": order.seed,
            "block_rows": order.block_rows,
            "buffer_blocks": order.buffer_blocks,
            # Batches are those of one rank where all share them.
            "world_size": 1 if order.share == "batches" else order.world_size,
        }

    def __iter__(self) -> Iterator[Batch]:
        # A state that stands at the end of its pass is of a pass that is over.
        first, self._first = self._first if self._first < len(self) else 0, 0
        self._next = first
        return self._batches(first)

    def _batches(self, first: int) -> Iterator[Batch]:
        worker, workers = self._worker()
        numbers = np.arange(first + worker, len(self), workers)
        epoch = self.order.epoch(self._epoch)
        if len(numbers) < len(epoch):
            epoch = epoch.part(numbers)
        if self._folding is None:
            self._folding = folding_on(self.device, self.layout, self.normalizer, self.dtype, self.threads)
        batches = self._samples(epoch)
        try:
            folded = iter(self._folding.images(batches))
            for at, number in enumerate(numbers.tolist()):
                is_empty = epoch.cuts[at] == epoch.cuts[at + 1]
                places, images = self._nothing() if is_empty else next(folded)
                self._part = epoch.within[epoch.cuts[at] : epoch.cuts[at + 1]], int(epoch.sizes[at])
                positions = self._by_row[places]
                labels = None if self.labels is None else torch.from_numpy(self.labels[positions]).to(self.device)
                # A worker goes on with its next batch when a state brings it here: see __iter__ and the first line.
                self._next = number + workers - worker
                yield images, labels, torch.from_numpy(positions)
                del images
            for _ in folded:  # what it does at its end
                pass
        finally:
            batches.close()  # and with it the thread that reads

    def _nothing(self) -> tuple[NDArray[np.int64], Tensor]:
        """Of a batch of which this rank has no sample."""
        shape, dtype = (0, *self.layout.shape), getattr(torch, self.dtype)
        return np.empty(0, dtype=np.int64), torch.empty(shape, dtype=dtype, device=self.device)

    def _worker(self) -> tuple[int, int]:
        """Number of this worker of a DataLoader, and how many there are."""
        info = get_worker_info()
        if info is None or self._shared_by_caller:
            return 0, 1
        if self.device.type == "cuda":
            raise InputError(
                f"FoldLoader: device must be 'cpu' in a worker of a DataLoader, got {str(self.device)!r}: "
                "give num_workers=0"
            )
        return info.id, info.num_workers

    def _samples(self, epoch: Epoch) -> Generator[tuple[NDArray[np.int64], Any], None, None]:
        """Places in the epoch's order, and samples, of each batch."""
        coming = iter(range(len(epoch.last)))
        blocks = read_ahead(lambda segment: self._read(epoch.read_with(segment)), range(len(epoch.last)), self.prefetch)
        held: dict[int, Any] = {}
        try:
            for number in range(len(epoch)):
                places, segment, place = epoch.batch(number)
                if not len(places):
                    continue
                # Samples of one segment follow each other, and mostly all are of one.
                cuts = np.flatnonzero(np.diff(segment, prepend=-1)).tolist()
                needed = segment[cuts].tolist()
                while not held.keys() >= set(needed):
                    held[next(coming)] = next(blocks)
                ends = [*cuts[1:], len(segment)]
                parts = [(held[s], place[a:b]) for s, a, b in zip(needed, cuts, ends, strict=True)]
                samples = batch_rows(parts, self._pool.empty)
                del parts
                for s in needed:
                    if epoch.last[s] == number:
                        del held[s]
                yield places, samples
                del samples
        finally:
            blocks.close()

    def _read(self, places: NDArray[np.int64]) -> Any:
        rows = self.rows[self._by_row[places]]
        # Sources read rising rows best, and each once.
        rising, where = (rows, None) if (np.diff(rows) > 0).all() else np.unique(rows, return_inverse=True)
        first, last = int(rising[0]), int(rising[-1])
        samples = self.source.read(slice(first, last + 1) if last - first == len(rising) - 1 else rising)
        if self.check_finite:
            check_finite(self.source, samples, rising, self.threads)
        return samples if where is None else batch_rows([(samples, where)])
