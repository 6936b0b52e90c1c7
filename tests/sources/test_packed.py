from __future__ import annotations

import json
import os
import pickle
import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

import pixfold
import pixfold.sources.packed.store as packed_store
from pixfold import PackedGenotypes
from pixfold.errors import InputError
from pixfold.sources import open_source
from pixfold.store import chunking as plan

zarr: Any = pytest.importorskip("zarr")
pytest.importorskip("anndata")
RNG = np.random.default_rng(0)
N, M = 83, 45
X = {
    "dense": RNG.normal(size=(N, M)),
    "csr": sparse.random(N, M, 0.2, format="csr", random_state=0),
    "genotypes": PackedGenotypes.pack(RNG.integers(-1, 3, (N, M)).astype(np.int8), count_first=False),
}
FILES = {"dense": "X/c/1/0", "csr": "X/indices/c/1", "genotypes": "bits/c/1/0"}


def dense(block: Any) -> Any:
    return block.toarray() if hasattr(block, "toarray") else block


@pytest.fixture(params=[True, False], ids=["zarrs", "zarr alone"])
def pipeline(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param:
        pytest.importorskip("zarrs")
    else:
        monkeypatch.setattr(packed_store, "zarrs_works", lambda: False)


@pytest.fixture(params=X)
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Path]:
    """A store of several shards of several chunks."""
    monkeypatch.setattr(plan, "_CHUNK_BYTES", 50 if request.param == "genotypes" else 400)
    monkeypatch.setattr(plan, "_SHARD_BYTES", 200 if request.param == "genotypes" else 1200)
    pixfold.pack(X[request.param], tmp_path / "o.zarr", y=np.arange(N) % 3)
    return request.param, tmp_path / "o.zarr"


ROWS = [
    slice(None),
    slice(0, 0),
    slice(7, 31),
    np.array([5]),
    np.array([0, 1, 2, 40, 41, 82]),
    np.array([80, 3, 3, 0, 11]),
    np.array([], dtype=np.int64),
    np.arange(N) % 3 == 0,
]


@pytest.mark.parametrize("rows", ROWS, ids=str)
def test_reading_rows(store: tuple[str, Path], pipeline: None, rows: Any) -> None:
    kind, path = store
    source = open_source(path)
    block = source.read(rows)
    assert source.is_sparse == sparse.issparse(block) == (kind == "csr")
    assert block.dtype == source.dtype
    np.testing.assert_array_equal(dense(block), dense(X[kind][rows]))
    if kind == "genotypes":
        assert not block.count_first
    assert (source.n_samples, source.n_features) == (N, M)
    assert source.nbytes > 0  # type: ignore[attr-defined]


def test_labels(store: tuple[str, Path]) -> None:
    labels = open_source(store[1], label="label").labels
    assert labels is not None
    assert labels.tolist() == (np.arange(N) % 3).tolist()
    beside = open_source(store[1], y=np.zeros(N)).labels
    assert beside is not None
    with pytest.raises(InputError, match="labels must be 83"):
        open_source(store[1], y=[1])


def test_processes_and_threads(store: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    kind, path = store
    expected = dense(X[kind][:])
    monkeypatch.chdir(path.parent)
    source = open_source(path.name)
    np.testing.assert_array_equal(dense(source.read(slice(None))), expected)
    monkeypatch.chdir("/")
    copy = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(dense(copy.read(slice(2, 50))), expected[2:50])
    with ThreadPoolExecutor(4) as pool:
        blocks = list(pool.map(lambda i: dense(source.read(slice(i, i + 9))), range(0, 70, 5)))
    for i, block in zip(range(0, 70, 5), blocks, strict=True):
        np.testing.assert_array_equal(block, expected[i : i + 9])
    child = os.fork()
    if child == 0:
        same = np.array_equal(dense(source.read(slice(5, 50))), expected[5:50], equal_nan=True)
        os._exit(0 if same else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def flip(file: Path, at: int) -> None:
    content = bytearray(file.read_bytes())
    content[at] ^= 0x10
    file.write_bytes(content)


def test_flipped_bytes(store: tuple[str, Path], pipeline: None) -> None:
    """Any byte of a shard: opening is quick and does not see it; reading it, or verifying, does."""
    kind, path = store
    shard = path / FILES[kind]
    for at in [*range(0, shard.stat().st_size, 29), shard.stat().st_size - 1]:
        flip(shard, at)
        source = open_source(path)
        with pytest.raises(InputError, match=rf"o\.zarr: {FILES[kind]} is damaged .*pack the data again"):
            source.read(slice(None))
        with pytest.raises(InputError, match=rf"o\.zarr: {FILES[kind]} is damaged"):
            open_source(path, verify=True)
        flip(shard, at)
    np.testing.assert_array_equal(dense(open_source(path, verify=True).read(slice(None))), dense(X[kind][:]))


def test_the_chunk_of_flipped_bytes_is_named(store: tuple[str, Path], pipeline: None) -> None:
    kind, path = store
    flip(path / FILES[kind], 5)
    with pytest.raises(InputError, match=r"chunk of \d+ rows? from \d+\)"):
        open_source(path).read(slice(None))


def test_flipped_bytes_of_names(store: tuple[str, Path]) -> None:
    _, path = store
    for file in ("obs/_index/c/0", "var/_index/c/0"):
        for at in range(0, (path / file).stat().st_size, 17):
            flip(path / file, at)
            with pytest.raises(InputError, match=rf"o\.zarr: {file[:3]}/_index is damaged"):
                open_source(path)
            flip(path / file, at)
    open_source(path, verify=True)


def about(path: Path, **said: Any) -> None:
    root = json.loads((path / "zarr.json").read_text())
    root["attributes"]["pixfold"].update(said)
    (path / "zarr.json").write_text(json.dumps(root))


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "half-written": (lambda p: about(p, complete=False), "this store is half-written: pixfold pack was interrupted"),
    "newer": (lambda p: about(p, version=2), "the store is of version 2, this pixfold reads version 1"),
    "cut metadata": (lambda p: (p / "zarr.json").write_text("{"), r"zarr\.json is damaged or cut off"),
    "no names": (lambda p: shutil.rmtree(p / "var"), r"var/.* is missing"),
    "other shape": (lambda p: about(p, shape=[5, 5]), "obs must name 5 as the store says, got 83 names"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_stores_that_are_not_whole(store: tuple[str, Path], damage: str) -> None:
    _, path = store
    spoil, message = DAMAGES[damage]
    spoil(path)
    with pytest.raises(InputError, match=rf"{re.escape(str(path))}: {message}"):
        open_source(path)


def test_shards_that_are_gone_or_cut_off(store: tuple[str, Path]) -> None:
    kind, path = store
    shard = path / FILES[kind]
    source = open_source(path)
    size = shard.stat().st_size
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(InputError, match=rf"{FILES[kind]} is damaged: it must be of {size:,} bytes, got {size - 1:,}"):
        open_source(path)
    shard.unlink()
    with pytest.raises(InputError, match=rf"{FILES[kind]} is missing"):
        open_source(path)
    with pytest.raises(InputError, match=rf"{FILES[kind]} is missing"):
        source.read(slice(None))


def test_a_store_that_changes_under_us(store: tuple[str, Path]) -> None:
    _, path = store
    source = open_source(path)
    pixfold.pack(np.eye(3), path, force=True)
    with pytest.raises(InputError, match=r"o\.zarr: the store has changed since it was opened"):
        source.read(slice(0, 1))


def test_other_zarr_stores(tmp_path: Path) -> None:
    zarr.open_group(tmp_path / "o.zarr", mode="w", zarr_format=3)
    with pytest.raises(InputError, match="the store must be AnnData, VCF Zarr, or packed by pixfold"):
        open_source(tmp_path / "o.zarr")
    with pytest.raises(InputError, match="only stores that pixfold pack has written"):
        open_source(tmp_path / "o.zarr", verify=True)
    pixfold.pack(np.eye(3), tmp_path / "p.zarr")
    with pytest.raises(InputError, match="layers are read from AnnData alone"):
        open_source(tmp_path / "p.zarr", layer="raw")


def test_nothing_to_verify(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.eye(3))
    for data in (tmp_path / "x.npy", np.eye(3)):
        with pytest.raises(InputError, match="only stores that pixfold pack has written hold checksums"):
            open_source(data, verify=True)


def test_zeros_take_no_shard(tmp_path: Path) -> None:
    pixfold.pack(np.zeros((5, 7)), tmp_path / "o.zarr", verify=True)
    np.testing.assert_array_equal(open_source(tmp_path / "o.zarr", verify=True).read(slice(None)), np.zeros((5, 7)))
    pixfold.pack(sparse.csr_matrix((5, 7)), tmp_path / "o.zarr", force=True, verify=True)
    assert open_source(tmp_path / "o.zarr", verify=True).read(slice(1, 4)).nnz == 0
