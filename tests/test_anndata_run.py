"""pixfold.anndata.run: what it writes into an AnnData object, and that files keep it."""

from __future__ import annotations

import numpy as np
import pytest

anndata = pytest.importorskip("anndata")
pd = pytest.importorskip("pandas")
pytest.importorskip("torch")

import pixfold.anndata  # noqa: E402
from pixfold.errors import InputError  # noqa: E402

FAST = {"n_runs": 8, "random_state": 0, "threads": 1, "baselines": False}


def made(n=60, p=40, seed=0):
    rng = np.random.default_rng(seed)
    kind = np.array(["case", "control"], dtype=object)[np.arange(n) % 2]
    X = rng.poisson(20, (n, p)).astype(np.float32)
    X[kind == "case", 3] += 30
    obs = pd.DataFrame(
        {"kind": kind, "age": X[:, 5] + rng.normal(0, 0.1, n), "donor": [f"d{i // 4}" for i in range(n)]},
        index=[f"s{i}" for i in range(n)],
    )
    return anndata.AnnData(X, obs=obs, var=pd.DataFrame(index=[f"g{j}" for j in range(p)]))


@pytest.mark.filterwarnings("ignore:Writing zarr v2")
def test_classes(tmp_path):
    adata = made()
    before = adata.X.copy()
    model = pixfold.anndata.run(adata, label="kind", **FAST)
    assert adata.var["pixfold_rank"].idxmin() == "g3"
    assert bool(adata.var.loc["g3", "pixfold_called"])
    assert adata.var.loc["g3", "pixfold_direction"] == "case"
    assert adata.var.loc["g3", "pixfold_q"] <= 0.1
    attribution = adata.varm["pixfold_attribution"]
    assert list(attribution.columns) == ["case", "control"]
    assert attribution.loc["g3", "case"] != 0
    expected = model.findings_.sort_index()
    np.testing.assert_array_equal(adata.var["pixfold_importance"], expected["importance"])
    assert (adata.obs["pixfold_prediction"].astype(str) == adata.obs["kind"]).mean() > 0.9
    assert adata.uns["pixfold"]["task"] == "classification"
    assert adata.uns["pixfold"]["metrics"]["balanced_accuracy"] > 0.9
    np.testing.assert_array_equal(adata.X, before)
    for name, read in (("a.h5ad", anndata.read_h5ad), ("a.zarr", anndata.read_zarr)):
        (adata.write_h5ad if name.endswith("h5ad") else adata.write_zarr)(tmp_path / name)
        again = read(tmp_path / name)
        pd.testing.assert_frame_equal(again.var, adata.var, check_dtype=False, check_categorical=False)
        assert again.uns["pixfold"]["label"] == "kind"
        np.testing.assert_array_equal(again.varm["pixfold_attribution"], attribution)


def test_a_quantity():
    adata = made()
    adata.layers["other"] = adata.X.copy()
    adata.X = np.zeros_like(adata.X)
    pixfold.anndata.run(adata, label="age", layer="other", key_added="age", **FAST)
    assert adata.var["age_rank"].idxmin() == "g5"
    assert set(adata.var["age_direction"].astype(str)) <= {"higher", "lower", ""}
    assert np.corrcoef(adata.obs["age_prediction"], adata.obs["age"])[0, 1] > 0.5
    assert "age_attribution" not in adata.varm
    assert adata.uns["age"]["task"] == "regression"


def test_without_labels(tmp_path):
    adata = made()
    pixfold.anndata.run(adata, n_runs=1, random_state=0, threads=1, epochs=3, latent_dim=4)
    assert adata.obsm["X_pixfold"].shape == (60, 4)
    assert adata.obsm["X_pixfold"].dtype == np.float32
    assert "pixfold_prediction" not in adata.obs
    assert "pixfold_q" not in adata.var
    adata.write_h5ad(tmp_path / "a.h5ad")


def test_noise_has_no_ranks_and_is_written(tmp_path):
    adata = made(seed=1)
    adata.obs["kind"] = np.random.default_rng(5).permutation(adata.obs["kind"])
    adata.X[:, 3] = 1.0 + np.arange(60) % 3
    pixfold.anndata.run(adata, label="kind", groups="donor", **FAST)
    assert not adata.var["pixfold_called"].any()
    adata.write_h5ad(tmp_path / "a.h5ad")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"adata": np.zeros((4, 3))}, "adata must be an AnnData object, got ndarray"),
        ({"label": "knd"}, "did you mean 'kind'"),
        ({"label": "kind", "task": "survival"}, "task must be .*regression, got 'survival'"),
        ({"task": "regression"}, "label must name a column of obs for task 'regression', got None"),
        ({"label": "kind", "layer": "none"}, "layer"),
        ({"label": "kind", "where": "donor == 1"}, r"where must be left out, .* adata\[samples, features\]"),
    ],
)
def test_what_is_refused(arguments, message):
    adata = made()
    with pytest.raises(InputError, match=message):
        pixfold.anndata.run(**{"adata": adata, **arguments})
    assert list(adata.var.columns) == []
    assert "pixfold" not in adata.uns


@pytest.mark.filterwarnings("ignore")  # those of scanpy and of what it brings
def test_scanpy_plots_what_was_written_and_read_back(tmp_path, monkeypatch):
    scanpy = pytest.importorskip("scanpy", reason="scanpy is not installed: pip install scanpy")
    monkeypatch.setenv("MPLBACKEND", "Agg")
    adata = made()
    pixfold.anndata.run(adata, label="kind", **FAST)
    latent = made()
    pixfold.anndata.run(latent, n_runs=1, epochs=1, random_state=0, threads=1)
    adata.obsm["X_pixfold"] = latent.obsm["X_pixfold"]
    adata.write_h5ad(tmp_path / "found.h5ad")
    back = anndata.read_h5ad(tmp_path / "found.h5ad")
    best = back.var["pixfold_rank"].nsmallest(3).index.tolist()
    assert best[0] == "g3"
    scanpy.pl.embedding(back, basis="X_pixfold", color=["pixfold_prediction", best[0]], show=False)
    scanpy.pl.violin(back, best, groupby="pixfold_prediction", show=False)
    scanpy.pl.dotplot(back, best, groupby="kind", show=False)
    scanpy.pp.neighbors(back, use_rep="X_pixfold")
    assert back.obsp["connectivities"].nnz > 0
