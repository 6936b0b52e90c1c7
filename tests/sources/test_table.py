from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pixfold.errors import InputError
from pixfold.sources import Source, open_source

pd: Any = pytest.importorskip("pandas")
pytest.importorskip("pyarrow")


def table(tmp_path: Path, text: str, name: str = "x.csv", **options: Any) -> Source:
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode(), mtime=0) if name.endswith(".gz") else text.encode())
    return open_source(path, **options)


def values(source: Source) -> list[list[float]]:
    return source.read(slice(None)).tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("name", "delimiter"),
    [
        ("x.csv", ","),
        ("x.tsv", "\t"),
        ("x.txt", "\t"),
        ("x.txt", ","),
        ("x.csv", ";"),
        ("x.tsv.gz", "\t"),
        ("x.CSV.GZ", ","),
    ],
)
def test_suffixes_and_delimiters(tmp_path: Path, name: str, delimiter: str) -> None:
    text = "sample,kind,a,b\ns1,x,1,2.5\ns2,y,3,4\n".replace(",", delimiter)
    source = table(tmp_path, text, name.lower(), label="kind")
    assert source.feature_names == ["a", "b"]
    assert source.sample_names == ["s1", "s2"]
    assert source.labels is not None
    assert source.labels.tolist() == ["x", "y"]
    assert values(source) == [[1, 2.5], [3, 4]]


def test_decimal_commas_of_a_semicolon_table(tmp_path: Path) -> None:
    assert values(table(tmp_path, "a;b\n1,5;2\n-3,25;4\n")) == [[1.5, 2], [-3.25, 4]]


@pytest.mark.parametrize(
    ("text", "samples", "features"),
    [
        ("id,a,b\nx,1,2\ny,3,4\n", ["x", "y"], ["a", "b"]),
        (",a,b\n7,1,2\n7,3,4\n", ["7", "7"], ["a", "b"]),
        ("Unnamed: 0,a,b\n0,1,2\n1,3,4\n", ["0", "1"], ["a", "b"]),
        ("a,b\nx,1,2\ny,3,4\n", ["x", "y"], ["a", "b"]),
        ("a,b\n1,2\n3,4\n", ["sample_0", "sample_1"], ["a", "b"]),
        ('"a\nc", b \r\n\r\n1,2\r\n3,4', ["sample_0", "sample_1"], ["a\nc", "b"]),
        ("\ufeffa,b\n1,2\n3,4\n", ["sample_0", "sample_1"], ["a", "b"]),
    ],
    ids=["text-id", "empty-header", "pandas-index", "r-header", "no-id", "quoted-break-crlf", "bom"],
)
def test_names(tmp_path: Path, text: str, samples: list[str], features: list[str]) -> None:
    source = table(tmp_path, text)
    assert source.sample_names == samples
    assert source.feature_names == features
    assert values(source)[-1] == ([3, 4] if len(features) == 2 else [2, 3, 4])


def test_integers_stay_integers_and_missing_tokens_are_nan(tmp_path: Path) -> None:
    assert table(tmp_path, "a,b\n1,2\n3,4\n").dtype == np.int64
    source = table(tmp_path, "a,b,c,d\n1,NA,,nan\n3,4,null,NaN\n")
    assert source.dtype == np.float64
    np.testing.assert_array_equal(source.read(slice(None)), [[1, np.nan, np.nan, np.nan], [3, 4, np.nan, np.nan]])


def test_text_columns_are_encoded_in_sorted_order(tmp_path: Path) -> None:
    rows = "".join(f"{'mf'[i % 2]},{i % 3 == 0},{i},{['lo', 'hi', ''][i % 3]}\n" for i in range(12))
    source = table(tmp_path, "sex,old,x,dose\n" + rows)
    assert source.categories == {"sex": ["f", "m"], "old": ["False", "True"], "dose": ["hi", "lo"]}
    block = source.read(slice(0, 4))
    np.testing.assert_array_equal(block, [[1, 1, 0, 1], [0, 0, 1, 0], [1, 0, 2, np.nan], [0, 1, 3, 1]])
    assert source.messages == ["3 categorical features encoded as codes 0, 1, 2, ... ('sex', 'old', 'dose')"]


def test_categories_of_training_are_used_again(tmp_path: Path) -> None:
    known = {"sex": ["f", "m"]}
    source = table(tmp_path, "sex,x\nm,1\n", categories=known)
    assert values(source) == [[1, 1]]
    assert source.categories == known
    assert source.messages == []
    with pytest.raises(InputError, match=r"line 3, column 'sex': 'd' is none of the known categories \('f', 'm'\)"):
        table(tmp_path, "sex,x\nm,1\nd,2\n", categories=known)
    with pytest.raises(InputError, match="column 'x' must hold numbers as in training, got text"):
        table(tmp_path, "sex,x\nm,a\nf,b\n", categories=known)


ONE_HOT = "sex,x,dose,old\n" + "".join(f"{'mf'[i % 2]},{i},{['lo', 'hi', ''][i % 3]},{i > 2}\n" for i in range(12))


@pytest.mark.parametrize("kind", ["csv", "frame"])
def test_one_hot(tmp_path: Path, kind: str) -> None:
    (tmp_path / "x.csv").write_text(ONE_HOT)
    data = tmp_path / "x.csv" if kind == "csv" else pd.read_csv(tmp_path / "x.csv")
    source = open_source(data, categorical="onehot")
    assert source.feature_names == ["sex=f", "sex=m", "x", "dose=hi", "dose=lo", "old=False", "old=True"]
    assert source.categories == {"sex=": ["f", "m"], "dose=": ["hi", "lo"], "old=": ["False", "True"]}
    assert source.messages == ["3 categorical columns encoded one-hot, as 6 features ('sex', 'dose', 'old')"]
    nan = np.nan
    expected = [[0, 1, 0, 0, 1, 1, 0], [1, 0, 1, 1, 0, 1, 0], [0, 1, 2, nan, nan, 1, 0], [1, 0, 3, 0, 1, 0, 1]]
    np.testing.assert_array_equal(source.read(slice(0, 4)), expected)


@pytest.mark.parametrize("kind", ["csv", "frame"])
def test_one_hot_features_of_training_are_made_again(tmp_path: Path, kind: str) -> None:
    (tmp_path / "x.csv").write_text(ONE_HOT)
    trained = open_source(tmp_path / "x.csv", categorical="onehot")
    known = json.loads(json.dumps(trained.categories))

    def again(text: str) -> Source:
        (tmp_path / "new.csv").write_text(text)
        data = tmp_path / "new.csv" if kind == "csv" else pd.read_csv(tmp_path / "new.csv")
        return open_source(data, categories=known)

    source = again("sex,x,dose,old\nm,5,hi,True\n")
    assert source.feature_names == trained.feature_names
    assert source.categories == trained.categories
    assert source.messages == []
    assert values(source) == [[0, 1, 5, 1, 0, 0, 1]]
    with pytest.raises(InputError, match=r"column 'dose': 'mid' is none of the known categories \('hi', 'lo'\)"):
        again("sex,x,dose,old\nm,5,mid,True\n")


def test_columns_of_one_name_are_encoded_apart(tmp_path: Path) -> None:
    source = table(tmp_path, "x,a,a\n" + "1,u,v\n2,v,w\n" * 6, categorical="onehot")
    assert source.feature_names == ["x", "a=u", "a=v", "a.1=v", "a.1=w"]
    assert source.messages[0].startswith("1 feature name used more than once ('a')")
    assert len(source.messages) == 2


def test_names_used_twice(tmp_path: Path) -> None:
    source = table(tmp_path, "a,a,b\n1,2,3\n")
    assert source.feature_names == ["a", "a.1", "b"]
    assert len(source.messages) == 1


NUMBERS = "".join(f"s{i},{i % 2},{i},{i * 2}\n" for i in range(12))


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (
            "id,y,a,b\n" + NUMBERS.replace("s4,0,4,8", "s4,0,4,8.x"),
            {},
            r"line 6, column 'b' must hold a number, got '8.x'; a missing value is an empty cell or NA",
        ),
        (
            "id,y,a,b\n\n" + NUMBERS.replace("s4,0,4,8", "s4,0,?,8").replace("s9,1,9", "s9,1,?"),
            {},
            r"line 7, column 'a' must hold a number, got '\?' \(1 more cell like it in this column\)",
        ),
        (
            "y,who,a\n" + "".join(f"{i % 2},p{i},{i}\n" for i in range(12)),
            {},
            "column 'who' looks like an identifier or free text, not a feature: 12 different texts in 12 s",
        ),
        (
            "id,y,a,b\n" + NUMBERS,
            {"label": "Y"},
            "no label column 'Y'; did you mean 'y'\\? columns there are: 'id', 'y'",
        ),
        ("id,group,a,b\n" + NUMBERS, {"label": "grp"}, "did you mean 'group'"),
        ("a,b\n1,2\n", {"label": "zzz"}, "no label column 'zzz'; columns there are: 'a', 'b'$"),
        ("y,y,a\n1,2,3\n", {"label": "y"}, "label must name one column, got 'y', which 2 columns are called"),
        ("a,y\n1,2\n", {"y": [1, 2]}, "labels must be 1, one per sample, got 2"),
        ("id,y\na,1\nb,2\n", {"label": "y"}, r"0 feature\(s\) \(shape=\(2, 0\)\)"),
        ("a,b\n", {}, "must hold one line per sample after the header line, got none"),
        ("\n\n", {}, "must begin with a header line of feature names, got an empty file"),
        ("a,b\n1,2,3,4\n", {}, "line 2 must hold 2 fields as the header, got 4"),
        ("a,b\n1,2,\n", {}, "line 2 must hold 2 fields as the header, got 3"),
        ("a,b,c\n1,2,3\n4,5\n6,7,8\n", {}, "line 3 must hold 3 fields as line 2, got 2"),
        ("a,b,c\n1,2,3\n\n4,5,6,7\n", {}, "line 4 must hold 3 fields as line 2, got 4"),
        ('a,b\n1,2\n"3,4\n', {}, "x.csv: "),
        (
            "a:b:c\n1:2:3\n",
            {},
            "columns must be separated by comma, tab, semicolon or blanks, got one column of t",
        ),
        (
            "a,b\n1,2\n?,4\n?,6\n?,8\n",
            {},
            r"line 3, column 'a' must hold a number, got '\?' \(2 more cells",
        ),
    ],
)
def test_bad_files(tmp_path: Path, text: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        table(tmp_path, text, **options)
    assert str(caught.value).startswith(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_label_columns_that_look_like_labels_come_first(tmp_path: Path) -> None:
    names = [f"g{i}" for i in range(30)]
    text = ",".join([*names, "kind"]) + "\n" + ",".join(["1"] * 30 + ["x"]) + "\n"
    with pytest.raises(InputError, match=r"columns there are: 'kind', 'g0', .*'g8' and 21 more"):
        table(tmp_path, text, label="tumour")


def test_blanks_around_fields_do_not_count(tmp_path: Path) -> None:
    source = table(tmp_path, 'y, a, "b, c"\nu, 1, 2\nv , NA, 4\n v, 5, \n', label="y")
    assert source.feature_names == ["a", "b, c"]
    assert source.labels is not None
    assert source.labels.tolist() == ["u", "v", "v"]
    np.testing.assert_array_equal(source.read(slice(None)), [[1, 2], [np.nan, 4], [5, np.nan]])


def test_missing_labels_stay_missing(tmp_path: Path) -> None:
    source = table(tmp_path, "y,a\n1,2\n,3\n", label="y")
    assert source.labels is not None
    np.testing.assert_array_equal(source.labels, [1, np.nan])


def test_wide_table(tmp_path: Path) -> None:
    X = np.random.default_rng(0).normal(size=(3, 20_000)).round(3)
    path = tmp_path / "x.csv"
    np.savetxt(path, X, delimiter=",", fmt="%.3f", header=",".join(f"g{i}" for i in range(20_000)), comments="")
    source = open_source(path)
    np.testing.assert_allclose(source.read(slice(None)), X, rtol=1e-15)  # pandas may be 1 ulp off


FRAME = pd.DataFrame(
    {
        "stage": pd.Categorical(["low", "high", None, "low"], categories=["low", "high"], ordered=True),
        "site": pd.Categorical(["b", "a", "b", "a"]),
        "count": pd.array([1, None, 3, 4], dtype="Int64"),
        "flag": [True, False, True, True],
        "mixed": np.array([1, "2", None, 3.5], dtype=object),
        "x": np.array([0.5, 1.5, 2.5, 3.5], dtype=np.float32),
        "y": ["u", "v", "u", None],
    },
    index=["p", "q", "r", "s"],
)


def test_frame() -> None:
    source = open_source(FRAME, label="y")
    assert source.name == "DataFrame"
    assert source.sample_names == ["p", "q", "r", "s"]
    assert source.feature_names == ["stage", "site", "count", "flag", "mixed", "x"]
    assert source.categories == {"stage": ["low", "high"], "site": ["a", "b"], "flag": ["False", "True"]}
    expected = [
        [0, 1, 1, 1, 1, 0.5],
        [1, 0, np.nan, 0, 2, 1.5],
        [np.nan, 1, 3, 1, np.nan, 2.5],
        [0, 0, 4, 1, 3.5, 3.5],
    ]
    np.testing.assert_array_equal(source.read(slice(None)), expected)
    assert source.labels is not None
    assert source.labels.tolist() == ["u", "v", "u", None]


def test_codes_do_not_widen_a_float32_frame() -> None:
    assert open_source(FRAME[["site", "x"]]).dtype == np.float32
    assert open_source(FRAME[["stage", "x"]]).dtype == np.float32
    assert open_source(FRAME[["site"]]).dtype.kind == "i"


def test_sparse_frame_stays_sparse() -> None:
    matrix = np.array([[0, 1.0], [2, 0]])
    frame = pd.DataFrame(matrix, columns=["a", "b"]).astype(pd.SparseDtype("float64", 0))
    source = open_source(frame, y=[0, 1])
    assert source.is_sparse
    np.testing.assert_array_equal(source.read(slice(None)).toarray(), matrix)


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        (
            {"when": pd.to_datetime(["2020-01-01"] * 3)},
            {},
            "column 'when' must hold numbers or categories, got dates or times",
        ),
        ({"z": [1j, 2j, 3j]}, {}, "column 'z' must hold numbers or categories, got complex values"),
        (
            {"a": [1, 2, 3], "b": [1, "x", 3]},
            {},
            r"row 1 \(index 1\), column 'b' must hold a number, got 'x'",
        ),
        ({"y": [1, 2, 3]}, {"label": "y"}, "must hold features beside the label 'y', got none"),
        ({}, {}, r"DataFrame: 0 sample\(s\)"),
        ({"a": []}, {}, r"0 sample\(s\) .* minimum of 1"),
        ({"a": [1, 2, 3]}, {"label": "b"}, "no label column 'b'; columns there are: 'a'"),
        ({"a": [1, 2, 3]}, {"y": [1]}, "labels must be 3, one per sample, got 1"),
        ({"a": [f"t{i}" for i in range(10)]}, {}, "column 'a' looks like an identifier"),
    ],
)
def test_bad_frames(columns: dict[str, Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_source(pd.DataFrame(columns), **options)


@pytest.mark.parametrize(("file", "shape"), [("golub.csv.gz", (72, 7_129)), ("subramanian.csv.gz", (50, 10_100))])
def test_real_tables(shared_data: Path, file: str, shape: tuple[int, int]) -> None:
    source = open_source(shared_data / file, label="label")
    assert (source.n_samples, source.n_features) == shape
    assert source.sample_names[:2] == ["s0", "s1"]
    assert source.labels is not None
    assert len(set(source.labels)) == 2
    assert np.isfinite(source.read(slice(None))).all()
    assert source.messages == []


def test_one_hot_columns_of_tables_side_by_side(tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("id,x,sex\ns1,1,m\ns2,2,f\n")
    (tmp_path / "two.csv").write_text("id,z,sex\ns2,4,u\ns1,3,v\n")
    paths = [tmp_path / "one.csv", tmp_path / "two.csv"]
    source = open_source(paths, categorical="onehot")
    assert source.feature_names == [f"one:{n}" for n in ("x", "sex=f", "sex=m")] + [
        f"two:{n}" for n in ("z", "sex=u", "sex=v")
    ]
    assert values(source) == [[1, 0, 1, 3, 0, 1], [2, 1, 0, 4, 1, 0]]
    again = open_source(paths, categories=source.categories)
    assert again.feature_names == source.feature_names
    assert values(again) == values(source)
