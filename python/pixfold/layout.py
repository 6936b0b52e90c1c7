"""Layout: which pixel each feature stands at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pixfold import _core
from pixfold.errors import InputError
from pixfold.util.checks import is_whole, whole_number
from pixfold.util.files import load_arrays, save_arrays
from pixfold.util.text import must_be

Int64Array = NDArray[np.int64]

_MOST = np.iinfo(np.int64).max


class Layout:
    """An immutable map from features to the pixels of a (channels, height, width) image.

    :meth:`natural`, :meth:`shuffled`, :meth:`from_index`, :meth:`from_coordinates` and :meth:`stacked` build one.

    Parameters
    ----------
    pixel_of_feature : array of int64, shape (n_features,)
        Flat pixel index, ``channel * height * width + row * width + column``, of each feature; -1 for a
        feature that is dropped and has no pixel. Several features may share a pixel: it shows their mean.
    shape : tuple of int
        ``(channels, height, width)``.

    Attributes
    ----------
    shape : tuple of int
        ``(channels, height, width)``.
    pixel_of_feature : int64 array, shape (n_features,)
        Read-only.
    feature_of_pixel : int64 array, shape (channels * height * width,)
        The feature of each pixel, -1 for padding; where several features share a pixel, the first of them.

    Raises
    ------
    InputError
        When an index is out of range or the shape is not three positive sizes.

    Examples
    --------
    >>> import pixfold as pf
    >>> layout = pf.Layout.natural(18_225)
    >>> layout.shape
    (1, 135, 135)
    >>> pf.Layout.from_index([3, 0, 1], shape=(2, 2)).feature_of_pixel.tolist()  # -1 is padding
    [1, 2, -1, 0]
    """

    shape: tuple[int, int, int]
    pixel_of_feature: Int64Array

    def __init__(self, pixel_of_feature: ArrayLike, shape: Sequence[int]) -> None:
        # Attributes are set once, here; __setattr__ refuses every later change.
        object.__setattr__(self, "shape", _three_sizes("Layout", shape))
        pixels = _integers("Layout", "pixel_of_feature", pixel_of_feature)
        outside = np.flatnonzero((pixels < -1) | (pixels >= self.n_pixels))
        if outside.size:
            j = int(outside[0])
            raise InputError(
                f"Layout: pixel_of_feature must be -1 or in [0, {self.n_pixels}) for shape {self.shape}, "
                f"got {pixels[j]} for feature {j}"
            )
        object.__setattr__(self, "pixel_of_feature", _frozen(pixels))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Layout is immutable: {name} cannot be set")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.pixel_of_feature, self.shape)

    @classmethod
    def natural(
        cls,
        n_features: int,
        shape: Sequence[int] | None = None,
        channels: int = 1,
        keep: ArrayLike | None = None,
    ) -> Self:
        """Features in their own order, row by row, then padding.

        Parameters
        ----------
        n_features : int
            Number of features, at least 1.
        shape : tuple of int, optional
            ``(height, width)`` or ``(channels, height, width)``. Default: the smallest square that, with
            `channels`, has room for every feature (18,225 features -> 135 x 135).
        channels : int
            Number of channels when `shape` does not say; channel 0 is filled first.
        keep : bool array, shape (n_features,), optional
            Features that get a pixel; the others are dropped and take no room.

        Returns
        -------
        Layout
        """
        features = _kept("Layout.natural", n_features, keep)
        return cls._place(n_features, features, _shape_for("Layout.natural", features.size, shape, channels))

    @classmethod
    def shuffled(
        cls,
        n_features: int,
        seed: int = 0,
        shape: Sequence[int] | None = None,
        channels: int = 1,
        keep: ArrayLike | None = None,
    ) -> Self:
        """Features in an arrangement: a random permutation drawn from `seed` (NumPy's PCG64).

        Parameters
        ----------
        n_features, shape, channels, keep
            As in :meth:`natural`.
        seed : int
            Not negative. The same seed and number of features give the same arrangement.

        Returns
        -------
        Layout
        """
        op = "Layout.shuffled"
        features = _kept(op, n_features, keep)
        whole_number(0)(op, "seed", seed)
        shuffled = np.random.Generator(np.random.PCG64(int(seed))).permutation(features)
        return cls._place(n_features, shuffled, _shape_for(op, features.size, shape, channels))

    @classmethod
    def from_index(cls, index: ArrayLike, shape: Sequence[int] | None = None, channels: int = 1) -> Self:
        """Each feature at a pixel of the caller's choice, one feature per pixel.

        Parameters
        ----------
        index : int array, shape (n_features,)
            Flat pixel index of each feature, -1 to drop it.
        shape, channels
            As in :meth:`natural`; the default shape has room for the largest index.

        Returns
        -------
        Layout

        Raises
        ------
        InputError
            When two features claim one pixel or an index is out of range.
        """
        op = "Layout.from_index"
        pixels = _integers(op, "index", index)
        placed = np.sort(pixels[pixels >= 0])
        twice = placed[1:][placed[1:] == placed[:-1]]
        if twice.size:
            claimed = np.flatnonzero(pixels == twice[0])
            raise InputError(
                f"{op}: index must name each pixel once, got pixel {twice[0]} for features "
                f"{claimed[0]} and {claimed[1]} (from_coordinates allows several features on a pixel)"
            )
        room = int(placed[-1]) + 1 if placed.size else 1
        # With a given shape the constructor names the index that lies outside.
        return cls(pixels, _shape_for(op, room if shape is None else 1, shape, channels))

    @classmethod
    def from_coordinates(cls, rows: ArrayLike, columns: ArrayLike, shape: Sequence[int]) -> Self:
        """Each feature at a row and column; features that meet on a pixel show their mean there.

        Parameters
        ----------
        rows, columns : int array, shape (n_features,)
            Position of each feature in the first channel.
        shape : tuple of int
            ``(height, width)`` or ``(channels, height, width)``.

        Returns
        -------
        Layout

        Raises
        ------
        InputError
            When the arrays differ in length or a coordinate lies outside the image.
        """
        op = "Layout.from_coordinates"
        r, c = _integers(op, "rows", rows), _integers(op, "columns", columns)
        if r.size != c.size:
            raise InputError(f"{op}: rows and columns must have equal lengths, got {r.size} and {c.size}")
        full = _three_sizes(op, shape)
        for name, values, size in (("rows", r, full[1]), ("columns", c, full[2])):
            outside = np.flatnonzero((values < 0) | (values >= size))
            if outside.size:
                j = int(outside[0])
                raise InputError(f"{op}: {name} must be in [0, {size}), got {values[j]} for feature {j}")
        return cls(r * full[2] + c, full)

    @classmethod
    def stacked(cls, layouts: Sequence[Layout]) -> Self:
        """Layouts side by side: their features one after the other, their channels on top of each other.

        Parameters
        ----------
        layouts : sequence of Layout
            At least one. Smaller images stand in the top left corner and are padded to the largest height and width.

        Returns
        -------
        Layout
            Of all features; its channels are those of the first layout, then those of the second, and so on.

        Raises
        ------
        InputError
            When there is no layout, or something among them is none.
        """
        parts = list(layouts) if isinstance(layouts, Sequence) else []
        if not parts or not all(isinstance(part, Layout) for part in parts):
            raise InputError(must_be("Layout.stacked", "layouts", "one Layout or more", layouts))
        height, width = max(part.height for part in parts), max(part.width for part in parts)
        pixels, channels = [], 0
        for part in parts:
            channel, row, column = np.unravel_index(np.maximum(part.pixel_of_feature, 0), part.shape)
            moved = ((channels + channel) * height + row) * width + column
            pixels.append(np.where(part.pixel_of_feature < 0, -1, moved))
            channels += part.channels
        return cls(np.concatenate(pixels), (channels, height, width))

    @classmethod
    def _place(cls, n_features: int, features: Int64Array, shape: tuple[int, int, int]) -> Self:
        pixels = np.full(n_features, -1, dtype=np.int64)
        pixels[features] = np.arange(features.size)
        return cls(pixels, shape)

    @property
    def n_features(self) -> int:
        """Number of features, dropped ones included."""
        return int(self.pixel_of_feature.size)

    @property
    def n_pixels(self) -> int:
        """Number of pixels, channels * height * width."""
        return math.prod(self.shape)

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.shape[0]

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""
        return self.shape[1]

    @property
    def width(self) -> int:
        """Pixels from left to right."""
        return self.shape[2]

    @cached_property
    def slot_feature(self) -> Int64Array:
        """Features that have a pixel, sorted by pixel (int64, as the kernels walk them)."""
        order = np.argsort(self.pixel_of_feature, kind="stable").astype(np.int64, copy=False)
        return _frozen(np.ascontiguousarray(order[int(np.sum(self.pixel_of_feature < 0)) :]))

    @cached_property
    def slot_pixel(self) -> Int64Array:
        """The pixel of each entry of `slot_feature`, non-decreasing."""
        return _frozen(self.pixel_of_feature[self.slot_feature])

    @cached_property
    def slots(self) -> _core.Slots:
        """The layout as the kernels walk it."""
        return _core.Slots(self.slot_feature, self.slot_pixel, self.n_features, self.n_pixels)

    @cached_property
    def feature_of_pixel(self) -> Int64Array:
        """int64 array of n_pixels: the (first) feature of each pixel, -1 for padding."""
        features = np.full(self.n_pixels, -1, dtype=np.int64)
        # Written from the last to the first, so that the first feature of a pixel stays.
        features[self.slot_pixel[::-1]] = self.slot_feature[::-1]
        return _frozen(features)

    @cached_property
    def features_per_pixel(self) -> Int64Array:
        """int64 array of n_pixels: how many features each pixel shows."""
        return _frozen(np.bincount(self.slot_pixel, minlength=self.n_pixels).astype(np.int64))

    @cached_property
    def is_one_to_one(self) -> bool:
        """Whether no two features share a pixel."""
        return bool(np.all(np.diff(self.slot_pixel) > 0))

    def alias(self) -> Self:
        """Give an equal layout over the same arrays, for who must not keep this one alive."""
        _ = self.slots  # worked out once for both
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        return other

    def state(self) -> dict[str, NDArray[Any]]:
        """Arrays from which :meth:`from_state` builds the same layout."""
        return {"pixel_of_feature": self.pixel_of_feature, "shape": np.array(self.shape, dtype=np.int64)}

    @classmethod
    def from_state(cls, state: Mapping[str, NDArray[Any]]) -> Self:
        """Build the layout that :meth:`state` described."""
        shape = np.asarray(state["shape"])
        if shape.shape != (3,) or shape.dtype.kind not in "iu":
            raise InputError(f"Layout: shape must be three integers, got {shape.dtype} of shape {shape.shape}")
        return cls(state["pixel_of_feature"], tuple(int(size) for size in shape))

    def save(self, path: str | Path) -> None:
        """Write the layout to an .npz file (no pickle), whole or not at all."""
        save_arrays(path, self.state())

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a layout that :meth:`save` wrote."""
        arrays = load_arrays(path, ("pixel_of_feature", "shape"), "Layout.load")
        try:
            return cls.from_state(arrays)
        except InputError as error:
            raise InputError(f"Layout.load: {path} is not a layout that pixfold wrote ({error})") from error

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Layout):
            return NotImplemented
        return self.shape == other.shape and np.array_equal(self.pixel_of_feature, other.pixel_of_feature)

    def __hash__(self) -> int:
        return hash((self.shape, self.pixel_of_feature.tobytes()))

    def __repr__(self) -> str:
        return f"Layout(n_features={self.n_features}, shape={self.shape}, one_to_one={self.is_one_to_one})"


def _frozen(array: Int64Array) -> Int64Array:
    array.setflags(write=False)
    return array


def _array(op: str, name: str, values: ArrayLike, expected: str) -> NDArray[Any]:
    try:
        return np.asarray(values)
    except ValueError:  # rows of several lengths
        raise InputError(must_be(op, name, expected, values)) from None


def _integers(op: str, name: str, values: ArrayLike) -> Int64Array:
    array = _array(op, name, values, "one-dimensional")
    if array.ndim != 1 or array.size == 0:
        raise InputError(f"{op}: {name} must be one-dimensional and not empty, got shape {array.shape}")
    if array.dtype.kind not in "iu":
        raise InputError(f"{op}: {name} must be integers, got {array.dtype}")
    if array.max() > _MOST:
        raise InputError(must_be(op, name, "integers below 2**63", int(array.max())))
    return array.astype(np.int64)


def _three_sizes(op: str, shape: Sequence[int]) -> tuple[int, int, int]:
    sizes = tuple(shape) if isinstance(shape, Sequence) else ()
    if len(sizes) == 2:
        sizes = (1, *sizes)
    if len(sizes) != 3 or not all(is_whole(size, 1) for size in sizes):
        expected = "(height, width) or (channels, height, width) of positive integers"
        raise InputError(must_be(op, "shape", expected, shape))
    channels, height, width = (int(size) for size in sizes)
    if channels * height * width > _MOST:
        raise InputError(must_be(op, "shape", "of fewer than 2**63 pixels", shape))
    return channels, height, width


def _kept(op: str, n_features: int, keep: ArrayLike | None) -> Int64Array:
    whole_number(1)(op, "n_features", n_features)
    n = int(n_features)
    if keep is None:
        return np.arange(n, dtype=np.int64)
    expected = f"a bool array of shape ({n},)"
    mask = _array(op, "keep", keep, expected)
    if mask.dtype != np.bool_ or mask.shape != (n,):
        raise InputError(f"{op}: keep must be {expected}, got {mask.dtype} of shape {mask.shape}")
    if not mask.any():
        raise InputError(f"{op}: keep must leave at least one feature, got none")
    return np.flatnonzero(mask).astype(np.int64)


def _shape_for(op: str, n: int, shape: Sequence[int] | None, channels: int) -> tuple[int, int, int]:
    whole_number(1)(op, "channels", channels)
    if shape is None:
        side = math.isqrt(-(-n // int(channels)) - 1) + 1
        return _three_sizes(op, (int(channels), side, side))
    sizes = _three_sizes(op, shape)
    if len(shape) == 2:
        sizes = _three_sizes(op, (int(channels), *sizes[1:]))
    if math.prod(sizes) < n:
        raise InputError(f"{op}: shape must have at least {n} pixels, got {math.prod(sizes)} of {sizes}")
    return sizes
