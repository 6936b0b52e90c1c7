"""Open a text file that holds a table: with samples as rows, or with features as rows."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

from pixfold.errors import InputError
from pixfold.sources.base import Source
from pixfold.sources.disk.changes import unchanged
from pixfold.sources.disk.compressed import without_compression
from pixfold.sources.matrices.axis import axis_of
from pixfold.sources.matrices.gct import gct_head
from pixfold.sources.matrices.geo import geo_head, is_series_matrix
from pixfold.sources.matrices.head import Head, head_of_cells, plain_head
from pixfold.sources.matrices.mage_tab import FIRST, mage_tab_head
from pixfold.sources.matrices.matrix import one_sample, read_matrix
from pixfold.sources.matrices.names import program_of_one_sample
from pixfold.sources.options import ReadOptions
from pixfold.sources.tables.delimited import readable
from pixfold.sources.tables.lines import open_text
from pixfold.sources.tables.sheets import SheetHeader, sheet_cells, sheet_of
from pixfold.sources.tables.text import open_text as open_samples
from pixfold.sources.tables.text import read_table


def open_table(path: Path, options: ReadOptions) -> Source:
    """Open a text file: a GEO series matrix, GCT, MAGE-TAB, or a table that lies either way.

    Features are rows where the format says so, where the user does (``transpose``), or where names of the table tell
    (:func:`axis_of`). Else samples are rows: :func:`pixfold.sources.tables.text.open_text`.

    Parameters
    ----------
    path : Path
        The file, compressed or not.
    options : ReadOptions
        Those of :func:`pixfold.open_source`.

    Raises
    ------
    InputError
        When the file is damaged or no table, or an option does not fit it.
    OutputError
        When there is no room for temporary files.
    MissingDependencyError
        When pyarrow is not installed.
    """
    with unchanged(path), readable(path):
        head_of = _head_by_format(path)
        if head_of is not None:
            head = head_of(path)
            if options.transpose is False:
                raise InputError(
                    f"{path}: transpose must be None or True, because the rows of {head.format} are features, got False"
                )
            return read_matrix(path, head, options)
        axis = _either_way(path, options, lambda: plain_head(path, options.decimal))
        if isinstance(axis, Head):
            return read_matrix(path, axis, options, axis.notes)
    source = open_samples(path, options)
    source.messages += axis
    return source


def open_sheet(path: Path, options: ReadOptions) -> Source:
    """Open a spreadsheet whose sheet lies either way; see :func:`open_table`.

    Raises
    ------
    InputError
        As :func:`pixfold.sources.tables.sheets.open_sheet`, and as :func:`open_table`.
    """
    with sheet_of(path, options.sheet) as sheet:
        header = SheetHeader(path, sheet, decimal=options.decimal, is_there=not options.no_header)
        cells = functools.partial(sheet_cells, sheet, header)
        axis = _either_way(path, options, lambda: head_of_cells(header, next(cells()), "row"))
        if isinstance(axis, Head):
            return read_matrix(path, axis, options, [*sheet.notes, *axis.notes], cells)
        return read_table(str(path), header, cells, options, notes=[*sheet.notes, *axis], line="row")


def _either_way(path: Path, options: ReadOptions, head_of: Callable[[], Head]) -> Head | list[str]:
    """Return the head of a table whose rows are features, with notes on why; else what to tell the user."""
    if options.no_header and options.transpose:
        raise InputError(f"{path}: no_header must be False where columns are samples, which it names, got True")
    if options.transpose is False or options.no_header:
        return []
    head = head_of()
    program = program_of_one_sample(head.columns)
    if program is not None and options.transpose is None:
        raise one_sample(path, program, head.columns)
    axis = axis_of(path, head, options)
    notes = [axis.message] if axis.message else []
    if not axis.rows_are_features:
        return notes
    head.notes = notes
    return head


def _head_by_format(path: Path) -> Callable[[Path], Head] | None:
    """Tell the formats that say which way they lie by how they begin."""
    with open_text(path) as file:
        first = file.readline().partition("\t")[0].strip().strip('"').lower()
    if first.startswith("#1.") or without_compression(path).endswith(".gct"):
        return gct_head
    if is_series_matrix(path):
        return geo_head
    if first.startswith("^"):
        raise InputError(
            f"{path}: the file is a SOFT family of GEO, which is not read; take the series matrix "
            "(..._series_matrix.txt.gz) of the series, or make a table of it with GEOparse"
        )
    return mage_tab_head if first in FIRST else None
