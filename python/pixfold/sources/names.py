"""Names of features as options hold them: in a list, with commas between them, or in files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pixfold.errors import InputError
from pixfold.util.text import must_be


class Names(tuple[str, ...]):
    """Names and patterns, those of files read."""

    __slots__ = ()


def names_of(option: str, given: Any) -> Names:
    """Names and patterns that an option holds, those of files read: one per line.

    Parameters
    ----------
    option : str
        For messages.
    given : str or sequence of str
        Names with commas between them, or a sequence of names. One that begins with @, or is a path with a folder or an
        ending .txt that exists, is a file of names.

    Raises
    ------
    InputError
        When it is no text, holds no name, or a file cannot be read.
    """
    if isinstance(given, Names):
        return given
    if not isinstance(given, str | Path) and not (
        isinstance(given, Sequence) and all(isinstance(name, str) for name in given)
    ):
        raise InputError(must_be("open_source", option, "names or patterns of features", given))
    parts = str(given).split(",") if isinstance(given, str | Path) else list(given)
    names: list[str] = []
    for part in parts:
        text = str(part).strip()
        if text.startswith("@"):
            names += _lines(option, Path(text[1:]))
        elif ("/" in text or text.lower().endswith((".txt", ".csv", ".tsv"))) and Path(text).is_file():
            names += _lines(option, Path(text))
        elif text:
            names.append(text)
    if not names:
        raise InputError(f"open_source: {option} must hold a name, got {given!r}")
    return Names(dict.fromkeys(names))


def _lines(option: str, path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path}: the names of {option} must be text in UTF-8, got other bytes") from None
    except OSError as error:
        raise InputError(f"{path}: cannot read the names of {option}: {error.strerror or error}") from error
    names = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not names:
        raise InputError(f"{path}: must hold a name per line for {option}, got none")
    return names
