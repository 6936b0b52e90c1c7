"""Ctrl-C while a job reads, and while it trains: it ends, and leaves nothing half-written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

# Slow readers and an eager log, so that the signal finds the job where it is meant to.
JOB = """
import sys, time
from pixfold.cli.app import app as cli
from pixfold.util import progress
from pixfold.sources.arrays.npy import NpySource

progress.LogProgress.__init__.__defaults__ = (0.0,)
wait = float(sys.argv.pop(1))
read = NpySource.read
def slowly(self, rows):
    time.sleep(wait)
    return read(self, rows)
NpySource.read = slowly
sys.argv[0] = "pixfold"
cli.main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
@pytest.mark.parametrize(("stage", "wait"), [("checking values", 0.2), ("training", 0.0)])
def test_ctrl_c_ends_a_job_and_leaves_nothing(tmp_path: Path, stage: str, wait: float) -> None:
    x = np.random.default_rng(0).random((400, 50), dtype=np.float32)
    np.save(tmp_path / "x.npy", x)
    out = tmp_path / "out"
    arguments = [
        "run",
        str(tmp_path / "x.npy"),
        "--out",
        str(out),
        "--runs",
        "1",
        "--epochs",
        "10000",
        "--device",
        "cpu",
    ]
    if wait:
        # Blocks of a few samples: many slow reads.
        arguments += ["--memory", "10kB"]
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(JOB), str(wait), *arguments],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as job:
        try:
            assert job.stderr is not None
            said = []
            for line in job.stderr:
                said.append(line)
                if line.startswith(stage):
                    break
            else:
                pytest.fail("".join(said))
            job.send_signal(signal.SIGINT)
            # Far more than the second it is held to, so that a busy machine fails nothing.
            _, rest = job.communicate(timeout=60)
        finally:
            job.kill()
    assert rest.splitlines()[-1] == "interrupted: nothing written"
    assert job.returncode == 130
    assert not out.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["x.npy"]
