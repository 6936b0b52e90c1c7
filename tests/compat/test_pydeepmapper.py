"""The drop-in for pydeepmapper: its results, bit for bit, on random input; and one clear error on bad input."""

from __future__ import annotations

import random

import numpy as np
import pytest

from pixfold.compat import pydeepmapper as ours
from pixfold.errors import InputError

SEEDS = range(40)


@pytest.fixture(scope="module")
def theirs():
    """Functions of the installed pydeepmapper by name."""
    why = "pydeepmapper is what is compared with: pip install pydeepmapper"
    transform = pytest.importorskip("pydeepmapper.transform", reason=why)
    accumulate = pytest.importorskip("pydeepmapper.accumulate", reason=why)
    return type("Theirs", (), {**vars(transform), **{name: staticmethod(f) for name, f in functions(accumulate)}})


def functions(module):
    return [(name, value) for name, value in vars(module).items() if callable(value)]


def tied(rng, n):
    """Importances of which most meet others: few values, both zeros among them."""
    return [float(value) for value in rng.choice([-1.0, -0.0, 0.0, 0.25, 0.5, 7.0], size=n)]


def passes(rng, n_passes, n):
    kind = rng.integers(3)
    if kind == 0:
        return [tied(rng, n) for _ in range(n_passes)]
    if kind == 1:
        return [[int(value) for value in rng.integers(-5, 5, size=n)] for _ in range(n_passes)]
    return [[float(value) for value in rng.normal(size=n)] for _ in range(n_passes)]


def same(got, wanted):
    """Equal values of the same types: lists of Python numbers stay such."""
    assert type(got) is type(wanted)
    assert got == wanted
    assert {type(value) for value in got} <= {type(value) for value in wanted}


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 15, 16, 17, 18_225, 19_319, 1_000_000])
@pytest.mark.parametrize("buffer", [0, 1, 7])
def test_sides(theirs, n, buffer):
    assert ours.square_dim(n, buffer) == theirs.square_dim(n, buffer)
    assert ours.image_side(n) == theirs.image_side(n)
    assert ours.square_dim(np.int64(n), np.int32(buffer)) == theirs.square_dim(n, buffer)


@pytest.mark.parametrize("n", [0, 1, 2, 31, 2_000])
@pytest.mark.parametrize("seed", [0, 1, 2**40, "a name", 2.5])
def test_permutations(theirs, n, seed):
    perm = ours.permutation(seed, n)
    same(perm, theirs.permutation(seed, n))
    same(ours.inverse_permutation(perm), theirs.inverse_permutation(perm))


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int64", "uint8", "bool"])
@pytest.mark.parametrize("with_perm", [False, True])
def test_images_and_back(theirs, dtype, with_perm):
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        n, features, buffer = rng.integers(0, 5), int(rng.integers(1, 70)), int(rng.choice([0, 0, 3, 40]))
        X = (rng.normal(size=(n, features)) * 100).astype(dtype)
        if dtype.startswith("float") and X.size:
            X.flat[0] = np.nan
        if seed % 3 == 0:
            X = np.asfortranarray(X)
        perm = theirs.permutation(seed, features) if with_perm else None
        images = ours.to_images(X, buffer, perm)
        wanted = theirs.to_images(X, buffer, perm)
        assert images.dtype == wanted.dtype
        np.testing.assert_array_equal(images, wanted)
        for image, sample in zip(images, X.astype(np.float32), strict=True):
            np.testing.assert_array_equal(ours.pixels_to_features(image, perm, features), sample)
            np.testing.assert_array_equal(theirs.pixels_to_features(image, perm, features), sample)


def test_images_take_lists_and_arrays_of_any_kind(theirs):
    X = [[1, 2.5, 3], [4, 5, 6]]
    for given in (X, np.array(X, dtype=object), np.array(X, dtype=np.longdouble), np.array(X, dtype=">f8")):
        for perm in (None, [2, 0, 1], np.array([2, 0, 1]), (2, 0, 1)):
            np.testing.assert_array_equal(ours.to_images(given, perm=perm), theirs.to_images(given, perm=perm))


def test_images_of_sparse_samples_are_those_of_dense_ones():
    sparse = pytest.importorskip("scipy.sparse", reason="sparse samples need SciPy")
    X = sparse.random(6, 50, 0.2, format="csr", dtype=np.float32, random_state=0)
    perm = ours.permutation(3, 50)
    for order in (None, perm):
        np.testing.assert_array_equal(ours.to_images(X, perm=order), ours.to_images(X.toarray(), perm=order))


def test_images_that_need_no_copy_are_none():
    X = np.zeros((3, 9), dtype=np.float32)
    assert np.shares_memory(ours.to_images(X), X)
    assert not np.shares_memory(ours.to_images(X, perm=range(9)), X)


@pytest.mark.parametrize("n", [1, 2, 7, 300])
def test_ranks_and_top_k(theirs, n):
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        for importances in (*passes(rng, 2, n), tied(rng, n), [0.0] * n, [np.inf, -np.inf] * n):
            same(ours.ranks_from_importances(importances), theirs.ranks_from_importances(importances))
            for k in (0, 1, 2, n // 2, n - 1, n, n + 5):
                same(ours.top_k_set(importances, k), theirs.top_k_set(importances, k))
    unsigned = np.array([3, 255, 0, 3], dtype=np.uint8)
    assert ours.ranks_from_importances(unsigned) == [2, 1, 4, 3]
    large = [2**53, 2**53 + 1, 2**53]
    same(ours.ranks_from_importances(large), theirs.ranks_from_importances(large))


def test_all_equal_importances_select_by_index():
    assert ours.top_k_set([0.0, -0.0, 0.0], 2) == [0, 1]
    assert ours.ranks_from_importances([1.0, 2.0, 2.0, 1.0]) == [3, 1, 2, 4]


@pytest.mark.parametrize("n", [1, 2, 7, 300])
@pytest.mark.parametrize("n_passes", [1, 2, 3, 4, 9])
def test_statistics_over_passes(theirs, n, n_passes):
    for seed in SEEDS[:15]:
        rng = np.random.default_rng(seed)
        rows = passes(rng, n_passes, n)
        same(ours.median_importance(rows), [float(value) for value in theirs.median_importance(rows)])
        same(ours.mean_rank(rows), theirs.mean_rank(rows))
        np.testing.assert_array_equal(ours.mean_rank(np.array(rows)), theirs.mean_rank(rows))
        sets = [rng.integers(0, n, size=rng.integers(0, 6)).tolist() for _ in range(n_passes)]
        same(ours.selection_frequency(sets, n), theirs.selection_frequency(sets, n))


def test_the_middle_of_infinities(theirs):
    rows = [[np.inf, 1.0], [-np.inf, 3.0]]
    np.testing.assert_array_equal(ours.median_importance(rows), theirs.median_importance(rows))


def test_no_passes_and_no_features(theirs):
    same(ours.selection_frequency([], 4), theirs.selection_frequency([], 4))
    same(ours.selection_frequency([[], []], 3), theirs.selection_frequency([[], []], 3))
    assert ours.selection_frequency([], 0) == ours.ranks_from_importances([]) == ours.top_k_set([], 3) == []
    assert ours.mean_rank([[], []]) == ours.median_importance([[]]) == []


@pytest.mark.parametrize("threshold", [0.51, 0.6, 0.9, 1.0])
@pytest.mark.parametrize("q", [0, 1, 20, 12.5])
def test_bound(theirs, threshold, q):
    assert ours.stability_selection_bound(threshold, q, 1_000) == theirs.stability_selection_bound(threshold, q, 1_000)


@pytest.mark.parametrize(("accuracy", "least"), [(0.5, 0.5), (0.4, 0.5), (0.6, 0.5), (float("nan"), 0.0)])
def test_accepted_passes(theirs, accuracy, least):
    assert ours.accept_pass(accuracy, least) is theirs.accept_pass(accuracy, least)


NAN = float("nan")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ours.square_dim(0), "square_dim: n_features must be a positive integer, got 0"),
        (lambda: ours.square_dim(2.0), "square_dim: n_features must be a positive integer, got 2.0"),
        (lambda: ours.square_dim(2, -1), "square_dim: buffer must be an integer of 0 or more, got -1"),
        (lambda: ours.permutation(0, -1), "permutation: n must be an integer of 0 or more, got -1"),
        (lambda: ours.inverse_permutation([0, 2]), "must hold integers in [0, 2), got 2 at 1"),
        (lambda: ours.inverse_permutation([0, -1]), "must hold integers in [0, 2), got -1 at 1"),
        (lambda: ours.inverse_permutation([0, 1, 1]), "must hold each of 0 to 2 once, got 1 more than once"),
        (lambda: ours.inverse_permutation([0.0, 1.0]), "perm must be a sequence of integers"),
        (lambda: ours.inverse_permutation([[0], [1, 2]]), "perm must be a sequence of integers"),
        (lambda: ours.to_images(np.zeros(4)), "X must be two-dimensional (n_samples, n_features), got shape (4,)"),
        (lambda: ours.to_images(np.zeros((4, 0))), "X must have a feature or more, got none"),
        (lambda: ours.to_images([["a", "b"]]), "X must hold numbers"),
        (lambda: ours.to_images(np.zeros((2, 3)), perm=[0, 1]), "perm must have the length 3, got shape (2,)"),
        (lambda: ours.to_images(np.zeros((2, 3)), perm=[0, 1, 1]), "got 1 more than once"),
        (lambda: ours.to_images(np.zeros((2, 3)), buffer=-1), "buffer must be an integer of 0 or more"),
        (lambda: ours.pixels_to_features(np.zeros(3), None, 4), "attr_image must have 4 pixels or more, got 3"),
        (lambda: ours.pixels_to_features(np.zeros(4), [0, 1], 4), "perm must have the length 4, got shape (2,)"),
        (lambda: ours.ranks_from_importances([0.0, NAN]), "importances must hold no NaN, got it for feature 1"),
        (lambda: ours.ranks_from_importances([[0.0]]), "importances must be a sequence of numbers"),
        (lambda: ours.top_k_set([NAN], 1), "importances must hold no NaN, got it for feature 0"),
        (lambda: ours.top_k_set([1.0], -1), "top_k_set: k must be an integer of 0 or more, got -1"),
        (lambda: ours.top_k_set(["a"], 1), "importances must be a sequence of numbers"),
        (lambda: ours.selection_frequency([[0, 3]], 3), "top_sets must hold indices in [0, 3), got 3"),
        (lambda: ours.selection_frequency([[-1]], 3), "top_sets must hold indices in [0, 3), got -1"),
        (lambda: ours.selection_frequency([[0.5]], 3), "top_sets must be sequences of indices"),
        (lambda: ours.selection_frequency([3], 3), "top_sets must be sequences of indices, got 3"),
        (lambda: ours.inverse_permutation(3), "perm must be a sequence of integers, got 3"),
        (lambda: ours.to_images(np.zeros((2, 3), dtype=complex)), "X must hold real numbers, got complex128"),
        (lambda: ours.stability_selection_bound("a", 1, 9), "pi_thr must be above 0.5 and at most 1, got 'a'"),
        (lambda: ours.mean_rank([]), "rank_lists must hold a pass or more, got none"),
        (lambda: ours.mean_rank([[1, 2], [1]]), "must have 2 features in each pass, got 1 in pass 1"),
        (lambda: ours.median_importance([]), "importance_lists must hold a pass or more, got none"),
        (lambda: ours.median_importance([[1.0, 2.0], [1.0, NAN]]), "must hold no NaN, got it for feature 1 of pass 1"),
        (lambda: ours.median_importance([[1.0], [1.0, 2.0]]), "must have 1 features in each pass, got 2 in pass 1"),
        (lambda: ours.stability_selection_bound(0.5, 1, 9), "pi_thr must be above 0.5 and at most 1, got 0.5"),
        (lambda: ours.stability_selection_bound(NAN, 1, 9), "pi_thr must be above 0.5 and at most 1, got nan"),
        (lambda: ours.stability_selection_bound(0.6, -1, 9), "q must be a finite number of 0 or more, got -1"),
        (lambda: ours.stability_selection_bound(0.6, 1, 0), "n_features must be a positive integer, got 0"),
    ],
)
def test_bad_input_is_one_clear_line(call, message):
    with pytest.raises(InputError) as error:
        call()
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_an_order_of_python_itself():
    order = list(range(50))
    random.Random(7).shuffle(order)
    assert ours.permutation(7, 50) == order
