from __future__ import annotations

import numpy as np
import pytest

from pixfold.errors import InputError
from pixfold.learn.consensus import Consensus, RunImportance
from pixfold.learn.significance import Significance
from pixfold.learn.tables import findings_table, history_table, predictions_table


def consensus_of(importance, means):
    importance, means = np.array(importance), np.array(means)
    consensus = Consensus(len(importance), k=2)
    consensus.add(RunImportance(importance, means, np.abs(means), 3))
    return consensus.result()


def test_findings_in_rank_order_with_unranked_last():
    result = consensus_of([0.0, 1.0, 6.0, 1.0, 0.0], [[0.0, 1.0, -8.0, 1.0, 0.0], [0.0, 2.0, 8.0, 0.0, 0.0]])
    table = findings_table(result, list("abcde"), ["x", "y"])
    assert list(table.columns) == [
        *(
            "feature",
            "rank",
            "importance",
            "importance_se",
            "direction",
            "p",
            "q",
            "called",
            "selection_frequency",
            "mean_rank",
            "saliency",
            "dropped",
        ),
        *("mean_x", "mean_abs_x", "mean_y", "mean_abs_y"),
    ]
    assert table["feature"].tolist() == ["c", "b", "d", "a", "e"]
    np.testing.assert_array_equal(table["rank"], [1, 2.5, 2.5, np.nan, np.nan])
    assert table["importance"].tolist() == [0.75, 0.125, 0.125, 0.0, 0.0]
    assert table.loc[2, ["mean_x", "mean_abs_x", "mean_y"]].tolist() == [-1.0, 1.0, 1.0]
    assert table.sort_index()["feature"].tolist() == list("abcde")
    # Nothing was tested.
    assert table[["p", "q", "saliency"]].isna().all(axis=None)
    assert not table["called"].any()
    assert table["direction"].tolist() == [""] * 5


def test_findings_with_negative_evidence_have_it_without_a_rank():
    table = findings_table(consensus_of([-6.0, 1.0, 3.0, 0.0], np.empty((0, 4))), list("abcd"))
    assert table["feature"].tolist() == ["c", "b", "a", "d"]
    np.testing.assert_array_equal(table["rank"], [1, 2, np.nan, np.nan])
    assert table["importance"].tolist() == [0.3, 0.1, -0.6, 0.0]


def test_findings_have_the_error_control_and_the_direction_of_each_feature():
    importance, means = np.array([1.0, 3.0, 2.0]), np.zeros((2, 3))
    consensus = Consensus(3, k=1)
    slopes = np.array([[0.2, -1.0, 0.0], [-0.2, 1.0, 0.0]])
    consensus.add(RunImportance(importance, means, means, 4, np.array([2, 2]), np.array([1.0, 2.0, 1.0]), slopes))
    found = Significance(
        np.array([0.5, 0.001, 0.04]), np.array([0.5, 0.003, 0.06]), np.array([False, True, True]), 0.01, "words", 9
    )
    table = findings_table(consensus.result(), list("abc"), ["x", "y"], significance=found)
    assert table["feature"].tolist() == ["b", "c", "a"]
    assert table["direction"].tolist() == ["y", "", "x"]  # a flat feature speaks for none
    assert table["p"].tolist() == [0.001, 0.04, 0.5]
    assert table["q"].tolist() == [0.003, 0.06, 0.5]
    assert table["called"].tolist() == [True, True, False]
    assert table["saliency"].tolist() == [0.5, 0.25, 0.25]


def test_findings_beside_what_simpler_methods_say():
    table = findings_table(consensus_of([1.0, 2.0], np.empty((0, 2))), ["a", "b"], baselines={"f_test": [7.0, 8.0]})
    assert table["f_test"].tolist() == [8.0, 7.0]


def test_findings_say_which_features_were_dropped():
    result = consensus_of([1.0, 0.0, 2.0], np.empty((0, 3)))
    table = findings_table(result, list("abc"), dropped=np.array([False, True, False]))
    assert table.loc[table["dropped"], "feature"].tolist() == ["b"]
    assert not findings_table(result, list("abc"))["dropped"].any()
    with pytest.raises(InputError, match=r"dropped must be of shape \(3,\), got \(2,\)"):
        findings_table(result, list("abc"), dropped=[True, False])


def test_findings_without_classes():
    table = findings_table(consensus_of([1.0, 2.0], np.empty((0, 2))), ["a", "b"])
    assert table["feature"].tolist() == ["b", "a"]
    assert not any(name.startswith("mean_abs") for name in table)


def test_findings_without_an_accepted_run_keep_every_feature_and_column():
    table = findings_table(Consensus(3).result(), list("abc"), ["x"])
    assert table["feature"].tolist() == list("abc")
    assert table[["rank", "importance", "mean_x", "mean_abs_x"]].isna().all(axis=None)
    assert (table["selection_frequency"] == 0).all()


def test_class_names_that_collide_get_columns_of_their_own():
    table = findings_table(consensus_of([1.0, 2.0], [[1.0, 2.0], [3.0, 4.0]]), ["a", "b"], ["x", "abs_x"])
    assert table.columns.is_unique
    assert table["mean_abs_x_2"].tolist() == [4 / 3, 1.0]


def test_findings_refuse_names_that_do_not_fit():
    result = consensus_of([1.0, 2.0], [[1.0, 2.0]])
    with pytest.raises(InputError, match="feature_names must be 2 names, one per feature, got 1"):
        findings_table(result, ["a"], ["x"])
    with pytest.raises(InputError, match="class_names must be 1 names, one per class, got 2"):
        findings_table(result, ["a", "b"], ["x", "y"])


def test_history_starts_with_run_and_epoch():
    table = history_table([{"loss": 1.0, "epoch": 1, "run": 1}, {"epoch": 2, "run": 1, "accuracy": 0.5}])
    assert list(table.columns) == ["run", "epoch", "loss", "accuracy"]
    assert np.isnan(table.loc[1, "loss"])
    assert list(history_table([]).columns) == ["run", "epoch"]


def test_predictions():
    table = predictions_table(
        run=2,
        samples=["s1", "s2", "s3"],
        labels=[1, 0, -1],
        probabilities=[[0.1, 0.9], [0.3, 0.7], [0.6, 0.4]],
        class_names=["x", "y"],
    )
    assert list(table.columns) == [
        *("run", "sample", "label", "predicted", "correct", "probability_x", "probability_y")
    ]
    assert table["run"].tolist() == [2, 2, 2]
    assert table["label"].tolist() == ["y", "x", None]
    assert table["predicted"].tolist() == ["y", "y", "x"]
    assert table["correct"].tolist() == [True, False, None]
    assert table["probability_y"].tolist() == [0.9, 0.7, 0.4]


@pytest.mark.parametrize(("labels", "shape"), [([0, 1], (2, 3)), ([0], (2, 2)), ([0, 2], (2, 2))])
def test_predictions_refuse(labels, shape):
    with pytest.raises(InputError, match="predictions_table"):
        predictions_table(
            run=1, samples=["a", "b"], labels=labels, probabilities=np.zeros(shape), class_names=["x", "y"]
        )
