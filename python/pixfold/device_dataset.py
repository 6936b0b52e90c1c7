"""DeviceDataset: samples that stay on a device as compactly as they came, and become images batch by batch."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pixfold._optional import require
from pixfold._words import told
from pixfold.errors import InputError
from pixfold.genotypes import PackedGenotypes
from pixfold.layout import Layout
from pixfold.normalize import Normalizer
from pixfold.ops._arrays import is_torch, layout_argument
from pixfold.ops.fold import dtype_name, fold_into_fresh
from pixfold.sources import Source, open_source

SECTOR_BYTES = 32  # what a GPU's memory gives for a single value that is asked for


class DeviceDataset:
    """Samples kept on a device in the type they came in; a batch is folded from them by the numbers of its samples.

    Nothing dense larger than a batch ever exists, and no sample crosses the bus twice. What a matrix takes:

    ================================ ====================== ====================================================
    samples                          bytes per value        488,000 samples x 805,000 features
    ================================ ====================== ====================================================
    packed genotypes                 1/4                    98 GB: on one card of 141 GB
    uint8 or int8                    1                      393 GB
    uint16, int16, float16           2                      786 GB
    float32                          4                      1,571 GB
    sparse (CSR), a share s stored   (value + 4) s          157 GB of uint8 at s = 8 %
    ================================ ====================== ====================================================

    Parameters
    ----------
    X : array, sparse matrix, PackedGenotypes, source or path (n_samples, n_features)
        All that :func:`pixfold.open_source` takes, and torch tensors, dense or sparse CSR (bfloat16 as float32). It is
        read in blocks.
    layout : Layout
        Feature -> pixel map.
    normalizer : Normalizer, optional
        A fitted normaliser. The samples are checked against it once, when they are read.
    labels : int array (n_samples,), optional
        Class of each sample.
    device : torch.device or str
        Where the samples and the images are.
    dtype : {"float32", "float16", "bfloat16"}
        Of the images.
    interleave : bool
        Dense samples alone: values of one feature of 32 bytes' worth of samples (8 of float32, 16 of two bytes, 32 of
        one) lie beside each other. A card reads at least 32 bytes for a value that is asked for alone, as it is under
        an arrangement: 8 times what is used of float32; interleaved, all of it is used. Samples are put together in
        groups of that many at random, by `seed`, and :meth:`batches` draws whole groups.
    seed : int
        Of the groups.

    Raises
    ------
    InputError
        Labels of another length, another number of features than the layout's, missing or negative values that the
        normaliser does not handle, `interleave` for sparse or packed samples.
    """

    def __init__(
        self,
        X: Any,
        layout: Layout,
        normalizer: Normalizer | None = None,
        *,
        labels: ArrayLike | None = None,
        device: torch.device | str = "cuda",
        dtype: Any = "float32",
        interleave: bool = False,
        seed: int = 0,
    ) -> None:
        layout_argument("DeviceDataset", layout)
        source = open_source(_on_host(X) if is_torch(X) else X)
        if source.n_features != layout.n_features:
            raise InputError(
                f"DeviceDataset: X must have the layout's {layout.n_features} features, got {source.n_features}"
            )
        self.layout, self.normalizer = layout, normalizer
        self.dtype, self.device = dtype_name(dtype), torch.device(device)
        self.n_samples, self.n_features = source.n_samples, source.n_features
        self.labels = None if labels is None else _labels(labels, self.n_samples).to(self.device)
        self._store = _stored(source, layout, normalizer, self.device, seed if interleave else None)

    def __len__(self) -> int:
        return self.n_samples

    def __repr__(self) -> str:
        kind = type(self._store).__name__.strip("_").lower()
        return f"DeviceDataset({self.n_samples} x {self.n_features}, {kind}, {self.nbytes:,} bytes on {self.device})"

    @property
    def nbytes(self) -> int:
        """Bytes that the samples take on the device."""
        return self._store.nbytes

    @property
    def group_size(self) -> int:
        """How many samples are drawn together: 1, or what `interleave` puts beside each other."""
        return self._store.group

    def fold(self, indices: Any, *, out: Tensor | None = None) -> Tensor:
        """Fold some samples.

        Parameters
        ----------
        indices : int array or tensor (batch,)
            Positions of the samples, in any order, repeated or not; on the device or not.
        out : Tensor (batch, channels, height, width), optional
            Where the images are written.

        Returns
        -------
        images : Tensor (batch, channels, height, width)
            On the dataset's device.

        Raises
        ------
        InputError
            For a position that there is not.
        """
        wanted = torch.as_tensor(indices)
        whole = not (wanted.is_floating_point() or wanted.is_complex() or wanted.dtype == torch.bool)
        if wanted.dim() != 1 or not (whole or wanted.numel() == 0):  # torch reads [] as floats
            raise InputError(
                f"DeviceDataset.fold: indices must be integers of shape (batch,), got {wanted.dtype} of shape "
                f"{tuple(wanted.shape)}"
            )
        if wanted.numel() and not 0 <= int(wanted.min()) <= int(wanted.max()) < self.n_samples:
            raise InputError(
                f"DeviceDataset.fold: indices must be in [0, {self.n_samples}), got {int(wanted.min())} to "
                f"{int(wanted.max())}"
            )
        if out is None:
            out = self._images(wanted.numel())
        self._store.fold_into(wanted.to(self.device, torch.int64), self, out)
        return out

    def _images(self, n: int) -> Tensor:
        return torch.empty((n, *self.layout.shape), dtype=getattr(torch, self.dtype), device=self.device)

    def _fold_into(self, samples: Any, images: Tensor) -> None:
        # What could be refused was refused when the samples were read.
        fold_into_fresh(samples, self.layout, self.normalizer, dtype=self.dtype, out=images, threads=None)

    def batches(
        self, batch_size: int, *, shuffle: bool = False, seed: int = 0, epoch: int = 0, drop_last: bool = False
    ) -> Iterator[tuple[Tensor, Tensor | None, Tensor]]:
        """Go through all samples once.

        Parameters
        ----------
        batch_size : int
            Samples per batch; the last batch may be smaller. A multiple of :attr:`group_size`.
        shuffle : bool
            In a new order in every epoch, from `seed` and `epoch`. Where samples are interleaved, whole groups are
            drawn: each sample meets the same others of its group in every batch, and any others.
        seed, epoch : int
            Of the shuffle.
        drop_last : bool
            Leave a last, smaller batch out.

        Yields
        ------
        images : Tensor (batch, channels, height, width)
        labels : int64 Tensor (batch,), or None without labels
        indices : int64 Tensor (batch,)
            Positions of the samples in `X`.

        Raises
        ------
        InputError
            When the batch size is not a positive multiple of the group size.
        """
        group = self.group_size
        if isinstance(batch_size, bool) or not isinstance(batch_size, int | np.integer) or batch_size < 1:
            raise InputError(f"DeviceDataset.batches: batch_size must be a positive integer, got {told(batch_size)}")
        if batch_size % group:
            raise InputError(
                f"DeviceDataset.batches: batch_size must be a multiple of the {group} samples that are interleaved, "
                f"got {batch_size}"
            )
        return self._batches(int(batch_size), shuffle, seed, epoch, drop_last)

    def _batches(
        self, batch_size: int, shuffle: bool, seed: int, epoch: int, drop_last: bool
    ) -> Iterator[tuple[Tensor, Tensor | None, Tensor]]:
        groups = np.arange(-(-self.n_samples // self.group_size))
        if shuffle:
            groups = np.random.Generator(np.random.PCG64([seed, epoch])).permutation(groups)
        per_batch = batch_size // self.group_size
        for start in range(0, len(groups), per_batch):
            chosen = groups[start : start + per_batch]
            # Sorted within the batch: a batch has no inner order, and neighbours in memory are read together.
            images, positions = self._store.fold_groups(np.sort(chosen), self)
            if drop_last and len(positions) < batch_size:
                continue
            yield images, None if self.labels is None else self.labels[positions], positions


class _Store(Protocol):
    """Samples on a device."""

    group: int  # samples that are drawn together

    @property
    def nbytes(self) -> int: ...

    def fold_into(self, positions: Tensor, dataset: DeviceDataset, images: Tensor) -> None:
        """Write the images of samples by their positions."""

    def fold_groups(self, groups: NDArray[np.int64], dataset: DeviceDataset) -> tuple[Tensor, Tensor]:
        """Images of whole groups, and the positions of their samples."""


class _Single(ABC):
    """What stores have in common whose groups are single samples."""

    group = 1

    def fold_groups(self, groups: NDArray[np.int64], dataset: DeviceDataset) -> tuple[Tensor, Tensor]:
        positions = torch.from_numpy(groups).to(dataset.device)
        images = dataset._images(len(groups))
        self.fold_into(positions, dataset, images)
        return images, positions

    @abstractmethod
    def fold_into(self, positions: Tensor, dataset: DeviceDataset, images: Tensor) -> None:
        """Write the images of samples by their positions."""


class _Rows(_Single):
    """Dense samples, one after the other."""

    def __init__(self, source: Source, blocks: Iterator[Any], device: torch.device) -> None:
        self.type, stored = _types(source.dtype)
        self.values = torch.empty((source.n_samples, source.n_features), dtype=stored, device=device)
        _fill(self.values, blocks)

    @property
    def nbytes(self) -> int:
        return self.values.nbytes

    def fold_into(self, positions: Tensor, dataset: DeviceDataset, images: Tensor) -> None:
        dataset._fold_into(self.values.index_select(0, positions).view(self.type), images)


class _Interleaved:
    """Dense samples in groups: (groups, features, samples of a group)."""

    def __init__(self, source: Source, blocks: Iterator[Any], device: torch.device, seed: int) -> None:
        self.type, stored = _types(source.dtype)
        self.group = SECTOR_BYTES // source.dtype.itemsize
        n_groups = -(-source.n_samples // self.group)
        order = np.random.Generator(np.random.PCG64(seed)).permutation(source.n_samples)
        self.place = torch.empty(source.n_samples, dtype=torch.int64)  # of each sample, in groups
        self.place[torch.from_numpy(order)] = torch.arange(source.n_samples)
        self.place = self.place.to(device)
        self.order = torch.from_numpy(order).to(device)
        self.values = torch.zeros((n_groups, source.n_features, self.group), dtype=stored, device=device)
        first = 0
        for block in blocks:
            place = self.place[first : first + len(block)]
            self.values[place // self.group, :, place % self.group] = _tensor(block).view(stored).to(device)
            first += len(block)

    @property
    def nbytes(self) -> int:
        return self.values.nbytes

    def fold_into(self, positions: Tensor, dataset: DeviceDataset, images: Tensor) -> None:
        place = self.place[positions]
        samples = self.values[place // self.group, :, place % self.group].view(self.type)
        dataset._fold_into(samples, images)

    def fold_groups(self, groups: NDArray[np.int64], dataset: DeviceDataset) -> tuple[Tensor, Tensor]:
        starts = groups * self.group
        sizes = np.minimum(dataset.n_samples - starts, self.group)
        positions = torch.cat([self.order[start : start + size] for start, size in zip(starts, sizes, strict=True)])
        images = dataset._images(len(positions))
        first = 0
        for number, size in zip(groups, sizes, strict=True):
            beside = self.values[number].view(self.type)[:, :size].t()
            dataset._fold_into(beside, images[first : first + size])
            first += size
        return images, positions


class _Sparse(_Single):
    """Compressed sparse rows."""

    def __init__(self, source: Source, blocks: Iterator[Any], device: torch.device) -> None:
        with warnings.catch_warnings():  # that the layout is new, which torch says of the first such tensor
            warnings.simplefilter("ignore")
            torch.sparse_csr_tensor(torch.tensor([0, 0]), torch.tensor([0][:0]), torch.tensor([0.0][:0]), (1, 1))
        parts = list(blocks)
        lengths = np.concatenate([np.diff(part.indptr) for part in parts])
        self.row_start = torch.from_numpy(np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])).to(device)
        self.type, stored = _types(source.dtype)
        self.values = torch.cat([_tensor(part.data).view(stored).to(device) for part in parts])
        self.columns = torch.cat([torch.from_numpy(part.indices.astype(np.int32)).to(device) for part in parts])
        self.n_features = source.n_features

    @property
    def nbytes(self) -> int:
        return self.values.nbytes + self.columns.nbytes + self.row_start.nbytes

    def fold_into(self, positions: Tensor, dataset: DeviceDataset, images: Tensor) -> None:
        first = self.row_start[positions]
        length = self.row_start[positions + 1] - first
        row_start = torch.nn.functional.pad(length.cumsum(0), (1, 0))
        # Entry e of the batch is entry e - row_start + first of the store.
        entries = torch.arange(int(row_start[-1]), device=positions.device)
        entries += torch.repeat_interleave(first - row_start[:-1], length, output_size=entries.numel())
        rows = torch.sparse_csr_tensor(
            row_start,
            self.columns[entries].to(row_start.dtype),
            self.values[entries].view(self.type),
            (positions.numel(), self.n_features),
            check_invariants=False,
        )
        dataset._fold_into(rows, images)


class _Packed(_Single):
    """Genotypes at two bits each."""

    def __init__(self, source: Source, blocks: Iterator[Any], device: torch.device) -> None:
        self.n_features = source.n_features
        self.bits = torch.empty((source.n_samples, -(-source.n_features // 4)), dtype=torch.uint8, device=device)
        counts: set[bool] = set()

        def bits() -> Iterator[Any]:
            for block in blocks:
                counts.add(block.count_first)
                yield block.bits

        _fill(self.bits, bits())
        (self.count_first,) = counts
        self.values = PackedGenotypes(np.zeros((0, 1), np.uint8), 1, count_first=self.count_first).code_values()

    @property
    def nbytes(self) -> int:
        return self.bits.nbytes

    def fold_into(self, positions: Tensor, dataset: DeviceDataset, images: Tensor) -> None:
        rows = self.bits.index_select(0, positions)
        if rows.is_cuda:
            from pixfold.ops.cuda import fold_packed_rows

            fold_packed_rows(
                rows,
                self.n_features,
                dataset.layout,
                dataset.normalizer,
                values=self.values,
                dtype=dataset.dtype,
                out=images,
            )
        else:
            dataset._fold_into(PackedGenotypes(rows, self.n_features, count_first=self.count_first), images)


def _stored(
    source: Source, layout: Layout, normalizer: Normalizer | None, device: torch.device, group_seed: int | None
) -> _Store:
    first = source.read(slice(0, 1))
    blocks = _checked(source, layout, normalizer)
    packed = isinstance(first, PackedGenotypes)
    if group_seed is not None and (packed or source.is_sparse):
        kind = "packed genotypes" if packed else "sparse samples"
        raise InputError(f"DeviceDataset: interleave must be False for {kind}, got True: it is for dense samples")
    if packed:
        return _Packed(source, blocks, device)
    if source.is_sparse:
        return _Sparse(source, blocks, device)
    if group_seed is not None:
        return _Interleaved(source, blocks, device, group_seed)
    return _Rows(source, blocks, device)


def _on_host(X: Tensor) -> Any:
    """A tensor as what sources are made of."""
    X = X.detach().cpu()
    X = X.float() if X.dtype == torch.bfloat16 else X
    if X.layout != torch.sparse_csr:
        return X.numpy()
    sparse = require("scipy.sparse", "io", "DeviceDataset of sparse tensors")
    parts = (X.values().numpy(), X.col_indices().numpy(), X.crow_indices().numpy())
    return sparse.csr_array(parts, shape=tuple(X.shape))


def _checked(source: Source, layout: Layout, normalizer: Normalizer | None) -> Iterator[Any]:
    for start in range(0, source.n_samples, source.block_size):
        block = source.read(slice(start, min(start + source.block_size, source.n_samples)))
        if normalizer is not None:
            normalizer.check(block, layout)
        yield block


def _fill(values: Tensor, blocks: Iterator[Any]) -> None:
    first = 0
    for block in blocks:
        values[first : first + len(block)] = _tensor(block).view(values.dtype).to(values.device)
        first += len(block)


def _tensor(block: NDArray[Any]) -> Tensor:
    # A read-only array makes torch warn; nothing here writes to it.
    return torch.from_numpy(block if block.flags.writeable else block.copy())


def _types(dtype: np.dtype[Any]) -> tuple[torch.dtype, torch.dtype]:
    """The samples' type, and one of the same size that torch can index."""
    own: torch.dtype = getattr(torch, dtype.name)
    signed = {torch.uint16: torch.int16, torch.uint32: torch.int32, torch.uint64: torch.int64}
    return own, signed.get(own, own)


def _labels(labels: ArrayLike, n_samples: int) -> Tensor:
    values = np.asarray(labels.cpu() if isinstance(labels, Tensor) else labels)
    if values.shape != (n_samples,) or values.dtype.kind not in "iu":
        raise InputError(
            f"DeviceDataset: labels must be integers of shape ({n_samples},), got {values.dtype} of shape "
            f"{values.shape}"
        )
    return torch.from_numpy(values.astype(np.int64))
