"""Threads of the command do not spin while they wait, so that jobs on the same cores do not slow each other down."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from pixfold import _core


@pytest.mark.skipif(not _core.compiler.startswith("GNU"), reason="another compiler's OpenMP says nothing of spinning")
@pytest.mark.parametrize(("given", "spins"), [(None, False), ("active", True)])
def test_openmp_is_told_to_wait_before_it_is_loaded(given, spins):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    chosen = {} if given is None else {"OMP_WAIT_POLICY": given}
    done = subprocess.run(
        [sys.executable, "-m", "pixfold", "--version"],
        env={**kept, **chosen, "OMP_DISPLAY_ENV": "verbose"},
        capture_output=True,
        text=True,
        check=True,
    )
    counts = re.findall(r"GOMP_SPINCOUNT = '(\w+)'", done.stderr)
    assert counts, "GCC's OpenMP says how long it spins"
    assert all((count != "0") == spins for count in counts)
