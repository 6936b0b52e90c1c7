"""Several processes for one job: those of torchrun, or some that the command starts itself."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import IO

from pixfold.cli.messages import say
from pixfold.errors import PeerError

_LONGEST_RUN = timedelta(days=14)


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

    started: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryFile() as said:
        if size <= 1:
            size = n or 1
            os.environ.update(_meeting(size))
            started = [_start(rank, said.fileno()) for rank in range(1, size)]
        try:
            # On the CPU, where no card waits for it. A process waits for the runs of the others.
            distributed.init_process_group("gloo", timeout=_LONGEST_RUN)
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
    return {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": str(size), **where}


def _start(rank: int, said: int) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "RANK": str(rank), "LOCAL_RANK": str(rank)}
    command = [sys.executable, "-m", "pixfold", *sys.argv[1:]]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=said)


def _tell(started: list[subprocess.Popen[bytes]], said: IO[bytes]) -> None:
    """Show the last line of a process that has failed by itself: it says why."""
    if not any(process.poll() for process in started):
        return
    said.seek(0)
    lines = said.read().decode(errors="replace").split("\n")
    last = next((line for line in reversed(lines) if line.strip()), "")
    say(f"the other process says: {last}")
