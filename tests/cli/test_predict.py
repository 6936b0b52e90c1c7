"""pixfold predict: new samples of any order, with more and fewer features, through the real command line."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import pixfold as pf
from pixfold.cli.app import app
from pixfold.errors import InputError
from pixfold.learn.predictions import predictions_of

pd = pytest.importorskip("pandas")
anndata = pytest.importorskip("anndata")

N = 64
GENES = [f"ENSG{j:011d}.{1 + j % 3}" for j in range(20)]
SAMPLES = [f"s{i}" for i in range(N)]
LABELS = np.array(["case", "ctrl"])[np.arange(N) % 2]
QUICK: dict[str, Any] = {"random_state": 0, "threads": 1, "n_runs": 8, "baselines": False, "pair_screen": False}


def values(seed: int = 0) -> Any:
    X = np.random.default_rng(seed).poisson(6.0, (N, len(GENES))).astype(float)
    X[LABELS == "case", 3] += 9
    X[:, 11] = 0  # empty: the model leaves it out
    return X


def frame(seed: int = 0) -> Any:
    return pd.DataFrame(values(seed), SAMPLES, GENES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    options = {key: value for key, value in QUICK.items() if key != "pair_screen"}
    pf.DeepMapperClassifier(normalize="log1p-minmax", **QUICK).fit(frame(), LABELS).save(path / "classes")
    pf.DeepMapperRegressor(**options).fit(frame(), values()[:, 3] + 0.5).save(path / "quantity")
    pf.DeepMapperAutoencoder(3, n_runs=1, epochs=1, random_state=0, threads=1).fit(frame()).save(path / "latent")
    return path


@pytest.fixture(scope="module")
def expected(folder: Path) -> Any:
    return pf.load(folder / "classes").predict_proba(frame(1))


def invoke(*arguments: Any) -> Any:
    return CliRunner().invoke(app, ["predict", *map(str, arguments), "--threads", "1", "--quiet"])


def h5ad(path: Path, table: Any) -> Path:
    anndata.AnnData(
        table.to_numpy(), obs=pd.DataFrame({"group": LABELS}, table.index), var=pd.DataFrame(index=table.columns)
    ).write_h5ad(path)
    return path


def csv(path: Path, table: Any) -> Path:
    table.assign(group=LABELS, words=[f"free text {i}" for i in range(len(table))]).to_csv(path)
    return path


@pytest.mark.parametrize(("write", "name"), [(csv, "x.csv"), (h5ad, "x.h5ad")])
@pytest.mark.parametrize("out", ["p.csv", "p.parquet"])
def test_reordered_with_extra_features_and_labels(
    folder: Path, expected: Any, tmp_path: Path, write: Any, name: str, out: str
) -> None:
    data = write(tmp_path / name, frame(1)[GENES[::-1]].assign(new1=3.0, new2=1.0))
    result = invoke(folder / "classes", data, "--label", "group", "--out", tmp_path / out)
    assert result.exit_code == 0, result.output
    extra = 3 if write is csv else 2
    assert f"{extra} features that the model has not learned are ignored" in result.stderr
    right = float(np.mean(expected.argmax(axis=1) == (LABELS == "ctrl")))
    assert f"accuracy: {right:.3f} (64 samples with a label" in result.stdout
    assert f"balanced accuracy: {right:.3f}" in result.stdout
    table = (pd.read_csv if out.endswith("csv") else pd.read_parquet)(tmp_path / out)
    assert list(table) == ["sample", "predicted", "label", "correct", "probability_case", "probability_ctrl"]
    assert table["sample"].tolist() == SAMPLES
    np.testing.assert_array_equal(table[["probability_case", "probability_ctrl"]].to_numpy(np.float32), expected)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_missing_features(folder: Path, expected: Any, tmp_path: Path) -> None:
    data = csv(tmp_path / "x.csv", frame(1).drop(columns=GENES[5:9]))
    result = invoke(folder / "classes", data, "--out", tmp_path / "p.csv", "--drop", "group")
    assert result.exit_code == 2
    assert f"4 of the 19 features that the model learned are missing ('{GENES[5]}'" in result.stderr
    assert "--fill-missing" in result.stderr
    assert not (tmp_path / "p.csv").exists()
    result = invoke(folder / "classes", data, "--out", tmp_path / "p.csv", "--fill-missing", "--drop", "group")
    assert result.exit_code == 0, result.output
    assert "4 features missing, 21 % of those learned" in result.stderr
    found = pd.read_csv(tmp_path / "p.csv")["probability_case"].to_numpy()
    # What takes its training mean is what any sample would be without that feature's own deviation.
    model = pf.load(folder / "classes")
    images = pf.fold(frame(1).to_numpy(), model.layout_, model.normalizer_)
    pixels = model.layout_.pixel_of_feature[5:9]
    trained = pf.fold(frame().to_numpy(), model.layout_, model.normalizer_).reshape(N, -1)
    # Min-max has no mean in its formula: the normalised mean of raw values' logarithm, near that of the images.
    images.reshape(N, -1)[:, pixels] = model._model.mean[5:9]
    np.testing.assert_allclose(model._model.mean[5:9], trained[:, pixels].mean(axis=0), atol=0.1)
    import torch

    with torch.no_grad():
        wanted = torch.softmax(model.module_(torch.from_numpy(images)), dim=1)[:, 0].numpy()
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)
    assert not np.allclose(found, expected[:, 0])


def test_missing_features_that_the_reading_left_out(folder: Path, tmp_path: Path) -> None:
    numbered = frame(1).rename(columns=lambda name: f"{name} ", index=lambda name: f"p{name}")
    model = pf.DeepMapperClassifier(**QUICK).fit(numbered, LABELS)
    with pytest.raises(InputError, match=r"19 are names of samples.*--transpose"):
        model.aligned(numbered.T)
    types = pd.DataFrame({"feature_types": ["Gene Expression"] * 5 + ["Antibody Capture"] * 15}, GENES)
    data = anndata.AnnData(values(1), obs=pd.DataFrame(index=SAMPLES), var=types)
    source = pf.open_source(data, feature_type="Gene Expression")
    source.messages.append("x: only Gene Expression is used; feature_type (--feature-type) chooses")
    with pytest.raises(InputError, match=r"14 of the .* are missing.*feature_type \(--feature-type\) chooses"):
        pf.load(folder / "classes").aligned(source)


def test_a_dropped_feature_is_missing_and_not_unknown(folder: Path, tmp_path: Path) -> None:
    data = csv(tmp_path / "x.csv", frame(1))
    result = invoke(folder / "classes", data, "--out", tmp_path / "p.csv", "--drop", GENES[3], "--fill-missing")
    assert result.exit_code == 0, result.output
    assert "1 feature missing" in result.stderr
    ignored = [line for line in result.stderr.splitlines() if "has not learned" in line]
    assert not any(GENES[3] in line for line in ignored)


def test_an_empty_feature_may_be_missing(folder: Path, expected: Any) -> None:
    found = pf.load(folder / "classes").aligned(frame(1).drop(columns=GENES[11]))
    assert "had no value in training" in found.messages[0]
    np.testing.assert_array_equal(pf.load(folder / "classes").predict_proba(found), expected)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("normalize", ["cp10k-log1p", "log1p-zscore", "none", "norm2"])
def test_the_mean_is_that_of_training(normalize: str, sparse: bool) -> None:
    from scipy.sparse import csr_matrix

    X = values()
    normalizer = pf.Normalizer(normalize).fit(csr_matrix(X) if sparse else X)
    mean, chosen = normalizer.training_mean(), np.arange(20) < 5
    assert mean is not None
    filled = np.where(chosen, 0, X)
    made = normalizer.with_constants(chosen, mean).transform(csr_matrix(filled) if sparse else filled)
    np.testing.assert_allclose(made[:, chosen], np.broadcast_to(mean[:5], (N, 5)), rtol=1e-6, atol=1e-7)
    if normalize != "cp10k-log1p":  # a sum without what is missing
        np.testing.assert_array_equal(made[:, ~chosen], normalizer.transform(X)[:, ~chosen])
    if normalize in ("log1p-zscore", "none"):
        np.testing.assert_allclose(mean, normalizer.transform(X).mean(axis=0), atol=1e-5)


def test_versions_of_ensembl(folder: Path, expected: Any, tmp_path: Path) -> None:
    plain = frame(1).rename(columns=lambda name: name.split(".")[0])
    data = h5ad(tmp_path / "x.h5ad", plain)
    result = invoke(folder / "classes", data, "--out", tmp_path / "p.csv")
    assert result.exit_code == 2
    assert "(--ignore-versions) finds 19 of them" in result.stderr
    result = invoke(folder / "classes", data, "--out", tmp_path / "p.csv", "--ignore-versions")
    assert result.exit_code == 0, result.output
    found = pd.read_csv(tmp_path / "p.csv")["probability_case"].to_numpy(np.float32)
    np.testing.assert_array_equal(found, expected[:, 0])
    model = pf.load(folder / "classes")
    twice = frame(1).assign(**{f"{GENES[2].split('.')[0]}.9": 1.0})
    with pytest.raises(InputError, match="must differ without their versions"):
        model.predict(twice, ignore_versions=True)
    par = frame(1).assign(**{f"{GENES[2].split('.')[0]}.9_PAR_Y": 1.0})
    with pytest.warns(UserWarning, match="1 feature that the model has not learned"):
        np.testing.assert_array_equal(model.predict_proba(par, ignore_versions=True), expected)


def test_hints_for_names_of_another_kind(folder: Path) -> None:
    model = pf.load(folder / "classes")
    with pytest.raises(InputError, match="19 are there in other letter case, such as 'ensg"):
        model.predict(frame().rename(columns=str.lower))
    symbols = frame().rename(columns=lambda name: f"SYM{GENES.index(name)}")
    data = anndata.AnnData(symbols.to_numpy(), var=pd.DataFrame({"ids": GENES}, symbols.columns))
    with pytest.raises(InputError, match="19 are in the annotation 'ids' of the data"):
        model.predict(data, fill_missing=True)
    with pytest.raises(InputError, match="the data have 'SYM0'"):
        model.predict(symbols)


def test_quantity_and_latent_values(folder: Path, tmp_path: Path) -> None:
    data = tmp_path / "x.csv"
    frame(1)[GENES[::-1]].assign(age=values(1)[:, 3] + 0.5).to_csv(data)
    result = invoke(folder / "quantity", data, "--label", "age", "--out", tmp_path / "q.csv")
    assert result.exit_code == 0, result.output
    assert "R2: 0." in result.stdout
    table = pd.read_csv(tmp_path / "q.csv")
    assert list(table) == ["sample", "predicted", "target"]
    np.testing.assert_allclose(table["predicted"], pf.load(folder / "quantity").predict(frame(1)), rtol=1e-6)
    result = invoke(folder / "latent", data, "--drop", "age", "--out", tmp_path / "l.csv")
    assert result.exit_code == 0, result.output
    latent = pd.read_csv(tmp_path / "l.csv")
    assert list(latent) == ["sample", "latent_0", "latent_1", "latent_2"]
    found = pf.load(folder / "latent").transform(frame(1))
    np.testing.assert_allclose(latent.iloc[:, 1:].to_numpy(), found, rtol=1e-5, atol=1e-6)


def test_labels_that_the_model_does_not_know(folder: Path) -> None:
    model = pf.load(folder / "classes")
    labels = LABELS.astype(object)
    labels[:3], labels[3:5] = "other", None
    table, scores, messages = predictions_of(model, model.aligned(frame(1), y=labels))
    assert scores["n_samples"] == N - 5
    assert table["label"].isna().sum() == 2
    assert any("3 samples of classes that were not learned ('other')" in text for text in messages)
    with pytest.raises(InputError, match="must be among the classes that were learned"):
        predictions_of(model, model.aligned(frame(1), y=np.full(N, "other")))


def test_classes_of_a_median_stay_where_they_were(tmp_path: Path) -> None:
    table = frame().assign(level=values()[:, 3])
    source = pf.open_source(table, label="level", split="median")
    model = pf.DeepMapperClassifier(**QUICK).fit_source(source)
    limit = float(model.class_names_[0].split()[1])
    new = frame(2).assign(level=values(2)[:, 3])
    found = predictions_of(model, model.aligned(new.iloc[:20], label="level"))[0]
    assert (found["label"] == np.where(new["level"][:20] > limit, f"> {limit:g}", f"<= {limit:g}")).all()


@pytest.mark.parametrize("command", [["predict"], ["fold", "--like"]])
def test_fold_and_predict_match_alike(folder: Path, tmp_path: Path, command: list[str]) -> None:
    data = csv(tmp_path / "x.csv", frame(1).drop(columns=GENES[5]))
    model = folder / "classes"
    if command[0] == "fold":
        arguments = ["fold", str(data), str(tmp_path / "o.npy"), "--like", str(model), "--label", "group"]
    else:
        arguments = ["predict", str(model), str(data), "--out", str(tmp_path / "o.csv"), "--label", "group"]
    assert "1 of the 19 features" in CliRunner().invoke(app, arguments).stderr
    result = CliRunner().invoke(app, [*arguments, "--fill-missing"])
    assert result.exit_code == 0, result.output
    assert "1 feature missing, 5.3 % of those learned" in result.stderr


BAD: dict[str, tuple[list[str], str]] = {
    "no model": (["{d}/none", "{d}/x.csv", "--out", "{d}/p.csv"], "must be a folder with model.safetensors"),
    "no data": (["{m}", "{d}/none.csv", "--out", "{d}/p.csv"], "no such file"),
    "other ending": (["{m}", "{d}/x.csv", "--out", "{d}/p.txt"], "must be a name that ends in .csv or .parquet"),
    "no folder": (["{m}", "{d}/x.csv", "--out", "{d}/none/p.csv"], "there is no folder"),
    "a folder": (["{m}", "{d}/x.csv", "--out", "{d}/dir.csv"], "it is a folder"),
    "something else": (["{m}", "{d}/x.csv", "--out", "{d}/mine.csv", "--force"], "it stays"),
    "something else in Parquet": (["{m}", "{d}/x.csv", "--out", "{d}/mine.parquet", "--force"], "it stays"),
    "there already": (["{m}", "{d}/x.csv", "--out", "{d}/mine.csv"], "exists; --force"),
    "no label": (["{m}", "{d}/x.csv", "--out", "{d}/p.csv", "--label", "grop"], "did you mean 'group'"),
    "memory": (["{m}", "{d}/x.csv", "--out", "{d}/p.csv", "--memory", "much"], "--memory must be"),
    "device": (["{m}", "{d}/x.csv", "--out", "{d}/p.csv", "--device", "abacus"], "--device must be"),
    "batch": (["{m}", "{d}/x.csv", "--out", "{d}/p.csv", "--batch-size", "0"], "--batch-size must be"),
    "missing value": (["{m}", "{d}/nan.csv", "--out", "{d}/p.csv", "--label", "group"], "missing"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input(folder: Path, tmp_path: Path, what: str) -> None:
    csv(tmp_path / "x.csv", frame(1))
    broken = frame(1)
    broken.iloc[4, 2] = np.nan
    csv(tmp_path / "nan.csv", broken)
    (tmp_path / "dir.csv").mkdir()
    (tmp_path / "mine.csv").write_text("sample,age\n")
    shutil.copy(csv(tmp_path / "y.csv", frame(1)), tmp_path / "mine.parquet")
    before = sorted(path.name for path in tmp_path.iterdir())
    arguments, message = BAD[what]
    result = invoke(*(part.format(d=tmp_path, m=folder / "classes") for part in arguments))
    assert result.exit_code != 0
    lines = [line for line in result.stderr.splitlines() if not line.startswith("warning: ")]
    assert len(lines) == 1, result.stderr
    assert message in lines[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert (tmp_path / "mine.csv").read_text() == "sample,age\n"


def test_what_it_wrote_is_replaced(folder: Path, tmp_path: Path) -> None:
    data = csv(tmp_path / "x.csv", frame(1))
    for name in ("p.csv", "p.parquet"):
        arguments = [folder / "classes", data, "--out", tmp_path / name]
        assert invoke(*arguments).exit_code == 0
        assert "exists; --force" in invoke(*arguments).stderr
        assert invoke(*arguments, "--force").exit_code == 0


def test_genotypes_must_count_the_same_alleles(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    G = rng.integers(0, 3, (N, 8))
    G[:, 2] = np.where(LABELS == "case", 2, 0)
    adata = anndata.AnnData(
        G.astype(np.float32),
        obs=pd.DataFrame({"group": LABELS}, SAMPLES),
        var=pd.DataFrame({"counted_allele": list("ACGTACGT"), "other_allele": list("CATGCATG")}, GENES[:8]),
    )
    adata.write_h5ad(tmp_path / "learned.h5ad")
    clf = pf.DeepMapperClassifier(normalize="genotype", **QUICK)
    clf.fit_source(pf.open_source(tmp_path / "learned.h5ad", label="group")).save(tmp_path / "model")
    again = pf.load(tmp_path / "model")
    same = adata[:, ::-1].copy()
    np.testing.assert_array_equal(again.predict(same), LABELS)
    swapped = adata.copy()
    swapped.var.iloc[2] = ["T", "G"]
    other = adata.copy()
    other.var = other.var.astype(object)
    other.var.iloc[2, 0] = "AT"
    for data, message in (
        (swapped, rf"1 variant of .* count the other allele than in training \({GENES[2]} counts T, learned was G\)"),
        (other, rf"1 variant of .* have other alleles than in training \({GENES[2]} counts AT, learned was G\)"),
    ):
        with pytest.raises(InputError, match=message):
            again.predict(data)
    fewer = adata[:, [0, 1, 3, 4, 5, 6, 7]].copy()
    with pytest.warns(UserWarning, match="1 feature missing"):
        again.predict(fewer, fill_missing=True)
