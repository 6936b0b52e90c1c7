from __future__ import annotations

from dataclasses import replace

import numpy as np

from pixfold.learn.consensus import Consensus
from pixfold.learn.tables import findings_table
from pixfold.report.figures.charts import run_scores
from pixfold.report.words import answer

FOUND = {
    "n_called": 2,
    "n_features_used": 30,
    "test_p": 0.01,
    "n_permutations": 99,
    "p_values_from": "permuted labels",
    "stability": {"threshold": 0.58, "n_features": 1, "k": 10, "n_pairs": 25},
    "agreement_in_words": "the two halves of the runs name nearly the same features",
}


def test_what_was_found(make_results):
    results = make_results()
    results = replace(results, metrics=results.metrics | FOUND, config={"fdr": 0.1})
    assert answer(results) == [
        "2 features of 30 are called, at a false discovery rate of 0.1.",
        "The labels can be told from chance (p = 0.01, tested against 99 permutations of the labels).",
        "Stability selection keeps 1 feature: chosen on at least 58% of 50 halves of the samples; at most one of these "
        "is expected to be false.",
        "2 runs of the network; the two halves of the runs name nearly the same features.",
    ]


def test_ranked_without_a_called_feature(make_results):
    results = make_results()
    results = replace(results, metrics=results.metrics | FOUND | {"n_called": 0})
    assert answer(results)[0].startswith("No feature of 30 is called")


def test_nothing_was_learned(make_results):
    results = make_results()
    nothing = findings_table(Consensus(30).result(), [f"g{i}" for i in range(30)], results.class_names)
    reason = "the labels cannot be told from chance (p = 0.5)"
    metrics = {"runs": [{"accepted": False, "reason": reason}] * 2, "n_called": 0, "test_p": 0.5}
    said = answer(replace(results, findings=nothing, metrics=metrics))
    assert said == [
        "No feature has a rank: the labels cannot be told from chance (p = 0.5).",
        "Nothing is called. The numbers below are of all runs.",
    ]


def test_scores_of_few_runs_are_no_figure():
    assert run_scores({"runs": [{"balanced_accuracy": 0.5}] * 4}, n_classes=2) is None


def test_scores_of_runs_beside_chance_and_linear_models():
    scores = np.linspace(0.6, 0.9, 7)
    model = {"name": "logistic regression (L2)", "balanced_accuracy": 0.8, "n_splits": 5}
    metrics = {"runs": [{"balanced_accuracy": score} for score in scores], "baselines": {"l2": model}}
    axes = run_scores(metrics, n_classes=4).axes[0]
    assert axes.lines[0].get_ydata().tolist() == scores.tolist()
    assert [line.get_ydata()[0] for line in axes.lines[1:]] == [scores.mean(), 0.8, 0.25]


def test_scores_of_a_quantity():
    axes = run_scores({"runs": [{"r2": score} for score in (0.1, -0.2, 0.3, None, 0.2, 0.0)]}).axes[0]
    assert len(axes.lines[0].get_ydata()) == 5
    assert axes.lines[-1].get_ydata()[0] == 0.0
