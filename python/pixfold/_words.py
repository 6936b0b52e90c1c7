"""Small words of messages: names listed, things counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# How many names a message lists before it says how many there are besides.
_LISTED = 3


def listed(names: Sequence[Any], limit: int = _LISTED) -> str:
    """Names for a message: the first few, and how many there are besides."""
    shown = ", ".join(repr(str(name)) for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit:,} more"


def counted(count: int, word: str) -> str:
    """Return a number with its word: 1 sample, 2 samples."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"
