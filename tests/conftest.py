"""Fixtures that tests of every part share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# As the command line does, and before anything loads OpenMP: tests share the cores with each other and with CI.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real data sets, which stands beside the checkout where it is to be had."""
    folder = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real data sets (../shared/data) are not on this machine")
    return folder
