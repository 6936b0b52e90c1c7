"""Files that change while they are read: what was read is of neither version."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pixfold.errors import InputError

_Stamp = tuple[int, int, int]


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


class Unchanged:
    """Files as they were when a source was opened: what is read of them later must be of the same data.

    Parameters
    ----------
    name : str
        The source, for messages.
    *paths : Path
        Its files; of a store of many files those that describe the others.

    Raises
    ------
    InputError
        When one of them cannot be found.
    """

    def __init__(self, name: str, *paths: Path) -> None:
        self._name = name
        self._seen: dict[Path, _Stamp] = {}
        self.add(*paths)

    def add(self, *paths: Path) -> None:
        """Note more files."""
        for path in map(Path.resolve, paths):
            self._seen.setdefault(path, self._now(path))

    def check(self) -> None:
        """Raise InputError when a file is gone, or is another, or of another size or time than it was."""
        for path, seen in self._seen.items():
            if self._now(path) != seen:
                raise InputError(f"{self._name}: {path.name} changed while it was read; open it again")

    def _now(self, path: Path) -> _Stamp:
        if (stamp := _stamp(path)) is None:
            raise InputError(f"{self._name}: {path.name} is not there any more")
        return stamp


def _stamp(path: Path) -> _Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _changed(path: Path) -> InputError:
    return InputError(f"{path}: the file changed while it was read; read it again once it is whole")
