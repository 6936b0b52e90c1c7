"""Runs of a job spread over the processes of torch.distributed, so that each process ends with all of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, distributed

from pixfold.errors import PeerError
from pixfold.learn.checkpoint import State
from pixfold.learn.checkpoint.outcomes import outcome_of, state_of
from pixfold.learn.device import resolve_device
from pixfold.learn.job import Job
from pixfold.learn.outcome import RunOutcome
from pixfold.learn.run import network_of, normalizer_of
from pixfold.util.json_values import parsed, written
from pixfold.util.optional import require
from pixfold.util.text import reason_in_short

_NETWORK = "network/"


def world() -> tuple[int, int]:
    """Rank of this process, and how many there are; 0 and 1 without torch.distributed."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def on_own_device(job: Job) -> Job:
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


def with_one_seed(job: Job) -> Job:
    """Give every process the seed of the first one: without ``random_state`` each has drawn its own."""
    if world()[1] == 1:
        return job
    return replace(job, seed=int.from_bytes(_exchanged(job.seed.to_bytes(8, "little"))[0], "little"))


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
        self._rank, self._size = world()
        self._found: dict[int, RunOutcome] = {}

    def outcome(self, number: int) -> RunOutcome:
        """Give what comes of a run; it is the next one, in every process."""
        if self._size == 1:
            return self._run(self._job, number)
        if number not in self._found:
            self._do(number)
        return self._found.pop(number)

    def shared(self, state: State | None) -> State | None:
        """Give every process what the first one has."""
        if self._size == 1:
            return state
        content = b"" if self._rank or state is None else _packed(state)
        found = _exchanged(content)[0]
        return _unpacked(found) if found else None

    def agreed(self, decision: bool) -> bool:
        """Give every process the decision of the first one."""
        return decision if self._size == 1 else _exchanged(bytes([decision]))[0] == b"\1"

    def _do(self, first: int) -> None:
        own = first + self._rank
        content, failed = b"", None
        if own <= self._most:
            try:
                outcome = self._run(self._job, own)
                assert outcome.module is not None  # it was trained just now
                state = state_of(outcome)
                weights = {f"{_NETWORK}{name}": value for name, value in outcome.module.state_dict().items()}
                content = _packed(State({**state.tensors, **weights}, state.values))
            except Exception as error:  # the others wait for what comes
                failed = error
        found = _exchanged(content, failed=failed is not None)
        if failed is not None:
            raise failed
        for number, part in enumerate(found, first):
            if part and number != own:
                self._found[number] = self._taken(_unpacked(part), number)
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


def _packed(state: State) -> bytes:
    writer = require("safetensors.torch", "train", "several processes")
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in state.tensors.items()}
    content: bytes = writer.save(tensors, metadata={"values": written(state.values)})
    return content


def _unpacked(content: bytes) -> State:
    reader = require("safetensors.torch", "train", "several processes")
    header: dict[str, Any] = parsed(content[8 : 8 + int.from_bytes(content[:8], "little")].decode())
    return State(reader.load(content), parsed(header["__metadata__"]["values"], finite=False))


def _exchanged(content: bytes, *, failed: bool = False) -> list[bytes]:
    """Give all processes what each has; PeerError where one has failed."""
    size = distributed.get_world_size()
    device = torch.device("cuda", torch.cuda.current_device()) if distributed.get_backend() == "nccl" else "cpu"

    def gathered(own: Tensor) -> list[Tensor]:
        parts = [torch.empty_like(own, device=device) for _ in range(size)]
        try:
            distributed.all_gather(parts, own.to(device))
        except RuntimeError as error:
            raise PeerError(f"another process of the job has ended: {reason_in_short(error)}") from error
        return [part.cpu() for part in parts]

    lengths = [int(length) for length in gathered(torch.tensor([-1 if failed else len(content)]))]
    if -1 in lengths:
        if failed:
            return []
        raise PeerError(f"process {lengths.index(-1)} of the job has failed: see what it says")
    own = torch.zeros(max(lengths), dtype=torch.uint8)
    if content:
        own[: len(content)] = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    return [part[:length].numpy().tobytes() for part, length in zip(gathered(own), lengths, strict=True)]
