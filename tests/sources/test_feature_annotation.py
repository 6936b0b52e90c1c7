"""What is known of features beside their names: kept from every format, chosen by, and called by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pixfold as pf
from pixfold.errors import InputError
from pixfold.report import write_results
from pixfold.sources import ArraySource, open_source
from pixfold.sources.anndata.containers import quiet

pd: Any = pytest.importorskip("pandas")
anndata: Any = pytest.importorskip("anndata")
h5py: Any = pytest.importorskip("h5py")
sparse: Any = pytest.importorskip("scipy.sparse")

N, M = 10, 6
X = np.random.default_rng(0).poisson(3.0, (N, M)).astype(np.float32)
IDS = [f"ENSG{j}" for j in range(M)]
TYPES = ["Gene Expression"] * 3 + ["Antibody Capture"] * 2 + ["Peaks"]
GENOMES = ["GRCh38", "mm10", "GRCh38", "", "", "GRCh38"]


def adata() -> Any:
    var = pd.DataFrame(
        {
            "symbol": pd.Categorical(["A", "B", "A", None, "C", ""]),
            "length": np.arange(M),
            "score": pd.array([1, None, 3, 4, 5, 6], dtype="Int64"),
            "text": pd.array([f"t{j}" for j in range(M)], dtype="object"),
            "feature_types": TYPES,
        },
        index=IDS,
    )
    made = anndata.AnnData(X, obs=pd.DataFrame({"kind": ["u", "v"] * 5}, [f"s{i}" for i in range(N)]), var=var)
    made.varm["loadings"] = np.ones((M, 2))
    return made


def in_memory(path: Path) -> Any:
    return adata()


def in_a_file(path: Path) -> Any:
    adata().write_h5ad(path / "x.h5ad")
    return path / "x.h5ad"


def in_zarr(path: Path) -> Any:
    pytest.importorskip("zarr")
    with quiet():
        adata().write_zarr(path / "x.zarr")
    return path / "x.zarr"


def packed(path: Path) -> Any:
    pytest.importorskip("zarr")
    pf.pack(adata(), path / "p.zarr")
    return path / "p.zarr"


@pytest.mark.parametrize("kind", [in_memory, in_a_file, in_zarr, packed])
def test_var(tmp_path: Path, kind: Any) -> None:
    data = kind(tmp_path)
    source = open_source(data, drop="ENSG1")
    found = source.feature_annotation
    assert list(found) == ["symbol", "length", "score", "text", "feature_types"]
    assert found["symbol"].tolist() == ["A", "A", "", "C", ""]
    assert found["length"].tolist() == [0, 2, 3, 4, 5]
    np.testing.assert_array_equal(found["score"].astype(float), [1, 3, 4, 5, 6])
    assert found["text"].tolist() == ["t0", "t2", "t3", "t4", "t5"]
    # What is in an AnnData object somebody has put there; the types are said.
    assert any("3 types (Gene Expression 3, Antibody Capture 2, Peaks 1): all are used" in m for m in source.messages)
    assert open_source(data, feature_type="peaks").feature_names == ["ENSG5"]


@pytest.mark.parametrize(
    ("column", "message"), [("symbols", r"\('symbol', 'length', 'score', 'text', 'feature_types'\), got 'symbols'")]
)
def test_a_column_that_is_not_there(column: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_source(adata(), name_column=column)
    with pytest.raises(InputError, match=r"annotation of the features \(none\)"):
        open_source(X, name_column=column)


def test_findings_have_the_annotation_and_reports_the_names(tmp_path: Path) -> None:
    source = open_source(adata(), label="kind", name_column="symbol")
    source.feature_annotation["rank"] = np.arange(M)  # a name that the findings have
    quick = {"n_runs": 8, "random_state": 0, "threads": 1, "baselines": False, "pair_screen": False}
    fitted = pf.DeepMapperClassifier(normalize="log1p-zscore", **quick)
    results = fitted.fit_source(source).results_
    table = results.findings
    assert list(table)[-6:] == ["symbol", "length", "score", "text", "feature_types", "annotation_rank"]
    by_feature = table.set_index("feature")
    assert by_feature.loc[IDS, "length"].tolist() == list(range(M))
    shown = results.shown_findings["feature"].sort_index().tolist()
    assert shown == ["A", "B", "A", "ENSG3", "C", "ENSG5"]
    assert results.shown("ENSG1") == "B"
    write_results(results, tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    ranked = table[table["rank"].notna()]["feature"]
    assert len(ranked)
    assert all(f">{results.shown(name)}<" in page for name in ranked)


def tenx(path: Path, *, folder: bool) -> Path:
    if folder:
        path.mkdir(exist_ok=True)
        rows = "".join(f"{i}\tn{i}\t{kind}\n" for i, kind in zip(IDS, TYPES, strict=True))
        (path / "features.tsv").write_text(rows)
        (path / "barcodes.tsv").write_text("".join(f"b{i}\n" for i in range(N)))
        at = np.argwhere(X.T > 0)
        entries = "".join(f"{f + 1} {s + 1} {int(X[s, f])}\n" for f, s in at)
        (path / "matrix.mtx").write_text(
            f"%%MatrixMarket matrix coordinate integer general\n{M} {N} {len(at)}\n{entries}"
        )
        return path
    csr = sparse.csr_matrix(X.astype(np.int32))
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        group = file.create_group("matrix")
        group["data"], group["indices"], group["indptr"] = csr.data, csr.indices, csr.indptr
        group["shape"], group["barcodes"] = np.array([M, N]), np.array([f"b{i}" for i in range(N)], "S")
        for key, values in {
            "id": IDS,
            "name": [f"n{i}" for i in IDS],
            "feature_type": TYPES,
            "genome": GENOMES,
        }.items():
            group[f"features/{key}"] = np.array(values, "S")
    return path.with_suffix(".h5")


@pytest.mark.parametrize("folder", [True, False])
def test_types_of_10x_features(tmp_path: Path, folder: bool) -> None:
    path = tenx(tmp_path / "x", folder=folder)
    source = open_source(path)
    assert source.feature_names == ["nENSG0", "nENSG1", "nENSG2"]
    np.testing.assert_array_equal(source.read(slice(None)).toarray(), X[:, :3])
    assert any("Antibody Capture 2, Peaks 1): only Gene Expression is used" in text for text in source.messages)
    assert source.feature_annotation["gene_ids"].tolist() == IDS[:3]
    both = open_source(path, feature_type="Antibody Capture,peaks")
    np.testing.assert_array_equal(both.read([3, 1]).toarray(), X[[3, 1], 3:])
    assert open_source(path, feature_type="all").n_features == M
    assert open_source(path, features="nENSG4", feature_type="all").n_features == 1
    with pytest.raises(InputError, match=r"feature_type must be among Gene Expression 3.*got Protein"):
        open_source(path, feature_type="Protein")


def test_genomes(tmp_path: Path) -> None:
    path = tenx(tmp_path / "x", folder=False)
    assert any("2 genomes (GRCh38 2, mm10 1): all are used" in text for text in open_source(path).messages)
    assert open_source(path, genome="mm10").feature_names == ["nENSG1"]
    assert open_source(path, genome="GRCh38", feature_type="all").n_features == 3
    for genome, message in (("rn6", "genome must be among"), ("mm10", "must leave a feature")):
        with pytest.raises(InputError, match=message):
            open_source(path, genome=genome, feature_type="Peaks" if genome == "mm10" else None)


@pytest.mark.parametrize("option", ["feature_type", "genome"])
def test_inputs_without_types(tmp_path: Path, option: str) -> None:
    np.save(tmp_path / "x.npy", X)
    for data in (X, tmp_path / "x.npy", pd.DataFrame(X), [tmp_path / "x.npy", tmp_path / "x.npy"]):
        with pytest.raises(InputError, match=f"{option} must be .* only 10x files and AnnData say"):
            open_source(data, **{option: "Peaks"})
    bare = anndata.AnnData(X)
    with pytest.raises(InputError, match=f"{option} must be left out, because its features have no annotation"):
        open_source(bare, **{option: "Peaks"})


def test_annotation_side_by_side() -> None:
    a = ArraySource(X, feature_names=IDS, feature_annotation={"symbol": list("abcdef"), "size": np.arange(M)})
    b = ArraySource(X, feature_names=[f"c{j}" for j in range(M)])
    found = open_source([a, b]).feature_annotation
    assert found["symbol"].tolist() == [*"abcdef", *[""] * M]
    np.testing.assert_array_equal(found["size"], [*range(M), *[np.nan] * M])
    with pytest.raises(InputError, match="feature_annotation 'x' must be 6 values"):
        ArraySource(X, feature_annotation={"x": [1, 2]})


def test_choosing_by_what_features_are_called_by() -> None:
    source = open_source(adata(), features=["A", "ENSG4"], name_column="symbol")
    assert source.feature_names == ["ENSG0", "ENSG2", "ENSG4"]
    assert open_source(adata(), drop="t[1-5]", name_column="text").feature_names == ["ENSG0"]
    with pytest.raises(
        InputError, match=r"no feature: 'B'.*; 1 of them in the annotation 'symbol': name_column='symbol'"
    ):
        open_source(adata(), features="B")
