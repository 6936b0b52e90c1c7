"""Layouts and normalisers on a CUDA device, made on first use and kept as long as the two live."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError

if TYPE_CHECKING:
    from pixfold.formula import Formula
    from pixfold.layout import Layout

_Made = TypeVar("_Made")


class _Kept:
    """What was made of an object, for as long as the object lives; of each, the `most` newest things.

    By identity: layouts are slow to compare.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._of: dict[int, tuple[weakref.ref[Any], dict[Any, Any]]] = {}

    def get(self, owner: object, key: object, make: Callable[[], _Made]) -> _Made:
        """Give what `make` made for this owner and key, now or before."""
        number = id(owner)
        if number not in self._of:
            self._of[number] = (weakref.ref(owner, lambda _: self._of.pop(number, None)), {})
        made = self._of[number][1]
        if key not in made:
            made[key] = make()
            while len(made) > self._most:
                made.pop(next(iter(made)))
        found: _Made = made[key]
        return found

    def all(self, owner: object) -> list[Any]:
        """Everything that was made of this owner."""
        return list(self._of[id(owner)][1].values()) if id(owner) in self._of else []


# A normaliser may meet many layouts, whose copies would fill the device.
_kept = _Kept(most=8)
_counts = _Kept(most=1024)


def wait() -> None:
    """Wait for what is queued on the current stream."""
    import torch

    torch.cuda.current_stream().synchronize()


def address(tensor: Any) -> int:
    """Where a tensor's memory begins, 0 for None."""
    return 0 if tensor is None else int(tensor.data_ptr())


def to_device(values: NDArray[Any], device: Any) -> Any:
    """Copy an array to a device; it is there when this returns."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(values)).to(device)


@dataclass(frozen=True)
class DeviceLayout:
    """A layout on a device; `order` are the features in slot order.

    Attributes are int32 tensors, or None where the numbers are 0, 1, 2...; see cuda/slots.hpp.
    """

    n_features: int
    n_slots: int
    n_pixels: int
    one_to_one: bool
    order: NDArray[np.int64]
    feature: Any
    first_slot: Any
    slot_of_feature: Any
    pixel_of_feature: Any
    slots: Any


def device_layout(cuda: Any, layout: Layout, device: Any, channels_last: bool) -> DeviceLayout:
    """Give a layout on a device. Channels-last images are those of a layout whose pixels lie in that order."""
    channels_last = channels_last and layout.channels > 1
    return _kept.get(layout, (device, channels_last), lambda: _layout_on(cuda, layout, device, channels_last))


def _layout_on(cuda: Any, layout: Layout, device: Any, channels_last: bool) -> DeviceLayout:
    feature, pixel = layout.slot_feature, layout.slot_pixel
    if channels_last:
        plane = layout.height * layout.width
        pixel = pixel % plane * layout.channels + pixel // plane
        order = np.argsort(pixel, kind="stable")  # features of one pixel keep their order, and so their mean its bits
        feature, pixel = feature[order], pixel[order]
    n = feature.size
    in_order = np.arange(n)
    features_in_order = bool(np.array_equal(feature, in_order))
    pixels_in_order = bool(np.array_equal(pixel, in_order))
    complete = n == layout.n_features

    def indices(values: NDArray[np.int64]) -> Any:
        return to_device(values.astype(np.int32), device)

    def of_feature(values: NDArray[np.int64]) -> Any:
        scattered = np.full(layout.n_features, -1)
        scattered[feature] = values
        return indices(scattered)

    on_device = {
        "feature": None if features_in_order else indices(feature),
        "first_slot": None if pixels_in_order else indices(np.searchsorted(pixel, np.arange(layout.n_pixels + 1))),
        "slot_of_feature": None if complete and features_in_order else of_feature(in_order),
        "pixel_of_feature": (None if complete and features_in_order and pixels_in_order else of_feature(pixel)),
    }
    slots = cuda.Slots(
        address(on_device["feature"]), address(on_device["first_slot"]), n, layout.n_pixels, layout.is_one_to_one
    )
    return DeviceLayout(layout.n_features, n, layout.n_pixels, layout.is_one_to_one, feature, **on_device, slots=slots)


@dataclass(frozen=True)
class DeviceParameters:
    """A normaliser's formula in a layout's slot order on a device, and the memory that it refers to."""

    parameters: Any
    arrays: tuple[Any, ...]


def device_parameters(cuda: Any, p: Formula, layout: DeviceLayout, device: Any, in_double: bool) -> DeviceParameters:
    """Give a fitted normaliser on a device."""
    if p.n_features != layout.n_features:
        raise InputError(
            f"fold: normalizer must be fitted on the layout's {layout.n_features} features, got {p.n_features}"
        )
    # The parameters are new when the normaliser is fitted again; the layout's copy stands for the layout.
    return _kept.get(p, (id(layout), in_double), lambda: _parameters_on(cuda, p, layout, device, in_double))


def _parameters_on(cuda: Any, p: Formula, layout: DeviceLayout, device: Any, in_double: bool) -> DeviceParameters:
    kind = np.float64 if in_double else np.float32
    # What does nothing is not read once per value. A missing value that is refused stays missing: see fold_tensor.
    plain = not p.shift.any() and bool(np.all(p.scale == 1.0))
    fill = p.fill if p.accepted.missing else np.full_like(p.fill, np.nan)
    wanted = (p.offset if p.offset.any() else None, None if plain else p.shift, None if plain else p.scale, fill)
    arrays = tuple(
        None if values is None else to_device(values[layout.order].astype(kind), device) for values in wanted
    )
    parameters = cuda.Parameters(p.log, p.clip_below_zero, *map(address, arrays), p.lo, p.hi)
    return DeviceParameters(parameters, (layout, *arrays))


def device_counts(formula: Formula, device: Any) -> Any:
    """Three int64 counters on a device: missing and negative values and indices out of range that folds have met."""
    return _counts.get(formula, device, lambda: to_device(np.zeros(3, dtype=np.int64), device))


def counters(formula: Formula) -> list[Any]:
    """The :func:`device_counts` of all devices."""
    return _counts.all(formula)


def keep(owner: object, key: object, make: Callable[[], _Made]) -> _Made:
    """Keep what kernels made of an owner; it is there for every stream when this returns."""

    def settled() -> _Made:
        made = make()
        wait()
        return made

    return _kept.get(owner, key, settled)
