"""Labels of a screen as contrasts: centred numbers of unit variance, one row per class or one of a measurement."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.stream.labels import encode_classes
from pixfold.util.text import counted

LabelType = Literal["auto", "classes", "measurement"]

# Numbers of more values than this are a measurement, where samples do not share them.
_MOST_CLASSES = 20
# Below this share of its variance, what a projection leaves of a column is rounding.
_NOTHING = 1e-9


@dataclass(frozen=True)
class Target:
    """Labels of n samples, which stand class by class.

    Attributes
    ----------
    order : int64 array (n,)
        Positions of the samples among those that were given, in the order that all else here has.
    y : float64 array (n_contrasts, n)
        Each centred, of unit variance, and free of the covariates.
    scale : float64 array (n_contrasts,)
        What a sum of y * a * b is multiplied by to be z.
    class_of : int64 array (n_contrasts,)
        Class that a contrast sets against the others.
    basis : float64 array (n, d)
        Orthonormal: what is projected out of every feature.
    classes : list of slice
        Samples of each class; one slice of all for a measurement.
    class_names : list of str, or None
        None for a measurement.
    adjusted : bool
        Whether covariates were projected out of y: then it is not one number per class.
    messages : list of str
        What to tell the user.
    """

    order: NDArray[np.int64]
    y: NDArray[np.float64]
    scale: NDArray[np.float64]
    class_of: NDArray[np.int64]
    basis: NDArray[np.float64]
    classes: list[slice]
    class_names: list[str] | None
    adjusted: bool
    messages: list[str]

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return len(self.order)

    def permuted(self, count: int, seed: int) -> NDArray[np.float64]:
        """Permute the samples of y `count` times: (count, n_contrasts, n), scaled so that the sum is z.

        Features stay as they are, free of class means and covariates (Freedman and Lane, A nonstochastic
        interpretation of reported significance levels, J Bus Econ Stat 1983).
        """
        rng = np.random.default_rng(seed)
        places = np.stack([rng.permutation(self.n_samples) for _ in range(count)])
        scale = 1 / np.sqrt(self.n_samples) if not self.adjusted else self.scale[0]
        return np.asarray(np.moveaxis(self.y[:, places], 0, 1) * scale)


def is_measurement(labels: NDArray[Any]) -> bool:
    """Whether labels are numbers of many values, which samples do not share or which have fractions."""
    if labels.dtype.kind not in "iuf" or not len(labels):
        return False
    values = np.unique(labels)
    fractional = labels.dtype.kind == "f" and bool(np.any(values != np.floor(values)))
    return len(values) > _MOST_CLASSES and (fractional or len(values) > len(labels) / 2)


def target_of(
    op: str, labels: NDArray[Any], covariates: NDArray[np.float64] | None = None, label_type: LabelType = "auto"
) -> Target:
    """Make contrasts of labels of which none is missing.

    Two classes give one contrast (the second class against the first); k > 2 classes give k, each class against all
    others; a measurement gives one.

    A contrast is scaled so that z has variance 1 where two features are independent within each class. Features are
    centred within classes, so a class of n_c samples adds y_c^2 n_c^2 / (n_c - 1) to the variance of the sum, not
    y_c^2 n_c; for a measurement, d projected columns leave n - d dimensions.

    Parameters
    ----------
    op : str
        Who asks, for messages.
    labels : array (n,)
        Numbers or text.
    covariates : float64 array (n, q), optional
        Projected out of features and contrasts.
    label_type : {"auto", "classes", "measurement"}
        What the labels are; "auto" takes numbers for a measurement where :func:`is_measurement` says so.

    Returns
    -------
    Target

    Raises
    ------
    InputError
        For fewer than four samples, one class, labels that are neither, or covariates that explain the label.
    """
    n = len(labels)
    if n < 4:
        raise InputError(f"{op}: samples must be at least 4 with a label, got {n}")
    measured = label_type == "measurement" or (label_type == "auto" and is_measurement(labels))
    if measured:
        return _of_measurement(op, labels, covariates)
    encoded = encode_classes(op, labels)
    order = np.argsort(encoded.codes, kind="stable")
    codes, k = encoded.codes[order], len(encoded.names)
    ends = np.cumsum(np.bincount(codes, minlength=k))
    classes = [slice(int(end - size), int(end)) for end, size in zip(ends, np.bincount(codes), strict=True)]
    class_of = np.array([1], dtype=np.int64) if k == 2 else np.arange(k)
    indicators = np.eye(k)[codes]
    y = standardised(indicators[:, class_of].T)
    sizes = np.bincount(codes).astype(np.float64)
    means = np.stack([[row[part][0] for part in classes] for row in y])
    spread = np.where(sizes > 1, sizes**2 / np.maximum(sizes - 1, 1), 0)
    scale = 1 / np.sqrt(np.maximum((means**2 * spread).sum(axis=1), 1e-300))
    scale[(means**2 * spread).sum(axis=1) == 0] = 0  # classes of one sample each
    fixed = [indicators]
    if covariates is not None:
        y, kept = _without(op, y, covariates[order])
        fixed.append(kept)
    basis = orthonormal(np.hstack(fixed))
    if covariates is not None:
        free = max(n - basis.shape[1], 1)
        scale = np.full(len(y), np.sqrt(free / n) / np.sqrt(n))
    return Target(
        order, y, scale, class_of, basis, classes, encoded.names, covariates is not None, list(encoded.messages)
    )


def _of_measurement(op: str, labels: NDArray[Any], covariates: NDArray[np.float64] | None) -> Target:
    n = len(labels)
    if labels.dtype.kind not in "iufb":
        raise InputError(f"{op}: y must be numbers where it is a measurement, got {labels.dtype}")
    values = labels.astype(np.float64)
    if not np.isfinite(values).all():
        raise InputError(f"{op}: y must be finite, got {counted(int((~np.isfinite(values)).sum()), 'infinite value')}")
    if np.ptp(values) == 0:
        raise InputError(f"{op}: y must have two values or more, got one ({values[0]:g})")
    y = standardised(values[None])
    fixed = [np.ones((n, 1))]
    if covariates is not None:
        y, kept = _without(op, y, covariates)
        fixed.append(kept)
    basis = orthonormal(np.hstack([*fixed, y.T]))
    scale = np.full(1, np.sqrt(max(n - basis.shape[1], 1) / n) / np.sqrt(n))
    none = np.zeros(1, dtype=np.int64)
    return Target(np.arange(n), y, scale, none, basis, [slice(0, n)], None, True, [])


def standardised(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centre rows and bring them to unit variance."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    return np.asarray(centred / np.sqrt((centred**2).mean(axis=1, keepdims=True)))


def _without(
    op: str, y: NDArray[np.float64], covariates: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Contrasts without what covariates explain; and the covariates, centred and scaled."""
    constant = np.ptp(covariates, axis=0) == 0
    scaled = standardised(covariates[:, ~constant].T).T if not constant.all() else covariates[:, :0]
    basis = orthonormal(np.hstack([np.ones((y.shape[1], 1)), scaled]))
    left = y - (y @ basis) @ basis.T
    if np.any((left**2).mean(axis=1) < _NOTHING):
        raise InputError(f"{op}: covariates must not determine the label, got ones that explain all of it")
    return standardised(left), scaled


def orthonormal(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Basis of the space that columns span, dependent ones left out."""
    u, sizes, _ = np.linalg.svd(columns, full_matrices=False)
    return np.asarray(u[:, sizes > sizes[0] * 1e-10])


def pieces(total: int, size: int) -> Iterator[tuple[int, int]]:
    """Split 0 .. total into ranges of `size`."""
    for start in range(0, total, size):
        yield start, min(start + size, total)
