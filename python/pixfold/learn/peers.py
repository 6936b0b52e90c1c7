"""The processes of torch.distributed that do a job together, and what they tell each other."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed

from pixfold.errors import PeerError
from pixfold.learn.checkpoint import State
from pixfold.util.files import arrays_in
from pixfold.util.json_values import parsed, written
from pixfold.util.optional import require
from pixfold.util.text import reason_in_short


def world() -> tuple[int, int]:
    """Rank of this process, and how many there are; 0 and 1 without torch.distributed."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


@dataclass(frozen=True)
class Peers:
    """Processes that share some work; a single one tells nobody anything.

    Every method is called by all of them, in the same order. What it gives is the same in all of them, to the bit, but
    for what torch adds up (:meth:`added`), which is that for gloo and NCCL.

    Attributes
    ----------
    rank, size : int
        Number of this process, and how many there are.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def of_world(cls) -> Peers:
        """All processes of torch.distributed."""
        return cls(*world())

    def part(self, n: int) -> slice:
        """Which of `n` things are this process's: parts differ by one at most."""
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def told(self, content: bytes, *, failed: bool = False) -> list[bytes]:
        """Give all processes what each has.

        Raises
        ------
        PeerError
            Where another one has failed (and says so here), or has ended.
        """
        if self.size == 1:
            return [content]
        lengths = [int(length) for length in self._gathered(torch.tensor([-1 if failed else len(content)]))]
        if -1 in lengths:
            if failed:
                return []
            raise PeerError(f"process {lengths.index(-1)} of the job has failed: see what it says")
        own = torch.zeros(max(lengths), dtype=torch.uint8)
        if content:
            own[: len(content)] = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        return [part[:length].numpy().tobytes() for part, length in zip(self._gathered(own), lengths, strict=True)]

    def of_first(self, content: bytes) -> bytes:
        """Give all processes what the first one has."""
        return self.told(b"" if self.rank else content)[0]

    def agreed(self, decision: bool) -> bool:
        """Give all processes the decision of the first one."""
        return decision if self.size == 1 else self.of_first(bytes([decision])) == b"\1"

    def state_of_first(self, state: State | None) -> State | None:
        """Give all processes the state that the first one has."""
        if self.size == 1:
            return state
        found = self.of_first(b"" if self.rank or state is None else packed(state))
        return unpacked(found) if found else None

    def arrays(self, own: dict[str, NDArray[Any]]) -> Iterator[dict[str, NDArray[Any]]]:
        """Give the arrays of each process, one process after the other: no more than two sets are in memory."""
        if self.size == 1:
            yield own
            return
        for rank in range(self.size):
            found = self.told(_in_bytes(own) if rank == self.rank else b"")[rank]
            yield own if rank == self.rank else arrays_in(io.BytesIO(found))

    def rows(self, own: NDArray[Any]) -> NDArray[Any]:
        """Put the rows of all processes below each other."""
        return own if self.size == 1 else np.concatenate([found["rows"] for found in self.arrays({"rows": own})])

    def sums(self, own: Tensor) -> Tensor:
        """Add up a few numbers of each process, in their order."""
        return own if self.size == 1 else torch.stack(self._gathered(own.cpu())).sum(0).to(own.device)

    def sizes(self, n: int) -> list[int]:
        """A number of each process."""
        return [n] if self.size == 1 else [int(part) for part in self._gathered(torch.tensor([n]))]

    def added(self, own: Tensor) -> Tensor:
        """Add up tensors of any size, where they are if the processes reach each other there; `own` may change."""
        if self.size == 1:
            return own
        there = own.contiguous() if own.device.type == "cpu" or self._reaches(own.device) else own.cpu()
        with _ending_with_others():
            distributed.all_reduce(there)
        return there.to(own.device)

    @staticmethod
    def _reaches(device: torch.device) -> bool:
        return device.type == "cuda" and "nccl" in distributed.get_backend_config()

    def _gathered(self, own: Tensor) -> list[Tensor]:
        # A group of NCCL alone knows cards only.
        alone = distributed.get_backend() == "nccl"
        there = own.to(torch.device("cuda", torch.cuda.current_device())) if alone else own
        parts = [torch.empty_like(there) for _ in range(self.size)]
        with _ending_with_others():
            distributed.all_gather(parts, there)
        return [part.to(own.device) for part in parts]


@contextmanager
def _ending_with_others() -> Iterator[None]:
    """Turn what torch says of a process that has ended into one error."""
    try:
        yield
    except RuntimeError as error:
        # Without the place in gloo's source in front, and its advice behind.
        reason = re.sub(r"^\[\S+\] ", "", reason_in_short(error).partition(". ")[0])
        raise PeerError(f"another process of the job has ended: see what it says ({reason})") from error


def backend_here() -> str:
    """What processes of this machine talk through: NCCL too, for cards, where each has one of its own."""
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return "cpu:gloo,cuda:nccl" if distributed.is_nccl_available() and cards >= here else "gloo"


def packed(state: State) -> bytes:
    """Give a state as the bytes of a safetensors file."""
    writer = require("safetensors.torch", "train", "several processes")
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in state.tensors.items()}
    content: bytes = writer.save(tensors, metadata={"values": written(state.values)})
    return content


def unpacked(content: bytes) -> State:
    """Read what :func:`packed` gave."""
    reader = require("safetensors.torch", "train", "several processes")
    header: dict[str, Any] = parsed(content[8 : 8 + int.from_bytes(content[:8], "little")].decode())
    return State(reader.load(content), parsed(header["__metadata__"]["values"], finite=False))


def _in_bytes(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]  # mypy takes the names for savez's own arguments
    return file.getvalue()
