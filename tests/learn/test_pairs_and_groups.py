"""Jobs with pairs that tell classes apart only together, with groups, and what stands beside the evidence."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import pixfold as pf
from pixfold.learn.significance import Significance, with_pairs

torch = pytest.importorskip("torch")
SETTINGS = {"random_state": 0, "normalize": "zscore", "n_runs": 8, "device": "cpu", "threads": 1}


def classifier(**settings) -> pf.DeepMapperClassifier:
    return pf.DeepMapperClassifier(**{**SETTINGS, "baselines": False, **settings})


def xor(n=140, p=300, wrong=0.05, seed=0):
    """Features 11 and 200 say the class together; one label in twenty is wrong."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p)).astype(np.float32)
    y = ((X[:, 11] > 0) ^ (X[:, 200] > 0)).astype(int)
    return X, np.where(rng.random(n) < wrong, 1 - y, y)


@pytest.fixture(scope="module")
def together():
    X, y = xor()
    return X, y, classifier(n_runs=12).fit(X, y)


def test_a_pair_is_found_ranked_and_called(together):
    _, _, clf = together
    findings = clf.findings_
    assert set(findings.index[:2]) == {11, 200}
    assert findings["called"].sum() == 2
    pairs = clf.results_.pairs
    assert pairs.loc[0, ["feature_a", "feature_b"]].tolist() == ["feature_11", "feature_200"]
    assert clf.metrics_["n_pairs_called"] == 1
    assert clf.metrics_["balanced_accuracy"] > 0.7  # of held-out samples: each alone is at chance


def test_without_the_screen_it_is_not(together):
    X, y, _ = together
    clf = classifier(pair_screen=False).fit(X, y)
    assert clf.results_.pairs is None
    assert not clf.findings_["called"].any()


def test_the_network_predicts_by_the_pair_and_keeps_it_when_saved(together, tmp_path):
    _, _, clf = together
    X, y = xor(seed=1)
    assert clf.score(X, y) > 0.8
    clf.save(tmp_path / "model")
    np.testing.assert_array_equal(pf.load(tmp_path / "model").predict_proba(X), clf.predict_proba(X))


def test_no_pairs_where_samples_belong_together(together):
    X, y, _ = together
    clf = classifier(pair_screen=True).fit(X, y, groups=np.arange(140) // 5)
    assert clf.results_.pairs is None


def test_pairs_count_within_the_declared_rate_alone():
    p = np.array([0.5, 0.5, 0.5])
    found = Significance(p, p, np.zeros(3, dtype=bool), 0.6, "permuted labels", 99)
    pairs = SimpleNamespace(feature_a=np.array([0]), feature_b=np.array([2]), p_bonferroni=np.array([0.008]))
    assert with_pairs(found, pairs, fdr=0.1).called.tolist() == [True, False, True]
    assert not with_pairs(found, pairs, fdr=0.001).called.any()
    assert with_pairs(found, pairs, fdr=0.1).test_p == 0.008
    assert found.test_p == 0.6


def donors(seed, n_features=300):
    """Five donors in each class, each with effects of its own on all features: no class differs, but by its donors."""
    rng = np.random.default_rng(seed)
    of_sample = np.repeat(np.arange(10), 8)
    X = rng.standard_normal((80, n_features)) + rng.standard_normal((10, n_features))[of_sample]
    return X.astype(np.float32), (of_sample % 2).astype(int), of_sample


def test_donors_alone_are_no_finding():
    """With 10 donors there are 31 other ways to deal out the classes, so p is 1/32 in one job of 32."""
    told = [classifier(random_state=seed).fit(*donors(seed)[:2], groups=donors(seed)[2]) for seed in range(12)]
    assert all(clf.metrics_["n_permutations"] == 31 for clf in told)
    # 12 jobs at a level of 0.05: 5 or more come about in 2 of 10,000.
    assert sum(clf.findings_["called"].any() for clf in told) < 5
    assert sum(clf.findings_["rank"].notna().any() for clf in told) < 5


def test_donors_that_are_not_named_look_like_a_finding():
    """What the groups are for: the same data without them."""
    clf = classifier(pair_screen=False).fit(*donors(0)[:2])
    assert clf.findings_["called"].any()


@pytest.fixture(scope="module")
def planted():
    rng = np.random.default_rng(5)
    y = np.arange(80) % 2
    X = rng.standard_normal((80, 200)).astype(np.float32)
    X[:, [3, 50]] += np.outer(y, [3.0, 3.0]).astype(np.float32)
    return X, y, classifier(baselines=True).fit(X, y)


def test_stability_of_what_is_there_and_of_noise(planted):
    X, y, clf = planted
    frequency, about = clf.findings_.sort_index()["stability"], clf.metrics_["stability"]
    assert (frequency[[3, 50]] == 1.0).all()
    assert about["threshold"] is not None
    assert 0.5 < about["threshold"] <= 1.0
    # At most one false selection is expected.
    assert set(np.flatnonzero(frequency >= about["threshold"])) >= {3, 50}
    assert about["n_features"] <= 2 + 3
    assert "stability" not in classifier().fit(X, y, groups=np.arange(80) // 4).findings_


def test_simple_methods_stand_beside(planted):
    _, _, clf = planted
    findings = clf.findings_.sort_index()
    for column in ("rank_test", "rank_l1", "rank_l2"):
        assert set(findings[column].nsmallest(2).index) == {3, 50}
    assert findings["test_q"].nsmallest(2).max() < 1e-6
    assert clf.metrics_["baselines"]["test"]["n_called"] >= 2
    assert any("a simple method does" in message for message in clf.results_.messages)


def test_nothing_does_as_well_as_what_learned_nothing():
    rng = np.random.default_rng(7)
    clf = classifier(baselines=True).fit(rng.standard_normal((60, 200)).astype(np.float32), np.arange(60) % 2)
    assert clf.metrics_["n_accepted"] == 0
    assert not any("a simple method" in message for message in clf.results_.messages)
