"""What the compiler says of the hot CUDA kernels: nothing spills, and nothing lies in local memory."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "benchmarks" / "kernel_resources.py"

REPORT = """\
ptxas info    : Compiling entry function 'fold' for 'sm_90'
ptxas info    : Function properties for fold
    16 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 64 registers, used 1 barriers, 112 bytes smem, 608 bytes cmem[0]
ptxas info    : Compiling entry function 'move' for 'sm_90'
ptxas info    : Function properties for move
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 20 registers, used 0 barriers
"""


@pytest.fixture(scope="module")
def script():
    import sys

    spec = importlib.util.spec_from_file_location("kernel_resources", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


def test_the_report_is_read(script):
    assert list(script._read(REPORT)) == [script.Kernel("fold", 64, 16, 8, 12), script.Kernel("move", 20, 0, 0, 0)]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc, which reports what kernels take")
@pytest.mark.parametrize(
    ("file", "n"), [("fold_natural.cu", 18), ("fold_shuffled.cu", 18), ("fold_packed_natural.cu", 1)]
)
def test_nothing_spills(script, file, n):
    kernels = script.resources(ROOT / "cuda" / file, "90")
    assert len(kernels) == n
    assert [k for k in kernels if k.stack or k.spill_stores or k.spill_loads] == []
