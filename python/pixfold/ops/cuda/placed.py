"""Layouts and normalisers on a CUDA device, made on first use and kept as long as the two live.

Several threads may fold at once, each on a stream of its own: what is kept is there for all of them when it is handed
out, and its memory is not used again before all streams that it was handed out to are done with it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pixfold.arrays.cuda import Queue
from pixfold.errors import InputError
from pixfold.util.identity import KeptWith

if TYPE_CHECKING:
    from pixfold.formula import Formula
    from pixfold.layout import Layout


class _Held:
    """Something on a device with the tensors that it is made of, and the streams that use them."""

    def __init__(self, queue: Queue, make: Callable[[], tuple[Any, Sequence[Any]]]) -> None:
        self.value, self._tensors = make()
        queue.wait()  # for kernels that made it: other streams do not
        self._streams = {queue.stream}

    def used_on(self, queue: Queue) -> Any:
        """Give it to a stream."""
        if queue.stream not in self._streams:
            queue.holds(*self._tensors)
            self._streams.add(queue.stream)
        return self.value


# A normaliser may meet many layouts, whose copies would fill the device.
_kept: KeptWith[_Held] = KeptWith(most=8)
_counters: KeptWith[_Held] = KeptWith(most=1024)


def keep(
    queue: Queue, owner: object, key: Hashable, make: Callable[[], tuple[Any, Sequence[Any]]], among: Any = _kept
) -> Any:
    """Give what `make` made of an owner, now or before: it returns that, and the tensors that it is made of."""
    held: _Held = among.get(owner, (queue.device, key), lambda: _Held(queue, make))
    return held.used_on(queue)


def to_device(values: NDArray[Any], device: Any) -> Any:
    """Copy an array to a device; it is there when this returns."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(values)).to(device)


@dataclass(frozen=True)
class DeviceLayout:
    """A layout on a device, and its features in slot order."""

    slots: Any
    order: NDArray[np.int64]
    n_features: int


def device_layout(queue: Queue, layout: Layout, channels_last: bool, by_slot: bool = False) -> DeviceLayout:
    """Give a layout on a device.

    Channels-last images are those of a layout whose pixels lie in that order. With `by_slot`, column k of the samples
    is feature ``layout.slot_feature[k]``: those that have a pixel, in the order of the pixels.
    """
    channels_last = channels_last and layout.channels > 1
    placed: DeviceLayout = keep(
        queue, layout, (channels_last, by_slot), lambda: _layout_on(queue, layout, channels_last, by_slot)
    )
    return placed


def _layout_on(queue: Queue, layout: Layout, channels_last: bool, by_slot: bool) -> tuple[DeviceLayout, Sequence[Any]]:
    feature, pixel = layout.slot_feature, layout.slot_pixel
    n_features = layout.n_features
    if channels_last:
        plane = layout.height * layout.width
        pixel = pixel % plane * layout.channels + pixel // plane
        order = np.argsort(pixel, kind="stable")  # features of one pixel keep their order, and so their mean its bits
        feature, pixel = feature[order], pixel[order]
    owner = feature  # of the parameters of a slot
    if by_slot:
        n_features = feature.size
        column = np.empty(layout.n_features, dtype=np.int64)
        column[layout.slot_feature] = np.arange(n_features)
        feature = column[feature]
    in_order = np.arange(feature.size)
    features_in_order = bool(np.array_equal(feature, in_order))
    pixels_in_order = bool(np.array_equal(pixel, in_order))
    complete = feature.size == n_features

    def indices(values: NDArray[np.int64]) -> Any:
        return to_device(values.astype(np.int32), queue.device)

    def of_feature(values: NDArray[np.int64]) -> Any:
        scattered = np.full(n_features, -1)
        scattered[feature] = values
        return indices(scattered)

    arrays = (
        None if features_in_order else indices(feature),
        None if pixels_in_order else indices(np.searchsorted(pixel, np.arange(layout.n_pixels + 1))),
        None if complete and features_in_order else of_feature(in_order),
        None if complete and features_in_order and pixels_in_order else of_feature(pixel),
    )
    slots = queue.kernels.Slots(*arrays, n_features, feature.size, layout.n_pixels, one_to_one=layout.is_one_to_one)
    return DeviceLayout(slots, owner, layout.n_features), [array for array in arrays if array is not None]


def device_parameters(queue: Queue, formula: Formula, placed: DeviceLayout, in_double: bool) -> Any:
    """Give a fitted normaliser on a device, as the kernels take it."""
    if formula.n_features != placed.n_features:
        raise InputError(
            f"fold: normalizer must be fitted on the layout's {placed.n_features} features, got {formula.n_features}"
        )
    # A normaliser that is fitted again has another formula. The layout's copy lives as long as this one, and so its
    # number stands for the layout.
    key = (id(placed), in_double)
    return keep(queue, formula, key, lambda: _parameters_on(queue, formula, placed, in_double))[0]


def _parameters_on(queue: Queue, p: Formula, placed: DeviceLayout, in_double: bool) -> tuple[Any, Sequence[Any]]:
    kind = np.float64 if in_double else np.float32
    # What does nothing is not read once per value. A missing value that is refused stays missing: see fold_on_cuda.
    plain = not p.shift.any() and bool(np.all(p.scale == 1.0))
    fill = p.fill if p.accepted.missing else np.full_like(p.fill, np.nan)
    wanted = (p.offset if p.offset.any() else None, None if plain else p.shift, None if plain else p.scale, fill)
    arrays = tuple(
        None if values is None else to_device(values[placed.order].astype(kind), queue.device) for values in wanted
    )
    parameters = queue.kernels.Parameters(p.log, p.clip_below_zero, *arrays, p.lo, p.hi, not p.shift.any())
    return (parameters, placed), [array for array in arrays if array is not None]


class _Counter:
    """Missing and negative values and indices out of range that folds have met on a device."""

    def __init__(self, device: Any) -> None:
        self.counts = to_device(np.zeros(3, dtype=np.int64), device)
        self._looked_at = np.zeros(3, dtype=np.int64)
        self._lock = threading.Lock()

    def new(self) -> NDArray[np.int64]:
        """Give the counts since the last look; the device must be done."""
        # They are never set back: a fold on another stream may be adding to them.
        with self._lock:
            total: NDArray[np.int64] = self.counts.cpu().numpy().copy()
            since, self._looked_at = total - self._looked_at, total
        return since


def device_counts(queue: Queue, formula: Formula) -> Any:
    """Give the three int64 numbers on a device that folds with a normaliser add to."""

    def make() -> tuple[_Counter, Sequence[Any]]:
        counter = _Counter(queue.device)
        return counter, [counter.counts]

    return keep(queue, formula, "counts", make, _counters).counts


def counters(formula: Formula) -> list[_Counter]:
    """Give the counters of all devices on which there were folds with a normaliser."""
    return [held.value for held in _counters.all(formula)]
