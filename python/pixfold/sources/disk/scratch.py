"""Matrices that are stored by columns, or in no order, brought to rows within a bound on memory."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import OutputError
from pixfold.sources.disk.limits import budget, held, within
from pixfold.sources.disk.rows import Rows, index_type, read_csr
from pixfold.util.progress import Task, source_task

# Ordering entries may hold limits.held(): half of it for the matrix, which otherwise goes through temporary files, and
# half to work in.

# Memory per entry at work: rows, columns, values and their order, as 64-bit numbers, several times over.
_ENTRY_BYTES = 100

# Counting, dealing out and sorting: each goes once through all entries. Fewer entries are done in a second or two.
_PASSES = 3
_SHOWN_ENTRIES = 10_000_000

Block = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]


class Entries(Protocol):
    """The entries of a sparse matrix, in the order of a file. Both methods may be called again."""

    def rows(self, length: int) -> Iterator[NDArray[Any]]:
        """Yield the rows of all entries, at most ``length`` at a time."""
        ...

    def blocks(self, length: int) -> Iterator[Block]:
        """Yield rows, columns and values of all entries, at most ``length`` at a time."""
        ...


class ScratchArray:
    """A 1-D array in a temporary file that has no name: however the process ends, nothing stays behind.

    It is read and written by slices of step 1, from any thread, and by forked children too.
    """

    def __init__(self, length: int, dtype: Any) -> None:
        self.dtype = np.dtype(dtype)
        self.shape = (length,)
        try:
            self._file = tempfile.TemporaryFile(dir=folder(), buffering=0)  # noqa: SIM115  (finalize closes it)
        except OSError as error:
            raise _no_room(error.strerror or str(error)) from error
        self._close = weakref.finalize(self, self._file.close)

    def __getitem__(self, part: slice) -> NDArray[Any]:
        start, stop, _ = part.indices(self.shape[0])
        out = np.empty(max(0, stop - start), dtype=self.dtype)
        view, offset = out.view(np.uint8).data, start * self.dtype.itemsize
        while view:
            done = os.preadv(self._file.fileno(), [view], offset)
            if not done:
                raise OSError(f"temporary file in {folder()} is cut off")
            view, offset = view[done:], offset + done
        return out

    def __setitem__(self, part: slice, values: NDArray[Any]) -> None:
        packed = np.ascontiguousarray(values, dtype=self.dtype)
        view, offset = packed.view(np.uint8).data, part.start * self.dtype.itemsize
        while view:
            try:
                done = os.pwrite(self._file.fileno(), view, offset)
            except OSError as error:
                raise _no_room(error.strerror or str(error)) from error
            view, offset = view[done:], offset + done

    def close(self) -> None:
        """Give the space back."""
        self._close()


class SparseRows:
    """CSR in three arrays, in memory or in temporary files.

    Attributes
    ----------
    indptr : ndarray of int64
        Where each row begins.
    indices, data : ndarray or ScratchArray
        Columns, rising in each row, and values.
    """

    def __init__(self, indptr: NDArray[np.int64], indices: Any, data: Any) -> None:
        self.indptr, self.indices, self.data = indptr, indices, data

    def close(self) -> None:
        """Give temporary space back."""
        for array in (self.indices, self.data):
            if isinstance(array, ScratchArray):
                array.close()


class RowsOnce:
    """Rows of a matrix that is brought to rows at the first read, once in each process.

    Parameters
    ----------
    make : callable
        Brings the matrix to rows, within the budget that there was when the source was opened.
    """

    def __init__(self, make: Callable[[], SparseRows]) -> None:
        self._make, self._budget = make, budget()
        self._rows: SparseRows | None = None
        self._lock = threading.RLock()

    def read(self, wanted: Rows, n_columns: int, dtype: np.dtype[Any]) -> Any:
        """Read rows as a CSR matrix; index arrays must rise."""
        from scipy import sparse

        with self._lock:
            if self._rows is None:
                with within(self._budget):
                    self._rows = self._make()
            rows = self._rows
        parts = read_csr(rows.indptr, rows.indices, rows.data, wanted, dtype)
        return sparse.csr_matrix(parts, shape=(len(parts[2]) - 1, n_columns))

    def close(self) -> None:
        """Give temporary space back; the next read orders the matrix again."""
        with self._lock:
            if self._rows is not None:
                self._rows.close()
            self._rows = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the rows behind: they are this process's."""
        return {"_make": self._make, "_budget": self._budget}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`__getstate__` left."""
        self.__init__(state["_make"])  # type: ignore[misc]
        self._budget = state["_budget"]


def scratch_note(name: str, n_entries: int, dtype: np.dtype[Any]) -> list[str]:
    """What to tell the user before a large matrix is ordered; nothing where it is done in memory."""
    total = n_entries * (8 + dtype.itemsize)
    if total <= held() // 2:
        return []
    return [
        f"{name}: not stored by rows: the first read brings it to rows, in {total / 1e9:,.1f} GB of temporary files "
        f"in {folder()} (another folder is chosen by TMPDIR)"
    ]


def room_for(n_entries: int, dtypes: list[Any]) -> list[Any]:
    """Make arrays of ``n_entries``, one of each type: in memory together, or in temporary files.

    Raises
    ------
    OutputError
        When there is not enough temporary space.
    """
    total = n_entries * sum(np.dtype(dtype).itemsize for dtype in dtypes)
    if total <= held() // 2:
        return [np.empty(n_entries, dtype=dtype) for dtype in dtypes]
    if (free := shutil.disk_usage(folder()).free) < total:
        raise _no_room(f"{total / 1e9:,.1f} GB are needed, {free / 1e9:,.1f} GB are free")
    return [ScratchArray(n_entries, dtype) for dtype in dtypes]


def by_rows(entries: Entries, n_rows: int, n_columns: int, n_entries: int, dtype: np.dtype[Any]) -> SparseRows:
    """Order entries by row, and by column within each; entries of one place are added.

    One pass counts the entries of each row. A second one deals them out to buckets of neighbouring rows, each
    of which fits in memory; then every bucket is sorted. Entries are read twice, and written twice.

    Parameters
    ----------
    entries : Entries
        Rows and columns that lie in the matrix.
    n_rows, n_columns, n_entries : int
        Size of the matrix.
    dtype : numpy.dtype
        Of the values.

    Raises
    ------
    OutputError
        When there is not enough temporary space.
    """
    length = max(1, held() // 2 // _ENTRY_BYTES)
    counts = np.zeros(n_rows, dtype=np.int64)
    with source_task("bringing to rows", _PASSES * n_entries, _SHOWN_ENTRIES) as task:
        for rows in entries.rows(length):
            counts += np.bincount(rows, minlength=n_rows)
            task.advance(len(rows))
        starts = np.concatenate([[0], np.cumsum(counts)])
        edges = _edges(starts, length)
        arrays = room_for(n_entries, [np.int32, index_type(n_columns), dtype])
        _deal(entries, edges, starts, arrays, length, task)
        return _sort(edges, starts, arrays, n_columns, task)


def _edges(starts: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Rows at which buckets begin, and the end of the last; a bucket of several rows holds ``length`` at most."""
    edges, n_rows = [0], len(starts) - 1
    while edges[-1] < n_rows:
        end = int(np.searchsorted(starts, starts[edges[-1]] + length, side="right")) - 1
        edges.append(min(max(end, edges[-1] + 1), n_rows))
    return np.array(edges, dtype=np.int64)


def _deal(
    entries: Entries, edges: NDArray[np.int64], starts: NDArray[np.int64], arrays: list[Any], length: int, task: Task
) -> None:
    """Write each entry behind those of its bucket, in the order of the file."""
    filled = starts[edges[:-1]].copy()
    for rows, columns, values in entries.blocks(length):
        bucket = np.searchsorted(edges, rows, side="right") - 1
        # NumPy sorts 16-bit numbers by counting.
        order = np.argsort(bucket.astype(np.uint16) if len(edges) < 2**16 else bucket, kind="stable")
        sizes = np.bincount(bucket, minlength=len(filled))
        dealt = [part[order] for part in (rows - edges[bucket], columns, values)]
        at = 0
        for b in np.flatnonzero(sizes):
            size, start = int(sizes[b]), int(filled[b])
            for array, part in zip(arrays, dealt, strict=True):
                array[start : start + size] = part[at : at + size]
            at += size
        filled += sizes
        task.advance(len(rows))


def _sort(
    edges: NDArray[np.int64], starts: NDArray[np.int64], arrays: list[Any], n_columns: int, task: Task
) -> SparseRows:
    """Sort each bucket in its place; where entries are added, later buckets move up."""
    from scipy import sparse

    rows, indices, data = arrays
    indptr = np.zeros_like(starts)
    done = 0
    for first, last in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        part = slice(int(starts[first]), int(starts[last]))
        triples = (data[part], (rows[part], indices[part]))
        ordered = sparse.coo_matrix(triples, shape=(last - first, n_columns)).tocsr()
        ordered.sum_duplicates()
        size = int(ordered.nnz)
        indices[done : done + size] = ordered.indices
        data[done : done + size] = ordered.data
        indptr[first + 1 : last + 1] = done + ordered.indptr[1:]
        done += size
        task.advance(part.stop - part.start)
    if isinstance(rows, ScratchArray):
        rows.close()
    return SparseRows(indptr, indices, data)


def folder() -> str:
    """Folder of large temporary files: as the user says, else /var/tmp, because /tmp is often memory."""
    chosen = any(os.environ.get(variable) for variable in ("TMPDIR", "TEMP", "TMP"))
    return "/var/tmp" if not chosen and os.access("/var/tmp", os.W_OK) else tempfile.gettempdir()


def _no_room(reason: str) -> OutputError:
    return OutputError(f"cannot write temporary files in {folder()}: {reason}; set TMPDIR to a folder with room")
