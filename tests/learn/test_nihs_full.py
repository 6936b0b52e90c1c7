"""The needle in a haystack at the size of the paper, from the command line."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from typer.testing import CliRunner

import pixfold
from pixfold.cli.app import app
from pixfold.examples.synthetic import PAPER_NEEDLES


@pytest.mark.slow
def test_full_size(tmp_path):
    data, out = tmp_path / "nihs.h5ad", tmp_path / "out"
    assert CliRunner().invoke(app, ["nihs", str(data)]).exit_code == 0
    options = ["--label", "label", "--out", str(out), "--backbone", "patchnet", "--runs", "1"]
    result = CliRunner().invoke(app, ["run", str(data), *options])
    assert result.exit_code == 0, result.output
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["test_accuracy"] >= 0.98
    assert metrics["n_features"] == 18_225
    findings = pd.read_csv(out / "findings.csv")
    # Variables are counted from 1.
    assert set(findings["feature"][:2]) == {f"variable_{needle + 1}" for needle in PAPER_NEEDLES}
    assert findings["rank"][:2].tolist() == [1.0, 2.0]
    source = pixfold.open_source(data, label="label")
    model = pixfold.load(out)
    right = model.predict(source)[:1000] == source.labels[:1000]
    assert right.mean() >= 0.98
