"""How a DeviceDataset keeps its samples: rows, interleaved groups, compressed sparse rows, packed genotypes.

On a CUDA device the kernels find the samples of a batch by their numbers; on the CPU they are copied first.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pixfold.arrays.cuda import OnCuda, is_on_cuda
from pixfold.errors import InputError
from pixfold.genotypes import PackedGenotypes
from pixfold.ops.cuda.fold import fold_packed_rows
from pixfold.ops.cuda.gather import Wanted, fold_csr_at, fold_dense_at
from pixfold.ops.fold_samples import fold_into_fresh
from pixfold.sources.base import BLOCK_BYTES, Source

SECTOR_BYTES = 32  # a GPU reads at least this much to get a single value


class OnDevice:
    """Dense samples in a tensor on a CUDA device, which do not leave it."""

    is_sparse = False

    def __init__(self, x: OnCuda) -> None:
        self.n_samples, self.n_features = x.shape
        self.dtype = x.dtype
        self.block_size = max(1, BLOCK_BYTES // (4 * max(1, self.n_features)))
        self._tensor = x.tensor

    def read(self, rows: slice) -> Tensor:
        """Samples of consecutive positions, bfloat16 as float32."""
        found: Tensor = self._tensor[rows]
        return found.float() if found.dtype == torch.bfloat16 else found


Samples = Source | OnDevice


def stored(source: Samples, blocks: Iterator[Any], device: torch.device, group_seed: int | None) -> Store:
    """Bring the blocks of a source to a device; with a seed, dense samples in random groups that are interleaved."""
    packed = isinstance(source.read(slice(0, 1)), PackedGenotypes)
    if group_seed is not None and (packed or source.is_sparse):
        kind = "packed genotypes" if packed else "sparse samples"
        raise InputError(f"DeviceDataset: interleave must be False for {kind}, got True")
    if group_seed is not None:
        return _InterleavedStore(source, blocks, device, group_seed)
    return (_GenotypeStore if packed else _CsrStore if source.is_sparse else _RowStore)(source, blocks, device)


class Store(ABC):
    """Samples on a device, drawn one by one where a subclass says nothing else."""

    kind: str
    group = 1  # samples that are drawn together
    kept: tuple[Tensor, ...]  # all that is on the device for each sample

    def __init__(self, device: torch.device) -> None:
        self.device = device

    @property
    def nbytes(self) -> int:
        """Bytes on the device."""
        return sum(part.nbytes for part in self.kept)

    def members(self, groups: NDArray[np.int64]) -> Tensor:
        """Positions of the samples of some groups, on the device."""
        return torch.from_numpy(groups).to(self.device)

    @abstractmethod
    def fold_into(self, positions: Tensor, wanted: Wanted) -> None:
        """Write the images of samples by their positions."""


class _RowStore(Store):
    """Dense samples, one after the other."""

    kind = "rows"

    def __init__(self, source: Samples, blocks: Iterator[Any], device: torch.device) -> None:
        super().__init__(device)
        self.type, stored = _types(source.dtype)
        self.values = torch.empty((source.n_samples, source.n_features), dtype=stored, device=device)
        self.kept = (self.values,)
        _fill(self.values, blocks)

    def fold_into(self, positions: Tensor, wanted: Wanted) -> None:
        if is_on_cuda(self.values):
            row_bytes = self.values.shape[1] * self.values.element_size()
            fold_dense_at(self.values.view(self.type), positions * row_bytes, wanted)
        else:
            _fold_copied(self.values.index_select(0, positions).view(self.type), wanted)


class _InterleavedStore(Store):
    """Dense samples in groups: (groups, features, samples of a group)."""

    kind = "interleaved"

    def __init__(self, source: Samples, blocks: Iterator[Any], device: torch.device, seed: int) -> None:
        super().__init__(device)
        self.type, stored = _types(source.dtype)
        self.n_samples = source.n_samples
        self.group = SECTOR_BYTES // source.dtype.itemsize
        n_groups = -(-source.n_samples // self.group)
        order = torch.from_numpy(np.random.Generator(np.random.PCG64(seed)).permutation(source.n_samples))
        self.place = torch.empty_like(order)  # of each sample, in groups
        self.place[order] = torch.arange(source.n_samples)
        self.order, self.place = order.to(device), self.place.to(device)
        self.values = torch.zeros((n_groups, source.n_features, self.group), dtype=stored, device=device)
        self.kept = (self.values,)
        first = 0
        for block in blocks:
            place = self.place[first : first + len(block)]
            self.values[place // self.group, :, place % self.group] = _tensor(block).view(stored).to(device)
            first += len(block)
        size = self.values.element_size()
        self.offset = (self.place // self.group * source.n_features * self.group + self.place % self.group) * size

    def members(self, groups: NDArray[np.int64]) -> Tensor:
        places = (groups[:, None] * self.group + np.arange(self.group)).ravel()
        return self.order[torch.from_numpy(places[places < self.n_samples]).to(self.order.device)]

    def fold_into(self, positions: Tensor, wanted: Wanted) -> None:
        if is_on_cuda(self.values):
            fold_dense_at(self.values[0].view(self.type).T, self.offset[positions], wanted)
        else:
            place = self.place[positions]
            samples = self.values[place // self.group, :, place % self.group].view(self.type)
            _fold_copied(samples, wanted)


class _CsrStore(Store):
    """Compressed sparse rows."""

    kind = "sparse"

    def __init__(self, source: Samples, blocks: Iterator[Any], device: torch.device) -> None:
        super().__init__(device)
        with warnings.catch_warnings():  # torch warns at the first such tensor that the layout is new
            warnings.simplefilter("ignore")
            torch.sparse_csr_tensor(torch.tensor([0, 0]), torch.tensor([0][:0]), torch.tensor([0.0][:0]), (1, 1))
        parts = list(blocks)
        lengths = np.concatenate([np.diff(part.indptr) for part in parts])
        self.row_start = torch.from_numpy(np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])).to(device)
        self.type, stored = _types(source.dtype)
        self.values = torch.cat([_tensor(part.data).view(stored).to(device) for part in parts])
        self.columns = torch.cat([torch.from_numpy(part.indices.astype(np.int32)).to(device) for part in parts])
        self.kept = (self.values, self.columns, self.row_start)
        self.n_features = source.n_features

    def fold_into(self, positions: Tensor, wanted: Wanted) -> None:
        if is_on_cuda(self.values):
            parts = (self.values.view(self.type), self.columns, self.row_start)
            fold_csr_at(parts, self.n_features, positions, wanted)
        else:
            _fold_copied(self._rows(positions), wanted)

    def _rows(self, positions: Tensor) -> Tensor:
        first = self.row_start[positions]
        length = self.row_start[positions + 1] - first
        row_start = torch.nn.functional.pad(length.cumsum(0), (1, 0))
        # Entry e of the batch is entry e - row_start + first of the store.
        entries = torch.arange(int(row_start[-1]), device=positions.device)
        entries += torch.repeat_interleave(first - row_start[:-1], length, output_size=entries.numel())
        return torch.sparse_csr_tensor(
            row_start,
            self.columns[entries].to(row_start.dtype),
            self.values[entries].view(self.type),
            (positions.numel(), self.n_features),
            check_invariants=False,
        )


class _GenotypeStore(Store):
    """Genotypes at two bits each."""

    kind = "packed"

    def __init__(self, source: Samples, blocks: Iterator[Any], device: torch.device) -> None:
        super().__init__(device)
        self.n_features = source.n_features
        self.bits = torch.empty((source.n_samples, -(-source.n_features // 4)), dtype=torch.uint8, device=device)
        self.kept = (self.bits,)
        counts: set[bool] = set()

        def bits() -> Iterator[Any]:
            for block in blocks:
                counts.add(block.count_first)
                yield block.bits

        _fill(self.bits, bits())
        (self.count_first,) = counts
        self.values = PackedGenotypes(np.zeros((0, 1), np.uint8), 1, count_first=self.count_first).code_values()

    def fold_into(self, positions: Tensor, wanted: Wanted) -> None:
        if is_on_cuda(self.bits):
            fold_packed_rows(
                self.bits,
                self.n_features,
                wanted.layout,
                wanted.formula,
                values=self.values,
                dtype=wanted.dtype,
                out=wanted.images,
                samples=positions,
            )
        else:
            rows = PackedGenotypes(self.bits.index_select(0, positions), self.n_features, count_first=self.count_first)
            _fold_copied(rows, wanted)


def _fold_copied(samples: Any, wanted: Wanted) -> None:
    # All checks were made when the samples were read.
    fold_into_fresh(samples, wanted.layout, wanted.formula, dtype=wanted.dtype, out=wanted.images, threads=None)


def _fill(values: Tensor, blocks: Iterator[Any]) -> None:
    first = 0
    for block in blocks:
        values[first : first + len(block)] = _tensor(block).view(values.dtype).to(values.device)
        first += len(block)


def _tensor(block: NDArray[Any] | Tensor) -> Tensor:
    if isinstance(block, Tensor):
        return block
    # A read-only array makes torch warn; nothing here writes to it.
    return torch.from_numpy(block if block.flags.writeable else block.copy())


def _types(dtype: np.dtype[Any]) -> tuple[torch.dtype, torch.dtype]:
    """The type of the samples, and a type of the same size that torch can index."""
    own: torch.dtype = getattr(torch, dtype.name)
    signed = {torch.uint16: torch.int16, torch.uint32: torch.int32, torch.uint64: torch.int64}
    return own, signed.get(own, own)
