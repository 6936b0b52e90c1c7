"""What pixfold writes: recognised by its mark, replaced by its like alone, written by one process at a time."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pixfold.errors import InputError, OutputError
from pixfold.util.text import must_be

# The kinds of output, as messages call them.
PACKED, IMAGES, RUN = "a packed store", "images", "a run"

# Key in the attributes of a Zarr store, and in the description of images in .npy files and of a run.
MARK = "pixfold"
# Key of a run's config.json that says which job the run is of.
IDENTITY = "identity"


def path_of(op: str, argument: str, path: Any) -> Path:
    """Return a path that was given as an argument."""
    if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str) or not os.fspath(path):
        raise InputError(must_be(op, argument, "a path", path))
    return Path(path)


@contextmanager
def claimed(path: Path, kind: str, *, force: bool, beside: Sequence[Path] = ()) -> Iterator[None]:
    """Hold the sole right to write an output, which :func:`check_replaceable` allows."""
    check_replaceable(path, kind, force=force, beside=beside)
    with locked(path):
        # The process that had the lock until now may have written it.
        check_replaceable(path, kind, force=force, beside=beside)
        yield


def check_replaceable(path: Path, kind: str, *, force: bool, beside: Sequence[Path] = ()) -> None:
    """Refuse an output that would cost a user's files.

    What exists is replaced where `force` is given, it bears pixfold's mark, it is of the same kind, and it holds
    nothing that pixfold has not written. An empty folder counts as a store. A link is never replaced, nor what it
    leads to.

    Parameters
    ----------
    path : Path
        The file or folder to write.
    kind : {PACKED, IMAGES}
        What is to be written.
    force : bool
        Whether the user wants to replace what exists.
    beside : sequence of Path
        Files that belong to a file `path`; the last one bears the mark.

    Raises
    ------
    OutputError
        When something is there that may not be replaced, or the folder of `path` does not exist.
    """
    if not path.absolute().parent.is_dir():
        raise OutputError(f"cannot write {path}: there is no folder {path.absolute().parent}")
    there = [target for target in (path, *beside) if os.path.lexists(target)]
    for target in there:
        if target.is_symlink():
            raise OutputError(f"cannot write {path}: {target} is a link; name the place that it leads to")
    if there and not force:
        raise OutputError(f"cannot write {path}: {there[0]} exists; --force (force=True) replaces it")
    # A process that was killed as it began leaves Zarr's *.partial alone.
    if not there or (path.is_dir() and all(entry.name.endswith(".partial") for entry in path.iterdir())):
        return
    if beside and not any(target.is_dir() for target in there):
        found: str | None = IMAGES if _marked_images(_json(beside[-1])) else None
    else:
        found = kind_of(path) if path.is_dir() else None
    if found != kind:
        what = found or ("a folder of something else" if path.is_dir() else "a file that pixfold has not written")
        raise OutputError(f"cannot write {path}: it must be {kind} of pixfold's to be replaced, got {what}; it stays")
    foreign = _foreign(path) if path.is_dir() else None
    if foreign is not None:
        raise OutputError(
            f"cannot write {path}: it must hold nothing but {kind} to be replaced, got {foreign}; move that away first"
        )


def check_table(file: Path, beginnings: str | Sequence[str], *, force: bool) -> None:
    """Refuse a table that would cost a user's file; what begins as pixfold's tables do may be replaced.

    Parameters
    ----------
    file : Path
        The .csv file to write.
    beginnings : str, or sequence of str
        What such a table begins with, by which it is recognised: one of these.
    force : bool
        Whether the user wants to replace what exists.

    Raises
    ------
    OutputError
        When something is there that may not be replaced, or the folder does not exist.
    """
    if not file.absolute().parent.is_dir():
        raise OutputError(f"cannot write {file}: there is no folder {file.absolute().parent}")
    if file.is_symlink():
        raise OutputError(f"cannot write {file}: {file} is a link; name the place that it leads to")
    if not file.exists():
        return
    if not force:
        raise OutputError(f"cannot write {file}: {file} exists; --force (force=True) replaces it")
    known = tuple(text.encode() for text in ([beginnings] if isinstance(beginnings, str) else beginnings))
    try:
        with file.open("rb") as opened:
            own = opened.read(max(map(len, known))).startswith(known)
    except OSError:
        own = False
    if not own:
        raise OutputError(
            f"cannot write {file}: it must be a table of pixfold's to be replaced, got a file that pixfold has not "
            "written; it stays"
        )


def check_run_folder(folder: Path, files: Sequence[str]) -> None:
    """Refuse a folder where `files` of a run would replace files that are not of a run; others in it stay.

    Raises
    ------
    OutputError
        When one of `files` is there and no description of a run that pixfold has written.
    """
    there = [file for file in files if os.path.lexists(folder / file)]
    if there and kind_of(folder) != RUN:
        raise OutputError(f"cannot write {folder}: its {there[0]} is not of a run of pixfold's; choose another folder")


def check_no_run(folder: Path, *, force: bool) -> None:
    """Refuse a folder that holds a run, unless the user wants it replaced.

    Raises
    ------
    OutputError
        When a run that pixfold has written is there and `force` is not given.
    """
    if not force and kind_of(folder) == RUN:
        raise OutputError(f"output folder {folder}: it holds a run; --force replaces it, or choose another folder")


def run_identity(folder: Path) -> dict[str, Any] | None:
    """Which job the run in a folder is of, as it says itself; None where there is no run, or one that does not say."""
    identity = _json(folder / "config.json").get(IDENTITY) if kind_of(folder) == RUN else None
    return identity if isinstance(identity, dict) else None


def kind_of(folder: Path) -> str | None:
    """What pixfold has written into a folder: PACKED, IMAGES, RUN, or None where its mark is missing."""
    attributes = _json(folder / "zarr.json").get("attributes")
    if isinstance(attributes, dict):
        if _marked_images(attributes):
            return IMAGES
        return PACKED if isinstance(attributes.get(MARK), dict) else None
    versions = _json(folder / "metrics.json").get("versions")  # of runs of earlier versions
    marked = MARK in _json(folder / "config.json") or (isinstance(versions, dict) and MARK in versions)
    return RUN if marked else None


def _marked_images(attributes: dict[str, Any]) -> bool:
    return MARK in attributes and attributes.get("kind") == "images"


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _foreign(store: Path) -> Path | None:
    """A file in a Zarr v3 store that Zarr does not write: neither metadata nor a chunk of an array."""
    for folder, _, files in os.walk(store):
        here = Path(folder)
        within = here.relative_to(store).parts
        # An array's chunks are its file "c", or are below its folder "c".
        chunks = any(
            name == "c" and (store.joinpath(*within[:depth]) / "zarr.json").exists()
            for depth, name in enumerate(within)
        )
        for file in files:
            # The last two are of a store that is still being written.
            own = file in ("zarr.json", "c") or chunks or file.endswith(".partial") or (not within and "part." in file)
            if not own:
                return here / file
    return None


@contextmanager
def locked(path: Path, lock: Path | None = None) -> Iterator[None]:
    """Hold the sole right to write `path`.

    The operating system keeps the lock and gives it up when the process ends, however it ends; a lock file that a
    killed process leaves behind means nothing. On a file system without locks nothing is held.

    Parameters
    ----------
    path : Path
        What is written.
    lock : Path, optional
        The lock file. Default: a hidden one beside `path`.

    Raises
    ------
    OutputError
        When another process holds the lock, or the lock file cannot be made.
    """
    lock = path.absolute().with_name(f".{path.absolute().name}.lock") if lock is None else lock
    while True:
        try:
            handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
        try:
            _take(handle)
        except BlockingIOError:
            os.close(handle)
            raise OutputError(f"cannot write {path}: another process of pixfold is writing it") from None
        except OSError:  # Lustre without its option "flock", say
            pass
        if _is_open(handle, lock):
            break
        os.close(handle)  # who had the lock has removed the file meanwhile
    try:
        yield
    finally:
        if sys.platform != "win32":
            lock.unlink(missing_ok=True)
        os.close(handle)  # Windows removes no file that is open, and an old one means nothing


def _take(handle: int) -> None:
    """Lock an open file, or raise BlockingIOError where another process has it."""
    # Each system has a module of its own for this, and not the other's.
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError from error
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_open(handle: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), file.stat())
    except FileNotFoundError:
        return False
