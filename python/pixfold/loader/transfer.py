"""Samples on their way to a CUDA device: one copy of compact bytes per batch, while the device works."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pixfold.arrays.csr import Csr
from pixfold.arrays.entry import cpu_samples
from pixfold.arrays.packed import Packed
from pixfold.formula import Fitted
from pixfold.layout import Layout
from pixfold.ops.arguments import formula_of
from pixfold.ops.cuda.fold import fold_packed_rows
from pixfold.ops.fold_samples import fold_into_fresh

_ALIGNMENT = 64
_BUFFERS = 2


class Sent(NamedTuple):
    """A batch on its way to the device: its bytes there, their kind, and the event after which they have arrived."""

    kind: str
    shape: tuple[int, ...]
    parts: tuple[Tensor, ...]
    code_values: NDArray[np.float32] | None
    there: Any


class Transfer:
    """Two pinned buffers that take turns, and a stream of copies beside the one of kernels.

    Parameters
    ----------
    device : torch.device
        A CUDA device; any other is copied to as well, without pinned memory or streams.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.cuda: Any = torch.cuda  # torch has no types for its classes
        self.stream = self.cuda.Stream(device) if device.type == "cuda" else None
        self.buffers: list[Tensor] = [torch.empty(0, dtype=torch.uint8)] * _BUFFERS
        self.free: list[Any] = [None] * _BUFFERS  # the event after which each may be overwritten
        self.turn = 0

    def send(self, batch: Any) -> Sent:
        """Begin to copy samples: dense, CSR or packed genotypes."""
        x = cpu_samples("FoldLoader", batch)
        values: NDArray[np.float32] | None = None
        if isinstance(x, Csr):
            # torch wants indices and pointers of one type.
            kind, arrays = "csr", [x.row_start.astype(x.indices.dtype), x.indices, x.values]
        elif isinstance(x, Packed):
            kind, arrays, values = "packed", [x.bits], x.genotypes.code_values()
        else:
            kind, arrays = "dense", [x.array]
        arrays = [np.ascontiguousarray(array) for array in arrays]
        starts = np.cumsum([0, *(-(-array.nbytes // _ALIGNMENT) * _ALIGNMENT for array in arrays)]).tolist()
        buffer = self._buffer(starts[-1])
        for array, start in zip(arrays, starts, strict=False):
            buffer[start : start + array.nbytes].numpy()[:] = array.reshape(-1).view(np.uint8)
        on_device, there = self._copy(buffer)
        parts = tuple(
            on_device[start : start + array.nbytes].view(getattr(torch, array.dtype.name)).view(array.shape)
            for array, start in zip(arrays, starts, strict=False)
        )
        return Sent(kind, x.shape, parts, values, there)

    def _buffer(self, n_bytes: int) -> Tensor:
        """Host memory whose last copy is over."""
        self.turn = (self.turn + 1) % _BUFFERS
        if self.free[self.turn] is not None:
            self.free[self.turn].synchronize()
        if self.buffers[self.turn].numel() < n_bytes:
            self.buffers[self.turn] = torch.empty(n_bytes, dtype=torch.uint8, pin_memory=self.stream is not None)
        return self.buffers[self.turn][:n_bytes]

    def _copy(self, buffer: Tensor) -> tuple[Tensor, Any]:
        if self.stream is None:
            return buffer.clone().to(self.device), None
        with self.cuda.stream(self.stream):
            on_device = buffer.to(self.device, non_blocking=True)
            there = self.cuda.Event()
            there.record(self.stream)
        self.free[self.turn] = there
        return on_device, there

    def fold(self, sent: Sent, layout: Layout, normalizer: Fitted | None, dtype: str) -> Tensor:
        """Queue the fold of a batch behind its copy, on the current stream."""
        formula = formula_of("FoldLoader", normalizer)
        if sent.there is not None:
            current = torch.cuda.current_stream(self.device)
            current.wait_event(sent.there)
            for part in sent.parts:
                part.record_stream(current)  # its memory was given out on the other stream
        images: Tensor
        if sent.kind == "packed":
            (bits,) = sent.parts
            images = fold_packed_rows(bits, sent.shape[1], layout, formula, values=sent.code_values, dtype=dtype)
        elif sent.kind == "csr":
            with warnings.catch_warnings():  # torch says of the first such tensor that its layout is new
                warnings.simplefilter("ignore")
                starts, indices, values = sent.parts
                rows = torch.sparse_csr_tensor(starts, indices, values, sent.shape, check_invariants=False)
            images = fold_into_fresh(rows, layout, formula, dtype=dtype, out=None, threads=None)
        else:
            images = fold_into_fresh(sent.parts[0], layout, formula, dtype=dtype, out=None, threads=None)
        return images
