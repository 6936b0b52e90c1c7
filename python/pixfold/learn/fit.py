"""Runs one after the other, until their ranking has converged."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from pixfold.errors import InputError
from pixfold.learn.agreement import in_words
from pixfold.learn.checkpoint import Slot
from pixfold.learn.checkpoint.outcomes import outcome_of, state_of
from pixfold.learn.consensus import Consensus, ConsensusResult
from pixfold.learn.job import Job
from pixfold.learn.outcome import RunOutcome
from pixfold.learn.peers import Peers
from pixfold.learn.ranks import SpreadRuns, sharing
from pixfold.learn.results import summarise
from pixfold.learn.run import network_of, normalizer_of
from pixfold.learn.significance import LEVEL, Significance, by_held_out
from pixfold.pairs import PairScreen
from pixfold.util.provenance import hardware, versions

# Runs of networks that are trained one after the other.
_RUNS = 5


@dataclass(frozen=True)
class Stability:
    """Stability selection on complementary halves of the samples.

    Attributes
    ----------
    frequency : float64 (n_features,)
        Share of the halves in which the feature is among the top ``k``.
    threshold : float or None
        From this frequency on at most one false selection is expected; None where no frequency bounds it so.
    k, n_pairs : int
        Features chosen on each half, and pairs of halves.
    """

    frequency: NDArray[np.float64]
    threshold: float | None
    k: int
    n_pairs: int


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
        Whose network predicts: the run of the lowest score, or the fit on all samples.
    module : Module
        Its network.
    consensus : ConsensusResult
        What the runs agree on.
    significance : Significance or None
        Error control; None where nothing was tested.
    stability : Stability or None
        Stability selection, where it was done.
    pairs : PairScreen or None
        Significant pairs of features, where pairs were screened.
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
    significance: Significance | None
    stability: Stability | None
    pairs: PairScreen | None
    metrics: dict[str, Any]
    messages: list[str]


def fit(job: Job, run: Callable[[Job, int], RunOutcome]) -> Fitted:
    """Do a job's runs one after the other until their list has converged, the time is up or all are done.

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
    started, spent = time.perf_counter(), 0.0
    consensus = Consensus(job.source.n_features, k=job.options.top_k)
    outcomes: list[RunOutcome] = []
    tested: list[RunOutcome] = []
    best: RunOutcome | None = None
    most = job.options.n_runs or _RUNS
    peers, job = Peers.of_world(), sharing(job, most)
    runs = SpreadRuns(job, run, most)
    for number in range(1, most + 1):
        outcome, kept = _kept(job, number, peers), True
        if outcome is None:
            outcome, kept = runs.outcome(number), False
            before = outcome
        else:
            spent += outcome.metrics["seconds"]
        if outcome.importance is not None and not consensus.add(outcome.importance):
            refused = {"accepted": False, "reason": consensus.rejected[-1]}
            outcome = replace(outcome, metrics=outcome.metrics | refused, z=None)
        job.progress.log(_summary(outcome))
        beaten = best
        if best is None or _rank(outcome) < _rank(best):
            best = outcome
        if not kept:
            _keep(job, before, is_best=best is outcome, beaten=beaten)
        if outcome.z is not None:
            tested.append(outcome)
        outcomes.append(replace(outcome, module=None, importance=None, z=None))
        if consensus.converged:
            break
        is_over = job.options.time is not None and time.perf_counter() - started + spent > job.options.time
        if job.options.time is not None and peers.agreed(is_over):
            break
    assert best is not None  # n_runs is 1 or more
    if best.module is None:
        best = replace(best, module=_kept_network(job, best, peers), normalizer=normalizer_of(job, best.number))
    found = None
    if tested:
        found = by_held_out(
            np.stack([outcome.z for outcome in tested if outcome.z is not None]),
            np.array([outcome.metrics["p_value"] for outcome in tested]),
            used=job.prepared.keep,
            fdr=job.options.fdr,
        )
    return finished(job, outcomes, best, consensus, found, started=started - spent, fitted_on=f"run {best.number}")


def _kept(job: Job, number: int, peers: Peers) -> RunOutcome | None:
    """Outcome of a run that was kept, without its network."""
    slot = job.slot(f"run-{number}")
    state = peers.state_of_first(None if slot is None else slot.read())
    if state is None:
        return None
    with nullcontext() if slot is None else slot.refusing_others():
        return outcome_of(state, job.layout_of(number), job.normalizer)


def _keep(job: Job, outcome: RunOutcome, *, is_best: bool, beaten: RunOutcome | None) -> None:
    """Keep a run that has ended, and the network of the best one; its epochs are no longer needed."""
    slot = job.slot(f"run-{outcome.number}")
    if slot is None:
        return
    assert outcome.module is not None  # it was trained just now
    # In this order: whenever the process ends, the runs that are kept have a best one, and that its network.
    if is_best:
        _network_slot(job, outcome).write(outcome.module.state_dict(), {})
    state = state_of(outcome)
    slot.write(state.tensors, state.values)
    if is_best and beaten is not None:
        _network_slot(job, beaten).remove()
    _slot(job, f"run-{outcome.number}-epoch").remove()


def _kept_network(job: Job, outcome: RunOutcome, peers: Peers) -> nn.Module:
    slot = job.slot(f"run-{outcome.number}-network")
    state = peers.state_of_first(None if slot is None else slot.read())
    if state is None:
        where = "checkpoint" if slot is None else slot.path
        raise InputError(f"{where}: must be the network of the best run, got none; remove the folder to begin anew")
    module = network_of(job, outcome.number)
    with nullcontext() if slot is None else slot.refusing_others():
        module.load_state_dict(state.tensors)
    return module.eval()


def _network_slot(job: Job, outcome: RunOutcome) -> Slot:
    return _slot(job, f"run-{outcome.number}-network")


def _slot(job: Job, name: str) -> Slot:
    found = job.slot(name)
    assert found is not None  # the caller has seen to it
    return found


def finished(
    job: Job,
    outcomes: list[RunOutcome],
    best: RunOutcome,
    consensus: Consensus,
    found: Significance | None,
    *,
    started: float,
    fitted_on: str,
    stability: Stability | None = None,
    pairs: PairScreen | None = None,
) -> Fitted:
    """Judge the job as a whole and sum it up.

    Parameters
    ----------
    job : Job
        What was learned.
    outcomes : list of RunOutcome
        All runs.
    best : RunOutcome
        Whose network predicts.
    consensus : Consensus
        That took the runs.
    found : Significance or None
        Error control; None where nothing was tested.
    started : float
        ``time.perf_counter()`` at the start.
    fitted_on : str
        Which samples or run the network that predicts comes from.
    stability : Stability, optional
        Stability selection, where it was done.
    pairs : PairScreen, optional
        Significant pairs, where pairs were screened.

    Returns
    -------
    Fitted
        Where the labels cannot be learned, no feature has a rank and no run is accepted.
    """
    assert best.module is not None  # the caller keeps it
    result, reason = consensus.result(), _not_learned(job, outcomes, found)
    if reason is not None:
        result = replace(result, rank=np.full_like(result.rank, np.nan))
        found = None if found is None else replace(found, called=np.zeros_like(found.called))
        outcomes = [_refused(outcome, reason) for outcome in outcomes]
    else:
        outcomes = [
            replace(outcome, metrics={"accepted": True, "reason": None, **outcome.metrics}) for outcome in outcomes
        ]
    messages = list(job.messages)
    for outcome in outcomes:
        messages += [message for message in outcome.messages if message not in messages]
    for message in messages[len(job.messages) :]:  # those were shown when the job began
        job.progress.log(f"warning: {message}")
    metrics = {
        **summarise([outcome.metrics for outcome in outcomes]),
        **_tested(found),
        **_stable(stability),
        **({} if pairs is None else {"n_pairs_called": len(pairs), "n_pairs_screened": pairs.n_pairs}),
        "converged": result.converged,
        "agreement": result.agreement,
        "agreement_in_words": in_words(result.agreement),
        "agreement_curve": result.agreement_curve.tolist(),
        "top_k": result.k,
        "model_of": fitted_on,
        "n_samples": len(job.prepared.rows),
        "n_unlabelled": job.prepared.n_unlabelled,
        "n_groups": None if job.groups is None else len(np.unique(job.groups)),
        "n_features": job.source.n_features,
        "n_features_used": int(job.prepared.keep.sum()),
        "seconds": time.perf_counter() - started,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "hardware": hardware(),
    }
    return Fitted(
        job=job,
        runs=outcomes,
        best=best,
        module=best.module,
        consensus=result,
        significance=found,
        stability=stability,
        pairs=pairs,
        metrics=metrics,
        messages=messages,
    )


def _not_learned(job: Job, outcomes: list[RunOutcome], found: Significance | None) -> str | None:
    """Why nothing is ranked, or None."""
    if job.options.min_accuracy is not None:
        accuracy = float(np.mean([outcome.metrics["held_out_accuracy"] for outcome in outcomes]))
        if accuracy < job.options.min_accuracy:
            return f"held-out accuracy {accuracy:.3f} is below {job.options.min_accuracy:g}"
        return None
    tests = [outcome.metrics["p_value"] for outcome in outcomes if "p_value" in outcome.metrics]
    if found is None and not tests:
        with_direction = [bool(outcome.metrics.get("n_directions", 1)) for outcome in outcomes]
        # A run may find one by chance: in one of 20 tables of noise.
        alone = 2 * sum(with_direction) <= len(outcomes)
        return "most runs find no direction along which samples differ more than by chance" if alone else None
    what = "quantity" if job.prepared.is_quantity else "labels"
    test_p = min(1.0, (2.0 if len(tests) > 1 else 1.0) * float(np.mean(tests))) if found is None else found.test_p
    return None if test_p <= LEVEL else f"the {what} cannot be told from chance (p = {test_p:.2g})"


def _refused(outcome: RunOutcome, reason: str) -> RunOutcome:
    own = outcome.metrics.get("reason")
    return replace(outcome, metrics={**outcome.metrics, "accepted": False, "reason": own or reason})


def _stable(stability: Stability | None) -> dict[str, Any]:
    if stability is None:
        return {}
    limit = stability.threshold
    return {
        "stability": {
            "threshold": limit,
            "n_features": 0 if limit is None else int((stability.frequency >= limit).sum()),
            "expected_false_at_most": 1.0,
            "k": stability.k,
            "n_pairs": stability.n_pairs,
        }
    }


def _tested(found: Significance | None) -> dict[str, Any]:
    if found is None:
        return {}
    return {
        "test_p": found.test_p,
        "n_called": int(found.called.sum()),
        "p_values_from": found.method,
        "n_permutations": found.n_permutations,
    }


def _rank(outcome: RunOutcome) -> tuple[bool, float]:
    """Accepted runs before others, then the lowest validation loss."""
    return not outcome.metrics["accepted"], outcome.score


def _summary(outcome: RunOutcome) -> str:
    m = outcome.metrics
    names = {"accuracy": "test accuracy", "r2": "test R2", "explained_variance": "explained variance"}
    key = next(key for key in names if key in m)
    score = f"{names[key]} unknown" if m[key] is None else f"{names[key]} {m[key]:.3f}"
    end = "" if m["accepted"] else f", not used: {m['reason']}"
    return f"run {outcome.number}: {score}, {m['seconds']:.1f} s{end}"
