"""Values, names and annotation of features, read from text in blocks of lines."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.sources.matrices.columns import MatrixColumns
from pixfold.sources.matrices.head import Head
from pixfold.sources.tables.categories import wrong_cell
from pixfold.sources.tables.delimited import MISSING, Cells, parse_lines, rows_of_csv
from pixfold.sources.tables.header import BLANKS
from pixfold.sources.tables.lines import UncommonTextError, whole_lines
from pixfold.sources.tables.notation import MARKS, NUMBER, THOUSANDS
from pixfold.util.optional import require

_PURPOSE = "reading .csv, .tsv and .gct files"
# Threads that parse; one more decompresses.
_THREADS = max(1, min(4, (os.cpu_count() or 1)))


class MoreTextError(Exception):
    """A column that held nothing so far holds text: it is annotation, and all is to be read again."""

    def __init__(self, at: int) -> None:
        super().__init__(at)
        self.at = at


@dataclass(frozen=True)
class Block:
    """Some features.

    Attributes
    ----------
    texts : dict of int to list of str
        The columns that are no samples, by position.
    values : ndarray of float64, shape (n_samples, n_features)
        Missing ones are NaN.
    """

    texts: dict[int, list[str]]
    values: NDArray[np.float64]


class BlockReader:
    """Read a matrix below its head.

    A block of lines is parsed by pyarrow.csv, several at once; one that it refuses is read again by the strict parser
    of tables, which names line and column, and forgives blanks.

    Parameters
    ----------
    path : Path
        The file.
    head : Head
        Its header.
    columns : MatrixColumns
        What its columns are.
    cells : callable, optional
        Yields the cells of what is no text file.
    """

    def __init__(
        self, path: Path, head: Head, columns: MatrixColumns, cells: Callable[[], Iterator[Cells]] | None = None
    ) -> None:
        self._cells = cells
        self._path, self._head, self._columns = path, head, columns
        self._pyarrow = require("pyarrow", "io", _PURPOSE)
        arrow_csv = require("pyarrow.csv", "io", _PURPOSE)
        self._csv = arrow_csv
        names = [str(at) for at in range(len(head.columns))]
        texts = set(columns.texts)
        self._convert = arrow_csv.ConvertOptions(
            column_types={
                name: self._pyarrow.string() if at in texts else self._pyarrow.float64()
                for at, name in enumerate(names)
            },
            null_values=list(MISSING),
            strings_can_be_null=False,
            decimal_point=head.decimal,
        )
        self._names = names

    def blocks(self) -> Iterator[Block | None]:
        """Yield all features, in order; None for lines without any.

        Raises
        ------
        InputError
            When a line has too few or too many fields, a value is no number, the table is cut off, or the text is
            not UTF-8.
        MoreTextError
            When a column turns out to be annotation.
        """
        if self._cells is not None:
            yield from map(self._of_cells, self._cells())
            return
        try:
            yield from _ahead(self._pieces(), self._block)
        except UncommonTextError:
            if self._head.end:
                raise InputError(f"{self._path}: the table ends within quotes: it is cut off or damaged") from None
            raise

    def uncommon_blocks(self) -> Iterator[Block | None]:
        """Yield all features of a file with quotes where none opens or closes a cell."""
        return map(self._of_cells, rows_of_csv(self._path, self._head))  # type: ignore[arg-type]

    def _pieces(self) -> Iterator[tuple[bytes, int]]:
        """Yield whole lines, each piece with the number of its first."""
        line = self._head.n_lines + 1
        for text in whole_lines(self._path, self._head.n_lines):
            end = _end_of(text, self._head.end)
            if end is not None:
                yield text[:end], line
                return
            yield text, line
            line += text.count(b"\n")
        if self._head.end:
            raise InputError(
                f"{self._path}: the table must end with the line {self._head.end.decode()}, got the end of the file: "
                "it is cut off"
            )

    def _block(self, piece: tuple[bytes, int]) -> Block | None:
        text, line = piece
        if not text.strip():
            return None
        if self._head.delimiter == BLANKS:
            return self._of_cells(parse_lines(self._path, self._head, text, line))  # type: ignore[arg-type]
        try:
            table = self._csv.read_csv(
                self._pyarrow.BufferReader(self._pyarrow.py_buffer(text)),
                read_options=self._csv.ReadOptions(
                    column_names=self._names, block_size=len(text) + 1, use_threads=False
                ),
                parse_options=self._csv.ParseOptions(delimiter=self._head.delimiter, newlines_in_values=b'"' in text),
                convert_options=self._convert,
            )
        except self._pyarrow.ArrowInvalid:
            return self._of_cells(parse_lines(self._path, self._head, text, line))  # type: ignore[arg-type]
        if not table.num_rows:
            return None
        batch = table.combine_chunks().to_batches()[0]
        values = np.empty((len(self._columns.samples), batch.num_rows))
        for row, at in zip(values, self._columns.samples, strict=True):
            row[:] = batch.column(at).to_numpy(zero_copy_only=False)
        return Block(
            {at: [cell.strip() for cell in batch.column(at).to_pylist()] for at in self._columns.texts}, values
        )

    def _of_cells(self, cells: Cells) -> Block | None:
        if not len(cells.lines):
            return None
        values = np.empty((len(self._columns.samples), len(cells.lines)))
        for row, at in zip(values, self._columns.samples, strict=True):
            row[:] = self._numbers(cells.column(at), at, cells.lines)
        texts = {at: cells.column(at).fill_null("").to_pylist() for at in self._columns.texts}
        return Block(texts, values)

    def _numbers(self, texts: Any, at: int, lines: NDArray[np.int64]) -> NDArray[np.float64]:
        compute = require("pyarrow.compute", "io", _PURPOSE)
        given = texts
        if self._head.decimal_given:
            grouped = compute.match_substring_regex(texts, THOUSANDS[self._head.decimal])
            other = "," if self._head.decimal == "." else "."
            texts = compute.if_else(grouped, compute.replace_substring(texts, other, ""), texts)
        if self._head.decimal != ".":
            # A point that is left is no part of a number.
            texts = compute.replace_substring(texts, ".", "..")
            texts = compute.replace_substring(texts, self._head.decimal, ".")
        marks = compute.is_in(given, self._pyarrow.array(MARKS))
        texts = compute.if_else(marks, None, texts)
        right = compute.match_substring_regex(texts, NUMBER).fill_null(True).to_numpy(zero_copy_only=False)
        wrong = np.flatnonzero(~right.astype(bool))
        if len(wrong):
            if at in self._columns.blank:
                raise MoreTextError(at)
            place = f"{self._head.line} {lines[wrong[0]]}, column {self._head.columns[at]!r}"
            raise wrong_cell(str(self._path), place, given[int(wrong[0])].as_py(), len(wrong), self._head.decimal)
        numbers: NDArray[np.float64] = texts.cast(self._pyarrow.float64()).to_numpy(zero_copy_only=False)
        return numbers


def _end_of(text: bytes, mark: bytes) -> int | None:
    """Position of the line that ends the table; None where it is not in this text."""
    if not mark:
        return None
    if text.startswith((mark, b'"' + mark)):
        return 0
    found = max(text.find(b"\n" + mark), text.find(b'\n"' + mark))
    return None if found < 0 else found + 1


def _ahead(
    pieces: Iterable[tuple[bytes, int]], work: Callable[[tuple[bytes, int]], Block | None]
) -> Iterator[Block | None]:
    """Work on some pieces at a time, while the next ones are read; results come in order."""
    waiting: deque[Future[Block | None]] = deque()
    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            for piece in pieces:
                waiting.append(pool.submit(work, piece))
                if len(waiting) > _THREADS:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
