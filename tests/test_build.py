from __future__ import annotations

import os
import re
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


@pytest.mark.parametrize("isa", pixfold.build_config()["isas"])
def test_every_instruction_set_that_is_listed_can_be_chosen(isa):
    code = "import pixfold; print(pixfold.build_config()['isa'])"
    shown = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PIXFOLD_ISA": isa},
    )
    assert shown.stdout.strip() == isa


def test_one_version_everywhere():
    from pixfold import _core
    from pixfold.provenance import versions

    assert _core.__version__ == pixfold.__version__
    found = versions()
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["pixfold"] == pixfold.__version__
