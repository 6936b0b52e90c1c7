"""FoldLoader: batches of images from a source, folded as they are asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pixfold._words import counted, listed, told
from pixfold.errors import InputError
from pixfold.genotypes import PackedGenotypes
from pixfold.layout import Layout
from pixfold.memory import ImagePool
from pixfold.normalize import Normalizer
from pixfold.ops._arrays import to_torch
from pixfold.ops.census import census
from pixfold.ops.fold import fold_into_fresh
from pixfold.sources.array import ArraySource
from pixfold.sources.base import Source

# Part of the free memory that samples may take when they are read once and kept.
_MEMORY_SHARE = 0.5


class FoldLoader:
    """Batches of images that can be gone through again and again; nothing larger than a batch is ever dense.

    Parameters
    ----------
    source : Source
        Where samples come from (:func:`pixfold.open_source`).
    layout : Layout
        Feature -> pixel map.
    normalizer : Normalizer, optional
        A fitted normaliser.
    rows : int64 array, optional
        Positions in the source of the samples that are used. Default: all.
    labels : int array, one per entry of `rows`, optional
        Class of each sample.
    batch_size : int
        Samples per batch; the last batch may be smaller.
    shuffle : bool
        Draw the samples in a new order in every epoch, from `seed` and the epoch's number; otherwise in the order of
        `rows`.
    seed : int
        Of the shuffle.
    dtype : {"float32", "float16", "bfloat16"}
        Of the images.
    device : torch.device or str
        Where batches are put.
    threads : int, optional
        For folding.
    check_finite : bool
        Refuse infinite values, for samples that nobody has looked at; missing ones are the normaliser's matter.

    Yields
    ------
    images : Tensor (batch, channels, height, width)
    labels : int64 Tensor (batch,), or None without labels
    indices : int64 Tensor (batch,)
        Positions in `rows`.

    Raises
    ------
    InputError
        When labels and rows differ in length, rows are not sorted, the batch size is not positive, or a value is
        infinite and `check_finite` is set.
    """

    def __init__(
        self,
        source: Source,
        layout: Layout,
        normalizer: Normalizer | None = None,
        *,
        rows: NDArray[np.int64] | None = None,
        labels: NDArray[np.int64] | None = None,
        batch_size: int = 64,
        shuffle: bool = False,
        seed: int = 0,
        dtype: str = "float32",
        device: torch.device | str = "cpu",
        threads: int | None = None,
        check_finite: bool = False,
    ) -> None:
        self.rows = np.arange(source.n_samples) if rows is None else np.asarray(rows, dtype=np.int64)
        if np.any(np.diff(self.rows) < 0):
            raise InputError("FoldLoader: rows must be sorted")
        if labels is not None and len(labels) != len(self.rows):
            raise InputError(f"FoldLoader: labels must have {len(self.rows)} entries, got {len(labels)}")
        if isinstance(batch_size, bool) or not isinstance(batch_size, int | np.integer) or batch_size < 1:
            raise InputError(f"FoldLoader: batch_size must be a positive integer, got {told(batch_size)}")
        self.source, self.layout, self.normalizer = source, layout, normalizer
        self.labels = None if labels is None else np.asarray(labels, dtype=np.int64)
        self.batch_size, self.shuffle, self.seed = int(batch_size), shuffle, seed
        self.dtype, self.device, self.threads = dtype, torch.device(device), threads
        self.check_finite = check_finite
        self._epoch = 0
        self._pool = ImagePool()

    @property
    def n_samples(self) -> int:
        """Samples per epoch."""
        return int(self.rows.size)

    def __len__(self) -> int:
        return -(-self.n_samples // self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next pass: the same seed and epoch give the same order."""
        self._epoch = int(epoch)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor | None, Tensor]]:
        order = np.arange(self.n_samples)
        if self.shuffle:
            order = np.random.Generator(np.random.PCG64([self.seed, self._epoch])).permutation(order)
        for start in range(0, self.n_samples, self.batch_size):
            # Sorted within the batch: sources read rising rows fastest, and a batch has no inner order.
            yield self._batch(np.sort(order[start : start + self.batch_size]))

    def _batch(self, positions: NDArray[np.int64]) -> tuple[Tensor, Tensor | None, Tensor]:
        rows = self.rows[positions]
        samples = self.source.read(rows)
        if self.check_finite and not isinstance(samples, PackedGenotypes):
            self._refuse_infinite(samples)
        shape = (len(positions), *self.layout.shape)
        bfloat16 = self.dtype == "bfloat16"
        out = to_torch(self._pool.empty(shape, "uint16" if bfloat16 else self.dtype), bfloat16)
        fold_into_fresh(samples, self.layout, self.normalizer, dtype=self.dtype, out=out, threads=self.threads)
        labels = None if self.labels is None else torch.from_numpy(self.labels[positions]).to(self.device)
        return out.to(self.device), labels, torch.from_numpy(positions)

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


def blocks(source: Source, rows: NDArray[np.int64]) -> Callable[[], Iterable[Any]]:
    """Give a function that reads `rows` of a source block by block, as :meth:`Normalizer.fit_blocks` wants it."""

    def read() -> Iterator[Any]:
        for start in range(0, len(rows), source.block_size):
            yield source.read(rows[start : start + source.block_size])

    return read


def in_memory(source: Source) -> Source:
    """Read a source once and keep its samples as they are (sparse stays sparse, integers stay integers).

    A source that is in memory already, or too large for half of the free memory, is returned as it is.
    """
    if isinstance(source, ArraySource):
        return source
    n_bytes = source.n_samples * source.n_features * source.dtype.itemsize
    if not source.is_sparse and n_bytes > _MEMORY_SHARE * _free_memory():
        return source
    return ArraySource(
        source.read(slice(0, source.n_samples)),
        labels=source.labels,
        feature_names=source.feature_names,
        sample_names=source.sample_names,
        name=source.name,
        categories=source.categories,
        messages=source.messages,
    )


def _free_memory() -> int:
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return 4 << 30
