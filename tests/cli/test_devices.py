"""`--devices 2`: two processes share the runs, and the output is that of one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

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
)


def run(folder: Path, out: str, *further: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pixfold", "run", "x.csv", "--out", out, "--no-baselines", *SHORT, *further]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    X, y = np.random.default_rng(0).random((48, 12)), np.arange(48) % 2
    X[:, 2] += y
    table = pd.DataFrame(X, columns=[f"g{i}" for i in range(12)]).assign(label=np.where(y, "a", "b"))
    table.to_csv(tmp_path / "x.csv", index=False)
    return tmp_path


def test_two_processes_write_what_one_writes(folder: Path) -> None:
    one, two = run(folder, "one"), run(folder, "two", "--devices", "2")
    assert (one.returncode, two.returncode) == (0, 0), two.stderr
    for name in ("findings.csv", "predictions.csv"):
        assert (folder / "two" / name).read_bytes() == (folder / "one" / name).read_bytes()
    # One process speaks.
    assert two.stderr.count("run 1: ") == two.stderr.count("run 2: ") == 1
    assert two.stdout.replace("two", "one") == one.stdout


def test_an_error_of_all_processes_is_one_line(folder: Path) -> None:
    done = run(folder, "none", "--devices", "2", "--label", "nothing")
    assert done.returncode == 2
    assert [line for line in done.stderr.splitlines() if "process" in line or "Traceback" in line] == []
    assert sum(line.startswith("error: ") for line in done.stderr.splitlines()) == 1
