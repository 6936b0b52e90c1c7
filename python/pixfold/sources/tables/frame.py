"""Tables in memory: pandas DataFrames."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.sources.arrays.array_source import ArraySource
from pixfold.sources.base import check_dtype, check_labels, check_size, unique_names
from pixfold.sources.choice import unwanted_columns
from pixfold.sources.labels import check_columns, columns_of
from pixfold.sources.options import ReadOptions
from pixfold.sources.tables.categories import (
    BOOLEAN,
    Encoding,
    check_identifier,
    check_known,
    code_array,
    is_mixed,
    known_categories,
    natural,
    unknown_category,
    wrong_cell,
)
from pixfold.sources.tables.notation import MARKS, first_in_another
from pixfold.util.optional import require

# Says where a cell is: (row position, column position) -> "line 3, column 7 ('gene')".
Place = Callable[[int, int], str]


def open_frame(
    frame: Any,
    *,
    options: ReadOptions | None = None,
    name: str = "DataFrame",
) -> ArraySource:
    """Make a source of a pandas DataFrame: columns are features, the index names the samples.

    Text, boolean and categorical columns are encoded: code 0, 1, 2, ... in sorted order of the categories (in
    their own order where the categorical is ordered), missing as NaN.

    Parameters
    ----------
    frame : pandas.DataFrame
        One row per sample.
    options : ReadOptions, optional
        Its ``label``, ``groups``, ``covariates``, ``y``, ``categories`` and ``categorical`` are those of
        :func:`pixfold.open_source`.
    name : str
        How messages call it.

    Raises
    ------
    InputError
        When there is no column that an option names, or a column is no feature: text among numbers, an identifier,
        dates.
    """
    columns = [str(column) for column in frame.columns]
    positions = list(range(len(columns)))
    given = options or ReadOptions()
    categories, label, labels = given.categories, given.label, given.y
    named = (*(() if label is None else (label,)), *given.columns)
    if named:
        text = [c for c, dtype in zip(columns, frame.dtypes, strict=True) if not _is_number(dtype)]
        check_columns(name, given, columns, text)
        apart = {columns.index(column) for column in named}
        positions = [at for at in positions if at not in apart]
    unwanted = unwanted_columns(given, columns)
    left_out = [columns[at] for at in positions if at in unwanted]
    positions = [at for at in positions if at not in unwanted]
    if label is not None:
        labels = _values(frame.iloc[:, columns.index(label)])
    if columns and len(frame) and not positions:
        beside = " and ".join([*([] if label is None else [f"the label {label!r}"]), *map(repr, given.columns)])
        raise InputError(f"{name}: the table must hold features beside {beside}, got none")
    check_size(name, len(frame), len(positions))
    if labels is not None:
        labels = check_labels(name, labels, len(frame))
    messages: list[str] = []
    features = unique_names([columns[at] for at in positions], messages)
    chosen = frame.iloc[:, positions]

    def place(row: int, at: int) -> str:
        return f"row {row} (index {frame.index[row]!r}), column {columns[positions[at]]!r}"

    encoded: dict[int, list[str]] = {}
    if all(hasattr(dtype, "subtype") and hasattr(dtype, "fill_value") for dtype in chosen.dtypes):
        matrix: Any = chosen.sparse.to_coo()  # every column is sparse: never make it dense
    else:
        matrix, encoded = _matrix(chosen, features, name, place, categories)
    encoding = Encoding(features, encoded, given.categorical, categories)
    source = ArraySource(
        matrix if encoding.is_ordinal else encoding.apply(matrix),
        name=name,
        feature_names=encoding.feature_names,
        sample_names=[str(i) for i in frame.index],
        labels=labels,
        **columns_of(given, lambda column: _values(frame.iloc[:, columns.index(column)])),
        categories=encoding.categories,
        messages=messages + encoding.messages(),
        kind="table",
    )
    source.left_out = left_out
    return source


def _is_number(dtype: Any) -> bool:
    """Tell whether a pandas dtype holds numbers, nullable and sparse ones included, booleans not."""
    dtype = getattr(dtype, "subtype", dtype)  # pandas.SparseDtype
    return getattr(dtype, "kind", "O") in "iuf" and not hasattr(dtype, "categories")


def _values(column: Any) -> NDArray[Any]:
    """Labels of a column: plain NumPy values, missing ones kept as they are."""
    return np.asarray(column, dtype=None if isinstance(column.dtype, np.dtype) else object)


def _matrix(
    frame: Any,
    features: list[str],
    name: str,
    place: Place,
    categories: Mapping[str, Sequence[str]] | None,
) -> tuple[NDArray[Any], dict[int, list[str]]]:
    """Make a matrix of the columns, and tell the categories of those that now hold codes."""
    dtypes = list(frame.dtypes)
    plain = np.fromiter(
        (
            isinstance(dtype, np.dtype) and dtype.kind in "iuf" and known_categories(feature, categories) is None
            for dtype, feature in zip(dtypes, features, strict=True)
        ),
        dtype=bool,
        count=len(dtypes),
    )
    if plain.all():
        return frame.to_numpy(), {}
    encoded: dict[int, list[str]] = {}
    special: dict[int, NDArray[Any]] = {}
    for at in np.flatnonzero(~plain).tolist():

        def where(row: int, at: int = at) -> str:
            return place(row, at)

        known = known_categories(features[at], categories)
        special[at], names = _column(frame.iloc[:, at], features[at], name, where, known)
        if names is not None:
            check_known(name, features[at], categories)
            encoded[at] = names
    numbers = frame.iloc[:, np.flatnonzero(plain)].to_numpy()
    dtype = np.result_type(*({numbers.dtype} if plain.any() else set()), *{v.dtype for v in special.values()})
    matrix = np.empty(frame.shape, dtype=dtype)
    matrix[:, plain] = numbers
    for at, values in special.items():
        matrix[:, at] = values
    return matrix, encoded


def _column(
    column: Any, feature: str, name: str, where: Callable[[int], str], given: Sequence[str] | None
) -> tuple[NDArray[Any], list[str] | None]:
    """Return the numbers of one column that is not plainly numeric, and its categories if it has any."""
    dtype = column.dtype
    if given is not None:
        return _by_categories(column, given, name, where), list(given)
    if _is_number(dtype):
        return _nullable(column), None
    if hasattr(dtype, "categories"):
        ordered = dtype.categories if dtype.ordered else sorted(dtype.categories, key=natural)
        return _by_categories(column, ordered, name, where), [str(category) for category in ordered]
    kind = getattr(dtype, "kind", "O")
    if kind == "b":
        return _by_categories(column, BOOLEAN, name, where), list(BOOLEAN)
    if kind in "mMc":
        check = "dates or times" if kind in "mM" else "complex values"
        raise InputError(f"{name}: column {feature!r} must hold numbers or categories, got {check}")
    return _text(column, feature, name, where)


def _text(column: Any, feature: str, name: str, where: Callable[[int], str]) -> tuple[NDArray[Any], list[str] | None]:
    """Read an object column: numbers, categories, or an error."""
    pandas = require("pandas", "io", "reading tables")
    present = column.notna().to_numpy()
    if not present.any():
        return np.full(len(column), np.nan, dtype=np.float32), None
    if pandas.api.types.infer_dtype(column, skipna=True) == "boolean":
        return _by_categories(column, BOOLEAN, name, where), list(BOOLEAN)
    parsed = pandas.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    marks = column.isin(MARKS).to_numpy(dtype=bool)
    bad = present & np.isnan(parsed) & ~marks
    if not bad.any():
        return parsed, None
    n_bad, n_present = int(bad.sum()), int((present & ~marks).sum())
    if is_mixed(n_bad, n_present):
        row = int(np.flatnonzero(bad)[0])
        raise wrong_cell(name, where(row), column.iloc[row], n_bad)
    counts = Counter(str(v) for v in column[present])
    values = sorted(counts, key=natural)
    if (at := first_in_another(values, [counts[value] for value in values])) is not None:
        raise wrong_cell(name, where(int((column.astype(str) == values[at]).to_numpy().argmax())), values[at], n_bad)
    check_identifier(name, feature, values, n_present, len(column))
    return _by_categories(column, values, name, where), values


def _by_categories(column: Any, categories: Sequence[Any], name: str, where: Callable[[int], str]) -> NDArray[Any]:
    """Codes of a column's values: integers where none is missing, else floats with NaN."""
    code = {str(category): number for number, category in enumerate(categories)}
    present = column.notna().to_numpy()
    codes = np.full(len(column), -1, dtype=np.int64)
    for row, value in enumerate(column.tolist()):
        if present[row]:
            if str(value) not in code:
                raise unknown_category(name, where(row), str(value), list(code))
            codes[row] = code[str(value)]
    return code_array(codes, len(code))


def _nullable(column: Any) -> NDArray[Any]:
    if column.isna().any():
        return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))
    dtype = getattr(column.dtype, "subtype", getattr(column.dtype, "numpy_dtype", np.dtype(np.float64)))
    return np.asarray(column.to_numpy(dtype=check_dtype("column", np.dtype(dtype))))
