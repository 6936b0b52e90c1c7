"""Hidden layers as latent space, clusters in it, and groups of features through a whole job."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import pixfold as pf
from pixfold.cli.app import app
from pixfold.errors import InputError, MissingDependencyError
from pixfold.learn import clusters
from pixfold.learn.clusters import clusters_of
from pixfold.learn.tables import groups_table

QUICK = {"n_runs": 1, "epochs": 8, "device": "cpu", "random_state": 0, "normalize": "zscore", "threads": 1}


def blobs(n: int = 90, features: int = 30, groups: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Groups of samples far apart in all features."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % groups
    return (rng.normal(size=(n, features)) + 4 * rng.normal(size=(groups, features))[y]).astype(np.float32), y


@pytest.fixture(scope="module")
def fitted() -> pf.DeepMapperAutoencoder:
    X, y = blobs()
    return pf.DeepMapperAutoencoder(8, clusters="kmeans", latent_layer="encoder.4", **QUICK).fit(X, y)


def test_any_layer_is_the_latent_space(fitted: pf.DeepMapperAutoencoder, tmp_path: Path) -> None:
    X, _ = blobs()
    latent = fitted.transform(X)
    assert latent.shape == (90, 8 * 36)  # 8 channels of 6 x 6 places
    assert fitted.results_.latent.shape == latent.shape
    np.testing.assert_allclose(fitted.results_.latent.to_numpy(), latent, rtol=1e-5, atol=1e-6)
    fitted.save(tmp_path)
    np.testing.assert_array_equal(pf.load(tmp_path).transform(X), latent)
    assert (fitted.feature_importances_ > 0).any()


def test_a_layer_that_is_not_there_is_named_before_the_training() -> None:
    X, _ = blobs()
    message = r"latent_layer must be one of encoder.0 \(Gate\), .*decoder.4 \(ConvTranspose2d\), got 'encoder.9'"
    with pytest.raises(InputError, match=message):
        pf.DeepMapperAutoencoder(8, latent_layer="encoder.9", **QUICK).fit(X)


def test_clusters_of_a_job_agree_with_labels(fitted: pf.DeepMapperAutoencoder) -> None:
    found = fitted.metrics_["clustering"]
    assert found["n_clusters"] == 3
    assert found["ari"] == pytest.approx(1.0)
    assert found["nmi"] == pytest.approx(1.0)
    assert fitted.clusters_.shape == (90,)
    assert fitted.results_.clusters.index.tolist() == fitted.results_.latent.index.tolist()


def test_clusters_are_numbered_by_size_and_labels_may_be_missing() -> None:
    X, y = blobs(60)
    X, y = np.concatenate([X, X[y == 2]]), np.concatenate([y, y[y == 2]])
    labels = np.array([None if i % 5 == 0 else f"type {k}" for i, k in enumerate(y)], dtype=object)
    found = clusters_of(X, 3, labels=labels)
    assert np.bincount(found.of_sample).tolist() == [40, 20, 20]
    assert set(found.of_sample[y == 2]) == {0}
    assert found.metrics["n_labelled"] == 64
    assert found.metrics["ari"] == pytest.approx(1.0)
    shuffled = np.random.default_rng(1).permutation(y).astype(str).astype(object)
    assert abs(clusters_of(X, 3, labels=shuffled).metrics["ari"]) < 0.15


def test_leiden_finds_the_number_of_clusters() -> None:
    pytest.importorskip("leidenalg")
    X, y = blobs(120)
    found = clusters_of(X, "leiden", labels=y.astype(object))
    assert found.metrics["method"] == "leiden"
    # The graph of neighbours may split a group, but joins no two.
    assert found.metrics["n_clusters"] >= 3
    assert all(len(set(y[found.of_sample == number])) == 1 for number in set(found.of_sample))
    np.testing.assert_array_equal(found.of_sample, clusters_of(X, "leiden").of_sample)


def test_clusters_that_cannot_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    X, _ = blobs(10)
    with pytest.raises(InputError, match="clusters must be a number where there are no labels, got 'kmeans'"):
        clusters_of(X, "kmeans")
    with pytest.raises(InputError, match="clusters must be 2 to the number of samples, 10, got 11"):
        clusters_of(X, 11)
    monkeypatch.setitem(__import__("sys").modules, "leidenalg", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "pixfold\[cluster\]"'):
        clusters.require_leiden()
    with pytest.raises(InputError, match="clusters must be 'kmeans', 'leiden', a number of clusters of 2 or more"):
        pf.DeepMapperAutoencoder(clusters="dbscan", **QUICK).fit(X)


def invoke(*arguments: Any) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def test_self_supervised_job_with_labels_on_the_command_line(tmp_path: Path) -> None:
    X, y = blobs()
    path, out = tmp_path / "data.csv", tmp_path / "out"
    pd.DataFrame(X).add_prefix("f").assign(kind=np.array(["a", "b", "c"])[y]).to_csv(path, index=False)
    common = ("run", path, "--label", "kind", "--task", "self-supervised", "--out", out, "--epochs", 5, "--runs", 1)
    result = invoke(*common, "--clusters", "kmeans", "--latent-dim", 8, "--threads", 1)
    assert result.exit_code == 0, result.output
    assert "clusters (kmeans): 3; with the labels ARI 1.000, NMI 1.000" in result.output
    assert json.loads((out / "metrics.json").read_text())["clustering"]["n_labelled"] == 90
    table = pd.read_csv(out / "clusters.csv")
    assert table.columns.tolist() == ["sample", "cluster"]
    assert "kind" not in pd.read_csv(out / "findings.csv")["feature"].tolist()
    assert "has a use for --label only with --clusters" in " ".join(invoke(*common).output.split()).replace("│ ", "")
    refused = invoke("run", path, "--label", "kind", "--out", out, "--clusters", 3)
    assert refused.exit_code == 2


def planted() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = np.arange(120) % 2
    X = rng.normal(size=(120, 24)).astype(np.float32)
    X[:, 4:8] += 3 * y[:, None]
    return X, y


def test_ablation_by_groups_on_the_command_line(tmp_path: Path) -> None:
    X, y = planted()
    path, out, groups = tmp_path / "data.csv", tmp_path / "out", tmp_path / "pathways.gmt"
    pd.DataFrame(X).add_prefix("g").assign(kind=np.array(["a", "b"])[y]).to_csv(path, index=False)
    lines = [f"P{i}\tmade up\t" + "\t".join(f"g{j}" for j in range(4 * i, 4 * i + 4)) for i in range(5)]
    groups.write_text("\n".join(lines) + "\n")
    how = ("--backbone", "mlp", "--method", "feature_ablation", "--runs", 2, "--epochs", 15, "--threads", 1)
    result = invoke(
        *("run", path, "--label", "kind", "--normalize", "zscore", "--no-baselines", *how),
        *("--feature-groups", groups, "--target", "true", "--out", out),
    )
    assert result.exit_code == 0, result.output
    said = " ".join(result.output.split())
    assert "4 features in no group: not ablated, without a rank" in said
    assert "feature_ablation is not pixel-sharp: all features of one group share its value" in said
    assert "groups whose ablation costs most (groups.csv): P1 " in said
    table = pd.read_csv(out / "groups.csv")
    assert table.columns.tolist() == ["group", "n_features", "fall", "fall_se", "fall_a", "fall_b"]
    assert table["group"].iloc[0] == "P1"
    findings = pd.read_csv(out / "findings.csv")
    assert set(findings["feature"][:4]) == {"g4", "g5", "g6", "g7"}
    assert findings.set_index("feature")["rank"][["g20", "g21", "g22", "g23"]].isna().all()


def test_groups_table() -> None:
    falls = [np.array([[1.0, 3.0], [4.0, np.nan]]), np.array([[2.0, 4.0], [6.0, np.nan]])]
    table = groups_table(["A", "B"], [10, 2], falls, ["x", "y"])
    assert table["group"].tolist() == ["B", "A"]
    assert table["fall"].tolist() == [5.0, 2.5]
    assert table["fall_se"].tolist() == [1.0, 0.5]
    assert table["fall_x"].tolist() == [5.0, 1.5]


def test_jobs_report_completeness_and_take_contrasts(tmp_path: Path) -> None:
    X, y = planted()
    names = np.array(["low", "high"])[y]
    settings = {**QUICK, "backbone": "mlp", "baselines": False, "epochs": 12, "batch_size": 16}
    clf = pf.DeepMapperClassifier(method="deeplift", target="high-low", attribution_baseline="others", **settings).fit(
        X, names
    )
    assert set(clf.findings_["feature"][:4]) <= {f"feature_{j}" for j in range(4, 8)}
    assert 0 <= clf.metrics_["completeness_delta_relative"] < 1e-4
    shap = pf.DeepMapperClassifier(method="gradient_shap", attribution_baseline="mean", noise_tunnel=2, **settings).fit(
        X, names
    )
    assert set(shap.findings_["feature"][:2]) <= {f"feature_{j}" for j in range(4, 8)}
    assert "completeness_delta" not in shap.metrics_
    with pytest.raises(
        InputError, match=r"target must be two classes with a hyphen .* of 'high', 'low', got 'high-medium'"
    ):
        pf.DeepMapperClassifier(method="saliency", target="high-medium", **settings).fit(X, names)
    with pytest.raises(InputError, match=r"backbone of the method 'gate' must be one with a gate, .*, got mlp"):
        pf.DeepMapperClassifier(method="gate", **settings).fit(X, names)


def test_code_needs_to_be_trusted_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = planted()
    path, out, mark = tmp_path / "data.csv", tmp_path / "out", tmp_path / "imported"
    pd.DataFrame(X).add_prefix("g").assign(kind=np.array(["a", "b"])[y]).to_csv(path, index=False)
    (tmp_path / "my_nets_of_tests.py").write_text(
        "from pathlib import Path\nfrom torch import nn\nPath('imported').touch()\n"
        "def net(*, shape, n_outputs):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], n_outputs))\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(__import__("sys").path))
    run = ("run", path, "--label", "kind", "--normalize", "zscore", "--no-baselines", "--runs", 1, "--epochs", 5)
    named = ("--backbone", "my_nets_of_tests:net")
    result = invoke(*run, *named, "--out", out)
    assert result.exit_code == 2
    assert "--trust-code allows to import it" in " ".join(result.output.replace("│", " ").split())
    assert not mark.exists()
    assert not out.exists()
    result = invoke(*run, *named, "--trust-code", "--out", out)
    assert result.exit_code == 0, result.output
    assert mark.exists()
    refused = invoke("predict", out, path, "--out", tmp_path / "p.csv")
    assert refused.exit_code == 2
    assert "--backbone my_nets_of_tests:net --trust-code" in " ".join(refused.output.split())
    assert invoke("predict", out, path, *named, "--out", tmp_path / "p.csv").exit_code == 2
    result = invoke("predict", out, path, *named, "--trust-code", "--label", "kind", "--out", tmp_path / "p.csv")
    assert result.exit_code == 0, result.output
