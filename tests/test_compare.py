"""Runs side by side, of output folders that are written by hand so that every number is known."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from pixfold.cli.app import app
from pixfold.compare import side_by_side
from pixfold.errors import InputError


def folder(path: Path, ranks: dict[str, float | None], called: set[str], **config) -> Path:
    """Write what compare reads of an output folder."""
    path.mkdir(parents=True)
    rows = [
        {
            "feature": name,
            "rank": rank,
            "importance": None if rank is None else 1 / rank,
            "q": 0.01 if name in called else 0.9,
            "called": name in called,
        }
        for name, rank in ranks.items()
    ]
    pd.DataFrame(rows).to_csv(path / "findings.csv", index=False)
    linear = {"l1": {"balanced_accuracy": 0.7}, "l2": {"balanced_accuracy": 0.8}, "test": {"n_called": 1}}
    metrics = {"test_accuracy": 0.9, "n_called": len(called), "baselines": linear, "n_runs": 4}
    (path / "metrics.json").write_text(json.dumps(metrics))
    settings = {"pixfold": "0.1.0", "estimator": "DeepMapperClassifier", "backbone": "additive", **config}
    (path / "config.json").write_text(json.dumps(settings))
    return path


@pytest.fixture
def runs(tmp_path) -> tuple[Path, Path]:
    one = folder(tmp_path / "one", {"a": 1, "b": 2, "NA": 3, "d": None}, {"a", "b"}, options={"seed": 0, "label": "x"})
    other = folder(tmp_path / "other", {"b": 1, "a": 2, "e": 3}, {"b", "e"}, options={"seed": 1, "label": "x"})
    return one, other


def test_numbers_of_two_runs(runs):
    found = side_by_side(runs, k=2)
    assert found.names == ["one", "other"]
    assert found.scores["best_linear"].tolist() == [0.8, 0.8]
    assert found.scores["n_called"].tolist() == [2, 2]
    # a and b have the mean rank 1.5. NA (a name, no missing value) and e are ranked by one run, and 5th in the other.
    assert found.features["feature"].tolist() == ["a", "b", "NA", "e", "d"]
    assert found.features["mean_rank"].tolist() == [1.5, 1.5, 4.0, 4.0, 5.0]
    assert found.features["n_ranked"].tolist() == [2, 2, 1, 1, 0]
    assert found.features["n_called"].tolist() == [1, 2, 0, 1, 0]
    (row,) = found.overlap.to_dict(orient="records")
    assert row["jaccard_called"] == pytest.approx(1 / 3)
    assert (row["n_called_in_both"], row["n_features_in_both"]) == (1, 2)
    # p = 1/2. Shares of the first d in common: 0, 1, 2/3; then what no run ranks shares the last places in any order:
    # of (d, e) in one list and (NA, d) in the other, after a, b, NA and b, a, e. At 4: {a, b} and 1/2 e, 1/2 NA, 1/4 d.
    shares = [0, 1, 2 / 3, (2 + 1 / 2 + 1 / 2 + 1 / 4) / 4, 1]
    expected = sum(0.5 * 0.5**d * share for d, share in enumerate(shares)) + shares[-1] * 0.5**5
    assert row["rank_biased_overlap"] == pytest.approx(expected, rel=1e-12)
    assert found.settings.to_dict(orient="index") == {"seed": {"one": "0", "other": "1"}}


def test_a_run_that_ranks_nothing_has_no_overlap(tmp_path, runs):
    nothing = folder(tmp_path / "nothing", {"a": None, "b": None}, set())
    found = side_by_side([*runs, nothing])
    assert found.overlap["rank_biased_overlap"].notna().tolist() == [True, False, False]
    assert found.overlap["jaccard_called"].tolist()[1:] == [0.0, 0.0]
    selfsup = folder(tmp_path / "latent", {"a": 1, "b": 2}, set(), estimator="DeepMapperAutoencoder")
    assert math.isnan(side_by_side([runs[0], selfsup]).overlap["jaccard_called"][0])


def test_folders_of_one_name_are_told_apart(tmp_path):
    paths = [folder(tmp_path / place / "out", {"a": 1}, set()) for place in ("x", "y")]
    assert side_by_side(paths).names == ["x/out", "y/out"]
    assert len(side_by_side(paths).settings) == 0


def damaged(path: Path, name: str, text: str) -> Path:
    (folder(path, {"a": 1}, set()) / name).write_text(text)
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda d, one: [one], "folders must be two or more, got 1"),
        (lambda d, one: [one, d / "x" / ".." / "one"], "must be different ones"),
        (lambda d, one: [one, d / "absent"], "absent must be the output folder of a run, got no folder"),
        (lambda d, one: [one, d], "must be the output folder of a run, got another folder"),
        (lambda d, one: [one, damaged(d / "bad", "metrics.json", "{")], "metrics.json cannot be read"),
        (lambda d, one: [one, damaged(d / "bad", "metrics.json", "[]")], "must be a JSON object, got list"),
        (lambda d, one: [one, damaged(d / "bad", "findings.csv", "")], "findings.csv cannot be read"),
        (lambda d, one: [one, damaged(d / "bad", "findings.csv", "a,b\n1,2\n")], "must have the column 'feature'"),
    ],
)
def test_what_is_no_run_is_named(tmp_path, runs, make, message):
    (tmp_path / "x").mkdir()
    folders = make(tmp_path, runs[0])
    with pytest.raises(InputError, match=r"^compare: ") as error:
        side_by_side(folders)
    assert message in str(error.value)
    result = CliRunner().invoke(app, ["compare", *map(str, folders)])
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1


def test_the_command_prints_tables_writes_csv_and_json(tmp_path, runs):
    out = tmp_path / "table.csv"
    call = ["compare", *map(str, runs), "--out", str(out)]
    result = CliRunner().invoke(app, call)
    assert result.exit_code == 0, result.output
    for part in ("accuracy", "Ranks", "1 *", "Overlap", "0.333", "Settings that differ", "seed"):
        assert part in result.stdout
    assert pd.read_csv(out, keep_default_na=False)["feature"].tolist() == ["a", "b", "NA", "e", "d"]
    before = out.read_bytes()
    refused = CliRunner().invoke(app, call)
    assert refused.exit_code == 1
    assert "--force" in refused.stderr
    printed = CliRunner().invoke(app, [*call, "--force", "--json", "--top", "1"])
    found = json.loads(printed.stdout)
    assert found["command"] == "compare"
    assert found["runs"] == ["one", "other"]
    assert [row["feature"] for row in found["top_features"]] == ["a"]
    assert found["scores"][0]["n_called"] == 2
    assert found["overlap"][0]["n_called_in_both"] == 1
    assert out.read_bytes() == before


def test_a_file_that_pixfold_has_not_written_stays(tmp_path, runs):
    mine = tmp_path / "mine.csv"
    mine.write_text("my,table\n")
    result = CliRunner().invoke(app, ["compare", *map(str, runs), "--out", str(mine), "--force"])
    assert result.exit_code == 1
    assert mine.read_text() == "my,table\n"
    assert CliRunner().invoke(app, ["compare", *map(str, runs), "--out", "x.xlsx"]).exit_code == 2
