from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from pixfold.errors import InputError
from pixfold.learn.agreement import in_words, rank_biased_overlap


def literal(one: list[int], other: list[int], p: float, depth: int) -> float:
    """Equation 30 of Webber et al. of two orders, item by item."""
    common = [len(set(one[:d]) & set(other[:d])) / d for d in range(1, depth + 1)]
    total = sum((1 - p) * p ** (d - 1) * share for d, share in enumerate(common, 1))
    return total + common[-1] * p**depth


def orders(scores: list[float]) -> list[list[int]]:
    """All orders of the features that agree with their scores."""
    groups = [[i for i, s in enumerate(scores) if s == score] for score in sorted(set(scores), reverse=True)]
    ways = itertools.product(*(itertools.permutations(group) for group in groups))
    return [list(itertools.chain(*way)) for way in ways]


@pytest.mark.parametrize("k", [1, 2, 5, 50])
@pytest.mark.parametrize("n", [1, 2, 7, 90])
def test_without_ties_against_the_definition(n, k):
    rng = np.random.default_rng(n)
    a, b = rng.standard_normal(n), rng.standard_normal(n)
    expected = literal(list(np.argsort(-a)), list(np.argsort(-b)), 1 - 1 / k, min(n, 10 * k))
    assert rank_biased_overlap(a, b, k) == pytest.approx(expected, abs=1e-12)


def test_by_hand():
    # p = 1/2: shares 0, 1, 2/3 in depths 1, 2, 3, then what is extrapolated.
    a, b = [4.0, 3.0, 2.0, 1.0], [3.0, 4.0, 1.0, 2.0]
    assert rank_biased_overlap(a, b, 2) == pytest.approx(0.25 * 1 + 0.125 * 2 / 3 + 0.0625 * 1 + 0.0625 * 1)


@pytest.mark.parametrize("seed", range(12))
def test_ties_against_the_mean_over_their_orders(seed):
    rng = np.random.default_rng(seed)
    n, k = 5, 1 + seed % 3
    a, b = (rng.integers(0, 1 + seed % 4, n).astype(float).tolist() for _ in range(2))
    # Ten features and more are needed for a list to be cut: see the next test.
    values = [literal(x, y, 1 - 1 / k, n) for x in orders(a) for y in orders(b)]
    assert rank_biased_overlap(a, b, k) == pytest.approx(np.mean(values), abs=1e-12)


@pytest.mark.parametrize("at_cut", [4, 60])
def test_ties_across_the_last_depth(at_cut):
    # Depth 20 of 80: a tied group straddles it. Random orders of the ties have the same mean.
    rng = np.random.default_rng(at_cut)
    a, b = rng.standard_normal(80) + 5, rng.standard_normal(80) + 5
    a[rng.permutation(80)[:at_cut]] = np.sort(a)[-15]
    b[rng.permutation(80)[:at_cut]] = np.sort(b)[-12]
    values = []
    for _ in range(4000):
        jitter = rng.random((2, 80))
        one, other = (np.lexsort((noise, -scores)) for noise, scores in zip(jitter, (a, b), strict=True))
        values.append(literal(list(one), list(other), 0.5, 20))
    # Five standard errors of the mean.
    assert rank_biased_overlap(a, b, 2) == pytest.approx(np.mean(values), abs=5 * np.std(values) / math.sqrt(4000))


@pytest.mark.parametrize("n", [3, 499, 500, 501, 20_000])
def test_same_and_disjoint_lists(n):
    rng = np.random.default_rng(0)
    a = rng.standard_normal(n)
    assert rank_biased_overlap(a, a) == pytest.approx(1.0, abs=1e-12)
    assert rank_biased_overlap(a, np.exp(a)) == rank_biased_overlap(a, a)
    if n > 1000:
        assert rank_biased_overlap(a, -a) == 0.0
    assert rank_biased_overlap(a, -a) == pytest.approx(rank_biased_overlap(-a, a), abs=1e-12)


def test_a_long_tail_of_zeros_says_nothing():
    # Ten features stand out, in the same order; a hundred thousand others are tied.
    a = np.zeros(100_000)
    a[:10] = np.arange(10, 0, -1)
    tail = sum(0.02 * 0.98 ** (d - 1) * (10 + (d - 10) ** 2 / 99_990) / d for d in range(11, 501))
    end = 0.98**500 * (10 + 490**2 / 99_990) / 500
    assert rank_biased_overlap(a, a) == pytest.approx(1 - 0.98**10 + tail + end, abs=1e-12)


def test_lists_without_an_order_overlap_by_chance():
    expected = literal_chance = sum(0.02 * 0.98 ** (d - 1) * d / 1000 for d in range(1, 501)) + 0.98**500 * 0.5
    assert rank_biased_overlap(np.zeros(1000), np.ones(1000)) == pytest.approx(expected, abs=1e-12)
    rng = np.random.default_rng(0)
    found = [rank_biased_overlap(rng.random(1000), rng.random(1000)) for _ in range(200)]
    assert np.mean(found) == pytest.approx(literal_chance, abs=5 * np.std(found) / math.sqrt(200))


def test_infinity_is_a_score():
    a = np.array([np.inf, 1.0, 0.0, -np.inf])
    assert rank_biased_overlap(a, [3, 2, 1, 0]) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("a", "b", "k", "message"),
    [
        ([1.0, np.nan], [1.0, 2.0], 2, "rank_biased_overlap: a must be without NaN, got 1 of them"),
        ([1.0, 2.0], [1.0], 2, "rank_biased_overlap: b must be 2 scores, as many as in a, got 1"),
        ([], [], 2, "rank_biased_overlap: a must be a score for each feature, got float64 of shape (0,)"),
        ([[1.0]], [1.0], 2, "rank_biased_overlap: a must be a score for each feature, got float64 of shape (1, 1)"),
        (["x"], [1.0], 2, "rank_biased_overlap: a must be a score for each feature, got <U1 of shape (1,)"),
        ([1.0], [1.0], 0, "rank_biased_overlap: k must be a positive integer, got 0"),
    ],
)
def test_wrong_scores(a, b, k, message):
    with pytest.raises(InputError) as raised:
        rank_biased_overlap(a, b, k)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (1.0, "nearly the same features"),
        (0.9, "nearly the same features"),
        (0.89, "mostly the same features"),
        (0.7, "mostly the same features"),
        (0.69, "some features"),
        (0.4, "some features"),
        (0.39, "different features"),
        (0.0, "different features"),
    ],
)
def test_in_words(value, words):
    assert words in in_words(value)
