from __future__ import annotations

import gzip
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import io as scipy_io
from scipy import sparse

from pixfold.errors import InputError
from pixfold.sources import open_source
from pixfold.sources.disk import limits
from pixfold.sources.disk.scratch import ScratchArray
from pixfold.stream.blocks import sample_bytes

h5py: Any = pytest.importorskip("h5py")
pytest.importorskip("pyarrow")
pytest.importorskip("pandas")

RNG = np.random.default_rng(2)
# samples x features, as pixfold reads it; the files hold its transpose
X: Any = sparse.random(30, 8, 0.3, format="csr", dtype=np.float64, rng=RNG)
X.data = np.ceil(X.data * 50).astype(np.int32)

KINDS: dict[str, Callable[[int], str]] = {
    "integer": lambda v: f" {v}",
    "real": lambda v: f" {v}.5e0",
    "pattern": lambda v: "",
}


def lines(kind: str = "integer", order: str = "samples") -> list[str]:
    rows, columns, values = sparse.find(X)
    index = np.lexsort({"samples": (columns, rows), "features": (rows, columns)}.get(order, (values,)))
    entries = [f"{columns[i] + 1} {rows[i] + 1}{KINDS[kind](values[i])}" for i in index]
    return [f"%%MatrixMarket matrix coordinate {kind} general", "%", "8 30 72", *entries]


def write(path: Path, text: str) -> None:
    path.write_bytes(gzip.compress(text.encode(), mtime=0) if path.suffix == ".gz" else text.encode())


def folder(path: Path, mtx: list[str] | None = None, end: str = ".gz", prefix: str = "", genes: bool = False) -> Path:
    path.mkdir(exist_ok=True)
    write(path / f"{prefix}matrix.mtx{end}", "\n".join(lines() if mtx is None else mtx) + "\n")
    features = [f"ENS{i}\tsymbol{i}" + ("" if genes else "\tGene Expression") for i in range(8)]
    write(path / f"{prefix}{'genes' if genes else 'features'}.tsv{end}", "\n".join(features) + "\n")
    write(path / f"{prefix}barcodes.tsv{end}", "".join(f"AC{i}-1\n" for i in range(30)))
    return path


def test_the_example_is_as_its_header_says() -> None:
    assert X.nnz == 72


@pytest.mark.parametrize("order", ["samples", "features", "none"])
@pytest.mark.parametrize("memory", [10**8, 200 * 5], ids=["memory", "files"])
def test_entries_in_any_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: str, memory: int) -> None:
    monkeypatch.setattr(limits, "LARGEST", memory)
    source = open_source(folder(tmp_path / "x", lines(order=order)))
    assert (source.n_samples, source.n_features, source.dtype) == (30, 8, np.int32)
    assert source.feature_names[2] == "symbol2"
    assert source.sample_names[29] == "AC29-1"
    assert source.is_sparse
    assert source.labels is None
    assert sample_bytes(source) == -(-(72 * 8 + 31 * 8) // 30)
    assert [m.partition(": ")[2][:42] for m in source.messages] == (
        [] if memory > 10**6 else ["not stored by rows: the first read brings "]
    )
    for rows in (slice(None), slice(3, 4), np.array([0, 7, 29]), np.array([5, 2, 2])):
        block = source.read(rows)
        assert block.dtype == np.int32
        assert block.has_canonical_format
        np.testing.assert_array_equal(block.toarray(), X[rows].toarray())
    once = source._matrix._once  # type: ignore[attr-defined]
    assert isinstance(once._rows.data, ScratchArray) == (memory < 10**6)
    copy = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(copy.read(slice(0, 9)).toarray(), X[:9].toarray())
    source.close()  # type: ignore[attr-defined]
    np.testing.assert_array_equal(source.read(slice(0, 9)).toarray(), X[:9].toarray())


@pytest.mark.parametrize(("kind", "dtype"), [("integer", np.int32), ("real", np.float64), ("pattern", np.uint8)])
@pytest.mark.parametrize("end", ["", ".gz"])
def test_kinds_of_values(tmp_path: Path, kind: str, dtype: Any, end: str) -> None:
    source = open_source(folder(tmp_path / "x", lines(kind), end=end, genes=True))
    block = source.read(slice(None))
    assert source.dtype == block.dtype == dtype
    expected = X.toarray().astype(float)
    stored = expected > 0
    expected = {"integer": expected, "real": expected + 0.5 * stored, "pattern": stored}[kind]
    np.testing.assert_array_equal(block.toarray(), expected)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(" ", "\t"),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace(" ", "   ").replace("\n", "\n  "),
        lambda text: text.replace("%\n8 30", "% a comment\n\n%\n8 30"),
        lambda text: text + "\n\n",
        lambda text: text.rstrip("\n"),
    ],
    ids=["tabs", "CRLF", "aligned", "comments", "blank lines", "no last line end"],
)
def test_ways_to_write_it(tmp_path: Path, change: Callable[[str], str]) -> None:
    path = folder(tmp_path / "x", end="")
    mtx = path / "matrix.mtx"
    head, _, body = mtx.read_text().partition("\n")
    mtx.write_bytes(f"{head}\n{change(body)}".encode())
    np.testing.assert_array_equal(open_source(path).read(slice(None)).toarray(), X.toarray())


def test_files_written_by_scipy(tmp_path: Path) -> None:
    path = folder(tmp_path / "x", end="")
    scipy_io.mmwrite(path / "matrix.mtx", X.T.tocoo(), symmetry="general")
    np.testing.assert_array_equal(open_source(path).read(slice(None)).toarray(), X.toarray())


def test_files_with_a_prefix(tmp_path: Path) -> None:
    folder(tmp_path, prefix="GSM1_")
    folder(tmp_path, prefix="GSM2_", end="")
    for name in ("GSM1_matrix.mtx.gz", "GSM2_matrix.mtx"):
        np.testing.assert_array_equal(open_source(tmp_path / name).read(slice(None)).toarray(), X.toarray())


def test_symbols_used_twice_and_absent(tmp_path: Path) -> None:
    path = folder(tmp_path / "x")
    names = ["CD3E", "CD3E", "", "A", "A", "B", "C", "CD3E"]
    write(path / "features.tsv.gz", "".join(f"id{i}\t{name}\n" for i, name in enumerate(names)))
    source = open_source(path, y=np.arange(30))
    assert source.feature_names == ["CD3E", "CD3E.1", "id2", "A", "A.1", "B", "C", "CD3E.2"]
    assert len(source.messages) == 1
    assert "2 feature names used more than once" in source.messages[0]
    assert source.labels is not None
    assert source.labels[7] == 7


def test_no_entries(tmp_path: Path) -> None:
    path = folder(tmp_path / "x", [*lines()[:2], "8 30 0"])
    assert open_source(path).read(slice(None)).nnz == 0


def altered(at: int, line: str | None) -> list[str]:
    result = lines()
    result[at : at + 1] = [] if line is None else [line]
    return result


@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize(
    ("mtx", "message"),
    [
        (altered(0, "hello"), "line 1 must be '%%MatrixMarket matrix coordinate ... general', got 'hello'"),
        (altered(0, "%%MatrixMarket matrix array real general"), r"line 1 must announce a sparse .*got array real"),
        (altered(0, "%%MatrixMarket matrix coordinate integer symmetric"), "got coordinate integer symmetric"),
        (altered(0, "%%MatrixMarket matrix coordinate complex general"), "got coordinate complex general"),
        (altered(2, "8 30"), "line 3 must hold the numbers of features, samples and entries, got '8 30'"),
        (altered(2, "8 30 x"), "line 3 must hold the numbers of features, samples and entries, got '8 30 x'"),
        (lines()[:2], "the file ends after line 2, before the sizes"),
        (lines()[:3], "line 3 promises 72 entries, the file ends after 0"),
        (lines()[:-5], "line 3 promises 72 entries, the file ends after 67"),
        ([*lines(), "1 1 1"], "line 3 promises 72 entries, the file has more"),
        (altered(9, "9 2 1"), "line 10 must hold a feature from 1 to 8, got '9 2 1'"),
        (altered(9, "0 2 1"), "line 10 must hold a feature from 1 to 8, got '0 2 1'"),
        (altered(9, "-1 2 1"), "line 10 must hold a feature from 1 to 8, got '-1 2 1'"),
        (altered(9, "8 31 1"), "line 10 must hold a sample from 1 to 30, got '8 31 1'"),
        (altered(9, "8 99999999999999999999 1"), "line 10 must hold a sample from 1 to 30"),
        (altered(9, "8 2"), "line 10 must hold 3 fields, got '8 2'"),
        (altered(9, "8 2 1 1"), "line 10 must hold 3 fields, got '8 2 1 1'"),
        (altered(9, "8 2 x"), "line 10 must hold a number as value, got '8 2 x'"),
        (altered(9, "8 2 1.5"), r"line 10 must hold a number as value, got '8 2 1\.5'"),
        (altered(9, "8 2 3000000000"), "line 10 must hold an integer of 32 bits, got '8 2 3000000000'"),
        (altered(9, "8  2 1"), "entries must be separated as in the first line"),
    ],
)
def test_damaged_matrices(tmp_path: Path, mtx: list[str], message: str, end: str) -> None:
    path = folder(tmp_path / "x", mtx, end=end)
    with pytest.raises(InputError, match=message) as caught:
        open_source(path).read(slice(None))
    assert str(caught.value).startswith(f"{path / 'matrix.mtx'}{end}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("features.tsv.gz", gzip.compress(b"a\tb\n" * 7, mtime=0), "has 7 lines, matrix.mtx.gz has 8"),
        ("barcodes.tsv.gz", gzip.compress(b"a\n", mtime=0), "has 1 line, matrix.mtx.gz has 30"),
        ("features.tsv.gz", gzip.compress(b"a\tb\n" * 8, mtime=0)[:-9], "the gzip file is damaged or cut off"),
        ("barcodes.tsv.gz", b"a\n" * 30, "the gzip file is damaged or cut off"),
        ("features.tsv.gz", gzip.compress(b"\xff\tb\n" * 8, mtime=0), "must be text in UTF-8, got other bytes"),
        ("matrix.mtx.gz", gzip.compress("\n".join(lines()).encode(), mtime=0)[:-40], "the file is damaged or cut off"),
        ("matrix.mtx.gz", b"", "the file is damaged or cut off|line 1 must"),
        ("features.tsv.gz", None, r"there is no features\.tsv\[\.gz\] or genes\.tsv\[\.gz\] beside it"),
        ("barcodes.tsv.gz", None, r"there is no barcodes\.tsv\[\.gz\] beside it"),
    ],
)
def test_damaged_folders(tmp_path: Path, file: str, content: bytes | None, message: str) -> None:
    path = folder(tmp_path / "x")
    if content is None:
        (path / file).unlink()
    else:
        (path / file).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        open_source(path).read(slice(None))
    assert str(caught.value).startswith(f"{path / ('matrix.mtx.gz' if content is None else file)}: ")


def test_a_matrix_of_samples_by_features(tmp_path: Path) -> None:
    path = folder(tmp_path / "x")
    write(path / "features.tsv.gz", "a\tb\n" * 30)
    write(path / "barcodes.tsv.gz", "c\n" * 8)
    with pytest.raises(InputError, match="it must be features x samples, got samples x features"):
        open_source(path)


def test_a_folder_that_changes(tmp_path: Path) -> None:
    path = folder(tmp_path / "x")
    source = open_source(path)
    write(path / "matrix.mtx.gz", "\n".join(lines()[:-5]))
    with pytest.raises(InputError, match=r"matrix\.mtx\.gz changed while it was read; open it again"):
        source.read(slice(None))


def test_labels_come_from_beside(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="label must be None, because it has no columns to take labels from"):
        open_source(folder(tmp_path / "x"), label="kind")


def h5(path: Path, version: int = 3, groups: tuple[str, ...] = ("matrix",)) -> Path:
    with h5py.File(path, "w") as file:
        for name in groups:
            group = file.create_group(name)
            group["data"], group["indices"] = X.data, X.indices.astype(np.int64)
            group["indptr"], group["shape"] = X.indptr.astype(np.int64), np.array([8, 30], np.int32)
            group["barcodes"] = np.array([f"AC{i}-1" for i in range(30)], "S")
            symbols, identifiers = (
                np.array([f"s{i}" for i in range(8)], "S"),
                np.array([f"E{i}" for i in range(8)], "S"),
            )
            if version == 3:
                group["features/name"], group["features/id"] = symbols, identifiers
                group["features/feature_type"] = np.array(["Gene Expression"] * 8, "S")
            else:
                group["gene_names"], group["genes"] = symbols, identifiers
    return path


@pytest.mark.parametrize(("version", "group"), [(3, "matrix"), (2, "GRCh38")])
def test_h5(tmp_path: Path, version: int, group: str) -> None:
    source = open_source(h5(tmp_path / "x.h5", version, (group,)))
    assert (source.n_samples, source.n_features, source.dtype) == (30, 8, np.int32)
    assert (source.feature_names[1], source.sample_names[3]) == ("s1", "AC3-1")
    for rows in (slice(None), np.array([2, 5, 29])):
        np.testing.assert_array_equal(source.read(rows).toarray(), X[rows].toarray())
    assert open_source(tmp_path / "x.h5", layer=group, y=np.arange(30)).labels is not None


def test_h5_of_several_genomes(tmp_path: Path) -> None:
    path = h5(tmp_path / "x.h5", 2, ("GRCh38", "mm10"))
    with pytest.raises(InputError, match=r"genome must be one of the file \('GRCh38', 'mm10'\), got None"):
        open_source(path)
    with pytest.raises(InputError, match=r"genome must be one of the file .*, got 'rn6'"):
        open_source(path, layer="rn6")
    assert open_source(path, layer="mm10").n_samples == 30
    assert open_source(path, genome="mm10").n_samples == 30


def test_h5_of_anndata(tmp_path: Path) -> None:
    anndata = pytest.importorskip("anndata")
    anndata.AnnData(X.astype(np.float32)).write_h5ad(tmp_path / "x.h5")
    assert open_source(tmp_path / "x.h5").n_features == 8


def spoil(file: Any, what: str) -> None:
    group = file["matrix"]
    if what == "index":
        group["indices"][3] = 8
    elif what == "pointer":
        group["indptr"][3] = 10**6
    elif what == "names":
        del group["features/name"]
        group["features/name"] = np.array(["a", "b"], "S")
    elif what == "barcodes":
        del group["barcodes"]
        group["barcodes"] = np.array(["a", "b"], "S")
    elif what == "matrix":
        del file["matrix"]
        file["molecules"] = [1]
    elif what == "features":
        del group["features"]


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("index", r"the sparse matrix 'matrix' is damaged \(index 8 of 8\)"),
        ("pointer", r"the sparse matrix 'matrix' is damaged \(indptr does not fit\)"),
        ("names", "matrix/features has 2 names, the matrix has 8"),
        ("barcodes", "matrix/barcodes has 2 names, the matrix has 30"),
        ("matrix", r"must be a 10x feature-barcode matrix \(or AnnData\), got HDF5 with 'molecules'"),
        ("features", "the file is damaged or no AnnData"),
    ],
)
def test_damaged_h5(tmp_path: Path, what: str, message: str) -> None:
    path = h5(tmp_path / "x.h5")
    with h5py.File(path, "a") as file:
        spoil(file, what)
    with pytest.raises(InputError, match=message) as caught:
        open_source(path).read(slice(None))
    assert str(caught.value).startswith(f"{path}: ")


def test_real_folder(shared_data: Path) -> None:
    source = open_source(shared_data / "10x_visium")
    assert (source.n_samples, source.n_features) == (2_898, 19_465)
    assert len(source.messages) == 1
    whole = source.read(slice(None))
    assert whole.nnz == 1_069_459
    expected = scipy_io.mmread(shared_data / "10x_visium" / "matrix.mtx.gz").T.tocsr()
    assert abs(expected - whole).nnz == 0
