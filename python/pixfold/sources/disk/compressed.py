"""Compressed files, read as streams: which there are, how they begin, and what their damage looks like."""

from __future__ import annotations

import bz2
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from pixfold.errors import InputError, PixfoldError
from pixfold.util.optional import require
from pixfold.util.text import listed, reason_of

# What systems put into archives beside what a user put there.
_NOT_MEMBERS = ("__MACOSX/", ".DS_Store", "Thumbs.db", "desktop.ini")


class Compression(NamedTuple):
    """One way to compress a file.

    ``name`` is its word in messages. ``codec`` is what pyarrow calls it, where that reads it; else ``open`` makes a
    stream of the path and of the stream of its bytes.
    """

    name: str
    codec: str = ""
    open: Callable[[Path, Any], Any] = lambda _, raw: raw


def _zipped(path: Path, raw: Any) -> Any:
    archive = zipfile.ZipFile(raw)
    return archive.open(member_of(path, archive.namelist()))


def _xz(_: Path, raw: Any) -> Any:
    return lzma.LZMAFile(raw)


COMPRESSIONS = {
    ".gz": Compression("gzip", codec="gzip"),
    ".zst": Compression("Zstandard", codec="zstd"),
    ".bz2": Compression("bzip2", open=lambda _, raw: bz2.BZ2File(raw)),
    ".xz": Compression("xz", open=_xz),
    ".zip": Compression("a ZIP archive", open=_zipped),
}
# What reading a damaged one raises. An OSError about the file itself, not about what it holds, has a number.
_DAMAGE = (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, NotImplementedError, OSError)


def without_compression(path: Path) -> str:
    """Return the name of a file in small letters, without the ending of its compression."""
    name = path.name.lower()
    return name.removesuffix(path.suffix.lower()) if path.suffix.lower() in COMPRESSIONS else name


def member_of(path: Path, names: list[str]) -> str:
    """Return the one file in a ZIP archive.

    Raises
    ------
    InputError
        When there is none, or several.
    """
    files = [name for name in names if not name.endswith("/") and not any(part in name for part in _NOT_MEMBERS)]
    if len(files) != 1:
        raise InputError(
            f"{path}: the archive must hold one file, got {listed(files, 10) if files else 'no file'}"
            + ("; unpack it and name the one to read" if files else "")
        )
    return files[0]


@contextmanager
def opened(path: Path) -> Iterator[tuple[Any, Callable[[], int]]]:
    """Open a file for reading what was compressed, if it was.

    Yields
    ------
    file : binary file
        What was compressed.
    position : callable
        Says how many bytes of the file itself were read so far.
    """
    pyarrow = require("pyarrow", "io", "reading .csv and .tsv files")
    compression = COMPRESSIONS.get(path.suffix.lower())
    with ExitStack() as stack:
        if compression is None or compression.codec:
            raw = file = stack.enter_context(pyarrow.OSFile(str(path)))
            if compression is not None:
                file = stack.enter_context(pyarrow.CompressedInputStream(raw, compression.codec))
        else:
            raw = stack.enter_context(path.open("rb"))
            file = stack.enter_context(compression.open(path, raw))
        yield file, raw.tell


@contextmanager
def decompressing(path: Path) -> Iterator[None]:
    """Turn what is raised for a file that is damaged, or cannot be read, into an InputError."""
    compression = COMPRESSIONS.get(path.suffix.lower())
    try:
        yield
    except PixfoldError:
        raise
    except _DAMAGE as error:
        if isinstance(error, OSError) and (error.errno is not None or compression is None):
            raise InputError(f"{path}: cannot read the file: {error.strerror or reason_of(error)}") from error
        if compression is None:
            raise
        what = compression.name.removeprefix("a ")
        raise InputError(f"{path}: the {what} file is damaged or cut off ({reason_of(error)})") from error
    except RuntimeError as error:
        if "password" not in str(error):
            raise
        raise InputError(f"{path}: the archive is encrypted; unpack it and name the file to read") from error
