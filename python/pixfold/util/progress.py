"""Progress of long loops: bars on a terminal, log lines elsewhere, silence in a library."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from pixfold.util.optional import require

T = TypeVar("T")

# A task that took fewer seconds, and has no fields to show, gets no line at its end.
_WORTH_A_LINE = 1.0


class Task(Protocol):
    """One long loop."""

    def advance(self, steps: float = 1.0, **fields: object) -> None:
        """Count ``steps`` more as done, and show ``fields`` beside the bar (``loss=0.3``)."""


class Progress(Protocol):
    """Shows how far long loops are."""

    def task(self, description: str, total: float) -> Any:
        """Return a context manager that yields the :class:`Task` of a loop of ``total`` steps."""

    def log(self, message: str) -> None:
        """Show one line."""


class _SilentTask:
    def advance(self, steps: float = 1.0, **fields: object) -> None:
        pass


class SilentProgress:
    """Shows nothing: the default when pixfold is used as a library."""

    @contextmanager
    def task(self, description: str, total: float) -> Iterator[Task]:
        """Count a long loop; see :class:`Progress`."""
        yield _SilentTask()

    def log(self, message: str) -> None:
        """Show one line; see :class:`Progress`."""


def _shown(fields: dict[str, object]) -> str:
    return " ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in fields.items())


class LogProgress:
    """Shows plain lines on standard error: one per task every ``interval`` seconds at most, and one at its end.

    A task that took less than a second and has no fields to show gets no line, unless ``every_task`` is set.
    """

    def __init__(self, interval: float = 10.0, *, every_task: bool = False) -> None:
        self.interval, self.every_task = interval, every_task

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
        if self.fields or took >= _WORTH_A_LINE or self.parent.every_task:
            self._line(f"done in {took:.1f} s")

    def _line(self, text: str) -> None:
        self.parent.log(f"{self.description}: {text}{f'  {self.fields}' if self.fields else ''}")


class RichProgress:
    """Shows bars with rate and time left on a terminal."""

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
    """Yield each of `total` batches, and count it when the next one is asked for."""
    with (progress or SilentProgress()).task(description, total) as task:
        for batch in batches:
            yield batch
            del batch
            task.advance(1)


def warn_at_once(progress: Progress, message: str) -> None:
    """Show a warning before the work goes on: by a method ``warn``, where the progress has one, else as a line."""
    warn = getattr(progress, "warn", None)
    if warn is not None:
        warn(message)
    else:
        progress.log(f"warning: {message}")


_shown_on: list[Progress] = [SilentProgress()]


@contextmanager
def shown_on(progress: Progress) -> Iterator[None]:
    """Show the loops of sources on `progress` while the block runs.

    Sources read when somebody asks them to, in threads of their own, and nobody hands them a progress. So this holds
    for the whole process.
    """
    _shown_on.append(progress)
    try:
        yield
    finally:
        _shown_on.remove(progress)


def shown_progress() -> Progress:
    """Return what loops are shown on in the block of :func:`shown_on`; silent outside of it."""
    return _shown_on[-1]


def source_task(description: str, total: float, least: float) -> Any:
    """Return a context manager that yields the :class:`Task` of a source's loop; silent below ``least`` steps."""
    return (_shown_on[-1] if total >= least else _shown_on[0]).task(description, total)


# Between two lines of one task, for who wants to see every step.
_OFTEN = 2.0


def terminal_progress(*, every_step: bool = False) -> Progress:
    """Return bars where standard error is a terminal, log lines where it is not; of every step where that is wanted."""
    if sys.stderr.isatty():
        return RichProgress()
    return LogProgress(_OFTEN, every_task=True) if every_step else LogProgress()
