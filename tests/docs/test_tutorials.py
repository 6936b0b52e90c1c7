"""The tutorials do what they say: their code runs, and prints what stands below it."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

pytest.importorskip("torch")

from pixfold.cli.app import app

TUTORIALS = Path(__file__).parents[2] / "docs" / "tutorials"
# Packages that a page asks for beside those of pixfold[all].
NEEDS = {"genotypes": "bed_reader"}
_BLOCK = re.compile(r"^```(python|sh|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def python(code: str, names: dict[str, Any]) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(code, "tutorial", "exec"), names)
    return printed.getvalue()


def shell(lines: str) -> str:
    printed = ""
    for line in lines.splitlines():
        command, *words = shlex.split(line, comments=True)
        assert command == "pixfold", line
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, f"{line}\n{done.output}"
        printed += done.stdout
    return printed


def pattern(line: str) -> str:
    """What a line that a page shows must match; ... stands for anything."""
    return r".*?".join(re.escape(part.strip()) for part in line.split("..."))


@pytest.mark.parametrize("page", sorted(path.stem for path in TUTORIALS.glob("*.md")))
def test_a_tutorial_runs(page, tmp_path, monkeypatch):
    if page in NEEDS:
        pytest.importorskip(NEEDS[page])
    monkeypatch.chdir(tmp_path)
    blocks = _BLOCK.findall((TUTORIALS / f"{page}.md").read_text(encoding="utf-8"))
    assert {kind for kind, _ in blocks} >= {"python", "text"}
    names: dict[str, Any] = {"__name__": "tutorial"}
    printed = ""
    for kind, text in blocks:
        if kind == "text":
            for line in text.splitlines():
                assert re.search(pattern(line), printed), f"{page}.md says {line!r}, got:\n{printed}"
        else:
            printed = python(text, names) if kind == "python" else shell(text)


def test_a_wrong_line_is_found():
    assert not re.search(pattern("gene_0 ... B cell"), "gene_0  T cell\ngene_1  B cell")
    assert re.search(pattern("gene_0 ... B cell"), "gene_0  1  B cell")
