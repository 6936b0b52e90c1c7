"""Files that are read while they are opened, as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pixfold.errors import InputError
from pixfold.sources.base import Unchanged


@contextmanager
def unchanged(path: Path) -> Iterator[None]:
    """Raise InputError when the file at ``path`` has another size or time of change at the end.

    Errors of reading it give way to this one: they would blame the file for what its writer had not finished.
    """
    file = Unchanged(str(path), path)
    try:
        yield
    except InputError as error:
        try:
            file.check()
        except InputError as changed:
            raise changed from error
        raise
    file.check()
