"""Zarr stores in ZIP archives are read as those in folders."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pixfold
from pixfold.sources import open_source
from pixfold.sources.anndata.containers import quiet

anndata: Any = pytest.importorskip("anndata")
pd: Any = pytest.importorskip("pandas")
pytest.importorskip("zarr")
from scipy import sparse  # noqa: E402

X = np.random.default_rng(0).poisson(1.0, (40, 12)).astype(np.float32)


def dense(block: Any) -> Any:
    return block.toarray() if sparse.issparse(block) else np.asarray(block)


def archived(folder: Path) -> Path:
    return Path(shutil.make_archive(str(folder), "zip", folder))


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_anndata_and_packed(tmp_path: Path, version: int, form: Any) -> None:
    obs = pd.DataFrame({"kind": list("ab") * 20}, index=[f"s{i}" for i in range(40)])
    with quiet(), anndata.settings.override(zarr_write_format=version):
        anndata.AnnData(form(X), obs=obs).write_zarr(tmp_path / "x.zarr")
    pixfold.pack(tmp_path / "x.zarr", tmp_path / "p.zarr", label="kind")
    for name in ("x.zarr", "p.zarr"):
        source = open_source(archived(tmp_path / name), label="kind")
        shutil.rmtree(tmp_path / name)
        for opened in (source, pickle.loads(pickle.dumps(source))):
            np.testing.assert_array_equal(dense(opened.read(slice(3, 30))), X[3:30])
            np.testing.assert_array_equal(dense(opened.read(np.array([7, 1, 39]))), X[[7, 1, 39]])
        assert source.labels is not None
        assert source.labels.tolist() == ["a", "b"] * 20
        assert source.sample_names == [f"s{i}" for i in range(40)]
    assert open_source(tmp_path / "p.zarr.zip", verify=True).n_samples == 40
