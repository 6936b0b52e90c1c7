"""Groups and covariates: columns about samples, taken out of the features, whichever source has them."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pixfold import pack
from pixfold.errors import InputError
from pixfold.genotypes import PackedGenotypes
from pixfold.loader import in_memory
from pixfold.sources import ArraySource, Source, open_source, side_by_side

pytest.importorskip("pyarrow")
pd: Any = pytest.importorskip("pandas")
anndata: Any = pytest.importorskip("anndata")

SAMPLES = [f"s{i}" for i in range(6)]
X = np.arange(1, 13, dtype=np.float32).reshape(6, 2)
ABOUT = pd.DataFrame(
    {
        "kind": list("uvuvuv"),
        "donor": ["d1", "d1", "d2", "d2", None, "d3"],
        "batch": pd.Categorical(list("aabbab")),
        "age": [30, 31, 32, 33, 34, 35],
    },
    index=SAMPLES,
)
ASKED: dict[str, Any] = {"label": "kind", "groups": "donor", "covariates": ["batch", "age"]}


def frame() -> Any:
    return pd.concat([pd.DataFrame(X, SAMPLES, ["g0", "g1"]), ABOUT], axis=1)


def adata() -> Any:
    return anndata.AnnData(X, obs=ABOUT.copy(), var=pd.DataFrame(index=["g0", "g1"]))


def table(path: Path) -> Path:
    data = frame()
    if path.suffix in (".parquet", ".feather"):
        getattr(data, f"to_{path.suffix[1:]}")(path)
    else:
        data.to_csv(path, sep="\t" if ".tsv" in path.name else ",")
    return path


def h5ad(path: Path) -> Path:
    adata().write_h5ad(path)
    return path


def zarr_store(path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adata().write_zarr(path)
    return path


def backed(path: Path) -> Any:
    return anndata.read_h5ad(h5ad(path), backed="r")


def npz(path: Path) -> Path:
    about = {name: ABOUT[name].to_numpy(dtype=str) for name in ("kind", "batch")}
    donor = np.array(["" if value is None else value for value in ABOUT["donor"]])
    np.savez(path, X=X, sample_names=SAMPLES, age=ABOUT["age"], donor=donor, **about)
    return path


def fasta(path: Path) -> Path:
    lines = []
    for name, row in ABOUT.iterrows():
        said = " ".join(f"{column}={value}" for column, value in row.items() if value is not None)
        lines.append(f">{name} {said}\nACGT\n")
    path.write_text("".join(lines))
    return path


KINDS: dict[str, Callable[[Path], Any]] = {
    **{name: table for name in ("x.csv", "x.tsv", "x.csv.gz", "x.parquet", "x.feather")},
    "frame": lambda _: frame(),
    "x.h5ad": h5ad,
    "backed.h5ad": backed,
    "x.zarr": zarr_store,
    "adata": lambda _: adata(),
    "x.npz": npz,
    "x.fasta": fasta,
}


def texts(values: Any) -> list[str | None]:
    return [None if value is None or value != value or value == "" else str(value) for value in values]


def check(source: Source) -> None:
    assert source.groups is not None
    assert texts(source.groups) == ["d1", "d1", "d2", "d2", None, "d3"]
    assert list(source.covariates) == ["batch", "age"]
    assert texts(source.covariates["batch"]) == list("aabbab")
    assert [int(age) for age in source.covariates["age"]] == [30, 31, 32, 33, 34, 35]


@pytest.mark.parametrize("kind", KINDS)
def test_columns_of_every_kind_of_data(tmp_path: Path, kind: str) -> None:
    source = open_source(KINDS[kind](tmp_path / kind), **ASKED)
    check(source)
    assert source.labels is not None
    assert texts(source.labels) == list("uvuvuv")
    if kind != "x.fasta":
        assert source.feature_names == (["g0", "g1"] if kind != "x.npz" else ["feature_0", "feature_1"])
        np.testing.assert_array_equal(source.read(slice(None)), X)
    check(pickle.loads(pickle.dumps(source)))
    check(in_memory(source))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("asked", "column", "word"),
    [({"groups": "donr"}, "donr", "groups"), ({"covariates": ["age", "btch"]}, "btch", "covariate")],
)
def test_a_column_that_is_not_there(tmp_path: Path, kind: str, asked: Any, column: str, word: str) -> None:
    with pytest.raises(InputError, match=rf"no (array of )?{word}s?( column)? '{column}'") as caught:
        open_source(KINDS[kind](tmp_path / kind), label="kind", **asked)
    assert "donor" in str(caught.value) or kind == "x.fasta" or "batch" in str(caught.value)


@pytest.mark.parametrize("kind", ["x.csv", "x.parquet", "frame"])
def test_one_column_may_be_group_and_covariate_and_no_label_is_needed(tmp_path: Path, kind: str) -> None:
    source = open_source(KINDS[kind](tmp_path / kind), groups="batch", covariates="batch")
    assert source.groups is not None
    assert texts(source.groups) == texts(source.covariates["batch"]) == list("aabbab")
    assert source.labels is None
    assert "batch" not in source.feature_names
    assert "age" in source.feature_names


def test_the_first_column_may_hold_the_groups(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("donor,a\np,1\nq,2\nr,3\n")
    source = open_source(tmp_path / "x.csv", groups="donor")
    assert source.groups is not None
    assert source.groups.tolist() == ["p", "q", "r"]
    assert (source.feature_names, source.sample_names[0]) == (["a"], "sample_0")


def test_a_table_of_nothing_else_is_refused() -> None:
    with pytest.raises(InputError, match="must hold features beside the label 'kind' and 'donor', got none"):
        open_source(ABOUT[["kind", "donor"]], label="kind", groups="donor")


@pytest.mark.parametrize("kind", ["x.csv", "x.parquet"])
@pytest.mark.parametrize("data", ["array", "adata"])
def test_a_table_beside_the_data(tmp_path: Path, kind: str, data: str) -> None:
    plain: Any = ArraySource(X, sample_names=SAMPLES) if data == "array" else adata()
    beside = table(tmp_path / kind)
    source = open_source(plain, labels=beside, **ASKED)
    check(source)
    what = "labels 'kind' and groups 'donor' and covariates 'batch', 'age' of 6 of 6 samples"
    assert source.messages[-1].startswith(f"{beside}: {what}")
    assert source.read(slice(None)).shape == X.shape
    source = open_source(plain, labels=beside, groups="donor")
    assert source.labels is None
    assert source.groups is not None
    assert source.groups[0] == "d1"


def test_a_table_beside_the_data_and_columns_of_the_data_go_together(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text(
        "id,kind,site\n" + "".join(f"{name},{i % 2},x{i}\n" for i, name in enumerate(SAMPLES))
    )
    source = open_source(adata(), labels=tmp_path / "l.csv", label="kind", groups="donor", covariates=["site", "age"])
    assert source.groups is not None
    assert source.groups[0] == "d1"
    assert sorted(source.covariates) == ["age", "site"]
    assert source.covariates["site"][5] == "x5"
    for data in (adata(), X):
        with pytest.raises(InputError, match=r"l\.csv: no groups column 'stie'; did you mean 'site'"):
            open_source(data, labels=tmp_path / "l.csv", label="kind", groups="stie")


def test_samples_that_the_table_lacks_have_no_group(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("id,donor\ns0,p\ns1,q\n")
    source = open_source(ArraySource(X, sample_names=SAMPLES), labels=tmp_path / "l.csv", groups="donor")
    assert source.groups is not None
    assert source.groups.tolist() == ["p", "q", None, None, None, None]


def test_values_beside_any_data(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    donors, ages = ABOUT["donor"].to_numpy(), np.arange(6)
    plain = ArraySource(X)
    for data in (X, tmp_path / "x.npy", plain, frame()[["g0", "g1"]], [plain, ArraySource(X)]):
        source = open_source(data, groups=donors, covariates={"age": ages})
        assert source.groups is not None
        assert texts(source.groups) == texts(donors)
        np.testing.assert_array_equal(source.covariates["age"], ages)
    assert plain.groups is None
    assert plain.covariates == {}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"groups": [1, 2]}, "array: groups must be 6, one per sample, got 2"),
        ({"groups": np.ones((6, 2))}, r"array: groups must be 1-D, one per sample, got shape \(6, 2\)"),
        ({"covariates": {"age": [1]}}, "array: covariate 'age' must be 6, one per sample, got 1"),
        ({"groups": "donor"}, "array: groups must be None, because it has no columns .*, got 'donor'"),
        ({"covariates": ["age"]}, r"array: covariates must be None, because it has no columns .*, got \('age',\)"),
        ({"groups": 3}, "open_source: groups must be the name of a column or one group per sample, got 3"),
        ({"covariates": [3]}, "open_source: covariates must be names of columns or a dict .*, got"),
        ({"label": "a", "groups": "a"}, "open_source: groups must be other columns than the label, got 'a'"),
        ({"label": "a", "covariates": "a"}, "open_source: covariates must be other columns than the label, got 'a'"),
    ],
)
def test_what_is_refused(given: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_source(X, **given)


def test_plink_families_are_groups(tmp_path: Path) -> None:
    path = tmp_path / "x.bed"
    path.write_bytes(b"\x6c\x1b\x01" + PackedGenotypes.pack(np.ones((3, 6), np.int8)).bits.tobytes())
    families = ["f1", "f1", "f2", "f2", "0", "f3"]
    lines = zip(families, SAMPLES, strict=True)
    path.with_suffix(".fam").write_text("".join(f"{f} {s} 0 0 {1 + (f == 'f1')} 1\n" for f, s in lines))
    path.with_suffix(".bim").write_text("".join(f"1 v{j} 0 {j} A C\n" for j in range(3)))
    source = open_source(path, groups="family", covariates=["sex"])
    assert source.groups is not None
    assert source.groups.tolist() == ["f1", "f1", "f2", "f2", None, "f3"]
    assert source.covariates["sex"].tolist() == [2, 2, 1, 1, 1, 1]
    with pytest.raises(InputError, match="no groups column 'donor'; columns there are: 'phenotype', 'sex', 'family'"):
        open_source(path, groups="donor")


@pytest.mark.parametrize("kind", ["x.csv", "x.h5ad", "frame"])
def test_packed_stores_keep_them(tmp_path: Path, kind: str) -> None:
    store = pack(KINDS[kind](tmp_path / kind), tmp_path / "out.zarr", **ASKED).path
    source = open_source(store, **ASKED)
    check(source)
    assert set(ASKED["covariates"]) <= set(source.sample_columns())
    assert open_source(store, label="kind").groups is None
    with pytest.raises(InputError, match="no groups column 'donr'; did you mean 'donor'"):
        open_source(store, groups="donr")
    values = open_source(pack(X, tmp_path / "v.zarr", groups=np.arange(6)).path, groups="groups")
    assert values.groups is not None
    assert values.groups.tolist() == list(range(6))


def test_joined_sources_share_what_one_of_them_has(tmp_path: Path) -> None:
    other = pd.DataFrame(X[::-1], SAMPLES[::-1], ["h0", "h1"])
    other["age"] = ABOUT["age"]
    source = open_source([frame().drop(columns="age"), other], **ASKED)
    check(source)
    assert source.feature_names == ["g0", "g1", "h0", "h1"]
    check(side_by_side([frame(), other[["h0", "h1"]]], **ASKED))
    with pytest.raises(InputError, match=r"no input has the groups 'donr': .*no groups column 'donr'"):
        open_source([frame(), other], label="kind", groups="donr")
    with pytest.raises(InputError, match="no input has the covariate 'btch'"):
        open_source([frame(), other], covariates=["btch"])
    parts = [ArraySource(X, groups=[0, 0, 1, 1, 2, 2]), ArraySource(X, groups=[0, 0, 1, 1, 2, 3])]
    with pytest.raises(InputError, match="the group of sample 'sample_5' must be 2 as in array, got 3"):
        side_by_side(parts)


@pytest.mark.parametrize("kind", ["x.h5ad", "backed.h5ad", "x.zarr", "adata"])
def test_the_columns_of_obs_are_known(tmp_path: Path, kind: str) -> None:
    columns = open_source(KINDS[kind](tmp_path / kind)).sample_columns()
    assert list(columns) == ["kind", "donor", "batch", "age"]
    assert texts(columns["donor"]) == texts(ABOUT["donor"])


def test_a_table_knows_the_columns_that_were_named(tmp_path: Path) -> None:
    source = open_source(table(tmp_path / "x.csv"), **ASKED)
    assert list(source.sample_columns()) == ["batch", "age"]


def test_a_column_of_sequences(tmp_path: Path) -> None:
    data = ABOUT.assign(letters="ACGT")
    check(open_source(data, sequence="letters", **ASKED))
    data.to_csv(tmp_path / "x.csv")
    check(open_source(tmp_path / "x.csv", sequence="letters", **ASKED))
