"""Several processes for one job: those of torchrun, or some that the command starts itself."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import IO

from pixfold.cli.messages import say
from pixfold.errors import PeerError

_LONGEST_RUN = timedelta(days=14)
# Seconds that a process takes to end, once it has let go of the others.
_TO_END = 5.0


@contextmanager
def joined(n: int | None) -> Iterator[int]:
    """Join the processes that do a job together.

    Parameters
    ----------
    n : int or None
        Processes of this machine to start. Under torchrun, whose processes are joined, it is not looked at.

    Yields
    ------
    int
        Number of this process: 0 is the one that writes and speaks. All others end with it.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size <= 1 and (n is None or n <= 1):
        yield 0
        return
    from torch import distributed

    from pixfold.learn.peers import backend_here

    started: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryFile() as said:
        if size <= 1:
            size = n or 1
            os.environ.update(_meeting(size))
            started = [_start(rank, said.fileno()) for rank in range(1, size)]
        try:
            # A process waits for the runs of the others.
            distributed.init_process_group(backend_here(), timeout=_LONGEST_RUN)
            try:
                yield distributed.get_rank()
            except PeerError:
                _tell(started, said)
                raise
            finally:
                distributed.destroy_process_group()
        finally:
            for process in started:
                process.terminate()
                process.wait()
            for name in _meeting(size) if started else ():
                os.environ.pop(name, None)


def _meeting(size: int) -> dict[str, str]:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    size_of = {"WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size)}
    return {"RANK": "0", "LOCAL_RANK": "0", **size_of, **where}


def _start(rank: int, said: int) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "RANK": str(rank), "LOCAL_RANK": str(rank)}
    command = [sys.executable, "-m", "pixfold", *sys.argv[1:]]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=said)


def _tell(started: list[subprocess.Popen[bytes]], said: IO[bytes]) -> None:
    """Show the last line of a process that has failed by itself: it says why."""
    end = time.monotonic() + _TO_END
    for process in started:
        with suppress(subprocess.TimeoutExpired):  # one that waits for the others, as this one did
            process.wait(max(0.0, end - time.monotonic()))
    codes = [code for process in started if (code := process.poll())]
    if not codes:
        return
    said.seek(0)
    lines = said.read().decode(errors="replace").split("\n")
    if codes[0] < 0:  # it could say nothing
        say(f"the other process was ended by signal {-codes[0]}")
    elif last := next((line for line in reversed(lines) if line.strip()), ""):
        say(f"the other process says: {last}")
