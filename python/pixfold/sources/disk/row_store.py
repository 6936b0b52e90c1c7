"""Rows that arrive in blocks: kept in memory while they are few, in a temporary file once they are not."""

from __future__ import annotations

import io
import os
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError, OutputError
from pixfold.sources.arrays.array_source import ArraySource
from pixfold.sources.base import block_rows, check_size
from pixfold.sources.disk.limits import held
from pixfold.sources.disk.on_disk import StoredSource
from pixfold.sources.disk.rows import Rows, read_dense
from pixfold.sources.disk.scratch import folder

# float32 holds all integers up to this.
_FLOAT32_INTEGERS = 2**24
_INTEGERS = tuple(np.dtype(t) for t in ("u1", "i1", "u2", "i2", "u4", "i4", "i8", "u8"))


class RowStore:
    """Collect the rows of a matrix: in memory up to :func:`pixfold.sources.disk.limits.held`, then in a file.

    In memory values keep their type; in the file they take the smallest type that holds them all exactly.

    Parameters
    ----------
    name : str
        The source, for messages.
    """

    def __init__(self, name: str) -> None:
        self.n_rows = 0
        self._n_bytes = 0
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
        self._n_bytes += block.nbytes
        if self._n_bytes > held():
            self._file = RowFile(self._name, block.shape[1])
            while self._blocks:
                self._file.append(self._blocks.pop(0))

    def finish(self, change: Callable[[NDArray[Any]], NDArray[Any]] | None = None) -> NDArray[Any] | RowFile:
        """Return all rows, each block of them passed through ``change`` if that is given."""
        if self._file is not None:
            self._file.end()
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
            self._file.close()
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

    is_sparse = False
    chunk = 1

    def __init__(self, name: str, n_columns: int) -> None:
        self.dtype = np.dtype(np.uint8)
        self.shape = (0, n_columns)
        self.nbytes = 0
        self.name = name
        self._type = _SmallestType()
        self._out: io.RawIOBase | None = None
        self._remove: Any = None
        self._create()

    def append(self, block: NDArray[Any]) -> None:
        """Write rows at the end; where they need a wider type, what is there is written anew in it."""
        dtype = self._type.hold(block)
        if not self.shape[0]:
            self.dtype = dtype
        elif dtype != self.dtype:
            self._widen(dtype)
        self._write(block)

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        """Read rows that follow each other."""
        out = np.empty((rows.stop - rows.start, self.shape[1]), dtype=self.dtype)
        view = out.reshape(-1).view(np.uint8).data
        done = 0
        with self.path.open("rb", buffering=0) as file:
            file.seek(rows.start * self.shape[1] * self.dtype.itemsize)
            while done < len(view):
                count = file.readinto(view[done:])
                if not count:
                    raise OSError("it was cut off")
                done += count
        return out

    def read(self, wanted: Rows) -> NDArray[Any]:
        """Read rows; index arrays must rise."""
        return read_dense(self, wanted, self.dtype)

    @contextmanager
    def reading(self, what: str = "") -> Iterator[None]:
        """Context to read in."""
        try:
            yield
        except OSError as error:
            reason = error.strerror or error
            raise InputError(f"{self.name}: cannot read its temporary copy {self.path}: {reason}") from error

    def changed(self, change: Callable[[NDArray[Any]], NDArray[Any]]) -> RowFile:
        """Return a file of these rows, each block passed through ``change``; this file is removed."""
        result: RowFile | None = None
        try:
            for block in self._blocks():
                new = change(block)
                if result is None:
                    result = RowFile(self.name, new.shape[1])
                result.append(new)
        except BaseException:
            if result is not None:
                result.close()
            raise
        finally:
            self.close()
        assert result is not None, "a file is made when there are rows"
        result.end()
        return result

    def end(self) -> None:
        """End writing."""
        if self._out is not None:
            out, self._out = self._out, None
            with self._room():
                out.close()

    def close(self) -> None:
        """Remove the file; nothing can be read any more."""
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
            number, path = tempfile.mkstemp(prefix="pixfold-", suffix=".rows", dir=folder())
        self.path = Path(path)
        self._remove = weakref.finalize(self, _remove, self.path, os.getpid())
        self._out = os.fdopen(number, "wb", buffering=0)

    def _blocks(self) -> Iterator[NDArray[Any]]:
        step = block_rows(self.shape[1])
        for start in range(0, self.shape[0], step):
            yield self[start : min(start + step, self.shape[0])]

    def _widen(self, dtype: np.dtype[Any]) -> None:
        self.end()
        old = RowFile.__new__(RowFile)
        old.__dict__.update(self.__dict__)
        self.dtype, self.shape = dtype, (0, self.shape[1])
        self._create()
        try:
            for block in old._blocks():
                self._write(block)
        finally:
            old.close()

    def _write(self, block: NDArray[Any]) -> None:
        assert self._out is not None, "rows are written before close()"
        with self._room():
            view = np.ascontiguousarray(block, dtype=self.dtype).reshape(-1).view(np.uint8).data
            done = 0
            while done < len(view):
                done += self._out.write(view[done:])
        self.shape = (self.shape[0] + len(block), self.shape[1])
        self.nbytes = self.shape[0] * self.shape[1] * self.dtype.itemsize

    @contextmanager
    def _room(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.close()
            raise OutputError(
                f"{self.name}: cannot write a temporary copy of its numbers in {folder()} "
                f"({error.strerror or error}); set TMPDIR to a folder with more room"
            ) from error


class _SmallestType:
    """The smallest type that holds all values exactly: an integer type, or float32 or float64."""

    def __init__(self) -> None:
        self._low = self._high = 0
        self._float: np.dtype[Any] | None = None

    def hold(self, block: NDArray[Any]) -> np.dtype[Any]:
        """Return the type for these values and all before."""
        if block.dtype.kind == "f":
            self._float = np.promote_types(self._float or np.float32, _float_type(block))
        elif block.size:
            self._low, self._high = min(self._low, int(block.min())), max(self._high, int(block.max()))
        integer = next((t for t in _INTEGERS if np.iinfo(t).min <= self._low and self._high <= np.iinfo(t).max), None)
        if self._float is None and integer is not None:
            return integer
        small = max(-self._low, self._high) <= _FLOAT32_INTEGERS
        return np.dtype(np.float32) if small and self._float == np.float32 else np.dtype(np.float64)


def _float_type(block: NDArray[Any]) -> np.dtype[Any]:
    with np.errstate(over="ignore"):
        single = block.astype(np.float32)
    return single.dtype if np.array_equal(single, block, equal_nan=True) else np.dtype(np.float64)


def source_of(rows: NDArray[Any] | RowFile, name: str, **about: Any) -> ArraySource | StoredSource:
    """Make a source of what :meth:`RowStore.finish` returned; `about` is what :class:`Source` takes."""
    check_size(name, *rows.shape)
    if isinstance(rows, RowFile):
        return StoredSource(rows, rows, kind="table", **about)
    return ArraySource(rows, name=name, kind="table", **about)


def _remove(path: Path, owner: int) -> None:
    if os.getpid() == owner:  # not a forked child
        path.unlink(missing_ok=True)
