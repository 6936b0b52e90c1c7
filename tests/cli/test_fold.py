"""The command `pixfold fold`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from pixfold.cli.app import app
from pixfold.layout import Layout
from pixfold.normalize.normalizer import Normalizer
from pixfold.ops import fold
from pixfold.sources import open_source


def invoke(*arguments):
    return CliRunner().invoke(app, ["fold", *map(str, arguments)])


@pytest.fixture
def table(tmp_path) -> Path:
    path = tmp_path / "data.csv"
    rows = "\n".join(f"s{i},{'ab'[i % 2]},{i}.5,{i * 2},{i % 3},{i % 5}" for i in range(8))
    path.write_text(f"sample,kind,first,second,third,fourth\n{rows}\n")
    return path


def test_a_table(table, tmp_path):
    out = tmp_path / "images.npy"
    result = invoke(table, out, "--label", "kind", "--normalize", "zscore", "--dtype", "float16")
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == f"{out}: 8 images of 1 x 2 x 2, float16; 2 classes"
    data = open_source(table, label="kind").read(slice(None))
    normalizer = Normalizer("zscore").fit(data)
    np.testing.assert_array_equal(np.load(out), fold(data, Layout.natural(4), normalizer, dtype="float16"))
    again = invoke(table, out, "--label", "kind")
    assert again.exit_code == 1
    assert f"error: cannot write {out}: {out} exists" in again.stderr
    assert invoke(table, out, "--label", "kind", "--force", "--quiet").exit_code == 0


def test_several_inputs_and_options(table, tmp_path):
    other = tmp_path / "other.csv"
    other.write_text("sample,fifth\n" + "".join(f"s{i},{i}\n" for i in range(7)))
    out = tmp_path / "images.npy"
    result = invoke(
        *(table, other, out, "--label", "kind", "--stack", "--join", "inner", "--shape", "3,2", "--quiet"),
        *("--arrangement", "shuffled", "--seed", 5, "--normalize", "none", "--threads", 1, "--memory", "4MB"),
    )
    assert result.exit_code == 0, result.output
    assert "7 images of 2 x 3 x 2, float32" in result.stdout
    assert "1 sample not in every input ('s7'): left out" in result.stderr
    layout = Layout.load(tmp_path / "images.layout.npz")
    assert layout == Layout.stacked([Layout.shuffled(4, 5, (3, 2)), Layout.shuffled(1, 5, (3, 2))])


def test_labels_of_another_table(table, tmp_path):
    (tmp_path / "labels.csv").write_text("sample,age\n" + "".join(f"s{i},{i * i}.5\n" for i in range(7)))
    other = tmp_path / "other.csv"
    other.write_text("sample,fifth\n" + "".join(f"s{i},{i}\n" for i in range(8)))
    options = ("--labels", tmp_path / "labels.csv", "--label", "age", "--split", "median", "--quiet", "--force")
    for inputs in ((table,), (table, other)):
        result = invoke(*inputs, tmp_path / "x.npy", *options)
        assert result.exit_code == 0, result.output
        assert "7 images" in result.stdout
        assert json.loads((tmp_path / "x.json").read_text())["classes"] == ["<= 9.5", "> 9.5"]


def test_sequences(tmp_path):
    pytest.importorskip("dnaio")
    path = tmp_path / "x.fasta"
    path.write_text("".join(f">s{i} kind={'ab'[i % 2]}\n{'ACGTN'[i % 5]}CGTACGTA\n" for i in range(8)))
    out = tmp_path / "x.npy"
    options = ("--label", "kind", "--alphabet", "rna", "--ambiguous", "zero", "--length", 4, "--normalize", "none")
    result = invoke(path, out, *options, "--quiet")
    assert result.exit_code == 0, result.output
    assert "8 images of 4 x 2 x 2, float32; 2 classes" in result.stdout
    np.testing.assert_array_equal(
        np.load(out)[0].reshape(4, 4), [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    )
    result = invoke(path, path, tmp_path / "y.npy", "--length", 4)
    assert result.exit_code == 2
    assert "--length must be left out for several inputs, got 2 of them" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--shape", "3"], 2, "must be height,width"),
        (["--shape", "1,1"], 2, "shape must have at least 5 pixels, got 1"),
        (["--label", "sort"], 2, "no label column 'sort'"),
        (["--dtype", "bfloat16"], 2, "--dtype must be one of float32, float16, got 'bfloat16'"),
        (["--like", "model", "--normalize", "zscore"], 2, "brings its own normaliser"),
        (["--like", "model"], 2, "must be a folder with model.safetensors"),
        (["--memory", "x"], 2, "memory must be a size such as"),
    ],
)
def test_bad_arguments(table, tmp_path, arguments, code, message):
    result = invoke(table, tmp_path / "images.npy", *arguments)
    assert result.exit_code == code
    assert message in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["data.csv"]


def test_images_as_those_of_a_saved_model(tmp_path):
    torch = pytest.importorskip("torch")
    pandas = pytest.importorskip("pandas")
    from pixfold.learn.estimators import DeepMapperClassifier

    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    frame = pandas.DataFrame(rng.random((40, 9)), columns=[f"g{j}" for j in range(9)])
    frame["site"] = np.array(["lung", "skin"])[rng.integers(0, 2, 40)]
    model = DeepMapperClassifier(
        backbone="patchnet", n_runs=1, epochs=1, arrangement="shuffled", random_state=0, device="cpu"
    )
    model.fit(frame, np.where(frame["g0"] > 0.5, "high", "low")).save(tmp_path / "model")
    new = frame.iloc[:5].assign(level="low")
    new.to_csv(tmp_path / "new.csv")
    out = tmp_path / "new.npy"
    result = invoke(tmp_path / "new.csv", out, "--like", tmp_path / "model", "--label", "level", "--quiet")
    assert result.exit_code == 0, result.output
    data = open_source(frame.iloc[:5], categories=model.categories_).read(slice(None))
    np.testing.assert_array_equal(np.load(out), fold(data, model.layout_, model.normalizer_))
    about = json.loads((tmp_path / "new.json").read_text())
    assert about["classes"] == ["high", "low"]
    assert about["labels"] == [1] * 5
    new.drop(columns="g3").to_csv(tmp_path / "short.csv")
    result = invoke(tmp_path / "short.csv", tmp_path / "short.npy", "--like", tmp_path / "model", "--label", "level")
    assert result.exit_code == 2
    assert "1 of the 10 features that the model learned are missing ('g3')" in result.stderr


@pytest.mark.parametrize(
    ("name", "options", "shape"),
    [
        ("chowdary.h5ad", ["--label", "label"], "104 images of 1 x 150 x 150"),
        ("nakayama.h5ad", ["--label", "label", "--dtype", "float16"], "105 images of 1 x 150 x 150"),
        ("golub.csv.gz", ["--label", "label"], "72 images of 1 x 85 x 85"),
        ("10x_visium", [], "images of 1 x "),
        ("plink/toydata.bed", ["--label", "phenotype", "--split", "median"], "500 images of 1 x 100 x 100"),
        ("subramanian.csv.gz", ["--label", "label", "--normalize", "zscore"], "50 images of 1 x 101 x 101"),
    ],
)
def test_real_data(shared_data, tmp_path, name, options, shape):
    pytest.importorskip("zarr")
    pytest.importorskip("anndata")
    result = invoke(shared_data / name, tmp_path / "out.zarr", *options, "--memory", "32MB", "--quiet")
    assert result.exit_code == 0, result.output
    assert shape in result.stdout
