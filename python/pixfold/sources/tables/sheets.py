"""Tables in spreadsheets: one sheet of .xlsx, .xls or .ods."""

from __future__ import annotations

import datetime
import functools
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pixfold.errors import InputError
from pixfold.sources.base import Source
from pixfold.sources.disk.changes import unchanged
from pixfold.sources.disk.limits import budget
from pixfold.sources.options import ReadOptions
from pixfold.sources.tables.delimited import MISSING, Cells
from pixfold.sources.tables.header import Header
from pixfold.sources.tables.text import read_table
from pixfold.util.optional import require
from pixfold.util.text import listed, reason_of

_PURPOSE = "reading spreadsheets"
_CELLS = 100_000
# A sheet is read whole. What it holds in XML takes about as much in memory.
LARGEST_SHEET = 2**30


def open_sheet(path: Path, options: ReadOptions) -> Source:
    """Read a sheet of a spreadsheet as if it were a text file: one row of names, then one row per sample.

    Rows above the names that hold a title alone are skipped. Cells with errors are missing values.

    Parameters
    ----------
    path : Path
        ``.xlsx``, ``.xlsm``, ``.xls`` or ``.ods``.
    options : ReadOptions
        Those of :func:`pixfold.sources.tables.text.open_text`, and ``sheet``: its name. By default the first sheet that
        holds anything.

    Returns
    -------
    Source

    Raises
    ------
    InputError
        When the file is damaged, encrypted or too large to be read whole, or has no such sheet; and as for a text file.
    MissingDependencyError
        When python-calamine is not installed.
    """
    with sheet_of(path, options.sheet) as sheet:
        header = SheetHeader(path, sheet, decimal=options.decimal, is_there=not options.no_header)
        cells = functools.partial(sheet_cells, sheet, header)
        return read_table(str(path), header, cells, options, notes=sheet.notes, line="row")


class Sheet:
    """One sheet: its rows of values, and what the user should be told of it."""

    def __init__(self, sheet: Any, notes: list[str]) -> None:
        self._sheet = sheet
        self.notes = notes

    def rows(self) -> Iterator[list[str]]:
        """Yield the rows as texts, from the first of the sheet on."""
        for row in self._sheet.iter_rows():
            yield [_text(value) for value in row]


class SheetHeader(Header):
    """The names in a sheet, in its first row with more than a title; see :class:`Header`."""

    def __init__(self, path: Path, sheet: Sheet, *, decimal: str | None, is_there: bool) -> None:
        self.comments, self.delimiter = [], "\t"
        rows: list[list[str]] = []
        numbers: list[int] = []
        for number, row in enumerate(sheet.rows(), 1):
            n_filled = sum(map(bool, row))
            if n_filled > (not rows and len(row) > 2):
                rows.append(row)
                numbers.append(number)
            elif n_filled and not rows:
                self.comments.append(row[0])
            if len(rows) == 2:
                break
        if not rows:
            raise InputError(f"{path}: the sheet must begin with a row of feature names, got an empty one")
        self.n_lines = numbers[0] if is_there else numbers[0] - 1
        names = rows[0] if is_there else None
        self._take(str(path), names, rows[is_there:], [numbers[0], *numbers[is_there:]], decimal, "row")


def sheet_cells(sheet: Sheet, header: Header) -> Iterator[Cells]:
    """Yield the cells below the header in blocks of rows; empty rows are skipped."""
    pyarrow = require("pyarrow", "io", _PURPOSE)
    cells: list[str | None] = []
    rows: list[int] = []
    for number, row in enumerate(sheet.rows(), 1):
        if number > header.n_lines and any(row):
            cells += [None if cell in MISSING else cell for cell in row]
            rows.append(number)
        if len(cells) >= max(_CELLS, len(row)):
            yield Cells(pyarrow.array(cells, pyarrow.string()), np.array(rows))
            cells, rows = [], []
    if rows:
        yield Cells(pyarrow.array(cells, pyarrow.string()), np.array(rows))


@contextmanager
def sheet_of(path: Path, name: str | None) -> Iterator[Sheet]:
    """Open one sheet of a spreadsheet.

    Raises
    ------
    InputError
        When the file is damaged, encrypted or too large, changes while it is read, or has no such sheet.
    """
    calamine = require("python_calamine", "io", _PURPOSE)
    with unchanged(path):
        try:
            _check_size(path)
            with calamine.CalamineWorkbook.from_path(str(path)) as book:
                yield _chosen(path, book, name)
        except (calamine.CalamineError, zipfile.BadZipFile) as error:
            if isinstance(error, calamine.PasswordError):
                raise InputError(f"{path}: the spreadsheet is encrypted; save it without a password") from error
            raise InputError(f"{path}: the spreadsheet is damaged or cut off ({reason_of(error)})") from error


def _chosen(path: Path, book: Any, name: str | None) -> Sheet:
    names = list(book.sheet_names)
    if name is not None:
        if name not in names:
            raise InputError(f"{path}: sheet must be one of {listed(names, 10)}, got {name!r}")
        return Sheet(book.get_sheet_by_name(name), [])
    for candidate in names:
        sheet = book.get_sheet_by_name(candidate)
        if sheet.height:
            others = [other for other in names if other != candidate]
            told = f"{path}: sheet {candidate!r} is read, not {listed(others)} (sheet says otherwise)"
            return Sheet(sheet, [told] if others else [])
    raise InputError(f"{path}: the spreadsheet must hold a table, got empty sheets alone")


def _check_size(path: Path) -> None:
    if path.suffix.lower() == ".xls":
        return
    with zipfile.ZipFile(path) as archive:
        largest = max((file.file_size for file in archive.infolist()), default=0)
    memory = min(LARGEST_SHEET, budget() or LARGEST_SHEET)
    if largest > memory:
        raise InputError(
            f"{path}: a sheet must hold at most {memory:,} bytes of XML, because it is read whole, got {largest:,}; "
            "save it as .csv, which is read in blocks"
        )


def _text(value: Any) -> str:
    """Write a value as a text file would have it."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
    return value.isoformat(" ") if isinstance(value, datetime.datetime) else str(value)
