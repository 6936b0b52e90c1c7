"""The beginning of a matrix in text: what stands before the header, the header, and its first rows."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pixfold.errors import InputError
from pixfold.sources.tables.delimited import MISSING, Cells
from pixfold.sources.tables.header import Header, without_ends
from pixfold.sources.tables.lines import open_bytes, open_text
from pixfold.sources.tables.notation import DECIMAL_COMMA, THOUSANDS
from pixfold.util.text import counted

# What is looked at to tell which way a table lies.
_PEEK_BYTES = 2 * 2**20
_PEEK_ROWS = 400
_MISSING = frozenset(MISSING)
_GROUPED = {decimal: re.compile(pattern) for decimal, pattern in THOUSANDS.items()}
_DECIMAL_COMMA = re.compile(DECIMAL_COMMA)


@dataclass
class Head:
    """Where the header of a matrix is, and what the format says.

    Attributes
    ----------
    columns : list of str
        The header.
    n_lines : int
        Lines up to the values.
    first_line : int
        Line of the first row of values.
    delimiter, decimal : str
        What parts cells, and the decimal point.
    decimal_given : bool
        Whether the user said the decimal point, so that the other mark may stand between thousands.
    rows : list of list of str
        The first rows.
    end : bytes
        A line that begins so ends the table, and must be there; none where it is empty.
    n_features : int or None
        Rows there must be.
    annotation : tuple of int
        Columns that describe features by the format; others are told by their names and by what they hold.
    about : mapping of str to sequence
        What the file tells of the samples, by column: one value for each, missing ones as None.
    format : str
        Which format says that rows are features; empty where that is told by what the table holds.
    n_rows_about : float
        How many rows there are, estimated.
    line : str
        What messages call a line.
    notes : list of str
        What the user is told.
    """

    columns: list[str]
    n_lines: int
    first_line: int
    delimiter: str
    rows: list[list[str]] = field(default_factory=list)
    decimal: str = "."
    decimal_given: bool = False
    end: bytes = b""
    n_features: int | None = None
    annotation: tuple[int, ...] = ()
    about: Mapping[str, list[Any]] = field(default_factory=dict)
    format: str = ""
    n_rows_about: float = 0.0
    line: str = "line"
    notes: list[str] = field(default_factory=list)


def fields(line: str, delimiter: str = "\t") -> list[str]:
    """Return the cells of a line."""
    return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])]


def plain_head(path: Path, decimal: str | None = None) -> Head:
    """Read the head of a table, and its first rows.

    Parameters
    ----------
    path : Path
        The file.
    decimal : {".", ","}, optional
        The decimal point, where the user said it.

    Raises
    ------
    InputError
        When there is no table with a header; see :class:`Header`.
    """
    header = Header(path, decimal=decimal)
    head = Head(header.columns, header.n_lines, header.first_line, header.delimiter)
    head.decimal, head.decimal_given = header.decimal, header.is_decimal_given
    with open_text(path) as file:
        below = without_ends(itertools.islice(file, header.n_lines, None), header.delimiter)
        read_rows(head, csv.reader(below, delimiter=header.delimiter, skipinitialspace=True), header.n_lines)
    if not header.is_decimal_given:
        head.decimal = decimal_of(head)
    row_bytes = sum(len(cell) + 1 for row in head.rows for cell in row) / len(head.rows)
    head.n_rows_about = _rows_about(path, row_bytes)
    return head


def read_rows(head: Head, reader: Any, n_before: int) -> None:
    """Take the first rows of a csv reader whose lines follow ``n_before`` others."""
    size = 0
    for row in reader:
        if len(row) > 1 or (row and row[0].strip()):
            head.first_line = head.first_line or n_before + reader.line_num
            head.rows.append([cell.strip() for cell in row])
            size += sum(map(len, row)) + len(row)
        if len(head.rows) >= _PEEK_ROWS or size > _PEEK_BYTES:
            break


def decimal_of(head: Head) -> str:
    """Tell the decimal point by the first rows: a comma where numbers have it that cannot part thousands."""
    if head.delimiter == ",":
        return "."
    cells = [cell for row in head.rows[:20] for cell in row[1:]]
    commas = sum(bool(_DECIMAL_COMMA.fullmatch(cell)) and not _GROUPED["."].fullmatch(cell) for cell in cells)
    return "," if commas and not any(_is_point(cell) for cell in cells) else "."


def head_of_cells(header: Header, cells: Cells, line: str) -> Head:
    """Return the head of a table whose first cells are there, and whose lines messages call a ``line``."""
    head = Head(header.columns, header.n_lines, header.first_line, header.delimiter, line=line)
    head.decimal, head.decimal_given = header.decimal, header.is_decimal_given
    texts, width = [cell or "" for cell in cells.values.to_pylist()], len(header.columns)
    head.rows = [texts[at : at + width] for at in range(0, len(texts), width)]
    head.n_rows_about = len(head.rows)
    if not header.is_decimal_given:
        head.decimal = decimal_of(head)
    return head


def check_first_row(path: Path, head: Head) -> None:
    """Raise InputError where the first row does not fit the header."""
    if len(head.rows[0]) != len(head.columns):
        raise InputError(
            f"{path}: line {head.first_line} must hold {counted(len(head.columns), 'field')} as the header, "
            f"got {len(head.rows[0]):,}"
        )


def _is_point(cell: str) -> bool:
    return "." in cell and parses(cell)


def with_point(cell: str, head: Head) -> str:
    """Write a number as Python does."""
    if head.decimal_given and _GROUPED[head.decimal].fullmatch(cell):
        cell = cell.replace("," if head.decimal == "." else ".", "")
    return cell.replace(".", "..").replace(",", ".") if head.decimal == "," else cell


def is_missing(cell: str) -> bool:
    """Tell whether a cell is a missing value."""
    return cell in _MISSING


def parses(cell: str) -> bool:
    """Tell whether Python reads a cell as a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _rows_about(path: Path, row_bytes: float) -> float:
    """Estimate how many rows there are by the length of the first ones, and by how far the file is compressed."""
    with open_bytes(path) as (file, position):
        text = file.read(_PEEK_BYTES)
        if not file.read(1):
            return float(text.count(b"\n"))
        return path.stat().st_size * (len(text) / max(1, position())) / row_bytes
