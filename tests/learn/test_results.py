from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from pixfold.learn.results import areas_under_curve, classification_metrics, summarise


def test_classification_metrics_by_hand():
    scores = classification_metrics([0, 0, 0, 1], [0, 0, 1, 1], 2, ["a", "b"])
    assert scores["accuracy"] == 0.75
    assert scores["balanced_accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    assert scores["macro_f1"] == pytest.approx((0.8 + 2 / 3) / 2)
    assert scores["chance_accuracy"] == 0.75
    assert scores["confusion_matrix"] == [[2, 1], [0, 1]]
    assert scores["n_samples"] == 4
    assert scores["class_names"] == ["a", "b"]


def test_classes_that_do_not_occur():
    # Class 2 is predicted and never true, class 3 neither: recall is over classes 0 and 1 only.
    scores = classification_metrics([0, 0, 1, 1], [0, 2, 1, 1], 4)
    assert scores["balanced_accuracy"] == 0.75
    assert scores["macro_f1"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert np.shape(scores["confusion_matrix"]) == (4, 4)


def test_summary_is_over_accepted_runs():
    runs = [
        {"run": 1, "accepted": True, **classification_metrics([0, 1, 1, 0], [0, 1, 1, 0], 2)},
        {"run": 2, "accepted": False, "reason": "at chance", **classification_metrics([0, 1], [1, 0], 2)},
        {"run": 3, "accepted": True, **classification_metrics([0, 1, 1, 0], [0, 1, 1, 1], 2)},
    ]
    summary = summarise(runs)
    assert summary["test_accuracy"] == 0.875
    assert summary["test_accuracy_std"] == pytest.approx(math.sqrt(2) / 8)
    assert summary["chance_accuracy"] == 0.5
    assert summary["confusion_matrix"] == [[3, 1], [0, 4]]
    assert (summary["n_runs"], summary["n_accepted"]) == (3, 2)
    assert summary["averaged_over"] == "accepted runs"
    assert summary["runs"][1]["reason"] == "at chance"


def test_summary_without_an_accepted_run_says_so():
    summary = summarise([{"run": 1, "accepted": False, **classification_metrics([0, 1], [0, 0], 2)}])
    assert summary["test_accuracy"] == 0.5
    assert math.isnan(summary["test_accuracy_std"])
    assert summary["n_accepted"] == 0
    assert summary["averaged_over"] == "all runs"


def test_summary_of_a_self_supervised_job():
    summary = summarise([{"accepted": True, "loss": 1.0}, {"accepted": True, "loss": 3.0, "explained_variance": 0.5}])
    assert summary["test_loss"] == 2.0
    assert summary["explained_variance"] == 0.5
    assert "test_accuracy" not in summary
    assert "confusion_matrix" not in summary


def test_areas_under_the_curve_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    runs, labels = np.repeat([1, 2], 30), rng.integers(0, 3, 60)
    probabilities = np.round(rng.dirichlet(np.ones(3), 60) + 0.3 * np.eye(3)[labels], 1)  # with ties
    found = areas_under_curve(runs, labels, probabilities, ["a", "b", "c"])
    expected = [
        np.mean([roc_auc_score(labels[runs == run] == code, probabilities[runs == run, code]) for run in (1, 2)])
        for code in range(3)
    ]
    assert list(found["class_auc"].values()) == pytest.approx(expected)
    assert found["auc"] == pytest.approx(np.mean(expected))


def test_a_class_that_no_run_holds_out_has_no_area():
    found = areas_under_curve([1, 1], [0, 0], np.full((2, 2), 0.5), ["a", "b"])
    assert found == {"auc": None, "class_auc": {"a": None, "b": None}}
