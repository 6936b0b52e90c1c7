"""Runs of a job spread over the processes of torch.distributed, so that each process ends with all of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

import torch

from pixfold.errors import InputError
from pixfold.learn.checkpoint import JobFinished, State
from pixfold.learn.checkpoint.identity import Identity
from pixfold.learn.checkpoint.outcomes import outcome_of, state_of
from pixfold.learn.device import resolve_device
from pixfold.learn.job import Job
from pixfold.learn.outcome import RunOutcome
from pixfold.learn.peers import Peers, packed, unpacked, world
from pixfold.learn.run import network_of, normalizer_of
from pixfold.util.json_values import parsed, written

_NETWORK = "network/"


# Processes share each run where there are fewer runs than processes, from so many samples for each of them on.
_SAMPLES_OF_A_PROCESS = 64


def together(job: Job, task: str) -> Job:
    """Make one job of what each process has begun: the same data and settings, one seed, a device for each.

    Parameters
    ----------
    job : Job
        Of this process.
    task : str
        What is learned.

    Returns
    -------
    Job
        That goes on with what is kept of it, if anything is.

    Raises
    ------
    InputError
        When the job of another process has other data or settings: which process, and what differs.
    JobFinished
        In all processes, when the first one keeps the results of this job.
    """
    _require_one_job(job, task)
    job, is_finished = _on_own_device(job), False
    try:
        job = job.kept(task)
    except JobFinished:
        is_finished = True
    # The first process alone knows, and the others must not wait for it.
    if Peers.of_world().agreed(is_finished):
        raise JobFinished
    return _with_one_seed(job)


def sharing(job: Job, runs: int) -> Job:
    """Let the processes share the samples of each run, where that was asked for or there are too few runs for them."""
    peers, share = Peers.of_world(), job.options.training.share
    if share == "auto":
        enough = len(job.prepared.rows) >= _SAMPLES_OF_A_PROCESS * peers.size
        share = "samples" if runs < peers.size and enough else "runs"
    return replace(job, peers=peers) if share == "samples" and peers.size > 1 else job


def _require_one_job(job: Job, task: str) -> None:
    peers = Peers.of_world()
    if peers.size == 1:
        return
    streamed = not job.source.held_in_memory
    own = Identity.of(task, job.options, job.prepared, job.seed, streamed=streamed, weights=job.weights)
    found = [
        Identity.of_values(parsed(part.decode(), finite=False)) for part in peers.told(written(own.values()).encode())
    ]
    for rank, other in enumerate(found):
        if differences := other.differences(found[0]):
            raise InputError(
                f"{job.source.name}: all processes must do one job with the same data, got another in process {rank} "
                f"than in process 0: {'; '.join(differences)}"
            )


def _on_own_device(job: Job) -> Job:
    """Give each process of a machine a card of its own, where cards are used and none was chosen."""
    training = job.options.training
    if (
        world()[1] == 1
        or str(training.device) not in ("auto", "cuda")
        or resolve_device(training.device).type != "cuda"
    ):
        return job
    number = int(os.environ.get("LOCAL_RANK", world()[0])) % torch.cuda.device_count()
    return replace(job, options=replace(job.options, training=replace(training, device=f"cuda:{number}")))


def _with_one_seed(job: Job) -> Job:
    """Give every process the seed of the first one: without ``random_state`` each has drawn its own."""
    if world()[1] == 1:
        return job
    return replace(job, seed=int.from_bytes(Peers.of_world().of_first(job.seed.to_bytes(8, "little")), "little"))


class SpreadRuns:
    """Does the runs of a job, as many at once as there are processes.

    A run depends on its number alone, so it does not matter which process does it. What comes of the runs is given to
    all processes, which then decide the same.

    Parameters
    ----------
    job : Job
        What all runs share.
    run : callable
        Does the run of a number.
    most : int
        Runs at most.
    """

    def __init__(self, job: Job, run: Callable[[Job, int], RunOutcome], most: int) -> None:
        self._job, self._run, self._most = job, run, most
        # Processes that share each run do them one after the other, all together.
        self._peers = Peers.of_world() if job.peers.size == 1 else Peers()
        self._found: dict[int, RunOutcome] = {}

    def outcome(self, number: int) -> RunOutcome:
        """Give what comes of a run; it is the next one, in every process."""
        if self._peers.size == 1:
            return self._run(self._job, number)
        if number not in self._found:
            self._do(number)
        return self._found.pop(number)

    def _do(self, first: int) -> None:
        own = first + self._peers.rank
        content, failed = b"", None
        if own <= self._most:
            try:
                outcome = self._run(self._job, own)
                assert outcome.module is not None  # it was trained just now
                state = state_of(outcome)
                weights = {f"{_NETWORK}{name}": value for name, value in outcome.module.state_dict().items()}
                content = packed(State({**state.tensors, **weights}, state.values))
            except Exception as error:  # the others wait for what comes
                failed = error
        found = self._peers.told(content, failed=failed is not None)
        if failed is not None:
            raise failed
        for number, part in enumerate(found, first):
            if part and number != own:
                self._found[number] = self._taken(unpacked(part), number)
        if own <= self._most:
            self._found[own] = outcome

    def _taken(self, state: State, number: int) -> RunOutcome:
        job = self._job
        weights = {name.removeprefix(_NETWORK): v for name, v in state.tensors.items() if name.startswith(_NETWORK)}
        tensors = {name: value for name, value in state.tensors.items() if not name.startswith(_NETWORK)}
        outcome = outcome_of(State(tensors, state.values), job.layout_of(number), normalizer_of(job, number))
        module = network_of(job, number)
        module.load_state_dict(weights)
        return replace(outcome, module=module.eval())
