"""Labels from a table of their own, for sources of every kind."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pixfold.errors import InputError
from pixfold.sources import ArraySource, open_source
from pixfold.stream.prepare import prepare

pytest.importorskip("pyarrow")
pd: Any = pytest.importorskip("pandas")

DATA = pd.DataFrame({"a": [1.0, 2, 3, 4], "b": [5.0, 6, 7, 8]}, index=["s1", "s2", "s3", "s4"])


def labels_of(tmp_path: Path, text: str, name: str = "labels.csv", label: str = "kind", data: Any = DATA) -> Any:
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode(), mtime=0) if name.endswith(".gz") else text.encode())
    return open_source(data, labels=path, label=label)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("l.csv", ",kind\ns4,v\ns1,u\ns2,v\ns3,u\n"),
        ("l.csv.gz", "who,kind\ns4,v\ns1,u\ns2,v\ns3,u\n"),
        ("l.tsv", "FID\tIID\tkind\n0\ts4\tv\n0\ts1\tu\n0\ts2\tv\n0\ts3\tu\n"),
        ("l.txt", "kind\tSample\nv\ts4\nu\ts1\nv\ts2\nu\ts3\n"),
        ("l.csv", 'kind,id,note\nv,s4,5" x\nu,s1,\nv,s2,\nu,s3,\n'),
    ],
)
def test_samples_are_matched_by_name(tmp_path: Path, name: str, text: str) -> None:
    source = labels_of(tmp_path, text, name)
    assert source.labels.tolist() == ["u", "v", "u", "v"]
    assert source.feature_names == ["a", "b"]
    assert source.messages == [f"{tmp_path / name}: labels 'kind' of 4 of 4 samples"]


@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize("name", ["l.parquet", "l.feather"])
def test_labels_of_an_arrow_file(tmp_path: Path, name: str, index: bool) -> None:
    table = pd.DataFrame({"kind": pd.Categorical(["v", "u", "v"])}, index=pd.Index(["s4", "s1", "x"], name="n"))
    if name.endswith("parquet"):
        (table if index else table.reset_index()).to_parquet(tmp_path / name)
    else:
        table.reset_index().to_feather(tmp_path / name)
    source = open_source(DATA, labels=tmp_path / name, label="kind")
    assert source.labels is not None
    assert source.labels.tolist() == ["u", None, None, "v"]


def test_every_kind_of_source(tmp_path: Path) -> None:
    DATA.to_csv(tmp_path / "x.csv")
    DATA.to_parquet(tmp_path / "x.parquet")
    np.savez(tmp_path / "x.npz", X=DATA.to_numpy(), sample_names=DATA.index.to_numpy(dtype=str))
    array = ArraySource(DATA.to_numpy(), sample_names=list(DATA.index))
    kinds: list[Any] = [DATA, array, *(tmp_path / name for name in ("x.csv", "x.parquet", "x.npz"))]
    anndata = pytest.importorskip("anndata")
    adata = anndata.AnnData(DATA)
    adata.write_h5ad(tmp_path / "x.h5ad")
    for data in [*kinds, adata, tmp_path / "x.h5ad"]:
        source = labels_of(tmp_path, "id,kind\ns4,2\ns1,1\ns2,2\ns3,1\n", data=data)
        assert source.labels.tolist() == [1, 2, 1, 2]
        assert source.labels.dtype == np.int64


def test_samples_that_are_not_in_the_table_are_dropped_later(tmp_path: Path) -> None:
    source = labels_of(tmp_path, "id,kind,b\ns4,1,1\ns1,2,1\nother,3,1\ns2,,1\n")
    assert source.labels.tolist()[0::3] == [2, 1]
    assert source.messages == [
        f"{tmp_path / 'labels.csv'}: labels 'kind' of 3 of 4 samples, none of the other 1 ('s3'); "
        "1 row of the table used for no sample"
    ]
    data = pd.DataFrame(np.random.default_rng(0).random((20, 3)), index=[f"s{i}" for i in range(20)])
    text = "id,kind\n" + "".join(f"s{i},{'uv'[i % 2]}\n" for i in range(2, 20))
    prepared = prepare(labels_of(tmp_path, text, data=data))
    assert prepared.rows.tolist() == list(range(2, 20))
    assert any("without a label" in message or "no label" in message for message in prepared.messages)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "id,kind\nx1,u\nx2,v\n",
            r"labels\.csv: no sample of DataFrame is in column 'id': it holds 'x1', 'x2', the samples are 's1', 's2'",
        ),
        ("id,kind\ns1,u\ns1,v\ns2,u\n", r"column 'id' must name a sample once, got 1 sample named more often \('s1'\)"),
        ("id,group\ns1,u\n", "no label column 'kind'; columns there are: 'group', 'id'|no label column 'kind'"),
        ("kind\n1\n", "must hold sample names beside the labels 'kind'"),
        ("id,kind\n", "must hold one line per sample after the header line"),
        ("id,kind\ns1,u\ns2\n", "line 3 must hold 2 fields"),
    ],
)
def test_bad_tables(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        labels_of(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'labels.csv'}: ")


def test_arguments_that_do_not_go_together(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("id,kind\ns1,u\n")
    with pytest.raises(InputError, match=r"label must name a column of .*l\.csv, got None"):
        open_source(DATA, labels=tmp_path / "l.csv")
    with pytest.raises(InputError, match="either as the column 'kind' or as y"):
        open_source(DATA, labels=tmp_path / "l.csv", label="kind", y=[1, 2, 3, 4])
    with pytest.raises(InputError, match=r"none\.csv: no such file"):
        open_source(DATA, labels=tmp_path / "none.csv", label="kind")
    np.save(tmp_path / "l.npy", np.ones(3))
    with pytest.raises(InputError, match="labels must be a table"):
        open_source(DATA, labels=tmp_path / "l.npy", label="kind")


BARCODES = [f"TCGA-AB-{i:04d}-{kind}-11R" for i in range(4) for kind in ("01A", "11A")][:7]
CLINICAL = "id,kind\n" + "".join(f"TCGA-AB-{i:04d},{'uv'[i % 2]}\n" for i in range(4))


@pytest.mark.parametrize("sign", ["-", "."])
def test_names_that_begin_alike_are_offered_and_matched_when_asked(tmp_path: Path, sign: str) -> None:
    data = pd.DataFrame({"a": np.arange(7.0)}, index=[name.replace("-", sign) for name in BARCODES])
    (tmp_path / "c.csv").write_text(CLINICAL)
    with pytest.raises(
        InputError, match=r"7 of 7 samples agree with a row in the first 12 characters.*--match prefix:12"
    ):
        open_source(data, labels=tmp_path / "c.csv", label="kind")
    source = open_source(data, labels=tmp_path / "c.csv", label="kind", match="prefix:12")
    assert source.labels is not None
    assert source.labels.tolist() == list("uuvvuuv")
    assert "3 rows used for several samples each" in source.messages[-1]


def test_a_part_of_the_names_that_begins_alike_is_offered(tmp_path: Path) -> None:
    data = pd.DataFrame({"a": np.arange(7.0)}, index=["TCGA-AB-0000", *BARCODES[1:]])
    (tmp_path / "c.csv").write_text(CLINICAL)
    source = open_source(data, labels=tmp_path / "c.csv", label="kind")
    assert "5 of 6 samples agree with a row in the first 12 characters" in source.messages[-1]


@pytest.mark.parametrize(
    ("match", "message"),
    [
        ("prefix:9", "is the same for 'TCGA-AB-0000', 'TCGA-AB-0001'"),
        ("prefix:13", r"prefix:13 and 4 shorter names"),
        ("prefix:0", "match must be 'prefix:' and a number"),
        ("prefix", "match must be 'prefix:' and a number"),
        ("12", "match must be 'prefix:' and a number"),
    ],
)
def test_prefixes_that_are_refused(tmp_path: Path, match: str, message: str) -> None:
    (tmp_path / "c.csv").write_text(CLINICAL)
    data = pd.DataFrame({"a": np.arange(7.0)}, index=BARCODES)
    with pytest.raises(InputError, match=message):
        open_source(data, labels=tmp_path / "c.csv", label="kind", match=match)
    with pytest.raises(InputError, match="must be left out without labels"):
        open_source(data, match="prefix:12")


def test_a_condition_on_columns_of_the_table(tmp_path: Path) -> None:
    text = "id,kind,stage\ns1,u,1\ns2,v,2\ns3,u,3\ns4,v,\n"
    (tmp_path / "l.csv").write_text(text)
    source = open_source(DATA, labels=tmp_path / "l.csv", label="kind", where="stage <= 2 and b < 6")
    assert source.sample_names == ["s1"]
    assert source.feature_names == ["a"]
