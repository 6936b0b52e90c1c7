"""What a job keeps below its output folder, and what is said when it is interrupted."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from pixfold.cli.messages import Messages, interrupted
from pixfold.util.outputs import check_no_run, run_identity

if TYPE_CHECKING:
    from pixfold.learn.checkpoint import Checkpoint

FOLDER = "checkpoint"
# EX_TEMPFAIL of sysexits.h: try again later. A scheduler that sees it can start the same command with --resume.
TERMINATED = 75


class Terminated(KeyboardInterrupt):
    """SIGTERM came: what cleans up after Ctrl-C does so after it, too."""


@contextmanager
def keeping(out: Path, *, resume: bool, force: bool, shown: Messages) -> Iterator[Checkpoint]:
    """Keep the state of a job in a folder of `out`; end with a line and an exit code when the job is interrupted.

    Parameters
    ----------
    out : Path
        The output folder.
    resume : bool
        Whether to go on with what is kept there.
    force : bool
        Whether a run that is there may be replaced.
    shown : Messages
        Where to say that an interrupted job is there.

    Yields
    ------
    Checkpoint
        The block removes what is kept when all else is written.

    Raises
    ------
    OutputError
        When a run is there that may not be replaced, and that is not to go on.
    """
    from pixfold.learn.checkpoint import Checkpoint

    finished = run_identity(out) if resume and not force else None
    kept = Checkpoint(out / FOLDER, resume=resume, finished=finished)
    if not kept.resumes and finished is None:
        check_no_run(out, force=force)
    if kept.holds_a_job and not resume:
        shown.warn(
            f"{out} keeps an interrupted job ({kept.described()}), which this one replaces as soon as it has something "
            "to keep; --resume goes on with it"
        )
    elif resume and not kept.holds_a_job and finished is None:
        shown.log(f"no interrupted job in {out}: this one begins")
    try:
        with _raising_terminated():
            yield kept
    except Terminated:
        interrupted(f"by SIGTERM: {_left(kept)}")
        raise typer.Exit(TERMINATED) from None
    except KeyboardInterrupt:
        raise interrupted(_left(kept)) from None


def _left(kept: Checkpoint) -> str:
    if not kept.begun:
        return "nothing written"
    return f"{kept.folder} keeps {kept.described()}; the same command with --resume goes on"


@contextmanager
def _raising_terminated() -> Iterator[None]:
    """Make SIGTERM an exception, where Python may set handlers and nobody else has."""

    def handler(number: int, frame: Any) -> None:
        # A second one, while the first is dealt with, would end that half-way.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated

    mine = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if mine:
        signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        if mine:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
