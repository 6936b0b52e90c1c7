"""The bytes of a PLINK 1 .bed file: its size checked, rows and columns of it read."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.util.text import counted

_HEADER_BYTES = 3
_MAGIC = b"\x6c\x1b"
# What is read at once: little enough that an interrupt is heard soon.
_PIECE_BYTES = 16 * 2**20
# A system reads whole pages, and ahead: shorter rows are read with what lies between the wanted bytes.
_LONG_ROW = 64 * 2**10


class BedFile:
    """Rows of packed genotypes behind a header of three bytes.

    Parameters
    ----------
    path : Path
        The .bed file.
    n_samples, n_features : int
        What the .fam and the .bim file say.
    fam, bim : str
        How messages call these.

    Raises
    ------
    InputError
        When the header is not that of a .bed file, or the file has another size than follows from the numbers.
    """

    def __init__(self, path: Path, n_samples: int, n_features: int, fam: str, bim: str) -> None:
        self._name, self._path = str(path), path.resolve()
        with self._file() as file:
            head = file.read(_HEADER_BYTES)
            found = os.fstat(file.fileno())
        if head[:2] != _MAGIC or head[2:] not in (b"\0", b"\1"):
            raise InputError(
                f"{path}: the file must be PLINK 1 .bed (first bytes 6c 1b 01, or 6c 1b 00), got {head.hex(' ')}"
            )
        self.variant_major = head[2] == 1
        self.n_rows, width = (n_features, n_samples) if self.variant_major else (n_samples, n_features)
        self.row_bytes = -(-width // 4)
        self._stamp = found.st_size, found.st_mtime_ns
        size = _HEADER_BYTES + self.n_rows * self.row_bytes
        if found.st_size != size:
            what = "cut off" if found.st_size < size else "too long"
            raise InputError(
                f"{path}: the file is {what}, or not of these samples and variants: it must be of {size:,} bytes for "
                f"{counted(n_samples, 'sample')} ({fam}) and {counted(n_features, 'variant')} ({bim}), "
                f"got {found.st_size:,}"
            )

    def rows(self, first: int, last: int) -> NDArray[np.uint8]:
        """Read whole rows, (last - first, row_bytes)."""
        out = np.empty((last - first, self.row_bytes), dtype=np.uint8)
        with self._file() as file:
            for start, piece in self._pieces(first, last, out):
                self._fill(file, start * self.row_bytes, piece)
        return out

    def rows_at(self, rows: slice | NDArray[np.int64]) -> NDArray[np.uint8]:
        """Read rows at any positions, in their order."""
        if isinstance(rows, slice):
            return self.rows(rows.start, rows.stop)
        out = np.empty((len(rows), self.row_bytes), dtype=np.uint8)
        with self._file() as file:
            for i, row in enumerate(rows.tolist()):
                self._fill(file, row * self.row_bytes, out[i])
        return out

    def columns(self, first: int, last: int) -> NDArray[np.uint8]:
        """Read bytes ``first .. last - 1`` of every row."""
        width = last - first
        if width == self.row_bytes:
            return self.rows(0, self.n_rows)
        if self.row_bytes < _LONG_ROW or 4 * width > self.row_bytes:
            return self._picked(slice(first, last), width)
        out = np.empty((self.n_rows, width), dtype=np.uint8)
        with self._file() as file:
            for i in range(self.n_rows):
                self._fill(file, i * self.row_bytes + first, out[i])
        return out

    def columns_at(self, wanted: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Read some bytes of every row."""
        return self._picked(wanted, len(wanted))

    def _picked(self, wanted: slice | NDArray[np.int64], width: int) -> NDArray[np.uint8]:
        out = np.empty((self.n_rows, width), dtype=np.uint8)
        held = np.empty((max(1, _PIECE_BYTES // self.row_bytes), self.row_bytes), dtype=np.uint8)
        with self._file() as file:
            for start in range(0, self.n_rows, len(held)):
                part = held[: self.n_rows - start]
                self._fill(file, start * self.row_bytes, part)
                out[start : start + len(part)] = part[:, wanted]
        return out

    def _pieces(self, first: int, last: int, out: NDArray[np.uint8]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        step = max(1, _PIECE_BYTES // self.row_bytes)
        for start in range(first, last, step):
            yield start, out[start - first : min(start + step, last) - first]

    def _file(self) -> io.FileIO:
        """Open the file for one read: nothing to share between threads or processes."""
        try:
            file = io.FileIO(self._path)
        except OSError as error:
            raise InputError(f"{self._name}: cannot read the file: {error.strerror or error}") from error
        found = os.fstat(file.fileno())
        if (found.st_size, found.st_mtime_ns) != getattr(self, "_stamp", (found.st_size, found.st_mtime_ns)):
            file.close()
            raise InputError(f"{self._name}: the file has changed since it was opened")
        return file

    def _fill(self, file: io.FileIO, offset: int, out: NDArray[np.uint8]) -> None:
        view = out.reshape(-1).data
        file.seek(_HEADER_BYTES + offset)
        while view:
            read = file.readinto(view)
            if not read:
                raise InputError(f"{self._name}: the file was cut off while it was read")
            view = view[read:]
