"""Tables in text files: .csv, .tsv and .txt, compressed or not, read in blocks."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.sources.base import Source
from pixfold.sources.disk.changes import unchanged
from pixfold.sources.labels import check_columns
from pixfold.sources.options import ReadOptions
from pixfold.sources.tables.builder import Columns, TableBuilder
from pixfold.sources.tables.categories import NUMBER, is_mixed, known_categories, wrong_cell
from pixfold.sources.tables.delimited import Cells, Header, UncommonTextError, read_cells, readable
from pixfold.util.optional import require


def open_text(path: Path, options: ReadOptions) -> Source:
    """Read a delimited text file: one header line of names, then one line per sample.

    The first column names the samples when its header is empty, or when it is text that differs in every line
    and is not the label. A header one field shorter than the lines (as R writes it) leaves out that column.
    The delimiter is that of the suffix, or another of comma, tab and semicolon when the header holds only
    that. Missing values are empty cells or NA, NaN, null, None.

    The file is read once, in blocks, and once more when a column of texts shows only after the first block. A
    table whose numbers are larger than :data:`pixfold.sources.disk.row_store.MEMORY_BYTES` is kept in a temporary
    file, row by row, in the smallest type that holds them.

    Parameters
    ----------
    path : Path
        ``.csv``, ``.tsv`` or ``.txt``, alone or followed by ``.gz`` or ``.zst``.
    options : ReadOptions
        Its ``label``, ``groups``, ``covariates``, ``y``, ``categories`` and ``categorical`` are those of
        :func:`pixfold.open_source`.

    Returns
    -------
    Source

    Raises
    ------
    InputError
        When there is no such label column, or a column is no feature: text among numbers, an identifier; the
        message names line and column of the cell. Also when lines differ in length, the file is cut off or no
        text, or it changes while it is read.
    OutputError
        When there is no room for the temporary file.
    MissingDependencyError
        When pyarrow is not installed.
    """
    with unchanged(path), readable(path):
        header = Header(path)
        first = int(header.names_samples)
        check_columns(str(path), options, header.columns[first:], header.text_columns)
        columns = Columns(
            header.columns,
            label=None if options.label is None else header.columns.index(options.label, first),
            others={column: header.columns.index(column, first) for column in options.columns},
            naming=(0,) if header.names_samples else (),
        )
        columns.text = {
            at
            for at in (columns.features if options.categories else ())
            if known_categories(header.columns[at], options.categories) is not None
        }
        uncommon, settled = False, False
        while True:
            try:
                source = _read(path, header, columns, options, uncommon, settled)
            except UncommonTextError:
                uncommon = True
            else:
                if source is not None:
                    return source
                settled = True


def _read(
    path: Path, header: Header, columns: Columns, options: ReadOptions, uncommon: bool, settled: bool
) -> Source | None:
    """Read all lines; return None when they show that columns are to be read as something else."""
    blocks = read_cells(path, header, uncommon=uncommon)
    first = list(itertools.islice(blocks, 1))
    if not settled and first:
        _guess(first[0], columns, header, options)

    def where(line: int, column: str) -> str:
        return f"line {line}, column {column!r}"

    builder = TableBuilder(str(path), columns, options, where)
    numbers = _Numbers(columns, header.decimal)
    others = sorted(set(range(len(columns.names))) - set(columns.numbers))
    try:
        for cells in itertools.chain(first, blocks):
            block = numbers.read(cells)
            if not numbers.n_wrong.any():
                builder.add(block, {at: cells.column(at) for at in others}, cells.lines)
        if numbers.n_wrong.any():
            numbers.settle(str(path), where)
            builder.discard()
            return None
        return builder.finish(header.decimal, is_text=True)
    except BaseException:
        builder.discard()
        raise


def _guess(cells: Cells, columns: Columns, header: Header, options: ReadOptions) -> None:
    """Find the columns of texts, and whether the first one names the samples, by the first block."""
    numbers = _Numbers(columns, header.decimal)
    numbers.read(cells)
    columns.text |= set(numbers.texts())
    if 0 in columns.text and columns.could_name(options):
        first = cells.column(0)
        only_text = numbers.n_wrong[numbers.positions == 0].sum() == len(first) - first.null_count
        columns.may_name = bool(only_text and first.null_count <= 1 and len(first.unique()) == len(first))


class _Numbers:
    """Numbers of the numeric columns, and the count of cells in them that are none.

    Parameters
    ----------
    columns : Columns
        What the columns are.
    decimal : str
        The decimal point.

    Attributes
    ----------
    positions : ndarray of int64, shape (n_numeric,)
        The numeric columns.
    n_wrong : ndarray of int64, shape (n_numeric,)
        Cells that are neither numbers nor missing, so far.
    """

    def __init__(self, columns: Columns, decimal: str) -> None:
        self.positions = np.array(columns.numbers, dtype=np.int64)
        self.n_wrong = np.zeros(len(self.positions), dtype=np.int64)
        self._columns = columns
        self._decimal = decimal
        self._n_present = np.zeros(len(self.positions), dtype=np.int64)
        self._first: dict[int, tuple[int, str]] = {}
        self._integers = True

    def read(self, cells: Cells) -> NDArray[Any]:
        """Return the numbers of some lines, shape (n_lines, n_numeric); cells that are none are counted."""
        texts = cells.columns(self.positions)
        shape = (len(cells.lines), len(self.positions))
        self._n_present += len(cells.lines)
        if texts.null_count:
            self._n_present -= texts.is_null().to_numpy(zero_copy_only=False).reshape(shape).sum(axis=0)
        values, wrong = self._parse(texts)
        if wrong is not None:
            self._count(wrong.reshape(shape), texts, cells.lines)
        return values.reshape(shape)

    def texts(self) -> list[int]:
        """Columns with so many cells that are no numbers that they hold texts."""
        return [
            int(at)
            for at, n_wrong, n_present in zip(self.positions, self.n_wrong, self._n_present, strict=True)
            if n_wrong and not is_mixed(int(n_wrong), int(n_present))
        ]

    def settle(self, name: str, where: Any) -> None:
        """Make columns of texts such, or raise InputError for the first wrong cell of a numeric column."""
        texts = set(self.texts())
        for index in np.flatnonzero(self.n_wrong):
            at = int(self.positions[index])
            if at not in texts:
                line, value = self._first[int(index)]
                raise wrong_cell(name, where(line, self._columns.names[at]), value, int(self.n_wrong[index]))
        self._columns.text |= texts

    def _parse(self, texts: Any) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        pyarrow = require("pyarrow", "io", "reading .csv and .tsv files")
        compute = require("pyarrow.compute", "io", "reading .csv and .tsv files")
        if self._decimal != ".":
            texts = compute.replace_substring(texts, self._decimal, ".")
        if self._integers:
            try:
                return texts.cast(pyarrow.int64()).to_numpy(zero_copy_only=False), None
            except pyarrow.ArrowInvalid:
                self._integers = False  # in most tables no later block has integers alone
        try:
            return texts.cast(pyarrow.float64()).to_numpy(zero_copy_only=False), None
        except pyarrow.ArrowInvalid:
            right = compute.match_substring_regex(texts, NUMBER)
            wrong = right.fill_null(True).to_numpy(zero_copy_only=False) == 0
            numbers = compute.if_else(right, texts, None).cast(pyarrow.float64())
            return numbers.to_numpy(zero_copy_only=False), wrong

    def _count(self, wrong: NDArray[np.bool_], texts: Any, lines: NDArray[np.int64]) -> None:
        for index in np.flatnonzero(wrong.any(axis=0)):
            if int(index) not in self._first:
                row = int(wrong[:, index].argmax())
                self._first[int(index)] = (int(lines[row]), texts[row * len(self.positions) + int(index)].as_py())
        self.n_wrong += wrong.sum(axis=0)
