"""Runs of an additive network shared among processes: each does its own, all add up all of them in their order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pixfold.learn.checkpoint import State
from pixfold.learn.checkpoint.outcomes import outcome_of, state_of
from pixfold.learn.job import Job
from pixfold.learn.outcome import RunOutcome
from pixfold.learn.peers import Peers, packed, unpacked

_OWN = ("outputs", "evidence", "scores")


@dataclass(frozen=True)
class Done:
    """What comes of one run.

    Attributes
    ----------
    outcome : RunOutcome
        With its importance.
    outputs : float32 (n_held_out, K)
        For the held-out samples.
    evidence : float32 (n_labellings, n_features)
        Of every labelling, in units of the length of its weights.
    scores : float64 (n_labellings,)
        How well the held-out samples are told by each labelling.
    """

    outcome: RunOutcome
    outputs: Tensor
    evidence: Tensor
    scores: Tensor


class Solver(Protocol):
    """The job whose runs are shared."""

    job: Job
    most: int
    draw: np.random.Generator

    def split(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Draw training and held-out samples of the next run."""

    def one_run(self, number: int, train: NDArray[np.int64], held_out: NDArray[np.int64]) -> Done:
        """Do a run."""


class SharedRuns:
    """Gives the runs of a job one after the other, as many of which are done at once as there are processes."""

    def __init__(self, solver: Solver) -> None:
        self._solver, self.peers = solver, Peers.of_world()
        # Runs that are done, and where the drawing of splits stood after each.
        self._coming: dict[int, tuple[Done, dict[str, object]]] = {}

    def run(self, number: int) -> Done:
        """Give the next run."""
        solver = self._solver
        if self.peers.size == 1:
            return solver.one_run(number, *solver.split())
        if number not in self._coming:
            self._do(number)
        done, drawn = self._coming.pop(number)
        # As it stands where one process did this run last: a state that is kept goes on from there.
        solver.draw.bit_generator.state = drawn
        return done

    def _do(self, first: int) -> None:
        solver, own = self._solver, first + self.peers.rank
        numbers = range(first, min(first + self.peers.size, solver.most + 1))
        splits, drawn = [], []
        for _ in numbers:
            splits.append(solver.split())
            drawn.append(dict(solver.draw.bit_generator.state))
        content, done, failed = b"", None, None
        if own in numbers:
            try:
                done = solver.one_run(own, *splits[own - first])
                content = packed(_state(done))
            except Exception as error:  # the others wait for what comes
                failed = error
        found = self.peers.told(content, failed=failed is not None)
        if failed is not None:
            raise failed
        for number, part, state in zip(numbers, found, drawn, strict=False):
            taken = done if number == own else _done(unpacked(part), solver.job)
            assert taken is not None  # this process has done its own
            self._coming[number] = taken, state


def _state(done: Done) -> State:
    found = state_of(done.outcome)
    return State({**found.tensors, **{f"run/{name}": getattr(done, name) for name in _OWN}}, found.values)


def _done(state: State, job: Job) -> Done:
    own = {name: state.tensors[f"run/{name}"] for name in _OWN}
    rest = {name: value for name, value in state.tensors.items() if not name.startswith("run/")}
    outcome = outcome_of(State(rest, state.values), job.layout_of(1), job.normalizer)
    return Done(outcome, own["outputs"], own["evidence"], own["scores"])
