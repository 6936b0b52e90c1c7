"""The columns of numbers of a text file: their values, and the cells in them that are none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.sources.tables.builder import Columns
from pixfold.sources.tables.categories import is_mixed, wrong_cell
from pixfold.sources.tables.delimited import Cells
from pixfold.sources.tables.header import Header
from pixfold.sources.tables.notation import DECIMAL_COMMA, MARKS, NUMBER, THOUSANDS
from pixfold.util.optional import require


class Numbers:
    """Numbers of the numeric columns, and the count of cells in them that are none.

    Parameters
    ----------
    columns : Columns
        What the columns are.
    header : Header
        Its decimal point, and whether it was given: then marks between thousands are read, too.

    Attributes
    ----------
    positions : ndarray of int64, shape (n_numeric,)
        The numeric columns.
    n_wrong : ndarray of int64, shape (n_numeric,)
        Cells that are neither numbers nor missing, so far.
    """

    def __init__(self, columns: Columns, header: Header) -> None:
        self.positions = np.array(columns.numbers, dtype=np.int64)
        self.n_wrong = np.zeros(len(self.positions), dtype=np.int64)
        self._columns = columns
        self._header = header
        self._n_present = np.zeros(len(self.positions), dtype=np.int64)
        self._first: dict[int, tuple[int, str]] = {}
        self._integers = True
        self._points = False
        self._n_written = {"comma": 0, "either": 0, "thousands": 0}
        self._first_comma: tuple[int, str, str] | None = None

    def read(self, cells: Cells) -> NDArray[Any]:
        """Return the numbers of some lines, shape (n_lines, n_numeric); cells that are none are counted."""
        texts = cells.columns(self.positions)
        shape = (len(cells.lines), len(self.positions))
        values, present, wrong = self._parse(texts)
        self._n_present += len(cells.lines)
        if present.null_count:
            self._n_present -= present.is_null().to_numpy(zero_copy_only=False).reshape(shape).sum(axis=0)
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

    def decimal_commas(self, where: Callable[[int, str], str]) -> str | None:
        """Tell where a number with a decimal comma is, if that is what all of them are beyond doubt; else None.

        Not where commas part the columns: a comma that somebody put into quotes may be anything.
        """
        comma, either, thousands = self._n_written.values()
        if self._header.is_decimal_given or self._header.decimal == "," or self._header.delimiter == ",":
            return None
        if self._points or thousands or self._first_comma is None:
            return None
        if not comma and not (either and self._header.delimiter == ";"):
            return None
        line, column, text = self._first_comma
        return f"{text!r} in {where(line, column)}"

    def settle(self, name: str, where: Any) -> None:
        """Make columns of texts such, or raise InputError for the first wrong cell of a numeric column."""
        texts = set(self.texts())
        for index in np.flatnonzero(self.n_wrong):
            at = int(self.positions[index])
            if at not in texts:
                line, value = self._first[int(index)]
                place = where(line, self._columns.names[at])
                raise wrong_cell(name, place, value, int(self.n_wrong[index]), self._header.decimal)
        self._columns.text |= texts

    def _parse(self, texts: Any) -> tuple[NDArray[Any], Any, NDArray[np.bool_] | None]:
        """Return numbers, the texts without marks of missing values, and which are neither."""
        pyarrow = require("pyarrow", "io", "reading .csv and .tsv files")
        compute = require("pyarrow.compute", "io", "reading .csv and .tsv files")
        plain = self._with_points(texts)
        if self._integers:
            try:
                return plain.cast(pyarrow.int64()).to_numpy(zero_copy_only=False), texts, None
            except pyarrow.ArrowInvalid:
                self._integers = False  # in most tables no later block has integers alone
        if not self._points:
            self._points = bool(compute.any(compute.match_substring_regex(plain, r"[0-9]\.[0-9]")).as_py())
        try:
            return plain.cast(pyarrow.float64()).to_numpy(zero_copy_only=False), texts, None
        except pyarrow.ArrowInvalid:
            marks = compute.is_in(texts, pyarrow.array(MARKS))
            texts, plain = compute.if_else(marks, None, texts), compute.if_else(marks, None, plain)
            right = compute.match_substring_regex(plain, NUMBER)
            wrong = right.fill_null(True).to_numpy(zero_copy_only=False) == 0
            numbers = compute.if_else(right, plain, None).cast(pyarrow.float64())
            return numbers.to_numpy(zero_copy_only=False), texts, wrong if wrong.any() else None

    def _with_points(self, texts: Any) -> Any:
        """Write numbers with decimal points, and without marks between thousands where the user named the point."""
        decimal = self._header.decimal
        if decimal == "." and not self._header.is_decimal_given:
            return texts
        compute = require("pyarrow.compute", "io", "reading .csv and .tsv files")
        other = "." if decimal == "," else ","
        if self._header.is_decimal_given:
            grouped = compute.match_substring_regex(texts, THOUSANDS[decimal])
            texts = compute.if_else(grouped, compute.replace_substring(texts, other, ""), texts)
        if decimal == ".":
            return texts
        # A point that is left is no part of a number.
        pointed = compute.match_substring_regex(texts, r"[0-9]\.|\.[0-9]")
        texts = compute.if_else(pointed, compute.replace_substring(texts, ".", ".."), texts)
        return compute.replace_substring(texts, ",", ".")

    def _count(self, wrong: NDArray[np.bool_], texts: Any, lines: NDArray[np.int64]) -> None:
        for index in np.flatnonzero(wrong.any(axis=0)):
            if int(index) not in self._first:
                row = int(wrong[:, index].argmax())
                self._first[int(index)] = (int(lines[row]), texts[row * len(self.positions) + int(index)].as_py())
        self.n_wrong += wrong.sum(axis=0)
        if self._header.decimal == ".":
            self._note_commas(wrong, texts, lines)

    def _note_commas(self, wrong: NDArray[np.bool_], texts: Any, lines: NDArray[np.int64]) -> None:
        """Count numbers with commas, by whether these can be decimal commas, marks between thousands, or either."""
        pyarrow = require("pyarrow", "io", "reading .csv and .tsv files")
        compute = require("pyarrow.compute", "io", "reading .csv and .tsv files")
        places = np.flatnonzero(wrong)
        cells = texts.take(pyarrow.array(places))
        comma, thousands, dotted = (
            compute.match_substring_regex(cells, pattern).to_numpy(zero_copy_only=False).astype(bool)
            for pattern in (DECIMAL_COMMA, THOUSANDS["."], THOUSANDS[","])
        )
        self._n_written["comma"] += int((comma & ~thousands).sum())
        self._n_written["either"] += int((comma & thousands).sum())
        self._n_written["thousands"] += int(((thousands | dotted) & ~comma).sum())
        if self._first_comma is None and comma.any():
            row, index = divmod(int(places[comma.argmax()]), len(self.positions))
            column = self._columns.names[int(self.positions[index])]
            self._first_comma = (int(lines[row]), column, cells[int(comma.argmax())].as_py())
