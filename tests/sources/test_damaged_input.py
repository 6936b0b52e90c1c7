"""Damaged files of every format, through `run`, `pack` and `fold`: one line that names the place, nothing written."""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import pixfold
from pixfold import PackedGenotypes
from pixfold.cli.app import app
from pixfold.sources import open_source
from pixfold.sources.anndata.containers import quiet

anndata = pytest.importorskip("anndata")
pd = pytest.importorskip("pandas")
pytest.importorskip("pyarrow")
pytest.importorskip("zarr")
from scipy import sparse  # noqa: E402

N, M = 24, 60
RNG = np.random.default_rng(7)
X = RNG.poisson(2.0, (N, M)).astype(np.float32)
KINDS = [f"k{i % 2}" for i in range(N)]


def csv(folder: Path, name: str = "x.csv") -> Path:
    rows = [",".join([f"s{i}", KINDS[i], *(f"{x:g}" for x in X[i])]) for i in range(N)]
    text = "\n".join([",".join(["sample", "kind", *(f"f{j}" for j in range(M))]), *rows]) + "\n"
    path = folder / name
    path.write_bytes(gzip.compress(text.encode(), mtime=0) if name.endswith(".gz") else text.encode())
    return path


def parquet(folder: Path) -> Path:
    frame = pd.DataFrame(X, columns=[f"f{j}" for j in range(M)]).assign(kind=KINDS)
    frame.to_parquet(folder / "x.parquet")
    return folder / "x.parquet"


def annotated(matrix: Any = X) -> Any:
    names = pd.DataFrame({"kind": pd.Categorical(KINDS)}, index=[f"s{i}" for i in range(N)])
    return anndata.AnnData(matrix, obs=names)


def h5ad(folder: Path, form: Callable[[Any], Any] = np.asarray) -> Path:
    annotated(form(X)).write_h5ad(folder / "x.h5ad")
    return folder / "x.h5ad"


def zarr(folder: Path) -> Path:
    with quiet(), anndata.settings.override(zarr_write_format=3):
        annotated(sparse.csr_matrix(X)).write_zarr(folder / "x.zarr")
    return folder / "x.zarr"


def store(folder: Path) -> Path:
    pixfold.pack(csv(folder), folder / "x.zarr", label="kind")
    (folder / "x.csv").unlink()
    return folder / "x.zarr"


def npy(folder: Path) -> Path:
    np.savez(folder / "x.npz", X=X, kind=KINDS)
    return folder / "x.npz"


def tenx(folder: Path) -> Path:
    rows, columns = np.nonzero(X)
    entries = [f"{j + 1} {i + 1} {X[i, j]:.0f}" for i, j in zip(rows, columns, strict=True)]
    head = ["%%MatrixMarket matrix coordinate integer general", f"{M} {N} {len(entries)}"]
    (folder / "matrix.mtx").write_text("\n".join([*head, *entries]) + "\n")
    (folder / "features.tsv").write_text("".join(f"g{j}\tsymbol{j}\tGene Expression\n" for j in range(M)))
    (folder / "barcodes.tsv").write_text("".join(f"s{i}\n" for i in range(N)))
    (folder / "labels.csv").write_text("sample,kind\n" + "".join(f"s{i},{KINDS[i]}\n" for i in range(N)))
    return folder / "matrix.mtx"


def bed(folder: Path) -> Path:
    bits = PackedGenotypes.pack(np.ascontiguousarray(np.minimum(X, 2).T)).bits
    (folder / "x.bed").write_bytes(b"\x6c\x1b\x01" + bits.tobytes())
    (folder / "x.fam").write_text("".join(f"f{i} i{i} 0 0 {1 + i % 2} {1 + i % 2}\n" for i in range(N)))
    (folder / "x.bim").write_text("".join(f"1\trs{j}\t0\t{j}\tA\tC\n" for j in range(M)))
    return folder / "x.bed"


def fasta(folder: Path) -> Path:
    path = folder / "x.fa"
    path.write_text("".join(f">s{i} kind={KINDS[i]}\n{'ACGT' * 5}\n" for i in range(N)))
    return path


def cut(path: Path, n: int) -> Path:
    path.write_bytes(path.read_bytes()[:n])
    return path


def put(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def swap(path: Path, old: str, new: str) -> Path:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return path


def beside(path: Path, name: str, change: Callable[[Path], Any]) -> Path:
    """Change a file that belongs to the input."""
    change(path.parent / name)
    return path


def flipped(folder: Path) -> Path:
    """A byte of the only shard of a packed store has other bits."""
    path = store(folder)
    shard = path / "X" / "c" / "0" / "0"
    content = bytearray(shard.read_bytes())
    content[len(content) // 3] ^= 0x40
    shard.write_bytes(bytes(content))
    return path


def half(size: float) -> Callable[[Path], Path]:
    return lambda path: cut(path, int(path.stat().st_size * size))


TENX = ("--labels", "labels.csv")
FAM = ("--label", "phenotype")

# What is wrong: how the input is made, further arguments (a file's name is one beside the input), parts of the line.
CASES: dict[str, tuple[Callable[[Path], Path], tuple[str, ...], tuple[str, ...]]] = {
    "empty csv": (lambda d: put(d / "x.csv", b""), (), ("x.csv", "the file is empty")),
    "empty parquet": (lambda d: put(d / "x.parquet", b""), (), ("x.parquet", "the file is empty")),
    "empty h5ad": (lambda d: put(d / "x.h5ad", b""), (), ("x.h5ad", "the file is empty")),
    "empty npy": (lambda d: put(d / "x.npy", b""), (), ("x.npy", "the file is empty")),
    "empty bed": (lambda d: cut(bed(d), 0), FAM, ("x.bed", "the file is empty")),
    "empty mtx": (lambda d: cut(tenx(d), 0), TENX, ("matrix.mtx", "the file is empty")),
    "empty fasta": (lambda d: put(d / "x.fa", b""), (), ("x.fa", "the file is empty")),
    "empty store": (lambda d: (d / "x.zarr").mkdir() or d / "x.zarr", (), ("x.zarr", "must be")),
    "cut-off csv.gz": (lambda d: half(0.9)(csv(d, "x.csv.gz")), (), ("x.csv.gz", "damaged or cut off")),
    "cut-off parquet": (lambda d: half(0.6)(parquet(d)), (), ("x.parquet", "damaged or cut off")),
    "cut-off h5ad": (lambda d: half(0.5)(h5ad(d)), (), ("x.h5ad", "damaged or cut off")),
    "cut-off npz": (lambda d: half(0.8)(npy(d)), (), ("x.npz", "damaged or cut off")),
    "cut-off bed": (lambda d: half(0.5)(bed(d)), FAM, ("x.bed", "cut off", "must be of 363 bytes", "got 181")),
    "cut-off mtx": (
        lambda d: swap(tenx(d), f"\n{M} {N} ", f"\n{M} {N} 1"),  # promises more entries than there are
        TENX,
        ("matrix.mtx: line 2 promises 1", "the file ends after"),
    ),
    "mtx cut off in a line": (
        lambda d: put(tenx(d), tenx(d).read_bytes().rsplit(b" ", 1)[0]),
        TENX,
        ("matrix.mtx: line", "must hold 3 fields"),
    ),
    "wrong magic, parquet": (lambda d: csv(d).rename(d / "x.parquet"), (), ("x.parquet", "must be", "got text")),
    "wrong magic, h5ad": (lambda d: csv(d).rename(d / "x.h5ad"), (), ("must be HDF5, as its name says, got text",)),
    "wrong magic, csv": (lambda d: h5ad(d).rename(d / "x.csv"), (), ("must be text, as its name says, got HDF5",)),
    "wrong magic, gzip": (lambda d: csv(d).rename(d / "x.csv.gz"), (), ("must be gzip, as its name says, got text",)),
    "wrong magic, zstd": (lambda d: csv(d).rename(d / "x.csv.zst"), (), ("x.csv.zst", "must be", "got text")),
    "wrong magic, bed": (
        lambda d: put(bed(d), b"chr1\t5\t9\n"),
        FAM,
        ("must be PLINK 1 .bed, as its name says, got text",),
    ),
    "wrong magic, npy": (lambda d: csv(d).rename(d / "x.npy"), (), ("x.npy", "must be", "got text")),
    "wrong magic, mtx": (
        lambda d: swap(tenx(d), "%%MatrixMarket", "%%MatrixMarked"),
        TENX,
        ("matrix.mtx", "MatrixMarket"),
    ),
    "bed against bim": (
        lambda d: beside(bed(d), "x.bim", lambda p: p.write_text("".join(p.read_text().splitlines(True)[:-5]))),
        FAM,
        ("x.bed", "must be of 333 bytes for 24 samples (x.fam) and 55 variants (x.bim), got 363"),
    ),
    "bed against fam": (
        lambda d: beside(bed(d), "x.fam", lambda p: p.write_text("".join(p.read_text().splitlines(True)[:-5]))),
        FAM,
        ("x.bed", "must be of 303 bytes for 19 samples (x.fam) and 60 variants (x.bim), got 363"),
    ),
    "short fam": (
        lambda d: beside(bed(d), "x.fam", lambda p: swap(p, "f3 i3 0 0 2 2", "f3 i3 0 0")),
        FAM,
        ("x.fam: line 4 must hold 6 columns", "got 4"),
    ),
    "short bim": (
        lambda d: beside(bed(d), "x.bim", lambda p: swap(p, "rs7\t0\t7\tA\tC", "rs7\t0\t7\tA")),
        FAM,
        ("x.bim: line 8 must hold 6 columns", "got 5"),
    ),
    "no label column in csv": (csv, ("--label", "king"), ("no label column 'king'", "did you mean 'kind'", "'f0'")),
    "no label column in parquet": (parquet, ("--label", "king"), ("no label column 'king'", "did you mean 'kind'")),
    "no label column in h5ad": (h5ad, ("--label", "king"), ("no label column 'king'", "did you mean 'kind'")),
    "no label column in zarr": (zarr, ("--label", "king"), ("no label column 'king'", "did you mean 'kind'")),
    "no label column in a store": (store, ("--label", "king"), ("no label column 'king'", "did you mean 'kind'")),
    "no label column in bed": (bed, ("--label", "phenotyp"), ("did you mean 'phenotype'", "'father'")),
    "no label column in npz": (npy, ("--label", "king"), ("'king'", "'kind'")),
    "no label column in a table beside it": (tenx, (*TENX, "--label", "king"), ("labels.csv", "'king'", "'kind'")),
    "no label column in fasta": (fasta, ("--label", "king"), ("no label column 'king'", "did you mean 'kind'")),
    "word in csv": (
        lambda d: swap(csv(d), f"s3,{KINDS[3]},", f"s3,{KINDS[3]},high"),
        (),
        ("x.csv", "line 5, column 'f0'", "'high"),
    ),
    "word in csv.gz": (
        lambda d: put(d / "x.csv.gz", gzip.compress(swap(csv(d), "s9,k1,", "s9,k1,?").read_bytes(), mtime=0)),
        (),
        ("x.csv.gz", "line 11, column 'f0'", "'?"),
    ),
    "mtx row out of range": (
        lambda d: swap(tenx(d), f"{M} {N} ", f"{M - 1} {N} "),
        TENX,
        ("matrix.mtx", "line", f"{M}"),
    ),
    "mtx index of 0": (
        lambda d: put(tenx(d), re.sub(rb"\n\d+ (\d+ \d+\n)\Z", rb"\n0 \1", tenx(d).read_bytes())),
        TENX,
        ("matrix.mtx", "line", "0"),
    ),
    "flipped bytes in a store": (flipped, (), ("x.zarr: X/c/0/0 is damaged", "pack the data again")),
    "missing shard of a store": (
        lambda d: (store(d) / "X" / "c" / "0" / "0").unlink() or d / "x.zarr",
        (),
        ("x.zarr: X/c/0/0 is missing",),
    ),
    "store that was not finished": (
        lambda d: swap(store(d) / "zarr.json", '"complete": true', '"complete": false').parent,
        (),
        ("x.zarr", "half-written"),
    ),
    "letter that is none": (
        lambda d: swap(fasta(d), "ACGT", "AC!T"),
        (),
        ("x.fa", "record 1 ('s0'), position 3", "'!'"),
    ),
    "file that is not there": (lambda d: d / "absent.bed", FAM, ("absent.bed: no such file",)),
}

COMMANDS = {
    "run": ("--out", "made/out", "--epochs", "1", "--runs", "1", "--device", "cpu", "--backbone", "patchnet"),
    "pack": ("made.zarr",),
    "fold": ("made.npy",),
}


def invoke(command: str, data: Path, *arguments: str, label: str = "kind") -> Any:
    options = [*arguments] if "--label" in arguments else [*arguments, "--label", label]
    first, *others = COMMANDS[command]
    words = [first, *others] if command == "run" else [str(data.parent.parent / first)]
    if command == "run":
        words[1] = str(data.parent.parent / words[1])
    options = [str(data.parent / option) if option.endswith(".csv") else option for option in options]
    return CliRunner().invoke(app, [command, str(data), *words, *options])


def listing(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*") if path.is_file()}


def error_of(result: Any, code: int = 2) -> str:
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    assert result.stdout == ""
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, result.stderr
    return str(errors[0])


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("case", CASES)
def test_bad_input(tmp_path: Path, case: str, command: str) -> None:
    make, arguments, parts = CASES[case]
    (tmp_path / "in").mkdir()
    data = make(tmp_path / "in")
    before = listing(tmp_path)
    error = error_of(invoke(command, data, *arguments))
    for part in parts:
        assert part in error
    assert listing(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


CHANGING = {
    "csv": (csv, "x.csv", ()),
    "parquet": (parquet, "x.parquet", ()),
    "h5ad": (h5ad, "x.h5ad", ()),
    "h5ad by columns": (lambda d: h5ad(d, sparse.csc_matrix), "x.h5ad", ()),
    "zarr": (zarr, "x.zarr/zarr.json", ()),
    "store": (store, "x.zarr/zarr.json", ()),
    "bed": (bed, "x.bed", FAM),
    "mtx": (tenx, "matrix.mtx", TENX),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", CHANGING)
def test_a_source_that_changes_under_us(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, command: str
) -> None:
    """Between opening and reading the file is written again, as long as it was."""
    make, name, arguments = CHANGING[kind]
    (tmp_path / "in").mkdir()
    data = make(tmp_path / "in")

    def opened(*args: Any, **kwargs: Any) -> Any:
        source = open_source(*args, **kwargs)
        path = tmp_path / "in" / name
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content[:-9] + content[-9:][::-1])
        return source

    monkeypatch.setattr("pixfold.sources.open_source", opened)
    monkeypatch.setattr("pixfold.store.packer.open_source", opened)
    result = invoke(command, data, *arguments)
    if kind in ("csv", "parquet"):  # small tables are in memory once they are open: what was read is what there was
        assert result.exit_code == 0, result.output
        if command == "pack":
            np.testing.assert_array_equal(open_source(tmp_path / "made.zarr").read(slice(None)), X)
        return
    assert re.search(r"changed|is damaged|not there any more", error_of(result))
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize(
    ("make", "arguments"),
    [
        (lambda d: swap(swap(csv(d), "s3,k1,", "s3,,"), "s8,k0,", "s8,NA,"), ()),
        (lambda d: beside(bed(d), "x.fam", lambda p: swap(swap(p, "1 1\n", "1 -9\n"), "2 2\n", "2 NA\n")), FAM),
        (lambda d: beside(tenx(d), "labels.csv", lambda p: swap(swap(p, "s5,k1\n", ""), "s9,k1", "s9,")), TENX),
    ],
    ids=["csv", "bed", "labels beside"],
)
def test_samples_without_labels_are_left_out_and_counted(
    tmp_path: Path, make: Callable[[Path], Path], arguments: tuple[str, ...]
) -> None:
    (tmp_path / "in").mkdir()
    data = make(tmp_path / "in")
    result = invoke("fold", data, *arguments)
    assert result.exit_code == 0, result.output
    assert f"{N - 2} images" in result.stdout
    assert "2 classes" in result.stdout
    assert re.search(r"2 (of 24 )?samples? (have|without|with) no label|2 samples without a label", result.stderr)
    assert len(np.load(tmp_path / "made.npy")) == N - 2


@pytest.mark.parametrize("command", COMMANDS)
def test_names_that_are_not_unique_are_kept_apart_and_told_once(tmp_path: Path, command: str) -> None:
    (tmp_path / "in").mkdir()
    data = swap(csv(tmp_path / "in"), ",f3,f4,", ",f3,f3,")
    result = invoke(command, data)
    assert result.exit_code in (0, 1), result.output  # 1: a run of one epoch may find nothing
    told = [line for line in result.stderr.splitlines() if "'f3'" in line]
    assert len(told) == 1
    assert told[0].startswith("warning: ")
    names = open_source(data, label="kind").feature_names
    assert len(set(names)) == M


FULL = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
sys.argv[0] = "pixfold"
from pixfold.cli.app import main
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the size of files is limited as POSIX systems can")
@pytest.mark.parametrize(("command", "out"), [("pack", "made.zarr"), ("fold", "made.npy"), ("fold", "made.zarr")])
def test_a_full_disk(tmp_path: Path, command: str, out: str) -> None:
    """A limit on the size of a file stands for it: writing fails in the middle, whoever the user is."""
    np.save(tmp_path / "x.npy", RNG.normal(size=(100, 10_000)).astype(np.float32))
    words = [sys.executable, "-c", FULL, command, "x.npy", out, "--quiet"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    assert f"cannot write {out}" in errors[0]
    assert "File too large" in errors[0]
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["x.npy"]
