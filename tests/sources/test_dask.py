from __future__ import annotations

import os
import pickle
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from pixfold.errors import InputError
from pixfold.images.convert import convert
from pixfold.normalize.normalizer import Normalizer
from pixfold.sources import Source, open_source

da = pytest.importorskip("dask.array")

X = np.arange(84, dtype=np.float32).reshape(12, 7)


def lazy(chunks: Any = (5, 3)) -> Any:
    return da.from_array(X, chunks=chunks)


def lazy_csr() -> Any:
    meta = sparse.csr_array((0, 0), dtype=np.float32)
    return lazy((5, -1)).map_blocks(sparse.csr_array, dtype=np.float32, meta=meta)


@pytest.mark.parametrize("rows", [slice(None), slice(3, 7), np.array([11, 2, 2, 5]), np.array([], dtype=np.int64)])
@pytest.mark.parametrize("make", [lazy, lazy_csr])
def test_read(make: Any, rows: Any) -> None:
    source = open_source(make(), y=np.arange(12) % 2)
    assert isinstance(source, Source)
    assert (source.n_samples, source.n_features, source.dtype) == (12, 7, np.float32)
    assert source.labels is not None
    block = source.read(rows)
    assert sparse.issparse(block) == source.is_sparse == (make is lazy_csr)
    np.testing.assert_array_equal(block.toarray() if source.is_sparse else block, X[rows])


def test_other_dtypes_and_a_pickle() -> None:
    source = pickle.loads(pickle.dumps(open_source(lazy() > 40)))
    assert source.dtype == np.uint8
    np.testing.assert_array_equal(source.read(slice(None)), (X > 40).astype(np.uint8))


def test_in_a_forked_child() -> None:
    source = open_source(lazy())
    source.read(slice(None))
    pid = os.fork()
    if pid == 0:
        os._exit(0 if np.array_equal(source.read(slice(2, 9)), X[2:9]) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_everything_that_takes_a_source(tmp_path: Any) -> None:
    np.testing.assert_allclose(
        Normalizer("zscore").fit(open_source(lazy())).parameters().shift, X.mean(axis=0), rtol=1e-6
    )
    made = convert(lazy(), tmp_path / "x.npy", normalize="none", negative="error")
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy").reshape(12, 9)[:, :7], X)
    assert made.shape == (12, 1, 3, 3)


def test_anndata_with_a_dask_matrix() -> None:
    anndata = pytest.importorskip("anndata")
    pandas = pytest.importorskip("pandas")
    obs = pandas.DataFrame({"kind": list("ab") * 6}, index=[f"c{i}" for i in range(12)])
    var = pandas.DataFrame(index=[f"g{j}" for j in range(7)])
    source = open_source(anndata.AnnData(lazy((5, -1)), obs=obs, var=var), label="kind")
    assert source.feature_names == list(var.index)
    assert source.sample_names == list(obs.index)
    assert source.labels is not None
    assert source.labels.tolist() == list("ab") * 6
    np.testing.assert_array_equal(source.read(slice(4, 6)), X[4:6])


def test_refusals() -> None:
    some = lazy()
    with pytest.raises(InputError, match=r"Dask array: sizes must be known .*compute_chunk_sizes.*, got shape"):
        open_source(some[some[:, 0] > 3])
    with pytest.raises(InputError, match="data must be a 2-D matrix"):
        open_source(lazy()[0])
    with pytest.raises(InputError, match="Complex data not supported"):
        open_source(lazy().astype(complex))
    with pytest.raises(InputError, match="has no columns to take labels from"):
        open_source(lazy(), label="a")
    with pytest.raises(InputError, match="labels must be 12"):
        open_source(lazy(), y=[1])
