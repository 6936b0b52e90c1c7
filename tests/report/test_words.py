from __future__ import annotations

from dataclasses import replace

import pytest

from pixfold.learn.consensus import Consensus
from pixfold.learn.tables import findings_table
from pixfold.report.words import answer, findings_in_words

FOUND = {
    "n_called": 2,
    "n_features_used": 30,
    "test_p": 0.01,
    "n_permutations": 99,
    "p_values_from": "permuted labels",
    "stability": {"threshold": 0.58, "n_features": 1, "k": 10, "n_pairs": 25},
    "agreement": 0.93,
    "agreement_in_words": "the two halves of the runs name nearly the same features",
}


def with_baseline(results, score: float):
    """Beside a linear model of that score, where the network has 0.8."""
    runs = [{**run, "balanced_accuracy": 0.8} for run in results.metrics["runs"]]
    model = {"name": "logistic regression (L2)", "balanced_accuracy": score, "n_splits": 2}
    baselines = {"test": {"name": "Welch's t test", "n_called": 3}, "l2": model}
    return replace(
        results, metrics=results.metrics | FOUND | {"runs": runs, "baselines": baselines}, config={"fdr": 0.1}
    )


@pytest.mark.parametrize(("score", "how"), [(0.805, "as well"), (0.9, "better"), (0.7, "less well")])
def test_the_answer_is_one_sentence(make_results, score, how):
    assert answer(with_baseline(make_results(), score)) == [
        "2 features of 30 are called at a false discovery rate of 0.1; the two halves of the runs name nearly the same "
        f"features (agreement 0.93 of 1, 2 runs); logistic regression (L2) predicts {how} (balanced accuracy "
        f"{score:.3f}, the network 0.800, on the held-out samples of the first 2 runs), and Welch's t test by itself "
        "calls 3 features.",
        "The labels can be told from chance (p = 0.01, tested against 99 permutations of the labels).",
        "Stability selection keeps 1 feature: chosen on at least 58% of 50 halves of the samples; at most one of these "
        "is expected to be false.",
    ]


def test_ranked_without_a_called_feature(make_results):
    results = make_results()
    results = replace(results, metrics=results.metrics | FOUND | {"n_called": 0})
    assert answer(results)[0].startswith("No feature of 30 is called")


def test_a_p_value_of_a_pair_is_not_said_to_come_from_permutations(make_results):
    results = make_results()
    pair = {"test_p": 0.004, "n_pairs_called": 1, "n_pairs_screened": 435}
    results = replace(results, metrics=results.metrics | FOUND | pair)
    how = "because of a pair of features, tested for all 435 pairs together"
    assert f"The labels can be told from chance (p = 0.004, {how})." in answer(results)
    assert "can the labels be learned at all: p = 0.004 (a pair of features, of all pairs)" in findings_in_words(
        results
    )


def test_one_run(make_results):
    results = make_results(n_runs=1)
    assert answer(results) == ["30 features of 30 have a rank; 1 run cannot say how stable that is."]


def test_self_supervised(make_results):
    assert answer(make_results(n_classes=0))[0].startswith(
        "30 features of 30 have a rank by how strongly the latent space reacts to them; the two halves of the runs"
    )


def test_nothing_was_learned(make_results):
    results = make_results()
    nothing = findings_table(Consensus(30).result(), [f"g{i}" for i in range(30)], results.class_names)
    reason = "the labels cannot be told from chance (p = 0.5)"
    test = {"test": {"name": "Welch's t test", "n_called": 0}}
    metrics = {"runs": [{"accepted": False, "reason": reason}] * 2, "n_called": 0, "test_p": 0.5, "baselines": test}
    said = answer(replace(results, findings=nothing, metrics=metrics))
    assert said == [
        "No feature has a rank: the labels cannot be told from chance (p = 0.5).",
        "Nothing is called, and Welch's t test by itself calls 0 features. The numbers below are of all runs.",
    ]


def test_lines_for_the_screen(make_results):
    lines = findings_in_words(with_baseline(make_results(), 0.8))
    assert lines[0] == "called at a false discovery rate of 0.1: 2 features of 30"
