"""The command `pixfold pair-screen`."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import pixfold as pf
from pixfold.cli.app import app


def invoke(*arguments):
    return CliRunner().invoke(app, ["pair-screen", *map(str, arguments)])


@pytest.fixture
def table(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.random((80, 12)).round(4)
    kind = np.where((X[:, 3] > 0.5) ^ (X[:, 7] > 0.5), "yes", "no")
    frame = pd.DataFrame(X, columns=[f"g{i}" for i in range(12)])
    frame.insert(0, "kind", kind)
    frame.insert(0, "sample", [f"s{i}" for i in range(80)])
    path = tmp_path / "data.csv"
    frame.to_csv(path, index=False)
    return path


def test_the_table_and_the_top(table, tmp_path):
    out = tmp_path / "pairs.csv"
    result = invoke(table, "--label", "kind", "--top-k", 20, "--out", out, "--quiet", "--threads", 1)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[1].split()[:2] == ["g3", "g7"]
    assert len(lines) == 12
    assert lines[-1].startswith(f"{out}: 20 of 66 pairs, 80 samples; 1 above |z| = 3.37 (bonferroni, alpha 0.05)")
    expected = pf.pair_screen(pf.open_source(table, label="kind"), top_k=20).table()
    pd.testing.assert_frame_equal(pd.read_csv(out), expected, check_dtype=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.csv", "pairs.csv"]


def test_options(table, tmp_path):
    out = tmp_path / "pairs.csv"
    result = invoke(
        *(table, "--label", "kind", "--out", out, "--covariates", "g0,g1", "--transform", "rank", "--alpha", 0.1),
        *("--threshold", "permutation", "--permutations", 19, "--memory", "20kB", "--device", "cpu", "--seed", 2),
    )
    assert result.exit_code == 0, result.output
    source = pf.open_source(table, label="kind")
    known = pf.pair_screen(
        *(source, None),
        covariates=source.read(slice(None))[:, :2],
        transform="rank",
        threshold="permutation",
        n_permutations=19,
        alpha=0.1,
        seed=2,
    )
    # Blocks of another width are projected with other roundings of float32.
    pd.testing.assert_frame_equal(pd.read_csv(out), known.table(), check_dtype=False, atol=1e-4)


def test_covariates_of_samples(table, tmp_path):
    import anndata

    frame = pd.read_csv(table, index_col=0)
    X = frame.drop(columns="kind")
    obs = pd.DataFrame({"kind": frame["kind"], "age": np.arange(80.0), "site": [*list("abc" * 26), "a", "b"]})
    obs["site"] = obs["site"].astype("category")
    anndata.AnnData(X.to_numpy(), obs=obs, var=pd.DataFrame(index=X.columns)).write_h5ad(tmp_path / "data.h5ad")
    out = tmp_path / "pairs.csv"
    arguments = (tmp_path / "data.h5ad", "--label", "kind", "--out", out, "--quiet")
    assert invoke(*arguments, "--covariates", "age,site").exit_code == 0
    C = np.column_stack([obs["age"], obs["site"] == "b", obs["site"] == "c"])
    known = pf.pair_screen(X, (obs["kind"] == "yes").to_numpy(), covariates=C).table()
    pd.testing.assert_frame_equal(pd.read_csv(out), known, check_dtype=False, atol=1e-4)
    refused = invoke(*arguments, "--covariates", "age,height", "--force")
    assert refused.exit_code == 2
    assert "--covariates must be columns of" in refused.stderr
    assert "got 'height'" in refused.stderr


def test_what_is_there_stays(table, tmp_path):
    out = tmp_path / "pairs.csv"
    arguments = (table, "--label", "kind", "--out", out, "--quiet")
    out.write_text("mine")
    for further in ((), ("--force",)):
        result = invoke(*arguments, *further)
        assert result.exit_code == 1
        assert f"error: cannot write {out}" in result.stderr
        assert out.read_text() == "mine"
    out.unlink()
    assert invoke(*arguments).exit_code == 0
    assert invoke(*arguments).exit_code == 1
    assert invoke(*arguments, "--force").exit_code == 0
    link = tmp_path / "link.csv"
    link.symlink_to(out)
    assert invoke(table, "--label", "kind", "--out", link, "--force").exit_code == 1
    assert invoke(table, "--label", "kind", "--out", tmp_path / "no" / "pairs.csv").exit_code == 1


def test_a_label_is_needed(table, tmp_path):
    result = invoke(table, "--out", tmp_path / "pairs.csv")
    assert result.exit_code == 2
    assert "--label" in result.stderr
