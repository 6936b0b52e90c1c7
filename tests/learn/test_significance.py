"""p-values from permuted labels and from held-out samples."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, false_discovery_control, kstest, norm

from pixfold.learn.significance import LEVEL, adjusted, by_held_out, by_permutation


def binomial(n, probability=LEVEL, outside=1e-4):
    """Counts that n trials stay within, but for a share ``outside`` of the times on each side."""
    return binom.ppf(outside, n, probability), binom.isf(outside, n, probability)


def null_job(rng, n_permutations=19, n_features=50):
    """Evidence and scores of labellings none of which is special; the score goes with the evidence, as in a job."""
    evidence = rng.standard_normal((1 + n_permutations, n_features))
    scores = evidence[:, :5].sum(axis=1) + rng.standard_normal(1 + n_permutations)
    return by_permutation(evidence, scores, used=np.ones(n_features, dtype=bool), fdr=0.1)


def test_permutation_p_values_of_noise_are_uniform():
    rng = np.random.default_rng(0)
    p = np.array([null_job(rng).p for _ in range(400)])
    # Features of one job are compared with one pool of permuted evidence, which makes them depend on each other a
    # little; of one feature of each job the p-values are independent.
    low, high = binomial(400)
    assert low <= (p[:, 0] <= LEVEL).sum() <= high
    assert kstest(p[:, 0], "uniform").pvalue > 1e-4
    assert abs(p.mean() - 0.5) < 0.01
    assert p.min() >= 1 / (1 + 19 * 50)


@pytest.mark.parametrize("n_permutations", [19, 99])
def test_level_of_the_test_of_the_job(n_permutations):
    """Exchangeable labellings: the true one is as often among the best 5 % as any other."""
    rng = np.random.default_rng(1)
    n = 2000
    test_p = np.array([null_job(rng, n_permutations).test_p for _ in range(n)])
    # min-p of two p-values over 20 labellings is discrete, and ties count against the job: no more than the level.
    low, high = binomial(n)
    assert (test_p <= LEVEL).sum() <= high
    # Not all of the level is lost to ties; of 20 labellings the true one must be the best in both, or nearly so.
    assert (test_p <= LEVEL).sum() >= (low / 2 if n_permutations == 99 else 1)
    for level in (0.1, 0.2, 0.5):
        assert (test_p <= level + 1e-12).sum() <= binomial(n, level)[1]


def test_either_the_score_or_one_feature_is_enough():
    rng = np.random.default_rng(2)
    evidence, scores = rng.standard_normal((100, 40)), rng.random(100)
    used = np.ones(40, dtype=bool)
    evidence[0], scores[0] = np.sort(evidence[0])[::-1] * 0.5, 0.5
    nothing = by_permutation(evidence, scores, used=used, fdr=0.1)
    assert nothing.test_p > LEVEL
    assert not nothing.called.any()
    scores[0] = 2.0
    assert by_permutation(evidence, scores, used=used, fdr=0.1).test_p <= 0.02
    scores[0] = 0.5
    evidence[0, 3] = 20.0
    strong = by_permutation(evidence, scores, used=used, fdr=0.1)
    assert strong.test_p <= 0.02
    assert strong.called.tolist() == [j == 3 for j in range(40)]
    assert strong.p[3] == 1 / (1 + 99 * 40)
    assert (strong.method, strong.n_permutations) == ("permuted labels", 99)


def test_permutation_p_values_against_their_definition():
    rng = np.random.default_rng(3)
    evidence = rng.integers(-3, 4, (5, 8)).astype(np.float32)  # with ties
    used = np.array([True] * 6 + [False] * 2)
    evidence[:, 6:] = 99.0  # of features that are not used: no part of the pool
    found = by_permutation(evidence, rng.random(5), used=used, fdr=0.1)
    pool = evidence[1:, :6].ravel()
    expected = [(1 + (pool >= own).sum()) / (1 + pool.size) for own in evidence[0, :6]]
    np.testing.assert_allclose(found.p, [*expected, 1.0, 1.0], rtol=1e-15)
    assert found.q[6:].tolist() == [1.0, 1.0]
    assert not found.called[6:].any()


def test_min_p_against_its_definition():
    rng = np.random.default_rng(4)
    for _ in range(50):
        evidence, scores = rng.standard_normal((20, 6)), rng.integers(0, 8, 20) / 8  # scores tie often
        found = by_permutation(evidence, scores, used=np.ones(6, dtype=bool), fdr=0.1)
        largest = evidence.max(axis=1)
        tails = [(np.mean(scores >= s), np.mean(largest >= e)) for s, e in zip(scores, largest, strict=True)]
        ordered = [(min(pair), max(pair)) for pair in tails]  # ties of the smaller one go by the other
        assert found.test_p == np.mean([pair <= ordered[0] for pair in ordered])


def of_p(p):
    """Evidence in standard errors that has these p-values."""
    return norm.isf(np.asarray(p))


def test_nothing_is_called_where_the_labels_cannot_be_learned():
    """However small the q-values are."""
    z, used = np.full((3, 10), 6.0), np.ones(10, dtype=bool)
    sure = by_held_out(z, np.full(3, 0.001), used=used, fdr=0.1)
    assert sure.called.all()
    unsure = by_held_out(z, np.full(3, 0.2), used=used, fdr=0.1)
    assert unsure.test_p == pytest.approx(0.4)
    assert (unsure.q < 0.1).all()
    assert not unsure.called.any()
    # Exactly at the level counts as learned.
    at = by_held_out(z[:1], np.array([LEVEL]), used=used, fdr=0.1)
    assert at.test_p == LEVEL
    assert at.called.all()


def test_held_out_p_values_are_twice_their_mean():
    p = np.array([[0.01, 0.5, 0.2, 0.9], [0.03, 0.45, 0.1, 0.9]])
    # Nothing of what is used lies far below zero: the spread is that of the standard errors.
    found = by_held_out(of_p(p), np.array([0.01, 0.02]), used=np.array([True, True, True, False]), fdr=0.1)
    np.testing.assert_allclose(found.p, [0.04, 0.95, 0.3, 1.0])
    assert found.test_p == pytest.approx(0.03)
    assert (found.method, found.n_permutations) == ("held-out samples", 0)
    alone = by_held_out(of_p(p[:1]), np.array([0.02]), used=np.ones(4, dtype=bool), fdr=0.1)
    # 0.9 is at -1.28: one standard error and a little, which takes the place of one.
    np.testing.assert_allclose(alone.p, norm.sf(of_p(p[0]) / max(1.0, of_p(0.9) * -1)))
    assert alone.test_p == 0.02


def test_spread_is_taken_from_the_evidence_against_the_truth():
    """Standard errors that are half of what they should be: without it 2 % of noise would have p below 0.01 / 2."""
    rng = np.random.default_rng(8)
    z = 2.0 * rng.standard_normal((1, 20_000))
    z[0, :20] += 12.0
    found = by_held_out(z, np.array([0.01]), used=np.ones(20_000, dtype=bool), fdr=0.1)
    assert (found.p[20:] <= 0.01).sum() <= binomial(20_000, 0.01)[1]
    assert found.called[:20].sum() > 15
    assert found.called[20:].sum() < 10


def test_no_q_value_is_below_the_share_of_as_much_evidence_against_the_truth():
    """Tails that no normal distribution has: as many are as far on the other side."""
    rng = np.random.default_rng(9)
    z = rng.standard_t(2, (1, 5000))
    found = by_held_out(z, np.array([0.01]), used=np.ones(5000, dtype=bool), fdr=0.1)
    for level in (1.0, 2.0, 4.0):
        above, below = (z[0] >= level).sum(), (z[0] <= -level).sum()
        nearest = np.flatnonzero(z[0] >= level)[np.argmin(z[0][z[0] >= level])]
        least = min((z[0] <= -x).sum() / (z[0] >= x).sum() for x in z[0][(z[0] > 0) & (z[0] <= level + 1e-12)])
        assert found.q[nearest] >= min(1.0, below / above, least) - 1e-12
    assert found.called.mean() < 0.01
    assert (found.q[z[0] <= 0] == 1).all()


@pytest.mark.parametrize("shared", [0.0, 0.5, 1.0])
def test_merged_p_values_are_valid_however_the_runs_depend(shared):
    """Runs that share all, some or none of their samples."""
    rng = np.random.default_rng(5)
    n = 4000
    common = rng.standard_normal(n)
    z = np.sqrt(shared) * common + np.sqrt(1 - shared) * rng.standard_normal((5, n))
    found = by_held_out(z, np.full(5, 0.01), used=np.ones(n, dtype=bool), fdr=0.1)
    for level in (0.01, 0.05, 0.2):
        assert (found.p <= level).sum() <= binomial(n, level)[1]


def test_q_values_are_those_of_scipy_over_the_features_that_were_used():
    rng = np.random.default_rng(6)
    p = rng.random(200) ** 3
    used = rng.random(200) < 0.7
    q = adjusted(p, used)
    np.testing.assert_array_equal(q[used], false_discovery_control(p[used], method="bh"))
    assert (q[~used] == 1).all()
    assert (adjusted(p, np.zeros(200, dtype=bool)) == 1).all()
    # Benjamini and Hochberg, written out.
    order = np.argsort(p[used])
    stepped = p[used][order] * used.sum() / np.arange(1, used.sum() + 1)
    np.testing.assert_allclose(q[used][order], np.minimum.accumulate(stepped[::-1])[::-1].clip(max=1), rtol=1e-14)


def test_false_discovery_rate():
    """Share of false ones among what is called, over jobs of 20 real features in 200."""
    rng = np.random.default_rng(7)
    shares = []
    for _ in range(300):
        evidence = rng.standard_normal((50, 200))
        evidence[0, :20] += 4.0
        found = by_permutation(evidence, rng.random(50), used=np.ones(200, dtype=bool), fdr=0.1)
        assert found.test_p <= LEVEL or found.called.sum() == 0
        if found.called.any():
            shares.append(found.called[20:].sum() / found.called.sum())
    assert len(shares) > 200
    # Benjamini and Hochberg promise 0.1 x 180 / 200; three standard errors beside it.
    assert np.mean(shares) <= 0.09 + 3 * np.std(shares) / np.sqrt(len(shares))
