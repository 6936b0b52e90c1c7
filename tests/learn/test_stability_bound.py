from __future__ import annotations

import numpy as np
import pytest

from pixfold.errors import InputError
from pixfold.learn.stability_bound import ASSUMPTIONS, false_selection_bounds, r_concave_tail, threshold_for

# What the R package stabs 0.6 prints for p = 100, cutoff 0.6, B = 50 and q = 1, 2, ... (tests/regtest-inference.R).
STABS = {
    "exchangeable": (0.05, 0.2, 0.45, 0.8, 1.25, 1.8, 2.45, 3.2, 4.05, 5.0),
    "unimodal": (
        0.02631579,
        0.1052632,
        0.2368421,
        0.4210526,
        0.6578947,
        0.9473684,
        1.289474,
        1.684211,
        2.131579,
        2.631579,
    ),
    "r-concave": (
        0.006971364,
        0.03342845,
        0.08691176,
        0.1637231,
        0.2605329,
        0.3820466,
        0.5295188,
        0.7042719,
        0.9077127,
        1.141338,
    ),
}


@pytest.mark.parametrize("assumption", ["exchangeable", "unimodal"])
def test_closed_formulas_against_stabs(assumption):
    ours = [false_selection_bounds(100, q, 0.6).under(assumption) for q in range(1, 11)]
    # Seven digits are printed.
    np.testing.assert_allclose(ours, STABS[assumption], rtol=5e-7)


def test_r_concave_against_stabs():
    ours = np.array([false_selection_bounds(100, q, 0.6).r_concave for q in range(1, 11)])
    # R's optimize() stays inside of its intervals, so that it misses a maximum at an end by a little.
    assert np.all(ours >= np.array(STABS["r-concave"]) * (1 - 5e-7))
    np.testing.assert_allclose(ours, STABS["r-concave"], rtol=5e-3)
    np.testing.assert_allclose(ours[4:], STABS["r-concave"][4:], rtol=5e-6)


def test_published_thresholds():
    # The same tests of stabs: p = 200, q = 7, PFER = 0.2.
    assert threshold_for(0.2, 200, 7) == 0.62
    assert threshold_for(0.2, 200, 7, assumption="unimodal") == 0.81
    assert false_selection_bounds(200, 6, 0.6).r_concave == pytest.approx(0.174, abs=5e-4)
    assert false_selection_bounds(200, 7, 0.6).r_concave == pytest.approx(0.248, abs=5e-4)
    assert false_selection_bounds(10, 3, 0.96).unimodal == pytest.approx(0.176, abs=5e-4)
    # A bound that even a threshold of 1 does not give.
    assert threshold_for(1e-9, 10, 5, n_pairs=2) is None


def test_bounds_by_hand():
    bounds = false_selection_bounds(1000, 50, 0.9)
    assert bounds.worst_case == bounds.exchangeable == pytest.approx(2.5 / 0.8)
    assert bounds.unimodal == pytest.approx(2.5 * 4 * (0.1 + 0.01) / 1.02)
    assert bounds.r_concave < bounds.unimodal
    below = false_selection_bounds(1000, 50, 0.7)
    assert below.unimodal == pytest.approx(2.5 / (2 * (0.4 - 0.01)))


@pytest.mark.parametrize("q", [1, 30, 300, 999, 1000])
def test_bounds_fall_with_the_threshold_and_with_stronger_assumptions(q):
    thresholds = np.arange(51, 101, 7) / 100
    rows = [false_selection_bounds(1000, q, threshold) for threshold in thresholds]
    for assumption in ASSUMPTIONS:
        values = [row.under(assumption) for row in rows]
        assert np.all(np.diff(values) <= 1e-12)
        assert all(0 < value <= 1000 for value in values)
    assert all(row.unimodal <= row.worst_case for row in rows)


def test_threshold_acts_as_the_next_frequency_that_can_occur():
    assert false_selection_bounds(100, 5, 0.601) == false_selection_bounds(100, 5, 0.61)
    assert false_selection_bounds(100, 5, 0.61) != false_selection_bounds(100, 5, 0.62)


@pytest.mark.parametrize("r", [-0.5, -0.25])
def test_no_r_concave_variable_has_a_heavier_tail(r):
    rng = np.random.default_rng(0)
    n = 12
    i = np.arange(n + 1)
    closest = 0.0
    for _ in range(25):
        # f^r is convex: of growing slopes, which may begin below 0, and now and then the support ends early.
        slopes = np.cumsum(rng.exponential(size=n) ** 3) - rng.exponential() * rng.integers(0, 2)
        g = np.concatenate([[0.0], np.cumsum(slopes)])
        f = (g - g.min() + 0.3 * rng.exponential()) ** (1 / r)
        f[rng.integers(2, n + 2) :] = 0.0
        f /= f.sum()
        mean = float(f @ i) / n
        for least in range(1, n + 1):
            bound = r_concave_tail(mean, least, n, r=r)
            tail = float(f[least:].sum())
            # A tail is 1 less a sum of 13 terms, in doubles.
            assert tail <= bound + 1e-14
            if 1e-9 < bound < 1:
                closest = max(closest, tail / bound)
    assert closest > 0.3  # or nothing was tested


def test_extremal_variable_reaches_the_tail():
    # f(i) ~ (a + i)^-4 over 0 .. 20 is (-1/4)-concave itself.
    f = (0.7 + np.arange(21.0)) ** -4
    f /= f.sum()
    mean = float(f @ np.arange(21)) / 20
    assert r_concave_tail(mean, 15, 20, r=-0.25) == pytest.approx(f[15:].sum(), rel=1e-9)


def test_tail_of_the_edges():
    assert r_concave_tail(0.0, 1, 10, r=-0.5) == 0.0
    assert r_concave_tail(0.3, 6, 10, r=-0.5) == 1.0
    assert r_concave_tail(1.0, 10, 10, r=-0.5) == 1.0
    assert 0 < r_concave_tail(0.3, 7, 10, r=-0.5) < 1


def test_simulated_selections_stay_below_the_bounds():
    # Thirty noise features of which each half selects the five that correlate best with the target.
    rng = np.random.default_rng(1)
    p, q, n, pairs, threshold = 30, 5, 40, 10, 0.75
    kept = 0
    trials = 100
    for _ in range(trials):
        X, y = rng.standard_normal((n, p)), rng.standard_normal(n)
        times = np.zeros(p)
        for _ in range(pairs):
            order = rng.permutation(n)
            for half in (order[: n // 2], order[n // 2 :]):
                strength = np.abs((X[half] - X[half].mean(0)).T @ (y[half] - y[half].mean())) / X[half].std(0)
                times[np.argsort(-strength)[:q]] += 1
        kept += int(np.sum(times >= threshold * 2 * pairs))
    bounds = false_selection_bounds(p, q, threshold, n_pairs=pairs)
    assert kept / trials < bounds.r_concave < bounds.unimodal < bounds.worst_case


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"n_features": 0}, "false_selection_bounds: n_features must be a positive integer, got 0"),
        ({"q": 0}, "false_selection_bounds: q must be a finite number above 0, got 0"),
        ({"q": 101}, "false_selection_bounds: q must be at most the 100 features, got 101"),
        ({"threshold": 0.5}, "false_selection_bounds: threshold must be above 0.5 and at most 1, got 0.5"),
        ({"threshold": 1.1}, "false_selection_bounds: threshold must be a number from 0 to 1, got 1.1"),
        ({"n_pairs": 0}, "false_selection_bounds: n_pairs must be a positive integer, got 0"),
    ],
)
def test_wrong_arguments(given, message):
    arguments = {"n_features": 100, "q": 5, "threshold": 0.9} | given
    with pytest.raises(InputError) as raised:
        false_selection_bounds(**arguments)
    assert str(raised.value) == message


def test_unknown_assumption():
    with pytest.raises(InputError, match="assumption must be one of exchangeable, worst case, unimodal, r-concave"):
        threshold_for(1, 100, 5, assumption="none")
