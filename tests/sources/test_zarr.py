from __future__ import annotations

import importlib.util
import json
import os
import pickle
import shutil
import sys
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from pixfold.errors import InputError, MissingDependencyError
from pixfold.sources import open_source
from pixfold.sources.anndata import zarr as stores
from pixfold.sources.anndata.containers import quiet

zarr: Any = pytest.importorskip("zarr")
pd: Any = pytest.importorskip("pandas")
pytest.importorskip("anndata")
with quiet():
    import anndata

RNG = np.random.default_rng(5)
X: Any = sparse.random(60, 20, 0.3, format="csr", dtype=np.float32, rng=RNG)
needs_zarrs = pytest.mark.skipif(importlib.util.find_spec("zarrs") is None, reason="zarrs is not installed")


FORMS: dict[str, Callable[[Any], Any]] = {"dense": lambda x: x.toarray(), "csr": lambda x: x, "csc": sparse.csc_matrix}
Store = Callable[..., Path]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Give a function that makes a store of AnnData whose arrays have many chunks, each kind written once."""
    written: dict[tuple[str, int], Path] = {}

    def make(path: Path, form: str = "csr", version: int = 3) -> Path:
        kind = (form, version)
        if kind not in written:
            written[kind] = write(tmp_path_factory.mktemp("stores") / "x.zarr", FORMS[form](X), version)
        shutil.copytree(written[kind], path)
        return path

    return make


def write(path: Path, matrix: Any, version: int = 3) -> Path:
    with quiet(), anndata.settings.override(zarr_write_format=version):
        obs = pd.DataFrame(
            {
                "kind": pd.Categorical(["b", "a", "b"] * 20),
                "text": ["u", "v"] * 30,
                "count": pd.array([1, None] * 30, dtype="Int64"),
                "flag": pd.array([True, None, False] * 20, dtype="boolean"),
                "number": np.arange(60) + 0.5,
            },
            index=[f"c{i}" for i in range(60)],
        )
        anndata.AnnData(matrix, obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(20)])).write_zarr(path)
        rewrite(path, {"X": (7, 11), "X/data": (16,), "X/indices": (16,), "X/indptr": (8,)})
    return path


def rewrite(path: Path, chunks: dict[str, Any], **options: Any) -> None:
    group = zarr.open_group(path, use_consolidated=False)
    for key, size in chunks.items():
        if isinstance(array := group.get(key), zarr.Array):
            values, attributes = array[:], dict(array.attrs)
            new = group.create_array(key, data=values, chunks=size, overwrite=True, **options)
            new.attrs.update(attributes)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize(
    ("label", "first"),
    [
        ("kind", ["b", "a", "b"]),
        ("text", ["u", "v", "u"]),
        ("count", [1, None, 1]),
        ("flag", [True, None, False]),
        ("number", [0.5, 1.5, 2.5]),
    ],
)
def test_labels_of_every_type(store: Store, tmp_path: Path, version: int, label: str, first: list[Any]) -> None:
    labels = open_source(store(tmp_path / "x.zarr", version=version), label=label).labels
    assert labels is not None
    assert [None if pd.isna(value) else value for value in labels[:3]] == first


@pytest.mark.parametrize("dtype", [">f4", "<i2", "float16", "bool"])
@pytest.mark.parametrize("form", ["dense", "csr"])
def test_types_of_values(store: Store, tmp_path: Path, dtype: str, form: str) -> None:
    path = store(tmp_path / "x.zarr", form)
    group = zarr.open_group(path, use_consolidated=False)
    key = "X" if form == "dense" else "X/data"
    values, attributes = (4 * group[key][:]).astype(dtype), dict(group[key].attrs)
    group.create_array(key, data=values, chunks=(7, 11) if form == "dense" else (16,), overwrite=True)
    group[key].attrs.update(attributes)
    source = open_source(path)
    assert source.dtype.isnative
    block = source.read(np.array([1, 2, 50]))
    assert block.dtype == source.dtype
    expected = (4 * X.toarray()[[1, 2, 50]]).astype(dtype).astype(source.dtype)
    np.testing.assert_array_equal(block.toarray() if form == "csr" else block, expected)


@needs_zarrs
def test_zarrs_decodes_and_the_users_setting_stays(store: Store, tmp_path: Path) -> None:
    before = zarr.config.get("codec_pipeline.path")
    source = open_source(store(tmp_path / "x.zarr"))
    source.read(slice(0, 5))
    assert zarr.config.get("codec_pipeline.path") == before
    data = source._matrix._part("data")._array  # type: ignore[attr-defined]
    assert type(data.async_array.codec_pipeline).__name__ == "ZarrsCodecPipeline"


@pytest.mark.parametrize("zarrs", [False, pytest.param(True, marks=needs_zarrs)])
def test_a_forked_child_reads(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zarrs: bool) -> None:
    if not zarrs:
        monkeypatch.setattr(stores, "zarrs_works", lambda: False)
    source = open_source(store(tmp_path / "x.zarr"))
    source.read(slice(0, 5))
    child = os.fork()
    if not child:
        import signal

        signal.alarm(60)  # threads of zarrs are not in the child: waiting for them would never end
        os._exit(0 if np.array_equal(source.read(slice(0, 9)).toarray(), X[:9].toarray()) else 1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("zarrs", [False, pytest.param(True, marks=needs_zarrs)])
@pytest.mark.parametrize("form", ["dense", "csr", "csc"])
def test_several_threads_read(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, zarrs: bool
) -> None:
    if not zarrs:
        monkeypatch.setattr(stores, "zarrs_works", lambda: False)
    source = open_source(store(tmp_path / "x.zarr", form))
    source = pickle.loads(pickle.dumps(source))  # nothing is open yet
    wanted = [np.sort(RNG.choice(60, 9, replace=False)) for _ in range(40)]
    with ThreadPoolExecutor(4) as pool:
        blocks = list(pool.map(source.read, wanted))
    for rows, block in zip(wanted, blocks, strict=True):
        np.testing.assert_array_equal(block if form == "dense" else block.toarray(), X[rows].toarray())


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip_magic(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[0] ^= 0xFF
    file.write_bytes(content)


def flip_last(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 0xFF
    file.write_bytes(content)


def remove(file: Path) -> None:
    file.unlink()


@pytest.mark.parametrize("zarrs", [False, pytest.param(True, marks=needs_zarrs)])
@pytest.mark.parametrize(
    ("form", "file", "damage", "message"),
    [
        ("csr", "X/data/c/3", cut, "X/data/c/3 is damaged or cut off"),
        ("csr", "X/indices/c/3", flip_magic, "X/indices/c/3 is damaged or cut off"),
        ("csr", "X/indptr/c/1", cut, "X/indptr/c/1 is damaged or cut off"),
        ("csc", "X/data/c/3", cut, "X/data/c/3 is damaged or cut off"),
        ("dense", "X/c/2/1", cut, "X/c/2/1 is damaged or cut off"),
        ("csr", "X/data/c/3", remove, r"chunks of X/data are missing: values 48 to 64 of 360"),
        ("csr", "X/indices/c/3", remove, r"chunks of X/indices are missing: those of values 48 to 64"),
        ("csr", "X/indptr/c/0", remove, r"chunks of X/indptr are missing: those up to 8"),
        ("csr", "X/indptr/c/2", remove, r"the sparse matrix 'X' is damaged \(indptr does not fit\)"),
        ("csc", "X/indices/c/3", remove, r"chunks of X/indices are missing: those of values 48 to 64"),
        ("csr", "obs/_index/c/0", remove, r"obs/_index/c/0 with names of obs is missing"),
        ("csr", "var/_index/c/0", cut, "var is damaged or no AnnData"),
        ("csr", "zarr.json", cut, r"zarr\.json is damaged or cut off: it is no JSON"),
        ("csr", "X/zarr.json", cut, r"X/zarr\.json is damaged or cut off: it is no JSON"),
        ("csr", "X/data/zarr.json", cut, r"X/data/zarr\.json is damaged or cut off: it is no JSON"),
        ("csr", "X/indices/zarr.json", remove, r"X is damaged or no AnnData"),
        ("csr", "obs/zarr.json", cut, r"obs/zarr\.json is damaged or cut off: it is no JSON"),
    ],
)
def test_damaged_stores(
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    form: str,
    file: str,
    damage: Callable[[Path], None],
    message: str,
    zarrs: bool,
) -> None:
    if not zarrs:
        monkeypatch.setattr(stores, "zarrs_works", lambda: False)
    path = store(tmp_path / "x.zarr", form)
    damage(path / file)
    with pytest.raises(InputError, match=message) as caught:
        open_source(path).read(slice(None))
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("zarrs", [False, pytest.param(True, marks=needs_zarrs)])
@pytest.mark.parametrize("damage", [cut, flip_last])
def test_damaged_shards(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zarrs: bool, damage: Callable[[Path], None]
) -> None:
    """A shard's index, at its end, has a checksum."""
    if not zarrs:
        monkeypatch.setattr(stores, "zarrs_works", lambda: False)
    path = store(tmp_path / "x.zarr")
    rewrite(path, {"X/data": (16,)}, shards=(64,))
    damage(path / "X/data/c/2")
    source = open_source(path)
    source.read(slice(0, 5))  # the first shard is whole
    with pytest.raises(InputError, match="X/data/c/2 is damaged or cut off") as caught:
        source.read(slice(None))
    assert str(caught.value).startswith(f"{path}: ")


def test_truncated_metadata_of_format_2(store: Store, tmp_path: Path) -> None:
    path = store(tmp_path / "x.zarr", version=2)
    cut(path / "X/data/.zarray")
    with pytest.raises(InputError, match=r"X/data/\.zarray is damaged or cut off: it is no JSON"):
        open_source(path)


def test_chunks_of_zeros_need_not_be_stored(tmp_path: Path) -> None:
    matrix = sparse.csr_matrix(np.eye(60, 1, dtype=np.float32) + 1)  # one entry in each row, all in feature 0
    path = tmp_path / "x.zarr"
    with quiet():
        anndata.AnnData(matrix).write_zarr(path)
    rewrite(path, {"X/indices": (16,)})
    assert not (path / "X/indices/c").exists()
    np.testing.assert_array_equal(open_source(path).read(slice(None)).toarray(), matrix.toarray())
    empty_first = sparse.vstack([sparse.csr_matrix((20, 20), dtype=np.float32), X[20:]]).tocsr()
    shutil.rmtree(path)
    write(path, empty_first)
    assert not (path / "X/indptr/c/0").exists()
    np.testing.assert_array_equal(open_source(path).read(slice(None)).toarray(), empty_first.toarray())


def test_absent_chunks_of_dense_values_and_labels_are_told(tmp_path: Path) -> None:
    values = X.toarray()
    values[14:21] = 0
    path = write(tmp_path / "x.zarr", values)
    rewrite(path, {"obs/kind/codes": (20,)})
    remove(path / "obs/kind/codes/c/1")
    source = open_source(path, label="kind")
    assert [message.partition(": ")[2] for message in source.messages] == [
        "some chunks of X are not stored and read as 0.0: the first in samples 14 to 21, 1 such stretches; right "
        "when they hold nothing else",
        "obs/kind/codes/c/1 of the labels is not stored: its samples get the first category, or 0",
    ]
    np.testing.assert_array_equal(source.read(slice(None)), values)


@pytest.mark.parametrize("form", ["dense", "csr"])
def test_a_store_that_changes_while_it_is_read(store: Store, tmp_path: Path, form: str) -> None:
    path = store(tmp_path / "x.zarr", form)
    source = open_source(path)
    source.read(slice(0, 5))
    lost = path / ("X/c/8/0" if form == "dense" else "X/data/c/5")
    remove(lost)
    with pytest.raises(InputError, match=r"X/.*c/.* is gone: it was there when opened"):
        source.read(slice(None))
    source = open_source(store(tmp_path / "y.zarr", form))
    description = tmp_path / "y.zarr" / ("X/zarr.json" if form == "dense" else "X/indices/zarr.json")
    description.write_text(json.dumps(json.loads(description.read_text())) + " ")
    with pytest.raises(InputError, match=r"zarr\.json changed while it was read; open it again"):
        source.read(slice(0, 5))
    shutil.rmtree(tmp_path / "y.zarr")
    with pytest.raises(InputError, match=r"zarr\.json is not there any more"):
        source.read(slice(0, 5))


@pytest.mark.parametrize("version", [2, 3])
def test_stores_of_something_else(tmp_path: Path, version: int) -> None:
    group = zarr.open_group(tmp_path / "group.zarr", mode="w", zarr_format=version)
    group.create_array("images", shape=(3, 3), dtype="f4")
    with pytest.raises(InputError, match="or packed by pixfold, got 'images'"):
        open_source(tmp_path / "group.zarr")
    group.attrs["encoding-type"] = "MuData"
    with pytest.raises(InputError, match="got a store of type 'MuData' with 'images'"):
        open_source(tmp_path / "group.zarr")
    zarr.create_array(tmp_path / "array.zarr", shape=(3, 3), dtype="f4", zarr_format=3)
    with pytest.raises(InputError, match=r"must be a Zarr group .*, got one array"):
        open_source(tmp_path / "array.zarr")


def test_stores_of_pixfold_go_to_their_own_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("pixfold.sources.packed.source")
    seen: list[Any] = []
    packed = open_source(np.ones((2, 2)))
    module.open_packed = lambda path, options: seen.append((path, options.layer)) or packed  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pixfold.sources.packed.source", module)
    zarr.open_group(tmp_path / "x.zarr", mode="w").attrs["pixfold"] = {}
    assert open_source(tmp_path / "x.zarr") is packed
    assert seen == [(tmp_path / "x.zarr", None)]
    with pytest.raises(InputError, match="layers are read from AnnData alone, got 'raw'"):
        open_source(tmp_path / "x.zarr", layer="raw")


def test_nothing_to_verify(store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="only stores that pixfold pack has written hold checksums to verify"):
        open_source(store(tmp_path / "x.zarr"), verify=True)


def test_missing_package_names_the_extra(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = store(tmp_path / "x.zarr")
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(MissingDependencyError, match=r"reading Zarr stores needs zarr.*pixfold\[io\]"):
        open_source(path)
