"""The runs of an additive network as one state of a checkpoint, and back."""

from __future__ import annotations

import time
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pixfold.layout import Layout
from pixfold.learn.checkpoint import State
from pixfold.learn.checkpoint.outcomes import outcome_of, state_of
from pixfold.learn.consensus import Consensus
from pixfold.learn.job import Job
from pixfold.learn.outcome import RunOutcome


class Runs(Protocol):
    """What the runs of a job have added up, and what the next one draws from."""

    job: Job
    layout: Layout
    evidence: Tensor
    scores: Tensor
    consensus: Consensus
    outcomes: list[RunOutcome]
    held: list[tuple[NDArray[np.int64], Tensor]]
    draw: np.random.Generator
    started: float


def state(runs: Runs) -> State:
    """Give all that the runs to come, and the findings, depend on."""
    outcomes = [state_of(outcome) for outcome in runs.outcomes]
    sums, counts = runs.consensus.state()
    tensors = {"evidence": runs.evidence, "scores": runs.scores}
    tensors |= {f"consensus/{name}": torch.from_numpy(np.array(value)) for name, value in sums.items()}
    for number, (rows, said) in enumerate(runs.held):
        tensors |= {f"held/{number}/rows": torch.from_numpy(np.array(rows)), f"held/{number}/outputs": said}
        tensors |= {f"run/{number}/{name}": value for name, value in outcomes[number].tensors.items()}
    values = {
        "runs": [outcome.values for outcome in outcomes],
        "consensus": counts,
        "draw": runs.draw.bit_generator.state,
        "seconds": time.perf_counter() - runs.started,
    }
    return State(tensors, values)


def restore(runs: Runs, kept: State) -> None:
    """Go on where :func:`state` was called.

    Raises
    ------
    KeyError, TypeError or ValueError
        When the state is of another job.
    """
    values, parts = kept.values, kept.tensors
    for name in ("evidence", "scores"):
        own: Tensor = getattr(runs, name)
        if own.shape != parts[name].shape:
            raise ValueError(f"{name} must have shape {tuple(own.shape)}, got {tuple(parts[name].shape)}")
        own.copy_(parts[name])
    sums = {name.partition("/")[2]: value.numpy() for name, value in parts.items() if name.startswith("consensus/")}
    runs.consensus.restore(sums, values["consensus"])
    for number, found in enumerate(values["runs"]):
        at = f"run/{number}/"
        tensors = {name.removeprefix(at): value for name, value in parts.items() if name.startswith(at)}
        runs.outcomes.append(outcome_of(State(tensors, found), runs.layout, runs.job.normalizer))
        runs.held.append((parts[f"held/{number}/rows"].numpy(), parts[f"held/{number}/outputs"]))
    runs.draw.bit_generator.state = dict(values["draw"])
    runs.started -= float(values["seconds"])
