"""``pixfold run --task``: classes or a quantity, asked for or inferred."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import pixfold as pf
from pixfold.cli.app import app


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def shown_text(text: str) -> str:
    """What stands in a panel, without its frame and colours."""
    return re.sub(r"(\x1b\[[0-9;]*m|[│\s])+", " ", text)


@pytest.fixture
def table(tmp_path) -> Path:
    """40 samples of 12 features; the second rises with age (19 values), kind is its half, dose of three values."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(57, 12))
    age = 30 + np.arange(57) % 19
    values[:, 1] += age / 3
    columns = {"sample": [f"s{i}" for i in range(57)], **{f"gene_{j}": values[:, j] for j in range(12)}}
    frame = pd.DataFrame({**columns, "age": age, "dose": np.array([0.5, 1.0, 2.5])[np.arange(57) % 3]})
    frame["kind"] = np.where(age > 39, "old", "young")
    frame["cluster"] = np.arange(57) % 11
    path = tmp_path / "data.csv"
    frame.to_csv(path, index=False)
    return path


def run_of(table, label, *flags):
    """Run without the other columns about samples, which would be features; the output folder comes with it."""
    keep = pd.read_csv(table)
    others = [name for name in ("age", "dose", "kind", "cluster") if name != label]
    path = table.parent / f"{label}.csv"
    keep.drop(columns=others).to_csv(path, index=False)
    out = table.parent / "out"
    few = ("--runs", 2, "--threads", 1, "--device", "cpu", "--quiet", "--no-baselines")
    return invoke("run", path, "--label", label, "--out", out, *few, *flags), out


def test_a_quantity_is_inferred_and_said(table):
    result, out = run_of(table, "age", "--no-pair-screen")
    assert result.exit_code == 0, result.output
    said = "age has 19 different numbers: learned as a quantity (--task classification learns 19 classes)"
    assert result.stderr.count(said) == 1
    assert re.search(r"R2 of held-out samples: 0\.\d+", result.stdout)
    assert "Spearman correlation of held-out samples: 0." in result.stdout
    assert re.search(r"1 +gene_1 .* higher ", result.stdout)
    assert json.loads((out / "config.json").read_text())["estimator"] == "DeepMapperRegressor"
    assert pd.read_csv(out / "predictions.csv").columns.tolist() == ["run", "sample", "target", "predicted"]
    assert said in (out / "report.html").read_text()
    model = pf.load(out)
    assert isinstance(model, pf.DeepMapperRegressor)
    images = table.parent / "images.npy"
    assert invoke("fold", table.parent / "age.csv", images, "--label", "age", "--like", out).exit_code == 0


@pytest.mark.parametrize(
    ("label", "flags", "estimator"),
    [
        ("age", ("--task", "regression"), "DeepMapperRegressor"),
        ("age", ("--task", "regression", "--no-pair-screen"), "DeepMapperRegressor"),
        ("age", ("--task", "classification"), "DeepMapperClassifier"),
        ("age", ("--split", "median"), "DeepMapperClassifier"),
        ("dose", (), "DeepMapperClassifier"),
        ("dose", ("--task", "regression"), "DeepMapperRegressor"),
        ("kind", (), "DeepMapperClassifier"),
        ("cluster", ("--task", "auto"), "DeepMapperClassifier"),  # 0 to 10: codes
    ],
)
def test_what_is_learned(table, label, flags, estimator):
    result, out = run_of(table, label, *flags)
    assert result.exit_code == 0, result.output
    assert "different numbers" not in result.stderr
    assert json.loads((out / "config.json").read_text())["estimator"] == estimator


def test_text_is_no_quantity(table):
    result, out = run_of(table, "kind", "--task", "regression")
    assert result.exit_code == 2
    assert "labels must be numbers to be learned as a quantity, got 'old', 'young'" in result.stderr
    assert not out.exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--task", "survival", "--label", "age"), "survival is not there yet"),
        (("--task", "survival"), "survival is not there yet"),
        (
            ("--task", "ranking", "--label", "age"),
            "must be one of auto, classification, regression, self-supervised, got 'ranking'",
        ),
        (("--task", "regression"), "regression needs --label"),
        (("--task", "classification"), "classification needs --label"),
        (("--task", "regression", "--label", "age", "--split", "median"), "leave out --split"),
        (("--task", "regression", "--label", "age", "--min-accuracy", "0.6"), "regression has no --min-accuracy"),
        (("--task", "regression", "--label", "age", "--method", "saliency"), "regression has no --method"),
        (("--task", "regression", "--label", "age", "--pair-screen"), "regression has no --pair-screen"),
    ],
)
def test_tasks_that_are_refused(tmp_path, flags, words):
    result = invoke("run", tmp_path / "absent.csv", "--out", tmp_path / "out", *flags)
    assert result.exit_code == 2
    assert words in shown_text(result.stderr)
    assert "absent" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_is_trained(table):
    result, out = run_of(table, "age", "--backbone", "patchnet", "--epochs", 2)
    assert result.exit_code == 0, result.output
    assert json.loads((out / "config.json").read_text())["backbone"] == "patchnet"
    assert (out / "figures" / "training_curves.png").exists()


def test_phenotype_of_plink(tmp_path):
    """30 people, 20 variants; the phenotype rises with the first one's A2 alleles, one of it is missing (-9)."""
    rng = np.random.default_rng(0)
    genotypes = rng.integers(0, 3, size=(20, 30))
    phenotype = np.round(genotypes[0] * 2.0 + rng.normal(size=30) / 4, 3)
    codes = np.array([0b11, 0b10, 0b00], dtype=np.uint8)[genotypes]
    codes[3, 4] = 0b01  # a missing call
    padded = np.pad(codes, ((0, 0), (0, 2)))
    packed = padded[:, 0::4] | padded[:, 1::4] << 2 | padded[:, 2::4] << 4 | padded[:, 3::4] << 6
    (tmp_path / "x.bed").write_bytes(struct.pack("3B", 0x6C, 0x1B, 0x01) + packed.astype(np.uint8).tobytes())
    (tmp_path / "x.bim").write_text("".join(f"1 rs{j} 0 {j + 1} A G\n" for j in range(20)))
    values = [*map(str, phenotype[:-1]), "-9"]
    (tmp_path / "x.fam").write_text("".join(f"f{i} i{i} 0 0 1 {value}\n" for i, value in enumerate(values)))
    out = tmp_path / "out"
    flags = ("--missing", "mean", "--runs", 4, "--threads", 1, "--quiet", "--no-baselines")
    result = invoke("run", tmp_path / "x.bed", "--label", "phenotype", "--task", "regression", *flags, "--out", out)
    assert result.exit_code == 0, result.output
    found = pd.read_csv(out / "findings.csv")
    assert found["feature"][0].startswith("rs0")
    assert found["called"][0]
    assert json.loads((out / "metrics.json").read_text())["n_samples"] == 29
