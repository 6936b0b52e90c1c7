"""Files that change while they are read: what was read is of neither version."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pixfold.errors import InputError


@contextmanager
def unchanged(path: Path) -> Iterator[None]:
    """Raise InputError when the file at ``path`` is another, or of another size or time, at the end.

    Errors of reading it give way to this one: they would blame the file for what its writer had not finished.
    """
    before = _stamp(path)
    try:
        yield
    except InputError as error:
        if _stamp(path) != before:
            raise _changed(path) from error
        raise
    if _stamp(path) != before:
        raise _changed(path)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _changed(path: Path) -> InputError:
    return InputError(f"{path}: the file changed while it was read; read it again once it is whole")
