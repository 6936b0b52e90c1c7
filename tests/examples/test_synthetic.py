from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pixfold.errors import InputError, MissingDependencyError, OutputError
from pixfold.examples.synthetic import PAPER_FEATURES, nihs, write_nihs

RANGES = [((0.0, 0.2), (0.2, 0.4)), ((0.1, 0.2), (0.25, 0.35))]


def test_paper_width_plants_the_papers_variables() -> None:
    data = nihs(40, PAPER_FEATURES)
    assert [data.feature_names[i] for i in data.needles] == ["variable_20", "variable_17998"]
    assert data.X.shape == (40, 18_225)
    assert data.X.dtype == np.float32
    assert data.y.dtype == np.int64
    assert data.needles.dtype == np.int64


def test_needles_have_their_ranges_and_the_rest_is_uniform() -> None:
    data = nihs(4_000, 64, needles=5, seed=3)
    assert len(set(data.needles.tolist())) == 5
    for number, feature in enumerate(data.needles):
        for label, (low, high) in enumerate(RANGES[number % 2]):
            values = data.X[data.y == label, feature]
            assert values.min() >= np.float32(low)
            assert values.max() <= np.float32(high)
            # 2,000 draws leave a gap of 1 % of the range at an end with probability 0.99^2000 = 2e-9
            assert values.min() < low + 0.01 * (high - low)
            assert values.max() > high - 0.01 * (high - low)
    rest = np.delete(data.X, data.needles, axis=1)
    assert rest.min() >= 0
    assert rest.max() <= 1
    # a mean of 4,000 U(0, 1) has a standard deviation of 0.0046: six of them
    assert np.abs(rest.mean(axis=0) - 0.5).max() < 0.028


@pytest.mark.parametrize(("n", "counts"), [(10, [5, 5]), (11, [6, 5]), (2, [1, 1])])
def test_classes_are_balanced(n: int, counts: list[int]) -> None:
    assert np.bincount(nihs(n, 4).y).tolist() == counts


@pytest.mark.parametrize(("width", "places"), [(1_024, [1, 1_010]), (2, [0, 1]), (36_449, [38, 35_994])])
def test_other_widths_keep_the_relative_places(width: int, places: list[int]) -> None:
    assert nihs(2, width).needles.tolist() == places


def test_seed_decides_everything() -> None:
    first, same, other = nihs(20, 50, seed=1), nihs(20, 50, seed=1), nihs(20, 50, seed=2)
    np.testing.assert_array_equal(first.X, same.X)
    np.testing.assert_array_equal(first.y, same.y)
    assert (first.X != other.X).mean() > 0.9
    places = [nihs(4, 500, needles=6, seed=seed).needles.tolist() for seed in (1, 2)]
    assert places[0] != places[1]


def test_noise_does_not_depend_on_the_needles() -> None:
    none, two = nihs(20, 50, needles=0), nihs(20, 50)
    assert none.needles.size == 0
    rest = np.setdiff1d(np.arange(50), two.needles)
    np.testing.assert_array_equal(none.X[:, rest], two.X[:, rest])


def test_values_do_not_depend_on_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = nihs(23, 17, needles=3)
    monkeypatch.setattr("pixfold.examples.synthetic._BLOCK_BYTES", 17 * 4 * 5)
    np.testing.assert_array_equal(nihs(23, 17, needles=3).X, whole.X)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_samples": 1}, "n_samples must be at least 2, got 1"),
        ({"n_samples": 10.0}, "n_samples must be an integer, got 10.0"),
        ({"n_samples": True}, "n_samples must be an integer, got True"),
        ({"n_features": 0}, "n_features must be at least 1, got 0"),
        ({"needles": -1}, "needles must be at least 0, got -1"),
        ({"n_features": 3, "needles": 4}, r"needles must be at most n_features \(3\), got 4"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"seed": "a"}, "seed must be an integer, got 'a'"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        nihs(**arguments)


def test_written_file_holds_the_same_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    anndata = pytest.importorskip("anndata")
    monkeypatch.setattr("pixfold.examples.synthetic._BLOCK_BYTES", 30 * 4 * 7)
    path = write_nihs(tmp_path / "haystack.h5ad", 20, 30, needles=3, seed=5)
    data, adata = nihs(20, 30, needles=3, seed=5), anndata.read_h5ad(path)
    np.testing.assert_array_equal(adata.X, data.X)
    assert adata.obs["label"].tolist() == [f"class_{i}" for i in data.y]
    assert list(adata.obs["label"].cat.categories) == ["class_0", "class_1"]
    assert adata.var_names.tolist() == data.feature_names
    assert adata.var["needle"].dtype == bool
    assert np.flatnonzero(adata.var["needle"]).tolist() == sorted(data.needles.tolist())
    assert [p.name for p in tmp_path.iterdir()] == ["haystack.h5ad"]


def test_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("anndata")
    path = tmp_path / "haystack.h5ad"
    path.write_bytes(b"old")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pixfold.examples.synthetic._write", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_nihs(path, 20, 30)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["haystack.h5ad"]


def test_bad_outputs(tmp_path: Path) -> None:
    pytest.importorskip("anndata")
    with pytest.raises(InputError, match=r"must be named .h5ad, got '.*\.csv'"):
        write_nihs(tmp_path / "x.csv", 4, 4)
    with pytest.raises(OutputError, match=r"x\.h5ad: cannot write the file: No such file or directory"):
        write_nihs(tmp_path / "nowhere" / "x.h5ad", 4, 4)
    (tmp_path / "folder.h5ad").mkdir()
    with pytest.raises(OutputError, match="a folder has this name"):
        write_nihs(tmp_path / "folder.h5ad", 4, 4)


def test_missing_anndata_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "anndata", None)
    with pytest.raises(MissingDependencyError, match=r"pixfold\[io\]"):
        write_nihs(tmp_path / "x.h5ad", 4, 4)
    assert list(tmp_path.iterdir()) == []
