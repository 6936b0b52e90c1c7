from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from pixfold.genotypes import PackedGenotypes
from pixfold.loader import in_memory, memory_copy
from pixfold.sources import ArraySource, Source, open_source


class OnDisk(Source):
    """A source that is not in memory, of whatever matrix."""

    def __init__(self, matrix) -> None:
        self.__dict__.update(ArraySource(matrix, labels=np.arange(matrix.shape[0]) % 2).__dict__)
        self.block_size = 7

    def read(self, rows):
        return self._matrix[rows]


def h5ad(path, X):
    anndata = pytest.importorskip("anndata")
    adata = anndata.AnnData(X)
    adata.obs["kind"] = [f"k{i % 2}" for i in range(X.shape[0])]
    adata.write_h5ad(path)
    return open_source(path, label="kind")


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_sparse_stays_sparse(tmp_path, dtype):
    X = sparse.random(30, 12, density=0.2, format="csr", random_state=0)
    X.data = np.arange(1, X.nnz + 1).astype(dtype)
    source = h5ad(tmp_path / "x.h5ad", X)
    held = in_memory(source)
    assert isinstance(held, ArraySource)
    assert held.is_sparse
    assert held.dtype == dtype
    np.testing.assert_array_equal(held.read(slice(0, 30)).toarray(), X.toarray())
    assert held.labels.tolist() == source.labels.tolist()
    assert (held.feature_names, held.sample_names) == (source.feature_names, source.sample_names)
    assert held.name == source.name


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.int64])
def test_dense_stays_as_it_is(tmp_path, dtype):
    x = np.random.default_rng(0).integers(0, 9, (50, 20)).astype(dtype)
    np.save(tmp_path / "x.npy", x)
    held = in_memory(open_source(tmp_path / "x.npy"))
    assert isinstance(held, ArraySource)
    assert held.dtype == dtype
    np.testing.assert_array_equal(held.read(slice(0, 50)), x)


def test_genotypes_stay_packed():
    g = np.random.default_rng(0).integers(0, 3, (50, 21))
    held = in_memory(OnDisk(PackedGenotypes.pack(g, count_first=False)))
    block = held.read(slice(0, 50))
    assert isinstance(block, PackedGenotypes)
    assert not block.count_first
    np.testing.assert_array_equal(block.toarray(np.int8), g)


@pytest.mark.parametrize("many", [False, True])
def test_indices_are_as_narrow_as_they_can_be(monkeypatch, many):
    X = sparse.random(60, 40, density=0.2, format="csr", random_state=0)
    wide = sparse.csr_matrix(X)
    wide.indices, wide.indptr = wide.indices.astype(np.int64), wide.indptr.astype(np.int64)
    if many:
        # As if more values were stored than 32 bits count.
        monkeypatch.setattr(memory_copy, "_INT32_MAX", 100)
    held = in_memory(OnDisk(wide))
    assert held._matrix.indices.dtype == np.int32
    assert held._matrix.indptr.dtype == (np.int64 if many else np.int32)
    assert held._matrix.indices.base is None
    for rows in (slice(0, 60), slice(3, 9), np.array([1, 5, 6, 59]), np.array([5, 1]), slice(4, 4)):
        np.testing.assert_array_equal(held.read(rows).toarray(), X[rows].toarray())


def test_unsorted_and_repeated_entries_are_put_right():
    X = sparse.csr_matrix((np.ones(5), np.array([3, 1, 1, 0, 0]), np.array([0, 3, 5])), shape=(2, 4))
    np.testing.assert_array_equal(in_memory(OnDisk(X)).read(slice(0, 2)).toarray(), [[0, 2, 0, 1], [2, 0, 0, 0]])


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix, PackedGenotypes.pack])
def test_what_is_too_large_stays_on_disk(make, monkeypatch):
    source = OnDisk(make(np.ones((30, 400), dtype=np.float32)))
    n_bytes = {"asarray": 30 * 400 * 4, "csr_matrix": 30 * 400 * 8, "pack": 30 * 100}[make.__name__]
    assert isinstance(in_memory(source), ArraySource)
    monkeypatch.setattr(memory_copy, "free_memory", lambda: int(1.5 * n_bytes))
    assert in_memory(source) is source
    monkeypatch.setattr(memory_copy, "free_memory", lambda: 1 << 40)
    assert in_memory(source, memory=int(1.5 * n_bytes)) is source
    assert isinstance(in_memory(source, memory=3 * n_bytes), ArraySource)


def test_arrays_are_returned_as_they_are():
    source = ArraySource(np.ones((3, 2)))
    assert in_memory(source) is source
