from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from pixfold.errors import InputError
from pixfold.genotypes import PackedGenotypes
from pixfold.sources import ArraySource, Source, open_source, side_by_side

A = np.arange(12, dtype=np.float32).reshape(4, 3)
B = np.arange(8, dtype=np.int16).reshape(4, 2) * 10
NAMES = list("wxyz")


def source(matrix: Any, prefix: str = "", samples: list[str] | None = None, **options: Any) -> ArraySource:
    features = [f"{prefix}{j}" for j in range(matrix.shape[1])]
    return ArraySource(matrix, feature_names=features, sample_names=samples, **options)


def dense(block: Any) -> Any:
    return block if isinstance(block, np.ndarray) else block.toarray()


def table(path: Path, header: str, rows: list[str]) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_features_one_after_the_other() -> None:
    joined = side_by_side([source(A, "a", NAMES), source(B, "b", NAMES)])
    assert isinstance(joined, Source)
    assert (joined.n_samples, joined.n_features) == (4, 5)
    assert joined.feature_names == ["a0", "a1", "a2", "b0", "b1"]
    assert joined.sample_names == NAMES
    assert joined.dtype == np.float32
    assert not joined.is_sparse
    for rows in (slice(None), slice(1, 3), np.array([3, 0, 0]), np.array([], dtype=np.int64)):
        block = joined.read(rows)
        assert block.dtype == joined.dtype
        np.testing.assert_array_equal(block, np.hstack([A, B])[rows])


def test_samples_are_matched_by_name() -> None:
    order = [2, 0, 3, 1]
    joined = side_by_side([source(A, "a", NAMES), source(B[order], "b", [NAMES[i] for i in order])])
    assert joined.sample_names == NAMES
    np.testing.assert_array_equal(joined.read(slice(None)), np.hstack([A, B]))
    np.testing.assert_array_equal(joined.read(np.array([1, 3])), np.hstack([A, B])[[1, 3]])


def test_samples_without_names_are_matched_by_position() -> None:
    joined = side_by_side([source(A, "a", NAMES), source(B, "b")])
    assert joined.sample_names == NAMES
    np.testing.assert_array_equal(joined.read(slice(None)), np.hstack([A, B]))
    with pytest.raises(InputError, match="samples must be 4 as in array, got 3; samples without names cannot"):
        side_by_side([source(A, "a", NAMES), source(B[:3], "b")])


def test_missing_samples() -> None:
    parts = [source(A, "a", NAMES), source(B, "b", ["v", "z", "x", "u"])]
    with pytest.raises(InputError, match=r"array: 2 samples not in every input \('w', 'y'\).*join=\"inner\".* the 2 "):
        side_by_side(parts)
    joined = side_by_side(parts, join="inner")
    assert joined.sample_names == ["x", "z"]
    np.testing.assert_array_equal(joined.read(slice(None)), np.hstack([A[[1, 3]], B[[2, 1]]]))
    assert joined.messages == [
        "array: 2 samples not in every input ('w', 'y'): left out",
        "array: 2 samples not in every input ('v', 'u'): left out",
    ]
    for join in ("all", "inner"):
        with pytest.raises(InputError, match="no sample is in all of them, are samples named in the same way"):
            side_by_side([source(A, "a", NAMES), source(B, "b", list("klmn"))], join=join)  # type: ignore[arg-type]


def test_samples_of_one_name_are_not_matched() -> None:
    with pytest.raises(InputError, match=r"1 sample name used more than once \('w'\), so that samples cannot be"):
        side_by_side([source(A, "a", NAMES), source(B, "b", ["w", "w", "x", "y"])])
    # In the same order there is nothing to match.
    same = ["w", "w", "x", "y"]
    assert side_by_side([source(A, "a", same), source(B, "b", same)]).sample_names == same


def test_features_of_one_name_are_called_by_their_source(tmp_path: Path) -> None:
    first = table(tmp_path / "rna.csv", "id,g1,g2", ["w,1,2", "x,3,4"])
    second = table(tmp_path / "meth.csv", "id,g2,g3", ["x,7,8", "w,5,6"])
    joined = open_source([first, second])
    assert joined.feature_names == ["rna:g1", "rna:g2", "meth:g2", "meth:g3"]
    assert "1 feature name in more than one of the inputs ('g2')" in joined.messages[0]
    np.testing.assert_array_equal(joined.read(slice(None)), [[1, 2, 5, 6], [3, 4, 7, 8]])
    assert side_by_side([first, second], ["a", "b"]).feature_names == ["a:g1", "a:g2", "b:g2", "b:g3"]
    assert side_by_side([first, first]).feature_names == ["rna:g1", "rna:g2", "rna.1:g1", "rna.1:g2"]
    arrays = side_by_side([ArraySource(A), ArraySource(B)])
    assert arrays.feature_names[0] == "input1:feature_0"


def test_sparse_where_most_features_are() -> None:
    wide = sparse.random_array((4, 50), density=0.2, format="csr", dtype=np.float32, rng=np.random.default_rng(0))
    expected = np.hstack([wide.toarray(), B])
    for parts in ([source(wide, "a"), source(B, "b")], [source(B, "b"), source(wide, "a")]):
        joined = side_by_side(parts)
        assert joined.is_sparse
        block = joined.read(np.array([0, 2]))
        assert sparse.issparse(block)
        assert block.format == "csr"
        assert block.dtype == joined.dtype == np.float32
    narrow = side_by_side([source(wide, "a"), source(np.zeros((4, 60), dtype=np.float32), "b")])
    assert not narrow.is_sparse
    assert isinstance(narrow.read(slice(None)), np.ndarray)
    np.testing.assert_array_equal(dense(side_by_side([source(wide, "a"), source(B, "b")]).read(slice(None))), expected)


def test_missing_values_stay_missing_in_sparse_blocks() -> None:
    holes = np.array([[np.nan, 0.0], [1.0, np.nan], [0.0, 0.0], [2.0, 3.0]], dtype=np.float32)
    wide = sparse.csr_array((4, 9), dtype=np.float32)
    block = side_by_side([source(holes, "a"), source(wide, "b")]).read(slice(None))
    np.testing.assert_array_equal(block.toarray()[:, :2], holes)
    assert block.nnz == 5


def test_packed_genotypes_stay_packed() -> None:
    rng = np.random.default_rng(1)
    first, second = (rng.choice([0.0, 1.0, 2.0, np.nan], (4, n)).astype(np.float32) for n in (5, 6))
    parts = [source(PackedGenotypes.pack(first), "a"), source(PackedGenotypes.pack(second, count_first=False), "b")]
    block = side_by_side(parts).read(slice(1, 4))
    assert isinstance(block, PackedGenotypes)
    np.testing.assert_array_equal(block.toarray(), np.hstack([first, second])[1:])
    mixed = side_by_side([parts[0], source(B, "c")])
    np.testing.assert_array_equal(mixed.read(slice(None)), np.hstack([first, B]))


def test_labels_of_the_part_that_has_them() -> None:
    order = [2, 0, 3, 1]
    labels = np.array(["p", "q", "p", "q"])
    second = source(B[order], "b", [NAMES[i] for i in order], labels=labels[order])
    joined = side_by_side([source(A, "a", NAMES), second])
    assert joined.labels is not None
    assert joined.labels.tolist() == labels.tolist()
    agreeing = side_by_side([source(A, "a", NAMES, labels=labels), second])
    assert agreeing.labels is not None
    with pytest.raises(InputError, match="the label of sample 'x' must be 'p' as in array, got 'q'"):
        side_by_side([source(A, "a", NAMES, labels=["p", "p", "p", "q"]), second])
    assert side_by_side([source(A, "a"), source(B, "b")]).labels is None
    given = side_by_side([source(A, "a"), source(B, "b")], y=[0, 1, 0, 1])
    assert given.labels is not None
    assert given.labels.tolist() == [0, 1, 0, 1]


def test_labels_that_are_missing_in_both_agree() -> None:
    labels = np.array([1.0, np.nan, 2.0, np.nan])
    joined = side_by_side([source(A, "a", labels=labels), source(B, "b", labels=labels.copy())])
    assert joined.labels is not None


def test_the_label_column_may_be_in_either_file(tmp_path: Path) -> None:
    first = table(tmp_path / "rna.csv", "id,g1,g2", ["w,1,2", "x,3,4"])
    second = table(tmp_path / "meth.csv", "id,kind,c1", ["w,p,5", "x,q,6"])
    for paths in ([first, second], [str(second), str(first)]):
        joined = open_source(paths, label="kind")
        assert joined.labels is not None
        assert joined.labels.tolist() == ["p", "q"]
        assert sorted(joined.feature_names) == ["c1", "g1", "g2"]
    with pytest.raises(InputError, match=r"no input has the labels 'sort': .*rna\.csv: no label column 'sort'.*meth"):
        open_source([first, second], label="sort")
    with pytest.raises(InputError, match="got both"):
        open_source([first, second], label="kind", y=[0, 1])
    broken = table(tmp_path / "broken.csv", "id,g1", ["w,1", "x,3,4"])
    with pytest.raises(InputError, match=r"broken\.csv: line 3 must hold 2 fields as line 2, got 3"):
        open_source([second, broken], label="kind")


def test_categories_by_the_names_in_the_result(tmp_path: Path) -> None:
    first = table(tmp_path / "one.csv", "id,g,sex", ["w,1,f", "x,2,m", "y,3,f"])
    second = table(tmp_path / "two.csv", "id,g,site", ["w,1,b", "x,2,a", "y,3,a"])
    joined = open_source([first, second])
    assert joined.categories == {"one:sex": ["f", "m"], "two:site": ["a", "b"]}
    again = open_source([first, second], categories={"one:sex": ["m", "f"], "two:site": ["a", "b"]})
    np.testing.assert_array_equal(again.read(slice(None)), [[1, 1, 1, 1], [2, 0, 2, 0], [3, 1, 3, 0]])


def test_a_layer_goes_to_anndata(tmp_path: Path) -> None:
    anndata = pytest.importorskip("anndata")
    pandas = pytest.importorskip("pandas")
    names = pandas.DataFrame(index=NAMES)
    adata = anndata.AnnData(A, obs=names, var=pandas.DataFrame(index=["a0", "a1", "a2"]), layers={"twice": 2 * A})
    frame = pandas.DataFrame(B, index=NAMES, columns=["b0", "b1"])
    joined = open_source([adata, frame], layer="twice")
    np.testing.assert_array_equal(joined.read(slice(None)), np.hstack([2 * A, B]))
    with pytest.raises(InputError, match="layers are read from AnnData alone, got 'twice'"):
        open_source([frame, frame], layer="twice")


def test_one_part_and_a_pickle() -> None:
    alone = side_by_side([source(A, "a", NAMES)])
    np.testing.assert_array_equal(alone.read(slice(None)), A)
    joined = pickle.loads(pickle.dumps(side_by_side([source(A, "a"), source(B, "b")])))
    np.testing.assert_array_equal(joined.read(np.array([1])), np.hstack([A, B])[[1]])


def test_stacked_inputs_ask_for_channels() -> None:
    parts = [source(A, "a"), source(B, "b")]
    assert side_by_side(parts, stack=True).channel_sizes == [3, 2]  # type: ignore[attr-defined]
    nested = side_by_side([side_by_side(parts, stack=True), source(A, "c")], stack=True)
    assert nested.channel_sizes == [3, 2, 3]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ([], {}, "sources must be at least one, got none"),
        ([A, B], {"join": "outer"}, "join must be 'all' or 'inner', got 'outer'"),
        ([A, B], {"names": ["a"]}, "names must be 2, one per source, got 1"),
        ([A, B], {"y": [1]}, "labels must be 4, one per sample, got 1"),
        ([A, B[:2]], {}, "samples must be 4 as in array, got 2"),
    ],
)
def test_bad_arguments(arguments: list[Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        side_by_side(arguments, **options)
