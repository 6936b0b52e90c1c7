"""GEO series matrices: values, what they tell of samples, and the ways they are damaged."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pyarrow")

from pixfold.errors import InputError
from pixfold.sources import open_source

N, M = 8, 30
X = np.random.default_rng(5).normal(7, 2, (N, M)).round(3)
SAMPLES = [f"GSM{100 + i}" for i in range(N)]
PROBES = [f"{j}_at" for j in range(M)]
TITLES = [f"patient {i}, biopsy" for i in range(N)]


def quoted(what: str, values: list[Any]) -> str:
    return "\t".join([what, *(f'"{value}"' for value in values)]) + "\n"


def series(values: Any = X, ages: dict[int, Any] | None = None) -> str:
    """A series matrix. Samples 2 and 5 lack the first characteristic, so that what follows moves up."""
    known = {i: 40 + i for i in range(N)} if ages is None else ages
    characteristics = []
    for i in range(N):
        cells = [] if i in (2, 5) else [f"tissue: {'lung' if i % 2 else 'liver'}"]
        cells += [f"disease state: {'case' if i < 4 else 'control'}"]
        cells += [f"age: {known[i]}"] if i in known else ["age: NA"]
        characteristics.append([*cells, "", ""][:3])
    head = '!Series_title\t"A study of ""things"" <b>"\n!Series_geo_accession\t"GSE1"\n'
    head += '!Series_supplementary_file\t"ftp://ftp.example.org/GSE1_counts.txt.gz"\n\n'
    head += quoted("!Sample_title", TITLES) + quoted("!Sample_geo_accession", SAMPLES)
    head += quoted("!Sample_source_name_ch1", ["biopsy"] * N)
    for line in zip(*characteristics, strict=True):
        head += quoted("!Sample_characteristics_ch1", list(line))
    head += quoted("!Sample_contact_name", ["Somebody"] * N) + quoted("!Sample_platform_id", ["GPL570"] * N)
    table = "!series_matrix_table_begin\n" + quoted('"ID_REF"', SAMPLES)
    for probe, row in zip(PROBES, values.T.tolist(), strict=True):
        table += "\t".join([f'"{probe}"', *("" if value != value else f"{value}" for value in row)]) + "\n"
    return head + table + "!series_matrix_table_end\n"


def put(path: Path, text: str) -> Path:
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("name", ["GSE1_series_matrix.txt", "GSE1_series_matrix.txt.gz"])
def test_values(tmp_path: Path, name: str, end: str) -> None:
    values = X.copy()
    values[3, 4] = np.nan
    source = open_source(put(tmp_path / name, series(values).replace("\n", end)))
    assert (source.sample_names, source.feature_names) == (SAMPLES, PROBES)
    np.testing.assert_array_equal(source.read(slice(None)), values)
    assert "to choose as label: 'tissue', 'disease state', 'age', 'title', 'geo_accession'" in source.messages[-1]
    assert open_source(tmp_path / name, transpose=True).n_samples == N


def test_characteristics_are_told_by_their_keys(tmp_path: Path) -> None:
    path = put(tmp_path / "x.txt", series())
    assert open_source(path, label="disease state").labels.tolist() == ["case"] * 4 + ["control"] * 4
    source = open_source(path, label="tissue", covariates=["age", "source_name"], groups="title")
    assert source.labels.tolist() == ["liver", "lung", None, "lung", "liver", None, "liver", "lung"]
    assert source.covariates["age"].tolist() == [40 + i for i in range(N)]
    assert source.groups.tolist() == TITLES
    columns = source.sample_columns()
    assert list(columns)[:3] == ["tissue", "disease state", "age"]
    assert "contact_name" not in columns
    with pytest.raises(InputError, match=r"no label column 'disease'.*did you mean 'disease state'"):
        open_source(path, label="disease")


def test_missing_characteristics(tmp_path: Path) -> None:
    ages = open_source(put(tmp_path / "x.txt", series(ages={1: 33.5, 3: 2})), label="age").labels
    np.testing.assert_array_equal(ages, [np.nan, 33.5, np.nan, 2, np.nan, np.nan, np.nan, np.nan])


def test_a_table_in_another_order(tmp_path: Path) -> None:
    """Columns of the table are named by titles, and stand the other way round."""
    text = series().replace(quoted('"ID_REF"', SAMPLES), quoted('"ID_REF"', TITLES[::-1]))
    source = open_source(put(tmp_path / "x.txt", text), label="age")
    assert source.labels.tolist() == [40 + i for i in range(N)][::-1]


@pytest.mark.parametrize("names", [SAMPLES, TITLES])
def test_as_a_table_of_labels(tmp_path: Path, names: list[str]) -> None:
    """Of RNA-seq the table is empty, and counts lie in a supplementary file."""
    text = series()
    at = text.index(quoted('"ID_REF"', SAMPLES)) + len(quoted('"ID_REF"', SAMPLES))
    put(tmp_path / "x_series_matrix.txt.gz", text[:at] + "!series_matrix_table_end\n")
    rows = [f"gene{j}\t" + "\t".join(map(str, range(j, j + N))) for j in range(M)]
    counts = put(tmp_path / "counts.txt", "\n".join(["\t".join(["", *names[::-1]]), *rows]) + "\n")
    source = open_source(counts, labels=tmp_path / "x_series_matrix.txt.gz", label="disease state", covariates="age")
    assert (source.n_samples, source.n_features) == (N, M)
    assert source.labels.tolist() == ["control"] * 4 + ["case"] * 4
    assert source.covariates["age"].tolist() == [40 + i for i in range(N)][::-1]
    with pytest.raises(
        InputError, match=r"must hold values, got none.*GSE1_counts.txt.gz.*--labels x_series_matrix.txt.gz"
    ):
        open_source(tmp_path / "x_series_matrix.txt.gz")


def test_two_channels(tmp_path: Path) -> None:
    more = quoted("!Sample_characteristics_ch2", [f"tissue: pool {i}" for i in range(N)])
    text = series().replace("!Sample_platform_id", more + "!Sample_platform_id")
    source = open_source(put(tmp_path / "x.txt", text), label="tissue (ch2)")
    assert source.labels.tolist() == [f"pool {i}" for i in range(N)]
    assert "tissue (ch1)" in source.sample_columns()


def test_quotes_in_a_line_end_with_it(tmp_path: Path) -> None:
    text = series().replace('"patient 3, biopsy"', '"patient 3, 5" biopsy"').replace('"A study of', '"A "study of')
    source = open_source(put(tmp_path / "x.txt", text), label="disease state")
    assert source.n_samples == N
    assert source.labels.tolist() == ["case"] * 4 + ["control"] * 4


def test_bad_series_matrices(tmp_path: Path) -> None:
    def error(text: str, **options: Any) -> str:
        with pytest.raises(InputError) as raised:
            open_source(put(tmp_path / "x.txt", text), **options)
        return str(raised.value)

    text = series()
    whole = text.removesuffix("!series_matrix_table_end\n")
    assert "must end with the line !series_matrix_table_end, got the end of the file" in error(whole)
    assert "it is cut off" in error(whole[:-30])
    start = text[: text.index("!series_matrix_table_begin")]
    assert "must hold a line !series_matrix_table_begin, got none" in error(start)
    assert "must hold a value for each of 8 samples, got 9" in error(text.replace('"GPL570"\n', '"GPL570"\t"GPL570"\n'))
    assert "column 'GSM100' must hold a number, got 'null value'" in error(
        text.replace(f"\t{X[0, 6]}\t", "\tnull value\t", 1)
    )
    assert "the rows of a GEO series matrix are features, got False" in error(text, transpose=False)
