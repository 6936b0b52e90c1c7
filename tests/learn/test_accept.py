from __future__ import annotations

import numpy as np
import pytest

from pixfold.learn.accept import by_group, chance_p_value
from pixfold.learn.significance import LEVEL


def test_random_predictions_give_uniform_p_values():
    """Kolmogorov-Smirnov: of n p-values, the largest distance exceeds 1.95 / sqrt(n) one time in a thousand.

    Ties make the p-value of a permutation test too large, never too small, so the bound is one-sided where
    the statistic is discrete: the share of p-values at or below t stays below t plus the bound.
    """
    rng = np.random.default_rng(0)
    n = 300
    labels = np.arange(200) % 2
    found = np.sort([chance_p_value(labels, rng.integers(0, 2, 200), 2, seed) for seed in range(n)])
    steps = np.arange(1, n + 1) / n
    assert (steps - found).max() < 1.95 / np.sqrt(n)
    # One table in nine ties with the observed one near the middle of the distribution, fewer elsewhere.
    assert (found - steps).max() < 1.95 / np.sqrt(n) + 0.12


@pytest.mark.parametrize("k", [2, 3, 10])
def test_perfect_predictions_reach_the_smallest_p_value(k):
    labels = np.arange(20 * k) % k
    assert chance_p_value(labels, labels, k, 0) == 1 / 1000


def test_worse_than_chance_is_not_good():
    labels = np.arange(60) % 2
    assert chance_p_value(labels, 1 - labels, 2, 0) == 1.0


@pytest.mark.parametrize("named", [0, 1])
def test_constant_predictions_prove_nothing(named):
    """Whatever the class sizes: always naming the larger class is right nine times in ten."""
    labels = (np.arange(100) < 10).astype(np.int64)
    assert chance_p_value(labels, np.full(100, named), 2, 0) == 1.0


def test_one_class_proves_nothing():
    assert chance_p_value(np.zeros(10, dtype=np.int64), np.arange(10) % 2, 2, 0) == 1.0


def test_a_class_without_samples_does_not_count():
    labels = np.arange(40) % 2
    assert chance_p_value(labels, labels, 5, 0) == chance_p_value(labels, labels, 2, 0)


def test_same_seed_gives_the_same_p_value():
    rng = np.random.default_rng(1)
    labels, predicted = rng.integers(0, 3, 50), rng.integers(0, 3, 50)
    assert chance_p_value(labels, predicted, 3, 7) == chance_p_value(labels, predicted, 3, 7)


def test_agrees_with_the_exact_test_of_two_by_two_tables():
    """Two classes of equal size: balanced accuracy is the diagonal, whose law is hypergeometric."""
    stats = pytest.importorskip("scipy.stats")
    labels = np.repeat([0, 1], 10)
    predicted = labels.copy()
    predicted[[0, 1, 2, 10, 11, 12]] = 1 - predicted[[0, 1, 2, 10, 11, 12]]
    exact = float(stats.hypergeom(20, 10, 10).sf(6))  # 7 or more of the first ten named 0
    found = chance_p_value(labels, predicted, 2, 0)
    assert LEVEL < exact < 1
    # Four standard errors of a share of 999 tables, and the one that counts itself.
    assert abs(found - exact) < 4 * np.sqrt(exact * (1 - exact) / 999) + 1 / 1000


def test_groups_of_one_label_are_one_witness():
    labels, groups = np.repeat([0, 1, 0], 4), np.repeat([7, 3, 5], 4)
    predicted = np.array([0, 0, 0, 1, 1, 1, 1, 0, 1, 1, 1, 0])
    truth, named = by_group(labels, predicted, groups)
    assert truth.tolist() == [1, 0, 0]  # groups 3, 5, 7
    assert named.tolist() == [1, 1, 0]
    assert by_group(labels, predicted, None)[1] is predicted
    within = np.zeros(12, dtype=np.int64)  # labels differ within the group
    assert by_group(labels, predicted, within)[0] is labels
