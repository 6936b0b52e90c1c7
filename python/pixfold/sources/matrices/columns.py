"""What the columns of a matrix are: names of features, annotation of features, samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.sources.matrices.head import Head, is_missing, parses, with_point
from pixfold.sources.matrices.names import ANNOTATION, AS_TEXT, FEATURE_COLUMNS, NUMERIC
from pixfold.sources.tables.categories import is_mixed

# Rows that tell columns of text from columns of numbers.
_ROWS = 50


@dataclass
class MatrixColumns:
    """Positions of the columns of a matrix.

    Attributes
    ----------
    naming : int
        The column that names the features.
    annotation : list of int
        Columns that describe them.
    samples : list of int
        Columns of values.
    blank : set of int
        Those of the samples that held nothing as far as was looked.
    """

    naming: int
    annotation: list[int]
    samples: list[int]
    blank: set[int]

    @property
    def texts(self) -> list[int]:
        """All columns that are no samples."""
        return sorted([self.naming, *self.annotation])

    def describe(self, at: int) -> None:
        """Make annotation of a column that was taken for a sample."""
        self.samples.remove(at)
        self.annotation.append(at)


def columns_of_head(head: Head) -> MatrixColumns:
    """Tell columns apart by their names and by what they hold in the first rows."""
    width = len(head.columns)
    rows = [row for row in head.rows[:_ROWS] if len(row) == width]
    lower = [name.lower() for name in head.columns]
    texts, blank = set(), set()
    for at in range(width):
        cells = [row[at] for row in rows if not is_missing(row[at])]
        n_wrong = sum(not parses(with_point(cell, head)) for cell in cells)
        if n_wrong and not is_mixed(n_wrong, len(cells)):
            texts.add(at)
        if not cells:
            blank.add(at)
    naming = _naming(head, rows, lower, texts)
    others = [at for at in range(width) if at != naming]
    # A row index beside names of features, and what follows a delimiter at the end of each line.
    unnamed = {at for at in others if not head.columns[at] and (at in blank or at == 0)}
    if head.format:
        described = set(head.annotation)
    else:
        described = {
            at for at in others if at in texts or lower[at] in NUMERIC or (at in blank and lower[at] in ANNOTATION)
        }
    described |= unnamed
    samples = [at for at in others if at not in described]
    return MatrixColumns(naming, [at for at in others if at in described], samples, blank & set(samples))


def _naming(head: Head, rows: list[list[str]], lower: list[str], texts: set[int]) -> int:
    """Find the column that names the features: the first, unless that numbers the rows."""
    if head.format or lower[0] not in ("", "unnamed: 0", "index") or 0 in texts:
        return 0
    numbers = [row[0] for row in rows]
    starts = [list(map(str, range(first, first + len(numbers)))) for first in (0, 1)]
    named = [at for at in sorted(texts) if lower[at] in FEATURE_COLUMNS] or sorted(texts)
    return named[0] if numbers in starts and named else 0


def annotation_values(name: str, cells: list[str]) -> NDArray[Any]:
    """Return the cells of a column that describes features: numbers where all are, else text.

    Returns
    -------
    ndarray of int64 or float64, or object array of str, shape (n_features,)
        Missing text is empty, a missing number NaN.
    """
    if name.lower() not in AS_TEXT and any(cells):
        missing = [is_missing(cell) for cell in cells]
        if not any(missing):
            try:
                return np.array([int(cell) for cell in cells], dtype=np.int64)
            except (ValueError, OverflowError):
                pass
        try:
            return np.array(
                [np.nan if none else float(cell) for none, cell in zip(missing, cells, strict=True)], dtype=np.float64
            )
        except ValueError:
            pass
    values = np.empty(len(cells), dtype=object)
    values[:] = cells
    return values
