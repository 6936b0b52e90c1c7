"""AttributionAccumulator: attributions of many samples, as running moments per class and feature."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pixfold import _core
from pixfold.arrays.cuda import OnCuda, Queue
from pixfold.arrays.dense import Dense, plain, type_name
from pixfold.arrays.entry import numbers, on_host
from pixfold.errors import InputError
from pixfold.ops.arguments import layout_argument
from pixfold.ops.cuda.aggregate import NOT_FINITE, MomentsOnCuda, labels_on, marks_on
from pixfold.util.arguments import count_argument, threads_argument

if TYPE_CHECKING:
    from pixfold.layout import Layout

Float64Array = NDArray[np.float64]

_FLOATS = ("float16", "float32", "float64", "bfloat16")


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
        self.n_classes = count_argument("AttributionAccumulator", "n_classes", n_classes)
        layout_argument("AttributionAccumulator", layout)
        self.layout = layout
        self._count = np.zeros(self.n_classes, dtype=np.int64)
        # Per class mean, m2 and mean_abs of every pixel, (3, n_pixels), once it has samples. An update writes into
        # spare arrays, which take the place of the old ones only when all went well.
        self._moments: list[Any] = [None] * self.n_classes
        self._spare: list[Float64Array] = []
        # In their place, where the last batch was on a device.
        self._on_cuda: MomentsOnCuda | None = None

    def update(
        self, attributions: Any, labels: ArrayLike, keep: ArrayLike | None = None, *, threads: int | None = None
    ) -> None:
        """Add a batch.

        Parameters
        ----------
        attributions : array (n_samples, channels, height, width)
            float16/32/64 NumPy, torch, JAX or CuPy array (bfloat16 too), on the CPU or a CUDA device. With a
            one-channel layout, the channels of the attributions are summed.
        labels : int array (n_samples,)
            Class of each sample.
        keep : bool array (n_samples,), optional
            Samples that count (correctly classified ones, say). Default: all. The attributions of the others are not
            read: they may be anything.
        threads : int, optional
            The result's bits do not depend on it.

        Raises
        ------
        InputError
            A wrong shape, a label out of range, and, in samples that count, NaN, infinity or (float64) numbers too
            large for their squares. The state is then unchanged. It is a ValueError. On a CUDA device some of this
            is known only later: see Notes.
        TypeError
            Attributions of another dtype.
        BackendError
            Attributions on a device for which this build has no kernels, or which they do not run on.

        Notes
        -----
        An update reads and writes 24 bytes per pixel for each class of the batch, beside reading the attributions:
        batches with tens of samples per class spend their time on the attributions alone. Memory: 24 bytes per pixel
        and class that was seen, and as much again for the classes of the largest batch; on a CUDA device 48 bytes per
        pixel and class.

        Attributions on a CUDA device are added up there, and the moments stay there until a batch of another device
        or :meth:`merge` brings them away. No update waits for the device: its kernels are queued, whether `labels` and
        `keep` are on it or on the CPU. What only the device sees, it says later: attributions that are not finite, and
        of `labels` and `keep` that are on it, those out of range. Such a batch is left out whole, batches after it are
        added, and the error comes from the next call that learns of it: from an update that begins when the device is
        done with the batch (then the batch of that update is not added either), at the latest from :meth:`result` or
        :meth:`merge`. All batches that were left out since the last error come to one. Sums of a class may be taken in
        parts: the bits then differ from the CPU's, and are the same on every card.

        ``torch.ops.pixfold.aggregate_`` (:mod:`pixfold.ops.torch`) does the same to tensors of the caller's.
        """
        images = attributions_of(attributions)
        shape = images.shape
        layout = self.layout
        matches = len(shape) == 4 and shape[2:] == layout.shape[1:] and (layout.channels in (1, shape[1]))
        if not matches or shape[1] < 1:
            raise InputError(
                f"aggregate: attributions must have shape (n_samples, {', '.join(map(str, layout.shape))}), got {shape}"
            )
        n_summed = shape[1] if layout.channels == 1 else 1
        n_threads = threads_argument("aggregate", threads)
        if isinstance(images, OnCuda):
            self._update_on_cuda(images, n_summed, labels, keep)
            return
        self._bring_home()
        classes, added, after = advanced(
            images, n_summed, layout.n_pixels, labels, keep, self._count, self._moments, self._spare, n_threads
        )
        before = [self._moments[k] for k in classes]
        for k, moments in zip(classes, after, strict=True):
            self._moments[k] = moments
        self._spare[: len(classes)] = [moments for moments in before if moments is not None]
        self._count += added

    def _update_on_cuda(self, images: OnCuda, n_summed: int, labels: Any, keep: Any) -> None:
        n, queue = images.shape[0], images.queue
        if self._on_cuda is not None:
            self._on_cuda.check(wait=False)
        there, marks = labels_and_marks(queue, labels, keep, n, self.n_classes)
        if self._on_cuda is None or self._on_cuda.device != queue.device:
            self._bring_home()
            self._on_cuda = MomentsOnCuda(queue, self._count, self._moments, self.layout.n_pixels)
            self._spare = []
        self._on_cuda.add(images, n_summed == images.shape[1], there, marks)

    def _state(self) -> tuple[NDArray[np.int64], list[Any]]:
        """Counts and moments on the host, where those on a device are copied to."""
        return (self._count, self._moments) if self._on_cuda is None else self._on_cuda.read()

    def _bring_home(self) -> None:
        self._count, self._moments = self._state()
        self._on_cuda = None

    def merge(self, other: AttributionAccumulator) -> None:
        """Add what another accumulator of the same layout and classes has seen (Chan, Golub and LeVeque, 1983).

        Raises
        ------
        InputError
            When layouts or numbers of classes differ, and for a batch on a device that either has left out.
        """
        if other.n_classes != self.n_classes or other.layout != self.layout:
            raise InputError(
                f"AttributionAccumulator.merge: both must have {self.n_classes} classes and the same layout, "
                f"got {other.n_classes} classes and {other.layout!r}"
            )
        added, moments = other._state()
        self._bring_home()
        for k, theirs in enumerate(moments):
            mine = self._moments[k]
            if theirs is None:
                continue
            if mine is None:
                self._moments[k] = theirs.copy()
                continue
            share = float(added[k] / (self._count[k] + added[k]))
            delta = theirs[0] - mine[0]
            mine[1] += theirs[1] + delta * delta * (float(self._count[k]) * share)
            mine[0] += delta * share
            mine[2] += (theirs[2] - mine[2]) * share
        self._count += added

    def state(self) -> dict[str, NDArray[Any]]:
        """Give what :meth:`of_state` reads: counts of samples, and moments of the classes that have any.

        Raises
        ------
        InputError
            As :meth:`result`.
        """
        count, moments = self._state()
        found = {f"moments_{k}": np.asarray(own) for k, own in enumerate(moments) if own is not None}
        return {"count": count.copy(), **found}

    @classmethod
    def of_state(cls, layout: Layout, state: Mapping[str, NDArray[Any]]) -> Self:
        """Make the accumulator that :meth:`state` was of: in another process, say, to :meth:`merge` it there.

        Parameters
        ----------
        layout : Layout
            Of the images that were attributed.
        state : mapping of str to array
            What :meth:`state` gave.

        Raises
        ------
        InputError
            When it is no state of an accumulator with this layout.
        """
        op = "AttributionAccumulator.of_state"
        count = np.array(state.get("count", ()))
        if count.ndim != 1 or count.dtype != np.int64 or not count.size or (count < 0).any():
            raise InputError(f"{op}: count must be the int64 samples of each class, got {count.dtype} {count.shape}")
        self = cls(layout, len(count))
        self._count = count
        for k in np.flatnonzero(count).tolist():
            own = np.array(state.get(f"moments_{k}", ()), dtype=np.float64, order="C")
            if own.shape != (3, layout.n_pixels):
                raise InputError(f"{op}: moments_{k} must have shape (3, {layout.n_pixels}), got {own.shape}")
            self._moments[k] = own
        return self

    def result(self) -> AttributionResult:
        """Per class and feature moments so far; features that share a pixel share its attribution equally.

        Raises
        ------
        InputError
            Once for batches on a device that were left out since the last error; the next call gives the moments of
            the others.
        """
        count, all_moments = self._state()
        pixel = self.layout.pixel_of_feature
        placed = pixel >= 0
        # A pixel that shows the mean of m features passes 1/m of its attribution to each, so that sums are kept.
        share = np.where(placed, 1.0 / np.maximum(self.layout.features_per_pixel[pixel], 1), 0.0)
        mean, m2, mean_abs = (np.zeros((self.n_classes, self.layout.n_features)) for _ in range(3))
        for k, moments in enumerate(all_moments):
            if moments is not None:
                mean[k] = moments[0, pixel] * share
                m2[k] = moments[1, pixel] * (share * share)
                # Never below the size of the mean but for rounding, which sums them in different ways.
                mean_abs[k] = np.maximum(moments[2, pixel] * share, np.abs(mean[k]))
        return AttributionResult(count.copy(), mean, m2, mean_abs)


def attributions_of(attributions: Any) -> Dense | OnCuda:
    """Read attributions where they are."""
    images = numbers("aggregate", "attributions", attributions)
    name = type_name(images.tensor.dtype if isinstance(images, OnCuda) else images.array.dtype)
    if name not in _FLOATS:
        raise TypeError(f"aggregate: attributions must be of dtype float16, float32, float64 or bfloat16, got {name}")
    return images


def labels_and_marks(queue: Queue, labels: Any, keep: Any, n: int, n_classes: int) -> tuple[Any, Any]:
    """Labels and marks on the queue's device, those of the host checked and copied there; no marks are None."""
    there = labels_on(queue, labels, n)
    if there is None:
        there = queue.to_device(_labels(labels, n, n_classes))
    marks = None if keep is None else marks_on(queue, keep, n)
    if keep is not None and marks is None:
        marks = queue.to_device(_mask(keep, n))
    return there, marks


def advanced(
    images: Dense,
    n_summed: int,
    n_pixels: int,
    labels: Any,
    keep: Any,
    count: NDArray[np.int64],
    moments: Any,
    spare: list[Float64Array],
    threads: int,
) -> tuple[NDArray[np.intp], NDArray[np.intp], list[Any]]:
    """Work out the moments after a batch, and leave those before as they are.

    Parameters
    ----------
    images : Dense
        The attributions, (n_samples, channels, height, width).
    n_summed, n_pixels : int
        How many channels become one, and the pixels that are left.
    labels, keep
        As for :meth:`AttributionAccumulator.update`.
    count, moments
        Per class: samples so far, and their mean, m2 and mean_abs of every pixel, (3, n_pixels); not read for a class
        without samples.
    spare : list of float64 arrays (3, n_pixels)
        Memory for the result, of which more is made where it is not enough.
    threads : int
        0 for the default.

    Returns
    -------
    classes, added, after
        The classes of the batch, how many samples every class gets, and the moments after, class by class of the batch:
        the first arrays of `spare`.
    """
    n, n_classes = images.shape[0], count.size
    by_class, added, classes = _by_class(labels, keep, n, n_classes)
    # A copy only where the caller's memory is not in row-major order (channels-last gradients, say).
    flat = images.contiguous((n, n_summed, n_pixels))
    while len(spare) < len(classes):
        spare.append(np.empty((3, n_pixels)))
    after = spare[: len(classes)]
    before = [moments[int(k)] if count[k] > 0 else None for k in classes]
    if not _core.aggregate(flat, by_class, added[classes], count[classes], before, after, threads):
        raise _not_finite()
    return classes, added, after


def _not_finite() -> InputError:
    return InputError(f"aggregate: {NOT_FINITE}")


def _by_class(
    labels: Any, keep: Any, n: int, n_classes: int
) -> tuple[NDArray[np.int64], NDArray[np.intp], NDArray[np.intp]]:
    """Positions of the samples that count, class after class; how many each class gets; the classes that get any."""
    kept = np.flatnonzero(_mask(keep, n))
    kept_labels = _labels(labels, n, n_classes)[kept]
    added = np.bincount(kept_labels, minlength=n_classes)
    return kept[np.argsort(kept_labels, kind="stable")], added, np.flatnonzero(added)


def _labels(labels: Any, n: int, n_classes: int) -> NDArray[np.int64]:
    values = on_host("aggregate", "labels", labels)
    if values.dtype.kind not in ("iu" if values.size else "iuf"):  # NumPy reads [] as floats
        raise InputError(f"aggregate: labels must be integers, got {values.dtype}")
    if values.shape != (n,):
        raise InputError(f"aggregate: labels must have shape ({n},), got {values.shape}")
    outside = np.flatnonzero((values < 0) | (values >= n_classes))
    if outside.size:
        first = outside[0]
        raise InputError(f"aggregate: labels must be in [0, {n_classes}), got {values[first]} at position {first}")
    return values.astype(np.int64)


def _mask(keep: Any, n: int) -> NDArray[np.bool_]:
    if keep is None:
        return np.ones(n, dtype=np.bool_)
    values = on_host("aggregate", "keep", keep)
    if values.dtype != np.bool_ or values.shape != (n,):
        raise InputError(
            f"aggregate: keep must be a bool array of shape ({n},), got {values.dtype} of shape {values.shape}"
        )
    mask: NDArray[np.bool_] = plain(values)
    # Bytes viewed as bool can hold anything, and NumPy counts them wrongly.
    strange = np.flatnonzero(mask.view(np.uint8) > 1)
    if strange.size:
        raise InputError(f"aggregate: keep must be True or False, got {mask.view(np.uint8)[strange[0]]}")
    return mask
