"""The header of a text file: the comments above it, the delimiter, the names, what the first sample tells."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pixfold.errors import InputError
from pixfold.sources.disk.compressed import without_compression
from pixfold.sources.tables.lines import open_text
from pixfold.sources.tables.notation import is_decimal_comma, is_number
from pixfold.util.text import counted, listed

# Runs of blanks and tabs between fields, as PLINK and R's write.table have them.
BLANKS = " "
_DELIMITERS = {".csv": ",", ".raw": BLANKS, ".pheno": BLANKS}
_TAB = "\t"
_COMMENTS = ("#", "!")
_SEPARATOR = re.compile(r"\ufeff?sep=(.)\s*", re.IGNORECASE)
_QUOTED = re.compile(r'"[^"]*"')
# Numbers that rise (wavelengths, masses) are names where there are so many that chance cannot have sorted them.
_SORTED_NAMES = 6


class Header:
    """The first lines of a text file, and what the first sample tells about the columns.

    Lines that begin with ``#`` or ``!`` above the header are comments, but the last of them is the header where it
    begins with ``#`` and has as many fields as the samples below it.

    Parameters
    ----------
    path : Path
        The file.
    decimal : {".", ","}, optional
        The decimal point, where the user said it.
    is_there : bool
        Whether there is a header line. Columns without one are called feature_0, feature_1, ...

    Attributes
    ----------
    columns : list of str
        Names of the columns.
    comments : list of str
        The lines above the header, without their ends.
    n_comments : int
        How many lines are above the header.
    delimiter : str
        Comma, tab, semicolon or ``BLANKS``.
    n_lines : int
        Lines above the first sample.
    first_line : int
        The line of the first sample.
    names_samples : bool
        Whether the first column names the samples by its header alone.
    text_columns : list of str
        Columns that hold text in the first sample.
    decimal : str
        The decimal point.

    Raises
    ------
    InputError
        When there is no header, no line after it, that line does not fit it, or the header holds numbers alone.
    """

    def __init__(self, path: Path, *, decimal: str | None = None, is_there: bool = True) -> None:
        with open_text(path) as file:
            lines, self.comments, separator = _above(file)
            n_above = len(self.comments) + (separator is not None)
            self.n_comments = n_above
            start = list(itertools.islice(lines, 2))
            self.delimiter = separator or delimiter_of(path, *start)
            reader = _fields(itertools.chain(start, lines), self.delimiter)
            rows, ends = [], []
            for row in reader:
                if len(row) > 1 or (row and row[0].strip()):
                    rows.append(row)
                    ends.append(n_above + reader.line_num)
                if len(rows) == 3:
                    break
        if not rows:
            raise InputError(f"{path}: the file must begin with a header line of feature names, got an empty file")
        commented = self._names_in_a_comment(rows) if is_there else None
        has_line = is_there and commented is None
        self.n_lines = ends[0] if has_line else n_above
        names = rows[0] if has_line else commented
        self._take(str(path), names, rows[has_line:], [n_above, *ends][has_line:], decimal)

    def _take(
        self,
        name: str,
        names: list[str] | None,
        rows: Sequence[list[str]],
        lines: Sequence[int],
        decimal: str | None,
        line: str = "line",
    ) -> None:
        """Take names, or None, and check them against the first sample.

        ``lines`` begin with that of the header and that of the first sample, which messages call a ``line``.
        """
        if not rows:
            raise InputError(f"{name}: the file must hold one {line} per sample after the header {line}, got none")
        first, self.first_line = rows[0], lines[1]
        self.columns = [f"feature_{at}" for at in range(len(first))] if names is None else names
        if len(first) == len(self.columns) + 1 and first[-1] != "":
            self.columns = ["", *self.columns]
        if len(first) != len(self.columns):
            raise InputError(
                f"{name}: {line} {self.first_line} must hold {counted(len(self.columns), 'field')} as the header, "
                f"got {len(first):,}"
            )
        self.columns = [column.strip() for column in self.columns]
        if len(self.columns) == 1 and not _parses(first[0]) and not is_decimal_comma(first[0].strip()):
            raise InputError(
                f"{name}: columns must be separated by comma, tab, semicolon or blanks, got one column of "
                f"text, {first[0][:40]!r} in {line} {self.first_line}"
            )
        self.names_samples = self.columns[0] in ("", "Unnamed: 0") and len(self.columns) > 1
        if names is not None and not _are_names(self.columns, first):
            raise InputError(
                f"{name}: {line} {lines[0]} must be a header of feature names, got numbers "
                f"({listed([c for c in self.columns if _parses(c)])}) as in a sample; put a {line} of names above it, "
                "or say that there is none (no_header)"
            )
        self.text_columns = [
            c for c, cell in zip(self.columns, first, strict=True) if c and not _parses(cell.replace(",", "."))
        ]
        self.is_decimal_given = decimal is not None
        comma = self.delimiter == ";" and any(is_decimal_comma(cell.strip()) for cell in first)
        self.decimal = decimal or ("," if comma else ".")

    def _names_in_a_comment(self, rows: list[list[str]]) -> list[str] | None:
        """Return the names that the last comment holds, if it is the header."""
        line = next((comment for comment in reversed(self.comments) if comment.strip()), "")
        if not line.startswith("#") or line.startswith("##"):
            return None
        names: list[str] = next(iter(_fields([line[1:]], self.delimiter)), [])
        if len(names) < 2 or len(names) not in (len(rows[0]), len(rows[0]) - 1):
            return None
        if any(map(_parses, rows[0])):
            return names
        # Both lines hold words. Where numbers follow, the lower one is the header; else a comment begins with a blank.
        return names if len(rows) > 1 and not any(map(_parses, rows[1])) and not line[1:2].isspace() else None


def without_ends(lines: Iterable[str], delimiter: str) -> Iterator[str]:
    """Yield lines as Python's csv module can split them: blanks at their ends are no fields."""
    for line in lines:
        yield line.replace(_TAB, " ").strip(" \r\n") + "\n" if delimiter == BLANKS else line


def _fields(lines: Iterable[str], delimiter: str) -> Any:
    return csv.reader(without_ends(lines, delimiter), delimiter=delimiter, skipinitialspace=True)


def _above(file: Iterable[str]) -> tuple[Iterator[str], list[str], str | None]:
    """Take the comments from the top; return the lines below, the comments, and the delimiter that Excel wrote."""
    comments: list[str] = []
    separator = None
    lines = iter(file)
    for line in lines:
        if (match := _SEPARATOR.fullmatch(line)) and not comments and separator is None:
            separator = match[1]
        elif not line.strip() or line.startswith(_COMMENTS):
            comments.append(line.rstrip("\r\n"))
        else:
            return itertools.chain([line], lines), comments, separator
    return lines, comments, separator


def delimiter_of(path: Path, header: str = "", first: str = "") -> str:
    """Find the delimiter by the name of a file, its header and the line below it: one that both have as often."""
    name = without_compression(path)
    usual = next((delimiter for end, delimiter in _DELIMITERS.items() if name.endswith(end)), _TAB)
    header, first = (_QUOTED.sub("q", line).strip() for line in (header, first))
    known = [usual, *(d for d in (",", _TAB, ";") if d != usual)]
    known.remove(BLANKS) if usual == BLANKS else None
    for delimiter in known:
        found = header.count(delimiter)
        if found and first.count(delimiter) in (found, found + 1):
            return delimiter
    if any(delimiter in header for delimiter in known):
        return usual if usual in header and usual != BLANKS else max(known, key=header.count)
    names, cells = len(header.split()), len(first.split())
    if names > 1 and cells in (names, names + 1):
        return BLANKS
    for delimiter in known:
        if first.count(delimiter) == 1:  # one name above two cells, as R writes it
            return delimiter
    return BLANKS if cells > 1 and (usual == BLANKS or cells == names + 1) else known[0]


def _are_names(columns: list[str], first: list[str]) -> bool:
    """Tell whether a line can hold names: numbers alone do only if they count or rise."""
    numeric = [c for c, cell in zip(columns, first, strict=True) if _parses(cell)]
    if not columns[0] or not numeric or not all(map(is_number, numeric)):
        return True
    values = np.array(numeric, dtype=np.float64)
    n = len(values)
    if np.array_equal(values, np.arange(n)) or np.array_equal(values, np.arange(1, n + 1)):
        return True
    if n >= _SORTED_NAMES and (bool(np.all(np.diff(values) > 0)) or bool(np.all(np.diff(values) < 0))):
        return True
    if n == len(columns):
        return False
    # Beside words, numbers are names where each is one: whole ones are what Entrez calls genes, few may be doses.
    return len(np.unique(values)) == n and (n < _SORTED_NAMES or bool(np.all(values == np.floor(values))))


def _parses(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
