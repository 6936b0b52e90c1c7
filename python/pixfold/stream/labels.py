"""Labels of a source: which samples have one, classes as the codes 0, 1, 2, ..., and quantities as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.sources.base import Source, check_labels
from pixfold.sources.missing import missing_labels
from pixfold.util.text import counted, listed

# Labels that are not whole numbers and have more values than this are measurements, not classes.
_MOST_FRACTIONAL_CLASSES = 20
# Numbers of more values than this are a quantity, where nobody says what they are.
_MOST_CLASSES_OF_NUMBERS = 10
# What else can be done with numbers that are no classes.
_OTHERWISE = (
    ": DeepMapperRegressor (pixfold run --task regression) learns them as a quantity, and split='median' "
    "(--split median) makes two classes of them"
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


@dataclass(frozen=True)
class Classes:
    """Labels as classes: codes 0, 1, 2, ... of the samples; names and values of the classes; what to tell the user."""

    codes: NDArray[np.int64]
    names: list[str]
    values: NDArray[Any]
    messages: list[str]


def encode_classes(name: str, labels: NDArray[Any]) -> Classes:
    """Encode labels of which none is missing, or say why they are no classes."""
    if not len(labels):
        raise InputError(f"{name}: no sample has a label")
    if labels.dtype.kind == "f" and np.isinf(labels).any():
        raise InputError(f"{name}: labels must be classes, got {np.count_nonzero(np.isinf(labels)):,} infinite")
    values, codes, sizes = _classes_in(labels)
    names = [_class_name(value) for value in values]
    n, k = len(labels), len(values)
    if k == 1:
        raise InputError(
            f"{name}: labels must be of two classes or more, got only one class ({names[0]!r}, {counted(n, 'sample')})"
        )
    fractional = values.dtype.kind == "f" and bool(np.any(values != np.floor(values)))
    if fractional and (k > _MOST_FRACTIONAL_CLASSES or k > max(n / 2, 2)):
        # scikit-learn's own checks look for "Unknown label type".
        raise InputError(
            f"{name}: Unknown label type: continuous. The labels must be classes, got {k:,} different numbers in {n:,} "
            f"samples, such as {names[0]} and {names[-1]}, which look like a measurement{_OTHERWISE}"
        )
    if k > max(n / 2, 2):
        raise InputError(
            f"{name}: labels must be classes that samples share, got {k:,} different labels in {n:,} samples "
            f"({listed(names)}), which look like an identifier or a measurement"
            + (_OTHERWISE if values.dtype.kind in "iuf" else "")
        )
    messages = []
    odd = [i for i, value in enumerate(names) if value.strip().lower() in ("nan", "na", "none", "null")]
    if odd and values.dtype.kind == "U":
        messages.append(
            f"the label {names[odd[0]]!r} is text and counts as a class ({counted(int(sizes[odd[0]]), 'sample')})"
        )
    return Classes(codes.astype(np.int64), names, values, messages)


def encode_quantity(name: str, labels: NDArray[Any]) -> NDArray[np.float64]:
    """Labels of which none is missing as numbers, or say why they are no quantity.

    Parameters
    ----------
    name : str
        The source, for the message.
    labels : array (n,)
        As :func:`labelled_rows` gives them.

    Returns
    -------
    float64 array (n,)

    Raises
    ------
    InputError
        For no label at all, text, infinite numbers, and labels that are all the same.
    """
    if not len(labels):
        raise InputError(f"{name}: no sample has a label")
    try:
        numbers = labels.astype(np.float64)
    except ValueError:
        values = np.unique(labels)
        raise InputError(
            f"{name}: labels must be numbers to be learned as a quantity, got {listed(values.tolist())}"
        ) from None
    if not np.isfinite(numbers).all():
        odd = int(np.count_nonzero(~np.isfinite(numbers)))
        raise InputError(f"{name}: labels must be finite numbers, got {odd:,} infinite")
    if (numbers == numbers[0]).all():
        raise InputError(
            f"{name}: labels must be of two different numbers or more, got only one number "
            f"({_class_name(numbers[0])}, {counted(len(numbers), 'sample')})"
        )
    return numbers


def is_quantity(labels: NDArray[Any]) -> bool:
    """Whether labels look like a quantity rather than classes.

    They do when they are numbers of more than ten different values, or of so many that samples hardly share them.
    Whole numbers that count 0, 1, 2, ... or 1, 2, 3, ... without a gap, each of three samples or more, are codes of
    classes.

    Parameters
    ----------
    labels : array (n,)
        As :func:`labelled_rows` gives them.
    """
    if labels.dtype.kind not in "iuf" or not len(labels):
        return False
    values, sizes = np.unique(labels, return_counts=True)
    if len(values) <= _MOST_CLASSES_OF_NUMBERS and len(values) <= max(len(labels) / 2, 2):
        return False
    counts_on = values[0] in (0, 1) and bool(np.all(np.diff(values) == 1))
    return not (counts_on and sizes.min() > 2)


def class_names_of(labels: NDArray[Any]) -> list[str]:
    """Names of the classes among labels that :func:`labelled_rows` gave, in the order of their codes."""
    return [_class_name(value) for value in _classes_in(labels)[0]]


def names_of_labels(labels: NDArray[Any]) -> list[str]:
    """Name of the class of each of the labels that :func:`labelled_rows` gave."""
    return [_class_name(value) for value in labels.tolist()]


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
        raise InputError(f"{name}: labels must be among {listed(class_names, 10)}, got {listed(unknown)}")
    return np.array([code[label] for label in names], dtype=np.int64)


def group_codes(groups: NDArray[Any]) -> NDArray[np.int64]:
    """Encode groups as 0, 1, 2, ... in the order of their first samples; a sample without a group is one of its own.

    Parameters
    ----------
    groups : array (n,)
        Values as sources have them; missing ones are those of labels.

    Returns
    -------
    int64 array (n,)
    """
    code_of: dict[Any, int] = {}
    absent = missing_labels(groups)
    codes = np.empty(len(groups), dtype=np.int64)
    # What is missing gets a key that no other sample has.
    for row, value in enumerate(groups.tolist()):
        codes[row] = code_of.setdefault((row,) if absent[row] else value, len(code_of))
    return codes


def _uniform(name: str, labels: NDArray[Any]) -> NDArray[Any]:
    """Labels of which none is missing as one NumPy type: booleans, integers, floats or text."""
    if labels.dtype.kind in "biufU":
        return labels
    if labels.dtype.kind not in "OST":
        raise InputError(f"{name}: labels must be numbers or text, got {labels.dtype}")
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
    """Name of a class; 1.0 is "1", because a column of whole numbers with gaps is read as floats."""
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value)


def _classes_in(labels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]]:
    """Sorted classes, the code of each label, and how many labels each class has; "10" comes after "9"."""
    values, codes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    numbers = _as_numbers(values) if values.dtype.kind == "U" else None
    if numbers is None:
        return values, codes, sizes
    order = np.argsort(numbers, kind="stable")
    return values[order], np.argsort(order)[codes], sizes[order]
