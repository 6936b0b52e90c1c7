"""Tables: pandas DataFrames, and .csv, .tsv and .txt files, compressed with gzip or not."""

from __future__ import annotations

import csv
import gzip
import re
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from pixfold._optional import require
from pixfold._words import counted, listed
from pixfold.errors import InputError
from pixfold.sources.array import ArraySource
from pixfold.sources.base import check_dtype, check_labels, check_size
from pixfold.sources.formats import Options
from pixfold.sources.labels import check_column

# A text column of this many samples or more, with more than half of its values distinct, is no categorical
# feature: an identifier or free text. (In fewer samples distinct values say nothing.)
_IDENTIFIER_SAMPLES = 10

_BOOLEAN = ("False", "True")
_DELIMITERS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}
_DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+([eE][-+]?\d+)?")

# A text column with a larger fraction of numbers is a numeric column with wrong cells.
_MOST_NUMBERS = 0.1

# Says where a cell is: (row position, column position) -> "line 3, column 7 ('gene')".
Place = Callable[[int, int], str]


def open_frame(
    frame: Any,
    *,
    label: str | None = None,
    y: Any = None,
    categories: Mapping[str, Sequence[str]] | None = None,
    name: str = "DataFrame",
) -> ArraySource:
    """Make a source of a pandas DataFrame: columns are features, the index names the samples.

    Text, boolean and categorical columns are encoded: code 0, 1, 2, ... in sorted order of the categories (in
    their own order where the categorical is ordered), missing as NaN.

    Parameters
    ----------
    frame : pandas.DataFrame
        One row per sample.
    label : str, optional
        The column with the labels.
    y : array-like of shape (n_samples,), optional
        Labels beside the table, instead of ``label``.
    categories : mapping of str to sequence of str, optional
        The categories that columns were encoded by before: they are used again, and a value outside them is
        an error. Other text columns are errors then.
    name : str
        How messages call it.

    Raises
    ------
    InputError
        When there is no such label column, or a column is no feature: text among numbers, an identifier,
        dates.
    """
    columns = [str(column) for column in frame.columns]

    def place(row: int, column: int) -> str:
        return f"row {row} (index {frame.index[row]!r}), column {columns[column]!r}"

    positions = list(range(len(columns)))
    labels = y
    if label is not None:
        text = [c for c, dtype in zip(columns, frame.dtypes, strict=True) if not _is_number(dtype)]
        check_column(name, str(label), columns, text)
        at = columns.index(str(label))
        positions.remove(at)
        labels = _values(frame.iloc[:, at])
    if columns and len(frame) and not positions:
        raise InputError(f"{name}: expected features beside the label {label!r}, received none")
    check_size(name, len(frame), len(positions))
    samples = [str(i) for i in frame.index]
    return _encode(frame, columns, positions, samples, labels, name, place, categories)


def open_text(path: Path, options: Options) -> ArraySource:
    """Read a delimited text file: one header line of names, then one line per sample.

    The first column names the samples when its header is empty, or when it is text that differs in every line
    and is not the label. A header one field shorter than the lines (as R writes it) leaves out that column.
    The delimiter is that of the suffix, or another of comma, tab and semicolon when the header holds only
    that. Missing values are empty cells or NA, NaN, null, None.

    Parameters
    ----------
    path : Path
        ``.csv``, ``.tsv`` or ``.txt``, alone or followed by ``.gz``.
    options : Options
        Its ``label``, ``y`` and ``categories`` are those of :func:`open_frame`.

    Raises
    ------
    InputError
        As :func:`open_frame`, naming line and column of the cell; also when lines differ in length, or the
        file is cut off or no text.
    MissingDependencyError
        When pandas is not installed.
    """
    pandas = require("pandas", "io", "reading .csv and .tsv files")
    label, y, categories = options.label, options.y, options.categories
    with _readable(path):
        header = _Header(path)
        columns = header.columns
        if label is not None:
            check_column(str(path), label, columns[header.named :], header.text_columns)
        frame = _read_frame(pandas, path, header)
        _check_lengths(path, header, frame)
        names_samples = header.named or _names_samples(frame, columns, label, categories)
        positions = list(range(int(names_samples), len(columns)))
        labels = y
        if label is not None:
            at = columns.index(label, header.named)
            positions.remove(at)
            labels = _stripped(_values(frame.iloc[:, at]))
        samples = [str(s) for s in frame.iloc[:, 0]] if names_samples else None
        check_size(str(path), len(frame), len(positions))

        def place(row: int, column: int) -> str:
            return f"line {_line_of(path, header, row)}, column {columns[column]!r}"

        return _encode(frame, columns, positions, samples, labels, str(path), place, categories)


class _Header:
    """The first line of a text file, and what its second line tells about the columns."""

    def __init__(self, path: Path) -> None:
        with _open(path) as file:
            text = file.read(1 << 16)
            self.delimiter = _delimiter(path, text.partition("\n")[0])
            file.seek(0)
            reader = csv.reader(file, delimiter=self.delimiter, skipinitialspace=True)
            # A quoted name may hold a line break, so that records and lines differ.
            self.records, self.columns = next(((n, row) for n, row in enumerate(reader, 1) if row), (0, []))
            self.lines = reader.line_num
            first = next((row for row in reader if row), None)
        if not self.columns:
            raise InputError(f"{path}: expected a header line of feature names, received an empty file")
        if first is None:
            raise InputError(f"{path}: expected one line per sample after the header line, received none")
        if len(first) == len(self.columns) + 1 and first[-1] != "":
            self.columns = ["", *self.columns]
        if len(first) != len(self.columns):
            raise InputError(
                f"{path}: line {reader.line_num} has {counted(len(first), 'field')}, "
                f"the header has {len(self.columns):,}"
            )
        self.columns = [column.strip() for column in self.columns]
        if len(self.columns) == 1 and not _parses(first[0]):
            raise InputError(
                f"{path}: expected columns separated by comma, tab or semicolon, received one column of "
                f"text, {first[0][:40]!r} in line {reader.line_num}"
            )
        # Does the first column name the samples by its header alone?
        self.named = int(self.columns[0] in ("", "Unnamed: 0") and len(self.columns) > 1)
        self.text_columns = [c for c, cell in zip(self.columns, first, strict=True) if c and not _parses(cell)]
        comma = self.delimiter == ";" and any(_DECIMAL_COMMA.fullmatch(cell.strip()) for cell in first)
        self.decimal = "," if comma else "."


def _read_frame(pandas: Any, path: Path, header: _Header) -> Any:
    """Read the lines below the header; pandas types each column as a whole."""
    try:
        return pandas.read_csv(
            path,
            sep=header.delimiter,
            header=None,
            names=range(len(header.columns)),
            index_col=False,
            skiprows=header.records,
            skipinitialspace=True,
            decimal=header.decimal,
            low_memory=False,
            on_bad_lines="error",
            encoding="utf-8-sig",
            compression="gzip" if path.suffix.lower() == ".gz" else None,
        )
    except pandas.errors.ParserError as error:
        _raise_length(path, header)
        raise InputError(f"{path}: cannot read the table: {error}") from error


def _check_lengths(path: Path, header: _Header, frame: Any) -> None:
    """Raise InputError for lines that are too short: pandas would read what they lack as missing values.

    A short line always lacks its last field, so the file is read again only where the last column has gaps.
    Lines that are too long are errors of pandas itself.
    """
    if bool(frame.iloc[:, -1].isna().any()):
        _raise_length(path, header)


def _raise_length(path: Path, header: _Header) -> None:
    expected = len(header.columns)
    for line, row in _records(path, header):
        if len(row) != expected:
            raise InputError(
                f"{path}: line {line} has {counted(len(row), 'field')}, expected {expected:,} as in line "
                f"{header.lines + 1}"
            )


def _records(path: Path, header: _Header) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, fields) of each sample, skipping blank lines as pandas does."""
    with _open(path) as file:
        reader = csv.reader(file, delimiter=header.delimiter, skipinitialspace=True)
        start = 1
        for row in reader:
            if row and reader.line_num > header.lines:
                yield start, row
            start = reader.line_num + 1


def _line_of(path: Path, header: _Header, row: int) -> int:
    for position, (line, _) in enumerate(_records(path, header)):
        if position == row:
            return line
    return header.lines + 1 + row


def _delimiter(path: Path, header: str) -> str:
    suffixes = [s.lower() for s in path.suffixes]
    suffix = suffixes[-2] if suffixes[-1] == ".gz" and len(suffixes) > 1 else suffixes[-1]
    usual = _DELIMITERS.get(suffix, ",")
    others = [d for d in ",\t;" if d != usual]
    return usual if usual in header else max([usual, *others], key=header.count)


def _parses(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _open(path: Path) -> TextIO:
    csv.field_size_limit(sys.maxsize)
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return open(path, encoding="utf-8-sig", newline="")


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn what the file layers raise for damaged files into one InputError."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected text in UTF-8, received other bytes ({error.reason})") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: the gzip file is damaged or cut off ({error})") from error
    except csv.Error as error:
        raise InputError(f"{path}: cannot read the table: {error}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot read the file: {error.strerror or error}") from error


def _names_samples(
    frame: Any, columns: list[str], label: str | None, categories: Mapping[str, Sequence[str]] | None
) -> bool:
    """Tell whether the first column holds names of samples: text, different in each line, not the label."""
    if len(columns) < 2 or columns[0] == label or columns[0] in (categories or {}):
        return False
    first = frame.iloc[:, 0]
    return not _is_number(first.dtype) and first.dtype != bool and bool(first.is_unique) and _numeric(first) == 0


def _is_number(dtype: Any) -> bool:
    """Tell whether a pandas dtype holds numbers, nullable and sparse ones included, booleans not."""
    dtype = getattr(dtype, "subtype", dtype)  # pandas.SparseDtype
    return getattr(dtype, "kind", "O") in "iuf" and not hasattr(dtype, "categories")


def _values(column: Any) -> NDArray[Any]:
    """Labels of a column: plain NumPy values, missing ones kept as they are."""
    return np.asarray(column, dtype=None if isinstance(column.dtype, np.dtype) else object)


def _stripped(labels: NDArray[Any]) -> NDArray[Any]:
    """Labels of a file without the blanks around them: nobody means two classes "a" and "a "."""
    if labels.dtype != object:
        return labels
    result = np.empty(len(labels), dtype=object)
    result[:] = [value.strip() if isinstance(value, str) else value for value in labels]
    return result


def _numeric(column: Any) -> float:
    """Fraction of a column's values, missing ones apart, that are or parse as numbers."""
    pandas = require("pandas", "io", "reading tables")
    values = column.dropna()
    if not len(values):
        return 0.0
    return float(pandas.to_numeric(values, errors="coerce").notna().mean())


def _encode(
    frame: Any,
    columns: list[str],
    positions: list[int],
    samples: list[str] | None,
    labels: Any,
    name: str,
    place: Place,
    categories: Mapping[str, Sequence[str]] | None,
) -> ArraySource:
    """Make the numeric matrix of some columns of a frame."""
    messages: list[str] = []
    if labels is not None:
        labels = check_labels(name, labels, len(frame))
    features = frame.iloc[:, positions]
    dtypes = list(features.dtypes)
    if all(hasattr(dtype, "subtype") and hasattr(dtype, "fill_value") for dtype in dtypes):
        matrix: Any = features.sparse.to_coo()  # every column is sparse: never make it dense
        encoded: dict[str, list[str]] = {}
    else:
        matrix, encoded = _matrix(features, dtypes, columns, positions, name, place, categories)
    if encoded and categories is None:
        messages.append(
            f"{counted(len(encoded), 'categorical feature')} encoded as codes 0, 1, 2, ... ({listed(list(encoded))})"
        )
    return ArraySource(
        matrix,
        name=name,
        feature_names=[columns[p] for p in positions],
        sample_names=samples,
        labels=labels,
        categories=encoded,
        messages=messages,
    )


def _matrix(
    features: Any,
    dtypes: list[Any],
    columns: list[str],
    positions: list[int],
    name: str,
    place: Place,
    categories: Mapping[str, Sequence[str]] | None,
) -> tuple[NDArray[Any], dict[str, list[str]]]:
    given = categories or {}
    plain = np.fromiter(
        (
            isinstance(dtype, np.dtype) and dtype.kind in "iuf" and columns[p] not in given
            for dtype, p in zip(dtypes, positions, strict=True)
        ),
        dtype=bool,
        count=len(dtypes),
    )
    if plain.all():
        return features.to_numpy(), {}
    encoded: dict[str, list[str]] = {}
    special: dict[int, NDArray[Any]] = {}
    for at in np.flatnonzero(~plain):
        column = positions[at]

        def where(row: int, column: int = column) -> str:
            return place(row, column)

        values, names = _column(features.iloc[:, at], columns[column], name, where, given.get(columns[column]))
        special[int(at)] = values
        if names is not None:
            if categories is not None and columns[column] not in given:
                raise InputError(f"{name}: column {columns[column]!r} is text, expected numbers as in training")
            encoded[columns[column]] = names
    numbers = features.iloc[:, np.flatnonzero(plain)].to_numpy()
    dtype = np.result_type(*({numbers.dtype} if plain.any() else set()), *{v.dtype for v in special.values()})
    matrix = np.empty(features.shape, dtype=dtype)
    matrix[:, plain] = numbers
    for index, values in special.items():
        matrix[:, index] = values
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
        ordered = dtype.categories if dtype.ordered else sorted(dtype.categories, key=_natural)
        return _by_categories(column, ordered, name, where), [str(category) for category in ordered]
    kind = getattr(dtype, "kind", "O")
    if kind == "b":
        return _by_categories(column, _BOOLEAN, name, where), list(_BOOLEAN)
    if kind in "mMc":
        check = "dates or times" if kind in "mM" else "complex values"
        raise InputError(f"{name}: column {feature!r} holds {check}, expected numbers or categories")
    return _text(column, feature, name, where)


def _text(column: Any, feature: str, name: str, where: Callable[[int], str]) -> tuple[NDArray[Any], list[str] | None]:
    """Read an object column: numbers, categories, or an error."""
    pandas = require("pandas", "io", "reading tables")
    present = column.notna().to_numpy()
    if not present.any():
        return np.full(len(column), np.nan, dtype=np.float32), None
    if pandas.api.types.infer_dtype(column, skipna=True) == "boolean":
        return _by_categories(column, _BOOLEAN, name, where), list(_BOOLEAN)
    parsed = pandas.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    bad = present & np.isnan(parsed)
    if not bad.any():
        return parsed, None
    if bad.sum() < (1 - _MOST_NUMBERS) * present.sum():
        row = int(np.flatnonzero(bad)[0])
        more = f" ({counted(int(bad.sum()) - 1, 'more cell')} like it in this column)" if bad.sum() > 1 else ""
        raise InputError(
            f"{name}: {where(row)}: expected a number, received {column.iloc[row]!r}{more}; "
            "a missing value is an empty cell or NA"
        )
    values = sorted({str(v) for v in column[present]}, key=_natural)
    if len(column) >= _IDENTIFIER_SAMPLES and len(values) * 2 > present.sum():
        raise InputError(
            f"{name}: column {feature!r} looks like an identifier or free text, not a feature: "
            f"{len(values):,} different texts in {int(present.sum()):,} samples ({listed(values)}); "
            "remove it or, if it names the samples, make it the first column and leave its header empty "
            "(in a DataFrame, the index)"
        )
    return _by_categories(column, values, name, where), values


def _by_categories(column: Any, categories: Sequence[Any], name: str, where: Callable[[int], str]) -> NDArray[Any]:
    """Codes of a column's values: integers where none is missing, else floats with NaN."""
    code = {str(category): number for number, category in enumerate(categories)}
    present = column.notna().to_numpy()
    # The smallest types that hold the codes, so that they do not widen a float32 table.
    codes = np.full(len(column), np.nan, dtype=np.float32 if len(code) < 2**24 else np.float64)
    for row, value in enumerate(column.tolist()):
        if present[row]:
            if str(value) not in code:
                raise InputError(
                    f"{name}: {where(row)}: {str(value)!r} is none of the known categories ({listed(list(code), 10)})"
                )
            codes[row] = code[str(value)]
    if not present.all():
        return codes
    return codes.astype(np.int16 if len(code) < 2**15 else np.int64)


def _nullable(column: Any) -> NDArray[Any]:
    if column.isna().any():
        return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))
    dtype = getattr(column.dtype, "subtype", getattr(column.dtype, "numpy_dtype", np.dtype(np.float64)))
    return np.asarray(column.to_numpy(dtype=check_dtype("column", np.dtype(dtype))))


def _natural(value: Any) -> tuple[int, float, str]:
    """Sort key: numbers by value, before texts."""
    text = str(value)
    return (0, float(text), text) if _parses(text) and np.isfinite(float(text)) else (1, 0.0, text)
