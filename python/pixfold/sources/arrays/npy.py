""".npy files: values stay on disk and are read by position, never mapped."""

from __future__ import annotations

import os
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.image_pool import ImagePool
from pixfold.sources.base import BLOCK_BYTES, AnyRows, Source, check_dtype, normalize_rows, runs_of

# Wanted rows that lie apart by less than this are read in one go with those between them.
_GAP_BYTES = 16 * 2**10
# Memory of blocks that is kept for the next ones: new memory costs as much as reading into it.
_POOL_BYTES = 256 * 2**20


class NpySource(Source):
    """A matrix of numbers in a .npy file.

    A file that is mapped into memory counts as the process's own memory as far as it was read, and ends the process
    when it is cut off meanwhile. This one is read with ``pread`` into memory that is used again: what is resident is
    the blocks in use, and a file that has changed is an error.

    Parameters
    ----------
    path : Path
        The file.
    stored : numpy.dtype
        Type of the values in the file.
    shape : (int, int)
        n_samples, n_features.
    offset : int
        Where the values begin, in bytes.
    fortran : bool
        Whether features follow each other as a whole (column-major).
    """

    def __init__(
        self, path: Path, stored: np.dtype[Any], shape: tuple[int, int], offset: int, *, fortran: bool = False
    ) -> None:
        super().__init__(str(path), shape, check_dtype(str(path), stored))
        self._path = path.resolve()  # the working directory may change before the first read
        self._stored, self._offset, self._fortran = stored, offset, fortran
        self._pool = ImagePool(_POOL_BYTES)
        self._start()
        self._state = self._look(self._file())

    def read(self, rows: AnyRows) -> NDArray[Any]:
        """Read some samples; see :meth:`pixfold.sources.base.Source.read`."""
        wanted = normalize_rows(rows, self.n_samples, self.name)
        order = None
        if not isinstance(wanted, slice) and np.any(np.diff(wanted) <= 0):
            wanted, order = np.unique(wanted, return_inverse=True)
            wanted = normalize_rows(wanted, self.n_samples)
        if isinstance(wanted, slice):
            block = self._span(wanted.start, wanted.stop)
        else:
            block = self._apart(wanted)
        if self._look(self._file()) != self._state:
            raise InputError(f"{self.name}: the file has changed since it was opened; open it anew")
        block = block.view(np.uint8) if self._stored == np.bool_ else block.astype(self.dtype, copy=False)
        return block if order is None else block[order]

    def _apart(self, wanted: NDArray[np.int64]) -> NDArray[Any]:
        row_bytes = self.n_features * self._stored.itemsize
        # Column-major, a row costs a read per feature, and so does a block of them.
        gap = max(1, (BLOCK_BYTES if self._fortran else _GAP_BYTES) // row_bytes)
        out: NDArray[Any] = self._pool.empty((len(wanted), self.n_features), self._stored)
        for first, last in runs_of(wanted, gap, max(1, BLOCK_BYTES // row_bytes)):
            start, stop = int(wanted[first]), int(wanted[last - 1]) + 1
            if stop - start == last - first and not self._fortran:
                self._fill(out[first:last], start * row_bytes)
            else:
                # mode: the default writes by way of a copy.
                taken = wanted[first:last] - start
                np.take(self._span(start, stop), taken, axis=0, out=out[first:last], mode="clip")
        return out

    def _span(self, start: int, stop: int) -> NDArray[Any]:
        if not self._fortran:
            block: NDArray[Any] = self._pool.empty((stop - start, self.n_features), self._stored)
            self._fill(block, start * self.n_features * self._stored.itemsize)
            return block
        features: NDArray[Any] = self._pool.empty((self.n_features, stop - start), self._stored)
        for j in range(self.n_features):
            self._fill(features[j], (j * self.n_samples + start) * self._stored.itemsize)
        return features.T

    def _fill(self, out: NDArray[Any], at: int) -> None:
        """Read the bytes of a contiguous array from `at`, counted from the first value."""
        target = memoryview(out.reshape(-1).view(np.uint8).data)
        descriptor, at = self._file(), self._offset + at
        while target:
            try:
                got = os.preadv(descriptor, [target], at)
            except OSError as error:
                raise InputError(f"{self.name}: cannot read the file: {error.strerror or error}") from error
            if got == 0:
                raise InputError(
                    f"{self.name}: the file has changed since it was opened: it ends at byte {at:,}, "
                    f"{len(target):,} too early"
                )
            target, at = target[got:], at + got

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._descriptor = -1

    def _file(self) -> int:
        """Return the open file; it has no position that threads or forked processes could share."""
        with self._lock:
            if self._descriptor < 0:
                try:
                    self._descriptor = os.open(self._path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
                except OSError as error:
                    raise InputError(f"{self.name}: cannot read the file: {error.strerror or error}") from error
                weakref.finalize(self, os.close, self._descriptor)
            return self._descriptor

    @staticmethod
    def _look(descriptor: int) -> tuple[int, int]:
        found = os.fstat(descriptor)
        return found.st_size, found.st_mtime_ns

    def __getstate__(self) -> dict[str, Any]:
        """Leave the open file behind: another process opens its own."""
        return {**self.__dict__, "_lock": None, "_descriptor": -1}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`__getstate__` left."""
        self.__dict__.update(state)
        self._start()
