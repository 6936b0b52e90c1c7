"""The files of a Zarr store, in a folder or in a ZIP archive, and the store as zarr opens it."""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pixfold.errors import InputError
from pixfold.util.optional import require
from pixfold.util.text import reason_of

_ROOTS = ("zarr.json", ".zgroup", ".zarray")


@dataclass(frozen=True)
class ZipEntry:
    """A place in a ZIP archive, with as much of what a path does as a reader of stores asks of it."""

    sizes: dict[str, int] = field(repr=False)
    key: str = ""

    def __truediv__(self, part: str | Path) -> ZipEntry:
        return ZipEntry(self.sizes, f"{self.key}/{part}".strip("/"))

    def __str__(self) -> str:
        return self.key

    def exists(self) -> bool:
        """Tell whether there is such a file."""
        return self.key in self.sizes


Files = Path | ZipEntry


def is_zipped(path: Path) -> bool:
    """Tell whether a store is in a ZIP archive: it is then a file."""
    return path.is_file()


def files_of_store(path: Path) -> Files:
    """Return the root of a store's files.

    Raises
    ------
    InputError
        When it is an archive that is damaged, or that holds no store at its top.
    """
    if not is_zipped(path):
        return path
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {file.filename: file.file_size for file in archive.infolist()}
    except (zipfile.BadZipFile, OSError) as error:
        raise InputError(f"{path}: the ZIP archive file is damaged or cut off ({reason_of(error)})") from error
    if not any(root in sizes for root in _ROOTS):
        raise InputError(
            f"{path}: the archive must hold zarr.json or .zgroup at its top, got others; pack what is in the folder of "
            "the store, not the folder: cd x.zarr && zip -r0 ../x.zarr.zip ."
        )
    return ZipEntry(sizes)


def files_below(folder: Files) -> set[str]:
    """Name all files in a folder, and in the folders in it."""
    if isinstance(folder, ZipEntry):
        return {name for name in folder.sizes if name.startswith(f"{folder.key}/" if folder.key else "")}
    return {os.path.join(base, file) for base, _, files in os.walk(folder) for file in files}


def size_of(file: Files) -> int | None:
    """Return the size of a file in bytes; None where there is none."""
    if isinstance(file, ZipEntry):
        return file.sizes.get(file.key)
    try:
        return os.stat(file).st_size
    except OSError:
        return None


def zarr_store(path: Path) -> Any:
    """Return what zarr opens a store from."""
    if not is_zipped(path):
        return str(path)
    return require("zarr.storage", "io", "reading Zarr stores").ZipStore(path, mode="r")
