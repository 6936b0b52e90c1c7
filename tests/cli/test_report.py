from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from pixfold.cli.app import app
from pixfold.layout import Layout
from pixfold.learn.consensus import Consensus, RunImportance
from pixfold.learn.results import Results, summarise
from pixfold.learn.tables import findings_table, history_table
from pixfold.report import figures, write_results


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "render", lambda contents: {})  # slow, and tested elsewhere
    consensus = Consensus(5)
    consensus.add(RunImportance(np.arange(5.0), np.empty((0, 5)), np.empty((0, 5)), 3))
    results = Results(
        task="self-supervised",
        findings=findings_table(consensus.result(), list("abcde")),
        history=history_table([]),
        metrics=summarise([{"accepted": True, "explained_variance": 0.5}]),
        config={},
        layout=Layout.natural(5),
    )
    write_results(results, tmp_path / "run")
    return tmp_path / "run"


def invoke(*arguments):
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


def test_it_makes_the_page_again(folder):
    page = (folder / "report.html").read_bytes()
    (folder / "report.html").unlink()
    result = invoke(folder)
    assert (result.exit_code, result.stdout) == (0, f"{folder / 'report.html'}\n")
    assert (folder / "report.html").read_bytes() == page
    assert not (folder / ".pixfold.lock").exists()


def test_a_folder_that_is_none_stays_as_it_is(tmp_path):
    (tmp_path / "mine").mkdir()
    for path in (tmp_path / "mine", tmp_path / "nothing"):
        result = invoke(path)
        assert result.exit_code == 2
        assert result.stderr.startswith("error: ")
        assert result.stderr.count("\n") == 1
    assert list((tmp_path / "mine").iterdir()) == []


def test_a_newer_and_a_damaged_folder(folder):
    path = folder / "findings.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "format": 99, "pixfold": "9.9"}))
    newer = invoke(folder)
    assert (newer.exit_code, newer.stderr.count("\n")) == (2, 1)
    assert "got one of 9.9; pip install --upgrade pixfold" in newer.stderr
    path.write_text(path.read_text()[:100])
    damaged = invoke(folder)
    assert (damaged.exit_code, damaged.stderr.count("\n")) == (2, 1)
    assert "must be a whole JSON file, got a damaged one" in damaged.stderr


def test_help_has_an_example():
    assert "Example: pixfold report out/cells" in invoke("--help").stdout
