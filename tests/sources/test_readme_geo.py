"""The section "From GEO to a list" of the README does what it says."""

from __future__ import annotations

import csv
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

pytest.importorskip("pyarrow")
pytest.importorskip("torch")

from pixfold.cli.app import app

README = Path(__file__).parents[2] / "README.md"


def blocks(language: str) -> list[str]:
    section = README.read_text(encoding="utf-8").split("### From GEO to a list", 1)[1].split("\n### ", 1)[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


def test_from_geo_to_a_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (code,), (line,) = blocks("python"), blocks("sh")
    subprocess.run([sys.executable, "-c", code], check=True)
    command, *words = shlex.split(line)
    assert command == "pixfold"
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    with (tmp_path / "out/geo/findings.csv").open() as file:
        first = [row["feature"] for row in csv.DictReader(file)][:3]
    assert sorted(first) == ["1000_at", "1001_at", "1002_at"]
