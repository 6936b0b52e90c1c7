from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from pixfold.errors import InputError, MissingDependencyError
from pixfold.sources import Source, open_source
from pixfold.sources.anndata.containers import quiet
from pixfold.stream.blocks import sample_bytes

pd: Any = pytest.importorskip("pandas")
h5py: Any = pytest.importorskip("h5py")
pytest.importorskip("anndata")
with quiet():
    import anndata

RNG = np.random.default_rng(0)
X = (RNG.random((40, 12)) * (RNG.random((40, 12)) < 0.4)).astype(np.float32)


def adata(X: Any = X) -> Any:
    with quiet():
        obs = pd.DataFrame(
            {
                "kind": pd.Categorical(["t", "b", None, "t"] * 10),
                "group": np.arange(40) % 2,
                "text": ["u", "v"] * 20,
                "depth": RNG.random(40),
            },
            index=[f"cell{i}" for i in range(40)],
        )
        data = anndata.AnnData(X, obs=obs, var=pd.DataFrame(index=[f"gene{i}" for i in range(12)]))
        data.layers["counts"] = np.arange(480).reshape(40, 12)
        data.raw = data
        data.layers["sparse"] = sparse.csr_matrix(2 * np.asarray(X.todense() if sparse.issparse(X) else X))
    return data


KEPT = ["memory", "h5ad", "zarr2", "zarr3", "sharded"]


def kept(tmp_path: Path, data: Any, where: str) -> Any:
    """AnnData in memory, or the path of a file or store of it."""
    if where == "memory":
        return data
    if where == "h5ad":
        return on_disk(tmp_path / "x.h5ad", data)
    zarr = pytest.importorskip("zarr")
    path = tmp_path / "x.zarr"
    with quiet(), anndata.settings.override(zarr_write_format=2 if where == "zarr2" else 3):
        data.write_zarr(path)
        if where == "sharded":
            group = zarr.open_group(path)
            for key in ("X", "X/data", "X/indices", "X/indptr", "layers/counts"):
                if isinstance(array := group.get(key), zarr.Array):
                    parts = [(2,) if array.ndim == 1 else (3, 12), (6,) if array.ndim == 1 else (9, 12)]
                    attributes, values = dict(array.attrs), array[:]
                    new = group.create_array(key, data=values, chunks=parts[0], shards=parts[1], overwrite=True)
                    new.attrs.update(attributes)
    return path


def on_disk(path: Path, data: Any, **options: Any) -> Path:
    with quiet():
        data.write_h5ad(path, **options)
    return path


FORMATS = {"dense": lambda x: x, "csr": sparse.csr_matrix, "csc": sparse.csc_matrix}


def dense(block: Any) -> Any:
    return block.toarray() if sparse.issparse(block) else block


ROWS = [
    slice(None),
    slice(3, 9),
    slice(5, 5),
    np.array([0]),
    np.array([0, 1, 2, 7, 8, 30, 39]),
    np.array([9, 3, 3, 20]),
    np.array([], dtype=np.int64),
]


@pytest.mark.parametrize("where", KEPT)
@pytest.mark.parametrize("form", FORMATS)
def test_reading_rows(tmp_path: Path, form: str, where: str) -> None:
    source = open_source(kept(tmp_path, adata(FORMATS[form](X)), where))
    assert isinstance(source, Source)
    assert source.feature_names[:2] == ["gene0", "gene1"]
    assert source.sample_names[-1] == "cell39"
    if where != "memory":
        whole = source.read(slice(None))
        parts = [whole] if form == "dense" else [whole.data, whole.indices]
        assert sample_bytes(source) == -(-(sum(part.nbytes for part in parts) + (form != "dense") * 8 * 41) // 40)
    for rows in ROWS:
        block = source.read(rows)
        assert source.is_sparse == sparse.issparse(block) == (form != "dense")
        assert block.dtype == source.dtype == np.float32
        np.testing.assert_array_equal(dense(block), X[rows])


@pytest.mark.parametrize("form", ["dense", "csr"])
@pytest.mark.parametrize("gap", [1, 2_000])
def test_scattered_rows_of_chunked_and_contiguous_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, gap: int
) -> None:
    monkeypatch.setattr("pixfold.sources.disk.rows._GAP_BYTES", gap)
    monkeypatch.setattr("pixfold.sources.disk.rows.BLOCK_BYTES", 12 * 4 * 6)  # spans of 6 rows
    rows = np.array([0, 2, 3, 9, 10, 11, 14, 25, 26, 38])
    for name, options in (("contiguous.h5ad", {}), ("chunked.h5ad", {"compression": "gzip"})):
        source = open_source(on_disk(tmp_path / name, adata(FORMATS[form](X)), **options))
        np.testing.assert_array_equal(dense(source.read(rows)), X[rows])


@pytest.mark.parametrize("where", KEPT)
def test_labels_and_layers(tmp_path: Path, where: str) -> None:
    data = kept(tmp_path, adata(), where)
    kind = open_source(data, label="kind").labels
    assert kind is not None
    assert kind[[0, 1, 3]].tolist() == ["t", "b", "t"]
    assert pd.isna(kind[2])
    group, text = open_source(data, label="group").labels, open_source(data, label="text").labels
    assert group is not None
    assert text is not None
    assert (group.tolist()[:2], text.tolist()[:2]) == ([0, 1], ["u", "v"])
    assert open_source(data).labels is None
    beside = open_source(data, y=np.arange(40)).labels
    assert beside is not None
    assert beside[5] == 5
    counts = open_source(data, layer="counts")
    assert counts.dtype.kind == "i"
    np.testing.assert_array_equal(counts.read(np.array([1, 4]))[:, 0], [12, 48])
    np.testing.assert_array_equal(dense(open_source(data, layer="sparse").read(slice(0, 5))), 2 * X[:5])
    np.testing.assert_array_equal(open_source(data, layer="raw").read(slice(0, 5)), X[:5])


@pytest.mark.parametrize("where", KEPT)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"label": "knd"},
            r"label column 'knd'; did you mean 'kind'\? columns there are: 'kind', 'text', 'group', 'depth'",
        ),
        ({"layer": "count"}, "no layer 'count'; layers there are: 'counts', 'sparse', 'raw'"),
        ({"y": [1, 2]}, "labels must be 40, one per sample, got 2"),
        ({"y": [1, 2], "label": "kind"}, "got both"),
    ],
)
def test_bad_options(tmp_path: Path, where: str, options: dict[str, Any], message: str) -> None:
    data = kept(tmp_path, adata(), where)
    with pytest.raises(InputError, match=message):
        open_source(data, **options)


def test_backed_objects_stay_on_disk(tmp_path: Path) -> None:
    path = on_disk(tmp_path / "x.h5ad", adata())
    with quiet():
        backed = anndata.read_h5ad(path, backed="r")
        view = backed[:10]
    source = open_source(backed, label="group")
    np.testing.assert_array_equal(source.read(slice(2, 4)), X[2:4])
    assert source.labels is not None
    with pytest.raises(InputError, match=r"a view of a backed object is not read; give its \.to_memory"):
        open_source(view)
    backed.file.close()


def test_opening_reads_no_values(tmp_path: Path) -> None:
    path = tmp_path / "huge.h5ad"
    on_disk(path, adata())
    with h5py.File(path, "a") as file:
        attributes = dict(file["X"].attrs)
        del file["X"], file["var"]
        # 40 x 10^9 float32: 160 GB that were never written
        X = file.create_dataset("X", (40, 10**9), "f4", chunks=(1, 10**6))
        X.attrs.update(attributes)
        file["var"] = file["obs"]  # 40 names do not fit
    with pytest.raises(InputError, match="var names 40, the matrix has 1,000,000,000"):
        open_source(path)


@pytest.mark.parametrize("where", KEPT[1:])
@pytest.mark.parametrize("form", FORMATS)
def test_source_survives_pickling_and_a_fork(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, where: str
) -> None:
    path = kept(tmp_path, adata(FORMATS[form](X)), where)
    monkeypatch.chdir(tmp_path)
    source = open_source(path.name)
    source.read(slice(0, 1))
    monkeypatch.chdir("/")
    copy = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(dense(copy.read(slice(0, 3))), X[:3])
    assert in_a_child(lambda: np.array_equal(dense(source.read(slice(0, 3))), X[:3]))


def in_a_child(check: Callable[[], bool]) -> bool:
    """Tell whether a check holds in a forked child."""
    child = os.fork()
    if not child:
        signal.alarm(60)  # a child that hangs ends
        os._exit(0 if check() else 1)
    return os.waitpid(child, 0)[1] == 0


def damage(path: Path, what: str) -> None:
    with h5py.File(path, "a") as file:
        if what == "no obs":
            del file["obs"]
        elif what == "no X":
            del file["X"]
        elif what == "1-D":
            del file["X"]
            file["X"] = np.zeros(3)
        elif what == "text":
            del file["X"]
            file.create_dataset("X", (40, 12), h5py.string_dtype())
        elif what == "indices":
            file["X/indices"][0] = 99
        elif what == "indptr":
            file["X/indptr"][1] = 10**6
        elif what == "no data":
            del file["X/data"]
        elif what == "unknown":
            file["X"].attrs["encoding-type"] = "ellpack"


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("no obs", "must be AnnData with obs and var, got HDF5 with 'X', "),
        ("no X", "the file has no X; layers there are: 'counts', 'sparse'"),
        ("1-D", r"X must be 2-D \(samples x features\), got 1-D"),
        ("text", "values must be real numbers, got type object"),
        ("indices", r"the sparse matrix 'X' is damaged \(index 99 of 12\)"),
        ("indptr", r"the sparse matrix 'X' is damaged \(indptr does not fit\)"),
        ("no data", "X is damaged or no AnnData"),
        ("unknown", "X must be dense, CSR or CSC, got 'ellpack'"),
    ],
)
def test_damaged_files(tmp_path: Path, what: str, message: str) -> None:
    path = on_disk(tmp_path / "x.h5ad", adata(sparse.csr_matrix(X)))
    damage(path, what)
    with pytest.raises(InputError, match=message) as caught:
        open_source(path).read(slice(None))
    assert str(caught.value).startswith(f"{path}: ")


def test_cut_off_file(tmp_path: Path) -> None:
    path = on_disk(tmp_path / "x.h5ad", adata())
    path.write_bytes(path.read_bytes()[:2_000])
    with pytest.raises(InputError, match="the HDF5 file is damaged or cut off"):
        open_source(path)


@pytest.mark.parametrize("form", FORMATS)
def test_file_that_changes_while_it_is_read(tmp_path: Path, form: str) -> None:
    path = on_disk(tmp_path / "x.h5ad", adata(FORMATS[form](X)))
    source = open_source(path)
    source.read(slice(0, 3))
    source.close()  # type: ignore[attr-defined]
    on_disk(path, adata(FORMATS[form](2 * X)), compression="gzip")
    with pytest.raises(InputError, match=r"x\.h5ad: x\.h5ad changed while it was read; open it again"):
        source.read(slice(0, 3))


def test_chunks_that_cannot_be_decompressed(tmp_path: Path) -> None:
    path = on_disk(tmp_path / "x.h5ad", adata(), compression="gzip")
    with h5py.File(path) as file:
        info = file["X"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[info.byte_offset : info.byte_offset + info.size] = bytes(info.size)
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot read the matrix: the HDF5 file is damaged or cut off"):
        open_source(path).read(slice(None))


@pytest.mark.parametrize("form", FORMATS)
def test_several_threads_read(tmp_path: Path, form: str) -> None:
    source = open_source(on_disk(tmp_path / "x.h5ad", adata(FORMATS[form](X))))
    wanted = [np.sort(RNG.choice(40, 9, replace=False)) for _ in range(40)]
    with ThreadPoolExecutor(4) as pool:
        blocks = list(pool.map(source.read, wanted))
    for rows, block in zip(wanted, blocks, strict=True):
        np.testing.assert_array_equal(dense(block), X[rows])


@pytest.mark.parametrize("where", KEPT)
def test_matrix_of_none(tmp_path: Path, where: str) -> None:
    data = adata()
    data.X = None
    with pytest.raises(InputError, match=r"(X is empty|the file has no X); layers there are: 'counts', 'sparse'"):
        open_source(kept(tmp_path, data, where))


def test_objects_without_a_usable_matrix() -> None:
    with quiet():
        empty = anndata.AnnData(obs=pd.DataFrame(index=["a", "b"]))
    with pytest.raises(InputError, match="AnnData: X is empty; layers there are: none"):
        open_source(empty)


def test_missing_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = on_disk(tmp_path / "x.h5ad", adata())
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingDependencyError, match=r"reading HDF5 files .* needs h5py.*pixfold\[io\]"):
        open_source(path)


def test_nothing_of_anndata_is_said(tmp_path: Path) -> None:
    path = on_disk(tmp_path / "x.h5ad", adata())
    code = f"from pixfold.sources import open_source as o; o({str(path)!r}, label='kind').read(slice(0, 2))"
    result = subprocess.run(
        [sys.executable, "-W", "always::FutureWarning", "-c", code],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("file", "shape", "classes"), [("chowdary.h5ad", (104, 22_283), 2), ("nakayama.h5ad", (105, 22_283), 10)]
)
def test_real_files(shared_data: Path, file: str, shape: tuple[int, int], classes: int) -> None:
    source = open_source(shared_data / file, label="label")
    assert (source.n_samples, source.n_features) == shape
    assert source.labels is not None
    assert len(set(source.labels)) == classes
    rows = np.array([3, 50, 51, 100])
    np.testing.assert_array_equal(source.read(rows), source.read(slice(None))[rows])
