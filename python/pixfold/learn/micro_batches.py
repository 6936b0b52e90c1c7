"""How many samples go through the network at once: a whole batch, or parts of it where memory is short."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from pixfold.util.progress import Progress, warn_at_once

T = TypeVar("T")

# torch before 2.5 has it under CUDA alone.
_OUT_OF_MEMORY: type[BaseException] = getattr(torch, "OutOfMemoryError", torch.cuda.OutOfMemoryError)
# What a CPU's allocator says, in a RuntimeError.
_OF_CPU = "can't allocate memory"


class MicroBatches:
    """Cuts batches into parts, and makes the parts smaller when memory runs out.

    Parameters
    ----------
    most : int or None
        Samples of a part at most; None for whole batches.
    least : int
        Samples of a part at least: batch statistics need 2.
    progress : Progress
        Where to say that parts become smaller.

    Attributes
    ----------
    most : int or None
        What it is now.
    """

    def __init__(self, most: int | None, *, least: int, progress: Progress) -> None:
        self.most, self._least, self._progress = most, least, progress

    def parts(self, n: int, most: int | None = None) -> list[slice]:
        """Cut a batch of `n` samples into parts as even as can be: as many as one of `most` samples is cut into."""
        given = n if most is None else most
        number = 1 if self.most is None else max(1, min(-(-given // self.most), given // self._least))
        return [slice(n * i // number, n * (i + 1) // number) for i in range(number)]

    def done(self, n: int, work: Callable[[list[slice]], T], *, most: int | None = None, alone: bool = True) -> T:
        """Do some work on the parts of a batch of `n` samples; do it again on smaller parts when memory runs out.

        Parameters
        ----------
        n : int
            Samples.
        work : callable
            What is done.
        most : int, optional
            Samples of the largest batch among processes that have as many parts each.
        alone : bool
            Whether it can be done again: not where other processes wait in the midst of it.

        Raises
        ------
        MemoryError
            When it does not suffice for the smallest part, or the work cannot be done again.
        """
        while True:
            try:
                return work(self.parts(n, None if alone else most))
            except (_OUT_OF_MEMORY, RuntimeError) as error:
                if not isinstance(error, _OUT_OF_MEMORY) and _OF_CPU not in str(error):
                    raise
                if not alone:
                    raise MemoryError(
                        f"the network and {n:,} of its images do not fit into memory together; processes that share "
                        "samples cannot make their parts smaller by themselves where the network has batch "
                        "normalisation: give --micro-batch or --share runs"
                    ) from error
            # Out of the handler, where the error no longer holds the frames and their tensors.
            self._halve(n)

    def _halve(self, n: int) -> None:
        now = n if self.most is None else min(self.most, n)
        half = max(self._least, now // 2)
        if half >= now:
            raise MemoryError(f"the network and {now} of its images do not fit into memory together")
        self.most = half
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        warn_at_once(
            self._progress,
            f"out of memory with {now} samples in the network at once: {half} at a time from now on; a step of the "
            "training is of as many samples as before",
        )
