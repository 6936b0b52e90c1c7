"""Short runs of `make fuzz`, the same cases every time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(sys.platform == "win32", reason="limits its own memory as POSIX systems can")
def test_the_first_cases():
    script = Path(__file__).with_name("fuzz.py")
    done = subprocess.run(
        [sys.executable, str(script), "--seed", "0", "--cases", "600"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "600 cases" in done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="limits its own memory as Linux can")
def test_the_first_damaged_files():
    script = Path(__file__).with_name("fuzz_files.py")
    done = subprocess.run(
        [sys.executable, str(script), "--seed", "0", "--cases", "150"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "150 cases, 0 failures" in done.stdout
