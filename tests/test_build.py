from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pytest

import pixfold


def test_build_config():
    config = pixfold.build_config()
    assert set(config) >= {
        "version",
        "isa",
        "isas",
        "openmp",
        "threads",
        "cuda",
        "cuda_version",
        "cuda_archs",
        "cuda_driver",
        "cuda_devices",
    }
    assert config["version"] == pixfold.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", config["version"])
    assert config["isa"] in config["isas"]
    assert len(set(config["isas"])) == len(config["isas"])
    assert isinstance(config["openmp"], bool)
    assert config["threads"] >= 1
    assert isinstance(config["cuda"], bool)
    assert (config["cuda_version"] is None) == (not config["cuda"])
    assert bool(config["cuda_archs"]) == config["cuda"]


def said(*command: str, isa: str | None = None, code: int = 0) -> str:
    """Run a command under PIXFOLD_ISA and give what it printed, complaints last."""
    environment = {key: value for key, value in os.environ.items() if key != "PIXFOLD_ISA"}
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env=environment if isa is None else {**environment, "PIXFOLD_ISA": isa},
    )
    assert done.returncode == code, done.stderr
    return (done.stdout + done.stderr).strip()


FOLD = """
import numpy as np, pixfold
x = np.arange(12, dtype=np.float32).reshape(2, 6)
images = pixfold.fold(x, pixfold.Layout.natural(6), pixfold.Normalizer("log1p").fit(x))
print(pixfold.build_config()["isa"], images.shape)
"""
REFUSED = "PIXFOLD_ISA: must be one of"


@pytest.mark.parametrize("isa", pixfold.build_config()["isas"])
def test_every_instruction_set_that_is_listed_can_be_chosen(isa):
    assert said(sys.executable, "-c", FOLD, isa=isa) == f"{isa} (2, 1, 3, 3)"
    assert f"{isa} (of {', '.join(pixfold.build_config()['isas'])})" in said(
        sys.executable, "-m", "pixfold", "info", isa=isa
    )


@pytest.mark.parametrize("isa", [None, ""])
def test_the_best_one_is_taken_where_none_is_chosen(isa):
    assert said(sys.executable, "-c", FOLD, isa=isa) == f"{pixfold.build_config()['isas'][-1]} (2, 1, 3, 3)"


@pytest.mark.parametrize("isa", ["sse9", "AVX2", "avx512f", "baseline,avx2"])
def test_unknown_instruction_set(isa):
    expected = f"{REFUSED} {', '.join(pixfold.build_config()['isas'])} on this machine, got '{isa}'"
    # Importing does nothing with it; the first use is one clear error, and so is every later one.
    code = f"""
import numpy as np, pixfold
from pixfold.errors import InputError
layout = pixfold.Layout.natural(4)
for op in (lambda: pixfold.fold(np.ones((2, 4)), layout), lambda: pixfold.column_stats(np.ones((2, 4))),
           pixfold.build_config) * 2:
    try:
        op()
    except InputError as error:
        assert str(error) == {expected!r}, error
    else:
        raise AssertionError("accepted")
"""
    said(sys.executable, "-c", code, isa=isa)
    assert said(sys.executable, "-m", "pixfold", "info", isa=isa, code=2) == f"error: {expected}"


@pytest.mark.parametrize("isa", ["avx2", "avx512"])
def test_instruction_set_that_this_machine_lacks(isa):
    if isa in pixfold.build_config()["isas"]:
        pytest.skip(f"this machine has {isa}; tests/cpp/test_dispatch.cpp asks for it on one that has not")
    assert f"got '{isa}'" in said(sys.executable, "-m", "pixfold", "info", isa=isa, code=2)


@pytest.mark.skipif(
    shutil.which("valgrind") is None or "avx512" not in pixfold.build_config()["isas"] or "LD_PRELOAD" in os.environ,
    reason="needs valgrind, whose processor has no AVX-512, on a machine that has it",
)
def test_machine_without_avx512():
    valgrind = ("valgrind", "--tool=none", "-q", sys.executable, "-c")
    code = "import pixfold; print(pixfold.build_config()['isas'])"
    assert said(*valgrind, code) == "['baseline', 'avx2']"
    asked = said(*valgrind, code, isa="avx512", code=1).splitlines()[-1]
    assert asked.endswith(f"{REFUSED} baseline, avx2 on this machine, got 'avx512'")


def test_one_version_everywhere():
    from pixfold import _core
    from pixfold.util.provenance import versions

    assert _core.__version__ == pixfold.__version__
    found = versions()
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["pixfold"] == pixfold.__version__
