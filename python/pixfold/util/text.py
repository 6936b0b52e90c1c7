"""The wording of messages: their one grammar, values shown, names listed, things counted."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Sequence
from typing import Any

# reprlib cuts long values, and copes with a __repr__ that raises: a message must always come out.
_VALUES = reprlib.Repr()
_VALUES.maxstring = _VALUES.maxother = 120
_LONGEST = 300


def must_be(op: str, argument: str, expected: str, received: Any) -> str:
    """Return the message of an argument that is refused: ``OP: ARGUMENT must be EXPECTED, got RECEIVED``.

    All messages about bad input have this grammar. Where a value alone does not say what is wrong, write the
    same words by hand: ``f"fold: layout must have {n} features, got {m}"``.

    Parameters
    ----------
    op : str
        The function or class that refuses, as users call it; or the file that it reads.
    argument : str
        What is refused.
    expected : str
        What is accepted, such as ``"a positive integer"`` or ``one_of(names)``.
    received
        The value that was passed, of any kind.
    """
    return f"{op}: {argument} must be {expected}, got {short_repr(received)}"


def one_of(names: Iterable[str]) -> str:
    """Return the choices of an argument, as a message lists them."""
    return f"one of {', '.join(names)}"


def listed(names: Sequence[Any], limit: int = 3) -> str:
    """Return the first `limit` names for a message, and the number of those besides."""
    shown = ", ".join(repr(str(name)) for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit:,} more"


def counted(count: int, word: str) -> str:
    """Return a number with its word: 1 sample, 2 samples."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def short_repr(value: Any) -> str:
    """Return the repr of a value for a message: on one line, and cut where it is long."""
    return " ".join(_VALUES.repr(value).split())


def reason_of(error: BaseException | str) -> str:
    """Return what an error says, on one line; its type where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def reason_in_short(error: BaseException | str) -> str:
    """Return what an error says, on one line that is cut where it lists everything."""
    text = reason_of(error)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
