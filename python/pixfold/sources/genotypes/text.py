"""Lines and fields of the text files beside genotypes, which spaces or tabs separate."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from pixfold.errors import InputError, PixfoldError
from pixfold.util.optional import require
from pixfold.util.text import reason_of


def beside(path: Path, *suffixes: str) -> Path:
    """Return the file beside another that has the first of these suffixes, or raise InputError that names all."""
    stem = path.with_suffix("")
    others = [stem.with_name(stem.name + suffix) for suffix in suffixes]
    found = next((other for other in others if other.exists()), None)
    if found is None:
        raise InputError(f"{path}: there is no {' or '.join(other.name for other in others)} beside it")
    return found


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a text file with their numbers, of one that is compressed (.zst) too."""
    with _explained(path), _opened(path) as file:
        yield from enumerate(file, 1)


def rows_of(
    path: Path,
    columns: Sequence[str],
    *,
    skip: Callable[[str], bool] = lambda line: False,
    n_header: int = 0,
) -> Iterator[list[str]]:
    """Yield the first fields of every line, as many as there are columns.

    Parameters
    ----------
    path : Path
        The file.
    columns : sequence of str
        Names of the fields, for messages.
    skip : callable
        Tells which lines are left out.
    n_header : int
        Lines at the beginning that are left out beside them.

    Raises
    ------
    InputError
        With the number of the line that holds too few fields, or none although others follow.
    """
    n, ended = len(columns), 0
    for number, line in lines_of(path):
        fields = line.split(None, n)
        if not fields:
            ended = ended or number
            continue
        if skip(line):
            continue
        if n_header:
            n_header -= 1
            continue
        if ended:
            raise InputError(f"{path}: line {ended} must hold {', '.join(columns)}, got nothing")
        if len(fields) < n:
            raise InputError(f"{path}: line {number} must hold {n} columns ({', '.join(columns)}), got {len(fields)}")
        yield fields[:n]


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (PixfoldError, MemoryError, GeneratorExit):
        raise
    except UnicodeDecodeError:
        raise InputError(f"{path}: the file must be text in UTF-8, got other bytes") from None
    except OSError as error:
        if error.errno is None:  # of what is in a compressed file, not of the file itself
            raise InputError(f"{path}: the file is damaged or cut off ({reason_of(error)})") from error
        raise InputError(f"{path}: cannot read the file: {error.strerror or error}") from error


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    if path.suffix != ".zst":
        with path.open(encoding="utf-8-sig") as file:  # a byte order mark is no part of the first field
            yield file
        return
    pyarrow = require("pyarrow", "io", "reading compressed files")
    with pyarrow.input_stream(str(path), compression="zstd") as plain:
        yield io.TextIOWrapper(plain, encoding="utf-8-sig")
