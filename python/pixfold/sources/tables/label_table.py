"""Labels from a table of their own, matched by the names of the samples."""

from __future__ import annotations

import copy
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.sources.base import Source
from pixfold.sources.disk.changes import unchanged
from pixfold.sources.formats import format_of
from pixfold.sources.labels import check_column, label_values
from pixfold.sources.tables.arrow import arrow_table, index_columns
from pixfold.sources.tables.delimited import Header, UncommonTextError, read_cells, readable
from pixfold.util.text import counted, listed

_TABLES = ("table", "Parquet", "Arrow")
# Columns of these names hold names of samples, whatever stands before them.
_NAMING = ("sample", "sample_id", "sampleid", "sample_name", "samplename", "id", "iid", "#iid")


def match_labels(source: Source, path: Path, label: str) -> Source:
    """Return a source of the same values with the labels that a table gives its samples.

    Samples are matched by name: the table's are in its first column if that has no header or was the index of a
    pandas.DataFrame, else in the first column named sample, sample_id, id or IID, else in its first column.
    Samples that are not in the table have a missing label.

    Parameters
    ----------
    source : Source
        The samples.
    path : Path
        The table: any format of tables that :func:`pixfold.open_source` reads.
    label : str
        Its column with the labels.

    Raises
    ------
    InputError
        When the table cannot be read, has no such column, names a sample twice, or has none of the samples.
    """
    known = format_of(path)
    if known.name not in _TABLES:
        raise InputError(f"{path}: labels must be a table (.csv, .tsv, .parquet), got a {known.name} file")
    key, names, values = _from_text(path, label) if known.name == "table" else _from_arrow(path, label)
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
    if matched.all():
        result.labels = values[rows]
    else:
        result.labels = np.full(source.n_samples, None, dtype=object)
        result.labels[matched] = values[rows[matched]].astype(object)
    result.messages = [
        *source.messages,
        _use_of_labels(source, path, label, matched, len(names) - len(set(rows[matched]))),
    ]
    return result


def _use_of_labels(source: Source, path: Path, label: str, matched: NDArray[np.bool_], n_unused: int) -> str:
    found = int(matched.sum())
    text = f"{path}: labels {label!r} of {found:,} of {counted(source.n_samples, 'sample')}"
    if found < source.n_samples:
        missing = [name for name, there in zip(source.sample_names, matched, strict=True) if not there]
        text += f", none of the other {len(missing):,} ({listed(missing)})"
    if n_unused:
        text += f"; {counted(n_unused, 'row')} of the table used for no sample"
    if label in source.feature_names:
        text += f"; {label!r} is a feature of the data, too, and stays one"
    return text


def _key(path: Path, columns: list[str], label: str, naming: tuple[int, ...]) -> int:
    """Find the column with the names of the samples."""
    others = [at for at, column in enumerate(columns) if column != label]
    if not others:
        raise InputError(f"{path}: the table must hold sample names beside the labels {label!r}, got no other column")
    named = [at for at in others if columns[at].lower() in _NAMING]
    return [*naming, *named, *others][0]


def _from_text(path: Path, label: str) -> tuple[str, list[str | None], NDArray[Any]]:
    with unchanged(path), readable(path):
        header = Header(path)
        naming = (0,) if header.names_samples else ()
        check_column(str(path), label, header.columns[len(naming) :], header.text_columns)
        key, at = _key(path, header.columns, label, naming), header.columns.index(label, len(naming))
        try:
            cells = list(_two_columns(path, header, key, at, uncommon=False))
        except UncommonTextError:
            cells = list(_two_columns(path, header, key, at, uncommon=True))
        names = [name for part, _ in cells for name in part.to_pylist()]
        return header.columns[key], names, label_values([part for _, part in cells], is_text=True)


def _two_columns(path: Path, header: Header, key: int, label: int, *, uncommon: bool) -> Any:
    for cells in read_cells(path, header, uncommon=uncommon):
        yield cells.column(key), cells.column(label)


def _from_arrow(path: Path, label: str) -> tuple[str, list[str | None], NDArray[Any]]:
    with arrow_table(path) as (schema, batches):
        naming = index_columns(schema)
        columns = [field.name for field in schema]
        check_column(str(path), label, [column for at, column in enumerate(columns) if at not in naming])
        key = _key(path, columns, label, naming)
        at = next(i for i, column in enumerate(columns) if column == label and i not in naming)
        names: list[str | None] = []
        parts = []
        for batch in batches():
            names += [None if name is None else str(name) for name in batch.column(key).to_pylist()]
            parts.append(batch.column(at))
        if not parts:
            raise InputError(f"{path}: the table must hold one row per sample, got none")
        return columns[key], names, label_values(parts)
