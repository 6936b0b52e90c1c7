"""Rows that arrive in blocks: kept in memory while they are few, in a temporary file once they are not."""

from __future__ import annotations

import itertools
import os
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError, OutputError
from pixfold.sources.array import ArraySource
from pixfold.sources.base import block_rows, check_labels, check_size, normalize_rows, numbered, unique_names

# A matrix larger than this is kept in a file.
MEMORY_BYTES = 256 * 2**20

# Wanted rows that lie apart by less are read in one go with those between them, up to the second figure.
_GAP_BYTES = 64 * 2**10
_SPAN_BYTES = 16 * 2**20

_INTEGERS = tuple(np.dtype(t) for t in ("u1", "i1", "u2", "i2", "u4", "i4", "i8", "u8"))


class RowStore:
    """Collect the rows of a matrix.

    In memory values keep their type; in the file they take the smallest type that holds them all exactly.

    Parameters
    ----------
    name : str
        The source, for messages.
    """

    def __init__(self, name: str) -> None:
        self.n_rows = 0
        self._name = name
        self._blocks: list[NDArray[Any]] = []
        self._file: RowFile | None = None

    def append(self, block: NDArray[Any]) -> None:
        """Add rows: an array of shape (n, n_columns), of any integer or floating type; it is not copied."""
        self.n_rows += len(block)
        if self._file is not None:
            self._file.append(block)
            return
        self._blocks.append(block)
        if sum(b.nbytes for b in self._blocks) > MEMORY_BYTES:
            self._file = RowFile(self._name, block.shape[1])
            while self._blocks:
                self._file.append(self._blocks.pop(0))

    def finish(self, change: Callable[[NDArray[Any]], NDArray[Any]] | None = None) -> NDArray[Any] | RowFile:
        """Return all rows, each block of them passed through ``change`` if that is given."""
        if self._file is not None:
            self._file.close()
            return self._file if change is None else self._file.changed(change)
        if len(self._blocks) == 1:
            matrix = self._blocks[0]
        else:
            dtype = np.result_type(*{block.dtype for block in self._blocks})
            matrix = np.empty((self.n_rows, self._blocks[0].shape[1]), dtype=dtype)
            start = 0
            while self._blocks:  # each is let go when it is copied
                block = self._blocks.pop(0)
                matrix[start : start + len(block)] = block
                start += len(block)
        return matrix if change is None else change(matrix)

    def discard(self) -> None:
        """Let go of all rows."""
        if self._file is not None:
            self._file.remove()
        self._blocks, self._file = [], None


class RowFile:
    """A temporary file of rows, removed when nothing refers to it any more or the process that made it ends.

    It may be read from several threads and after a fork; a pickle of it reads the same file, and so must not
    outlive the process that made it.

    Parameters
    ----------
    name : str
        The source whose rows these are, for messages.
    n_columns : int
        Values per row.

    Raises
    ------
    OutputError
        When there is no room for it in the folder of temporary files (``TMPDIR``).
    """

    def __init__(self, name: str, n_columns: int) -> None:
        self.dtype = np.dtype(np.uint8)
        self.shape = (0, n_columns)
        self._name = name
        self._out: BinaryIO | None = None
        self._remove: Any = None
        self._create()

    def append(self, block: NDArray[Any]) -> None:
        """Write rows at the end; where they need a wider type, what is there is written anew in it."""
        dtype = _smallest(block)
        if not self.shape[0]:
            self.dtype = dtype
        elif (wider := np.promote_types(self.dtype, dtype)) != self.dtype:
            self._widen(wider)
        self._write(block)

    def read(self, rows: slice | NDArray[np.int64]) -> NDArray[Any]:
        """Read rows: a slice of step 1, or an index array."""
        row_bytes = self.shape[1] * self.dtype.itemsize
        try:
            with self.path.open("rb", buffering=0) as file:
                if isinstance(rows, slice):
                    out = np.empty((rows.stop - rows.start, self.shape[1]), dtype=self.dtype)
                    self._fill(file, rows.start * row_bytes, out)
                    return out
                wanted, order = np.unique(rows, return_inverse=True)
                out = np.empty((len(wanted), self.shape[1]), dtype=self.dtype)
                for first, last in _runs(wanted, row_bytes):
                    start, stop = int(wanted[first]), int(wanted[last - 1]) + 1
                    whole = last - first == stop - start
                    span = out[first:last] if whole else np.empty((stop - start, self.shape[1]), dtype=self.dtype)
                    self._fill(file, start * row_bytes, span)
                    if not whole:
                        out[first:last] = span[wanted[first:last] - start]
        except OSError as error:
            raise InputError(
                f"{self._name}: cannot read its temporary copy {self.path}: {error.strerror or error}"
            ) from error
        return out if np.array_equal(wanted, rows) else out[order]

    def changed(self, change: Callable[[NDArray[Any]], NDArray[Any]]) -> RowFile:
        """Return a file of these rows, each block passed through ``change``; this file is removed."""
        result: RowFile | None = None
        try:
            for block in self._blocks():
                new = change(block)
                if result is None:
                    result = RowFile(self._name, new.shape[1])
                result.append(new)
        except BaseException:
            if result is not None:
                result.remove()
            raise
        finally:
            self.remove()
        assert result is not None, "a file is made when there are rows"
        result.close()
        return result

    def close(self) -> None:
        """End writing."""
        if self._out is not None:
            out, self._out = self._out, None
            with self._room():
                out.close()

    def remove(self) -> None:
        """Remove the file."""
        if self._out is not None:
            self._out.close()
            self._out = None
        if self._remove is not None:
            self._remove()

    def __getstate__(self) -> dict[str, Any]:
        """Leave behind what removes the file: that is for the process that made it."""
        return {**self.__dict__, "_out": None, "_remove": None}

    def _create(self) -> None:
        with self._room():
            number, path = tempfile.mkstemp(prefix="pixfold-", suffix=".rows")
        self.path = Path(path)
        self._remove = weakref.finalize(self, _remove, self.path, os.getpid())
        self._out = os.fdopen(number, "wb")

    def _blocks(self) -> Iterator[NDArray[Any]]:
        step = block_rows(self.shape[1])
        for start in range(0, self.shape[0], step):
            yield self.read(slice(start, min(start + step, self.shape[0])))

    def _widen(self, dtype: np.dtype[Any]) -> None:
        self.close()
        old = RowFile.__new__(RowFile)
        old.__dict__.update(self.__dict__)
        self.dtype, self.shape = dtype, (0, self.shape[1])
        self._create()
        try:
            for block in old._blocks():
                self._write(block)
        finally:
            old.remove()

    def _write(self, block: NDArray[Any]) -> None:
        assert self._out is not None, "rows are written before close()"
        with self._room():
            self._out.write(np.ascontiguousarray(block, dtype=self.dtype).data)
            self._out.flush()
        self.shape = (self.shape[0] + len(block), self.shape[1])

    def _fill(self, file: Any, offset: int, out: NDArray[Any]) -> None:
        file.seek(offset)
        view = out.reshape(-1).view(np.uint8).data
        done = 0
        while done < len(view):
            count = file.readinto(view[done:])
            if not count:
                raise InputError(f"{self._name}: its temporary copy {self.path} was cut off")
            done += count

    @contextmanager
    def _room(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._out = None
            self.remove()
            raise OutputError(
                f"{self._name}: cannot write a temporary copy of its numbers in {tempfile.gettempdir()} "
                f"({error.strerror or error}); set TMPDIR to a folder with more room"
            ) from error


class StoredSource:
    """A source of the rows of a :class:`RowFile`; its attributes are those of :class:`pixfold.sources.Source`."""

    def __init__(
        self,
        rows: RowFile,
        *,
        name: str,
        feature_names: list[str],
        sample_names: list[str],
        labels: Any = None,
        categories: dict[str, list[str]] | None = None,
        messages: list[str] | None = None,
    ) -> None:
        self.name = name
        self.n_samples, self.n_features = rows.shape
        self.messages = list(messages or ())
        self.feature_names = unique_names(feature_names, self.messages)
        self.sample_names = sample_names
        self.labels = None if labels is None else check_labels(name, labels, self.n_samples)
        self.dtype = rows.dtype
        self.is_sparse = False
        self.block_size = block_rows(self.n_features)
        self.categories = dict(categories or {})
        self._rows = rows

    def read(self, rows: slice | NDArray[np.int64]) -> NDArray[Any]:
        """Read some samples; see :meth:`pixfold.sources.base.Source.read`."""
        return self._rows.read(normalize_rows(rows, self.n_samples))

    def close(self) -> None:
        """Remove the temporary file; nothing can be read any more."""
        self._rows.remove()


def source_of(
    rows: NDArray[Any] | RowFile,
    *,
    name: str,
    feature_names: list[str],
    sample_names: list[str] | None,
    labels: Any,
    categories: dict[str, list[str]],
    messages: list[str],
) -> ArraySource | StoredSource:
    """Make a source of what :meth:`RowStore.finish` returned."""
    check_size(name, *rows.shape)
    if isinstance(rows, RowFile):
        return StoredSource(
            rows,
            name=name,
            feature_names=feature_names,
            sample_names=numbered("sample", rows.shape[0]) if sample_names is None else sample_names,
            labels=labels,
            categories=categories,
            messages=messages,
        )
    return ArraySource(
        rows,
        name=name,
        feature_names=feature_names,
        sample_names=sample_names,
        labels=labels,
        categories=categories,
        messages=messages,
    )


def _smallest(block: NDArray[Any]) -> np.dtype[Any]:
    """Return the smallest type that holds these values exactly: an integer type, or float32 or float64."""
    if not block.size:
        return block.dtype
    if block.dtype.kind in "iu":
        low, high = int(block.min()), int(block.max())
        return next(t for t in _INTEGERS if np.iinfo(t).min <= low and high <= np.iinfo(t).max)
    with np.errstate(over="ignore"):
        single = block.astype(np.float32)
    return single.dtype if np.array_equal(single, block, equal_nan=True) else block.dtype


def _runs(wanted: NDArray[np.int64], row_bytes: int) -> Iterator[tuple[int, int]]:
    """Split sorted rows where they lie far apart, and into spans that are not long."""
    gap, longest = max(1, _GAP_BYTES // row_bytes), max(1, _SPAN_BYTES // row_bytes)
    edges = [0, *(np.flatnonzero(np.diff(wanted) > gap) + 1).tolist(), len(wanted)]
    for start, stop in itertools.pairwise(edges):
        first = start
        while first < stop:
            last = int(np.searchsorted(wanted[:stop], wanted[first] + longest))
            yield first, last
            first = last


def _remove(path: Path, owner: int) -> None:
    if os.getpid() == owner:  # not a forked child
        path.unlink(missing_ok=True)
