"""Folds of some samples of a matrix that lies on a CUDA device: queued by their numbers, and none is copied first.

Samples come in any order and repeated as one likes; all of a call are one launch (larger sparse images: two for every
32 MB of them). Whoever calls has seen to it that every number is one of a sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pixfold.arrays import cuda as on_device
from pixfold.ops.cuda import fold as cuda_ops
from pixfold.ops.cuda.placed import DeviceLayout, address, device_counts, device_layout, device_parameters

if TYPE_CHECKING:
    from pixfold.formula import Formula
    from pixfold.layout import Layout


@dataclass(frozen=True)
class Wanted:
    """What the images are made with, and where they go.

    `row_scale` has a float64 number for each sample of the call, or is None; `images` is a tensor on the samples'
    device.
    """

    layout: Layout
    formula: Formula | None
    row_scale: Any
    dtype: str
    images: Any


@dataclass(frozen=True)
class DenseStore:
    """Dense samples: features of a sample are `feature_stride` bytes apart.

    `dtype` names the elements, whatever the tensor calls them. With a `sample_stride` of one element, samples lie side
    by side in groups; else rows are that many bytes apart.
    """

    values: Any
    dtype: str
    n_features: int
    sample_stride: int
    feature_stride: int


@dataclass(frozen=True)
class SparseStore:
    """Compressed sparse rows: int32 indices, int64 row starts."""

    values: Any
    dtype: str
    columns: Any
    row_start: Any
    n_features: int


def fold_dense_at(store: DenseStore, offsets: Any, wanted: Wanted) -> None:
    """Fold the samples that begin `offsets` (int64, multiples of the sample stride) bytes into the store."""
    made = _Made(store, offsets, wanted)
    queue = made.queue
    samples = queue.cuda.Samples(
        address(store.values), store.dtype, offsets.numel(), store.n_features, store.sample_stride, store.feature_stride
    )
    queue.cuda.fold_dense(
        samples,
        made.placed.slots,
        made.parameters,
        address(wanted.row_scale),
        address(wanted.images),
        wanted.dtype,
        made.counts,
        queue.ordinal,
        queue.stream,
        address(offsets),
    )


def fold_csr_at(store: SparseStore, positions: Any, wanted: Wanted) -> None:
    """Fold the rows of these numbers (int64)."""
    made = _Made(store, positions, wanted)
    queue, placed = made.queue, made.placed
    rows = queue.cuda.CsrRows(
        address(store.values),
        store.dtype,
        address(store.columns),
        False,
        address(store.row_start),
        positions.numel(),
        store.n_features,
    )
    background = cuda_ops.background_image(queue, placed, made.parameters, wanted.formula, store.dtype, wanted.dtype)
    queue.cuda.fold_csr(
        rows,
        placed.slots,
        address(placed.slot_of_feature),
        address(placed.pixel_of_feature),
        made.parameters,
        address(wanted.row_scale),
        address(background),
        address(wanted.images),
        wanted.dtype,
        made.counts,
        queue.ordinal,
        queue.stream,
        address(positions),
    )


class _Made:
    """A layout and a normaliser on the device, for a store's type and the order of the images' channels."""

    queue: on_device.Queue
    placed: DeviceLayout
    parameters: Any = None
    counts: int = 0

    def __init__(self, store: DenseStore | SparseStore, positions: Any, wanted: Wanted) -> None:
        device, formula = store.values.device, wanted.formula
        self.queue = on_device.queue_of("fold", "X", store.values)
        _, channels_last = cuda_ops.images_memory(store.values, positions, wanted.layout, wanted.dtype, wanted.images)
        self.placed = device_layout(self.queue.cuda, wanted.layout, device, channels_last)
        if formula is not None:
            in_double = on_device.computes_in_double(store.dtype)
            self.parameters = device_parameters(self.queue.cuda, formula, self.placed, device, in_double).parameters
            self.counts = address(device_counts(formula, device))
