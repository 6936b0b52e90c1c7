"""PLINK 2, BGEN and VCF Zarr: the same genotypes as in a .bed file, bit for bit, however they are read."""

from __future__ import annotations

import os
import pickle
import re
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pixfold import PackedGenotypes, pack
from pixfold.errors import InputError, MissingDependencyError
from pixfold.sources import open_source
from pixfold.sources.genotypes.codes import packed_rows, room_for
from pixfold.sources.genotypes.pgen_header import read_header
from pixfold.sources.genotypes.variant_major import VariantSource

pgenlib = pytest.importorskip("pgenlib", reason="Pgenlib has no wheel for Windows")
bgen = pytest.importorskip("bgen")
zarr = pytest.importorskip("zarr")
pytest.importorskip("anndata")
# Of zarr, about text of a fixed length in format 3.
pytestmark = pytest.mark.filterwarnings("ignore:.*does not have a Zarr V3 specification")


def drawn(n_samples: int, n_variants: int, seed: int = 0) -> Any:
    """Copies of the alternate allele, (n_samples, n_variants), -1 missing."""
    return np.random.default_rng(seed).integers(-1, 3, (n_samples, n_variants)).astype(np.int8)


def bed(stem: Path, copies: Any) -> Path:
    path = stem.with_suffix(".bed")
    path.write_bytes(b"\x6c\x1b\x01" + PackedGenotypes.pack(np.ascontiguousarray(copies.T)).bits.tobytes())
    path.with_suffix(".bim").write_text("".join(f"1 rs{j} 0 {100 + j} A C\n" for j in range(copies.shape[1])))
    path.with_suffix(".fam").write_text("".join(f"f{i} i{i} 0 0 {1 + i % 2} {1 + i % 2}\n" for i in range(len(copies))))
    return path


def beside_pgen(stem: Path, n_samples: int, n_variants: int) -> None:
    lines = "".join(f"1\t{100 + j}\trs{j}\tC\tA\n" for j in range(n_variants))
    stem.with_suffix(".pvar").write_text("##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\n" + lines)
    lines = "".join(f"f{i}\ti{i}\t{1 + i % 2}\t{1 + i % 2}\t{20 + i}\n" for i in range(n_samples))
    stem.with_suffix(".psam").write_text("#FID\tIID\tSEX\tPHENO1\tage\n" + lines)


def pgen(stem: Path, copies: Any, dosages: Any = None) -> Path:
    """Hard calls; with dosages (NaN missing) calls that follow from these."""
    path, (n, m) = stem.with_suffix(".pgen"), copies.shape
    writer = pgenlib.PgenWriter(
        os.fsencode(path), n, variant_ct=m, nonref_flags=False, dosage_present=dosages is not None
    )
    if dosages is None:
        writer.append_biallelic_batch(np.ascontiguousarray(np.where(copies < 0, -9, copies).T.astype(np.int8)))
    else:
        writer.append_dosages_batch(np.ascontiguousarray(np.nan_to_num(dosages, nan=-9.0).T.astype(np.float32)))
    writer.close()
    beside_pgen(stem, n, m)
    return path


def bgen_file(stem: Path, copies: Any, *, dosages: Any = None, layout: int = 2, bits: int = 8, **more: Any) -> Path:
    """Certain genotypes, or such as have a dosage."""
    path, (n, m) = stem.with_suffix(".bgen"), copies.shape
    path.unlink(missing_ok=True)
    values = np.where(copies < 0, np.nan, copies) if dosages is None else dosages
    options = {"compression": "zlib", "samples": [f"i{i}" for i in range(n)]} | more
    with bgen.BgenWriter(str(path), n, layout=layout, **options) as writer:
        for j in range(m):
            low = np.minimum(values[:, j], 1)
            high = values[:, j] - low
            chances = np.stack([1 - low, low - high, high], axis=1)
            writer.add_variant(f"v{j}", f"rs{j}", "1", 100 + j, ["C", "A"], chances, 2, False, bits)
    Path(f"{path}.bgi").unlink(missing_ok=True)
    return path


def vcf_zarr(stem: Path, copies: Any, version: int, chunks: tuple[int, int] = (5, 7)) -> Path:
    path, (n, m) = stem.with_suffix(f".{version}.vcz"), copies.shape
    group = zarr.open_group(str(path), mode="w", zarr_format=version)
    alleles = np.stack([copies > 0, copies > 1], axis=2).transpose(1, 0, 2).astype(np.int8)
    alleles[copies.T < 0] = -1
    group.create_array("call_genotype", data=alleles, chunks=(min(chunks[0], m), min(chunks[1], n), 2))
    for key, values in {
        "sample_id": np.array([f"i{i}" for i in range(n)], dtype="U8"),
        "sample_sex": np.arange(n) % 2 + 1,
        "variant_position": 100 + np.arange(m, dtype=np.int32),
        "variant_contig": np.zeros(m, dtype=np.int8),
        "contig_id": np.array(["1"], dtype="U4"),
        "variant_allele": np.array([["C", "A"]] * m, dtype="U1"),
        "variant_id": np.array([f"rs{j}" for j in range(m)], dtype="U8"),
    }.items():
        group.create_array(key, data=values)
    return path


WRITERS: dict[str, Callable[[Path, Any], Path]] = {
    "pgen": pgen,
    "vcf zarr 2": lambda stem, copies: vcf_zarr(stem, copies, 2),
    "vcf zarr 3": lambda stem, copies: vcf_zarr(stem, copies, 3),
    "bgen 1.1": lambda stem, copies: bgen_file(stem, copies, layout=1, bits=16),
    "bgen 1.2": bgen_file,
    "bgen 1.3, 16 bits": lambda stem, copies: bgen_file(stem, copies, bits=16, compression="zstd"),
}
SHAPES = [(1, 1), (1, 9), (9, 1), (4, 8), (23, 57), (32, 33)]


def calls_of(path: Path, **options: Any) -> Any:
    return open_source(path, hard_calls=True, **options) if path.suffix == ".bgen" else open_source(path, **options)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("form", WRITERS)
def test_genotypes_are_those_of_the_bed_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, shape: tuple[int, int]
) -> None:
    """Whole, in parts and scattered, with spans and pieces of every size; then packed."""
    monkeypatch.setattr("pixfold.sources.genotypes.variant_major._DECODED_BYTES", 40 * shape[0])
    copies = drawn(*shape)
    like, path = open_source(bed(tmp_path / "b", copies)), WRITERS[form](tmp_path / "x", copies)
    n = shape[0]
    for span in (1, 10**6):
        monkeypatch.setattr("pixfold.sources.genotypes.variant_major._SPAN_BYTES", span)
        source = calls_of(path)
        assert (source.feature_names, source.sample_names) == (like.feature_names, like.sample_names)
        assert source.kind == "genotypes"
        for rows in (slice(None), slice(n // 2, n), slice(0, 0), np.array([n - 1, 0, n // 2, 0])):
            block, wanted = source.read(rows), like.read(rows)
            assert block.count_first
            np.testing.assert_array_equal(block.toarray("int8"), wanted.toarray("int8"))
            if not shape[1] % 4:
                np.testing.assert_array_equal(block.bits, wanted.bits)
    assert source.feature_annotation["position"].tolist() == [100 + j for j in range(shape[1])]
    for name, text in (("chromosome", "1"), ("counted_allele", "A"), ("other_allele", "C")):
        assert source.feature_annotation[name].tolist() == like.feature_annotation[name].tolist() == [text] * shape[1]
    options = {"hard_calls": True} if path.suffix == ".bgen" else {}
    made = pack(path, tmp_path / "p.zarr", memory=64 * n, **options)
    assert made.kind == "genotypes"
    packed = open_source(made.path)
    np.testing.assert_array_equal(packed.read(slice(None)).toarray("int8"), copies)
    assert packed.feature_annotation["counted_allele"].tolist() == ["A"] * shape[1]


def dosages_of(n_samples: int, n_variants: int) -> Any:
    rng = np.random.default_rng(1)
    values = np.round(rng.random((n_samples, n_variants)) * 510) / 255
    values[rng.random(values.shape) < 0.1] = np.nan
    return values


@pytest.mark.parametrize("form", ["pgen", "bgen"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_dosages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, shape: tuple[int, int]) -> None:
    monkeypatch.setattr("pixfold.sources.genotypes.variant_major._SPAN_BYTES", 1)
    monkeypatch.setattr("pixfold.sources.genotypes.variant_major._DECODED_BYTES", 40 * shape[0])
    dosages = dosages_of(*shape)
    copies = np.zeros(shape, dtype=np.int8)
    write = pgen if form == "pgen" else bgen_file
    path = write(tmp_path / "x", copies, dosages=dosages)
    source = open_source(path)
    assert (source.dtype, source.kind) == (np.float32, "genotypes")
    whole = source.read(slice(None))
    # PLINK 2 has steps of 1/16384; BGEN of 8 bits has these very steps.
    np.testing.assert_allclose(whole, dosages, atol=0.5 / 16384 + 1e-6)
    rows = np.array([shape[0] - 1, 0])
    np.testing.assert_array_equal(source.read(rows), whole[rows])
    made = pack(path, tmp_path / "p.zarr", memory=64 * shape[0])
    assert (made.kind, made.dtype) == ("dosages", "uint8")
    packed = open_source(made.path)
    assert (packed.kind, packed.dtype) == ("genotypes", np.float32)
    np.testing.assert_allclose(packed.read(slice(None)), whole, atol=0.5 / 127 + 1e-6)
    np.testing.assert_array_equal(packed.read(rows), packed.read(slice(None))[rows])


@pytest.mark.parametrize("form", ["pgen", "bgen"])
def test_hard_calls_of_dosages(tmp_path: Path, form: str) -> None:
    dosages = np.array([[0, 0.05, 0.5], [1.95, 1.05, 1.2], [2, np.nan, 1]])
    write = pgen if form == "pgen" else bgen_file
    path = write(tmp_path / "x", np.zeros((3, 3), np.int8), dosages=dosages)
    block = open_source(path, hard_calls=True).read(slice(None))
    assert block.toarray("int8").tolist() == [[0, 0, -1], [2, 1, -1], [2, -1, 1]]


def test_dosages_become_bytes_that_are_exact_for_whole_ones(tmp_path: Path) -> None:
    dosages = np.array([[0, 1, 2], [2, 0.3, np.nan]])
    path = pgen(tmp_path / "x", np.zeros((2, 3), np.int8), dosages)
    block = open_source(pack(path, tmp_path / "p.zarr").path).read(slice(None))
    np.testing.assert_array_equal(block, np.array([[0, 1, 2], [2, 38 / 127, np.nan]], dtype=np.float32))


def test_every_call_has_its_code() -> None:
    calls = room_for(3, 9)
    calls[:, :9] = [[0, 1, 2, -9, 0, 1, 2, -9, 2], [2] * 9, [-9] * 9]
    codes = packed_rows(calls)
    packed = PackedGenotypes(codes[:, :3].copy(), 9, count_first=False)
    assert packed.toarray("int8").tolist() == [[0, 1, 2, -1, 0, 1, 2, -1, 2], [2] * 9, [-1] * 9]


def multiallelic(stem: Path) -> Path:
    path = stem.with_suffix(".pgen")
    writer = pgenlib.PgenWriter(os.fsencode(path), 5, variant_ct=2, nonref_flags=False, allele_ct_limit=4)
    writer.append_alleles(np.array([0, 1, 1, 2, 2, 3, -9, -9, 0, 0], np.int32), allele_ct=4)
    writer.append_alleles(np.array([0, 1, 1, 1, 0, 0, -9, -9, 0, 0], np.int32), allele_ct=2)
    writer.close()
    beside_pgen(stem, 5, 2)
    pvar = stem.with_suffix(".pvar")
    pvar.write_text(pvar.read_text().replace("rs0\tC\tA", ".\tC\tA,G,T"))
    return path


def test_any_alternate_allele_counts(tmp_path: Path) -> None:
    source = open_source(multiallelic(tmp_path / "x"))
    assert source.read(slice(None)).toarray("int8").T.tolist() == [[1, 2, 2, -1, 0], [1, 2, 0, -1, 0]]
    assert source.feature_names == ["1:100:C:A,G,T", "rs1"]
    assert source.feature_annotation["counted_allele"].tolist() == ["A,G,T", "A"]


def test_alleles_of_vcf_zarr(tmp_path: Path) -> None:
    """Several alternate alleles, one copy alone, alleles that are missing."""
    path = vcf_zarr(tmp_path / "x", np.zeros((6, 1), np.int8), 3)
    group = zarr.open_group(str(path), mode="r+")
    group["call_genotype"][:] = np.array([[[0, 2], [3, 1], [1, -2], [0, -2], [-1, -2], [-1, 1]]], dtype=np.int8)
    assert open_source(path).read(slice(None)).toarray("int8")[:, 0].tolist() == [1, 2, 2, 0, -1, -1]
    group.create_array("call_genotype", data=np.array([[[0], [1], [-1], [2], [0], [1]]], np.int16), overwrite=True)
    assert open_source(path).read(slice(None)).toarray("int8")[:, 0].tolist() == [0, 2, -1, 2, 0, 2]


def test_columns_of_psam(tmp_path: Path) -> None:
    path = pgen(tmp_path / "x", drawn(4, 5))
    path.with_suffix(".psam").write_text(
        "\ufeff##a comment\n#IID SID PAT MAT SEX trait age kind\n"
        "a 1 0 m M 1 30 low\nb 1 0 0 2 -9 NA high\nc 1 0 0 NA 2 5.5 NONE\nd 2 0 0 0 nan 7 low\n"
    )
    source = open_source(path, label="trait", groups="SID", covariates=["age", "SEX"])
    assert source.sample_names == ["a", "b", "c", "d"]
    np.testing.assert_array_equal(source.labels, [1, np.nan, 2, np.nan])
    assert source.groups is not None
    assert source.groups.tolist() == ["1", "1", "1", "2"]
    np.testing.assert_array_equal(source.covariates["age"], [30, np.nan, 5.5, 7])
    np.testing.assert_array_equal(source.covariates["SEX"], [1, 2, np.nan, np.nan])
    columns = source.sample_columns()
    assert columns["kind"].tolist() == ["low", "high", None, "low"]
    assert columns["MAT"].tolist() == ["m", None, None, None]
    with pytest.raises(InputError, match=r"no label column 'trai'; did you mean 'trait'.*columns there are: 'SEX'"):
        open_source(path, label="trai")


def test_psam_and_pvar_without_header_are_fam_and_bim(tmp_path: Path) -> None:
    copies = drawn(5, 6)
    like = open_source(bed(tmp_path / "x", copies), label="phenotype")
    path = pgen(tmp_path / "x", copies)
    for suffix, other in ((".pvar", ".bim"), (".psam", ".fam")):
        path.with_suffix(suffix).write_text(path.with_suffix(other).read_text())
        path.with_suffix(other).rename(path.with_suffix(f"{other}.kept"))
    for _ in range(2):
        source = open_source(path, label="phenotype")
        np.testing.assert_array_equal(source.labels, like.labels)
        assert source.feature_names == like.feature_names
        assert source.feature_annotation["counted_allele"].tolist() == ["A"] * 6
        np.testing.assert_array_equal(source.read(slice(None)).toarray("int8"), copies)
        for suffix, other in ((".pvar", ".bim"), (".psam", ".fam")):
            if path.with_suffix(suffix).exists():
                path.with_suffix(suffix).rename(path.with_suffix(other))


def test_variants_without_an_id_have_one_name_in_all_formats(tmp_path: Path) -> None:
    copies = drawn(5, 6)
    paths = [bed(tmp_path / "b", copies), pgen(tmp_path / "p", copies)]
    for path in (paths[0].with_suffix(".bim"), paths[1].with_suffix(".pvar")):
        path.write_text(re.sub(r"\brs\d", ".", path.read_text()))
    names = [open_source(path).feature_names for path in paths]
    assert names == [[f"1:{100 + j}:C:A" for j in range(6)]] * 2


def test_pvar_in_zstandard(tmp_path: Path) -> None:
    zstandard: Any = pytest.importorskip("zstandard")
    path = pgen(tmp_path / "x", drawn(5, 6))
    pvar = path.with_suffix(".pvar")
    Path(f"{pvar}.zst").write_bytes(zstandard.ZstdCompressor().compress(pvar.read_bytes()))
    pvar.unlink()
    assert open_source(path).feature_names == [f"rs{j}" for j in range(6)]


def test_a_bed_file_named_pgen(tmp_path: Path) -> None:
    copies = drawn(5, 6)
    path = bed(tmp_path / "x", copies)
    path = path.rename(path.with_suffix(".pgen"))
    np.testing.assert_array_equal(open_source(path).read(slice(None)).toarray("int8"), copies)


@pytest.mark.parametrize(("control", "flags"), [(0x40, b""), (0xC0, b"\x15")], ids=["all known", "a list"])
def test_pgen_of_fixed_width(tmp_path: Path, control: int, flags: bytes) -> None:
    """Codes of PLINK 2 count ALT: 0, 1, 2 and 3 for a missing one."""
    copies = drawn(7, 5)
    codes = np.pad(np.where(copies.T < 0, 3, copies.T), ((0, 0), (0, 1))).reshape(5, 2, 4)
    packed = (codes << np.array([0, 2, 4, 6])).sum(axis=2).astype(np.uint8)
    head = b"\x6c\x1b\x02" + (5).to_bytes(4, "little") + (7).to_bytes(4, "little") + bytes([control])
    (tmp_path / "x.pgen").write_bytes(head + flags + packed.tobytes())
    beside_pgen(tmp_path / "x", 7, 5)
    np.testing.assert_array_equal(open_source(tmp_path / "x.pgen").read(slice(None)).toarray("int8"), copies)


def test_dosages_are_found_in_any_block_of_the_index(tmp_path: Path) -> None:
    n_variants = 2**16 + 5
    for dosages in (False, True):
        path = tmp_path / "x.pgen"
        with pgenlib.PgenWriter(
            os.fsencode(path), 1, variant_ct=n_variants, nonref_flags=False, dosage_present=True
        ) as writer:
            writer.append_biallelic_batch(np.ones((n_variants - 1, 1), np.int8))
            if dosages:
                writer.append_dosages(np.array([0.3], np.float32))
            else:
                writer.append_biallelic(np.array([2], np.int8))
        header = read_header(path)
        assert (header.n_samples, header.n_variants, header.dosages) == (1, n_variants, dosages)


def test_names_that_others_have_too(tmp_path: Path) -> None:
    path = pgen(tmp_path / "x", drawn(3, 4))
    path.with_suffix(".pvar").write_text(
        "#CHROM\tPOS\tID\tREF\tALT\tQUAL\n1\t5\trs1\tC\tA\t.\nX\t7\trs1\tC\tG\t.\n1\t2\t.\tC\tA\t.\n1\t2\t.\tC\tA\t.\n"
    )
    path.with_suffix(".psam").write_text("#FID IID\nf1 same\nf2 same\nf3 same\n")
    source = open_source(path)
    assert source.feature_names == ["1:5:C:A", "X:7:C:G", "1:2:C:A", "1:2:C:A.1"]
    assert source.sample_names == ["f1:same", "f2:same", "f3:same"]
    assert "1 variant name used more than once ('1:2:C:A')" in source.messages[0]


def test_sample_files(tmp_path: Path) -> None:
    path = bgen_file(tmp_path / "x", drawn(3, 4), samples=[])
    assert open_source(path).sample_names == ["sample_0", "sample_1", "sample_2"]
    path.with_suffix(".sample").write_text(
        "ID_1 ID_2 missing sex height case\n0 0 0 D P B\nf a 0 1 1.5 1\nf b 0 2 NA 0\ng c 0 0 2 NA\n"
    )
    source = open_source(path, label="case", groups="ID_1", covariates="height")
    assert source.sample_names == ["a", "b", "c"]
    np.testing.assert_array_equal(source.covariates["height"], [1.5, np.nan, 2])
    assert source.groups is not None
    assert source.groups.tolist() == ["f", "f", "g"]
    np.testing.assert_array_equal(source.labels, [1, 0, np.nan])
    np.testing.assert_array_equal(source.sample_columns()["sex"], [1, 2, np.nan])


def test_columns_of_vcf_zarr(tmp_path: Path) -> None:
    path = vcf_zarr(tmp_path / "x", drawn(3, 4), 3)
    group = zarr.open_group(str(path), mode="r+")
    group.create_array("sample_case", data=np.array([0, 1, 0]))
    group.create_array("sample_age", data=np.array([30, np.nan, 5.5]))
    group.create_array("sample_scores", data=np.zeros((3, 2)))
    source = open_source(path, label="sample_case", covariates="sample_age")
    np.testing.assert_array_equal(source.labels, [0, 1, 0])
    np.testing.assert_array_equal(source.covariates["sample_age"], [30, np.nan, 5.5])
    assert sorted(source.sample_columns()) == ["sample_age", "sample_case", "sample_sex"]


def test_how_dosages_are_normalised(tmp_path: Path) -> None:
    from pixfold.images.convert import convert

    path = pgen(tmp_path / "x", np.zeros((6, 5), np.int8), np.nan_to_num(dosages_of(6, 5)))
    made = convert(path, tmp_path / "images.npy")
    assert any("genotypes (dosages from 0 to 2)" in message for message in made.messages)


@pytest.mark.parametrize("form", WRITERS)
def test_processes_and_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    monkeypatch.setattr("pixfold.sources.genotypes.variant_major._SPAN_BYTES", 100)
    copies = drawn(61, 64)
    path = WRITERS[form](tmp_path / "x", copies)
    monkeypatch.chdir(tmp_path)
    source = calls_of(Path(path.name))
    source.read(slice(0, 3))
    monkeypatch.chdir("/")
    copy = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(copy.read(slice(2, 9)).toarray("int8"), copies[2:9])
    with ThreadPoolExecutor(4) as pool:
        blocks = list(pool.map(lambda i: source.read(np.array([i, i + 30])).toarray("int8"), range(30)))
    for i, block in enumerate(blocks):
        np.testing.assert_array_equal(block, copies[[i, i + 30]])
    child = os.fork()
    if child == 0:
        same = np.array_equal(source.read(slice(5, 50)).toarray("int8"), copies[5:50])
        os._exit(0 if same else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_other_copies_than_two_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.bgen"
    with bgen.BgenWriter(str(path), 3, samples=["a", "b", "c"]) as writer:
        writer.add_variant("v", "rs", "X", 5, ["C", "A"], np.full((3, 2), 0.5), 1, False, 8)
    with pytest.raises(
        InputError, match=r"x.bgen: samples must have two copies .* got 1 of variant 'rs' in sample 'a'"
    ):
        open_source(path).read(slice(None))
    path.unlink()
    Path(f"{path}.bgi").unlink(missing_ok=True)
    with bgen.BgenWriter(str(path), 3, samples=["a", "b", "c"]) as writer:
        writer.add_variant("v", "rs", "X", 5, ["C", "A", "G"], np.full((3, 6), 1 / 6), 2, False, 8)
    with pytest.raises(InputError, match=r"must have two alleles, got 3 \(C, A, G\) of variant 1 \('rs'\): plink2"):
        open_source(path)


@pytest.mark.parametrize(("form", "package"), [("pgen", "pgenlib"), ("bgen 1.2", "bgen")])
def test_a_package_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, package: str) -> None:
    path = WRITERS[form](tmp_path / "x", drawn(3, 4))
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=rf"needs {package}, .*: pip install \"pixfold\[genotypes\]\""):
        open_source(path)


def test_chunks_that_are_not_stored_are_told(tmp_path: Path) -> None:
    copies = drawn(9, 12)
    path = vcf_zarr(tmp_path / "x", copies, 2)
    (path / "call_genotype" / "1.0.0").unlink()
    source = open_source(path)
    assert "1 chunk of call_genotype is not stored and reads as 0: right when" in source.messages[0]
    copies[:7, 5:10] = 0
    np.testing.assert_array_equal(source.read(slice(None)).toarray("int8"), copies)


def test_phased_bgen(tmp_path: Path) -> None:
    path = tmp_path / "x.bgen"
    with bgen.BgenWriter(str(path), 2, samples=["a", "b"]) as writer:
        writer.add_variant("v", "rs", "1", 5, ["C", "A"], np.array([[1, 0, 0.2, 0.8], [0, 1, 0, 1]]), 2, True, 8)
    np.testing.assert_allclose(open_source(path).read(slice(None))[:, 0], [0.8, 2])


@pytest.mark.parametrize("name", ["x.bed", "x.npy"])
def test_hard_calls_are_refused_where_there_are_no_dosages(tmp_path: Path, name: str) -> None:
    path = bed(tmp_path / "x", drawn(3, 4)) if name == "x.bed" else tmp_path / name
    np.save(tmp_path / "x.npy", np.zeros((2, 2)))
    with pytest.raises(InputError, match="hard_calls must be False, because it holds no dosages, got True"):
        open_source(path, hard_calls=True)


@pytest.mark.parametrize("name", ["c.vcf", "c.vcf.gz", "c.bcf"])
def test_vcf_names_the_command(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x1f\x8b")
    flag = "bcf" if name.endswith("bcf") else "vcf"
    with pytest.raises(InputError) as caught:
        open_source(tmp_path / name)
    assert f"plink2 --{flag} {name} --make-pgen --out c" in str(caught.value)
    assert (f"vcf2zarr convert {name} c.vcz" in str(caught.value)) == (name != "c.vcf")


def test_reading_takes_no_more_than_a_span_and_a_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pixfold.sources.genotypes.variant_major._SPAN_BYTES", 160)
    monkeypatch.setattr("pixfold.sources.genotypes.variant_major._DECODED_BYTES", 1000)
    source = open_source(pgen(tmp_path / "x", drawn(40, 160)))
    assert isinstance(source, VariantSource)
    asked = []
    read = source.read_variants

    def noted(first: int, last: int, samples: slice = slice(None)) -> Any:
        asked.append((last - first, samples))
        return read(first, last, samples)

    monkeypatch.setattr(source, "read_variants", noted)
    for start in range(0, 40, 4):
        source.read(slice(start, start + 4))
    assert {(samples.start, samples.stop) for _, samples in asked} == {(start, start + 4) for start in range(0, 40, 4)}
    assert max(n for n, _ in asked) * 40 <= 1000
    assert len(asked) == 10 * -(-160 // 4)
