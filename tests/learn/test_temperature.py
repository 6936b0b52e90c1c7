"""One factor on the scores makes probabilities as sharp as the held-out samples say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pixfold.learn.additive.temperature import temperature


def drawn(n, n_classes, seed, spread=2.0):
    """Logits, and labels drawn by their softmax with all classes as likely."""
    rng = np.random.default_rng(seed)
    logits = spread * rng.standard_normal((n, n_classes))
    chances = np.exp(logits - logits.max(1, keepdims=True))
    chances /= chances.sum(1, keepdims=True)
    labels = (rng.random((n, 1)) > chances.cumsum(1)).sum(1)
    return logits, labels.clip(max=n_classes - 1)


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("factor", [1e-3, 0.2, 1.0, 30.0, 1e6])
def test_a_known_factor_is_found(factor, n_classes):
    logits, labels = drawn(4000, n_classes, seed=0)
    scores = torch.from_numpy(logits / factor).float()
    # Its standard error is some 1 / sqrt(n) of it, and classes that came unequally often move it as little.
    assert temperature([(np.arange(4000), scores)], labels) == pytest.approx(factor, rel=0.1)


def test_runs_are_taken_together():
    logits, labels = drawn(300, 3, seed=1)
    scores = torch.from_numpy(logits).float()
    whole = temperature([(np.arange(300), scores)], labels)
    rows = np.random.default_rng(0).permutation(300)
    parts = [(rows[:100], scores[rows[:100]]), (rows[100:], scores[rows[100:]])]
    assert temperature(parts, labels) == pytest.approx(whole, rel=1e-6)


def test_scores_that_say_nothing_are_made_flat():
    rng = np.random.default_rng(2)
    scores = torch.from_numpy(rng.standard_normal((2000, 2))).float()
    factor = temperature([(np.arange(2000), scores)], rng.integers(0, 2, 2000))
    assert 0 < factor < 0.1


def test_scores_that_are_always_right_are_made_sharp_but_stay_finite():
    labels = np.arange(40) % 2
    scores = torch.nn.functional.one_hot(torch.from_numpy(labels), 2).float()
    factor = temperature([(np.arange(40), scores)], labels)
    assert 10 < factor < np.inf


def test_class_that_cannot_be_named_does_not_count():
    """Its score is minus infinity where it has no training sample; its held-out samples have no loss then."""
    logits, labels = drawn(500, 2, seed=3)
    scores = torch.cat([torch.from_numpy(logits).float(), torch.full((500, 1), -torch.inf)], dim=1)
    expected = temperature([(np.arange(500), scores[:, :2])], labels)
    assert temperature([(np.arange(500), scores)], labels) == pytest.approx(expected, rel=0.02)
    labels[:50] = 2
    assert np.isfinite(temperature([(np.arange(500), scores)], labels))
    assert temperature([(np.arange(500), scores)], np.full(500, 2)) == 1.0


def test_scores_of_zero():
    assert np.isfinite(temperature([(np.arange(6), torch.zeros(6, 2))], np.arange(6) % 2))
