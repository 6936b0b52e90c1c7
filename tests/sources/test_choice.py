"""Features and samples that are chosen: by names, patterns, files and conditions, of every kind of input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pixfold import PackedGenotypes
from pixfold.errors import InputError
from pixfold.sources import ArraySource, Source, open_source
from pixfold.sources.options import ReadOptions
from pixfold.sources.selected import ABSENT, Selected
from pixfold.sources.where import Where

pandas = pytest.importorskip("pandas")
pytest.importorskip("pyarrow")

N, M = 12, 8
NAMES = ["MT-CO1", "MT-ND1", "TP53", "BRCA1", "a,b", "x[1]", "GAPDH", "ACTB"]
X = np.random.default_rng(0).integers(0, 9, (N, M)).astype(np.float64)
TISSUE = np.array(["lung", "liver", "lung", "skin"] * 3)
AGE = np.arange(30, 30 + N)


def frame() -> Any:
    table = pandas.DataFrame(X, [f"s{i}" for i in range(N)], NAMES)
    return table.assign(tissue=TISSUE, age=AGE, note=[f"free text {i}" for i in range(N)])


def csv(path: Path) -> Path:
    frame().to_csv(path / "x.csv")
    return path / "x.csv"


def parquet(path: Path) -> Path:
    frame().to_parquet(path / "x.parquet")
    return path / "x.parquet"


def h5ad(path: Path) -> Path:
    anndata = pytest.importorskip("anndata")
    obs = frame()[["tissue", "age", "note"]]
    anndata.AnnData(X, obs=obs, var=pandas.DataFrame(index=NAMES)).write_h5ad(path / "x.h5ad")
    return path / "x.h5ad"


KINDS = [csv, parquet, h5ad, lambda path: frame()]
APART = {"drop": "note"}  # text that is no feature of the tables


def dense(source: Source, rows: Any = slice(None)) -> Any:
    block = source.read(rows)
    return block if isinstance(block, np.ndarray) else block.toarray()


def apart(kind: Any) -> dict[str, Any]:
    return {} if kind is h5ad else {"covariates": ["tissue", "age", "note"]}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"features": "TP53,BRCA1"}, ["TP53", "BRCA1"]),
        ({"features": ["BRCA1", "TP53"]}, ["TP53", "BRCA1"]),  # in the order of the data
        ({"features": "MT-*"}, ["MT-CO1", "MT-ND1"]),
        ({"features": ["a,b", "x[1]"]}, ["a,b", "x[1]"]),  # a name before it is a pattern
        ({"drop": "MT-*,GAPDH"}, ["TP53", "BRCA1", "a,b", "x[1]", "ACTB"]),
        ({"features": "MT-*,TP53", "drop": "MT-ND1"}, ["MT-CO1", "TP53"]),
    ],
)
def test_features(tmp_path: Path, kind: Any, options: dict[str, Any], expected: list[str]) -> None:
    source = open_source(kind(tmp_path), **options, **apart(kind))
    assert source.feature_names == expected
    np.testing.assert_array_equal(dense(source), X[:, [NAMES.index(name) for name in expected]])
    assert any("chosen" in message for message in source.messages)


@pytest.mark.parametrize("kind", [csv, parquet, lambda path: frame()])
def test_a_column_of_free_text_can_be_dropped(tmp_path: Path, kind: Any) -> None:
    data = kind(tmp_path)
    with pytest.raises(InputError, match="looks like an identifier"):
        open_source(data)
    source = open_source(data, drop="note", label="tissue")
    assert source.feature_names == [*NAMES, "age"]
    assert source.left_out == ["note"]


def test_features_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "genes.txt").write_text("\ufeff# mine\r\nTP53\r\n\r\na,b\r\n", encoding="utf-8")
    for given in (f"@{tmp_path / 'genes.txt'}", tmp_path / "genes.txt", str(tmp_path / "genes.txt")):
        assert open_source(frame(), features=given, drop="note").feature_names == ["TP53", "a,b"]
    (tmp_path / "none.txt").write_text("#\n")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe")
    for name, message in (("none", "a name per line"), ("bytes", "UTF-8"), ("gone", "No such file")):
        with pytest.raises(InputError, match=message):
            open_source(frame(), features=f"@{tmp_path / name}.txt")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("option", ["features", "drop"])
def test_names_that_match_nothing(tmp_path: Path, kind: Any, option: str) -> None:
    with pytest.raises(
        InputError, match=rf"2 names in {option} \(--{option}\) match no feature: 'BRCA2' \(did you mean"
    ):
        open_source(kind(tmp_path), **{option: "TP53,BRCA2,ZZZ"}, **apart(kind))
    with pytest.raises(InputError, match=r"'tp53' \(did you mean 'TP53'\?\)"):
        open_source(kind(tmp_path), **{option: "tp53"}, **apart(kind))


def test_nothing_left() -> None:
    with pytest.raises(InputError, match="must leave a feature, got none"):
        open_source(ArraySource(X, feature_names=NAMES), drop="*")
    for wrong in ("", [], 3, [3]):
        with pytest.raises(InputError, match=r"features must"):
            open_source(frame(), features=wrong)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("tissue == 'lung'", TISSUE == "lung"),
        ("tissue != 'lung' and age >= 34", (TISSUE != "lung") & (AGE >= 34)),
        (
            "tissue in ['lung', 'skin'] and not (age < 33 or age > 38)",
            np.isin(TISSUE, ["lung", "skin"]) & (abs(AGE - 35.5) < 3),
        ),
        ("31 < age <= 35", (AGE > 31) & (AGE <= 35)),
        ("36 > age", AGE < 36),
        ("`tissue` not in ('liver',)", TISSUE != "liver"),
    ],
)
def test_where(tmp_path: Path, kind: Any, where: str, expected: Any) -> None:
    source = open_source(kind(tmp_path), where=where, drop=None if kind is h5ad else ["note", "age", "tissue"])
    assert source.sample_names == [f"s{i}" for i in np.flatnonzero(expected)]
    np.testing.assert_array_equal(dense(source), X[expected])
    np.testing.assert_array_equal(dense(source, [-1 % len(source.sample_names), 0]), X[expected][[-1, 0]])
    assert any(f"{expected.sum()} of 12 samples with" in message for message in source.messages)


def test_columns_of_a_condition_are_no_features() -> None:
    source = open_source(frame(), where="age > 31 and tissue != 'skin'", drop="note", label="tissue", split=None)
    assert source.feature_names == NAMES
    assert source.labels is not None
    assert set(source.labels) == {"lung", "liver"}
    halves = open_source(frame(), where="age > 35", label="age", split="median", drop="note,tissue")
    # The median is that of the samples that stay.
    assert sorted(set(halves.labels.tolist())) == ["<= 38.5", "> 38.5"]  # type: ignore[union-attr]


def test_conditions_on_values_beside_the_data() -> None:
    source = open_source(X, covariates={"age": AGE}, where="age < 32")
    assert source.n_samples == 2
    assert source.covariates["age"].tolist() == [30, 31]
    with pytest.raises(InputError, match="has no columns to take the condition from"):
        open_source(X, where="age < 32")


def test_missing_values_meet_no_condition() -> None:
    table = pandas.DataFrame({"g": [1.0, 2, 3, 4], "t": ["a", None, "b", ""], "v": [1, np.nan, 3, 4]})
    for where, expected in (
        ("t == 'a'", [0]),
        ("t != 'a'", [2]),
        ("not t == 'a'", [2]),
        ("t == None", [1, 3]),
        ("t != None and v > 1", [2]),
        ("v >= 3 or t == 'a'", [0, 2, 3]),
    ):
        assert open_source(table, where=where, drop="t,v").sample_names == [str(i) for i in expected], where
    assert any("because a value is missing" in text for text in open_source(table, where="v > 0", drop="t").messages)


def test_truth_and_numbers_read_as_text() -> None:
    table = pandas.DataFrame({"g": [1.0, 2, 3], "t": [True, False, True], "c": pandas.Categorical(["9", "10", "11"])})
    assert open_source(table, where="t == True", drop="c").n_samples == 2
    assert open_source(table, where="t == 'false'", drop="c").n_samples == 1
    assert open_source(table, where="c >= 10", drop="t").n_samples == 2
    assert open_source(table, where="c == '9'", drop="t").n_samples == 1


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("tissue = 'lung'", "equality is =="),
        ("tissue == lung", r"text stands in quotes \('lung'\)"),
        ("(age > 3) & (age < 5)", "must be joined by 'and'"),
        ("__import__('os').system('true')", "must be comparisons"),
        ("age.__class__ == 1 or [x for x in y]", "must be comparisons"),
        ("(lambda: 1)() == 1", "must be comparisons"),
        ("age + 1 > 3", "must be comparisons"),
        ("age", "must be comparisons"),
        ("1 == 1", "must be comparisons"),
        ("", "must be comparisons"),
        ("age > ", "must be comparisons"),
        ("(" * 300 + "age > 1" + ")" * 300, "must be comparisons"),
        ("age > 1 and " * 2000 + "age > 1", "10,000 characters"),
        ("age in 5", "must be comparisons"),
        ("age > 'old'", "must be compared with a number"),
        ("tissue > 'lung'", "must hold numbers to be compared by >"),
        ("tissue == 3", "text stands in quotes: '3'"),
        ("tissue < None", "None must be compared by == or !="),
        ("tissue == True", "must hold True and False"),
        ("tisue == 'lung'", "did you mean 'tissue'"),
        ("tissue == 'brain'", "got none of 12 .*'lung', 'liver', 'skin'"),
    ],
)
def test_conditions_that_are_refused(where: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_source(frame(), where=where, drop="note")


def test_a_condition_is_parsed_once_and_never_run() -> None:
    assert Where.parsed("`cell type` == 'a`b`c' and obs.n > 2").columns == ("cell type", "obs.n")
    assert ReadOptions(where="a == 1").where_columns == ("a",)


def test_several_inputs(tmp_path: Path) -> None:
    other = pandas.DataFrame(
        {"TP53": np.arange(N) * 1.0, "cg1": 1.0, "word": [f"w{i}" for i in range(N)]}, frame().index
    )
    other.to_csv(tmp_path / "b.csv")
    source = open_source([csv(tmp_path), tmp_path / "b.csv"], drop="note,word,tissue", where="age < 33")
    assert source.n_samples == 3
    assert source.feature_names == [f"x:{name}" for name in NAMES] + ["b:TP53", "b:cg1"]
    stacked = open_source([csv(tmp_path), tmp_path / "b.csv"], features="TP53,b:cg1", stack=True)
    assert stacked.channel_sizes == [1, 2]


@pytest.mark.parametrize("form", ["dense", "csr", "packed"])
def test_selected_reads_any_columns_in_any_order(form: str) -> None:
    values = np.random.default_rng(1).integers(0, 3, (40, 21))
    if form == "csr":
        sparse = pytest.importorskip("scipy.sparse")
        source = ArraySource(sparse.csr_matrix(values))
    else:
        source = ArraySource(PackedGenotypes.pack(values) if form == "packed" else values)
    source.block_size = 7  # several blocks per read
    columns = np.array([20, ABSENT, 0, 5, ABSENT, 3])
    rows = np.random.default_rng(2).permutation(40)[:31]
    chosen = Selected(source, rows=rows, columns=columns, feature_names=list("abcdef"))
    expected = np.where(columns == ABSENT, 0, values[rows][:, columns])
    for asked in (slice(None), slice(3, 30), [5, 5, 0], np.arange(31) % 2 == 0, []):
        np.testing.assert_array_equal(
            dense(chosen, asked), expected[asked if len(np.shape(asked)) != 1 or len(asked) else []]
        )
    assert chosen.sample_names == [f"sample_{row}" for row in rows]


def test_one_hot_columns_are_chosen_by_their_name() -> None:
    table = pandas.DataFrame({"g": [1.0, 2, 3], "t": ["a", "b", "a"], "u": ["p", "q", "q"]})
    assert open_source(table, categorical="onehot", drop="t").feature_names == ["g", "u=p", "u=q"]
    assert open_source(table, categorical="onehot", features="t").feature_names == ["t=a", "t=b"]
    one = open_source(table, categorical="onehot", features="t=b,g")
    assert one.feature_names == ["g", "t=b"]
    assert one.categories == {"t=": ["a", "b"]}
