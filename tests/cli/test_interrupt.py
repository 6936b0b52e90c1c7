"""Ctrl-C while a job reads, and while it trains: it ends, leaves nothing half-written, and keeps its epochs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

# Slow readers and an eager log, so that the signal finds the job where it is meant to.
JOB = """
import sys, time
from pixfold.cli.app import main
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
main()
"""


@pytest.mark.skipif(os.name != "posix", reason="signals are sent as on POSIX systems")
@pytest.mark.parametrize(
    ("stage", "wait", "further"),
    # Blocks of a few samples are many slow reads.
    [("checking values", 0.2, ["--memory", "10kB"]), ("training", 0.0, [])],
)
@pytest.mark.parametrize("earlier", [{}, {"findings.csv": "of an earlier run", "config.json": '{"pixfold": "0.1"}'}])
def test_ctrl_c_ends_a_job_and_leaves_nothing(tmp_path, stage, wait, further, earlier):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((400, 50), dtype=np.float32))
    out = tmp_path / "out"
    for name, text in earlier.items():
        out.mkdir(exist_ok=True)
        (out / name).write_text(text)
    before = sorted(tmp_path.rglob("*"))
    command = [
        *(sys.executable, "-c", JOB, str(wait), "run", str(tmp_path / "x.npy"), "--out", str(out)),
        *("--runs", "1", "--epochs", "10000", "--device", "cpu", "--force", *further),
    ]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    ) as job:
        try:
            assert job.stderr is not None
            lines = []
            for line in job.stderr:
                lines.append(line)
                if line.startswith(stage):
                    break
            else:
                pytest.fail("".join(lines))
            job.send_signal(signal.SIGINT)
            # Far more than the second it is held to, so that a busy machine fails nothing.
            _, rest = job.communicate(timeout=60)
        finally:
            job.kill()
    assert "Traceback" not in rest
    assert job.returncode == 130
    if (out / "checkpoint").exists():
        # There has been an epoch.
        assert stage == "training"
        kept = f"{out}/checkpoint keeps the epochs of a run; the same command with --resume goes on"
        assert rest.splitlines()[-1] == f"interrupted: {kept}"
        assert sorted(path.name for path in (out / "checkpoint").iterdir()) == ["job.json", "run-1-epoch.safetensors"]
        shutil.rmtree(out / "checkpoint")
        if not earlier:
            out.rmdir()
    else:
        assert rest.splitlines()[-1] == "interrupted: nothing written"
    assert sorted(tmp_path.rglob("*")) == before
    assert {name: (out / name).read_text() for name in earlier} == earlier
