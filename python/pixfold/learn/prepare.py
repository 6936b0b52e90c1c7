"""From a source to what is learned from: empty features and samples out, labels encoded, samples split."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.sources.base import Source, check_labels
from pixfold.sources.labels import missing_labels
from pixfold.stream.scan import Profile, scan
from pixfold.util.progress import Progress
from pixfold.util.text import counted, listed

Missing = Literal["error", "zero", "mean"]

# Labels that are not whole numbers and have more values than this are measurements, not classes.
_MOST_FRACTIONAL_CLASSES = 20


@dataclass(frozen=True)
class Prepared:
    """What of a source is used, and how its labels are encoded.

    Attributes
    ----------
    source : Source
        Where values are read from.
    rows : ndarray of int64, shape (n,)
        Positions in ``source`` of the samples that are used, sorted.
    labels : ndarray of int64, shape (n,), or None
        Class of each of ``rows``, counted from 0.
    class_names : list of str, or None
        Names of the classes, in the order of their codes.
    classes : ndarray, or None
        Labels as they came, sorted: that of code 0, 1, 2, ...
    keep : ndarray of bool, shape (n_features,)
        Which features have a value other than zero in any of ``rows``.
    dropped_features, dropped_samples : list of str
        Names of those that are empty: all zero or missing.
    profile : Profile
        What kind of numbers the values are.
    n_unlabelled : int
        Samples left out because their label is missing.
    messages : list of str
        What the user should be told, those of the source included.
    """

    source: Source
    rows: NDArray[np.int64]
    labels: NDArray[np.int64] | None
    class_names: list[str] | None
    classes: NDArray[Any] | None
    keep: NDArray[np.bool_]
    profile: Profile
    dropped_features: list[str] = field(default_factory=list)
    dropped_samples: list[str] = field(default_factory=list)
    n_unlabelled: int = 0
    messages: list[str] = field(default_factory=list)

    @property
    def sample_names(self) -> list[str]:
        """Names of the samples in ``rows``."""
        names = self.source.sample_names
        return [names[row] for row in self.rows]


@dataclass(frozen=True)
class Split:
    """Three disjoint parts of the samples: sorted positions into ``Prepared.rows``, int64."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]
    messages: list[str] = field(default_factory=list)


def prepare(
    source: Source,
    *,
    missing: Missing = "error",
    memory: int | None = None,
    progress: Progress | None = None,
) -> Prepared:
    """Check a source in one pass over its values, and find what of it can be used.

    Samples without a label are left out; then features and samples whose values are all zero or missing.
    Nothing else is filtered. The values themselves are not changed: ``missing`` only says whether missing
    ones are allowed, the normaliser replaces them.

    Parameters
    ----------
    source : Source
        The samples, with labels or without.
    missing : {"error", "zero", "mean"}
        Whether values may be missing (NaN) in what is used, and how the normaliser will replace them.
    memory : int, optional
        Budget of the pass, in bytes; see :func:`pixfold.stream.blocks.rows_within`.
    progress : Progress, optional
        Where samples are counted; silent without it.

    Returns
    -------
    Prepared

    Raises
    ------
    InputError
        When values are infinite, or missing and not allowed; when all is empty; when labels are of one class
        only or do not name classes.
    """
    if missing not in ("error", "zero", "mean"):
        raise InputError(f"missing: expected 'error', 'zero' or 'mean', received {missing!r}")
    messages = list(source.messages)
    rows, labels = labelled_rows(source, messages)
    # Before the pass over the values, which may be long.
    encoded = None if labels is None else _encode(source.name, labels)
    n_unlabelled = source.n_samples - len(rows)

    found = scan(source, rows, memory=memory, progress=progress)
    empty = rows[found.empty_samples]
    keep = found.nonzero > 0
    dropped_samples = [source.sample_names[i] for i in empty]
    dropped_features = [source.feature_names[i] for i in np.flatnonzero(~keep)]
    if len(empty) == len(rows):
        raise InputError(f"{source.name}: all values are zero or missing, there is nothing to learn from")
    for names, total, what in (
        (dropped_features, source.n_features, "feature"),
        (dropped_samples, len(rows), "sample"),
    ):
        if names:
            messages.append(f"{len(names):,} of {counted(total, what)} left out, all zero or missing: {listed(names)}")
    gaps = np.where(keep, found.missing, 0)
    if missing == "error":
        _raise_missing(source, gaps)
    elif gaps.any():
        total, features = int(gaps.sum()), int(np.count_nonzero(gaps))
        messages.append(
            f"{counted(total, 'value')} missing in {counted(features, 'feature')}, "
            f"replaced by {'zero' if missing == 'zero' else 'the mean of the feature'}"
        )
    if len(empty):
        used = ~found.empty_samples
        rows = rows[used]
        if labels is not None:
            encoded = _encode(source.name, labels[used])
    if encoded is not None:
        messages.extend(encoded.messages)
    return Prepared(
        source=source,
        rows=rows,
        labels=None if encoded is None else encoded.codes,
        class_names=None if encoded is None else encoded.names,
        classes=None if encoded is None else encoded.values,
        keep=keep,
        profile=found.profile,
        dropped_features=dropped_features,
        dropped_samples=dropped_samples,
        n_unlabelled=n_unlabelled,
        messages=messages,
    )


def labelled_rows(source: Source, messages: list[str]) -> tuple[NDArray[np.int64], NDArray[Any] | None]:
    """Find the samples that have a label, or all of a source without labels.

    Parameters
    ----------
    source : Source
        The samples.
    messages : list of str
        Is told which samples have none.

    Returns
    -------
    rows : int64 array (n,)
        Positions of the samples, sorted.
    labels : array (n,), or None
        Their labels: booleans, integers, floats or text.
    """
    rows = np.arange(source.n_samples, dtype=np.int64)
    if source.labels is None:
        return rows, None
    labels = check_labels(source.name, source.labels, source.n_samples)
    absent = missing_labels(labels)
    if absent.any():
        names = [source.sample_names[i] for i in np.flatnonzero(absent)]
        messages.append(f"{counted(len(names), 'sample')} without a label left out: {listed(names)}")
    return rows[~absent], _uniform(source.name, labels[~absent])


def class_names_of(labels: NDArray[Any]) -> list[str]:
    """Names of the classes among labels that :func:`labelled_rows` gave, in the order of their codes."""
    values = np.unique(labels)
    numbers = _as_numbers(values)
    if numbers is not None and values.dtype.kind == "U":  # "10" after "9"
        values = values[np.argsort(numbers, kind="stable")]
    return [_class_name(value) for value in values]


def codes_of(name: str, labels: NDArray[Any], class_names: Sequence[str]) -> NDArray[np.int64]:
    """Encode labels by classes that are known already.

    Parameters
    ----------
    name : str
        The source, for the message.
    labels : array (n,)
        As :func:`labelled_rows` gives them.
    class_names : sequence of str
        Names of the classes 0, 1, 2, ...

    Returns
    -------
    int64 array (n,)

    Raises
    ------
    InputError
        When a label is none of them.
    """
    code = {known: number for number, known in enumerate(class_names)}
    names = [_class_name(value) for value in labels.tolist()]
    unknown = sorted({label for label in names if label not in code})
    if unknown:
        raise InputError(f"{name}: expected labels among {listed(class_names, 10)}, received {listed(unknown)}")
    return np.array([code[label] for label in names], dtype=np.int64)


def split(
    n_samples: int,
    labels: NDArray[np.integer[Any]] | None = None,
    *,
    fractions: Sequence[float] = (0.60, 0.15, 0.25),
    seed: int,
    class_names: Sequence[str] | None = None,
) -> Split:
    """Draw the train, validation and test samples, class by class.

    Each class is divided in the asked fractions, by largest remainder; what rounding takes from a part in one
    class is made up in the next, so that the totals come close too. A class of three samples or more has at
    least one in each part; one of two has them in train and test, one of a single sample in train.

    Parameters
    ----------
    n_samples : int
        Samples to divide, at least 3.
    labels : ndarray of int64, shape (n_samples,), optional
        Classes; without them samples are drawn at random.
    fractions : three numbers
        Of train, validation and test; positive, sum 1.
    seed : int
        The same seed gives the same split.
    class_names : sequence of str, optional
        Names of the classes, for the messages.

    Returns
    -------
    Split
        ``messages`` names in one sentence the classes that are too small for the fractions.

    Raises
    ------
    InputError
        When an argument is wrong, or there are too few samples for three parts.
    """
    shares = _fractions(fractions)
    seed = _not_negative("seed", seed)
    if n_samples < 3:
        raise InputError(
            f"split: expected at least 3 samples for train, validation and test, received n_samples={n_samples}"
        )
    if labels is None:
        codes = np.zeros(n_samples, dtype=np.int64)
    else:
        codes = check_labels("split", labels, n_samples)
        if codes.dtype.kind not in "iu" or codes.min() < 0:
            raise InputError("split: expected labels 0, 1, 2, ... as integers, received others")
    rng = np.random.default_rng(seed)
    parts: list[list[NDArray[np.int64]]] = [[], [], []]
    small: list[tuple[str, int]] = []
    owed = np.zeros(3)
    for code in np.unique(codes):
        members = rng.permutation(np.flatnonzero(codes == code))
        sizes = _sizes(len(members), shares, owed)
        for part, chunk in zip(parts, np.split(members, np.cumsum(sizes)[:-1]), strict=True):
            part.append(chunk)
        if len(members) * min(shares) < 1:
            small.append((str(class_names[code]) if class_names is not None else str(code), len(members)))
    train, validation, test = (np.sort(np.concatenate(part)).astype(np.int64) for part in parts)
    if not (len(train) and len(validation) and len(test)):
        raise InputError(
            f"split: {n_samples} samples in classes of at most 2 cannot be divided into train, validation "
            "and test; expected at least one class of 3 samples or more"
        )
    return Split(train, validation, test, _small_classes(small, shares) if labels is not None else [])


def _raise_missing(source: Source, missing: NDArray[np.int64]) -> None:
    total = int(missing.sum())
    if total:
        features = [source.feature_names[i] for i in np.flatnonzero(missing)]
        raise InputError(
            f"{source.name}: {counted(total, 'value')} missing (NaN) in {counted(len(features), 'feature')} "
            f'({listed(features)}); choose missing="mean" or missing="zero" (command line: --missing mean)'
        )


@dataclass
class _Classes:
    codes: NDArray[np.int64]
    names: list[str]
    values: NDArray[Any]
    messages: list[str]


def _encode(name: str, labels: NDArray[Any]) -> _Classes:
    """Encode labels of which none is missing, or say why they are no classes."""
    if not len(labels):
        raise InputError(f"{name}: no sample has a label")
    if labels.dtype.kind == "f" and np.isinf(labels).any():
        infinite = int(np.isinf(labels).sum())
        raise InputError(f"{name}: {counted(infinite, 'label')} infinite, expected classes")
    values, codes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    numbers = _as_numbers(values)
    if numbers is not None and values.dtype.kind == "U":  # "10" after "9"
        order = np.argsort(numbers, kind="stable")
        position = np.empty_like(order)
        position[order] = np.arange(len(order))
        values, codes, sizes = values[order], position[codes], sizes[order]
    names = [_class_name(value) for value in values]
    n, k = len(labels), len(values)
    if k == 1:
        raise InputError(
            f"{name}: the labels hold only one class ({names[0]!r}, {counted(n, 'sample')}), expected two or more"
        )
    fractional = values.dtype.kind == "f" and bool(np.any(values != np.floor(values)))
    if fractional and (k > _MOST_FRACTIONAL_CLASSES or k > max(n / 2, 2)):
        raise InputError(
            f"{name}: Unknown label type: continuous. {k:,} different numbers in {n:,} samples, such as "
            f"{names[0]} and {names[-1]}, look like a measurement; expected classes"
        )
    if k > max(n / 2, 2):
        raise InputError(
            f"{name}: {k:,} different labels in {n:,} samples ({listed(names)}) look like an identifier or a "
            "measurement; expected classes that samples share"
        )
    messages = []
    odd = [i for i, value in enumerate(names) if value.strip().lower() in ("nan", "na", "none", "null")]
    if odd and values.dtype.kind == "U":
        messages.append(
            f"the label {names[odd[0]]!r} is text and counts as a class ({counted(int(sizes[odd[0]]), 'sample')})"
        )
    return _Classes(codes.astype(np.int64), names, values, messages)


def _uniform(name: str, labels: NDArray[Any]) -> NDArray[Any]:
    """Labels of which none is missing as one NumPy type: booleans, integers, floats or text."""
    if labels.dtype.kind in "biufU":
        return labels
    if labels.dtype.kind not in "OST":
        raise InputError(f"{name}: expected labels that are numbers or text, received {labels.dtype}")
    values = [value.decode() if isinstance(value, bytes) else value for value in labels.tolist()]
    for kind, dtype in ((bool, np.bool_), (int, np.int64), ((int, float), np.float64)):
        wanted = all(isinstance(v, kind) and (kind is bool or not isinstance(v, bool)) for v in values)
        if values and wanted:
            return np.asarray(values, dtype=dtype)
    return np.asarray([str(value) for value in values], dtype=np.str_)


def _as_numbers(values: NDArray[Any]) -> NDArray[np.float64] | None:
    try:
        numbers = values.astype(np.float64)
    except ValueError:
        return None
    return numbers if bool(np.isfinite(numbers).all()) else None


def _class_name(value: Any) -> str:
    """``1.0`` is the class "1": a column of whole numbers with gaps was read as floats."""
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value)


def _fractions(fractions: Sequence[float]) -> tuple[float, float, float]:
    try:
        train, validation, test = (float(fraction) for fraction in fractions)
    except (TypeError, ValueError):
        raise InputError(f"fractions: expected three numbers, received {fractions!r}") from None
    # abs_tol: 0.6 + 0.15 + 0.25 is 1 to within rounding, and so is what a user types with six digits
    if min(train, validation, test) <= 0 or not math.isclose(train + validation + test, 1, abs_tol=1e-6):
        raise InputError(
            f"fractions: expected three positive numbers (train, validation, test) of sum 1, received {fractions!r}"
        )
    return train, validation, test


def _not_negative(name: str, value: object) -> int:
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = -1
    if number < 0:
        raise InputError(f"{name}: expected an integer, not negative, received {value!r}")
    return number


def _sizes(n: int, shares: tuple[float, float, float], owed: NDArray[np.float64]) -> NDArray[np.int64]:
    """Sizes of the three parts of a class of ``n``; ``owed`` carries what rounding left to the next class."""
    if n < 3:
        return np.array([1, 0, n - 1], dtype=np.int64)
    exact = n * np.asarray(shares)
    sizes = np.floor(exact).astype(np.int64)
    remainder = exact - sizes + owed
    for _ in range(n - int(sizes.sum())):
        part = int(np.argmax(remainder))
        sizes[part] += 1
        remainder[part] -= 1
    for empty in np.flatnonzero(sizes == 0):
        sizes[np.argmax(sizes)] -= 1
        sizes[empty] = 1
    owed[:] = np.clip(owed + exact - sizes, -1, 1)
    return np.asarray(sizes, dtype=np.int64)


def _small_classes(small: list[tuple[str, int]], shares: tuple[float, float, float]) -> list[str]:
    if not small:
        return []
    sizes = [size for _, size in small]
    outcomes = (
        (max(sizes) >= 3, "a class of three or more has at least one sample in each part"),
        (2 in sizes, "two samples are one in train and one in test"),
        (1 in sizes, "a single sample is in train"),
    )
    named = ", ".join(f"{name!r} ({counted(size, 'sample')})" for name, size in small)
    percent = " / ".join(f"{100 * share:g}" for share in shares)
    return [
        f"{'1 class is' if len(small) == 1 else f'{len(small):,} classes are'} too small to be divided "
        f"{percent} %: {named}; {'; '.join(text for happened, text in outcomes if happened)}"
    ]
