"""What commands print beside their results: progress, warnings, and errors of one line."""

from __future__ import annotations

import functools
import inspect
import logging
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import typer

from pixfold.cli.settings import settings
from pixfold.errors import InputError, PixfoldError
from pixfold.util.progress import Progress, SilentProgress, shown_on, terminal_progress
from pixfold.util.text import reason_of

if TYPE_CHECKING:
    from rich.console import Console


class Messages:
    """A progress that shows every warning once, however often and from wherever it comes."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._lines: set[str] = set()

    def task(self, description: str, total: float) -> Any:
        """Count a long loop; see :class:`pixfold.util.progress.Progress`."""
        return self._progress.task(description, total)

    def log(self, message: str) -> None:
        """Show one line."""
        self._lines.add(message.removeprefix("warning: "))
        self._progress.log(message)

    def warn(self, message: str) -> None:
        """Show a warning, unless it was shown before."""
        if message not in self._lines:
            self._lines.add(message)
            say(f"warning: {message}")


@contextmanager
def messages(*, quiet: bool) -> Iterator[Messages]:
    """Show the progress and the warnings of the work in the block.

    Warnings of pixfold become lines; those of other packages are for programmers: --verbose shows them.
    """
    verbose = settings().verbose
    shown = Messages(SilentProgress() if quiet else terminal_progress(every_step=verbose))

    def show(message: Warning | str, category: type[Warning], filename: str, *_: object, **__: object) -> None:
        text = reason_of(message)
        of_ours = issubclass(category, UserWarning) and "pixfold" in Path(filename).parts
        shown.warn(text if of_ours else f"{category.__name__}: {text} ({filename})")

    with warnings.catch_warnings(), shown_on(shown):
        warnings.simplefilter("default" if verbose else "ignore")
        warnings.filterwarnings("always", category=UserWarning, module=r"pixfold(\.|$)")
        warnings.showwarning = show
        yield shown


def one_line_errors(command: Callable[..., Any]) -> Callable[..., Any]:
    """Make a command turn errors into one or two lines and an exit code; ``--debug`` shows the traceback.

    The line speaks of ``--runs``, where the library speaks of ``n_runs``. An exception that nobody raised on purpose is
    our own mistake, and said to be.
    """
    annotated = inspect.signature(command, eval_str=True).parameters.items()
    flags = {name: _flag(name, parameter.annotation) for name, parameter in annotated}
    if "normalize" in flags:
        flags["preset"] = flags["normalize"]  # the Normalizer has its own word for it

    @functools.wraps(command)
    def guarded(**given: Any) -> Any:
        try:
            return command(**given)
        except KeyboardInterrupt:
            raise interrupted("nothing written") from None
        except PixfoldError as error:
            failed(error, f"error: {_with_flag(str(error), flags)}")
            raise typer.Exit(2 if isinstance(error, InputError) else 1) from None
        except ModuleNotFoundError as error:
            name = (error.name or "pixfold").partition(".")[0]
            if name == "pixfold":
                raise
            failed(error, f'error: this needs {name}, which is not installed: pip install "pixfold[train]"')
            raise typer.Exit(1) from None
        except MemoryError as error:
            failed(error, f"error: out of memory{f': {error}' if str(error) else ''}; --memory bounds what is held")
            raise typer.Exit(1) from None
        except Exception as error:
            if isinstance(error, typer.BadParameter | typer.Exit | typer.Abort | BrokenPipeError):
                raise
            failed(
                error,
                f"error: {type(error).__name__}: {reason_of(error)}",
                "this is a mistake in pixfold, not in your data: --debug shows where it happened",
            )
            raise typer.Exit(1) from None

    return guarded


def _flag(name: str, annotation: Any) -> str:
    """Return the name of the option that a parameter of a command is given by; of an argument, what help calls it."""
    for argument in get_args(annotation):
        if isinstance(argument, typer.models.ArgumentInfo) and argument.metavar:
            return str(argument.metavar)
    declared = [option.default for option in get_args(annotation) if isinstance(option, typer.models.OptionInfo)]
    return str(declared[0]).split("/")[0] if declared and declared[0] is not ... else f"--{name.replace('_', '-')}"


def _with_flag(message: str, flags: Mapping[str, str]) -> str:
    """Name the option in place of a function's argument, in ``OP: ARGUMENT must be EXPECTED, got RECEIVED``."""
    found = re.match(r"\w+: (\w+) must ", message)
    if found is None or found[1] not in flags:
        return message
    return f"{flags[found[1]]}{message[found.end(1) :]}"


def failed(error: BaseException, *lines: str) -> None:
    """Say why a command failed; with ``--debug`` the traceback comes first."""
    if settings().debug:
        traceback.print_exception(error)
    for line in lines:
        say(line)


def interrupted(what: str) -> typer.Exit:
    """Say what Ctrl-C left behind, and return the exit code to raise."""
    # This line is the last one: the event loop of zarr would add what it was doing.
    logging.getLogger("asyncio").disabled = True
    say(f"interrupted: {what}")
    return typer.Exit(130)


def say(line: str) -> None:
    """Print a line on standard error."""
    typer.echo(line, err=True)


def console() -> Console:
    """Return the console of standard output."""
    from rich.console import Console

    # Without a terminal, lines must not be wrapped at 80 columns: they are read by grep and by scripts.
    return Console(highlight=False, width=None if sys.stdout.isatty() else 160)
