"""What a training does at the end of each epoch beside going on: its state is kept, its course is logged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from pixfold.learn.checkpoint import Slot, State
from pixfold.learn.epoch_log import EpochLog


@dataclass(frozen=True)
class Keep:
    """Where the epochs of one training go.

    Attributes
    ----------
    slot : Slot or None
        Where the state is kept.
    log : EpochLog or None
        Where the course is written.
    run : int
        Number of the run, for the log.
    """

    slot: Slot | None = None
    log: EpochLog | None = None
    run: int = 1

    def kept(self) -> State | None:
        """Give the state that the training goes on from."""
        return None if self.slot is None else self.slot.read()

    @contextmanager
    def refusing_others(self) -> Iterator[None]:
        """See :meth:`pixfold.learn.checkpoint.Slot.refusing_others`."""
        with nullcontext() if self.slot is None else self.slot.refusing_others():
            yield

    def epoch_ended(self, row: dict[str, float], state: Callable[[], State], *, last: bool) -> None:
        """Write the course of an epoch, and the state at its end, which is made where it is kept."""
        if self.log is not None:
            self.log.add(self.run, row)
        if self.slot is not None and (last or self.slot.is_due):
            found = state()
            self.slot.write(found.tensors, found.values)
