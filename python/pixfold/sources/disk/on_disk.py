"""StoredSource: a matrix that stays on disk, with names and labels that were read when it was opened."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pixfold.sources.base import block_rows, check_labels, normalize_rows, unique_names
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


class StoredSource:
    """A source whose values stay on disk. It can be pickled, and read after a fork and from several threads.

    Beside what every source has it says its ``nbytes``: what all samples take in memory, as they are read.

    Parameters
    ----------
    place : Place
        The file.
    matrix : Matrix
        What is in it.
    feature_names, sample_names : list of str
        Names; those of features are made unique.
    labels : array-like of shape (n_samples,), optional
        One label per sample.
    messages : list of str
        What the user should be told.

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
        feature_names: list[str],
        sample_names: list[str],
        labels: Any,
        messages: list[str],
    ) -> None:
        self.name = place.name
        self.messages = messages
        self.categories: dict[str, list[str]] = {}
        self.n_samples, self.n_features = matrix.shape
        self.dtype, self.is_sparse = matrix.dtype, matrix.is_sparse
        self.nbytes = matrix.nbytes
        self.sample_names = sample_names
        self.feature_names = unique_names(feature_names, messages)
        self.labels: NDArray[Any] | None = None
        if labels is not None:
            self.labels = check_labels(self.name, labels, self.n_samples)
        self.chunk_rows = min(matrix.chunk, self.n_samples)
        self.block_size = block_rows(self.n_features, self.chunk_rows)
        self._place, self._matrix = place, matrix

    def read(self, rows: slice | NDArray[np.int64]) -> Any:
        """Read some samples; see :meth:`pixfold.sources.base.Source.read`.

        Raises
        ------
        InputError
            When the file is damaged, or changed since it was opened.
        """
        wanted, order = rising(normalize_rows(rows, self.n_samples))
        with self._place.reading("the matrix"):
            block = self._matrix.read(wanted)
        return block if order is None else block[order]

    def close(self) -> None:
        """Close the file and give temporary space back; the next read opens it again."""
        self._matrix.close()
        self._place.close()
