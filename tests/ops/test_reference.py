"""The reference itself, on examples worked out by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from pixfold.layout import Layout
from pixfold.ops import reference

SHARED = Layout.from_coordinates([0, 0, 1], [0, 0, 1], (2, 2))


PLAIN = {
    "log": False,
    "library_size": None,
    "offset": np.zeros(3),
    "shift": np.zeros(3),
    "scale": np.ones(3),
    "lo": -np.inf,
    "hi": np.inf,
    "missing": "zero",
    "fill": np.zeros(3),
    "clip_below_zero": False,
    "negative": "error",
}


def normalizer(**parts):
    return SimpleNamespace(parameters=lambda: SimpleNamespace(**{**PLAIN, **parts}))


def test_fold_takes_the_mean_of_a_shared_pixel():
    images = reference.fold([[1.0, 4.0, 7.0]], SHARED)
    np.testing.assert_array_equal(images, [[[[2.5, 0.0], [0.0, 7.0]]]])


def test_formula():
    x = np.array([[1.0, 3.0, 12.0]])
    parts = {
        "library_size": 4.0,
        "log": True,
        "shift": np.log([1.0, 2.0, 4.0]),
        "scale": np.array([1.0, 2.0, 3.0]),
    }
    # 4 / 16 of each: 0.25, 0.75 and 3, whose log1p are ln 1.25, ln 1.75 and ln 4.
    expected = [[np.log(1.25), 2 * np.log(1.75 / 2), 0.0]]
    np.testing.assert_allclose(reference.normalize(x, normalizer(**parts)), expected, rtol=1e-15, atol=1e-15)


def test_clip_and_missing():
    x = np.array([[-1.0, 2.0, np.nan]])
    parts = {"lo": 0.0, "hi": 1.0, "fill": np.array([0.0, 0.0, 0.25])}
    np.testing.assert_array_equal(reference.normalize(x, normalizer(**parts)), [[0.0, 1.0, 0.0]])
    np.testing.assert_array_equal(reference.normalize(x, normalizer(missing="mean", **parts)), [[0.0, 1.0, 0.25]])
    with pytest.raises(ValueError, match="1 missing"):
        reference.normalize(x, normalizer(missing="error"))


def test_values_below_the_training_minimum():
    parts = {"log": True, "offset": np.full(3, 2.0), "clip_below_zero": True}
    np.testing.assert_allclose(
        reference.normalize(np.array([[-5.0, -2.0, -1.0]]), normalizer(**parts)), [[0.0, 0.0, np.log(2.0)]]
    )


def test_row_scale():
    np.testing.assert_array_equal(reference.row_scale([[1.0, np.nan, 3.0], [0.0, 0.0, 0.0]], 8.0), [2.0, 0.0])
    np.testing.assert_array_equal(reference.row_scale([[1.0, 2.0]], None), [1.0])


def test_unfold():
    images = np.arange(4.0).reshape(1, 1, 2, 2)
    np.testing.assert_array_equal(reference.unfold(images, SHARED), [[0.0, 0.0, 3.0]])
    dropped = Layout.natural(3, keep=np.array([True, False, True]))
    np.testing.assert_array_equal(reference.unfold(images, dropped), [[0.0, 0.0, 1.0]])


def test_column_stats():
    stats = reference.column_stats(np.array([[0.0, np.nan], [2.0, np.nan], [4.0, np.nan]]))
    np.testing.assert_array_equal(stats["count"], [3, 0])
    np.testing.assert_array_equal(stats["missing"], [0, 3])
    np.testing.assert_array_equal(stats["zeros"], [1, 0])
    np.testing.assert_array_equal(stats["mean"], [2.0, np.nan])
    np.testing.assert_array_equal(stats["min"], [0.0, np.nan])
    np.testing.assert_array_equal(stats["max"], [4.0, np.nan])
    np.testing.assert_array_equal(stats["m2"], [8.0, 0.0])


def test_aggregate():
    # Features 0 and 1 share pixel 0 (2, 6 and 4 of class 0), so each gets half of it.
    attributions = np.zeros((4, 1, 2, 2))
    attributions[:, 0, 0, 0] = [2.0, -6.0, 100.0, 4.0]
    attributions[:, 0, 1, 1] = [1.0, 1.0, 100.0, 4.0]
    result = reference.aggregate(attributions, [0, 0, 0, 1], [True, True, False, True], SHARED, 3)
    np.testing.assert_array_equal(result["count"], [2, 1, 0])
    np.testing.assert_array_equal(result["mean"], [[-1.0, -1.0, 1.0], [2.0, 2.0, 4.0], [0.0, 0.0, 0.0]])
    np.testing.assert_array_equal(result["mean_abs"], [[2.0, 2.0, 1.0], [2.0, 2.0, 4.0], [0.0, 0.0, 0.0]])
    np.testing.assert_array_equal(result["m2"], [[8.0, 8.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])


def test_aggregate_sums_channels():
    attributions = np.arange(8.0).reshape(1, 2, 2, 2)
    result = reference.aggregate(attributions, [0], None, Layout.natural(4), 1)
    np.testing.assert_array_equal(result["mean"], [[4.0, 6.0, 8.0, 10.0]])
    two = Layout.natural(8, shape=(2, 2, 2))
    np.testing.assert_array_equal(reference.aggregate(attributions, [0], None, two, 1)["mean"], [np.arange(8.0)])


def test_rank_and_top_k():
    importance = [3.0, 1.0, 3.0, 2.0]
    np.testing.assert_array_equal(reference.rank(importance), [1.5, 4.0, 1.5, 3.0])
    np.testing.assert_array_equal(reference.top_k(importance, 1), [])
    np.testing.assert_array_equal(reference.top_k(importance, 3), [0, 2, 3])
    np.testing.assert_array_equal(reference.top_k([1.0, 1.0], 2), [])


def test_bound_of_a_copy_is_half_an_ulp():
    x = np.array([[1.0, 3.0, 0.0]])
    bound = reference.fold_bound(x, Layout.natural(3), dtype="float16").ravel()
    np.testing.assert_allclose(bound, [2.0**-11, 3 * 2.0**-11, 0.0, 0.0], rtol=0, atol=2.0**-25)


def test_bound_is_not_generous():
    # A float32 z-score of numbers about 1: a few half-ulps, so a bound of 1e-6 would hide a wrong kernel.
    x = np.array([[1.0, 3.0, 0.5]], dtype=np.float32)
    parts = {"log": True, "shift": np.full(3, 0.7), "scale": np.full(3, 1.3)}
    assert reference.fold_bound(x, Layout.natural(3), normalizer(**parts)).max() < 1e-6
