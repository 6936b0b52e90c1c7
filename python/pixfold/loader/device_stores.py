"""How a DeviceDataset keeps its samples: rows, compressed sparse rows, packed genotypes.

On a CUDA device the kernels find the samples of a batch by their numbers; on the CPU they are copied first. Rows and
genotypes lie on a CUDA device in the order of the pixels that show them: whatever the layout, a fold then reads them as
they lie.
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
from pixfold.genotypes import PackedGenotypes
from pixfold.layout import Layout
from pixfold.ops.cuda.fold import fold_packed_rows
from pixfold.ops.cuda.gather import Wanted, fold_csr_at, fold_dense_at
from pixfold.ops.fold_samples import fold_into_fresh
from pixfold.sources.base import BLOCK_BYTES, Source

ROW_BYTES = 16  # rows on a CUDA device begin at multiples of this, and so does what one access brings
ORDERED_BYTES = 64 << 20  # of genotypes, one to a byte, while they are put in order


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


def stored(source: Samples, blocks: Iterator[Any], device: torch.device, layout: Layout) -> Store:
    """Bring the blocks of a source to a device, for folds under a layout."""
    if source.is_sparse:
        return _CsrStore(source, blocks, device)
    packed = isinstance(source.read(slice(0, 1)), PackedGenotypes)
    return (_GenotypeStore if packed else _RowStore)(source, blocks, device, layout)


class Store(ABC):
    """Samples on a device."""

    kind: str
    kept: tuple[Tensor, ...]  # all that is on the device for each sample

    def __init__(self, device: torch.device) -> None:
        self.device = device

    @property
    def nbytes(self) -> int:
        """Bytes on the device."""
        return sum(part.nbytes for part in self.kept)

    @abstractmethod
    def fold_into(self, positions: Tensor, wanted: Wanted) -> None:
        """Write the images of samples by their positions."""


class _RowStore(Store):
    """Dense samples, one after the other."""

    kind = "rows"

    def __init__(self, source: Samples, blocks: Iterator[Any], device: torch.device, layout: Layout) -> None:
        super().__init__(device)
        self.type, stored = _types(source.dtype)
        order = _order(layout, device)
        self.n_columns = source.n_features if order is None else order.numel()
        size = source.dtype.itemsize
        width = self.n_columns if order is None else _whole(self.n_columns * size) // size
        self.values = torch.empty((source.n_samples, width), dtype=stored, device=device)
        self.kept = (self.values,)
        first = 0
        for block in blocks:
            rows = _tensor(block).view(stored).to(device)
            to = self.values[first : first + len(block), : self.n_columns]
            to.copy_(rows if order is None else rows.index_select(1, order))
            first += len(block)

    def fold_into(self, positions: Tensor, wanted: Wanted) -> None:
        if is_on_cuda(self.values):
            row_bytes = self.values.shape[1] * self.values.element_size()
            fold_dense_at(self.values.view(self.type)[:, : self.n_columns], positions * row_bytes, wanted)
        else:
            _fold_copied(self.values.index_select(0, positions).view(self.type), wanted)


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

    def __init__(self, source: Samples, blocks: Iterator[Any], device: torch.device, layout: Layout) -> None:
        super().__init__(device)
        order = _order(layout, device)
        self.n_columns = source.n_features if order is None else order.numel()
        self.row_bytes = -(-self.n_columns // 4)
        width = self.row_bytes if order is None else _whole(self.row_bytes)
        self.bits = torch.empty((source.n_samples, width), dtype=torch.uint8, device=device)
        self.kept = (self.bits,)
        counts: set[bool] = set()
        first = 0
        for block in blocks:
            counts.add(block.count_first)
            # A few at a time where they are put in order: that takes a byte for each genotype.
            step = len(block) if order is None else max(1, ORDERED_BYTES // max(1, self.n_columns))
            for start in range(0, len(block), step):
                rows = _tensor(block.bits[start : start + step]).to(device)
                to = self.bits[first : first + len(rows), : self.row_bytes]
                to.copy_(rows if order is None else _ordered_genotypes(rows, order))
                first += len(rows)
        (self.count_first,) = counts
        self.values = PackedGenotypes(np.zeros((0, 1), np.uint8), 1, count_first=self.count_first).code_values()

    def fold_into(self, positions: Tensor, wanted: Wanted) -> None:
        if is_on_cuda(self.bits):
            fold_packed_rows(
                self.bits[:, : self.row_bytes],
                self.n_columns,
                wanted.layout,
                wanted.formula,
                values=self.values,
                dtype=wanted.dtype,
                out=wanted.images,
                samples=positions,
                by_slot=True,
            )
        else:
            rows = PackedGenotypes(self.bits.index_select(0, positions), self.n_columns, count_first=self.count_first)
            _fold_copied(rows, wanted)


def _fold_copied(samples: Any, wanted: Wanted) -> None:
    # All checks were made when the samples were read.
    fold_into_fresh(samples, wanted.layout, wanted.formula, dtype=wanted.dtype, out=wanted.images, threads=None)


def _order(layout: Layout, device: torch.device) -> Tensor | None:
    """The features that have a pixel, in the order of the pixels, for samples on a CUDA device."""
    if not is_on_cuda(torch.empty(0, device=device)):
        return None
    return torch.from_numpy(np.array(layout.slot_feature, dtype=np.int64)).to(device)


def _whole(n_bytes: int) -> int:
    return -(-n_bytes // ROW_BYTES) * ROW_BYTES


def _ordered_genotypes(bits: Tensor, order: Tensor) -> Tensor:
    """Rows of the genotypes that `order` names; unused bits are 0."""
    codes = (bits.index_select(1, order // 4) >> (2 * (order % 4)).to(torch.uint8)) & 3
    codes = torch.nn.functional.pad(codes, (0, -codes.shape[1] % 4)).view(len(bits), -1, 4)
    return codes[..., 0] | codes[..., 1] << 2 | codes[..., 2] << 4 | codes[..., 3] << 6


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
