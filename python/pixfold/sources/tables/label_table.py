"""Labels, groups and covariates from a table of their own, matched by the names of the samples."""

from __future__ import annotations

import copy
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.sources.base import Source, describe
from pixfold.sources.disk.changes import unchanged
from pixfold.sources.formats import format_of
from pixfold.sources.labels import check_columns, columns_of, label_values
from pixfold.sources.options import ReadOptions
from pixfold.sources.tables.arrow import arrow_table, index_columns
from pixfold.sources.tables.delimited import Header, UncommonTextError, read_cells, readable
from pixfold.util.text import counted, listed

_TABLES = ("table", "Parquet", "Arrow")
# Columns of these names hold names of samples, whatever stands before them.
_NAMING = ("sample", "sample_id", "sampleid", "sample_name", "samplename", "id", "iid", "#iid")


def columns_in(path: Path) -> list[str]:
    """Names of the columns of a table, without those that name the samples by where they stand.

    Raises
    ------
    InputError
        When it is no table, or cannot be read.
    """
    if _is_text(path):
        with unchanged(path), readable(path):
            header = Header(path)
            return header.columns[int(header.names_samples) :]
    with arrow_table(path) as (schema, _):
        naming = index_columns(schema)
        return [field.name for at, field in enumerate(schema) if at not in naming]


def match_table(source: Source, path: Path, options: ReadOptions) -> Source:
    """Return a source of the same values with the labels, groups and covariates that a table gives its samples.

    Samples are matched by name: the table's are in its first column if that has no header or was the index of a
    pandas.DataFrame, else in the first column named sample, sample_id, id or IID, else in its first column.
    Samples that are not in the table have a missing label, group and covariates.

    Parameters
    ----------
    source : Source
        The samples.
    path : Path
        The table: any format of tables that :func:`pixfold.open_source` reads.
    options : ReadOptions
        Its ``label``, ``groups`` and ``covariates`` are columns of the table.

    Raises
    ------
    InputError
        When the table cannot be read, has no such column, names a sample twice, or has none of the samples.
    """
    key, names, values = _from_text(path, options) if _is_text(path) else _from_arrow(path, options)
    row_of = {name: row for row, name in enumerate(names) if name is not None}
    repeated = [name for name, count in Counter(name for name in names if name is not None).items() if count > 1]
    if repeated:
        raise InputError(
            f"{path}: column {key!r} must name a sample once, got {counted(len(repeated), 'sample')} named more often "
            f"({listed(repeated)})"
        )
    rows = np.array([row_of.get(name, -1) for name in source.sample_names], dtype=np.int64)
    matched = rows >= 0
    if not matched.any():
        raise InputError(
            f"{path}: no sample of {source.name} is in column {key!r}: it holds {listed(list(row_of)) or 'none'}, "
            f"the samples are {listed(source.sample_names)}"
        )
    result = copy.copy(source)
    of_samples = {column: _of_samples(found, rows) for column, found in values.items()}
    if options.label is not None:
        result.labels = of_samples[options.label]
    describe(result, **_added(source, columns_of(options, of_samples.__getitem__)))
    result.messages = [
        *source.messages,
        _use_of_table(source, path, options, matched, len(names) - len(set(rows[matched]))),
    ]
    return result


def _is_text(path: Path) -> bool:
    known = format_of(path)
    if known.name not in _TABLES:
        raise InputError(f"{path}: labels must be a table (.csv, .tsv, .parquet), got a {known.name} file")
    return known.name == "table"


def _of_samples(values: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[Any]:
    """Values of samples by their rows of the table; None for those of -1."""
    matched = rows >= 0
    if matched.all():
        return values[rows]
    result = np.full(len(rows), None, dtype=object)
    result[matched] = values[rows[matched]].astype(object)
    return result


def _added(source: Source, found: dict[str, Any]) -> dict[str, Any]:
    """Groups and covariates of a table beside those that the data have already."""
    return {**found, "covariates": {**source.covariates, **found["covariates"]}}


def _named(options: ReadOptions) -> tuple[str, ...]:
    return (*(() if options.label is None else (options.label,)), *options.columns)


def _use_of_table(source: Source, path: Path, options: ReadOptions, matched: NDArray[np.bool_], n_unused: int) -> str:
    found = int(matched.sum())
    what = [] if options.label is None else [f"labels {options.label!r}"]
    what += [] if options.groups_column is None else [f"groups {options.groups_column!r}"]
    if options.covariate_columns:
        what.append(f"covariates {listed(options.covariate_columns)}")
    text = f"{path}: {' and '.join(what)} of {found:,} of {counted(source.n_samples, 'sample')}"
    if found < source.n_samples:
        missing = [name for name, there in zip(source.sample_names, matched, strict=True) if not there]
        text += f", none of the other {len(missing):,} ({listed(missing)})"
    if n_unused:
        text += f"; {counted(n_unused, 'row')} of the table used for no sample"
    features = set(source.feature_names)
    for column in _named(options):
        if column in features:
            text += f"; {column!r} is a feature of the data, too, and stays one"
    return text


def _key(path: Path, columns: list[str], options: ReadOptions, naming: tuple[int, ...]) -> int:
    """Find the column with the names of the samples."""
    apart = _named(options)
    others = [at for at, column in enumerate(columns) if column not in apart]
    if not others:
        what = listed(apart) if options.label is None else f"the labels {options.label!r}"
        raise InputError(f"{path}: the table must hold sample names beside {what}, got no other column")
    named = [at for at in others if columns[at].lower() in _NAMING]
    return [*naming, *named, *others][0]


def _from_text(path: Path, options: ReadOptions) -> tuple[str, list[str | None], dict[str, NDArray[Any]]]:
    with unchanged(path), readable(path):
        header = Header(path)
        naming = (0,) if header.names_samples else ()
        check_columns(str(path), options, header.columns[len(naming) :], header.text_columns)
        key = _key(path, header.columns, options, naming)
        wanted = [key, *(header.columns.index(column, len(naming)) for column in _named(options))]
        try:
            cells = list(_some_columns(path, header, wanted, uncommon=False))
        except UncommonTextError:
            cells = list(_some_columns(path, header, wanted, uncommon=True))
        keys, *columns = zip(*cells, strict=True)
        names = [name for part in keys for name in part.to_pylist()]
        values = [label_values(parts, is_text=True) for parts in columns]
        return header.columns[key], names, dict(zip(_named(options), values, strict=True))


def _some_columns(path: Path, header: Header, wanted: list[int], *, uncommon: bool) -> Any:
    for cells in read_cells(path, header, uncommon=uncommon):
        yield tuple(cells.column(at) for at in wanted)


def _from_arrow(path: Path, options: ReadOptions) -> tuple[str, list[str | None], dict[str, NDArray[Any]]]:
    with arrow_table(path) as (schema, batches):
        naming = index_columns(schema)
        columns = [field.name for field in schema]
        check_columns(str(path), options, [column for at, column in enumerate(columns) if at not in naming])
        key = _key(path, columns, options, naming)
        places = {
            name: next(i for i, column in enumerate(columns) if column == name and i not in naming)
            for name in _named(options)
        }
        names: list[str | None] = []
        parts: dict[str, list[Any]] = {name: [] for name in places}
        for batch in batches():
            names += [None if name is None else str(name) for name in batch.column(key).to_pylist()]
            for name, at in places.items():
                parts[name].append(batch.column(at))
        if not names:
            raise InputError(f"{path}: the table must hold one row per sample, got none")
        return columns[key], names, {name: label_values(found) for name, found in parts.items()}
