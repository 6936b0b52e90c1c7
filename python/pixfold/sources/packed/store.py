"""A packed store on disk: a Zarr v3 group of sharded, checksummed arrays that says of itself what it holds."""

from __future__ import annotations

import itertools
import math
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError, PixfoldError
from pixfold.sources.anndata.containers import quiet
from pixfold.sources.disk.codecs import ZARRS, zarrs_works
from pixfold.sources.disk.zarr_files import Address, Place, files_of_store, is_folder, is_zipped, size_of, zarr_store
from pixfold.util.optional import require
from pixfold.util.progress import Progress, SilentProgress
from pixfold.util.text import counted, reason_of

# The attribute of the root that makes a group one of ours, and what it says of its form.
KEY = "pixfold"
VERSION = 1

_settings_lock = threading.RLock()


@contextmanager
def zarr_settings(*, numbers: bool = True) -> Iterator[Any]:
    """Yield zarr, set for our arrays: zarrs works on numbers where it is installed.

    An array keeps the settings that it was opened with.
    """
    zarr = require("zarr", "io", "a packed store")
    options = {"codec_pipeline.path": ZARRS} if numbers and zarrs_works() else {}
    # Settings belong to the whole process: two threads would restore each other's.
    with _settings_lock, zarr.config.set(options), quiet():
        yield zarr


def files_of(array: Any, rows: slice = slice(None)) -> Iterator[tuple[str, tuple[slice, ...]]]:
    """Yield the file of every shard with some of the rows, relative to the store, and the part of the array in it."""
    shape, stored = array.shape, array.shards or array.chunks
    first, last, _ = rows.indices(shape[0])
    grid = [range(math.ceil(n / size)) for n, size in zip(shape, stored, strict=True)]
    grid[0] = range(first // stored[0], math.ceil(last / stored[0]) if first < last else first // stored[0])
    for place in itertools.product(*grid):
        part = tuple(slice(p * s, min((p + 1) * s, n)) for p, s, n in zip(place, stored, shape, strict=True))
        yield f"{array.path}/{array.metadata.encode_chunk_key(place)}", part


class PackedStore:
    """A whole packed store, open for reading. Several threads may read; every process opens its own arrays.

    Parameters
    ----------
    path : Path or Address
        The folder, a ZIP archive of what is in it, or such a folder on another machine.

    Attributes
    ----------
    about : dict
        What the store says of itself. Its ``files`` are those of arrays, with their sizes; a shard of zeros has none.

    Raises
    ------
    InputError
        When the store is not whole, of another version of pixfold, or no packed store.
    """

    def __init__(self, path: Place) -> None:
        self.name, self.path = str(path), path.resolve()
        self._files = files_of_store(self.path)
        self._lock = threading.RLock()
        self._pid, self._nodes = -1, dict[str, Any]()
        with self._explained("zarr.json"):
            self._stamp = self._now()
            self.about = self._node("").attrs.asdict().get(KEY)
        if not isinstance(self.about, dict):
            raise InputError(f"{path}: the store must be written by pixfold pack, got another Zarr store")
        if not self.about.get("complete"):
            raise InputError(
                f"{path}: this store is half-written: pixfold pack was interrupted; the same call again completes it"
            )
        if self.about.get("version") != VERSION:
            raise InputError(
                f"{path}: the store is of version {self.about.get('version')}, this pixfold reads version {VERSION}"
            )
        self._check_files()

    def array(self, key: str) -> Any:
        """Return an array, as zarr has it."""
        with self._explained(key):
            return self._node(key)

    def read(self, key: str, rows: slice) -> NDArray[Any]:
        """Read rows of an array of numbers, or raise InputError that names the file which is damaged."""
        with self._explained("zarr.json"):
            if self._now() != self._stamp:
                raise InputError(f"{self.name}: the store has changed since it was opened")
        array = self.array(key)
        for file, _ in files_of(array, rows):
            # What is not there would read as zeros.
            if file in self.about["files"] and not (self._files / file).exists():
                raise InputError(f"{self.name}: {file} is missing")
        try:
            return np.asarray(array[rows])
        except Exception as error:  # codecs raise whatever their libraries do
            raise self._damaged(array, rows, error) from error

    def element(self, key: str) -> Any:
        """Read a table or column, as anndata has it."""
        anndata = require("anndata", "io", "reading a packed store")
        with self._explained(key):
            root = self._node("")
            with zarr_settings(numbers=False):
                return anndata.io.read_elem(root[key])

    def group_attributes(self, key: str) -> dict[str, Any]:
        """Return the attributes of a group."""
        with self._explained(key):
            attributes: dict[str, Any] = self._node("")[key].attrs.asdict()
            return attributes

    def verify(self, progress: Progress | None = None) -> int:
        """Read everything, and have every checksum compared.

        Parameters
        ----------
        progress : Progress, optional
            Where bytes are counted; silent without it.

        Returns
        -------
        int
            Bytes of the files that were read.

        Raises
        ------
        InputError
            For the first file that is damaged.
        """
        files: dict[str, int] = self.about["files"]
        total = sum(files.values())
        with (progress or SilentProgress()).task("verifying", total=total) as task:
            for key in sorted({file.rsplit("/c/", 1)[0] for file in files}):
                array = self.array(key)
                for file, part in files_of(array):
                    try:
                        array[part]
                    except Exception as error:
                        raise self._damaged(array, part[0], error) from error
                    task.advance(files.get(file, 0))
        return total

    def __getstate__(self) -> dict[str, Any]:
        """Leave what is open behind: another process opens its own."""
        return {**self.__dict__, "_nodes": {}, "_pid": -1, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`__getstate__` left."""
        self.__dict__.update(state)
        self._lock = threading.RLock()

    def _node(self, key: str) -> Any:
        with self._lock:
            if self._pid != os.getpid():
                self._nodes, self._pid = {}, os.getpid()
            if key not in self._nodes:
                numbers = bool(key) and is_folder(self.path) and self._node("")[key].dtype.kind in "iuf"
                with zarr_settings(numbers=numbers) as zarr:
                    group = zarr.open_group(zarr_store(self.path), mode="r", use_consolidated=False)
                    self._nodes[key] = group[key] if key else group
            return self._nodes[key]

    def _now(self) -> tuple[int, int]:
        if isinstance(self.path, Address):
            return 0, 0  # what others do there goes unnoticed, but for the checksums
        found = os.stat(self.path if is_zipped(self.path) else self.path / "zarr.json")
        return found.st_size, found.st_mtime_ns

    def _check_files(self) -> None:
        """Look at every file once: one that is not there would read as zeros."""
        for file, size in self.about["files"].items():
            found = size_of(self._files / file)
            if found is None:
                raise InputError(f"{self.name}: {file} is missing")
            if found != size:
                raise InputError(f"{self.name}: {file} is damaged: it must be of {size:,} bytes, got {found:,}")

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        try:
            yield
        except (PixfoldError, MemoryError):
            raise
        except Exception as error:
            raise InputError(f"{self.name}: {what} is damaged or cut off ({reason_of(error)})") from error

    def _damaged(self, array: Any, rows: slice, error: Exception) -> InputError:
        """Find the file that cannot be read, by reading one after the other."""
        for file, part in files_of(array, rows):
            try:
                array[part]
            except Exception as reason:
                return InputError(
                    f"{self.name}: {file} is damaged ({_rows(array, part)}): {reason_of(reason)}; pack the data again"
                )
        return InputError(f"{self.name}: {array.path} cannot be read ({reason_of(error)})")


def _rows(array: Any, part: tuple[slice, ...]) -> str:
    """Name the chunk of a shard that cannot be read, by its rows."""
    step, rows = array.chunks[0], part[0]
    for start in range(rows.start, rows.stop, step):
        stop = min(start + step, rows.stop)
        try:
            array[(slice(start, stop), *part[1:])]
        except Exception:
            return f"{array.path}, chunk of {counted(stop - start, 'row')} from {start:,}"
    return str(array.path)
