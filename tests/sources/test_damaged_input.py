"""Damaged files of every format, through `run`, `pack` and `fold`: one line that names the place, nothing written."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import shutil
import subprocess
import sys
import zipfile
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
pytest.importorskip("python_calamine")
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


def compressed(folder: Path, suffix: str, *others: str) -> Path:
    text = csv(folder).read_bytes()
    path = folder / f"x.csv{suffix}"
    if suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name in ("x.csv", *others):
                archive.writestr(name, text)
    else:
        path.write_bytes(bz2.compress(text) if suffix == ".bz2" else lzma.compress(text))
    (folder / "x.csv").unlink()
    return path


def zipped(path: Path, at: str = "", without: str = "") -> Path:
    """A folder as a ZIP archive."""
    archive = path.with_name(f"{path.name}.zip")
    with zipfile.ZipFile(archive, "w") as file:
        for each in sorted(path.rglob("*")):
            name = each.relative_to(path).as_posix()
            if each.is_file() and name != without:
                file.write(each, at + name)
    shutil.rmtree(path)
    return archive


def xlsx(folder: Path, cell: Any = None) -> Path:
    """What readers of a spreadsheet ask for: a book of one sheet, with texts in its cells."""
    rows = [["sample", "kind", *(f"f{j}" for j in range(M))]]
    rows += [[f"s{i}", KINDS[i], *map(float, X[i])] for i in range(N)]
    rows[4][2] = rows[4][2] if cell is None else cell
    cells = [
        "".join(f"<c><v>{v}</v></c>" if isinstance(v, float) else f'<c t="str"><v>{v}</v></c>' for v in row)
        for row in rows
    ]
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006/relationships"
    parts = {
        "_rels/.rels": f'<Relationships xmlns="{package}"><Relationship Id="r" Type="{office}/officeDocument" '
        'Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets><sheet name="data" sheetId="1" '
        'r:id="a"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}"><Relationship Id="a" '
        f'Type="{office}/worksheet" Target="worksheets/s.xml"/></Relationships>',
        "xl/worksheets/s.xml": f'<worksheet xmlns="{main}"><sheetData>'
        + "".join(f"<row>{row}</row>" for row in cells)
        + "</sheetData></worksheet>",
    }
    with zipfile.ZipFile(folder / "x.xlsx", "w") as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return folder / "x.xlsx"


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


CALLS = np.minimum(X, 2).astype(np.int8)


def pgen(folder: Path) -> Path:
    pgenlib = pytest.importorskip("pgenlib", reason="Pgenlib has no wheel for Windows")
    with pgenlib.PgenWriter(os.fsencode(folder / "x.pgen"), N, variant_ct=M, nonref_flags=False) as writer:
        writer.append_biallelic_batch(np.ascontiguousarray(CALLS.T))
    (folder / "x.pvar").write_text("#CHROM\tPOS\tID\tREF\tALT\n" + "".join(f"1\t{j}\trs{j}\tC\tA\n" for j in range(M)))
    lines = "".join(f"f{i} i{i} {1 + i % 2} {1 + i % 2}\n" for i in range(N))
    (folder / "x.psam").write_text("#FID IID SEX PHENO1\n" + lines)
    return folder / "x.pgen"


def bgen(folder: Path) -> Path:
    library = pytest.importorskip("bgen")
    path = folder / "x.bgen"
    chances = np.eye(3)[CALLS]
    with library.BgenWriter(str(path), N, samples=[f"i{i}" for i in range(N)]) as writer:
        for j in range(M):
            writer.add_variant(f"v{j}", f"rs{j}", "1", j, ["C", "A"], chances[:, j])
    path.with_suffix(".bgen.bgi").unlink(missing_ok=True)
    lines = "".join(f"f{i} i{i} 0 {1 + i % 2}\n" for i in range(N))
    path.with_suffix(".sample").write_text("ID_1 ID_2 missing case\n0 0 0 B\n" + lines)
    return path


def vcz(folder: Path) -> Path:
    import zarr

    group = zarr.open_group(str(folder / "x.vcz"), mode="w", zarr_format=2)
    alleles = np.stack([CALLS > 0, CALLS > 1], axis=2).transpose(1, 0, 2).astype(np.int8)
    group.create_array("call_genotype", data=alleles, chunks=(20, N, 2))
    for key, values in {
        "sample_id": np.array([f"i{i}" for i in range(N)]),
        "sample_kind": np.array(KINDS),
        "variant_position": np.arange(M),
        "variant_contig": np.zeros(M, dtype=np.int8),
        "contig_id": np.array(["1"]),
        "variant_allele": np.array([["C", "A"]] * M),
    }.items():
        group.create_array(key, data=values)
    return folder / "x.vcz"


def fasta(folder: Path) -> Path:
    path = folder / "x.fa"
    path.write_text("".join(f">s{i} kind={KINDS[i]}\n{'ACGT' * 5}\n" for i in range(N)))
    return path


def gct(folder: Path) -> Path:
    """GCT 1.3, the labels in a line of their own."""
    rows = [f"g{j}\tgene {j}\t" + "\t".join(f"{x:g}" for x in X[:, j]) for j in range(M)]
    about = "\t".join(["kind", "na", *KINDS])
    head = ["#1.3", f"{M}\t{N}\t1\t1", "\t".join(["id", "name", *(f"s{i}" for i in range(N))]), about]
    (folder / "x.gct").write_text("\n".join([*head, *rows]) + "\n")
    return folder / "x.gct"


def series(folder: Path, name: str = "x_series_matrix.txt") -> Path:
    names = "\t".join(f'"s{i}"' for i in range(N))
    rows = [f'"{j}_at"\t' + "\t".join(f"{x:g}" for x in X[:, j]) for j in range(M)]
    kinds = "\t".join(f'"kind: {kind}"' for kind in KINDS)
    head = [f"!Sample_geo_accession\t{names}", f"!Sample_characteristics_ch1\t{kinds}", "!series_matrix_table_begin"]
    text = "\n".join([*head, f'"ID_REF"\t{names}', *rows, "!series_matrix_table_end"]) + "\n"
    path = folder / name
    path.write_bytes(gzip.compress(text.encode(), mtime=0) if name.endswith(".gz") else text.encode())
    return path


def by_features(folder: Path) -> Path:
    rows = [f"ENSG{j:011d}\t" + "\t".join(f"{x:g}" for x in X[:, j]) for j in range(M)]
    (folder / "x.tsv").write_text("\n".join(["\t".join(["gene_id", *(f"s{i}" for i in range(N))]), *rows]) + "\n")
    (folder / "labels.csv").write_text("sample,kind\n" + "".join(f"s{i},{KINDS[i]}\n" for i in range(N)))
    return folder / "x.tsv"


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


def other_records(folder: Path) -> Path:
    """The genotypes of a .pgen file are other bytes, of the same size."""
    path = pgen(folder)
    content = path.read_bytes()
    return put(path, content[:-200] + b"\xff" * 200)


def other_index(folder: Path) -> Path:
    library, path = pytest.importorskip("bgen"), bgen(folder)
    with library.BgenWriter(str(folder / "y.bgen"), N, samples=["name"] * N) as writer:
        for j in range(M):
            writer.add_variant(f"v{j}", f"rs{j}", "1", j, ["C", "A"], np.eye(3)[CALLS[:, j]])
    (folder / "y.bgen.bgi").rename(folder / "x.bgen.bgi")
    return path


def cut_pvar(folder: Path) -> Path:
    zstandard, path = pytest.importorskip("zstandard"), pgen(folder)
    content = zstandard.ZstdCompressor().compress(path.with_suffix(".pvar").read_bytes())
    path.with_suffix(".pvar").unlink()
    put(folder / "x.pvar.zst", content[:-9])
    return path


def zarr_array(path: Path, key: str, values: Any) -> Path:
    import zarr

    zarr.open_group(str(path), mode="r+").create_array(key, data=values, overwrite=True)
    return path


def half(size: float) -> Callable[[Path], Path]:
    return lambda path: cut(path, int(path.stat().st_size * size))


TENX = ("--labels", "labels.csv")
FAM = ("--label", "phenotype")
PSAM = ("--label", "PHENO1")
SAMPLE = ("--label", "case")
VCZ = ("--label", "sample_kind")

# What is wrong: how the input is made, further arguments (a file's name is one beside the input), parts of the line.
CASES: dict[str, tuple[Callable[[Path], Path], tuple[str, ...], tuple[str, ...]]] = {
    "empty csv": (lambda d: put(d / "x.csv", b""), (), ("x.csv", "the file is empty")),
    "empty parquet": (lambda d: put(d / "x.parquet", b""), (), ("x.parquet", "the file is empty")),
    "empty h5ad": (lambda d: put(d / "x.h5ad", b""), (), ("x.h5ad", "the file is empty")),
    "empty npy": (lambda d: put(d / "x.npy", b""), (), ("x.npy", "the file is empty")),
    "empty bed": (lambda d: cut(bed(d), 0), FAM, ("x.bed", "the file is empty")),
    "empty mtx": (lambda d: cut(tenx(d), 0), TENX, ("matrix.mtx", "the file is empty")),
    "empty fasta": (lambda d: put(d / "x.fa", b""), (), ("x.fa", "the file is empty")),
    "empty gct": (lambda d: put(d / "x.gct", b""), (), ("x.gct", "the file is empty")),
    "cut-off gct": (lambda d: half(0.6)(gct(d)), (), ("x.gct: ", "must hold")),
    "gct of fewer rows": (
        lambda d: put(gct(d), gct(d).read_bytes().rsplit(b"\n", 2)[0] + b"\n"),
        (),
        ("x.gct: the table must hold 60 rows, as line 2 says, got 59",),
    ),
    "gct of other sizes": (
        lambda d: swap(gct(d), "\t24\t1", "\t25\t1"),
        (),
        ("x.gct: line 3 must hold 27 fields", "got 26"),
    ),
    "wrong magic, gct": (
        lambda d: swap(gct(d), "#1.3", "#3.1"),
        (),
        ("x.gct: line 1 must be #1.2 or #1.3, got '#3.1'",),
    ),
    "gct in gzip by its name alone": (lambda d: gct(d).rename(d / "x.gct.gz"), (), ("must be gzip", "got text")),
    "no label column in gct": (gct, ("--label", "king"), ("no label column 'king'", "did you mean 'kind'")),
    "cut-off series matrix": (lambda d: half(0.7)(series(d)), (), ("x_series_matrix.txt", "it is cut off")),
    "cut-off series_matrix.txt.gz": (
        lambda d: half(0.7)(series(d, "x_series_matrix.txt.gz")),
        (),
        ("x_series_matrix.txt.gz", "damaged or cut off"),
    ),
    "unclosed series matrix": (
        lambda d: swap(series(d), "!series_matrix_table_end\n", ""),
        (),
        ("must end with the line !series_matrix_table_end", "it is cut off"),
    ),
    "series matrix without a table": (
        lambda d: swap(series(d), "!series_matrix_table_begin\n", ""),
        (),
        ("must hold a line !series_matrix_table_begin, got none",),
    ),
    "no label column in a series matrix": (series, ("--label", "king"), ("no label column 'king'", "'kind'")),
    "word in a series matrix": (
        lambda d: swap(series(d), '"9_at"\t', '"9_at"\tx'),
        (),
        ("x_series_matrix.txt: line 14, column 's0' must hold a number, got 'x",),
    ),
    "features as rows, cut off": (lambda d: half(0.5)(by_features(d)), TENX, ("x.tsv: line", "must hold 25 fields")),
    "features as rows, a sample twice": (
        lambda d: swap(by_features(d), "\ts4\t", "\ts3\t"),
        TENX,
        ("x.tsv: columns must name samples, each once, got 's3' more than once",),
    ),
    "features as rows, no numbers": (
        lambda d: put(by_features(d), b"gene_id\tgene_name\n" + b"".join(b"ENSG%011d\tg\n" % j for j in range(M))),
        (*TENX, "--transpose"),
        ("x.tsv: the table must hold a column of numbers for each sample, got none",),
    ),
    "transposing what is no text": (npy, ("--transpose",), ("x.npz: transpose must be None", "got True")),
    "empty store": (lambda d: (d / "x.zarr").mkdir() or d / "x.zarr", (), ("x.zarr", "must be")),
    "cut-off csv.gz": (lambda d: half(0.9)(csv(d, "x.csv.gz")), (), ("x.csv.gz", "damaged or cut off")),
    "cut-off csv.bz2": (lambda d: half(0.9)(compressed(d, ".bz2")), (), ("x.csv.bz2", "damaged or cut off")),
    "cut-off csv.xz": (lambda d: half(0.9)(compressed(d, ".xz")), (), ("x.csv.xz", "damaged or cut off")),
    "cut-off csv.zip": (lambda d: half(0.9)(compressed(d, ".zip")), (), ("x.csv.zip", "damaged or cut off")),
    "cut-off xlsx": (lambda d: half(0.9)(xlsx(d)), (), ("x.xlsx", "damaged or cut off")),
    "cut-off zarr.zip": (lambda d: half(0.9)(zipped(zarr(d))), (), ("x.zarr.zip", "damaged or cut off")),
    "cut-off store in a zip": (lambda d: half(0.9)(zipped(store(d))), (), ("x.zarr.zip", "damaged or cut off")),
    "cut-off raw": (
        lambda d: put(d / "x.raw", b"FID IID PAT MAT SEX PHENOTYPE a_A b_C\nf i 0 0 1 1 0 1\nf j 0 0 1 2 0"),
        ("--label", "PHENOTYPE"),
        ("x.raw: line 3 must hold 8 fields", "got 7"),
    ),
    "cut-off utf-16": (
        lambda d: cut(put(d / "x.csv", csv(d).read_text().encode("utf-16")), 2001),
        (),
        ("x.csv: the text in UTF-16 is damaged or cut off",),
    ),
    "empty xlsx": (lambda d: put(d / "x.xlsx", b""), (), ("x.xlsx", "the file is empty")),
    "empty zip": (lambda d: put(d / "x.zip", b"PK\x05\x06" + bytes(18)), (), ("must hold one file", "got no file")),
    "wrong magic, xlsx": (lambda d: csv(d).rename(d / "x.xlsx"), (), ("must be a ZIP archive", "got text")),
    "wrong magic, xz": (lambda d: csv(d).rename(d / "x.csv.xz"), (), ("must be xz, as its name says, got text",)),
    "xlsx that is another archive": (
        lambda d: compressed(d, ".zip").rename(d / "x.xlsx"),
        (),
        ("x.xlsx: the spreadsheet is damaged",),
    ),
    "word in xlsx": (lambda d: xlsx(d, "high"), (), ("x.xlsx: row 5, column 'f0' must hold a number, got 'high'",)),
    "two tables in a zip": (
        lambda d: compressed(d, ".zip", "more.csv"),
        (),
        ("x.csv.zip: the archive must hold one file, got 'x.csv', 'more.csv'",),
    ),
    "folder of a store in a zip": (
        lambda d: zipped(store(d), at="x.zarr/"),
        (),
        ("x.zarr.zip: the archive must hold zarr.json or .zgroup at its top",),
    ),
    "shard in a zip that is not there": (
        lambda d: zipped(store(d), without="X/c/0/0"),
        (),
        ("x.zarr.zip: X/c/0/0 is missing",),
    ),
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
        ("must be PLINK .bed or .pgen, as its name says, got text",),
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
    "empty pgen": (lambda d: cut(pgen(d), 0), PSAM, ("x.pgen", "the file is empty")),
    "empty bgen": (lambda d: cut(bgen(d), 0), SAMPLE, ("x.bgen", "the file is empty")),
    "empty pvar": (lambda d: beside(pgen(d), "x.pvar", lambda p: cut(p, 0)), PSAM, ("x.pgen: 0 feature(s)",)),
    "empty psam": (lambda d: beside(pgen(d), "x.psam", lambda p: cut(p, 0)), PSAM, ("x.pgen: 0 sample(s)",)),
    "wrong magic, pgen": (
        lambda d: put(pgen(d), b"chr1\t5\t9\n"),
        PSAM,
        ("x.pgen: the file must be PLINK .bed or .pgen, as its name says, got text",),
    ),
    "wrong magic, bgen": (lambda d: put(bgen(d), bytes(60)), SAMPLE, ("must be BGEN, as its name says, got binary",)),
    "pgen of nothing": (
        lambda d: put(pgen(d), b"\x6c\x1b\x10" + bytes(50)),
        PSAM,
        ("x.pgen: the header must say how many variants and samples there are, got 0 variants of 0 samples",),
    ),
    "pgen of an unknown mode": (
        lambda d: put(pgen(d), b"\x6c\x1b\x09" + bytes(50)),
        PSAM,
        ("x.pgen: the storage mode (third byte) must be one of PLINK 2's, got 0x09",),
    ),
    "pgen with its index elsewhere": (
        lambda d: put(pgen(d), b"\x6c\x1b\x20" + bytes(50)),
        PSAM,
        ("x.pgen: the file keeps its index in a .pgen.pgi file", "--make-pgen"),
    ),
    "cut-off pgen": (
        lambda d: cut(pgen(d), pgen(d).stat().st_size - 5),
        PSAM,
        ("x.pgen: the file is cut off: it must be of", "bytes by its header, got"),
    ),
    "pgen cut off in its index": (lambda d: cut(pgen(d), 40), PSAM, ("x.pgen: the file is cut off in its index",)),
    "pgen cut off in its header": (lambda d: cut(pgen(d), 9), PSAM, ("x.pgen: the file is cut off: its header",)),
    "pgen with other bytes": (other_records, PSAM, ("x.pgen: variants 1 to 60 cannot be read, the file is damaged",)),
    "pgen against pvar": (
        lambda d: beside(pgen(d), "x.pvar", lambda p: p.write_text("".join(p.read_text().splitlines(True)[:-5]))),
        PSAM,
        ("x.pgen: the file must hold 55 variants, as x.pvar does, got 60 variants",),
    ),
    "pgen against psam": (
        lambda d: beside(pgen(d), "x.psam", lambda p: p.write_text("".join(p.read_text().splitlines(True)[:-5]))),
        PSAM,
        ("x.pgen: the file must hold 19 samples, as x.psam does, got 24 samples",),
    ),
    "pgen without pvar": (
        lambda d: beside(pgen(d), "x.pvar", lambda p: p.unlink()),
        PSAM,
        ("x.pgen: there is no x.pvar or x.pvar.zst or x.bim beside it",),
    ),
    "short pvar": (
        lambda d: beside(pgen(d), "x.pvar", lambda p: swap(p, "rs7\tC\tA", "rs7\tC")),
        PSAM,
        ("x.pvar: line 9 must hold 5 columns (CHROM, POS, ID, REF, ALT), got 4",),
    ),
    "pvar of other columns": (
        lambda d: beside(pgen(d), "x.pvar", lambda p: swap(p, "#CHROM\tPOS", "#CHROM\tCM")),
        PSAM,
        ("x.pvar: the header must begin with #CHROM POS ID REF ALT, got '#CHROM CM ID REF ALT'",),
    ),
    "pvar with a word for a place": (
        lambda d: beside(pgen(d), "x.pvar", lambda p: swap(p, "\t7\trs7", "\there\trs7")),
        PSAM,
        ("x.pvar: variant 8 ('rs7'): its position must be a whole number, got 'here'",),
    ),
    "cut-off pvar.zst": (
        cut_pvar,
        PSAM,
        ("x.pvar.zst: the file is damaged or cut off",),
    ),
    "psam without #": (
        lambda d: beside(pgen(d), "x.psam", lambda p: swap(p, "#FID", "FID")),
        PSAM,
        ("x.psam: the header must begin with #FID or #IID, got 'FID'",),
    ),
    "vcf zarr with names missing": (
        lambda d: (vcz(d) / "sample_id" / "0").unlink() or d / "x.vcz",
        VCZ,
        ("x.vcz: sample_id/0 is missing",),
    ),
    "vcf zarr with damaged alleles": (
        lambda d: put(vcz(d) / "variant_allele" / "0.0", b"\0" * 30).parents[1],
        VCZ,
        ("x.vcz: the description of the variants is damaged or no VCF Zarr",),
    ),
    "vcf zarr with alleles of another form": (
        lambda d: zarr_array(vcz(d), "variant_allele", np.zeros(M, np.int8)),
        VCZ,
        ("x.vcz: variant_allele must be an array of 2 axes",),
    ),
    "short psam": (
        lambda d: beside(pgen(d), "x.psam", lambda p: swap(p, "f3 i3 2 2", "f3 i3 2")),
        PSAM,
        ("x.psam: line 5 must hold 4 columns (FID, IID, SEX, PHENO1), got 3",),
    ),
    "psam with a sample twice": (
        lambda d: beside(pgen(d), "x.psam", lambda p: swap(p, "f3 i3", "f2 i2")),
        PSAM,
        ("x.psam: samples must be there once each, got 'f2:i2' twice",),
    ),
    "psam without IID": (
        lambda d: beside(pgen(d), "x.psam", lambda p: swap(p, "IID", "ID")),
        PSAM,
        ("x.psam: the header must begin with #FID or #IID, got '#FID ID SEX PHENO1'",),
    ),
    "cut-off bgen": (lambda d: half(0.6)(bgen(d)), SAMPLE, ("x.bgen: the file is damaged or cut off after",)),
    "bgen cut off at its end": (
        lambda d: cut(bgen(d), bgen(d).stat().st_size - 3),
        SAMPLE,
        ("x.bgen: the file is damaged or cut off after 59 variants of 60",),
    ),
    "bgen cut off in its header": (lambda d: cut(bgen(d), 22), SAMPLE, ("x.bgen: the file is damaged, or no BGEN",)),
    "bgen against sample": (
        lambda d: beside(bgen(d), "x.sample", lambda p: swap(p, "f3 i3 0 2\n", "")),
        SAMPLE,
        ("x.bgen: the file must hold 23 samples, as x.sample does, got 24 samples",),
    ),
    "sample without types": (
        lambda d: beside(bgen(d), "x.sample", lambda p: swap(p, "0 0 0 B\n", "")),
        SAMPLE,
        ("x.sample: line 2 must hold the type of each column (0, D, C, P or B), got 'f0 i0 0 1'",),
    ),
    "bgen with the index of another file": (
        other_index,
        SAMPLE,
        ("x.bgen: variant 1 ('rs0') cannot be read: the index x.bgen.bgi is of another file (remove it), or the file",),
    ),
    "vcf zarr without samples": (
        lambda d: shutil.rmtree(vcz(d) / "sample_id") or d / "x.vcz",
        VCZ,
        ("x.vcz: a store with call_genotype must hold sample_id, ", "got no sample_id"),
    ),
    "vcf zarr of other numbers": (
        lambda d: zarr_array(vcz(d), "variant_position", np.arange(M - 1)),
        VCZ,
        ("x.vcz: variant_position must be of 60 variants, as call_genotype is, got 59",),
    ),
    "vcf zarr of many copies": (
        lambda d: zarr_array(vcz(d), "call_genotype", np.zeros((M, N, 4), np.int8)),
        VCZ,
        ("call_genotype must be integers of shape (variants, samples, 1 or 2 copies), got int8 of shape (60, 24, 4)",),
    ),
    "vcf zarr with a damaged chunk": (
        lambda d: put(vcz(d) / "call_genotype" / "1.0.0", b"\0" * 30).parents[1],
        VCZ,
        ("x.vcz: call_genotype/1.0.0 is damaged or cut off",),
    ),
    "vcf": (lambda d: put(d / "x.vcf.gz", b"\x1f\x8b"), (), ("pixfold does not read VCF", "plink2 --vcf x.vcf.gz")),
    "no label column in pgen": (pgen, ("--label", "PHENO"), ("did you mean 'PHENO1'", "'SEX'")),
    "no label column in bgen": (bgen, ("--label", "cases"), ("did you mean 'case'",)),
    "no label column in vcf zarr": (vcz, ("--label", "kind"), ("'sample_kind'",)),
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
    "pgen": (pgen, "x.pgen", PSAM),
    "bgen": (bgen, "x.bgen", SAMPLE),
    "vcf zarr": (vcz, "x.vcz/call_genotype/.zarray", VCZ),
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
