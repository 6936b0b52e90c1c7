"""GCT 1.2 and 1.3: sizes in the second line, and annotation of features and samples beside the values."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from pixfold.errors import InputError
from pixfold.sources.matrices.head import Head, decimal_of, is_missing, read_rows
from pixfold.sources.tables.lines import open_text
from pixfold.util.text import counted, short_repr

_VERSIONS = ("#1.2", "#1.3")


def gct_head(path: Path) -> Head:
    """Read the version, the sizes, the header and the lines about the samples.

    Raises
    ------
    InputError
        When the version is none of these, or the sizes are no numbers or do not fit the header.
    """
    with open_text(path) as file:
        reader = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_MINIMAL)
        version = (next(reader, None) or [""])[0].strip()
        if version not in _VERSIONS:
            raise InputError(f"{path}: line 1 must be {' or '.join(_VERSIONS)}, got {short_repr(version)}")
        n_features, n_samples, n_described, n_about = _sizes(path, next(reader, []), version)
        columns = _without_end([name.strip() for name in next(reader, [])])
        n_texts = 1 + n_described
        if len(columns) != n_texts + n_samples:
            raise InputError(
                f"{path}: line 3 must hold {counted(n_texts + n_samples, 'field')}, {n_texts} for the feature and "
                f"{n_samples:,} samples as line 2 says, got {len(columns):,}"
            )
        about: dict[str, list[Any]] = {}
        for _ in range(n_about):
            cells = [cell.strip() for cell in next(reader, [])]
            if len(cells) != len(columns):
                raise InputError(
                    f"{path}: line {reader.line_num} must hold {counted(len(columns), 'field')} as line 3, "
                    f"got {len(cells):,}"
                )
            about[cells[0]] = [None if is_missing(cell) or cell == "-666" else cell for cell in cells[n_texts:]]
        head = Head(columns, reader.line_num, 0, "\t", n_features=n_features, about=about, format=f"GCT {version[1:]}")
        read_rows(head, reader, 0)
    if not head.rows:
        raise InputError(f"{path}: the table must hold {counted(n_features, 'row')}, as line 2 says, got none")
    head.annotation = tuple(range(1, n_texts))
    head.decimal = decimal_of(head)
    return head


def _sizes(path: Path, line: list[str], version: str) -> tuple[int, int, int, int]:
    """Features, samples, columns that describe features (beside their name), lines about samples."""
    cells = _without_end([cell.strip() for cell in line])
    wanted = 2 if version == "#1.2" else 4
    if len(cells) != wanted or not all(cell.isdigit() for cell in cells):
        what = "features and samples" if wanted == 2 else "features, samples, columns and lines of annotation"
        raise InputError(f"{path}: line 2 must hold the numbers of {what}, got {short_repr(' '.join(cells))}")
    sizes = [int(cell) for cell in cells]
    return (sizes[0], sizes[1], 1, 0) if wanted == 2 else (sizes[0], sizes[1], sizes[2], sizes[3])


def _without_end(cells: list[str]) -> list[str]:
    """Leave out empty cells at the end, which spreadsheets add."""
    while cells and not cells[-1]:
        cells = cells[:-1]
    return cells
