"""The files of a Zarr store, in a folder, a ZIP archive or on another machine, and the store as zarr opens it."""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pixfold.errors import InputError
from pixfold.util.optional import require
from pixfold.util.text import reason_of

# Files one of which is at the top of every store.
ROOTS = ("zarr.json", ".zgroup", ".zarray")


@dataclass(frozen=True)
class Address:
    """A Zarr store on another machine, with as much of what a path does as those who open stores ask of it.

    Attributes
    ----------
    url : str
        Such as ``s3://bucket/x.zarr``.
    sizes : dict of str to int
        Its files, relative to it, and their sizes in bytes, as they were when it was opened.
    """

    url: str
    sizes: dict[str, int] = field(repr=False)

    def __str__(self) -> str:
        return self.url

    def resolve(self) -> Address:
        """Return itself: an address is the same in every working directory."""
        return self


@dataclass(frozen=True)
class Listed:
    """A place in a store whose files are listed once, with as much of what a path does as a reader asks of it."""

    sizes: dict[str, int] = field(repr=False)
    key: str = ""

    def __truediv__(self, part: str | Path) -> Listed:
        return Listed(self.sizes, f"{self.key}/{part}".strip("/"))

    def __str__(self) -> str:
        return self.key

    def exists(self) -> bool:
        """Tell whether there is such a file."""
        return self.key in self.sizes


Files = Path | Listed
Place = Path | Address


def is_zipped(path: Place) -> bool:
    """Tell whether a store is in a ZIP archive: it is then a file."""
    return isinstance(path, Path) and path.is_file()


def is_folder(path: Place) -> bool:
    """Tell whether a store is a folder of this machine."""
    return isinstance(path, Path) and not path.is_file()


def files_of_store(path: Place) -> Files:
    """Return the root of a store's files.

    Raises
    ------
    InputError
        When it is an archive that is damaged, or that holds no store at its top.
    """
    if isinstance(path, Address):
        return Listed(path.sizes)
    if not is_zipped(path):
        return path
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {file.filename: file.file_size for file in archive.infolist()}
    except (zipfile.BadZipFile, OSError) as error:
        raise InputError(f"{path}: the ZIP archive file is damaged or cut off ({reason_of(error)})") from error
    if not any(root in sizes for root in ROOTS):
        raise InputError(
            f"{path}: the archive must hold zarr.json or .zgroup at its top, got others; pack what is in the folder of "
            "the store, not the folder: cd x.zarr && zip -r0 ../x.zarr.zip ."
        )
    return Listed(sizes)


def files_below(folder: Files) -> set[str]:
    """Name all files in a folder, and in the folders in it."""
    if isinstance(folder, Listed):
        return {name for name in folder.sizes if name.startswith(f"{folder.key}/" if folder.key else "")}
    return {os.path.join(base, file) for base, _, files in os.walk(folder) for file in files}


def size_of(file: Files) -> int | None:
    """Return the size of a file in bytes; None where there is none."""
    if isinstance(file, Listed):
        return file.sizes.get(file.key)
    try:
        return os.stat(file).st_size
    except OSError:
        return None


def zarr_store(path: Place) -> Any:
    """Return what zarr opens a store from."""
    if is_folder(path):
        return str(path)
    storage = require("zarr.storage", "io", "reading Zarr stores")
    if isinstance(path, Address):
        return storage.FsspecStore.from_url(path.url, read_only=True)
    return storage.ZipStore(path, mode="r")
