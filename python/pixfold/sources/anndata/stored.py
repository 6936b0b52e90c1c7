"""Matrices of samples x features in a container: dense, by rows (CSR) and by columns (CSC)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.sources.anndata.containers import Container
from pixfold.sources.base import check_dtype
from pixfold.sources.disk.rows import Rows, csr_bytes, index_type, read_csr, read_dense
from pixfold.sources.disk.scratch import Block, RowsOnce, SparseRows, by_rows, scratch_note

_PARTS = ("data", "indices", "indptr")


class DenseMatrix:
    """A 2-D array.

    Parameters
    ----------
    container : Container
        Where it is.
    key : str
        What it is called there.

    Attributes
    ----------
    shape : tuple of int
        Samples, features.
    dtype : numpy.dtype
        Of what is read.
    chunk : int
        Rows that are stored together.
    nbytes : int
        What all rows take in memory, as they are read.
    messages : list of str
        What the user should be told.
    """

    is_sparse = False

    def __init__(self, container: Container, key: str) -> None:
        node = container.node(key)
        if len(node.shape) != 2:
            raise InputError(f"{container.name}: {key} must be 2-D (samples x features), got {len(node.shape)}-D")
        self.shape = (int(node.shape[0]), int(node.shape[1]))
        self.dtype = check_dtype(container.name, node.dtype)
        self.chunk = int(node.chunks[0]) if node.chunks else 1
        self.nbytes = self.shape[0] * self.shape[1] * self.dtype.itemsize
        self._container, self._key = container, key
        self.messages = [_absent_note(container.name, key, node)] if getattr(node, "absent", None) else []
        container.watch(key)

    def read(self, wanted: Rows) -> NDArray[Any]:
        """Read rows; index arrays must rise."""
        return read_dense(self._container.node(self._key), wanted, self.dtype)

    def close(self) -> None:
        """Nothing is kept."""


class CsrMatrix:
    """A group of three arrays: ``indptr`` of the samples, ``indices`` of features, ``data``.

    Parameters and attributes are those of :class:`DenseMatrix`, and the shape.
    """

    is_sparse = True
    chunk = 1

    def __init__(self, container: Container, key: str, shape: tuple[int, int]) -> None:
        self.shape = shape
        self.messages: list[str] = []
        self._container, self._key = container, key
        self._indptr: NDArray[np.int64] | None = None
        for part in _PARTS:
            node = container.node(f"{key}/{part}")
            if len(node.shape) != 1 or (part != "data" and node.dtype.kind not in "iu"):
                raise self._broken(f"{part} is {len(node.shape)}-D {node.dtype}")
        dtype = check_dtype(container.name, self._part("data").dtype)
        # SciPy has no sparse float16.
        self.dtype = np.dtype(np.float32) if dtype == np.float16 else dtype
        self.nbytes = csr_bytes(self._part("data").shape[0], shape, self.dtype)
        container.watch(key, *(f"{key}/{part}" for part in _PARTS))

    def read(self, wanted: Rows) -> Any:
        """Read rows as a CSR matrix; index arrays must rise."""
        from scipy import sparse

        pointers, indices, data = self.pointers(), self._part("indices"), self._part("data")
        values, columns, starts = read_csr(pointers, indices, data, wanted, self.dtype)
        columns = self._minor(columns, self.shape[1])
        return sparse.csr_matrix((values, columns, starts), shape=(len(starts) - 1, self.shape[1]))

    def close(self) -> None:
        """Nothing is kept."""

    def pointers(self) -> NDArray[np.int64]:
        """Where each sample begins (of CSC: each feature), checked."""
        if self._indptr is None:
            indptr = self._part("indptr")[:].astype(np.int64)
            stored = self._part("data").shape[0]
            if (
                len(indptr) != self._n_major + 1
                or indptr[0] != 0
                or indptr[-1] != stored
                or stored != self._part("indices").shape[0]
                or np.any(np.diff(indptr) < 0)
            ):
                raise self._broken("indptr does not fit")
            self._check_absent(indptr)
            self._indptr = indptr
        return self._indptr

    @property
    def _n_major(self) -> int:
        return self.shape[0]

    def _part(self, part: str) -> Any:
        return self._container.node(f"{self._key}/{part}")

    def _minor(self, indices: NDArray[Any], size: int) -> NDArray[Any]:
        # An index outside the matrix would be written outside the image later.
        if indices.size and (indices.min() < 0 or indices.max() >= size):
            wrong = indices.min() if indices.min() < 0 else indices.max()
            raise self._broken(f"index {wrong} of {size}")
        return indices.astype(index_type(size), copy=False)

    def _check_absent(self, indptr: NDArray[np.int64]) -> None:
        """Raise InputError for chunks that are not stored, where they cannot be zeros that need not be."""
        name = f"{self._container.name}: chunks of {self._key}"
        for start, stop in getattr(self._part("data"), "absent", ()):
            raise InputError(f"{name}/data are missing: values {start:,} to {stop:,} of {indptr[-1]:,}")
        for start, stop in getattr(self._part("indices"), "absent", ()):
            # All of them 0: then no row (of CSC: column) can have two.
            if np.diff(np.clip(indptr, start, stop)).max(initial=0) > 1:
                raise InputError(f"{name}/indices are missing: those of values {start:,} to {stop:,}")
        if absent := getattr(self._part("indptr"), "absent", ()):
            # All of them 0: then the first row that is stored begins behind empty ones.
            last = min(absent[-1][1], len(indptr) - 1)
            first = self._part("indices")[0 : int(indptr[last])]
            if len(np.unique(first)) < len(first):
                raise InputError(f"{name}/indptr are missing: those up to {last:,}")

    def _broken(self, reason: str) -> InputError:
        return InputError(f"{self._container.name}: the sparse matrix {self._key!r} is damaged ({reason})")


class CscMatrix(CsrMatrix):
    """A group of three arrays: ``indptr`` of the features, ``indices`` of samples, ``data``.

    It is brought to rows at the first read, once in each process: in memory where it is small, otherwise in
    temporary files, within the memory of :func:`pixfold.sources.disk.limits.held`.
    """

    def __init__(self, container: Container, key: str, shape: tuple[int, int]) -> None:
        super().__init__(container, key, shape)
        self._once = RowsOnce(self._by_rows)
        self.messages += scratch_note(f"{container.name}: {key}", self._part("data").shape[0], self.dtype)

    def read(self, wanted: Rows) -> Any:
        """Read rows as a CSR matrix; index arrays must rise."""
        return self._once.read(wanted, self.shape[1], self.dtype)

    def close(self) -> None:
        """Give temporary space back; the next read orders the matrix again."""
        self._once.close()

    def rows(self, length: int) -> Iterator[NDArray[Any]]:
        """Yield the samples of all entries, at most ``length`` at a time."""
        indices = self._part("indices")
        for start in range(0, indices.shape[0], length):
            yield self._minor(indices[start : start + length], self.shape[0])

    def blocks(self, length: int) -> Iterator[Block]:
        """Yield samples, features and values of all entries, at most ``length`` at a time."""
        indptr, data = self.pointers(), self._part("data")
        for i, rows in enumerate(self.rows(length)):
            start, stop = i * length, i * length + len(rows)
            first = int(np.searchsorted(indptr, start, side="right")) - 1
            last = int(np.searchsorted(indptr, stop, side="left"))
            edges = np.clip(indptr[first : last + 1], start, stop)
            columns = np.repeat(np.arange(first, last, dtype=np.int32), edges[1:] - edges[:-1])
            yield rows, columns, data[start:stop].astype(self.dtype, copy=False)

    def _by_rows(self) -> SparseRows:
        return by_rows(self, *self.shape, int(self.pointers()[-1]), self.dtype)

    @property
    def _n_major(self) -> int:
        return self.shape[1]


Matrix = DenseMatrix | CsrMatrix


def open_matrix(container: Container, key: str) -> Matrix:
    """Open a matrix as anndata stores it.

    Raises
    ------
    InputError
        When it is none, is damaged, or does not hold real numbers.
    """
    node = container.node(key)
    if hasattr(node, "shape"):
        return DenseMatrix(container, key)
    # "h5sparse" is how anndata before 0.7 called it
    kind = str(node.attrs.get("encoding-type", node.attrs.get("h5sparse_format", "")))
    shape = node.attrs.get("shape", node.attrs.get("h5sparse_shape"))
    if kind[:3] not in ("csr", "csc") or shape is None:
        raise InputError(f"{container.name}: {key} must be dense, CSR or CSC, got {kind or 'a plain group'!r}")
    opened = CsrMatrix if kind[:3] == "csr" else CscMatrix
    return opened(container, key, (int(shape[0]), int(shape[1])))


def _absent_note(name: str, key: str, node: Any) -> str:
    start, stop = node.absent[0]
    return (
        f"{name}: some chunks of {key} are not stored and read as {node.fill_value}: the first in samples "
        f"{start:,} to {stop:,}, {len(node.absent):,} such stretches; right when they hold nothing else"
    )
