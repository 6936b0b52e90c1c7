"""Options are checked before the input is opened: here it does not exist, and no message speaks of it."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from pixfold.cli.app import app

READING = {"split": "mean", "alphabet": "xyz", "categorical": "words", "join": "some", "ambiguous": "n", "length": "0"}
VALUES = {"normalize": "zscor", "negative": "drop", "missing": "drop", "arrangement": "random", "seed": "-1"}
MACHINE = {"threads": "0", "memory": "lots"}
WRONG = {
    "run": {
        **READING,
        **VALUES,
        **MACHINE,
        **{"method": "shap", "device": "abacus", "precision": "8", "backbone": "resnet81", "runs": "0"},
        **{"epochs": "0", "batch-size": "0", "min-accuracy": "2"},
    },
    "fold": {**READING, **VALUES, **MACHINE, "dtype": "float64", "shape": "3", "channels": "0"},
    "pack": {**READING, "memory": "lots"},
    "pair-screen": {
        **READING,
        **MACHINE,
        **{"top-k": "0", "alpha": "2", "threshold": "fdr", "permutations": "0", "transform": "log", "missing": "drop"},
        **{"label-type": "text", "device": "abacus", "seed": "-1"},
    },
    "nihs": {"samples": "1", "features": "0", "needles": "-1", "seed": "-1"},
}


@pytest.mark.parametrize(
    ("command", "option", "value"),
    [(command, option, value) for command, wrong in WRONG.items() for option, value in wrong.items()],
)
def test_an_option_is_refused_before_the_input_is_opened(tmp_path, command, option, value):
    data, label, out = str(tmp_path / "absent.csv"), ["--label", "kind"], str(tmp_path / "out.zarr")
    arguments = {
        "run": [data, *label, "--out", out],
        "fold": [data, *label, out],
        "pack": [data, *label, out],
        "pair-screen": [data, *label, "--out", out],
        "nihs": [str(tmp_path / "x.h5ad")],
    }
    result = CliRunner().invoke(app, [command, *arguments[command], f"--{option}", value])
    assert result.exit_code == 2
    assert f"--{option}" in result.stderr
    assert value in result.stderr
    assert "absent" not in result.stderr
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []
