from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import rankdata

from pixfold.errors import InputError
from pixfold.learn.consensus import Consensus, RunImportance, default_k


def run(importance, class_mean=None, class_count=None) -> RunImportance:
    importance = np.asarray(importance, dtype=np.float64)
    mean = np.empty((0, len(importance))) if class_mean is None else np.asarray(class_mean, dtype=np.float64)
    return RunImportance(importance, mean, np.abs(mean), 10, class_count)


def needles(seed: int, n: int = 2000, spread: float = 0.05) -> np.ndarray:
    """Noise of a gamma distribution, and two features that stand 50 times above its mean."""
    rng = np.random.default_rng(seed)
    importance = rng.gamma(2.0, 0.5, n)
    importance[[19, 1700]] = 50.0 * (1.0 + spread * rng.standard_normal(2))
    return importance


@pytest.mark.parametrize(("n", "k"), [(1, 1), (8, 4), (64, 10), (3000, 30), (18_225, 100), (10**6, 100)])
def test_default_k(n, k):
    assert default_k(n) == k


def test_statistics_against_their_definitions():
    rng = np.random.default_rng(0)
    raw = rng.gamma(2.0, size=(4, 50)) * np.array([1.0, 1e3, 1e-6, 7.0])[:, None]  # four networks, four scales
    means = rng.normal(size=(4, 3, 50)) * raw[:, None]
    consensus = Consensus(50, k=5)
    for importance, class_mean in zip(raw, means, strict=True):
        assert consensus.add(run(importance, class_mean))
    result = consensus.result()

    shares = raw / raw.sum(axis=1, keepdims=True)
    ranks = np.stack([rankdata(-row) for row in shares])
    np.testing.assert_allclose(result.importance, shares.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(result.importance_median, np.median(shares, axis=0), rtol=1e-14)
    np.testing.assert_allclose(result.importance_std, shares.std(axis=0, ddof=1), rtol=1e-12)
    np.testing.assert_allclose(result.mean_rank, ranks.mean(axis=0), rtol=1e-14)
    np.testing.assert_array_equal(result.selection_frequency, (ranks <= 5).mean(axis=0))
    np.testing.assert_array_equal(result.rank, rankdata(-shares.mean(axis=0)))
    scaled = means / raw.sum(axis=1)[:, None, None]
    np.testing.assert_allclose(result.class_mean, scaled.mean(axis=0), rtol=1e-12, atol=1e-18)
    np.testing.assert_allclose(result.class_mean_abs, np.abs(scaled).mean(axis=0), rtol=1e-12)
    assert (result.n_runs, result.n_rejected, result.k) == (4, 0, 5)


def test_scale_of_a_run_does_not_matter():
    one, other = Consensus(2000), Consensus(2000)
    for seed in range(3):
        one.add(run(needles(seed)))
        other.add(run(needles(seed) * 2.0 ** (10 * seed)))
    np.testing.assert_array_equal(one.result().importance, other.result().importance)


@pytest.mark.parametrize(
    ("importance", "why"),
    [
        (np.zeros(6), "zero"),
        (np.full(6, 0.3), "equal"),
        (np.array([1.0, np.nan, 0.0, 0.0, 0.0, np.nan]), "2 importances are not finite"),
        (np.array([1.0, np.inf, 0.0, 0.0, 0.0, 0.0]), "1 importances are not finite"),
    ],
)
def test_run_that_ranks_nothing_is_rejected(importance, why):
    consensus = Consensus(6)
    assert consensus.add(run([3.0, 2.0, 1.0, 1.0, 0.0, 0.0]))
    before = consensus.result()
    assert not consensus.add(run(importance))
    assert why in consensus.rejected[0]
    after = consensus.result()
    np.testing.assert_array_equal(before.importance, after.importance)
    assert (after.n_runs, after.n_rejected) == (1, 1)


def test_no_accepted_run():
    consensus = Consensus(4)
    consensus.add(run(np.zeros(4), np.zeros((2, 4))))
    result = consensus.result()
    for values in (
        result.importance,
        result.importance_median,
        result.importance_std,
        result.mean_rank,
        result.rank,
    ):
        assert values.shape == (4,)
        assert np.isnan(values).all()
    np.testing.assert_array_equal(result.selection_frequency, 0.0)
    assert result.n_runs == 0
    assert not result.converged


def test_ties():
    consensus = Consensus(6, k=3)
    # 5 and 4 are in the top 3; the group of 1s straddles the third place and is left out; zeros have no rank.
    consensus.add(run([1.0, 5.0, 1.0, 4.0, 0.0, 0.0]))
    result = consensus.result()
    np.testing.assert_array_equal(result.selection_frequency, [0, 1, 0, 1, 0, 0])
    np.testing.assert_array_equal(result.rank, [3.5, 1, 3.5, 2, np.nan, np.nan])
    np.testing.assert_array_equal(result.mean_rank, [3.5, 1, 3.5, 2, 5.5, 5.5])
    assert np.isnan(result.importance_std).all()  # one run has no spread


def test_class_without_samples_is_left_out_of_its_mean():
    consensus = Consensus(2, k=1)
    consensus.add(run([3.0, 1.0], [[2.0, 0.0], [0.0, 0.0], [0.0, 0.0]], np.array([5, 0, 0])))
    consensus.add(run([3.0, 1.0], [[4.0, 0.0], [-4.0, 8.0], [0.0, 0.0]], np.array([5, 1, 0])))
    result = consensus.result()
    np.testing.assert_array_equal(result.class_mean, [[0.75, 0.0], [-1.0, 2.0], [np.nan, np.nan]])
    np.testing.assert_array_equal(result.class_mean_abs, [[0.75, 0.0], [1.0, 2.0], [np.nan, np.nan]])


def test_class_with_nan_is_left_out_of_its_mean():
    consensus = Consensus(2, k=1)
    consensus.add(run([3.0, 1.0], [[4.0, 0.0], [np.nan, np.nan]]))
    consensus.add(run([3.0, 1.0], [[8.0, 0.0], [4.0, 4.0]]))
    np.testing.assert_array_equal(consensus.result().class_mean, [[1.5, 0.0], [1.0, 1.0]])


def test_needles_converge_and_rank_first_among_noise():
    consensus = Consensus(2000)
    states = []
    for seed in range(3):
        consensus.add(run(needles(seed)))
        states.append(consensus.converged)
    assert states == [False, False, True]  # min_runs is 3
    assert set(np.argsort(consensus.result().rank)[:2]) == {19, 1700}


def test_noise_does_not_converge():
    consensus = Consensus(2000)
    for seed in range(6):
        consensus.add(run(np.random.default_rng(seed).gamma(2.0, 0.5, 2000)))
    assert consensus.agreement < 0.9
    assert not consensus.converged


def test_one_run_that_disagrees_prevents_convergence():
    consensus = Consensus(2000)
    for seed in range(3):
        consensus.add(run(needles(seed)))
    other = needles(9)
    other[[19, 1700]], other[[5, 6]] = 1.0, 50.0
    consensus.add(run(other))
    assert not consensus.converged


def test_agreement_is_the_smallest_over_runs_left_out_in_any_order():
    values = [[8.0, 4.0, 1.0, 1.0, 0.0], [6.0, 6.0, 1.0, 1.0, 0.0], [9.0, 1.0, 3.0, 1.0, 0.0]]

    def standing(runs):
        mean = np.mean([np.array(v) / np.sum(v) for v in runs], axis=0)
        return np.maximum(mean - np.sort(mean)[-3], 0.0)  # k = 2: above the third largest

    whole = standing(values)
    expected = min(
        np.minimum(whole, part).sum() / np.maximum(whole, part).sum()
        for part in (standing(values[:i] + values[i + 1 :]) for i in range(3))
    )
    for order in ([0, 1, 2], [2, 0, 1]):
        consensus = Consensus(5, k=2)
        for i in order:
            consensus.add(run(values[i]))
        # Some ten additions of numbers below 1 in either computation, then one division.
        assert consensus.agreement == pytest.approx(expected, abs=1e-14)


def test_agreement_of_identical_runs_is_one_and_of_one_run_is_nan():
    consensus = Consensus(4, k=2, tolerance=0.0)
    consensus.add(run([4.0, 2.0, 1.0, 1.0]))
    assert np.isnan(consensus.agreement)
    consensus.add(run([4.0, 2.0, 1.0, 1.0]))
    assert consensus.agreement == 1.0
    assert not consensus.converged  # two runs are below min_runs


def test_nothing_stands_out_when_the_top_is_tied():
    consensus = Consensus(4, k=2)
    for _ in range(3):
        consensus.add(run([1.0, 1.0, 1.0, 0.0]))
    assert consensus.agreement == 0.0
    assert not consensus.converged


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"n_features": 0}, "n_features"),
        ({"n_features": 5, "k": 0}, "k must be a positive integer"),
        ({"n_features": 5, "tolerance": 1.5}, "tolerance"),
        ({"n_features": 5, "min_runs": 1}, "min_runs"),
    ],
)
def test_bad_parameters(arguments, named):
    with pytest.raises(InputError, match=named):
        Consensus(**arguments)


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        (run([1.0, 2.0]), r"importance must have shape \(3,\), got \(2,\)"),
        (run([1.0, -2.0, 0.0]), "importance must be 0 or more, got -2.0"),
        (run([1.0, 2.0, 3.0], np.ones((2, 4))), r"class_mean must have shape \(2, 3\), got \(2, 4\)"),
        (run([1.0, 2.0, 3.0], np.ones((2, 3)), np.ones(3)), "class_count"),
    ],
)
def test_bad_run(bad, named):
    with pytest.raises(InputError, match=named):
        Consensus(3).add(bad)


def test_number_of_classes_must_stay():
    consensus = Consensus(2, k=1)
    consensus.add(run([1.0, 2.0], np.ones((2, 2))))
    with pytest.raises(InputError, match=r"\(2, 2\), got \(3, 2\)"):
        consensus.add(run([1.0, 2.0], np.ones((3, 2))))
