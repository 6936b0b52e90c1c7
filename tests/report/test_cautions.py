"""A list that should not be trusted does not stand without a word."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pixfold.learn.consensus import Consensus
from pixfold.learn.tables import findings_table
from pixfold.report.cautions import cautions, is_unsteady


def steady(results):
    """Results of which nothing is to be said."""
    results.findings["selection_frequency"] = 1.0
    results.findings["mean_rank"] = results.findings["rank"]
    return replace(results, metrics=results.metrics | {"agreement": 0.95})


def test_nothing_is_said_of_a_good_list(make_results):
    assert cautions(steady(make_results())) == []


def test_a_first_rank_that_few_runs_bear_out(make_results):
    results = steady(make_results(n_features=100))
    results.findings.loc[3, "mean_rank"] = 3371.0
    results.findings.loc[3, "selection_frequency"] = 0.04
    assert cautions(replace(results, metrics=results.metrics | {"n_runs": 25})) == [
        "Rank 1, gene_3, rests on few runs: its mean rank is 3,371, and it is among the best 10 in 4% of 25 runs."
    ]


def test_several_such_ranks(make_results):
    results = steady(make_results(n_features=100))
    results.findings["selection_frequency"] = 0.1
    (said,) = cautions(results)
    assert said.endswith("The same holds for 4 more of the first 10, marked \N{WARNING SIGN} in the table.")


@pytest.mark.parametrize(
    ("agreement", "said"),
    [(0.04, "The runs disagree: two halves of them have an agreement of 0.04"), (0.5, "The runs agree in part")],
)
def test_runs_that_disagree(make_results, agreement, said):
    results = steady(make_results())
    (found,) = cautions(replace(results, metrics=results.metrics | {"agreement": agreement}))
    assert found.startswith(said)


def test_one_run_says_nothing_of_stability(make_results):
    results = make_results(n_runs=1)
    (said,) = cautions(results)
    assert said.startswith("There was one run")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"test_p": 0.6}, "The labels cannot be told from chance (p = 0.6)"),
        ({"test_p": 0.01, "n_called": 0}, "No feature is called"),
        ({"test_accuracy": 0.5, "chance_accuracy": 0.5}, "Test accuracy is not above chance"),
        # One strong feature among thousands is found, although the network predicts no better than chance.
        ({"test_accuracy": 0.5, "chance_accuracy": 0.5, "test_p": 0.01, "n_called": 1}, None),
    ],
)
def test_chance(make_results, changed, said):
    results = steady(make_results())
    found = cautions(replace(results, metrics=results.metrics | changed))
    assert found == [] if said is None else found[0].startswith(said)


def test_a_quantity_that_was_not_learned(make_results):
    results = steady(make_results(quantity=True))
    assert cautions(replace(results, metrics=results.metrics | {"spearman": -0.1}))[0].startswith("Predictions of")


def test_what_the_job_said_of_a_better_baseline_and_small_classes_is_moved_up(make_results):
    results = steady(make_results())
    results.messages[:] = [
        "normalised as counts",
        "a simple method does better here: logistic regression",
        "1 class with fewer than 5 samples: 'c' (4 samples); what is found of so few may be chance",
        "a simple method does as well here: logistic regression",
    ]
    assert cautions(results) == [
        "A simple method does better here: logistic regression.",
        "1 class with fewer than 5 samples: 'c' (4 samples); what is found of so few may be chance.",
    ]


def test_without_a_rank(make_results):
    results = make_results()
    nothing = findings_table(Consensus(30).result(), [f"g{i}" for i in range(30)], results.class_names)
    assert cautions(replace(results, findings=nothing, metrics={"test_p": 0.5})) == [
        "The labels cannot be told from chance (p = 0.5): there may be nothing to find here."
    ]


@pytest.mark.parametrize(
    ("rank", "mean_rank", "frequency", "n_runs", "expected"),
    [
        (1, 1.5, 1.0, 20, False),
        (1, 1.5, 0.45, 20, True),
        (5, 30.0, 0.45, 20, True),
        (9, 30.0, 0.45, 20, False),  # chance decides who is the ninth or the eleventh
        (1, 101.0, 0.9, 20, True),
        (200, 1900.0, 0.0, 20, False),
        (200, 2100.0, 0.0, 20, True),
        (1, 3000.0, 0.0, 1, False),
    ],
)
def test_unsteady(rank, mean_rank, frequency, n_runs, expected):
    feature = {"rank": rank, "mean_rank": mean_rank, "selection_frequency": frequency}
    assert is_unsteady(feature, 10, n_runs) is expected
