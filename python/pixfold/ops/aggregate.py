"""AttributionAccumulator: attributions of many samples, as running moments per class and feature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pixfold import _core
from pixfold.errors import InputError
from pixfold.ops._arrays import array, as_array, is_torch, layout_argument, plain, threads_argument

if TYPE_CHECKING:
    from pixfold.layout import Layout

Float64Array = NDArray[np.float64]


@dataclass(frozen=True)
class AttributionResult:
    """Attributions per class and feature, in feature order.

    Attributes
    ----------
    count : int64 array, shape (n_classes,)
        Samples that were kept.
    mean, m2, mean_abs : float64 array, shape (n_classes, n_features)
        Signed mean, sum of squared differences from it, and mean absolute value; 0 for a class without samples.
    """

    count: NDArray[np.int64]
    mean: Float64Array
    m2: Float64Array
    mean_abs: Float64Array

    @property
    def std(self) -> Float64Array:
        """Population standard deviation over samples, (n_classes, n_features)."""
        return np.sqrt(self.m2 / np.maximum(self.count, 1)[:, None])

    @property
    def importance(self) -> Float64Array:
        """Mean of `mean_abs` over the classes that have samples, (n_features,): every class counts alike."""
        seen = self.count > 0
        if not seen.any():
            return np.zeros(self.mean_abs.shape[1])
        return np.asarray(self.mean_abs[seen].mean(axis=0))


class AttributionAccumulator:
    """Streams attribution images into per-class moments; memory does not grow with the number of samples.

    Parameters
    ----------
    layout : Layout
        The layout of the images that were attributed.
    n_classes : int
        Labels are 0 .. n_classes - 1.

    Raises
    ------
    InputError
        When `n_classes` is not a positive integer.
    TypeError
        When `layout` is no layout.
    """

    def __init__(self, layout: Layout, n_classes: int) -> None:
        if isinstance(n_classes, bool) or not isinstance(n_classes, int | np.integer) or n_classes < 1:
            raise InputError(f"AttributionAccumulator: n_classes must be a positive integer, got {n_classes!r}")
        layout_argument("AttributionAccumulator", layout)
        self.layout = layout
        self.n_classes = int(n_classes)
        size = (self.n_classes, layout.n_pixels)
        self._count = np.zeros(self.n_classes, dtype=np.int64)
        self._mean, self._m2, self._mean_abs = np.zeros(size), np.zeros(size), np.zeros(size)

    def update(
        self, attributions: Any, labels: ArrayLike, keep: ArrayLike | None = None, *, threads: int | None = None
    ) -> None:
        """Add a batch.

        Parameters
        ----------
        attributions : array (n_samples, channels, height, width)
            float16/32/64 NumPy array or torch CPU tensor (bfloat16 too). With a one-channel layout, the channels of
            the attributions are summed.
        labels : int array (n_samples,)
            Class of each sample.
        keep : bool array (n_samples,), optional
            Samples that count (correctly classified ones, say). Default: all.
        threads : int, optional
            The result's bits do not depend on it.

        Raises
        ------
        InputError
            A wrong shape, a label out of range, NaN or infinity. The state is then unchanged. It is a ValueError.
        """
        images = array("aggregate", "attributions", attributions)
        shape = images.array.shape
        layout = self.layout
        matches = len(shape) == 4 and shape[2:] == layout.shape[1:] and (layout.channels in (1, shape[1]))
        if not matches or shape[1] < 1:
            raise InputError(
                f"aggregate: attributions must have shape (n_samples, {', '.join(map(str, layout.shape))}), got {shape}"
            )
        n = shape[0]
        n_summed = shape[1] if layout.channels == 1 else 1
        # A copy only where the caller's memory is not in row-major order (channels-last gradients, say).
        flat = plain(images.array).reshape(n, n_summed, layout.n_pixels)
        _core.aggregate(
            flat, images.bfloat16, _labels(labels, n), _mask(keep, n),
            self._count, self._mean, self._m2, self._mean_abs, threads_argument("aggregate", threads),
        )  # fmt: skip

    def merge(self, other: AttributionAccumulator) -> None:
        """Add what another accumulator of the same layout and classes has seen (Chan, Golub and LeVeque, 1983).

        Raises
        ------
        InputError
            When layouts or numbers of classes differ.
        """
        if other.n_classes != self.n_classes or other.layout != self.layout:
            raise InputError(
                f"AttributionAccumulator.merge: both must have {self.n_classes} classes and the same layout, "
                f"got {other.n_classes} classes and {other.layout!r}"
            )
        mine, theirs = self._count[:, None].astype(np.float64), other._count[:, None].astype(np.float64)
        total = np.maximum(mine + theirs, 1.0)
        delta = other._mean - self._mean
        self._mean += delta * (theirs / total)
        self._m2 += other._m2 + delta * delta * mine * (theirs / total)
        self._mean_abs += (other._mean_abs - self._mean_abs) * (theirs / total)
        self._count += other._count

    def result(self) -> AttributionResult:
        """Per class and feature moments so far; features that share a pixel share its attribution equally."""
        pixel = self.layout.pixel_of_feature
        placed = pixel >= 0
        # A pixel that shows the mean of m features passes 1/m of its attribution to each, so that sums are kept.
        share = np.where(placed, 1.0 / np.maximum(self.layout.features_per_pixel[pixel], 1), 0.0)
        return AttributionResult(
            self._count.copy(),
            self._mean[:, pixel] * share,
            self._m2[:, pixel] * (share * share),
            self._mean_abs[:, pixel] * share,
        )


def _labels(labels: Any, n: int) -> NDArray[np.int64]:
    values = as_array("aggregate", "labels", labels.detach().cpu() if is_torch(labels) else labels)
    if values.dtype.kind not in ("iu" if values.size else "iuf"):  # NumPy reads [] as floats
        raise InputError(f"aggregate: labels must be integers, got {values.dtype}")
    if values.shape != (n,):
        raise InputError(f"aggregate: labels must have shape ({n},), got {values.shape}")
    return plain(values, np.int64)


def _mask(keep: Any, n: int) -> NDArray[np.bool_]:
    if keep is None:
        return np.ones(n, dtype=np.bool_)
    values = as_array("aggregate", "keep", keep.detach().cpu() if is_torch(keep) else keep)
    if values.dtype != np.bool_ or values.shape != (n,):
        raise InputError(
            f"aggregate: keep must be a bool array of shape ({n},), got {values.dtype} of shape {values.shape}"
        )
    return plain(values)
