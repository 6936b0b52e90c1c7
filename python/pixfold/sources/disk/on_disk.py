"""StoredSource: a matrix that stays on disk, with names and labels that were read when it was opened."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np

from pixfold.sources.base import AnyRows, Source, normalize_rows
from pixfold.sources.disk.rows import Rows, rising


class Place(Protocol):
    """What a matrix is read from."""

    name: str

    def reading(self, what: str = "") -> AbstractContextManager[None]:
        """Context to read in, where what libraries raise becomes an InputError."""
        ...

    def close(self) -> None:
        """Close what is open; the next read opens it again."""
        ...


class Matrix(Protocol):
    """A matrix that is read by rows."""

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    is_sparse: bool
    chunk: int
    nbytes: int

    def read(self, wanted: Rows) -> Any:
        """Read rows, as an array or CSR; index arrays must rise."""
        ...

    def close(self) -> None:
        """Give back what the matrix holds; the next read makes it again."""
        ...


class StoredSource(Source):
    """A source whose values stay on disk. It can be pickled, and read after a fork and from several threads.

    Parameters
    ----------
    place : Place
        The file.
    matrix : Matrix
        What is in it.
    kind : str
        Of the values, see :class:`Source`.
    **about
        Names, labels, categories and messages, as :class:`Source` takes them.

    Raises
    ------
    InputError
        When there is not one label per sample.
    """

    def __init__(
        self,
        place: Place,
        matrix: Matrix,
        *,
        kind: str = "matrix",
        **about: Any,
    ) -> None:
        super().__init__(
            place.name, matrix.shape, matrix.dtype, is_sparse=matrix.is_sparse, chunk_rows=matrix.chunk, **about
        )
        self.kind, self.nbytes = kind, matrix.nbytes
        self._place, self._matrix = place, matrix

    def read(self, rows: AnyRows) -> Any:
        """Read some samples; see :meth:`pixfold.sources.base.Source.read`.

        Raises
        ------
        InputError
            When the file is damaged, or changed since it was opened.
        """
        wanted, order = rising(normalize_rows(rows, self.n_samples, self.name))
        with self._place.reading("the matrix"):
            block = self._matrix.read(wanted)
        return block if order is None else block[order]

    def close(self) -> None:
        """Close the file and give temporary space back; the next read opens it again."""
        self._matrix.close()
        self._place.close()
