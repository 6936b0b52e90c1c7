"""--groups and --covariates in every command that reads data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from pixfold.cli import run as run_module
from pixfold.cli.app import app
from pixfold.sources import open_source


@pytest.fixture
def table(tmp_path: Path) -> Path:
    lines = [f"s{i},{i},{i % 3 + 1},{'uv'[i % 2]},d{i // 4},{'ab'[i % 2]},{20 + i}" for i in range(24)]
    (tmp_path / "x.csv").write_text("id,g0,g1,kind,donor,batch,age\n" + "\n".join(lines) + "\n")
    return tmp_path / "x.csv"


def called(*arguments: object) -> str:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize(
    "covariates", [["--covariates", "batch,age"], ["--covariates", "batch", "--covariates", "age"]]
)
def test_pack_keeps_them_and_fold_leaves_them_out(table, tmp_path, covariates):
    named = ["--label", "kind", "--groups", "donor", *covariates]
    called("pack", table, tmp_path / "x.zarr", *named, "--quiet")
    source = open_source(tmp_path / "x.zarr", label="kind", groups="donor", covariates=["batch", "age"])
    assert source.feature_names == ["g0", "g1"]
    assert source.groups.tolist() == [f"d{i // 4}" for i in range(24)]
    assert source.covariates["age"].tolist() == list(range(20, 44))
    for data in (table, tmp_path / "x.zarr"):
        called("fold", data, tmp_path / "x.npy", *named, "--quiet", "--force")
        assert np.load(tmp_path / "x.npy").shape == (24, 1, 2, 2)


def test_run_gives_them_to_the_estimator(table, tmp_path, monkeypatch):
    class DoneError(Exception):
        pass

    class Estimator:
        def check_arguments(self):
            pass

        def fit_source(self, source, **_):
            self.source = source
            raise DoneError

    made = Estimator()
    monkeypatch.setattr(run_module, "_estimator", lambda **_: made)
    arguments = ["--label", "kind", "--groups", "donor", "--covariates", "batch,age"]
    done = CliRunner().invoke(app, ["run", str(table), "--out", str(tmp_path / "out"), *arguments])
    assert isinstance(done.exception, DoneError) or done.exit_code != 0
    assert made.source.feature_names == ["g0", "g1"]
    assert len(np.unique(made.source.groups)) == 6
    assert sorted(made.source.covariates) == ["age", "batch"]


@pytest.mark.parametrize("command", ["run", "fold", "pack"])
def test_a_column_that_is_not_there_is_one_line(table, tmp_path, command):
    out = ["--out", tmp_path / "out"] if command == "run" else [tmp_path / "out.zarr"]
    done = CliRunner().invoke(app, [command, str(table), *map(str, out), "--label", "kind", "--groups", "doner"])
    assert done.exit_code == 2
    assert f"{table}: no groups column 'doner'; did you mean 'donor'?" in " ".join(done.output.split())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.csv"]
