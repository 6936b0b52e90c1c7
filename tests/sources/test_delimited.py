"""Plain text tables as people bring them: comments, blanks, compressions, encodings, notations, names."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pixfold.errors import InputError
from pixfold.sources import Source, open_source

pa: Any = pytest.importorskip("pyarrow")

from pixfold.sources.tables import delimited, lines  # noqa: E402

BODY = "".join(f"s{i},{'uv'[i % 2]},{i},{i * 0.25}\n" for i in range(40))
PLAIN = "sample,kind,a,b\n" + BODY


def table(tmp_path: Path, text: str | bytes, name: str = "x.csv", **options: Any) -> Source:
    (tmp_path / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return open_source(tmp_path / name, **options)


def values(source: Source) -> Any:
    return np.asarray(source.read(slice(None))).tolist()


def check(source: Source) -> None:
    assert source.feature_names == ["a", "b"]
    assert source.sample_names == [f"s{i}" for i in range(40)]
    assert source.labels is not None
    assert source.labels.tolist() == ["u", "v"] * 20
    assert values(source) == [[i, i / 4] for i in range(40)]


@pytest.fixture(params=["one block", "blocks"])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "blocks":
        monkeypatch.setattr(lines, "BLOCK_BYTES", 50)
        monkeypatch.setattr(delimited, "_CELLS", 8)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize(
    "above",
    [
        "# exported 2026-01-01\n",
        '# an open " quote, and, commas\n\n#\n',
        '!Series_title "x"\n!Series,of,four,fields\n',
        "\ufeff# with a mark\r\n",
        "sep=,\n",
        "SEP=,\n# and a comment\n",
        "##a,b,c,d\n",
    ],
)
def test_lines_above_the_header_are_skipped(tmp_path: Path, above: str) -> None:
    source = table(tmp_path, above + PLAIN, label="kind")
    check(source)
    assert source.messages == []


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize(
    "above", ["#sample,kind,a,b\n", "# sample,kind,a,b\n", "# about\n#sample,kind,a,b\n", "#kind,a,b\n"]
)
def test_the_last_comment_is_the_header_where_it_has_as_many_fields(tmp_path: Path, above: str) -> None:
    check(table(tmp_path, above + BODY, label="kind"))


def test_a_comment_of_as_many_fields_above_a_header_is_a_comment(tmp_path: Path) -> None:
    check(table(tmp_path, "# of, four, short, fields\n" + PLAIN, label="kind"))
    words = "id,x,y\n" + "".join(f"n{i},{'ab'[i % 2]},{'cd'[i % 2]}\n" for i in range(8))
    assert table(tmp_path, "# one, two, three\n" + words).feature_names == ["x", "y"]


@pytest.mark.usefixtures("blocks")
def test_numbers_of_lines_are_those_of_the_file(tmp_path: Path) -> None:
    above = '# one " quote\n!two\n\nsep\n'.replace("sep\n", "")
    with pytest.raises(InputError, match=r"line 24, column 'b' must hold a number, got 'high'"):
        table(tmp_path, above + PLAIN.replace("s19,v,19,4.75", "s19,v,19,high"), label="kind")
    with pytest.raises(InputError, match="line 24 must hold 4 fields as line 5, got 3"):
        table(tmp_path, above + PLAIN.replace("s19,v,19,4.75", "s19,v,19"), label="kind")
    with pytest.raises(InputError, match="line 24 must hold 4 fields as line 5, got 5"):  # by Python's csv module
        table(tmp_path, above + PLAIN.replace("s3,v", 's3",v').replace("s19,v,19,4.75", "s19,v,19,1,2"))


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize(
    "text",
    [
        PLAIN.replace(",", " "),
        PLAIN.replace(",", "   "),
        PLAIN.replace(",", " \t ").replace("sample \t kind \t a \t b", "sample kind a b"),
        "".join(f"  {line} \t\n" for line in PLAIN.replace(",", "  ").splitlines()).replace("b \t", "b"),
        PLAIN.replace("sample,", "").replace(",", " "),  # R's write.table, with a header that is one short
        '"kind" "a" "b"\n' + "".join(f'"s{i}" "{"uv"[i % 2]}" {i} {i / 4}\n' for i in range(40)),
        PLAIN.replace(",", " ").replace("\n", "\r\n"),
    ],
)
@pytest.mark.parametrize("name", ["x.txt", "x.csv", "x.pheno"])
def test_blanks(tmp_path: Path, text: str, name: str) -> None:
    check(table(tmp_path, text, name, label="kind"))


@pytest.mark.usefixtures("blocks")
def test_quoted_and_stray_quotes_between_blanks(tmp_path: Path) -> None:
    rows = "".join(f'"s {i}"  {i} "a  {"uv"[i % 2]}, x"\n' for i in range(12))
    source = table(tmp_path, "id n kind\n" + rows, "x.txt", label="kind")
    assert source.sample_names[:2] == ["s 0", "s 1"]
    assert source.labels is not None
    assert source.labels.tolist()[:2] == ["a  u, x", "a  v, x"]
    source = table(tmp_path, "id n kind\n" + "".join(f's{i}"  {i}   {"uv"[i % 2]} \n' for i in range(12)), "x.txt")
    assert source.sample_names[1] == 's1"'
    assert values(source)[1] == [1, 1]


def test_a_line_between_blanks_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 3 must hold 3 fields as line 2, got 4"):
        table(tmp_path, "id a b\ns1  1 2\n s2 1  2 3 \n", "x.txt")


RAW = "FID IID PAT MAT SEX PHENOTYPE rs1_A rs2_G\n" + "".join(
    f"F{i} I{i} 0 0 {1 + i % 2} {[-9, 1, 2][i % 3]} {i % 3} {'NA' if i == 4 else (i + 1) % 3}\n" for i in range(12)
)


@pytest.mark.parametrize("name", ["x.raw", "x.txt", "x.raw.gz", "x.raw.zst"])
@pytest.mark.parametrize(("label", "covariate"), [("PHENOTYPE", "SEX"), ("phenotype", "sex")])
def test_plinks_raw(tmp_path: Path, name: str, label: str, covariate: str) -> None:
    text: bytes = RAW.encode()
    if name.endswith("gz"):
        text = gzip.compress(text, mtime=0)
    if name.endswith("zst"):
        text = pa.compress(text, codec="zstd", asbytes=True)
    source = table(tmp_path, text, name, label=label, covariates=[covariate])
    assert source.feature_names == ["rs1_A", "rs2_G"]
    assert source.sample_names == [f"I{i}" for i in range(12)]
    assert source.labels is not None
    np.testing.assert_array_equal(source.labels, [np.nan, 1, 2] * 4)
    np.testing.assert_array_equal(source.covariates["SEX"], [1, 2] * 6)
    assert values(source)[0] == [0, 1]
    assert np.isnan(values(source)[4][1])


def test_plinks_raw_with_tabs_and_without_a_label(tmp_path: Path) -> None:
    source = table(tmp_path, RAW.replace(" ", "\t"), "x.raw")
    assert source.feature_names == ["rs1_A", "rs2_G"]
    assert source.labels is None


def test_a_phenotype_file_of_plink_names_the_samples(tmp_path: Path) -> None:
    (tmp_path / "p.pheno").write_text("#FID IID crop\n" + "".join(f"0 s{i} {'gp'[i % 2]}\n" for i in range(40)))
    source = table(tmp_path, PLAIN.replace(",kind", ",other"), labels=tmp_path / "p.pheno", label="crop")
    assert source.labels is not None
    assert source.labels.tolist() == ["g", "p"] * 20


def zipped(text: bytes) -> bytes:
    import io

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.csv", text)
        archive.writestr("__MACOSX/._x.csv", b"\0")
    return out.getvalue()


COMPRESSED = {
    ".gz": lambda text: gzip.compress(text, mtime=0),
    ".zst": lambda text: pa.compress(text, codec="zstd", asbytes=True),
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zip": zipped,
}


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("suffix", COMPRESSED)
@pytest.mark.parametrize("end", [".csv", ".txt", ".TSV", ".tab"])
def test_every_ending_and_compression(tmp_path: Path, end: str, suffix: str) -> None:
    check(table(tmp_path, COMPRESSED[suffix](PLAIN.encode()), f"x{end}{suffix}", label="kind"))


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz"])
def test_parts_that_were_compressed_one_by_one(tmp_path: Path, suffix: str) -> None:
    half = len(PLAIN) // 2
    parts = [COMPRESSED[suffix](PLAIN[:half].encode()), COMPRESSED[suffix](PLAIN[half:].encode())]
    check(table(tmp_path, b"".join(parts), f"x.csv{suffix}", label="kind"))


def test_archives(tmp_path: Path) -> None:
    check(table(tmp_path, zipped(PLAIN.encode()), "x.zip", label="kind"))
    for names, message in ((["a.csv", "d/b.csv"], "got 'a.csv', 'd/b.csv'; unpack it"), ([], "got no file")):
        with zipfile.ZipFile(tmp_path / "y.zip", "w") as archive:
            archive.writestr("d/", b"")
            for name in names:
                archive.writestr(name, PLAIN)
        with pytest.raises(InputError, match=f"y.zip: the archive must hold one file, {message}"):
            open_source(tmp_path / "y.zip")
    damaged = bytearray(zipped(PLAIN.encode()))
    damaged[60] ^= 255
    with pytest.raises(InputError, match="the ZIP archive file is damaged or cut off"):
        table(tmp_path, bytes(damaged), "z.csv.zip")


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_encodings_with_a_mark(tmp_path: Path, encoding: str, suffix: str) -> None:
    text = PLAIN.replace("s7,", "µ7,").encode(encoding)
    source = table(tmp_path, gzip.compress(text) if suffix else text, f"x.csv{suffix}", label="kind")
    assert source.sample_names[7] == "µ7"
    assert values(source) == [[i, i / 4] for i in range(40)]


def test_latin_1_names_the_line_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line 9 must be text in UTF-8, got other bytes .* iconv -f LATIN1 -t UTF-8"):
        table(tmp_path, PLAIN.replace("s7,", "µ7,").encode("latin-1"))


MARKS = [".", "-", "--", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "", "#N/A", "#VALUE!", "#DIV/0!", "na"]


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("place", [0, 30])
def test_marks_of_missing_numbers(tmp_path: Path, mark: str, place: int) -> None:
    source = table(tmp_path, PLAIN.replace(f"s{place},u,{place},", f"s{place},u,{mark},"), label="kind")
    assert np.isnan(values(source)[place][0])
    assert np.isnan(values(source)).sum() == 1
    assert source.categories == {}


def test_marks_are_texts_in_columns_of_texts(tmp_path: Path) -> None:
    rows = "".join(f"{'+-'[i % 2]},{i}\n" for i in range(20))
    assert table(tmp_path, "strand,a\n" + rows).categories == {"strand": ["+", "-"]}


def test_marks_in_a_data_frame(tmp_path: Path) -> None:
    pandas: Any = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": ["1", ".", "2.5", "#VALUE!"], "b": [1, 2, 3, 4]})
    np.testing.assert_array_equal(open_source(frame).read(slice(None))[:, 0], [1, np.nan, 2.5, np.nan])
    with pytest.raises(
        InputError, match=r"column 'a' must hold .*, got '1,5' .*; turn the texts of the column into numbers"
    ):
        open_source(pandas.DataFrame({"a": ["1,5", "2,5", "3,5"]}))


def written(number: str, delimiter: str = "\t") -> str:
    rows = [delimiter.join(["sample", "kind", "a", "b"])]
    rows += [delimiter.join([f"s{i}", "uv"[i % 2], number.format(i % 7, i % 9), str(i)]) for i in range(40)]
    return "\n".join(rows) + "\n"


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("delimiter", ["\t", ";", " "])
@pytest.mark.parametrize("whole", [0, 30])
def test_decimal_commas_are_read_and_told(tmp_path: Path, delimiter: str, whole: int) -> None:
    text = written("{},{}5", delimiter).splitlines(True)
    text[1 : 1 + whole] = written("{}", delimiter).splitlines(True)[1 : 1 + whole]
    source = table(tmp_path, "".join(text), "x.txt", label="kind")
    np.testing.assert_allclose(values(source)[whole:], [[i % 7 + i % 9 / 10 + 0.05, i] for i in range(whole, 40)])
    told = [message for message in source.messages if "decimal commas" in message]
    assert len(told) == (0 if delimiter == ";" and not whole else 1)
    assert all(f"line {whole + 2}, column 'a'" in message for message in told)
    assert source.categories == {}


OTHERS = {
    "{},{}5": (
        ",",
        r"line 2, column 'a' must hold a number, got '0,05' \(.* if the numbers have decimal commas, say so",
    ),
    "{}.{},5": (",", None),
    "1{},2{}0": (",", r"got '10,200' .*; with decimal ',' it is 10.200, with decimal '.' it is 10200: say which"),
    "1,2{}0,3{}1": (",", r"got '1,200,301' .* between thousands, say so \(decimal '.'\)"),
    "1.2{}0,5": (";", r"got '1.200,5' .* the points stand between thousands, say so \(decimal ','"),
    "1.2{}{}": (";", r"got '1.200' .*; with decimal ',' it is 1200, with decimal '.' it is 1.200: say which"),
    "1.2{}0,{}": ("\t", r"got '1.200,0' .* decimal commas, say so"),
    "1.2{}0.3{}0": ("\t", r"got '1.200.300' .* decimal commas, say so"),
    "1{}.{}%": (",", "got '10.0%' .*; write it as a number without the percent sign"),
    "1 2{}{}": ("\t", "got '1 200' .*; write it without marks between thousands"),
    "1'2{}{}": (",", 'got "1\'200" .*; write it without marks between thousands'),
    "<0.{}{}": (",", "got '<0.00' .*; write a bound as a number, or leave the cell empty"),
    "\u2212{}.{}": (",", "got '\u22120.0' .*; write the minus sign as a hyphen"),
}


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("number", OTHERS)
def test_numbers_in_other_notations_are_no_categories(tmp_path: Path, number: str) -> None:
    delimiter, message = OTHERS[number]
    if message is None:
        return
    text = written(f'"{number}"' if delimiter == "," else number, delimiter)
    if delimiter == ";":  # another column says that commas are decimal
        text = "".join(f"{line};{'c' if not i else '0,5'}\n" for i, line in enumerate(text.splitlines()))
    with pytest.raises(InputError, match=message):
        table(tmp_path, text, "x.csv" if delimiter == "," else "x.tsv", label="kind")


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize(
    ("number", "decimal", "expected"),
    [
        ('"{},{}5"', ",", lambda i: i % 7 + (i % 9) / 10 + 0.05),
        ('"{},{}00"', ",", lambda i: i % 7 + (i % 9) / 10),
        ('"1{},2{}0"', ".", lambda i: 10_200 + i % 7 * 1000 + i % 9 * 10),
        ('"1{},2{}0.5"', ".", lambda i: 10_200.5 + i % 7 * 1000 + i % 9 * 10),
        ('"1{}.2{}0,5"', ",", lambda i: 10_200.5 + i % 7 * 1000 + i % 9 * 10),
        ("{}.{}", ".", lambda i: i % 7 + (i % 9) / 10),
    ],
)
def test_the_decimal_point_may_be_said(tmp_path: Path, number: str, decimal: str, expected: Any) -> None:
    source = table(tmp_path, written(number, ","), label="kind", decimal=decimal)
    np.testing.assert_allclose(np.array(values(source))[:, 0], [expected(i) for i in range(40)], rtol=1e-12)
    assert source.messages == []


def test_points_beside_decimal_commas_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"line 2, column 'a' must hold a number, got '0.0' .* read with decimal commas"
    ):
        table(tmp_path, written("{}.{}"), "x.tsv", label="kind", decimal=",")
    mixed = written("{},{}").replace("3,3\t3\n", "3.3\t3\n")
    with pytest.raises(InputError, match=r"column 'a' must hold a number, got '0,0'"):
        table(tmp_path, mixed, "x.tsv", label="kind")


def test_few_bounds_are_categories(tmp_path: Path) -> None:
    rows = "".join(f"{('<50', '>=50')[i % 2]},{i}\n" for i in range(20))
    assert table(tmp_path, "age,a\n" + rows).categories == {"age": ["<50", ">=50"]}


@pytest.mark.parametrize(
    "header",
    ["3,7,3", "0.5,1.25,0.1", "-1,2,5", "2,3,4", "s1,case,8,3,8".replace("s1,case,", "s9,u,")],
)
def test_a_header_of_numbers_is_an_error(tmp_path: Path, header: str) -> None:
    rows = "".join(header.replace("3", str(i % 5)) + "\n" for i in range(9))
    with pytest.raises(InputError, match=r"line 1 must be a header of feature names, got numbers \(.*no_header"):
        table(tmp_path, f"{header}\n{rows}")
    source = table(tmp_path, f"{header}\n{rows}", no_header=True)
    assert source.n_samples == 10
    assert source.feature_names[-1] == f"feature_{header.count(',')}"


@pytest.mark.parametrize(
    "header",
    ["0,1,2", "1,2,3", ",0,1,2", "sample,7157,1956,672", ",7157,1956,672", "400,400.5,401,401.5,402,403", "id,0,1,2"],
)
def test_numbers_that_are_names(tmp_path: Path, header: str) -> None:
    n = header.count(",") + 1
    named = not header[0].isdigit()
    rows = "".join(",".join([f"s{i}"] * named + [str(i)] * (n - named)) + "\n" for i in range(5))
    assert table(tmp_path, f"{header}\n{rows}").feature_names == header.split(",")[named:]


def test_no_header_of_a_table_with_a_mark_and_a_comment(tmp_path: Path) -> None:
    source = table(tmp_path, "\ufeff1,2\n3,4\n", no_header=True)
    assert values(source) == [[1, 2], [3, 4]]
    source = table(tmp_path, "# made\n" + BODY, no_header=True, label="feature_1")
    assert source.feature_names == ["feature_2", "feature_3"]
    assert source.sample_names == [f"s{i}" for i in range(40)]


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["2-Sep"], "1 feature name is a date ('2-Sep')"),
        (["Sep-02", "01-Mar", "1-mrt"], "2 feature names are dates ('Sep-02', '01-Mar')"),
        (["2023-09-02 00:00:00", "2023-03-01"], "2 feature names are dates"),
        (["9/2/2023", "44441"], "2 feature names are dates ('9/2/2023', '44441')"),
        (["1-Mar", "1-Mar"], "2 feature names are dates ('1-Mar', '1-Mar.1')"),
        (["2-Sep", "3-Sep", "4-Sep", "5-Sep"], "4 feature names are dates ('2-Sep', '3-Sep', '4-Sep' and 1 more)"),
    ],
)
def test_dates_among_names(tmp_path: Path, names: list[str], shown: str) -> None:
    columns = ["SEPT1", "DEC1", "G-1", "12-03", *names, "A1", "B2"]
    text = ",".join(columns) + "\n" + (",".join("1" * len(columns)) + "\n") * 3
    told = [message for message in table(tmp_path, text).messages if "spreadsheet" in message]
    assert len(told) == 1
    assert shown in told[0]


@pytest.mark.parametrize(
    "names", [["1", "44441", "7157", "672", "1956"], ["2020-01-01", "2020-01-02", "a"], ["a", "b"]]
)
def test_names_that_are_no_genes_that_became_dates(tmp_path: Path, names: list[str]) -> None:
    text = "," + ",".join(names) + "\n" + (",".join("x" + "1" * len(names)) + "\n") * 3
    assert not any("spreadsheet" in message for message in table(tmp_path, text).messages)


@pytest.mark.parametrize("option", [{"decimal": ","}, {"no_header": True}, {"sheet": "a"}])
def test_options_of_text_are_refused_elsewhere(tmp_path: Path, option: dict[str, Any]) -> None:
    np.save(tmp_path / "x.npy", np.ones((2, 2)))
    with pytest.raises(InputError, match=f"{next(iter(option))} must be .*, because"):
        open_source(tmp_path / "x.npy", **option)
    with pytest.raises(InputError, match=r"decimal must be '\.' or ',', got 'x'"):
        open_source(tmp_path / "x.npy", decimal="x")


def test_the_decimal_point_of_a_table_of_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", X=np.ones((3, 2)), sample_names=["a", "b", "c"])
    (tmp_path / "l.tsv").write_text("sample\ty\na\t1,5\nb\t2,5\nc\t3\n")
    source = open_source(tmp_path / "x.npz", labels=tmp_path / "l.tsv", label="y", decimal=",")
    assert source.labels is not None
    assert source.labels.tolist() == [1.5, 2.5, 3]
