"""Data at addresses: a Zarr store is read where it is, a file is downloaded; what goes wrong is one line."""

from __future__ import annotations

import functools
import http.server
import pickle
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pixfold import open_source, pack
from pixfold.errors import InputError, MissingDependencyError, OutputError
from pixfold.sources import side_by_side

fsspec = pytest.importorskip("fsspec")
pytest.importorskip("zarr")
X = np.arange(24, dtype=np.float32).reshape(6, 4)


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[str]:
    """An AnnData store, a packed store and two tables in the memory of fsspec."""
    anndata = pytest.importorskip("anndata")
    adata = anndata.AnnData(X)
    adata.obs_names = [f"s{i}" for i in range(6)]
    adata.obs["type"] = list("ababab")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the next version of the format
        adata.write_zarr(tmp_path / "cells.zarr")
    pack(open_source(adata), tmp_path / "packed.zarr")
    table = "name,g0,g1\n" + "".join(f"s{i},{i},{2 * i}\n" for i in range(6))
    (tmp_path / "x.csv").write_text(table)
    (tmp_path / "y.csv").write_text("name,type\n" + "".join(f"s{i},{'ab'[i % 2]}\n" for i in range(6)))
    files = fsspec.filesystem("memory")
    files.put(str(tmp_path), "/data", recursive=True)
    yield "memory://data"
    files.rm("/data", recursive=True)


@pytest.mark.parametrize("given", [str, lambda url: Path(url)])
def test_a_zarr_store_is_read_where_it_is(memory: str, given: object) -> None:
    source = open_source(given(f"{memory}/cells.zarr"), label="type")  # type: ignore[operator]
    assert source.name == f"{memory}/cells.zarr"
    np.testing.assert_array_equal(source.read(np.array([4, 1, 1])), X[[4, 1, 1]])
    assert list(source.labels) == list("ababab")
    copy = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(copy.read(slice(0, 6)), X)


def test_a_chunk_that_is_gone_is_noticed(memory: str) -> None:
    files = fsspec.filesystem("memory")
    chunks = [name for name in files.find("/data/cells.zarr/X") if not name.rpartition("/")[2].startswith(".z")]
    assert open_source(f"{memory}/cells.zarr").messages == []
    files.rm(chunks[0])
    (message,) = open_source(f"{memory}/cells.zarr").messages
    assert "not stored" in message, message


def test_a_packed_store(memory: str) -> None:
    source = open_source(f"{memory}/packed.zarr", verify=True)
    np.testing.assert_array_equal(source.read(slice(1, 4)), X[1:4])


def test_a_file_is_downloaded_and_its_labels_too(memory: str) -> None:
    source = open_source(f"{memory}/x.csv", labels=f"{memory}/y.csv", label="type")
    np.testing.assert_array_equal(source.read(slice(0, 6)), np.stack([np.arange(6), 2 * np.arange(6)], axis=1))
    assert list(source.labels) == list("ababab")
    both = side_by_side([f"{memory}/x.csv", f"{memory}/cells.zarr"])
    assert both.n_features == 6
    assert open_source([f"{memory}/x.csv", f"{memory}/cells.zarr"]).n_features == 6


def test_no_room(memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        free = 3

    monkeypatch.setattr("shutil.disk_usage", lambda _: Full)
    with pytest.raises(OutputError, match=r"x.csv: cannot download .* bytes to .*: 3 are free; set TMPDIR"):
        open_source(f"{memory}/x.csv")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("memory://data/none.csv", "^memory://data/none.csv: no such file$"),
        ("memory://data", "the address must be a file, a 10x folder or a Zarr store, got another folder"),
        ("http://127.0.0.1:9/x.csv", r"^http://127.0.0.1:9/x.csv: cannot read the address \(Cannot connect"),
    ],
)
def test_what_is_not_there(memory: str, address: str, message: str) -> None:
    pytest.importorskip("aiohttp")
    with pytest.raises(InputError, match=message):
        open_source(address)


def test_a_cloud_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "s3fs", None)
    with pytest.raises(MissingDependencyError, match=r"s3://bucket/x.h5ad: Install s3fs"):
        open_source("s3://bucket/x.h5ad")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A web server of a folder."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            return None

    folder = tmp_path / "www"
    folder.mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}", folder
        running.shutdown()


def test_genotypes_of_a_web_server_with_what_stands_beside(server: tuple[str, Path]) -> None:
    pytest.importorskip("aiohttp")
    url, folder = server
    (folder / "a.bim").write_text("".join(f"1\trs{j}\t0\t{j + 1}\tA\tC\n" for j in range(3)))
    (folder / "a.fam").write_text("".join(f"f{i} s{i} 0 0 0 {1 + i % 2}\n" for i in range(4)))
    (folder / "a.bed").write_bytes(b"\x6c\x1b\x01" + bytes([0b11100011] * 3))
    source = open_source(f"{url}/a.bed", label="phenotype")
    assert source.feature_names == ["rs0", "rs1", "rs2"]
    assert (source.n_samples, source.n_features) == (4, 3)
    with pytest.raises(InputError, match=f"^{url}/b.bed: no such file$"):
        open_source(f"{url}/b.bed")


def test_a_10x_folder_of_a_web_server(server: tuple[str, Path]) -> None:
    pytest.importorskip("aiohttp")
    url, folder = server
    cells = folder / "filtered"
    cells.mkdir()
    (cells / "matrix.mtx").write_text("%%MatrixMarket matrix coordinate integer general\n2 3 2\n1 1 5\n2 3 7\n")
    (cells / "features.tsv").write_text("ENSG1\tA\tGene Expression\nENSG2\tB\tGene Expression\n")
    (cells / "barcodes.tsv").write_text("c0\nc1\nc2\n")
    source = open_source(f"{url}/filtered")
    np.testing.assert_array_equal(source.read(slice(0, 3)).toarray(), [[5, 0], [0, 0], [0, 7]])
    assert source.sample_names == ["c0", "c1", "c2"]
