"""Delimited text as a stream of cells: the header, and blocks of whole lines parsed by pyarrow.csv."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.sources.disk.compressed import decompressing
from pixfold.sources.tables.header import BLANKS, Header, without_ends
from pixfold.sources.tables.lines import UncommonTextError, line_of_other_bytes, open_text, whole_lines
from pixfold.util.optional import require
from pixfold.util.text import counted

# Empty cells and these are missing values, as pandas has them.
MISSING = (
    "",
    *("NA", "NaN", "nan", "N/A", "n/a", "NULL", "null", "None", "<NA>", "#N/A", "#NA", "#N/A N/A"),
    *("NAN", "Nan", "-NaN", "-nan"),
    *("1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
)

_CELLS = 100_000

# Stands in no cell of the one column that the fast reader makes of a table.
_CELL_DELIMITER = "\x01"
_QUOTE, _NEWLINE, _BLANK, _TAB = ord('"'), ord("\n"), ord(" "), ord("\t")


@dataclass(frozen=True)
class Cells:
    """The cells of some lines.

    Attributes
    ----------
    values : pyarrow.StringArray
        Line by line, without the blanks around them; missing values are null.
    lines : ndarray of int64
        Number of the line that each row begins in, from 1.
    """

    values: Any
    lines: NDArray[np.int64]

    def column(self, at: int) -> Any:
        """Return one column."""
        return self.columns(np.array([at]))

    def columns(self, positions: NDArray[np.int64]) -> Any:
        """Return the cells of some columns, line by line."""
        pyarrow = require("pyarrow", "io", "reading .csv and .tsv files")
        n_columns = len(self.values) // len(self.lines)
        if len(positions) == n_columns:
            return self.values
        index = np.arange(len(self.lines))[:, None] * n_columns + positions
        return self.values.take(pyarrow.array(index.ravel()))


def read_cells(path: Path, header: Header, *, uncommon: bool = False) -> Iterator[Cells]:
    """Yield the cells below the header in blocks of whole lines; blank lines are skipped.

    Parameters
    ----------
    path : Path
        The file.
    header : Header
        Its header.
    uncommon : bool
        Whether there may be stray quotes: they are read as they are, at the speed of Python's csv module.

    Raises
    ------
    UncommonTextError
        When there are such, and there must be none.
    InputError
        When a line has too few or too many fields, or the text is not UTF-8.
    """
    if uncommon:
        yield from rows_of_csv(path, header)
        return
    line = header.n_lines + 1
    for text in whole_lines(path, header.n_lines):
        cells = parse_lines(path, header, text, line)
        line += text.count(b"\n")
        if len(cells.lines):
            yield cells


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn what the file layers raise for damaged files into one InputError."""
    try:
        with decompressing(path):
            yield
    except UnicodeDecodeError as error:
        if error.encoding.startswith("utf-16"):
            raise InputError(f"{path}: the text in UTF-16 is damaged or cut off ({error.reason})") from error
        line = line_of_other_bytes(path)
        raise InputError(
            f"{path}: line {line} must be text in UTF-8, got other bytes ({error.reason}); text in Latin-1 is turned "
            "into it by iconv -f LATIN1 -t UTF-8"
        ) from error
    except csv.Error as error:
        raise InputError(f"{path}: cannot read the table: {error}") from error


def _raise_length(path: Path, header: Header, line: int, n_fields: int) -> None:
    raise InputError(
        f"{path}: line {line} must hold {counted(len(header.columns), 'field')} as line {header.first_line}, "
        f"got {n_fields:,}"
    )


def rows_of_csv(path: Path, header: Header) -> Iterator[Cells]:
    """Read with Python's csv module."""
    pyarrow = require("pyarrow", "io", "reading .csv and .tsv files")
    cells: list[str | None] = []
    lines: list[int] = []
    with open_text(path) as file:
        below = without_ends(itertools.islice(file, header.n_lines, None), header.delimiter)
        reader = csv.reader(below, delimiter=header.delimiter, skipinitialspace=True)
        line = header.n_lines + 1
        for row in reader:
            if len(row) > 1 or (row and row[0].strip()):
                if len(row) != len(header.columns):
                    _raise_length(path, header, line, len(row))
                cells += [None if cell in MISSING else cell for cell in map(str.strip, row)]
                lines.append(line)
            line = header.n_lines + reader.line_num + 1
            if len(cells) >= max(_CELLS, len(header.columns)):
                yield Cells(pyarrow.array(cells, pyarrow.string()), np.array(lines))
                cells, lines = [], []
    if lines:
        yield Cells(pyarrow.array(cells, pyarrow.string()), np.array(lines))


def parse_lines(path: Path, header: Header, text: bytes, line: int) -> Cells:
    """Parse whole lines.

    A table may have a million columns, for each of which pyarrow.csv would build an array of a few values. So
    every delimiter becomes an end of line, and the cells are one column.
    """
    if _CELL_DELIMITER.encode() in text:
        raise UncommonTextError
    if header.delimiter == BLANKS:
        text = _with_single_blanks(text)
    flat = np.frombuffer(text, dtype=np.uint8).copy()
    newlines, delimiters = flat == _NEWLINE, flat == ord(header.delimiter)
    has_quotes = b'"' in text
    every_line = np.flatnonzero(newlines)
    if has_quotes:
        inside = _check_quotes(flat, newlines | delimiters)
        newlines &= ~inside
        delimiters &= ~inside
    ends, cuts = np.flatnonzero(newlines), np.flatnonzero(delimiters)
    starts = np.concatenate([[0], ends[:-1] + 1])
    n_cuts = np.diff(np.searchsorted(cuts, ends), prepend=0)
    lines = line + np.searchsorted(every_line, starts)
    filled = ends > starts
    if len(header.columns) > 1:
        for row in np.flatnonzero(filled & (n_cuts == 0)):
            filled[row] = bool(text[starts[row] : ends[row]].strip())
    wrong = np.flatnonzero(filled & (n_cuts != len(header.columns) - 1))
    if len(wrong):
        _raise_length(path, header, int(lines[wrong[0]]), int(n_cuts[wrong[0]]) + 1)
    flat[cuts] = _NEWLINE
    if not filled.all():
        keep = np.ones(len(flat), dtype=bool)
        for row in np.flatnonzero(~filled):
            keep[starts[row] : ends[row] + 1] = False
        flat = flat[keep]
    blanks = (b" " in text or (header.delimiter != "\t" and b"\t" in text)) and (
        header.delimiter != BLANKS or has_quotes
    )
    return Cells(_split(path, flat, int(filled.sum()) * len(header.columns), has_quotes, blanks), lines[filled])


def _with_single_blanks(text: bytes) -> bytes:
    """Make one blank of each run of blanks and tabs outside of quotes, and none of those at the ends of lines."""
    flat = np.frombuffer(text, dtype=np.uint8)
    blank = (flat == _BLANK) | (flat == _TAB)
    if b'"' in text:
        blank &= ~np.bitwise_xor.accumulate(flat == _QUOTE)
    edge = flat == _NEWLINE
    follows = np.concatenate([[True], (blank | edge)[:-1]])
    drop = blank & follows
    # What is left of a run at the end of a line stands first in it.
    kept = flat[~drop].copy()
    blank = blank[~drop]
    kept[blank] = _BLANK
    at_end = blank & np.concatenate([kept[1:] == _NEWLINE, [True]])
    return bytes(kept[~at_end])


def _check_quotes(text: NDArray[np.uint8], ends: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tell which bytes are within quotes; raise UncommonTextError where a quote is inside of a plain field."""
    quotes = text == _QUOTE
    inside: NDArray[np.bool_] = np.bitwise_xor.accumulate(quotes)
    edges = ends | quotes
    at = np.flatnonzero(quotes)
    opening = inside[at]
    before = np.where(at > 0, edges[at - 1], True)
    after = edges[np.minimum(at + 1, len(text) - 1)]
    if not np.where(opening, before, after).all():
        raise UncommonTextError
    return inside


def _split(path: Path, flat: NDArray[np.uint8], n_cells: int, has_quotes: bool, blanks: bool) -> Any:
    """Parse one cell per line."""
    pyarrow = require("pyarrow", "io", "reading .csv and .tsv files")
    arrow_csv = require("pyarrow.csv", "io", "reading .csv and .tsv files")
    if not n_cells:
        return pyarrow.array([], pyarrow.string())
    try:
        table = arrow_csv.read_csv(
            pyarrow.BufferReader(pyarrow.py_buffer(flat)),
            read_options=arrow_csv.ReadOptions(column_names=["cell"], block_size=len(flat) + 1, use_threads=False),
            parse_options=arrow_csv.ParseOptions(
                delimiter=_CELL_DELIMITER, ignore_empty_lines=False, newlines_in_values=has_quotes
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types={"cell": pyarrow.string()}, null_values=list(MISSING), strings_can_be_null=True
            ),
        )
    except pyarrow.ArrowInvalid:
        flat.tobytes().decode()  # says what pyarrow does not: that it is not UTF-8
        raise
    cells = pyarrow.concat_arrays(table.column(0).chunks)
    if len(cells) != n_cells:
        raise InputError(f"{path}: the table must hold {n_cells:,} cells, got {len(cells):,}")
    if blanks:
        compute = require("pyarrow.compute", "io", "reading .csv and .tsv files")
        cells = compute.utf8_trim_whitespace(cells)
        missing = compute.is_in(cells, pyarrow.array(MISSING))
        cells = compute.if_else(missing, None, cells)
    return cells
