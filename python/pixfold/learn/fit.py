"""Runs one after the other, until their ranking has converged."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from pixfold.learn.consensus import Consensus, ConsensusResult
from pixfold.learn.job import Job
from pixfold.learn.results import summarise
from pixfold.learn.run import RunOutcome
from pixfold.util.provenance import versions


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What came of a job.

    Attributes
    ----------
    job : Job
        What was learned.
    runs : list of RunOutcome
        Without their networks.
    best : RunOutcome
        The run whose model is kept: of the accepted ones (or of all, when none is) the one of the lowest score.
    module : Module
        Its network.
    consensus : ConsensusResult
        What the accepted runs agree on.
    metrics : dict
        Scores over the runs, sizes, time and versions.
    messages : list of str
        What the user was told.
    """

    job: Job
    runs: list[RunOutcome]
    best: RunOutcome
    module: nn.Module
    consensus: ConsensusResult
    metrics: dict[str, Any]
    messages: list[str]


def fit(job: Job, run: Callable[[Job, int], RunOutcome]) -> Fitted:
    """Do a job's runs until their ranking has converged or all are done.

    Parameters
    ----------
    job : Job
        What all runs share.
    run : callable
        Does the run of a number, counted from 1.

    Returns
    -------
    Fitted
    """
    started = time.perf_counter()
    prepared, progress = job.prepared, job.progress
    messages = list(job.messages)
    for message in messages:
        progress.log(f"warning: {message}")
    consensus = Consensus(job.source.n_features, k=job.options.top_k)
    outcomes: list[RunOutcome] = []
    best: RunOutcome | None = None
    for number in range(1, job.options.n_runs + 1):
        outcome = run(job, number)
        if outcome.importance is not None and not consensus.add(outcome.importance):
            refused = {"accepted": False, "reason": consensus.rejected[-1]}
            outcome = replace(outcome, metrics=outcome.metrics | refused)
        new = [message for message in outcome.messages if message not in messages]
        messages += new
        for line in (*(f"warning: {message}" for message in new), _summary(outcome)):
            progress.log(line)
        if best is None or _rank(outcome) < _rank(best):
            best = outcome
        outcomes.append(replace(outcome, module=None, importance=None))
        if consensus.converged:
            progress.log(f"the ranking has converged after {number} runs")
            break
    assert best is not None  # n_runs is 1 or more
    assert best.module is not None  # a run gives its network
    result = consensus.result()
    metrics = {
        **summarise([outcome.metrics for outcome in outcomes]),
        "converged": result.converged,
        "agreement": result.agreement,
        "model_of_run": best.number,
        "n_samples": len(prepared.rows),
        "n_features": job.source.n_features,
        "n_features_used": int(prepared.keep.sum()),
        "seconds": time.perf_counter() - started,
        "versions": versions(),
    }
    return Fitted(
        job=job,
        runs=outcomes,
        best=best,
        module=best.module,
        consensus=result,
        metrics=metrics,
        messages=messages,
    )


def _rank(outcome: RunOutcome) -> tuple[bool, float]:
    """Accepted runs before others, then the lowest validation loss."""
    return not outcome.metrics["accepted"], outcome.score


def _summary(outcome: RunOutcome) -> str:
    m = outcome.metrics
    score = (
        f"test accuracy {m['accuracy']:.3f}" if "accuracy" in m else f"explained variance {m['explained_variance']:.3f}"
    )
    end = "accepted" if m["accepted"] else f"not accepted: {m['reason']}"
    return f"run {outcome.number}: {score}, {m['seconds']:.1f} s, {end}"
