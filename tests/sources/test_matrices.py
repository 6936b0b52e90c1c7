"""Text matrices with features as rows: which way a table lies, annotation, summary rows, GCT, MAGE-TAB."""

from __future__ import annotations

import gzip
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("pyarrow")

import pixfold
from pixfold.cli.app import app
from pixfold.errors import InputError
from pixfold.sources import open_source
from pixfold.sources.disk import limits
from pixfold.sources.matrices import tiles

N, M = 12, 60
X = np.random.default_rng(3).poisson(6.0, (N, M)).astype(float)
SAMPLES = [f"S{i:03d}" for i in range(N)]
GENES = [f"GENE{j}" for j in range(M)]
ENSEMBL = [f"ENSG{j:011d}.{j % 9 + 1}" for j in range(M)]


def lines(rows: Sequence[Sequence[object]], delimiter: str = "\t") -> str:
    return "".join(delimiter.join(map(str, row)) + "\n" for row in rows)


def matrix(header: Sequence[str], before: Sequence[Sequence[object]], values: Any = X) -> list[list[object]]:
    """A header and a row per feature: what stands before the values, and these."""
    body = [[*cells, *(f"{v:g}" for v in row)] for cells, row in zip(before, values.T, strict=True)]
    return [[*header, *SAMPLES], *body]


def put(path: Path, text: str) -> Path:
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def labels(folder: Path, names: Sequence[str] = SAMPLES) -> Path:
    return put(
        folder / "labels.csv", lines([("sample", "group"), *((n, "ab"[i % 2]) for i, n in enumerate(names))], ",")
    )


def gct(folder: Path, name: str = "x.gct", n_rows: int = M, version: str = "#1.2") -> Path:
    table = matrix(("Name", "Description"), list(zip(ENSEMBL, GENES, strict=True)))
    sizes = [n_rows, N]
    if version == "#1.3":
        sizes += [1, 2]
        table[1:1] = [["tissue", "na", *("lung" if i % 3 else "liver" for i in range(N))], ["age", "na", *range(N)]]
    return put(folder / name, lines([[version], sizes, *table]))


def equals(source: Any, samples: Sequence[str], features: Sequence[str], values: Any = X) -> bool:
    np.testing.assert_array_equal(source.read(slice(None)), values)
    return list(source.sample_names) == list(samples) and list(source.feature_names) == list(features)


def test_gct(tmp_path: Path) -> None:
    for name in ("x.gct", "x.gct.gz", "x.txt"):
        source = open_source(gct(tmp_path, name))
        assert equals(source, SAMPLES, ENSEMBL)
        assert source.feature_annotation["Description"].tolist() == GENES


def test_gct_of_version_3_has_labels(tmp_path: Path) -> None:
    source = open_source(gct(tmp_path, version="#1.3"), label="tissue", covariates="age")
    assert equals(source, SAMPLES, ENSEMBL)
    assert source.labels.tolist() == ["lung" if i % 3 else "liver" for i in range(N)]
    assert source.covariates["age"].tolist() == list(range(N))
    assert set(source.sample_columns()) == {"tissue", "age"}


def test_feature_counts(tmp_path: Path) -> None:
    before = [(g, "chr1;chr1", f"{j};9", f"{j + 3};12", "+;+", 100 + j) for j, g in enumerate(GENES)]
    table = matrix(("Geneid", "Chr", "Start", "End", "Strand", "Length"), before)
    table[0][6:] = [f"bam/{name}.sorted.bam" for name in SAMPLES]
    for comment in ("", '# Program:featureCounts v2.0.3; Command:"featureCounts" "-a" "x.gtf"\n'):
        source = open_source(put(tmp_path / "counts.txt", comment + lines(table)))
        assert equals(source, table[0][6:], GENES)
        assert list(source.feature_annotation) == ["Chr", "Start", "End", "Strand", "Length"]
        np.testing.assert_array_equal(source.feature_annotation["Length"], 100 + np.arange(M))
        assert source.feature_annotation["Start"][3] == "3;9"
        assert "rows are taken as features" in source.messages[0]
        assert "'Geneid'" in source.messages[0]
        assert "--no-transpose" in source.messages[0]
    source = open_source(tmp_path / "counts.txt", labels=labels(tmp_path), label="group")
    assert source.labels.tolist() == ["ab"[i % 2] for i in range(N)]
    assert source.sample_names == table[0][6:]
    assert "matched as 'S000' for 'bam/S000.sorted.bam'" in source.messages[-2]


def test_files_as_samples_match_by_a_prefix_without_their_folders(tmp_path: Path) -> None:
    table = matrix(("gene_id",), [(g,) for g in ENSEMBL])
    table[0][1:] = [f"/data/{'ab'[i % 2]}/{name}-01A.bam" for i, name in enumerate(SAMPLES)]
    data = put(tmp_path / "x.txt", lines(table))
    with pytest.raises(InputError, match=rf"{N} of {N} samples agree .*--match prefix:4"):
        open_source(data, labels=labels(tmp_path), label="group")
    source = open_source(data, labels=labels(tmp_path), label="group", match="prefix:4")
    assert source.labels.tolist() == ["ab"[i % 2] for i in range(N)]


def test_labels_of_names_that_are_nearly_those_of_the_samples(tmp_path: Path) -> None:
    table = matrix(("gene_id",), [(g,) for g in ENSEMBL])
    table[0][1:] = [f"{name}_rep1" for name in SAMPLES]
    with pytest.raises(InputError, match=r"agree with a row in the first 4 characters.*--match prefix:4"):
        open_source(put(tmp_path / "x.txt", lines(table)), labels=labels(tmp_path), label="group")
    table[0][1:] = [f"{'ab'[i % 2]}/S{i // 2:03d}.bam" for i in range(N)]  # two files of each name
    with pytest.raises(InputError, match="no sample of"):
        open_source(put(tmp_path / "x.txt", lines(table)), labels=labels(tmp_path), label="group")


@pytest.mark.parametrize(
    ("header", "before"),
    [
        (("gene_id", "gene_name"), list(zip(ENSEMBL, GENES, strict=True))),  # nf-core
        (("gene_id", "transcript_id(s)"), [(g, f"{g}_1,{g}_2") for g in ENSEMBL]),  # RSEM
        (("gene_id", "gene_name", "gene_type"), [(e, g, "lncRNA") for e, g in zip(ENSEMBL, GENES, strict=True)]),  # GDC
        (("Hugo_Symbol", "Entrez_Gene_Id"), [(g, 1000 + j) for j, g in enumerate(GENES)]),  # cBioPortal
        (("",), [(f"cg{j:08d}",) for j in range(M)]),
        (("",), [(f"rs{j + 100}",) for j in range(M)]),
        (("ID_REF",), [(f"ILMN_{j + 10000}",) for j in range(M)]),
        (("#gene",), [(g,) for g in GENES]),
        (("", "gene_id"), [(j, g) for j, g in enumerate(ENSEMBL)]),  # pandas numbered the rows
    ],
)
def test_rows_are_features_by_their_names(tmp_path: Path, header: Any, before: Any) -> None:
    source = open_source(put(tmp_path / "x.tsv.gz", lines(matrix(header, before))))
    named = 1 if header == ("", "gene_id") else 0
    assert equals(source, SAMPLES, [cells[named] for cells in before])
    assert list(source.feature_annotation) == [h for h in header[1:] if h != "gene_id"]
    other = open_source(tmp_path / "x.tsv.gz", transpose=True)
    assert other.feature_names == source.feature_names
    assert not any("rows are taken" in message for message in other.messages)


def test_rows_that_are_no_features_are_left_out(tmp_path: Path) -> None:
    summaries = ["__no_feature", "__ambiguous", "__too_low_aQual", "__not_aligned", "__alignment_not_unique"]
    star = ["N_unmapped", "N_multimapping", "N_noFeature", "N_ambiguous"]
    table = matrix(("",), [(g,) for g in ENSEMBL])
    for first, last in (([], summaries), (star, [])):
        rows = [table[0], *([n, *range(N)] for n in first), *table[1:], *([n, *range(N)] for n in last)]
        source = open_source(put(tmp_path / "x.tsv", lines(rows)))
        assert equals(source, SAMPLES, ENSEMBL)
        assert any(f"{len(first + last)} rows of reads that were not counted left out" in m for m in source.messages)


def test_labels_that_name_the_columns(tmp_path: Path) -> None:
    path = put(tmp_path / "x.csv", lines(matrix(("thing",), [(f"thing{j}",) for j in range(M)]), ","))
    assert open_source(path, transpose=False).n_samples == M
    source = open_source(path, labels=labels(tmp_path), label="group")
    assert equals(source, SAMPLES, [f"thing{j}" for j in range(M)])
    assert source.labels.tolist() == ["ab"[i % 2] for i in range(N)]
    assert "the table of labels names the columns" in source.messages[0]
    assert open_source(path, samples=SAMPLES).n_samples == N
    with pytest.raises(InputError, match=r"the table names features of the data.*--transpose"):
        open_source(path, labels=labels(tmp_path), label="group", transpose=False)


def test_labels_that_name_the_rows(tmp_path: Path) -> None:
    names = [f"ENSG{j:011d}" for j in range(M)]  # an odd way to name patients
    path = put(tmp_path / "x.csv", lines(matrix(("gene_id",), [(n,) for n in names]), ","))
    source = open_source(path, labels=labels(tmp_path, names), label="group")
    assert (source.n_samples, source.n_features) == (M, N)


def test_a_label_in_the_header_makes_rows_samples(tmp_path: Path) -> None:
    rows = [["gene", "kind", "a", "b"], *([f"ENSG{j:011d}", "xy"[j % 2], j, 1] for j in range(M))]
    assert open_source(put(tmp_path / "x.csv", lines(rows, ",")), label="kind").n_samples == M


def test_a_table_that_may_lie_either_way_is_warned_of(tmp_path: Path) -> None:
    path = put(tmp_path / "x.csv", lines(matrix(("",), [(f"thing{j}",) for j in range(M)]), ","))
    source = open_source(path)
    assert source.n_samples == M
    assert "look like samples" in source.messages[-1]
    assert "--transpose" in source.messages[-1]
    assert not any("--transpose" in message for message in open_source(path, transpose=False).messages)


def test_samples_as_rows_are_left_alone(tmp_path: Path) -> None:
    features = [f"cg{j:08d}" for j in range(5)]
    rows = [["", *features], *([f"P{i:05d}", *range(5)] for i in range(200))]
    source = open_source(put(tmp_path / "x.csv", lines(rows, ",")))
    assert source.feature_names == features
    assert not source.messages


def test_samples_that_a_header_lacks_a_field_for(tmp_path: Path) -> None:
    """R's write.table names no column of row names."""
    table = matrix(("",), [(g,) for g in ENSEMBL])
    table[0] = table[0][1:]
    assert equals(open_source(put(tmp_path / "x.txt", lines(table))), SAMPLES, ENSEMBL)


def test_a_decimal_comma_and_missing_values(tmp_path: Path) -> None:
    values = X / 4
    values[2, 5] = values[0, 0] = np.nan
    table = matrix(("gene_id",), [(g,) for g in ENSEMBL], values)
    text = lines(table, ";").replace(".25", ",25").replace(".5", ",5").replace(".75", ",75").replace("nan", "NA")
    source = open_source(put(tmp_path / "x.csv", text))
    np.testing.assert_array_equal(source.read(slice(None)), values)


def test_other_notations_of_numbers(tmp_path: Path) -> None:
    cells = [[f"{v:,.2f}" for v in row * 1000] for row in X.T]
    table = [["gene_id", *SAMPLES], *([g, *row] for g, row in zip(ENSEMBL, cells, strict=True))]
    source = open_source(put(tmp_path / "x.tsv", lines(table)), decimal=".")
    np.testing.assert_array_equal(source.read(slice(None)), X * 1000)
    swapped = lines(table).translate(str.maketrans(".,", ",.")).replace("ENSG", "g")
    source = open_source(put(tmp_path / "y.tsv", swapped), decimal=",", transpose=True)
    np.testing.assert_array_equal(source.read(slice(None)), X * 1000)
    commas = lines(matrix(("gene_id",), [(f"g{j}",) for j in range(M)], X / 4)).replace(".", ",")
    source = open_source(put(tmp_path / "x.tsv", commas))
    np.testing.assert_array_equal(source.read(slice(None)), X / 4)
    assert "decimal commas" in source.messages[-1]
    with pytest.raises(InputError, match=r"line 61, column 'S000' must hold a number, got '1\.5'"):
        open_source(
            put(
                tmp_path / "x.tsv",
                lines([*(row.split("\t") for row in commas.splitlines()[:-1])])
                + lines([["g", "1.5", *["0,5"] * (N - 1)]]),
            )
        )


def test_blanks_between_cells(tmp_path: Path) -> None:
    table = matrix(("gene_id",), [(g,) for g in ENSEMBL])
    assert equals(open_source(put(tmp_path / "x.txt", lines(table, "  "))), SAMPLES, ENSEMBL)


def test_quotes_and_blanks(tmp_path: Path) -> None:
    table = matrix(("gene_id", "description"), [(f'"{g}"', '"a, ""b"""') for g in ENSEMBL])
    table[3][1] = '5" of it'  # a quote where none opens a cell
    table[5][4] = f"  {table[5][4]} "
    source = open_source(put(tmp_path / "x.tsv", lines(table)))
    assert equals(source, SAMPLES, ENSEMBL)
    assert source.feature_annotation["description"][:3].tolist() == ['a, "b"', 'a, "b"', '5" of it']


def test_text_that_shows_late_is_annotation(tmp_path: Path) -> None:
    table = matrix(("gene_id", "note"), [(g, "" if j < 55 else "found") for j, g in enumerate(ENSEMBL)])
    source = open_source(put(tmp_path / "x.tsv", lines(table)), transpose=True)
    assert equals(source, SAMPLES, ENSEMBL)
    assert source.feature_annotation["note"].tolist() == [""] * 55 + ["found"] * 5


def test_a_spreadsheet(tmp_path: Path) -> None:
    pytest.importorskip("python_calamine")
    openpyxl: Any = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in [["Table S1"], *matrix(("gene_id", "note"), [(g, "x") for g in ENSEMBL])]:
        book.active.append([cell if at < 2 or not cell[0].isdigit() else float(cell) for at, cell in enumerate(row)])
    book.save(tmp_path / "x.xlsx")
    source = open_source(tmp_path / "x.xlsx", labels=labels(tmp_path), label="group")
    assert equals(source, SAMPLES, ENSEMBL)
    assert list(source.feature_annotation) == ["note"]
    with pytest.raises(InputError, match="no sample of"):
        open_source(tmp_path / "x.xlsx", labels=labels(tmp_path), label="group", transpose=False)


def test_mage_tab(tmp_path: Path) -> None:
    table = matrix(("Hybridization REF",), [(g,) for g in GENES])
    table.insert(1, ["Reporter REF", *["normalized"] * N])
    assert equals(open_source(put(tmp_path / "x.txt", lines(table))), SAMPLES, GENES)
    table[1][2] = "p-value"
    with pytest.raises(InputError, match=r"one quantity of each sample, got 2 \('normalized', 'p-value'\)"):
        open_source(put(tmp_path / "x.txt", lines(table)))


@pytest.mark.parametrize("threshold", [0, 1 << 40])
def test_tiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threshold: int) -> None:
    """Narrow tiles of several types, in files and in memory, read in any order and after pickling."""
    monkeypatch.setattr(limits, "LARGEST", threshold)
    monkeypatch.setattr(tiles, "TILE_BYTES", 8 * N * 7)
    values = X.copy()
    values[:, 20:30] += 0.1
    values[:, 40:45] *= 1000
    values[3, 50] = np.nan
    table = [["gene_id", *SAMPLES], *([g, *map(repr, row)] for g, row in zip(ENSEMBL, values.T.tolist(), strict=True))]
    source = open_source(put(tmp_path / "x.csv", lines(table, ",")))
    assert source.held_in_memory == bool(threshold)
    for other in (source, pickle.loads(pickle.dumps(source))):
        for rows in (slice(None), slice(3, 7), np.array([5, 0, 0, 11]), np.arange(N) % 3 == 0):
            np.testing.assert_array_equal(other.read(rows), values[rows])


def test_a_matrix_of_counts_keeps_whole_numbers(tmp_path: Path) -> None:
    source = open_source(put(tmp_path / "x.csv", lines(matrix(("gene_id",), [(g,) for g in ENSEMBL]), ",")))
    assert source.dtype == np.uint8


def test_pack_and_fold(tmp_path: Path) -> None:
    path = gct(tmp_path, "x.gct.gz", version="#1.3")
    pixfold.pack(path, tmp_path / "x.zarr", label="tissue")
    assert equals(open_source(tmp_path / "x.zarr", label="tissue"), SAMPLES, ENSEMBL)
    done = CliRunner().invoke(app, ["fold", str(path), str(tmp_path / "x.npy"), "--normalize", "none", "--transpose"])
    assert done.exit_code == 0, done.output
    assert np.load(tmp_path / "x.npy").sum() == X.sum()


def test_side_by_side(tmp_path: Path) -> None:
    one = gct(tmp_path)
    other = put(tmp_path / "y.csv", lines([["", "height"], *([name, i] for i, name in enumerate(SAMPLES))], ","))
    table = put(tmp_path / "z.csv", lines(matrix(("thing",), [(f"thing{j}",) for j in range(M)]), ","))
    source = open_source([one, other, table], labels=labels(tmp_path), label="group")
    assert (source.n_samples, source.n_features) == (N, M + 1 + M)


def test_dates_among_genes_are_warned_of(tmp_path: Path) -> None:
    names = [*ENSEMBL[:-4], "2-Sep", "1-Mar", "1-Mar", "44257"]
    source = open_source(put(tmp_path / "x.csv", lines(matrix(("gene_id",), [(n,) for n in names]), ",")))
    assert [m for m in source.messages if "4 feature names are dates ('2-Sep', '1-Mar', '1-Mar.1' and 1 more)" in m]


ONE_SAMPLE = {
    "kallisto": "target_id\tlength\teff_length\test_counts\ttpm",
    "salmon": "Name\tLength\tEffectiveLength\tTPM\tNumReads",
    "RSEM": "gene_id\ttranscript_id(s)\tlength\teffective_length\texpected_count\tTPM\tFPKM",
    "GDC": "# gene-model: GENCODE v36\ngene_id\tgene_name\tgene_type\tunstranded\tstranded_first\tstranded_second",
}


@pytest.mark.parametrize("program", ONE_SAMPLE)
def test_a_file_of_one_sample(tmp_path: Path, program: str) -> None:
    width = ONE_SAMPLE[program].count("\t")
    path = put(tmp_path / "x.tsv", ONE_SAMPLE[program] + "\n" + lines([[g, *range(width)] for g in ENSEMBL]))
    with pytest.raises(InputError, match=rf"holds one sample, as {program}.*merge the files of all samples"):
        open_source(path)


def test_bad_matrices(tmp_path: Path) -> None:
    def error(text: str, name: str = "x.tsv", **options: Any) -> str:
        with pytest.raises(InputError) as raised:
            open_source(put(tmp_path / name, text), **options)
        return str(raised.value)

    table = matrix(("gene_id",), [(g,) for g in ENSEMBL])
    assert "'group': its rows are taken as features" in error(lines(table), label="group")
    assert "line 9 must hold 13 fields as line 2, got 4" in error(lines([*table[:8], table[8][:4], *table[9:]]))
    table[7][3] = "high"
    assert "line 8, column 'S002' must hold a number, got 'high'" in error(lines(table))
    table = matrix(("gene_id",), [(g,) for g in ENSEMBL])
    table[0][3] = "S000"
    assert "columns must name samples, each once, got 'S000' more than once" in error(lines(table))
    texts = lines([["gene_id", "gene_name", "note"], *([e, g, "x"] for e, g in zip(ENSEMBL, GENES, strict=True))])
    assert "must hold a column of numbers for each sample, got none" in error(texts, transpose=True)
    good = gct(tmp_path).read_text()
    assert "must hold 61 rows, as line 2 says, got 60" in error(good.replace("60\t12", "61\t12"), "x.gct")
    assert "line 3 must hold 15 fields, 2 for the feature and 13 samples" in error(
        good.replace("60\t12", "60\t13"), "x.gct"
    )
    assert "line 2 must hold the numbers of features and samples, got 'many'" in error(
        good.replace("60\t12", "many"), "x.gct"
    )
    assert "line 1 must be #1.2 or #1.3, got '#2.0'" in error(good.replace("#1.2", "#2.0"), "x.gct")
    assert "transpose must be None or True, because the rows of GCT 1.2" in error(good, "x.gct", transpose=False)
    table = matrix(("gene_id",), [(g,) for g in ENSEMBL])
    one = lines([[g, j] for j, g in enumerate(ENSEMBL)])
    assert "line 1 must be a header of sample names, got values of a feature" in error(one)
    assert "no_header must be False" in error(lines(table), no_header=True, transpose=True)
    assert "SOFT family" in error("^DATABASE = GeoMiame\n!Series_title = x\n")
    np.save(tmp_path / "x.npy", X)
    with pytest.raises(InputError, match="text tables and spreadsheets alone are read either way, got True"):
        open_source(tmp_path / "x.npy", transpose=True)
