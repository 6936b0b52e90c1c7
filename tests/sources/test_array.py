from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from pixfold.errors import InputError
from pixfold.sources import ArraySource, open_source

X = np.arange(12, dtype=np.float32).reshape(4, 3)


@pytest.mark.parametrize(
    ("given", "read_as"),
    [
        ("float16", "float16"),
        ("float32", "float32"),
        (">f8", "float64"),
        ("longdouble", "float64"),
        ("int8", "int8"),
        ("uint16", "uint16"),
        (">i4", "int32"),
        ("int64", "int64"),
        ("bool", "uint8"),
        ("object", "float64"),
        ("str", "float64"),
    ],
)
def test_dtypes(given: str, read_as: str) -> None:
    source = open_source(X.astype(given))
    block = source.read(slice(1, 3))
    assert source.dtype == block.dtype == np.dtype(read_as)
    assert not source.is_sparse
    np.testing.assert_array_equal(block, X[1:3].astype(given).astype(read_as))


def test_names_and_labels_of_a_plain_array() -> None:
    source = open_source(X, y=["a", "b", "a", "b"])
    assert (source.name, source.n_samples, source.n_features) == ("array", 4, 3)
    assert source.feature_names == ["feature_0", "feature_1", "feature_2"]
    assert source.sample_names == ["sample_0", "sample_1", "sample_2", "sample_3"]
    assert source.labels is not None
    assert source.labels.tolist() == ["a", "b", "a", "b"]
    assert source.messages == []
    assert open_source(source) is source


def test_labels_given_beside_a_source_do_not_change_it() -> None:
    source = open_source(X)
    other = open_source(source, y=[0, 1, 0, 1])
    assert source.labels is None
    assert other.labels is not None
    np.testing.assert_array_equal(other.read(slice(None)), X)


@pytest.mark.parametrize("kind", ["csr_matrix", "csr_array", "csc_matrix", "coo_array", "lil_matrix"])
def test_sparse_becomes_csr(kind: str) -> None:
    matrix = getattr(sparse, kind)(X)
    source = open_source(matrix)
    block = source.read(np.array([0, 3]))
    assert source.is_sparse
    assert block.format == "csr"
    assert block.dtype == np.float32
    np.testing.assert_array_equal(block.toarray(), X[[0, 3]])


def test_repeated_sparse_entries_are_summed_without_touching_the_callers_matrix() -> None:
    matrix = sparse.csr_matrix((np.ones(3), np.array([1, 1, 0]), np.array([0, 2, 3])), shape=(2, 2))
    np.testing.assert_array_equal(open_source(matrix).read(slice(None)).toarray(), [[0, 2], [1, 0]])
    assert matrix.data.tolist() == [1, 1, 1]


def test_masked_and_blank_cells_are_missing() -> None:
    masked = open_source(np.ma.masked_equal(X, 5)).read(slice(None))
    assert np.isnan(masked[1, 2])
    assert np.isnan(masked).sum() == 1
    blank = open_source(np.array([["1", " "], [None, 2.5]], dtype=object)).read(slice(None))
    np.testing.assert_array_equal(blank, [[1, np.nan], [np.nan, 2.5]])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.zeros(3), r"array: data must be a 2-D matrix \(samples x features\), got 1-D of shape \(3,\). Reshape"),
        (np.zeros((2, 3, 4)), r"got 3-D of shape \(2, 3, 4\)"),
        (np.zeros((0, 3)), r"0 sample\(s\) \(shape=\(0, 3\)\)"),
        (np.zeros((3, 0)), r"0 feature\(s\) \(shape="),
        (sparse.csr_matrix((0, 3)), r"0 sample\(s\) \(shape=\(0, 3\)\)"),
        (np.zeros((2, 2), dtype=complex), "values must be real numbers, got complex128: Complex data not supported"),
        (sparse.csr_matrix(np.zeros((2, 2), dtype=complex)), "got complex128"),
        (np.zeros((2, 2), dtype="M8[s]"), "got type datetime64"),
        (
            np.array([[1, 2], [3, "x"]], dtype=object),
            r"values must be numbers, got 'x' in row 1, column 1 \('feature_1'\)",
        ),
        (np.array([["1", "2"], ["a", "4"]]), "got '?a'? in row 1, column 0|in row 1, column 0"),
        ([[1, 2], [3]], "array: rows must be of equal length"),
        ({1, 2}, "open_source: data must be a path, NumPy array, .* got builtins.set"),
    ],
)
def test_bad_data(data: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_source(data)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"y": [1, 2]}, "labels must be 4, one per sample, got 2"),
        ({"y": np.zeros((4, 2))}, r"labels must be 1-D, one per sample, got shape \(4, 2\)"),
        ({"label": "y"}, "array: label must be None, because it has no columns .*, got 'y'"),
        ({"layer": "counts"}, "layers are read from AnnData alone, got 'counts'"),
        ({"label": "a", "y": [1, 2, 3, 4]}, "either as the column 'a' or as y, got both"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_source(X, **options)


def test_wrong_number_of_names() -> None:
    with pytest.raises(InputError, match=r"feature_names must be 3 names, got an array of shape \(2,\)"):
        ArraySource(X, feature_names=["a", "b"])


def test_npz_with_names_and_labels(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, X=X, y=np.array([0, 1, 0, 1]), feature_names=["a", "b", "c"], sample_names=list("wxyz"))
    source = open_source(path, label="y")
    assert source.labels is not None
    assert source.labels.tolist() == [0, 1, 0, 1]
    assert source.feature_names == ["a", "b", "c"]
    assert source.sample_names == ["w", "x", "y", "z"]
    unlabelled = open_source(path)
    assert unlabelled.labels is None
    assert unlabelled.messages == [f"{path}: the array 'y' is not used, because no label was asked for"]


def test_npz_with_one_matrix_of_any_name_and_scipys_sparse(tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", counts=X)
    np.testing.assert_array_equal(open_source(tmp_path / "one.npz").read(slice(None)), X)
    sparse.save_npz(tmp_path / "sparse.npz", sparse.csc_matrix(X))
    source = open_source(tmp_path / "sparse.npz", y=[0, 1, 0, 1])
    assert source.is_sparse
    assert source.labels is not None
    np.testing.assert_array_equal(source.read(slice(None)).toarray(), X)


def test_bad_npz(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    sparse.save_npz(path, sparse.csr_matrix(X))
    with pytest.raises(InputError, match="label must be None, because it has no columns"):
        open_source(path, label="y")
    np.savez(path, X=X, group=np.array([0, 1, 0, 1]))
    with pytest.raises(InputError, match="no array of labels 'y'; 1-D arrays there are: 'group'"):
        open_source(path, label="y")
    np.savez(path, a=X, b=X)
    with pytest.raises(InputError, match="must hold an array named 'X', got 'a', 'b'"):
        open_source(path)
    np.savez(path, X=np.array([[1, None]], dtype=object))
    with pytest.raises(InputError, match="the array 'X' holds pickled Python objects, which are not loaded"):
        open_source(path)


def test_objects_and_cut_off_npy(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.array([[1, None]], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="holds pickled Python objects, which are not loaded"):
        open_source(path)
    np.save(path, X)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(InputError, match=r"x\.npy: the file is damaged or cut off"):
        open_source(path)
    with pytest.raises(InputError, match=r"it has no columns"):
        open_source(path, label="y")


def test_cut_off_npz(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, X=X)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"x\.npz: the file is damaged or cut off"):
        open_source(path)
