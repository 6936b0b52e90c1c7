"""GEO series matrices: the table between its marks, and what the lines before it tell of the samples."""

from __future__ import annotations

import csv
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.sources.labels import label_values
from pixfold.sources.matrices.head import Head, decimal_of, fields, is_missing, read_rows
from pixfold.sources.tables.lines import open_text
from pixfold.util.optional import require
from pixfold.util.text import counted, listed

_BEGIN, _END = "!series_matrix_table_begin", "!series_matrix_table_end"
_SAMPLE = "!Sample_"
_LINE = re.compile(r"^!(?:Sample|Series)_\w+\t", re.MULTILINE)
# Columns that may name the samples in a table beside the series matrix.
SAMPLE_NAMES = ("geo_accession", "title", "description")
_KEYED = "characteristics_ch"
# Lines that say the same of all samples, or where their files are.
# Characters that tell what a file is.
_SHOWN = 2**16
_LEFT_OUT = (
    "contact_",
    "status",
    "submission_date",
    "last_update_date",
    "data_row_count",
    "supplementary_file",
    "relation",
)


@dataclass
class GeoLines:
    """What stands before the table.

    Attributes
    ----------
    samples : list of (str, list of str)
        Lines about the samples: what of them, and the value of each.
    supplementary : list of str
        Addresses of files.
    n_lines : int
        Lines up to the one that begins the table, with it.
    has_table : bool
        Whether there is that line.
    """

    samples: list[tuple[str, list[str]]] = field(default_factory=list)
    supplementary: list[str] = field(default_factory=list)
    n_lines: int = 0
    has_table: bool = False


def is_series_matrix(path: Path) -> bool:
    """Tell whether a text file begins as a series matrix does."""
    with open_text(path) as file:
        start = file.read(_SHOWN)
    return start.lstrip().startswith("!") and _LINE.search(start) is not None


def geo_head(path: Path) -> Head:
    """Read all that stands before the values of a series matrix.

    Raises
    ------
    InputError
        When no table begins, or it is empty; the message names the supplementary files that hold the values.
    """
    with open_text(path) as file:
        lines = _lines(file)
        if not lines.has_table:
            raise InputError(
                f"{path}: the series matrix must hold a line {_BEGIN}, got none: the file is cut off, or no "
                "series matrix"
            )
        columns = fields(next(file, _END))
        head = Head(columns, lines.n_lines + 1, 0, "\t", format="a GEO series matrix", end=_END.encode())
        within = itertools.takewhile(lambda line: not line.lstrip('"').startswith(_END), file)
        read_rows(head, csv.reader(within, delimiter="\t"), head.n_lines)
    if not head.rows:
        raise _empty(path, lines)
    head.decimal = decimal_of(head)
    head.about = _about(path, lines.samples, head.columns[1:])
    return head


def column_about(values: Sequence[str | None]) -> NDArray[Any]:
    """Return a column about samples as labels are: numbers where all are, else text; missing ones NaN or None."""
    pyarrow = require("pyarrow", "io", "reading tables")
    return label_values([pyarrow.array(values, pyarrow.string())], is_text=True)


def geo_samples(path: Path) -> dict[str, list[str | None]]:
    """Return what a series matrix tells of its samples, whether or not it holds values, by column.

    Raises
    ------
    InputError
        When it tells nothing.
    """
    with open_text(path) as file:
        lines = _lines(file)
    if not lines.samples:
        raise InputError(f"{path}: the series matrix must hold lines {_SAMPLE}..., got none")
    width = Counter(len(values) for _, values in lines.samples).most_common(1)[0][0]
    return _columns([(what, values) for what, values in lines.samples if len(values) == width], width)


def _lines(file: Iterable[str]) -> GeoLines:
    """Read lines up to the one that begins the table. Each is parsed alone, so that a stray quote ends with it."""
    found = GeoLines()
    for line in file:
        found.n_lines += 1
        what, *values = fields(line) or [""]
        if what.lower() == _BEGIN:
            found.has_table = True
            break
        if what.startswith(_SAMPLE):
            found.samples.append((what.removeprefix(_SAMPLE), values))
        if "supplementary_file" in what:
            found.supplementary += [value for value in values if value and value.upper() != "NONE"]
    return found


def _empty(path: Path, lines: GeoLines) -> InputError:
    files = list(dict.fromkeys(lines.supplementary))
    where = (
        f"the series keeps them in supplementary files ({listed(files, 3)})" if files else "none are named beside it"
    )
    return InputError(
        f"{path}: the table of the series matrix must hold values, got none: {where}; read those, with this file as "
        f"--labels {path.name}"
    )


def _about(path: Path, lines: list[tuple[str, list[str]]], samples: list[str]) -> dict[str, list[str | None]]:
    """Bring columns about the samples into the order of the columns of the table."""
    if not lines:
        return {}
    for what, values in lines:
        # An empty value at the end of a line may be left out.
        if len(values) > len(samples) and any(values[len(samples) :]):
            raise InputError(
                f"{path}: the line {_SAMPLE}{what} must hold a value for each of {counted(len(samples), 'sample')}, "
                f"got {len(values):,}"
            )
    width = len(samples)
    columns = _columns([(what, (values + [""] * width)[:width]) for what, values in lines], width)
    for key in ("geo_accession", "title"):
        named = columns.get(key, [])
        if named != samples and Counter(named) == Counter(samples):
            order = [named.index(name) for name in samples]
            return {name: [values[at] for at in order] for name, values in columns.items()}
    return columns


def _columns(lines: list[tuple[str, list[str]]], width: int) -> dict[str, list[str | None]]:
    """Make columns of lines; characteristics are taken apart by their keys, not by their lines.

    In one line the keys of samples may differ: where a sample lacks a characteristic, those after it move up.
    """
    keyed: dict[str, list[str | None]] = {}
    spelled: dict[str, str] = {}
    plain: dict[str, list[str | None]] = {}
    two_channels = any(what.endswith("_ch2") for what, _ in lines)
    for what, values in lines:
        if what.startswith(_KEYED):
            channel = f" ({what[-3:]})" if two_channels else ""
            for at, cell in enumerate(values):
                key, colon, value = cell.partition(":")
                key = key.strip() if colon else what
                value = value.strip() if colon else cell
                if not is_missing(value):
                    name = spelled.setdefault(
                        (key + channel if colon else key).lower(), key + channel if colon else key
                    )
                    column = keyed.setdefault(name, [None] * width)
                    column[at] = value if column[at] in (None, value) else f"{column[at]}; {value}"
        elif not what.startswith(_LEFT_OUT):
            name = what if two_channels else what.removesuffix("_ch1")
            while name in plain:
                name += "+"
            plain[name] = [None if is_missing(value) else value for value in values]
    return {**keyed, **{name: values for name, values in plain.items() if name not in keyed}}
