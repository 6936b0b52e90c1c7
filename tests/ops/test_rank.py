"""rank and top_k against their references, which count and sort in plain Python."""

from __future__ import annotations

import numpy as np
import pytest

from pixfold.ops import rank, reference, top_k


def importances(kind, n, seed=0):
    rng = np.random.default_rng(seed)
    if kind == "distinct":
        return rng.normal(size=n)
    if kind == "tied":
        return rng.integers(0, max(2, n // 8), n).astype(np.float64)
    if kind == "signed ties":
        return rng.integers(-3, 4, n) / 4
    if kind == "mostly zero":
        return np.where(rng.random(n) < 0.9, 0.0, rng.random(n))
    if kind == "extreme":
        return rng.choice([0.0, -0.0, 5e-324, -5e-324, 1e308, -1e308, np.inf, -np.inf, 1.0, np.nextafter(1.0, 2.0)], n)
    if kind == "low bits":
        # The same in their 52 leading bits, but for one: found apart only by the bits that are sorted last.
        values = 1.0 + rng.integers(0, 1024, n) * np.finfo(float).eps
        values[n // 2] = 0.0
        return values
    if kind == "subnormal":
        return rng.integers(-1000, 1000, n) * 5e-324
    raise KeyError(kind)


KINDS = ["distinct", "tied", "signed ties", "mostly zero", "extreme", "low bits", "subnormal"]


def sorted_ranks(importance):
    """Average ranks by sorting: for inputs that are too large for the reference to count."""
    _, inverse, counts = np.unique(importance, return_inverse=True, return_counts=True)
    above = np.concatenate([np.cumsum(counts[::-1])[::-1][1:], [0]])
    return (above + (counts + 1) / 2)[inverse]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 2, 3, 15, 16, 17, 31, 32, 33, 63, 64, 65, 700, 1100])
def test_rank(kind, n):
    importance = importances(kind, n)
    ranks = rank(importance)
    assert ranks.dtype == np.float64
    np.testing.assert_array_equal(ranks, reference.rank(importance))
    # Whatever the ties, average ranks add up to 1 + 2 + ... + n.
    assert ranks.sum() == n * (n + 1) / 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 2, 3, 17, 65, 700])
def test_top_k(kind, n):
    importance = importances(kind, n)
    for k in sorted({0, 1, 2, n // 3, n // 2, n - 1, n, n + 5}):
        selected = top_k(importance, k)
        assert selected.dtype == np.int64
        assert len(selected) <= k
        np.testing.assert_array_equal(selected, reference.top_k(importance, k))


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("kind", KINDS)
def test_threads(kind, threads):
    # 2 MiB: enough for four threads.
    importance = importances(kind, 250_000)
    np.testing.assert_array_equal(rank(importance, threads=threads), sorted_ranks(importance))
    order = np.lexsort((np.arange(importance.size), -importance))
    for k in (1, 1_000, 200_000, importance.size):
        end = k
        while k < importance.size and end > 0 and importance[order[end - 1]] == importance[order[k]]:
            end -= 1
        np.testing.assert_array_equal(top_k(importance, k, threads=threads), order[:end])


@pytest.mark.parametrize("threads", [0, -1, True, 1.5])
def test_threads_refused(threads):
    with pytest.raises(ValueError, match=r"rank: threads"):
        rank(np.arange(5.0), threads=threads)
    with pytest.raises(ValueError, match=r"top_k: threads"):
        top_k(np.arange(5.0), 2, threads=threads)


@pytest.mark.parametrize("dtype", ["float16", "float32", ">f8", "int64", "int8", "uint8", "bool"])
def test_dtypes(dtype):
    importance = (importances("tied", 100) * 3).astype(dtype)
    np.testing.assert_array_equal(rank(importance), reference.rank(importance))
    np.testing.assert_array_equal(top_k(importance, 20), reference.top_k(importance, 20))


def test_by_hand():
    importance = np.array([0.5, 2.0, 0.5, -1.0, 2.0, 0.5])
    np.testing.assert_array_equal(rank(importance), [4.0, 1.5, 4.0, 6.0, 1.5, 4.0])
    np.testing.assert_array_equal(top_k(importance, 1), [])
    np.testing.assert_array_equal(top_k(importance, 2), [1, 4])
    np.testing.assert_array_equal(top_k(importance, 4), [1, 4])
    np.testing.assert_array_equal(top_k(importance, 5), [1, 4, 0, 2, 5])
    np.testing.assert_array_equal(top_k(importance, 6), [1, 4, 0, 2, 5, 3])


@pytest.mark.parametrize("value", [0.0, 1.0, np.inf])
@pytest.mark.parametrize("k", [0, 1, 5, 10, 20])
def test_all_equal_selects_nothing(value, k):
    importance = np.full(10, value)
    np.testing.assert_array_equal(rank(importance), 5.5)
    assert top_k(importance, k).shape == (0,)


def test_negative_zero_ties_with_zero():
    np.testing.assert_array_equal(rank(np.array([0.0, -0.0, 1.0])), [2.5, 2.5, 1.0])
    np.testing.assert_array_equal(top_k(np.array([-0.0, 0.0, 1.0]), 2), [2])


def test_empty():
    assert rank(np.empty(0)).shape == (0,)
    assert top_k(np.empty(0), 3).shape == (0,)


@pytest.mark.parametrize("kind", ["uniform", "tied", "float32"])
def test_a_million_features(kind):
    rng = np.random.default_rng(0)
    importance = {
        "uniform": lambda: rng.random(1_000_000),
        "tied": lambda: rng.integers(0, 400_000, 1_000_000) / 7,
        "float32": lambda: rng.normal(size=1_000_000).astype(np.float32),
    }[kind]()
    np.testing.assert_array_equal(rank(importance), sorted_ranks(importance))
    selected = top_k(importance, 1_000)
    order = np.lexsort((np.arange(importance.size), -importance))
    np.testing.assert_array_equal(selected, order[: len(selected)])
    # What was left out is one tied group.
    assert np.unique(importance[order[len(selected) : 1_000]]).size <= 1


def test_input_is_left_alone():
    importance = np.array([3.0, 1.0, 2.0])
    importance.setflags(write=False)
    rank(importance)
    top_k(importance, 2)
    np.testing.assert_array_equal(importance, [3.0, 1.0, 2.0])


def test_strided():
    importance = importances("tied", 120)
    np.testing.assert_array_equal(rank(importance[::-3]), reference.rank(importance[::-3]))


@pytest.mark.parametrize("op", [rank, lambda importance: top_k(importance, 2)])
@pytest.mark.parametrize(
    ("importance", "words"),
    [
        (np.array([1.0, np.nan, 2.0]), "(?is)importance.*NaN"),
        (np.ones((2, 3)), r"(?s)importance.*(\(2, 3\)|2)"),
        (np.float64(1.0), "importance"),
        (np.array(["a", "b"]), "(?s)importance"),
        (np.array([1j, 2.0]), "(?s)importance.*complex"),
    ],
)
def test_refused(op, importance, words):
    with pytest.raises((ValueError, TypeError), match=words):
        op(importance)


@pytest.mark.parametrize("position", [0, 1, 999, 299_999])
@pytest.mark.parametrize("threads", [1, 2])
def test_nan_is_named(position, threads):
    importance = np.ones(300_000)
    importance[-1] = importance[position] = np.nan
    with pytest.raises(ValueError, match=rf"rank: importance must be free of NaN, got NaN at position {position}$"):
        rank(importance, threads=threads)
    with pytest.raises(ValueError, match=rf"top_k: importance must be free of NaN, got NaN at position {position}$"):
        top_k(importance, 0, threads=threads)


@pytest.mark.parametrize("k", [-1, -100])
def test_negative_k_refused(k):
    with pytest.raises(ValueError, match=f"(?s)k.*{k}"):
        top_k(np.arange(5.0), k)


@pytest.mark.parametrize("k", [1.5, "3", None])
def test_k_of_another_type_refused(k):
    with pytest.raises((TypeError, ValueError)):
        top_k(np.arange(5.0), k)
