from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pixfold import PackedGenotypes
from pixfold.errors import InputError
from pixfold.sources import open_source
from pixfold.sources.genotypes.plink import PlinkSource

RNG = np.random.default_rng(0)


def write(
    folder: Path,
    n_samples: int = 23,
    n_variants: int = 57,
    *,
    variant_major: bool = True,
    phenotypes: Any = None,
    fam: str | None = None,
    bim: str | None = None,
) -> tuple[Path, np.ndarray]:
    """Write the three files of random genotypes; return the .bed file and copies of the first allele, -1 missing."""
    copies = RNG.integers(-1, 3, (n_samples, n_variants)).astype(np.int8)
    path = folder / "x.bed"
    rows = copies.T if variant_major else copies
    packed = PackedGenotypes.pack(np.ascontiguousarray(rows))
    path.write_bytes(b"\x6c\x1b" + (b"\x01" if variant_major else b"\x00") + packed.bits.tobytes())
    given = phenotypes if phenotypes is not None else [1 + i % 2 for i in range(n_samples)]
    lines = [f"fam{i // 2} ind{i} 0 {'0' if i % 2 else 'm'} {i % 3} {given[i]}\n" for i in range(n_samples)]
    path.with_suffix(".fam").write_text("".join(lines) if fam is None else fam)
    lines = [f"{1 + j % 22}\trs{j}\t0\t{1000 + j}\tA\tC\n" for j in range(n_variants)]
    path.with_suffix(".bim").write_text("".join(lines) if bim is None else bim)
    return path, copies


ROWS = [
    slice(None),
    slice(0, 0),
    slice(3, 9),
    slice(4, 8),
    slice(22, 23),
    np.array([0]),
    np.array([1, 2, 3, 7, 20, 22]),
    np.array([20, 3, 3, 0, 11]),
    np.array([], dtype=np.int64),
    np.arange(23) % 4 == 1,
]


@pytest.mark.parametrize("variant_major", [True, False])
@pytest.mark.parametrize("kept", [1, 60, 10**6], ids=["spans of 4", "spans of 8", "all"])
@pytest.mark.parametrize("rows", ROWS, ids=str)
def test_reading_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variant_major: bool, kept: int, rows: Any
) -> None:
    monkeypatch.setattr("pixfold.sources.genotypes.variant_major._SPAN_BYTES", 2 * kept)
    monkeypatch.setattr("pixfold.sources.genotypes.bed_file._PIECE_BYTES", 20)
    path, copies = write(tmp_path, variant_major=variant_major)
    source = open_source(path)
    assert isinstance(source, PlinkSource)
    assert source.variant_major == variant_major
    assert not source.is_sparse
    for _ in range(2):
        block = source.read(rows)
        assert block.count_first
        assert block.shape[1] == source.n_features == 57
        np.testing.assert_array_equal(block.toarray("int8"), copies[rows])


@pytest.mark.parametrize("rows", [slice(5, 12), np.array([1, 9, 200, 201]), np.array([300, 2])], ids=str)
def test_files_with_long_rows_are_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: Any) -> None:
    monkeypatch.setattr("pixfold.sources.genotypes.bed_file._LONG_ROW", 10)
    monkeypatch.setattr("pixfold.sources.genotypes.variant_major._SPAN_BYTES", 40)
    path, copies = write(tmp_path, n_samples=301, n_variants=13)
    np.testing.assert_array_equal(open_source(path).read(rows).toarray("int8"), copies[rows])


def test_names_and_tables(tmp_path: Path) -> None:
    pd: Any = pytest.importorskip("pandas")
    source = open_source(write(tmp_path)[0])
    assert isinstance(source, PlinkSource)
    assert source.sample_names[:2] == ["ind0", "ind1"]
    assert source.feature_names[:2] == ["rs0", "rs1"]
    assert source.messages == []
    samples, features = source.tables()
    assert list(samples) == ["family", "individual", "father", "mother", "sex", "phenotype"]
    assert samples["mother"][:3].tolist() == ["m", None, "m"]
    assert samples["father"].isna().all()
    assert pd.isna(samples["sex"][0])
    assert features["position"].tolist()[:2] == [1000, 1001]
    assert features["chromosome"].tolist()[20:23] == ["21", "22", "1"]
    assert (len(samples), len(features)) == (23, 57)


def test_names_that_are_not_unique(tmp_path: Path) -> None:
    fam = "".join(f"f{i} same 0 0 0 -9\n" for i in range(3))
    bim = "1 . 0 5 A C\n1 rs1 0 6 A C\n1 rs1 0 7 G T\n1 . 0 5 A C\n2 rs2 0 8 A C\n"
    source = open_source(write(tmp_path, 3, 5, fam=fam, bim=bim)[0])
    assert source.sample_names == ["f0:same", "f1:same", "f2:same"]
    assert source.feature_names == ["1:5:C:A", "1:6:C:A", "1:7:T:G", "1:5:C:A.1", "rs2"]
    assert source.messages == [
        "1 variant name used more than once ('1:5:C:A'): the later ones are kept apart by a number, such as '1:5:C:A.1'"
    ]


NAN = np.nan


@pytest.mark.parametrize(
    ("label", "phenotypes", "expected"),
    [
        ("phenotype", ["1", "2", "2", "1"], [1, 2, 2, 1]),
        ("phenotype", ["1", "0", "-9", "2"], [1, NAN, NAN, 2]),
        ("phenotype", ["1", "NA", "nan", "2"], [1, NAN, NAN, 2]),
        ("phenotype", ["0.5", "0", "-9", "-1.25"], [0.5, 0, NAN, -1.25]),
        ("phenotype", ["-9.0", "0", "5", "7"], [NAN, 0, 5, 7]),
        ("phenotype", ["low", "high", "-9", "low"], ["low", "high", None, "low"]),
        ("family", None, ["fam0", "fam0", "fam1", "fam1"]),
        ("individual", None, ["ind0", "ind1", "ind2", "ind3"]),
        ("father", None, [None] * 4),
        ("mother", None, ["m", None, "m", None]),
        ("sex", None, [NAN, 1, 2, NAN]),
    ],
)
def test_labels(tmp_path: Path, label: str, phenotypes: Any, expected: list[Any]) -> None:
    labels = open_source(write(tmp_path, 4, 5, phenotypes=phenotypes)[0], label=label).labels
    assert labels is not None
    np.testing.assert_array_equal(labels, np.array(expected, dtype=labels.dtype))


def test_phenotypes_of_0_and_1_are_explained(tmp_path: Path) -> None:
    source = open_source(write(tmp_path, 4, 5, phenotypes=["0", "1", "0", "1"])[0], label="phenotype")
    assert source.messages == ["2 samples of phenotype 0, which PLINK reads as missing: cases are 2, controls 1"]


def test_labels_beside_the_files(tmp_path: Path) -> None:
    path, _ = write(tmp_path, 4, 5)
    labels = open_source(path, y=[1, 1, 0, 0]).labels
    assert labels is not None
    assert labels.tolist() == [1, 1, 0, 0]
    with pytest.raises(InputError, match="no label column 'phenotyp'; did you mean 'phenotype'"):
        open_source(path, label="phenotyp")
    with pytest.raises(InputError, match="labels must be 4"):
        open_source(path, y=[1])


def cut(path: Path, n: int) -> None:
    path.write_bytes(path.read_bytes()[:n])


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "cut off": (
        lambda p: cut(p, 100),
        r"x.bed: the file is cut off, or not of these samples and variants: it must be of 345 bytes for 23 samples "
        r"\(x.fam\) and 57 variants \(x.bim\), got 100",
    ),
    "too long": (lambda p: p.write_bytes(p.read_bytes() + b"\0"), "x.bed: the file is too long.* got 346"),
    "header alone": (lambda p: cut(p, 3), "must be of 345 bytes .* got 3"),
    "two bytes": (lambda p: cut(p, 2), "x.bed: the file must be PLINK 1 .bed .*got 6c 1b$"),
    "empty": (lambda p: cut(p, 0), "x.bed: the file is empty"),
    "text": (lambda p: p.write_text("chr1\t1\t2\n"), "must be PLINK .bed or .pgen, as its name says, got text"),
    "magic": (
        lambda p: p.write_bytes(b"\x6c\x1c\x01" + bytes(342)),
        "must be PLINK .bed or .pgen, as its name says, got binary data",
    ),
    "order": (lambda p: p.write_bytes(b"\x6c\x1b\x02" + bytes(342)), "got 6c 1b 02"),
    "no fam": (lambda p: p.with_suffix(".fam").unlink(), "x.bed: there is no x.fam beside it"),
    "no bim": (lambda p: p.with_suffix(".bim").unlink(), "x.bed: there is no x.bim beside it"),
    "short fam": (
        lambda p: p.with_suffix(".fam").write_text("a b 0 0 1 1\na b 0 0 1\n"),
        r"x.fam: line 2 must hold 6 columns \(family, individual, .*\), got 5",
    ),
    "short bim": (
        lambda p: p.with_suffix(".bim").write_text("1 rs1 5 A C\n"),
        r"x.bim: line 1 must hold 6 columns \(chromosome, .*\), got 5",
    ),
    "empty fam": (lambda p: p.with_suffix(".fam").write_text(""), r"x.bed: 0 sample\(s\)"),
    "empty bim": (lambda p: p.with_suffix(".bim").write_text(""), r"x.bed: 0 feature\(s\)"),
    "gap in fam": (
        lambda p: p.with_suffix(".fam").write_text("a b 0 0 1 1\n\na c 0 0 1 1\n"),
        "x.fam: line 2 must hold family, .*, got nothing",
    ),
    "binary bim": (lambda p: p.with_suffix(".bim").write_bytes(b"\xff\xfe\0"), "x.bim: the file must be text in UTF-8"),
    "fewer samples": (
        lambda p: p.with_suffix(".fam").write_text("a b 0 0 1 1\n" * 9),
        "must be of 174 bytes for 9 samples",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_bad_files(tmp_path: Path, damage: str) -> None:
    path, _ = write(tmp_path)
    spoil, message = DAMAGES[damage]
    spoil(path)
    with pytest.raises(InputError, match=message) as caught:
        open_source(path)
    assert str(caught.value).startswith(str(tmp_path))


@pytest.mark.parametrize("variant_major", [True, False])
def test_a_file_that_changes_under_us(tmp_path: Path, variant_major: bool) -> None:
    path, _ = write(tmp_path, variant_major=variant_major)
    source = open_source(path)
    cut(path, 200)
    with pytest.raises(InputError, match=r"x.bed: the file has changed since it was opened"):
        source.read(slice(0, 4))


def test_processes_and_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pixfold.sources.genotypes.variant_major._SPAN_BYTES", 100)
    _, copies = write(tmp_path, 203, 64)
    monkeypatch.chdir(tmp_path)
    source = open_source("x.bed")
    source.read(slice(0, 3))
    monkeypatch.chdir("/")
    copy = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(copy.read(slice(2, 9)).toarray("int8"), copies[2:9])
    with ThreadPoolExecutor(4) as pool:
        blocks = list(pool.map(lambda i: source.read(slice(i, i + 7)).toarray("int8"), range(0, 196, 3)))
    for i, block in zip(range(0, 196, 3), blocks, strict=True):
        np.testing.assert_array_equal(block, copies[i : i + 7])
    child = os.fork()
    if child == 0:
        same = np.array_equal(source.read(slice(5, 50)).toarray("int8"), copies[5:50])
        os._exit(0 if same else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_median_split(tmp_path: Path) -> None:
    path, _ = write(tmp_path, 5, 4, phenotypes=["0.5", "3", "-9", "1", "2"])
    source = open_source(path, label="phenotype", split="median")
    assert source.labels is not None
    assert source.labels.tolist() == ["<= 1.5", "> 1.5", None, "<= 1.5", "> 1.5"]


@pytest.mark.parametrize("name", ["toydata", "some_missing"])
def test_real_files_are_what_bed_reader_says(shared_data: Path, name: str) -> None:
    bed_reader: Any = pytest.importorskip("bed_reader")
    path = shared_data / "plink" / f"{name}.bed"
    source = open_source(path)
    with bed_reader.open_bed(path, count_A1=True) as bed:
        expected = bed.read(dtype="int8")
        assert source.feature_names == bed.sid.tolist()
        assert source.sample_names == bed.iid.tolist()
    assert isinstance(source, PlinkSource)
    for rows in (slice(None), np.array([3, 5, 6, 77, 98])):
        np.testing.assert_array_equal(
            source.read(rows).toarray("int8"), np.where(expected[rows] == -127, -1, expected[rows])
        )


def test_toydata_split_at_the_median(shared_data: Path) -> None:
    source = open_source(shared_data / "plink" / "toydata.bed", label="phenotype", split="median")
    assert source.labels is not None
    assert np.unique(source.labels, return_counts=True)[1].tolist() == [250, 250]
    assert "labels split at the median" in source.messages[-1]
