from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import rankdata

from pixfold.errors import InputError
from pixfold.learn.agreement import rank_biased_overlap
from pixfold.learn.consensus import Consensus, RunImportance, default_k, effective_number


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
    # Four networks, four scales; a third of the evidence is negative.
    raw = (rng.gamma(2.0, size=(4, 50)) - 1.2) * np.array([1.0, 1e3, 1e-6, 7.0])[:, None]
    means = rng.normal(size=(4, 3, 50)) * raw[:, None]
    consensus = Consensus(50, k=5)
    for importance, class_mean in zip(raw, means, strict=True):
        assert consensus.add(run(importance, class_mean))
    result = consensus.result()

    total = np.abs(raw).sum(axis=1)
    shares = raw / total[:, None]
    ranks = np.stack([rankdata(-row) for row in shares])
    mean = shares.mean(axis=0)
    # Terms of both signs: a few roundings of the largest.
    np.testing.assert_allclose(result.importance, mean, rtol=0, atol=1e-15 * np.abs(shares).max())
    # A variance from sums of squares loses the digits that the squared mean has before it.
    largest = (shares**2).mean(axis=0).max()
    variance = shares.var(axis=0, ddof=1) / 4
    np.testing.assert_allclose(result.importance_se**2, variance, rtol=0, atol=1e-14 * largest)
    np.testing.assert_allclose(result.mean_rank, ranks.mean(axis=0), rtol=1e-14)
    np.testing.assert_array_equal(result.selection_frequency, (ranks <= 5).mean(axis=0))
    np.testing.assert_array_equal(result.rank, np.where(mean > 0, rankdata(-mean), np.nan))
    assert 0 < np.isnan(result.rank).sum() < 50
    scaled = means / total[:, None, None]
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
        result.importance_se,
        result.saliency,
        result.mean_rank,
        result.rank,
    ):
        assert values.shape == (4,)
        assert np.isnan(values).all()
    np.testing.assert_array_equal(result.selection_frequency, 0.0)
    np.testing.assert_array_equal(result.direction, -1)
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
    assert np.isnan(result.importance_se).all()  # one run has no spread


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


def signal(seed: int, n: int = 2000, spread: float = 0.05) -> np.ndarray:
    """Noise of both signs, and twenty features of falling evidence far above it."""
    rng = np.random.default_rng(seed)
    importance = rng.standard_normal(n)
    importance[:20] = np.linspace(400.0, 50.0, 20) * (1.0 + spread * rng.standard_normal(20))
    return importance


def test_what_stands_out_converges_and_ranks_first_among_noise():
    consensus = Consensus(2000, k=5)
    states = []
    for seed in range(4):
        consensus.add(run(signal(seed, spread=0.01)))
        states.append(consensus.converged)
    assert states == [False, True, True, True]  # min_runs is 2
    assert np.argsort(consensus.result().rank)[:20].tolist() == list(range(20))


@pytest.mark.parametrize(
    ("evidence", "number"),
    [
        ([5.0, 0.0, 0.0, 0.0], 1),
        ([1.0, 1.0, 0.0, -0.9], 2),
        ([1.0, 1.0, 0.0, -9.0], 1),  # nothing is above the noise
        ([1.0] * 30, 10),  # k at most
        ([4.0, 2.0, 1.0], 2),  # 49 / 21
        ([-1.0, 0.0], 1),
        ([10.0, 10.0, *([0.01] * 100)], 2),
    ],
)
def test_effective_number_of_features(evidence, number):
    assert effective_number(np.array(evidence), 10) == number


def test_two_needles_converge_although_the_order_of_noise_never_does():
    """The features that carry the evidence are compared, not as many as the top could hold."""
    consensus = Consensus(2000)
    for seed in range(4):
        importance = np.random.default_rng(seed).standard_normal(2000)
        importance[[19, 1700]] = 900.0, 600.0
        consensus.add(run(importance))
    assert consensus.k == 20
    assert consensus.converged
    assert consensus.result().rank[[19, 1700]].tolist() == [1, 2]


def test_needles_rank_first_among_noise():
    consensus = Consensus(2000)
    for seed in range(3):
        consensus.add(run(needles(seed)))
    assert set(np.argsort(consensus.result().rank)[:2]) == {19, 1700}


def test_noise_cancels_and_what_runs_share_stays():
    """Noise of n runs with both signs shrinks as the root of n; a feature that all runs see keeps its share."""
    n_features, n_runs = 4000, 64
    rng = np.random.default_rng(0)
    signed, unsigned = Consensus(n_features), Consensus(n_features)
    for _ in range(n_runs):
        importance = rng.standard_normal(n_features)
        importance[7] = 1.0  # far inside the noise of one run
        signed.add(run(importance))
        unsigned.add(run(np.abs(importance)))
    result = signed.result()
    shares = result.importance * n_features * np.sqrt(2 / np.pi)  # the mean of |noise| is sqrt(2 / pi)
    # One standard deviation of noise is 1 / 8 now: 4,000 features reach 4.8 of them one time in a hundred.
    assert np.delete(shares, 7).std() == pytest.approx(1 / 8, rel=0.05)
    assert shares[7] == pytest.approx(1.0, rel=0.02)
    assert result.rank[7] == 1
    # About half of what is noise speaks against the truth and has no rank: five standard deviations of a binomial.
    assert abs(np.isnan(result.rank).sum() - n_features / 2) < 5 * np.sqrt(n_features) / 2
    # The error says how far the runs differ; the noise has a standard deviation of 1 in a run.
    errors = np.delete(result.importance_se, 7) * n_features * np.sqrt(2 / np.pi)
    assert np.median(errors) == pytest.approx(1 / 8, rel=0.05)
    # Without signs noise has a mean, 2.7 standard deviations below the feature: some 14 of 4,000 are above it.
    assert unsigned.result().rank[7] > 5


def test_direction_is_the_class_whose_score_rises_most():
    importance, means = np.array([3.0, 2.0, 1.0, 1.0]), np.zeros((3, 4))

    def add(consensus, gradient, count):
        consensus.add(RunImportance(importance, means, means, 6, np.array(count), importance, np.array(gradient)))

    consensus = Consensus(4, k=1)
    add(consensus, [[1.0, -1.0, 0.0, 1.0], [0.0, 2.0, 0.0, 0.0], [-1.0, -1.0, 0.0, -1.0]], [2, 2, 2])
    # The third class has no sample here: its row says nothing, whatever stands in it.
    add(consensus, [[1.0, -1.0, 0.0, -3.0], [0.0, 2.0, 0.0, 1.0], [9.0, 9.0, 9.0, 9.0]], [3, 3, 0])
    result = consensus.result()
    # Means: class 0 (1, -1, 0, -1), class 1 (0, 2, 0, 0.5), class 2 (-1, -1, 0, -1); all equal has no direction.
    assert result.direction.tolist() == [0, 1, -1, 1]
    np.testing.assert_allclose(result.saliency, importance / 7, rtol=1e-15)


def test_direction_and_saliency_are_not_known_without_gradients():
    consensus = Consensus(2, k=1)
    consensus.add(run([3.0, 1.0], [[2.0, 0.0], [1.0, 0.0]]))
    result = consensus.result()
    assert result.direction.tolist() == [-1, -1]
    assert np.isnan(result.saliency).all()


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


def test_agreement_of_two_runs_is_the_overlap_of_their_lists():
    one, other = np.array([8.0, -0.4, 1.0, 0.5, 0.0]), np.array([6.0, -0.6, 2.0, 0.0, 3.0])
    consensus = Consensus(5, k=2)
    consensus.add(run(one))
    consensus.add(run(other))
    # However they are halved, each half is one run; their scale changes no order.
    assert effective_number(one / 9.9 + other / 11.6, 2) == 2
    assert consensus.agreement == pytest.approx(rank_biased_overlap(one, other, 2), abs=1e-15)


@pytest.mark.parametrize("n_runs", [3, 4, 7, 8])
def test_agreement_is_of_two_halves_that_leave_no_run_out(n_runs):
    """The mean overlap over some of the ways to halve the runs, so between the least and the greatest over all."""
    rng = np.random.default_rng(n_runs)
    values = rng.standard_normal((n_runs, 30)) + np.linspace(2, 0, 30)
    consensus = Consensus(30, k=3)
    for value in values:
        consensus.add(run(value))
    shares = values / np.abs(values).sum(axis=1, keepdims=True)
    overlaps, depth = [], effective_number(shares.sum(axis=0), 3)
    for half in combinations(range(n_runs), n_runs // 2):
        inside = np.isin(np.arange(n_runs), half)
        overlaps.append(rank_biased_overlap(shares[inside].sum(axis=0), shares[~inside].sum(axis=0), depth))
    # Of 7 and 8 runs there are more ways than halvings, and the mean is inside; of 3 they may all be the same.
    assert min(overlaps) - 1e-12 <= consensus.agreement <= max(overlaps) + 1e-12
    assert consensus.agreement == consensus.result().agreement


def test_agreement_of_identical_runs_is_one_and_of_one_run_is_nan():
    consensus = Consensus(4, k=2, tolerance=0.0, min_runs=4)
    for n_runs in range(1, 5):
        consensus.add(run([4.0, 2.0, -1.0, -3.0]))
        assert np.isnan(consensus.agreement) if n_runs == 1 else consensus.agreement == 1.0
        assert consensus.converged == (n_runs == 4)  # fewer are below min_runs


def test_the_curve_has_the_agreement_after_each_run_that_was_asked_for_it():
    rng, consensus, seen = np.random.default_rng(0), Consensus(20, k=4), []
    for number in range(1, 6):
        assert consensus.add(RunImportance(rng.random(20), np.empty((0, 20)), np.empty((0, 20)), 3))
        seen.append(np.nan if number == 3 else consensus.agreement)
    curve = consensus.result().agreement_curve
    np.testing.assert_array_equal(curve, seen)
    assert np.isnan(curve[0])
    assert curve[-1] == consensus.agreement


def test_nothing_stands_out_when_the_top_is_tied():
    """Features of one value have no order: two lists of them overlap as lists in any order would."""
    consensus = Consensus(40, k=2)
    for _ in range(4):
        consensus.add(run([1.0] * 39 + [0.0]))
    assert consensus.agreement < 0.5
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
