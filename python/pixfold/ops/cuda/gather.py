"""Folds of some samples of a matrix that lies on a CUDA device: queued by their numbers, and none is copied first.

Samples come in any order and repeated as one likes; all of a call are one launch (larger sparse images: two for every
32 MB of them). Whoever calls has seen to it that every number is one of a sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pixfold.arrays.cuda import Queue, queue_of
from pixfold.arrays.dense import computes_in_double, number_type
from pixfold.ops.cuda.fold import background_image, images_memory
from pixfold.ops.cuda.placed import DeviceLayout, device_counts, device_layout, device_parameters

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


def fold_dense_at(samples: Any, offsets: Any, wanted: Wanted) -> None:
    """Fold the samples that begin `offsets` (int64, multiples of its first stride) bytes into a matrix.

    Its columns are the features that have a pixel, in the order of the pixels (``layout.slot_feature``).
    """
    to = _Made(samples, offsets, wanted, by_slot=True)
    to.queue.kernels.fold_dense(
        samples,
        to.placed.slots,
        to.parameters,
        wanted.row_scale,
        to.memory,
        to.counts,
        to.queue.stream,
        offsets,
    )


def fold_csr_at(parts: tuple[Any, Any, Any], n_features: int, positions: Any, wanted: Wanted) -> None:
    """Fold the rows of these numbers (int64) of compressed rows: values, int32 indices, int64 row starts."""
    values = parts[0]
    to = _Made(values, positions, wanted)
    rows = to.queue.kernels.CsrRows("fold", *parts, n_features)
    background = background_image(to.queue, to.placed, to.parameters, wanted.formula, values.dtype, wanted.dtype)
    to.queue.kernels.fold_csr(
        rows,
        to.placed.slots,
        to.parameters,
        wanted.row_scale,
        to.memory,
        background,
        to.counts,
        to.queue.stream,
        positions,
    )


class _Made:
    """A layout and a normaliser on the device, for a store's type and the order of the images' channels."""

    queue: Queue
    placed: DeviceLayout
    memory: Any
    parameters: Any = None
    counts: Any = None

    def __init__(self, values: Any, positions: Any, wanted: Wanted, by_slot: bool = False) -> None:
        formula = wanted.formula
        self.queue = queue_of("fold", "X", values.device)
        # The stream that this is queued on need not be the one that the samples came by.
        self.queue.holds(values)
        shape = (positions.numel(), *wanted.layout.shape)
        images = images_memory(self.queue, [values], shape, wanted.dtype, wanted.images)
        self.memory = images.memory
        self.placed = device_layout(self.queue, wanted.layout, images.channels_last, by_slot)
        if formula is not None:
            in_double = computes_in_double(number_type(values.dtype))
            self.parameters = device_parameters(self.queue, formula, self.placed, in_double)
            self.counts = device_counts(self.queue, formula)
