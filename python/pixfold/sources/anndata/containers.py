"""HDF5 files and Zarr stores as one thing: trees of groups and arrays, opened again in each process."""

from __future__ import annotations

import os
import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from pixfold.errors import InputError, PixfoldError
from pixfold.sources.disk.changes import Unchanged
from pixfold.sources.disk.zarr_files import Place
from pixfold.util.optional import require

_QUIET = threading.RLock()


@contextmanager
def quiet() -> Iterator[None]:
    """Hide what anndata and zarr say about their own future: nothing a user of pixfold can act on."""
    # The filters of warnings belong to the whole process: two threads would restore each other's.
    with _QUIET, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class Container(ABC):
    """A tree of groups and arrays with attributes, on disk.

    Groups and arrays are those of h5py or zarr, which answer alike to ``group[key]``, ``key in group``,
    ``attrs``, ``shape``, ``dtype``, ``chunks`` and slices.

    Parameters
    ----------
    path : Path or Address
        The file or folder, or a Zarr store on another machine.

    Attributes
    ----------
    kind : str
        "HDF5" or "Zarr".
    name : str
        How messages call it.
    holds : str
        What is in it, for messages.
    """

    kind: str
    holds: str = "AnnData"

    def __init__(self, path: Place) -> None:
        self.name = str(path)
        self.path = path.resolve()  # the working directory may change before the first read
        self._nodes: dict[str, Any] = {}
        self._pid = -1
        self._lock = threading.RLock()
        self._unchanged = Unchanged(self.name, *self._described_by(""))

    def node(self, key: str = "") -> Any:
        """Return a group or array, or the root: one that this process has opened."""
        with self._lock:
            if self._pid != os.getpid():
                self._nodes, self._pid = {}, os.getpid()
            if key not in self._nodes:
                with quiet():
                    self._nodes[key] = self._open(key)
            return self._nodes[key]

    @contextmanager
    def reading(self, what: str = "") -> Iterator[None]:
        """Read within this: errors of the libraries become an InputError that names the file and ``what``."""
        try:
            self._unchanged.check()
            with self._turn():
                yield
        except (PixfoldError, MemoryError):
            raise
        except Exception as error:
            # Codecs and parsers of metadata raise whatever their libraries do; a change explains any of it.
            self._unchanged.check()
            raise self._damaged(what, error) from error

    def watch(self, *keys: str) -> None:
        """Notice from now on when what is at these keys changes."""
        for key in keys:
            self._unchanged.add(*self._described_by(key))

    def absent(self, key: str) -> list[str]:
        """Files of chunks of an array that are not there; none where there is no such array."""
        return []

    def close(self) -> None:
        """Close what is open; the next read opens it again."""
        with self._lock:
            if self._pid == os.getpid():
                self._close()
            self._nodes = {}

    def _turn(self) -> Any:
        """Context in which one thread reads."""
        return nullcontext()

    def _close(self) -> None:
        return None

    @abstractmethod
    def _open(self, key: str) -> Any:
        """Open a group or array."""

    @abstractmethod
    def _described_by(self, key: str) -> list[Path]:
        """Files that are written anew when what is at ``key`` changes."""

    @abstractmethod
    def _damaged(self, what: str, error: Exception) -> InputError:
        """Say what is wrong, and where."""

    def __getstate__(self) -> dict[str, Any]:
        """Leave what is open behind: another process opens its own."""
        return {**self.__dict__, "_nodes": {}, "_pid": -1, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`__getstate__` left."""
        self.__dict__.update(state)
        self._lock = threading.RLock()


class Hdf5File(Container):
    """An HDF5 file. Its library lets one thread in at a time."""

    kind = "HDF5"

    def _open(self, key: str) -> Any:
        if key:
            return self.node()[key]
        h5py = require("h5py", "io", "reading HDF5 files (.h5ad, .h5)")
        return h5py.File(self.path, "r")

    def _close(self) -> None:
        if "" in self._nodes:
            self._nodes[""].close()

    def _turn(self) -> Any:
        return self._lock

    def _described_by(self, key: str) -> list[Path]:
        assert isinstance(self.path, Path)
        return [self.path]

    def _damaged(self, what: str, error: Exception) -> InputError:
        if isinstance(error, OSError):
            reason = os.strerror(error.errno) if error.errno else "the HDF5 file is damaged or cut off"
            return InputError(f"{self.name}: cannot read {what or 'the file'}: {reason}")
        return InputError(f"{self.name}: {what or 'the file'} is damaged or no {self.holds} ({error})")
