"""Delimited text as a stream of cells: the header, and blocks of whole lines parsed by pyarrow.csv."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError, OutputError
from pixfold.util.optional import require
from pixfold.util.progress import source_task
from pixfold.util.text import counted

# Compressed or not; how pyarrow calls the compression.
TEXT_SUFFIXES = (".csv", ".tsv", ".txt")
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}

# Empty cells and these are missing values, as pandas has them.
_MISSING = (
    "",
    *("NA", "NaN", "nan", "N/A", "n/a", "NULL", "null", "None", "<NA>", "#N/A", "#NA", "#N/A N/A"),
    *("NAN", "Nan", "-NaN", "-nan"),
    *("1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
)

_DELIMITERS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}
_DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+([eE][-+]?\d+)?")

# Text that is parsed at once. One line may be longer.
_BLOCK_BYTES = 4 * 2**20
# No line is: text without an end of line for so long, in most cases after a quote that nothing closes.
_LONGEST_LINE = 2**30
_CELLS = 100_000
# Smaller files are read in a second or two: nobody asks how far that is.
SHOWN_BYTES = 64 * 2**20

# Stands in no cell of the one column that the fast reader makes of a table.
_CELL_DELIMITER = "\x01"
_QUOTE, _NEWLINE = ord('"'), ord("\n")


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


class Header:
    """The first line of a text file, and what its second line tells about the columns.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    InputError
        When there is no header, no line after it, or that line does not fit it.
    """

    def __init__(self, path: Path) -> None:
        with _open_text(path) as file:
            # Lines end by any of \\n, \\r\\n and \\r, quotes or not.
            start = list(itertools.islice(file, 1))
            self.delimiter = _delimiter(path, start[0] if start else "")
            reader = csv.reader(itertools.chain(start, file), delimiter=self.delimiter, skipinitialspace=True)
            self.columns = next((row for row in reader if row), [])
            self.n_lines = reader.line_num
            first = next((row for row in reader if row), None)
            self.first_line = reader.line_num
        if not self.columns:
            raise InputError(f"{path}: the file must begin with a header line of feature names, got an empty file")
        if first is None:
            raise InputError(f"{path}: the file must hold one line per sample after the header line, got none")
        if len(first) == len(self.columns) + 1 and first[-1] != "":
            self.columns = ["", *self.columns]
        if len(first) != len(self.columns):
            raise InputError(
                f"{path}: line {self.first_line} must hold {counted(len(self.columns), 'field')} as the header, "
                f"got {len(first):,}"
            )
        self.columns = [column.strip() for column in self.columns]
        if len(self.columns) == 1 and not _parses(first[0]):
            raise InputError(
                f"{path}: columns must be separated by comma, tab or semicolon, got one column of "
                f"text, {first[0][:40]!r} in line {self.first_line}"
            )
        # Does the first column name the samples by its header alone?
        self.names_samples = self.columns[0] in ("", "Unnamed: 0") and len(self.columns) > 1
        self.text_columns = [c for c, cell in zip(self.columns, first, strict=True) if c and not _parses(cell)]
        comma = self.delimiter == ";" and any(_DECIMAL_COMMA.fullmatch(cell.strip()) for cell in first)
        self.decimal = "," if comma else "."


class UncommonTextError(Exception):
    """A quote where none opens or closes a field, or a control byte: the fast reader cannot tell fields apart."""


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
        yield from _rows_of_csv(path, header)
        return
    line = header.n_lines + 1
    for text in _whole_lines(path, header.n_lines):
        cells = _parse(path, header, text, line)
        line += text.count(b"\n")
        if len(cells.lines):
            yield cells


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn what the file layers raise for damaged files into one InputError."""
    try:
        yield
    except UnicodeDecodeError as error:
        line = _line_of_other_bytes(path)
        raise InputError(f"{path}: line {line} must be text in UTF-8, got other bytes ({error.reason})") from error
    except csv.Error as error:
        raise InputError(f"{path}: cannot read the table: {error}") from error
    except OutputError:
        raise
    except OSError as error:
        compression = COMPRESSIONS.get(path.suffix.lower())
        if compression is not None and error.errno is None:
            raise InputError(f"{path}: the {compression} file is damaged or cut off ({error})") from error
        raise InputError(f"{path}: cannot read the file: {error.strerror or error}") from error


@contextmanager
def _open_bytes(path: Path) -> Iterator[tuple[Any, Callable[[], int]]]:
    """Open a file for reading what was compressed; beside it, a function that says how far in the file it is."""
    pyarrow = require("pyarrow", "io", "reading .csv and .tsv files")
    compression = COMPRESSIONS.get(path.suffix.lower())
    with (
        pyarrow.OSFile(str(path)) as raw,
        raw if compression is None else pyarrow.CompressedInputStream(raw, compression) as file,
    ):
        yield file, raw.tell


@contextmanager
def _open_text(path: Path) -> Iterator[io.TextIOWrapper]:
    csv.field_size_limit(_LONGEST_LINE)
    with _open_bytes(path) as (raw, _), io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as file:
        yield file


def _delimiter(path: Path, header: str) -> str:
    suffixes = [s.lower() for s in path.suffixes]
    usual = _DELIMITERS.get(suffixes[-2] if suffixes[-1] in COMPRESSIONS else suffixes[-1], ",")
    others = [d for d in ",\t;" if d != usual]
    return usual if usual in header else max([usual, *others], key=header.count)


def _parses(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _raise_length(path: Path, header: Header, line: int, n_fields: int) -> None:
    raise InputError(
        f"{path}: line {line} must hold {counted(len(header.columns), 'field')} as line {header.first_line}, "
        f"got {n_fields:,}"
    )


def _rows_of_csv(path: Path, header: Header) -> Iterator[Cells]:
    """Read with Python's csv module."""
    pyarrow = require("pyarrow", "io", "reading .csv and .tsv files")
    cells: list[str | None] = []
    lines: list[int] = []
    with _open_text(path) as file:
        reader = csv.reader(file, delimiter=header.delimiter, skipinitialspace=True)
        line = 1
        for row in reader:
            if reader.line_num > header.n_lines and (len(row) > 1 or (row and row[0].strip())):
                if len(row) != len(header.columns):
                    _raise_length(path, header, line, len(row))
                cells += [None if cell in _MISSING else cell for cell in map(str.strip, row)]
                lines.append(line)
            line = reader.line_num + 1
            if len(cells) >= max(_CELLS, len(header.columns)):
                yield Cells(pyarrow.array(cells, pyarrow.string()), np.array(lines))
                cells, lines = [], []
    if lines:
        yield Cells(pyarrow.array(cells, pyarrow.string()), np.array(lines))


def _chunks(path: Path) -> Iterator[bytes]:
    r"""Read a file in chunks whose lines all end in \n."""
    size = path.stat().st_size
    with _open_bytes(path) as (file, position), source_task(f"reading {path.name}", size, SHOWN_BYTES) as task:
        held, done = b"", 0
        while chunk := file.read(_BLOCK_BYTES):
            task.advance(position() - done)
            done = position()
            chunk, held = held + chunk, b""
            if chunk.endswith(b"\r"):
                chunk, held = chunk[:-1], b"\r"  # the \n may come
            if b"\r" in chunk:
                chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            yield chunk
        if held:
            yield b"\n"


def _line_of_other_bytes(path: Path) -> int:
    """Find the first line that is not UTF-8."""
    line, rest = 1, b""
    for chunk in _chunks(path):
        *whole, rest = (rest + chunk).split(b"\n")
        for text in whole:
            try:
                text.decode()
            except UnicodeDecodeError:
                return line
            line += 1
    return line


def _whole_lines(path: Path, n_skipped: int) -> Iterator[bytes]:
    """Yield pieces of the text that end where a line ends (not within quotes), after the first lines."""
    parts: list[bytes] = []
    size = 0
    quoted = False
    for chunk in _chunks(path):
        while n_skipped and (end := chunk.find(b"\n")) >= 0:
            chunk, n_skipped = chunk[end + 1 :], n_skipped - 1
        if n_skipped:
            continue
        cut = _last_line_end(chunk, quoted)
        quoted ^= bool(chunk.count(b'"') % 2)
        if cut:
            yield b"".join([*parts, chunk[:cut]])
            parts, size = [], 0
        parts.append(chunk[cut:])
        size += len(chunk) - cut
        if size > _LONGEST_LINE:
            raise UncommonTextError
    if quoted:
        raise UncommonTextError
    if rest := b"".join(parts):
        yield rest + b"\n"


def _last_line_end(chunk: bytes, quoted: bool) -> int:
    """Position after the last line end that is not within quotes, or 0."""
    if not quoted and b'"' not in chunk:
        return chunk.rfind(b"\n") + 1
    text = np.frombuffer(chunk, dtype=np.uint8)
    inside = np.bitwise_xor.accumulate(text == _QUOTE) ^ quoted
    ends = np.flatnonzero((text == _NEWLINE) & ~inside)
    return int(ends[-1]) + 1 if len(ends) else 0


def _parse(path: Path, header: Header, text: bytes, line: int) -> Cells:
    """Parse whole lines.

    A table may have a million columns, for each of which pyarrow.csv would build an array of a few values. So
    every delimiter becomes an end of line, and the cells are one column.
    """
    if _CELL_DELIMITER.encode() in text:
        raise UncommonTextError
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
    blanks = b" " in text or (header.delimiter != "\t" and b"\t" in text)
    return Cells(_split(path, flat, int(filled.sum()) * len(header.columns), has_quotes, blanks), lines[filled])


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
                column_types={"cell": pyarrow.string()}, null_values=list(_MISSING), strings_can_be_null=True
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
        missing = compute.is_in(cells, pyarrow.array(_MISSING))
        cells = compute.if_else(missing, None, cells)
    return cells
