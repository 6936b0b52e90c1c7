"""Tables in Parquet and Arrow (Feather) files, read in batches of rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pixfold.errors import InputError, OutputError
from pixfold.sources.base import Source, block_rows
from pixfold.sources.choice import unwanted_columns
from pixfold.sources.disk.changes import unchanged
from pixfold.sources.labels import check_columns
from pixfold.sources.options import ReadOptions
from pixfold.sources.tables.builder import Columns, TableBuilder, numeric_columns
from pixfold.sources.tables.categories import known_categories
from pixfold.sources.tables.lines import SHOWN_BYTES
from pixfold.util.optional import require
from pixfold.util.progress import source_task
from pixfold.util.text import short_repr

_PURPOSE = "reading .parquet, .feather and .arrow files"

# Of a row group that is larger when compressed, each column is read through a buffer: all of them take about this.
_BUFFER_BYTES = 64 * 2**20
_LEAST_BUFFER = 4096


def open_arrow(path: Path, options: ReadOptions) -> Source:
    """Read a Parquet file or an Arrow one (Feather version 2): columns are features, rows are samples.

    The index of the pandas.DataFrame that the file was written of names the samples. Without an index the first
    column does when it is text that differs in every row and is not the label. Columns of numbers are features as
    they are, nulls are missing values; text, boolean and dictionary columns are encoded as in a DataFrame.

    The file is read once, in batches of rows; a table larger than
    :func:`pixfold.sources.disk.limits.held` is kept in a temporary file, so that any rows can be read.

    Parameters
    ----------
    path : Path
        ``.parquet``, ``.feather`` or ``.arrow``.
    options : ReadOptions
        Its ``label``, ``groups``, ``covariates``, ``y``, ``categories`` and ``categorical`` are those of
        :func:`pixfold.open_source`.

    Returns
    -------
    Source

    Raises
    ------
    InputError
        When the file is damaged or changes while it is read, there is no such label column, or a column is no
        feature: text among numbers, an identifier, dates, lists.
    OutputError
        When there is no room for the temporary file.
    MissingDependencyError
        When pyarrow is not installed.
    """
    with arrow_table(path) as (schema, batches):
        columns = _columns(str(path), schema, options)
        if columns.may_name:
            first = next((batch.column(0) for batch in batches()), None)
            columns.may_name = first is None or len(first.unique()) == len(first)
        while True:
            source = _read(str(path), schema, columns, options, batches())
            if source is not None:
                return source


def index_columns(schema: Any) -> tuple[int, ...]:
    """Positions of the columns that were the index of the pandas.DataFrame that a file was written of."""
    if not schema.metadata or b"pandas" not in schema.metadata:
        return ()
    described = json.loads(schema.metadata[b"pandas"]).get("index_columns", [])
    names = [name for name in described if isinstance(name, str)]  # a range is no column
    return tuple(schema.names.index(name) for name in names if name in schema.names)


@contextmanager
def arrow_table(path: Path) -> Iterator[tuple[Any, Callable[[], Iterator[Any]]]]:
    """Open a Parquet or Arrow file: its schema, and a function that yields its record batches.

    Raises
    ------
    InputError
        When the file is damaged, or changes while it is open.
    """
    pyarrow = require("pyarrow", "io", _PURPOSE)
    is_parquet = path.suffix.lower() == ".parquet"
    with unchanged(path):
        try:
            yield _parquet(path) if is_parquet else _ipc(path)
        except (InputError, OutputError):
            raise
        except (OSError, pyarrow.ArrowException) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise InputError(f"{path}: cannot read the file: {error.strerror or error}") from error
            what = "Parquet" if is_parquet else "Arrow"
            raise InputError(f"{path}: the {what} file is damaged or cut off ({short_repr(str(error))})") from error


def _parquet(path: Path) -> tuple[Any, Callable[[], Iterator[Any]]]:
    parquet = require("pyarrow.parquet", "io", _PURPOSE)
    with parquet.ParquetFile(path) as file:
        metadata, schema = file.metadata, file.schema_arrow
    largest = max((metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups)), default=0)
    small = largest <= _BUFFER_BYTES
    buffer = 0 if small else max(_LEAST_BUFFER, _BUFFER_BYTES // max(1, len(schema)))

    def batches() -> Iterator[Any]:
        size = path.stat().st_size
        with (
            parquet.ParquetFile(path, buffer_size=buffer, pre_buffer=False, page_checksum_verification=True) as file,
            source_task(f"reading {path.name}", size, SHOWN_BYTES) as task,
        ):
            for batch in file.iter_batches(block_rows(max(1, len(schema))), use_threads=small):
                yield batch
                task.advance(size * batch.num_rows / metadata.num_rows)

    return schema, batches


def _ipc(path: Path) -> tuple[Any, Callable[[], Iterator[Any]]]:
    pyarrow = require("pyarrow", "io", _PURPOSE)
    with pyarrow.memory_map(str(path)) as data, pyarrow.ipc.open_file(data) as file:
        schema = file.schema

    def batches() -> Iterator[Any]:
        rows, size = block_rows(max(1, len(schema))), path.stat().st_size
        with (
            pyarrow.memory_map(str(path)) as data,
            pyarrow.ipc.open_file(data) as file,
            source_task(f"reading {path.name}", size, SHOWN_BYTES) as task,
        ):
            for number in range(file.num_record_batches):
                batch = file.get_batch(number)
                for start in range(0, batch.num_rows, rows):
                    yield batch.slice(start, rows)
                task.advance(size / file.num_record_batches)

    return schema, batches


def _columns(name: str, schema: Any, options: ReadOptions) -> Columns:
    """Tell what the columns are by their types."""
    types = require("pyarrow", "io", _PURPOSE).types
    names = [field.name for field in schema]
    columns = Columns(names, naming=index_columns(schema), unwanted=unwanted_columns(options, names))
    text = {at for at, field in enumerate(schema) if _is_text(types, field.type)}
    there = [at for at in range(len(columns.names)) if at not in columns.naming]
    names = [columns.names[at] for at in there]
    check_columns(name, options, names, [columns.names[at] for at in there if at in text])
    columns.label = None if options.label is None else there[names.index(options.label)]
    columns.others = {column: there[names.index(column)] for column in options.columns}
    columns.categorical = {at for at, field in enumerate(schema) if types.is_dictionary(field.type)}
    columns.text = text | {
        at for at in columns.features if known_categories(columns.names[at], options.categories) is not None
    }
    columns.may_name = 0 in text - columns.categorical and columns.could_name(options)
    for at in columns.numbers:
        kind = schema.field(at).type
        if not (types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind) or types.is_null(kind)):
            held = "dates or times" if types.is_temporal(kind) else f"values of type {kind}"
            raise InputError(f"{name}: column {columns.names[at]!r} must hold numbers or categories, got {held}")
    return columns


def _read(name: str, schema: Any, columns: Columns, options: ReadOptions, batches: Iterator[Any]) -> Source | None:
    """Read all batches; return None when they show that columns are to be read as something else."""
    pyarrow = require("pyarrow", "io", _PURPOSE)

    def where(row: int, column: str) -> str:
        return f"row {row}, column {column!r}"

    builder = TableBuilder(name, columns, options, where)
    numeric = columns.numbers
    others = sorted(set(range(len(columns.names))) - set(numeric))
    start = 0
    try:
        for batch in batches:
            if options.categories is None:
                for at in columns.categorical & builder.texts.keys():
                    array = batch.column(at)
                    known = array.dictionary.cast(pyarrow.string()).drop_null().to_pylist()
                    builder.texts[at].declare(known, ordered=array.type.ordered)
            builder.add(
                numeric_columns([_number(pyarrow, batch.column(at)) for at in numeric], batch.num_rows),
                {at: _other(pyarrow, batch.column(at), at in columns.kept) for at in others},
                np.arange(start, start + batch.num_rows),
            )
            start += batch.num_rows
        return builder.finish()
    except BaseException:
        builder.discard()
        raise


def _is_text(types: Any, kind: Any) -> bool:
    return bool(
        types.is_boolean(kind)
        or types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_string_view(kind)
        or types.is_dictionary(kind)
    )


def _number(pyarrow: Any, array: Any) -> Any:
    """Decimal numbers, and columns that are all null, as floats."""
    if pyarrow.types.is_decimal(array.type):
        return array.cast(pyarrow.float64())
    return array.cast(pyarrow.float32()) if pyarrow.types.is_null(array.type) else array


def _other(pyarrow: Any, array: Any, is_kept: bool) -> Any:
    """Labels, groups and covariates as they are, all else as strings."""
    if pyarrow.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    return array if is_kept else array.cast(pyarrow.string())
