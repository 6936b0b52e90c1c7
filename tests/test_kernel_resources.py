"""What the compiler and cuobjdump say of the hot CUDA kernels: nothing spills, and nothing lies in local memory."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

import pixfold

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

USAGE = """\
Fatbin elf code:
================
arch = sm_80

Resource usage:
 Common:
  GLOBAL:0
 Function _ZN7pixfold4cuda48_GLOBAL__N__457e8460_15_fold_natural_cu_2037955913fold_in_orderEv:
  REG:52 STACK:8 SHARED:64 LOCAL:4 CONSTANT[0]:552 TEXTURE:0 SURFACE:0 SAMPLER:0
"""

# Files whose kernels memory alone should bound, how many kernels each holds, and bytes of stack.
HOT = {
    "fold_natural.cu": (18, 0),
    "fold_shuffled.cu": (19, 0),
    "fold_interleaved.cu": (16, 0),
    "fold_library.cu": (6, 16),  # around the one division of a row
    "fold_gradient_library.cu": (4, 16),  # the same
    "fold_packed_natural.cu": (1, 0),
    "fold_gradient_natural.cu": (4, 0),
}


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


def test_the_usage_is_read(script):
    name = "_ZN7pixfold4cuda48_GLOBAL__N__457e8460_15_fold_natural_cu_2037955913fold_in_orderEv"
    assert script._read_usage(USAGE) == {"sm_80": {"fold_natural.cu": [script.Kernel(name, 52, 12, 0, 0)]}}


def test_nothing_spills_in_the_extension(script):
    # Whatever architectures it was built for.
    modules = list(Path(pixfold.__file__).parent.glob("_cuda.*.so"))
    cuobjdump = script.find_cuobjdump()
    if not modules or cuobjdump is None:
        pytest.skip("needs a built CUDA extension and cuobjdump")
    found = script.of_module(modules[0], cuobjdump)
    assert found
    for arch, files in found.items():
        for file, (n, stack) in HOT.items():
            assert len(files[file]) == n, (arch, file)
            assert [k for k in files[file] if k.stack > stack] == [], (arch, file)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc, which reports what kernels take")
@pytest.mark.parametrize("arch", ["80", "90", "100", "120"])
@pytest.mark.parametrize("file", HOT)
def test_nothing_spills(script, file, arch):
    kernels = script.resources(ROOT / "cuda" / file, arch)
    n, stack = HOT[file]
    assert len(kernels) == n
    assert [k for k in kernels if k.stack > stack or k.spill_stores or k.spill_loads] == []
