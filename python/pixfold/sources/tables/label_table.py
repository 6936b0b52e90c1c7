"""Labels, groups and covariates from a table of their own, matched by the names of the samples."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.sources.base import Source, describe
from pixfold.sources.disk.changes import unchanged
from pixfold.sources.formats import format_of
from pixfold.sources.labels import check_columns, columns_of, label_values
from pixfold.sources.matrices.geo import SAMPLE_NAMES, column_about, geo_samples, is_series_matrix
from pixfold.sources.options import ReadOptions
from pixfold.sources.tables.arrow import arrow_table, index_columns
from pixfold.sources.tables.delimited import Cells, read_cells, readable
from pixfold.sources.tables.header import Header
from pixfold.sources.tables.lines import UncommonTextError
from pixfold.sources.tables.sample_names import compared, offer
from pixfold.sources.tables.sheets import SheetHeader, sheet_cells, sheet_of
from pixfold.sources.tables.unmatched import advice, without_folders, without_paths
from pixfold.util.text import counted, listed

_TABLES = ("table", "spreadsheet", "Parquet", "Arrow")
# Columns of these names hold names of samples, whatever stands before them.
_NAMING = ("sample", "sample_id", "sampleid", "sample_name", "samplename", "id", "iid", "#iid")


def columns_in(path: Path, options: ReadOptions) -> list[str]:
    """Names of the columns of a table, without those that name the samples by where they stand.

    Raises
    ------
    InputError
        When it is no table, or cannot be read.
    """
    if _is_text(path):
        if _is_series_matrix(path):
            with unchanged(path), readable(path):
                return list(geo_samples(path))
        with _texts(path, options) as (header, _):
            return header.columns[int(header.names_samples) :]
    with arrow_table(path) as (schema, _):
        naming = index_columns(schema)
        return [field.name for at, field in enumerate(schema) if at not in naming]


def names_in(path: Path, options: ReadOptions) -> list[str]:
    """Names of the samples in a table; see :func:`match_table`.

    Raises
    ------
    InputError
        When it is no table, cannot be read, or lacks columns that options name.
    """
    if _is_series_matrix(path):
        with unchanged(path), readable(path):
            about = geo_samples(path)
            return [name for key in SAMPLE_NAMES for name in about.get(key, []) if name is not None]
    _, names, _ = _read(path, options, ())
    return [name for name in names if name is not None]


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
        Its ``label``, ``groups``, ``covariates`` and the columns of ``where`` are columns of the table; ``match`` says
        how names are compared.

    Raises
    ------
    InputError
        When the table cannot be read, has no such column, names a sample twice, or has none of the samples: the message
        offers a prefix by which they would match.
    """
    key, names, values = _read(path, options, source.sample_names)
    known, samples = compared(source.sample_names, str(path), key, names, options.prefix)
    row_of = {name: row for row, name in enumerate(known) if name is not None}
    repeated = [name for name, count in Counter(name for name in known if name is not None).items() if count > 1]
    if repeated and options.prefix is not None:
        alike = [name for name, short in zip(names, known, strict=True) if short == repeated[0]]
        raise InputError(
            f"{path}: match must be a prefix that rows of column {key!r} do not share, got {options.match}, which is "
            f"the same for {listed(alike)}"
        )
    if repeated:
        raise InputError(
            f"{path}: column {key!r} must name a sample once, got {counted(len(repeated), 'sample')} named more often "
            f"({listed(repeated)})"
        )
    note: list[str] = []
    if not any(name in row_of for name in samples) and (found := without_paths(samples, row_of)) is not None:
        note = [f"{path}: samples are matched as {found[0]!r} for {samples[0]!r}, without folders and endings"]
        samples = found
    files = without_folders(source.sample_names)
    if options.prefix is not None and not any(name in row_of for name in samples):
        samples = compared(files, str(path), key, names, options.prefix)[1]
    rows = np.array([row_of.get(name, -1) for name in samples], dtype=np.int64)
    matched = rows >= 0
    if not matched.any():
        raise InputError(
            f"{path}: no sample of {source.name} is in column {key!r}: it holds {listed(list(row_of)) or 'none'}, "
            f"the samples are {listed(source.sample_names)}"
            + (offer(list(row_of), files, options) or advice(source, list(row_of)))
        )
    result = copy.copy(source)
    of_samples = {column: _of_samples(found, rows) for column, found in values.items()}
    if options.label is not None:
        result.labels = of_samples[options.label]
    describe(result, **_added(source, columns_of(options, of_samples.__getitem__)))
    times = np.bincount(rows[matched], minlength=len(names))
    unused = [str(name) for name, n in zip(names, times, strict=True) if not n]
    said = _use_of_table(source, path, options, matched, unused, int(np.count_nonzero(times > 1)))
    result.messages = [*source.messages, *note, said]
    return result


def _read(
    path: Path, options: ReadOptions, samples: Sequence[str]
) -> tuple[str, list[str | None], dict[str, NDArray[Any]]]:
    if _is_series_matrix(path):
        return _from_series_matrix(path, options, samples)
    return _from_text(path, options) if _is_text(path) else _from_arrow(path, options)


def _is_series_matrix(path: Path) -> bool:
    return format_of(path).name == "table" and is_series_matrix(path)


def _is_text(path: Path) -> bool:
    known = format_of(path)
    if known.name not in _TABLES:
        raise InputError(f"{path}: labels must be a table (.csv, .tsv, .xlsx, .parquet), got a {known.name} file")
    return known.name in ("table", "spreadsheet")


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
    return {
        **found,
        "covariates": {**source.covariates, **found["covariates"]},
        "beside": {**source.beside, **found["beside"]},
    }


def _named(options: ReadOptions) -> tuple[str, ...]:
    return (*(() if options.label is None else (options.label,)), *options.columns)


def _use_of_table(
    source: Source, path: Path, options: ReadOptions, matched: NDArray[np.bool_], unused: list[str], n_shared: int
) -> str:
    found = int(matched.sum())
    what = [] if options.label is None else [f"labels {options.label!r}"]
    what += [] if options.groups_column is None else [f"groups {options.groups_column!r}"]
    if options.covariate_columns:
        what.append(f"covariates {listed(options.covariate_columns)}")
    what += [f"columns {listed(options.where_columns)}"] if options.where_columns else []
    text = f"{path}: {' and '.join(what)} of {found:,} of {counted(source.n_samples, 'sample')}"
    if found < source.n_samples:
        missing = [name for name, there in zip(source.sample_names, matched, strict=True) if not there]
        text += f", none of the other {len(missing):,} ({listed(missing)})"
        text += offer(unused, missing, options)
    if unused:
        text += f"; {counted(len(unused), 'row')} of the table used for no sample"
    if n_shared:
        text += f"; {counted(n_shared, 'row')} used for several samples each"
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


@contextmanager
def _texts(path: Path, options: ReadOptions) -> Iterator[tuple[Header, Callable[[bool], Iterator[Cells]]]]:
    """Open a table of texts: its header, and a function that yields its cells, with stray quotes or without."""
    if format_of(path).name == "spreadsheet":
        with sheet_of(path, options.sheet) as sheet:
            found = SheetHeader(path, sheet, decimal=options.decimal, is_there=True)
            yield found, lambda uncommon: sheet_cells(sheet, found)
        return
    with unchanged(path), readable(path):
        header = Header(path, decimal=options.decimal)
        yield header, lambda uncommon: read_cells(path, header, uncommon=uncommon)


def _from_text(path: Path, options: ReadOptions) -> tuple[str, list[str | None], dict[str, NDArray[Any]]]:
    with _texts(path, options) as (header, read):
        naming = (0,) if header.names_samples else ()
        check_columns(str(path), options, header.columns[len(naming) :], header.text_columns)
        key = _key(path, header.columns, options, naming)
        wanted = [key, *(header.columns.index(column, len(naming)) for column in _named(options))]
        try:
            cells = [tuple(part.column(at) for at in wanted) for part in read(False)]
        except UncommonTextError:
            cells = [tuple(part.column(at) for at in wanted) for part in read(True)]
        keys, *columns = zip(*cells, strict=True)
        names = [name for part in keys for name in part.to_pylist()]
        values = [label_values(parts, is_text=True, decimal=header.decimal) for parts in columns]
        return header.columns[key], names, dict(zip(_named(options), values, strict=True))


def _from_series_matrix(
    path: Path, options: ReadOptions, samples: Sequence[str]
) -> tuple[str, list[str | None], dict[str, NDArray[Any]]]:
    """Samples are named by that column which has most of their names: the accession, or a title."""
    with unchanged(path), readable(path):
        about = geo_samples(path)
    check_columns(str(path), options, list(about))
    there = set(samples)
    keys = [key for key in SAMPLE_NAMES if key in about]
    if not keys:
        raise InputError(f"{path}: the series matrix must name samples ({listed(SAMPLE_NAMES)}), got none of these")
    key = max(keys, key=lambda key: len(there.intersection(map(str, about[key]))))
    return key, about[key], {name: column_about(about[name]) for name in _named(options)}


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
