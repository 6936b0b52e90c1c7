"""Progress of long loops: bars on a terminal, log lines elsewhere, silence in a library."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from pixfold.util.optional import require

T = TypeVar("T")

# Seconds from which it is worth saying that something is done.
_WORTH_A_LINE = 1.0


class Task(Protocol):
    """One long loop."""

    def advance(self, steps: float = 1.0, **fields: object) -> None:
        """Count ``steps`` more as done; ``fields`` are shown beside the bar (``loss=0.3``)."""


class Progress(Protocol):
    """Where long loops report to."""

    def task(self, description: str, total: float) -> Any:
        """Context manager that yields a :class:`Task`."""

    def log(self, message: str) -> None:
        """Show one line."""


class _SilentTask:
    def advance(self, steps: float = 1.0, **fields: object) -> None:
        pass


class SilentProgress:
    """Says nothing: the default when pixfold is used as a library."""

    @contextmanager
    def task(self, description: str, total: float) -> Iterator[Task]:
        """Count a long loop; see :class:`Progress`."""
        yield _SilentTask()

    def log(self, message: str) -> None:
        """Show one line; see :class:`Progress`."""


def _shown(fields: dict[str, object]) -> str:
    return " ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in fields.items())


class LogProgress:
    """Plain lines on standard error: at most one per task every ``interval`` seconds, and one at its end.

    The last one is left out where a task has nothing to show but that it took no time.
    """

    def __init__(self, interval: float = 10.0) -> None:
        self.interval = interval

    @contextmanager
    def task(self, description: str, total: float) -> Iterator[Task]:
        """Count a long loop; see :class:`Progress`."""
        task = _LogTask(description, total, self)
        yield task
        task.finish()

    def log(self, message: str) -> None:
        """Show one line; see :class:`Progress`."""
        print(message, file=sys.stderr, flush=True)


class _LogTask:
    def __init__(self, description: str, total: float, parent: LogProgress) -> None:
        self.description, self.total, self.parent = description, total, parent
        self.done, self.fields = 0.0, ""
        self.start = self.last = time.monotonic()

    def advance(self, steps: float = 1.0, **fields: object) -> None:
        self.done += steps
        if fields:
            self.fields = _shown(fields)
        now = time.monotonic()
        if now - self.last >= self.parent.interval:
            self.last = now
            rate = self.done / max(now - self.start, 1e-9)
            left = max(self.total - self.done, 0.0) / max(rate, 1e-9)
            self._line(f"{self.done:.12g}/{self.total:.12g}, {rate:.3g}/s, about {left:.0f} s left")

    def finish(self) -> None:
        took = time.monotonic() - self.start
        if self.fields or took >= _WORTH_A_LINE:
            self._line(f"done in {took:.1f} s")

    def _line(self, text: str) -> None:
        self.parent.log(f"{self.description}: {text}{f'  {self.fields}' if self.fields else ''}")


class RichProgress:
    """Rich progress bars with rate and time left, for a terminal."""

    def __init__(self) -> None:
        self._console = require("rich.console", "train", "a progress bar").Console(stderr=True)

    @contextmanager
    def task(self, description: str, total: float) -> Iterator[Task]:
        """Count a long loop; see :class:`Progress`."""
        rich = require("rich.progress", "train", "a progress bar")
        columns = (
            rich.TextColumn("{task.description}"),
            rich.BarColumn(bar_width=28),
            rich.TaskProgressColumn(show_speed=True),
            rich.TimeElapsedColumn(),
            rich.TimeRemainingColumn(),
            rich.TextColumn("{task.fields[shown]}"),
        )
        with rich.Progress(*columns, console=self._console) as bar:
            number = bar.add_task(description, total=total, shown="")
            yield _RichTask(bar, number)
            bar.update(number, completed=total)

    def log(self, message: str) -> None:
        """Show one line; see :class:`Progress`."""
        self._console.print(message, highlight=False, markup=False)


class _RichTask:
    def __init__(self, bar: Any, number: Any) -> None:
        self.bar, self.number = bar, number

    def advance(self, steps: float = 1.0, **fields: object) -> None:
        if fields:
            self.bar.update(self.number, advance=steps, shown=_shown(fields))
        else:
            self.bar.update(self.number, advance=steps)


def tracked(batches: Iterable[T], progress: Progress | None, description: str, total: int) -> Iterator[T]:
    """Go through batches, `total` of them, and count each when it is done with."""
    with (progress or SilentProgress()).task(description, total) as task:
        for batch in batches:
            yield batch
            del batch
            task.advance(1)


_shown_on: list[Progress] = [SilentProgress()]


@contextmanager
def shown_on(progress: Progress) -> Iterator[None]:
    """Have loops report there that nobody hands a progress to: within sources, which read when they are asked to.

    It holds for the whole process, because sources are read from threads of their own.
    """
    _shown_on.append(progress)
    try:
        yield
    finally:
        _shown_on.remove(progress)


def source_task(description: str, total: float, least: float) -> Any:
    """Context manager that yields the :class:`Task` of a loop within a source; silent below ``least`` steps."""
    return (_shown_on[-1] if total >= least else _shown_on[0]).task(description, total)


def terminal_progress() -> Progress:
    """Bars when standard error is a terminal, log lines when it is not."""
    return RichProgress() if sys.stderr.isatty() else LogProgress()
