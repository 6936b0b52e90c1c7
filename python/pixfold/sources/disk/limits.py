"""How much of a table may be held in memory while it is opened; what is more goes to temporary files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# Without a budget, and at most.
LARGEST = 256 * 2**20
# Of a budget: what is held stands beside a block of text, its cells, and what they are copied to.
_PARTS = 4

_BUDGET: ContextVar[int | None] = ContextVar("budget", default=None)


@contextmanager
def within(memory: int | None) -> Iterator[None]:
    """Open sources within a budget of so many bytes; None for none."""
    if memory is None:
        yield
        return
    before = _BUDGET.set(memory)
    try:
        yield
    finally:
        _BUDGET.reset(before)


def budget() -> int | None:
    """Return the budget in bytes; None where there is none."""
    return _BUDGET.get()


def held() -> int:
    """Return how many bytes of values may be held before a file takes them."""
    memory = _BUDGET.get()
    return LARGEST if memory is None else min(LARGEST, memory // _PARTS)
