"""What simple methods find in the same samples, beside what the network found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.learn.baselines import LinearModel, SimpleTest, linear_models, simple_test
from pixfold.learn.job import Job
from pixfold.learn.outcome import RunOutcome
from pixfold.learn.wordings import SIMPLE_METHOD
from pixfold.normalize.normalizer import Normalizer
from pixfold.ops import rank
from pixfold.util.text import counted

# Splits of the job's runs that linear models are fitted to, and the seconds after which no further one is begun.
_SPLITS, _SECONDS = 5, 8.0
# A baseline within this of the network's balanced accuracy, or R2, does as well.
_AS_WELL = 0.01


@dataclass(frozen=True)
class Comparison:
    """Baselines of a job.

    Attributes
    ----------
    columns : dict of str to float64 (n_features,)
        ``test_statistic``, ``test_p``, ``test_q``, and ``rank_test``, ``rank_l1``, ``rank_l2``: NaN for features that
        a method gives no place to.
    metrics : dict
        Name of the test, how many features it calls, and of each linear model its scores on the runs' own splits.
    messages : list of str
        What the user should be told.
    """

    columns: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)


def compare(job: Job, outcomes: list[RunOutcome], normalizer: Normalizer) -> Comparison:
    """Test every feature by itself, and fit linear models to splits of the job's runs.

    Parameters
    ----------
    job : Job
        With labels.
    outcomes : list of RunOutcome
        Whose held-out samples the linear models are judged by; all others train them.
    normalizer : Normalizer
        Fitted; the test is on its scale.

    Returns
    -------
    Comparison
    """
    test = simple_test(job, normalizer)
    everything = np.arange(len(job.prepared.rows))
    used = outcomes[:_SPLITS]
    splits = [(np.setdiff1d(everything, outcome.test), outcome.test) for outcome in used]
    models = linear_models(job, splits, seconds=_SECONDS, seed=job.seed)
    columns = {
        "test_statistic": test.statistic,
        "test_p": test.p,
        "test_q": test.q,
        "rank_test": _ranks(np.abs(test.statistic)),
        **{f"rank_{model.penalty}": _ranks(model.importance) for model in models},
    }
    called = int((test.q <= job.options.fdr).sum())
    metrics = {"test": {"name": test.name, "n_called": called}, **{model.penalty: _scores(model) for model in models}}
    score = ("r2", "an R2") if job.prepared.is_quantity else ("balanced_accuracy", "a balanced accuracy")
    return Comparison(columns, {"baselines": metrics}, _as_well(used, models, test, called, *score))


def _ranks(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(scores > 0, rank(scores), np.nan)


def _scores(model: LinearModel) -> dict[str, Any]:
    means = {name: _mean(values) for name, values in model.scores.items()}
    return {"name": model.name, **means, "n_splits": model.n_done, "streamed": model.streamed}


def _mean(values: NDArray[np.float64]) -> float:
    """Mean of what is defined."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _as_well(
    used: list[RunOutcome], models: list[LinearModel], test: SimpleTest, called: int, score: str, named: str
) -> list[str]:
    """Say it where a linear model predicts as well, with the scores on the same splits."""
    own = np.array([outcome.metrics[score] for outcome in used], dtype=np.float64)
    known = [model for model in models if not np.isnan(model.scores[score]).all()]
    if not known or not any(outcome.metrics["accepted"] for outcome in used):
        return []  # where nothing was learned, there is nothing to do as well as
    best = max(known, key=lambda model: _mean(model.scores[score]))
    theirs, mine = _mean(best.scores[score]), _mean(own[: len(best.scores[score])])
    if theirs < mine - _AS_WELL or (score == "r2" and theirs <= 0):
        return []  # an R2 of 0 is no merit: the mean alone has it
    how = "better" if theirs > mine + _AS_WELL else "as well"
    return [
        f"{SIMPLE_METHOD} {how} here: {best.name} has {named} of {theirs:.3f} on the same splits, the network "
        f"{mine:.3f}; {test.name} by itself calls {counted(called, 'feature')}"
    ]
