"""Labels of a source: the column that a user named, their values, missing ones, numbers split into classes."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.sources.missing import missing_labels
from pixfold.sources.options import NoColumnError, ReadOptions
from pixfold.util.optional import require
from pixfold.util.text import counted, listed

_SHOWN = 10


# How messages call the columns that options name.
_WORDS = {
    "label": "label column",
    "groups": "groups column",
    "covariates": "covariate column",
    "where": "column of the condition (--where)",
}


def check_columns(name: str, options: ReadOptions, columns: Sequence[str], likely: Sequence[str] = ()) -> None:
    """Raise InputError unless the columns that options name are each one of ``columns``; see :func:`check_column`."""
    if options.label is not None:
        check_column(name, options.label, columns, likely)
    if options.groups_column is not None:
        check_column(name, options.groups_column, columns, likely, "groups")
    for covariate in options.covariate_columns:
        check_column(name, covariate, columns, likely, "covariates")
    for column in options.where_columns:
        check_column(name, column, columns, likely, "where")


def check_column(
    name: str, label: str, columns: Sequence[str], likely: Sequence[str] = (), option: str = "label"
) -> None:
    """Raise InputError unless exactly one of ``columns`` is named ``label``.

    Parameters
    ----------
    name : str
        The source, for the message.
    label : str
        The column that was asked for.
    columns : sequence of str
        The columns there are.
    likely : sequence of str
        Those of ``columns`` that look like labels (they are not numeric): named first.
    option : {"label", "groups", "covariates", "where"}
        The option that named it.
    """
    if label in columns:
        if (count := list(columns).count(label)) > 1:
            raise InputError(f"{name}: {option} must name one column, got {label!r}, which {count} columns are called")
        return
    close = difflib.get_close_matches(label, columns, n=3, cutoff=0.7)
    close += [c for c in columns if c.lower() == label.lower() and c not in close]
    hint = f"; did you mean {' or '.join(repr(c) for c in close)}?" if close else ""
    known = set(likely)
    ordered = [*likely, *(c for c in columns if c not in known)]
    there = f"columns there are: {listed(ordered, _SHOWN)}" if ordered else "there are no columns"
    raise NoColumnError(f"{name}: no {_WORDS[option]} {label!r}{hint or ';'} {there}", [label])


def columns_of(options: ReadOptions, column: Callable[[str], Any]) -> dict[str, Any]:
    """Read the columns about samples beside the label, as keyword arguments of :class:`pixfold.sources.base.Source`.

    Parameters
    ----------
    options : ReadOptions
        What was asked for.
    column : callable
        Gives the values of a column, of its name.
    """
    values = {name: column(name) for name in options.columns}
    return {
        "groups": None if options.groups_column is None else values[options.groups_column],
        "covariates": {name: values[name] for name in options.covariate_columns},
        "beside": {name: values[name] for name in options.where_columns if name in values},
    }


def split_labels(name: str, labels: NDArray[Any] | None, split: str) -> tuple[NDArray[Any], str]:
    """Make two classes of numbers, for whoever wants to classify a measurement.

    Parameters
    ----------
    name : str
        The source, for messages.
    labels : ndarray of shape (n_samples,), or None
        Numbers, or text that can be read as numbers; missing ones stay missing.
    split : str
        "median", the only way there is.

    Returns
    -------
    labels : object array of shape (n_samples,)
        ``"<= 1.5"`` and ``"> 1.5"`` for a median of 1.5, None for missing ones.
    message : str
        What was done.

    Raises
    ------
    InputError
        When there are no labels, they are no finite numbers, or all of them are at most the median.
    """
    if labels is None:
        raise InputError(f"{name}: there are no labels to split at the median; name their column with label")
    known = ~missing_labels(labels)
    try:
        numbers = np.asarray([float(value) for value in labels[known].tolist()], dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name}: labels must be numbers to be split at their median, got text") from None
    if not len(numbers) or not np.isfinite(numbers).all():
        raise InputError(f"{name}: labels must be finite numbers to be split at their median, got others")
    median = float(np.median(numbers))
    above = numbers > median
    if not above.any():
        raise InputError(
            f"{name}: labels cannot be split at their median {median:g}: none of {counted(len(numbers), 'label')} is "
            "above it"
        )
    result = np.full(len(labels), None, dtype=object)
    result[known] = np.where(above, f"> {median:g}", f"<= {median:g}").astype(object)
    n_above = int(np.count_nonzero(above))
    return result, (
        f"labels split at the median {median:g}: {counted(len(numbers) - n_above, 'sample')} at most that, "
        f"{n_above:,} above it"
    )


def label_values(parts: Sequence[Any], *, is_text: bool = False, decimal: str = ".") -> NDArray[Any]:
    """Return labels as NumPy has them: numbers, booleans, or objects; missing ones are NaN or None.

    Parameters
    ----------
    parts : sequence of pyarrow.Array
        The labels in order, all of one type.
    is_text : bool
        Whether they were read from text, so that they are numbers where all of them look like numbers.
    decimal : str
        The decimal point of such numbers.
    """
    pyarrow = require("pyarrow", "io", "reading tables")
    labels = pyarrow.chunked_array(parts)
    if pyarrow.types.is_dictionary(labels.type):
        labels = labels.cast(labels.type.value_type)
    if is_text:
        labels = _typed(pyarrow, labels, decimal)
    kind = labels.type
    if pyarrow.types.is_floating(kind) or (pyarrow.types.is_integer(kind)):
        return np.asarray(labels.to_numpy())
    if pyarrow.types.is_boolean(kind) and not labels.null_count:
        return np.asarray(labels.to_numpy())
    values = np.empty(len(labels), dtype=object)
    values[:] = [label.strip() if isinstance(label, str) else label for label in labels.to_pylist()]
    return values


def _typed(pyarrow: Any, labels: Any, decimal: str) -> Any:
    """Labels as integers, numbers or booleans, if all of them are."""
    compute = require("pyarrow.compute", "io", "reading tables")
    numbers = labels if decimal == "." else compute.replace_substring(labels, decimal, ".")
    for texts, kind in ((labels, pyarrow.int64()), (numbers, pyarrow.float64()), (labels, pyarrow.bool_())):
        try:
            return texts.cast(kind)
        except pyarrow.ArrowInvalid:
            continue
    return labels
