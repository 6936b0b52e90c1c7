"""What may be wrong with data before anything is learned: groups not named, batches, leaks, classes too small.

Every function returns sentences for the user, and none where there is nothing to say. Nothing is refused or left out:
what looks like a leak may be what the user looks for.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import PixfoldError
from pixfold.learn.leaks import SURPRISING, leaks
from pixfold.learn.wordings import FEW_SAMPLES, SMALL_CLASSES
from pixfold.sources.base import Source
from pixfold.sources.missing import missing_labels
from pixfold.stream.labels import group_codes
from pixfold.stream.prepare import Prepared
from pixfold.util.progress import Progress
from pixfold.util.text import counted, listed

# From here on batch and label say nearly the same; what explains less than the other is not worth a warning.
_NEARLY_THE_SAME, _RELATED = 0.8, 0.5
# Whole numbers of more values than this are measurements, not codes.
_MOST_CODES = 10
_LARGEST_RATIO = 20
# Standard deviations that a sample of a quantity may lie from the mean.
_FAR_OUT = 5.0


def messages_of_data(
    prepared: Prepared, source: Source, *, memory: int | None = None, progress: Progress | None = None
) -> list[str]:
    """Say all that the functions of this module find; see each of them.

    Parameters
    ----------
    prepared : Prepared
        What is learned.
    source : Source
        Where values are read from: that of ``prepared``, or a copy of it in memory.
    memory : int, optional
        Budget in bytes of the one pass over the values; see :func:`pixfold.stream.blocks.rows_within`.
    progress : Progress, optional
        Where samples are counted; silent without it.
    """
    labels, rows = prepared.labels, prepared.rows
    messages: list[str] = []
    if labels is not None:
        messages += far_out(labels) if prepared.is_quantity else class_sizes(labels, prepared.class_names)
        try:
            columns = {name: values[rows] for name, values in prepared.source.sample_columns().items()}
        except PixfoldError:
            columns = {}  # nobody asked for them: that they cannot be read is no reason to stop
        if not prepared.is_quantity:
            messages += unnamed_groups(columns, labels, groups=prepared.groups, known=prepared.covariates)
        messages += confounded(prepared.covariates, labels)
    return messages + leaks(source, rows, labels, keep=prepared.keep, memory=memory, progress=progress)


def class_sizes(labels: NDArray[np.int64], class_names: Sequence[str] | None = None) -> list[str]:
    """Name classes of few samples, and those of which one has very many times the samples of the other.

    Parameters
    ----------
    labels : int64 array (n,)
        Classes.
    class_names : sequence of str, optional
        Names of the classes 0, 1, 2, ...
    """
    codes, sizes = np.unique(labels, return_counts=True)
    names = [str(code) if class_names is None else str(class_names[code]) for code in codes]
    messages = []
    most, least = int(np.argmax(sizes)), int(np.argmin(sizes))
    if sizes[most] > _LARGEST_RATIO * sizes[least]:
        messages.append(
            f"class {names[most]!r} has {sizes[most] / sizes[least]:,.0f} times the samples of class {names[least]!r} "
            f"({sizes[most]:,} and {sizes[least]:,}): accuracy says little then, look at balanced accuracy"
        )
    few = [f"{names[i]!r} ({counted(int(sizes[i]), 'sample')})" for i in np.flatnonzero(sizes < FEW_SAMPLES)]
    if few:
        shown = ", ".join(few[:3]) + (f" and {len(few) - 3:,} more" if len(few) > 3 else "")
        messages.append(
            f"{counted(len(few), 'class') if len(few) == 1 else f'{len(few):,} classes'} {SMALL_CLASSES}: {shown}; "
            "what is found of so few may be chance"
        )
    return messages


def far_out(labels: NDArray[np.float64]) -> list[str]:
    """Say it where a few samples are so far from the others in a quantity that they decide nearly all.

    Parameters
    ----------
    labels : float64 array (n,)
        The quantity, not the same for all samples.
    """
    distance = np.abs(labels - labels.mean())
    spread = distance / distance.max()
    spread /= np.sqrt(np.mean(spread**2))
    n = int(np.count_nonzero(spread > _FAR_OUT))
    if not n:
        return []
    advice = "; its logarithm may say more" if labels.min() > 0 else ""
    return [
        f"{counted(n, 'sample')} {'is' if n == 1 else 'are'} more than {_FAR_OUT:g} standard deviations from the mean "
        f"of the quantity (from {labels.min():g} to {labels.max():g}) and may decide what is found{advice}"
    ]


def unnamed_groups(
    columns: Mapping[str, NDArray[Any]],
    labels: NDArray[np.int64],
    *,
    groups: NDArray[np.int64] | None = None,
    known: Collection[str] = (),
) -> list[str]:
    """Find columns that tie samples of one class together, as donors do, and were not given as groups.

    These are columns of which each value is in one class only, most values have two samples or more, there are more
    values than classes, and all that is no chance.

    Parameters
    ----------
    columns : mapping of str to array (n,)
        What is known of the samples; see :meth:`pixfold.sources.base.Source.sample_columns`.
    labels : int64 array (n,)
        Classes.
    groups : int64 array (n,), optional
        Groups that were given: columns that tie no more together than they do are left out.
    known : collection of str
        Columns that were given as something else.
    """
    found = []
    n_classes = len(np.unique(labels))
    for name, values in columns.items():
        if name in known or (codes := _codes(values)) is None:
            continue
        sizes = np.bincount(codes)
        is_pure = _pairs(codes, labels) == len(sizes)
        is_known = groups is not None and _pairs(codes, groups) == len(sizes)
        ties = len(sizes) > n_classes and 2 * np.count_nonzero(sizes >= 2) > len(sizes)
        if is_pure and ties and not is_known and _log_chance_of_one_class(sizes, labels) < math.log(SURPRISING):
            found.append((name, len(sizes)))
    if not found:
        return []
    name, n = found[0]
    others = f" (so do {listed([other for other, _ in found[1:]])})" if len(found) > 1 else ""
    return [
        f"column {name!r} ties samples together: each of its {n:,} values is in one class only, most with several "
        f"samples{others}; if these are of one donor, patient or plate, they are no independent samples: "
        f"--groups {name} keeps them together"
    ]


def confounded(covariates: Mapping[str, NDArray[Any]], labels: NDArray[Any]) -> list[str]:
    """Find covariates that go with the label, so that what is found of one may be of the other.

    Two sets of classes are compared by Cramer's V (without its bias, after Bergsma), classes and a measurement by an
    analysis of variance, two measurements by their correlation.

    Parameters
    ----------
    covariates : mapping of str to array (n,)
        As sources have them; samples of which one is missing are left out for it.
    labels : array (n,)
        Classes (integers) or a measurement (floats).
    """
    return [message for name, values in covariates.items() for message in _confounded(name, values, labels)]


def _confounded(name: str, values: NDArray[Any], labels: NDArray[Any]) -> list[str]:
    there = ~missing_labels(values)
    values, labels = values[there], labels[there]
    numbers, codes = _numbers(values), None
    if numbers is None:
        codes = np.unique(np.array([str(value) for value in values.tolist()]), return_inverse=True)[1]
    is_class = labels.dtype.kind in "iu"
    if len(values) < 3 or len(np.unique(labels)) < 2 or len(np.unique(values if codes is None else codes)) < 2:
        return []
    both = f"{name} and label"
    if codes is not None and is_class:
        v, p = _cramers_v(codes, np.unique(labels, return_inverse=True)[1])
        measure, strength = f"Cramer's V {v:.2f}", v
    elif numbers is not None and not is_class:
        from scipy import stats

        r, p = (float(x) for x in stats.pearsonr(numbers, labels))
        measure, strength = f"correlation {r:.2f}", abs(r)
    else:
        number, classes = (numbers, labels) if codes is None else (labels, codes)
        assert number is not None
        explained, p = _variance_explained(number, classes)
        measure, strength = (
            f"analysis of variance, p = {p:.1g}, {100 * explained:.0f} % explained",
            math.sqrt(explained),
        )
    if p > SURPRISING or strength < _RELATED:
        return []
    if strength >= _NEARLY_THE_SAME:
        found = "a difference between classes may be one" if is_class else "what goes with the label may be an effect"
        return [f"{both} say nearly the same ({measure}): {found} of {name}"]
    return [f"{both} go together ({measure}): some of what is found may be of {name}, not of the label"]


def _cramers_v(a: NDArray[np.int64], b: NDArray[np.int64]) -> tuple[float, float]:
    """Cramer's V without its bias, and the p-value of independence."""
    from scipy import stats

    table = np.zeros((int(a.max()) + 1, int(b.max()) + 1))
    np.add.at(table, (a, b), 1)
    n, (r, k) = len(a), table.shape
    found = stats.chi2_contingency(table, correction=False)
    phi = max(0.0, float(found.statistic) / n - (r - 1) * (k - 1) / (n - 1))
    least = min(r - (r - 1) ** 2 / (n - 1), k - (k - 1) ** 2 / (n - 1)) - 1
    return (min(1.0, math.sqrt(phi / least)) if least > 0 else 0.0), float(found.pvalue)


def _variance_explained(values: NDArray[np.float64], classes: NDArray[Any]) -> tuple[float, float]:
    """Share of the variance that classes explain (omega squared, without the bias of few samples), and its p-value."""
    from scipy import stats

    codes = np.unique(classes, return_inverse=True)[1]
    sizes = np.bincount(codes)
    n, k = len(values), len(sizes)
    means = np.bincount(codes, values) / sizes
    total = float(np.sum((values - values.mean()) ** 2))
    within = float(np.sum((values - means[codes]) ** 2))
    if total == 0 or n <= k:
        return 0.0, 1.0
    if within == 0:
        return 1.0, 0.0
    error = within / (n - k)
    p = float(stats.f.sf((total - within) / (k - 1) / error, k - 1, n - k))
    return max(0.0, (total - within - (k - 1) * error) / (total + error)), p


def _numbers(values: NDArray[Any]) -> NDArray[np.float64] | None:
    """Numbers of a measurement; None for classes: text, booleans, whole numbers of few values."""
    if values.dtype.kind == "O":
        if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in values.tolist()):
            return None
    elif values.dtype.kind not in "iuf":
        return None
    numbers = values.astype(np.float64)
    few = len(np.unique(numbers)) <= _MOST_CODES and bool(np.all(numbers == np.floor(numbers)))
    return None if few or not np.isfinite(numbers).all() else numbers


def _codes(values: NDArray[Any]) -> NDArray[np.int64] | None:
    """Codes of a column of classes; None for fractions, and for what has no plain values."""
    there = values[~missing_labels(values)]
    plain = there.dtype.kind in "biufUS" or all(isinstance(v, str | int | float) for v in there.tolist())
    if not plain or not len(there):
        return None
    if there.dtype.kind in "fO" and any(isinstance(v, float) and not v.is_integer() for v in there.tolist()):
        return None
    return group_codes(values)


def _log_chance_of_one_class(sizes: NDArray[np.integer[Any]], labels: NDArray[np.int64]) -> float:
    """Logarithm of how probable it is that sets of samples of these sizes are each of one class."""
    shares = np.bincount(labels) / len(labels)
    most = float(shares.max())
    return math.fsum(
        size * math.log(most) + math.log(float(np.sum((shares / most) ** size))) for size in sizes.tolist()
    )


def _pairs(a: NDArray[np.int64], b: NDArray[np.int64]) -> int:
    """Number of different pairs of two codes."""
    return len(np.unique(a * (int(b.max()) + 1) + b))
