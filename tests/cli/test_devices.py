"""`--devices 2` and torchrun: two processes share a job, and the output is that of one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
SHORT = (
    "--label",
    "label",
    "--backbone",
    "patchnet",
    "--runs",
    "2",
    "--epochs",
    "2",
    "--device",
    "cpu",
    "--threads",
    "1",
    "--precision",
    "32-true",
)


PIXFOLD = ("-m", "pixfold")
TORCHRUN = ("-m", "torch.distributed.run", "--nproc-per-node", "2", *PIXFOLD)
JOB = ("run", "x.csv", "--no-baselines")


def run(folder: Path, out: str, *further: str, by: tuple[str, ...] = PIXFOLD) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *by, *JOB, "--out", out, *SHORT, *further]
    return subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("devices")
    X, y = np.random.default_rng(0).random((60, 12)), np.arange(60) % 2
    X[:, 2] += y
    table = pd.DataFrame(X, columns=[f"g{i}" for i in range(12)]).assign(label=np.where(y, "a", "b"))
    table.to_csv(folder / "x.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def one(folder: Path) -> subprocess.CompletedProcess[str]:
    """What one process does."""
    return run(folder, "one")


def test_two_processes_write_what_one_writes(folder: Path, one: subprocess.CompletedProcess[str]) -> None:
    two = run(folder, "two", "--devices", "2")
    assert (one.returncode, two.returncode) == (0, 0), two.stderr
    for name in ("findings.csv", "predictions.csv"):
        assert (folder / "two" / name).read_bytes() == (folder / "one" / name).read_bytes()
    # One process speaks.
    assert two.stderr.count("run 1: ") == two.stderr.count("run 2: ") == 1
    assert two.stdout.replace("two", "one") == one.stdout


def test_torchrun_shares_the_samples_of_each_run(folder: Path, one: subprocess.CompletedProcess[str]) -> None:
    two = run(folder, "torchrun", "--share", "samples", by=TORCHRUN)
    assert (one.returncode, two.returncode) == (0, 0), two.stderr
    assert two.stderr.count("run 1: ") == two.stderr.count("run 2: ") == 1
    found, wanted = (pd.read_csv(folder / name / "predictions.csv") for name in ("torchrun", "one"))
    assert found["sample"].equals(wanted["sample"])
    np.testing.assert_allclose(found["probability_a"], wanted["probability_a"], rtol=1e-3)
    # Not the same bits: each has summed its own samples.
    assert not found["probability_a"].equals(wanted["probability_a"])
    again = run(folder, "torchrun", "--share", "samples", "--resume", by=TORCHRUN)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("holds the results of this job already") == 1
    first, alone = (pd.read_csv(folder / name / "findings.csv")["feature"][0] for name in ("torchrun", "one"))
    assert first == alone


@pytest.mark.slow
def test_a_process_that_dies_ends_the_job(folder: Path) -> None:
    """The first process says so, and does not wait for what will never come."""
    long = ("--runs", "1", "--share", "samples", "--epochs", "100000", "--log", "csv", "--devices", "2")
    command = [sys.executable, *PIXFOLD, *JOB, "--out", "dies", *SHORT, *long]
    with subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_for(lambda: (folder / "dies" / "log.csv").exists())
            (other,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            os.kill(int(other), signal.SIGKILL)
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 1
    assert "the other process was ended by signal 9" in said
    assert "error: another process of the job has ended" in said
    assert "Traceback" not in said


@pytest.mark.slow
def test_what_one_process_finds_is_said(folder: Path) -> None:
    """A value that only the second process meets."""
    table = pd.read_csv(folder / "x.csv")
    table.loc[58:, "g5"] = -3.0
    table.to_csv(folder / "negative.csv", index=False)
    job = tuple(part.replace("x.csv", "negative.csv") for part in JOB)
    command = [sys.executable, *PIXFOLD, *job, "--out", "none", *SHORT, "--normalize", "log1p", "--negative", "error"]
    command += ["--devices", "2", "--share", "samples"]
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert "the other process says: error: Normalizer.fit: X must not be negative" in done.stderr
    assert not (folder / "none").exists()


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_an_error_of_all_processes_is_one_line(folder: Path) -> None:
    done = run(folder, "none", "--devices", "2", "--label", "nothing")
    assert done.returncode == 2
    assert [line for line in done.stderr.splitlines() if "process" in line or "Traceback" in line] == []
    assert sum(line.startswith("error: ") for line in done.stderr.splitlines()) == 1
