"""What the user asked of the command line itself: how much it says, in which form, and with which options."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Of one call of a command.

    Parameters
    ----------
    quiet, verbose : bool
        No progress; or every step, and the warnings of other packages.
    json : bool
        One JSON object on standard output, everything else on standard error.
    debug : bool
        Errors keep their traceback.
    options : mapping
        Options of the command by the names that ``--config`` takes, those that have a value.
    """

    quiet: bool = False
    verbose: bool = False
    json: bool = False
    debug: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


_DEFAULTS = Settings()
_current: ContextVar[Settings] = ContextVar("settings", default=_DEFAULTS)


def settings() -> Settings:
    """Return the settings of the command that runs; the defaults where none does."""
    return _current.get()


@contextmanager
def using(chosen: Settings) -> Iterator[None]:
    """Make these the settings while the block runs."""
    token = _current.set(chosen)
    try:
        yield
    finally:
        _current.reset(token)
