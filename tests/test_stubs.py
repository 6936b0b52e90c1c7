"""The stubs are what the extensions say of themselves: names, arguments and types."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

STUBS = Path(__file__).parents[1] / "csrc" / "bindings" / "stubs.py"


def test_stubs_are_generated():
    pytest.importorskip("pybind11_stubgen", reason="stubs are compared where pybind11-stubgen is installed")
    done = subprocess.run([sys.executable, STUBS, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
