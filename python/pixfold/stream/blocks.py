"""Samples block by block within a budget of memory, the next block read while one is worked on."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.sources.arrays.array_source import matrix_bytes
from pixfold.sources.base import BLOCK_BYTES, Source
from pixfold.util.progress import Progress, SilentProgress
from pixfold.util.sizes import in_words
from pixfold.util.text import counted

T = TypeVar("T")
R = TypeVar("R")

# Blocks in memory at one time: one in use, one read ahead, and one that the reader is working on.
_BLOCKS_ALIVE = 3
# A block has at least this many bytes per feature: merging its statistics, feature by feature, must be worth it.
_BYTES_PER_FEATURE = 256
_SAMPLED_ROWS = 64


def sample_bytes(source: Source) -> int:
    """Bytes that a sample takes in memory, as the source reads it; the mean for sparse samples, rounded up.

    Known where the source says its ``nbytes``; otherwise of some samples at the beginning, the middle and the end.
    """
    if source.nbytes is not None:
        return max(1, -(-source.nbytes // source.n_samples))
    first = source.read(slice(0, 1))
    if not source.is_sparse:
        return max(1, matrix_bytes(first))
    n = min(_SAMPLED_ROWS, source.n_samples)
    starts = sorted({0, (source.n_samples - n) // 2, source.n_samples - n})
    parts = [source.read(slice(start, start + n)) for start in starts]
    return max(1, -(-sum(matrix_bytes(part) for part in parts) // (n * len(parts))))


def rows_within(source: Source, memory: int | None, *, fixed: int = 0, op: str = "reading") -> int:
    """How many samples a block may hold.

    Parameters
    ----------
    source : Source
        What is read.
    memory : int or None
        Bytes for all of it: three blocks (one worked on, one read ahead, one on its way) and `fixed`. Without a
        budget, blocks of about 64 MB, or more where there are very many features.
    fixed : int
        Bytes that are needed beside the blocks.
    op : str
        Who asks, for the message.

    Returns
    -------
    int
        At least 1; a multiple of the source's own block size where it is larger.

    Raises
    ------
    InputError
        When the budget does not hold a block of a single sample; it says what is needed.
    """
    each = sample_bytes(source)
    wanted = max(BLOCK_BYTES, _BYTES_PER_FEATURE * source.n_features) // each
    rows = max(source.block_size, wanted - wanted % source.block_size)
    if memory is not None:
        within = (memory - fixed) // (_BLOCKS_ALIVE * each)
        if within < 1:
            least = fixed + _BLOCKS_ALIVE * each
            raise InputError(
                f"{op}: memory must be at least {least:,} bytes for {source.name}, where a sample of "
                f"{counted(source.n_features, 'feature')} takes {in_words(each)} and what is kept per feature "
                f"{in_words(fixed)}, got {memory:,} bytes"
            )
        if within < rows:
            rows = within - within % source.block_size if within > source.block_size else within
    return int(min(rows, source.n_samples))


def read_ahead(function: Callable[[T], R], items: Iterable[T], depth: int) -> Generator[R, None, None]:
    """Yield ``function(item)`` for each item in order; a thread computes the next results while these are used.

    At most `depth` results wait. What the function raises is raised here, in its place. The thread ends with the
    iterator, whether it came to its end, was closed, or was dropped; so it does on Ctrl-C, after the one call that is
    under way.

    Parameters
    ----------
    function : callable
        Called in the thread, one item at a time.
    items : iterable
        Gone through in the caller's thread.
    depth : int
        How many results are worked out ahead; 0 for none, without a thread.

    Raises
    ------
    InputError
        When it is gone on with in a forked child, where its thread is not.
    """
    if depth < 1:
        yield from map(function, items)
        return
    process = os.getpid()
    reader = ThreadPoolExecutor(1, thread_name_prefix="pixfold-read")
    waiting: deque[Future[R]] = deque()
    try:
        for item in items:
            waiting.append(reader.submit(function, item))
            if len(waiting) > depth:
                yield waiting.popleft().result()
                if os.getpid() != process:
                    raise InputError("an iterator that reads ahead was used in a forked process: start a new one there")
        while waiting:
            yield waiting.popleft().result()
    finally:
        if os.getpid() == process:
            reader.shutdown(wait=True, cancel_futures=True)


def blocks(
    source: Source,
    rows: NDArray[np.int64] | None = None,
    *,
    memory: int | None = None,
    fixed: int = 0,
    op: str = "reading",
    progress: Progress | None = None,
    task: str = "reading",
) -> Callable[[], Iterator[Any]]:
    """Return a function that reads samples block by block, each while the one before is in use.

    Parameters
    ----------
    source : Source
        What is read.
    rows : int64 array, optional
        Positions of the samples that are read, sorted. Default: all.
    memory, fixed, op
        As for :func:`rows_within`.
    progress : Progress, optional
        Where the samples that are done are counted; silent without it.
    task : str
        What the progress calls it.

    Returns
    -------
    callable
        Each call starts anew, as :meth:`pixfold.Normalizer.fit_blocks` wants it.
    """
    n = source.n_samples if rows is None else len(rows)
    size = rows_within(source, memory, fixed=fixed, op=op)

    def read(start: int) -> Any:
        stop = min(start + size, n)
        return source.read(slice(start, stop) if rows is None else rows[start:stop])

    def blocks_of() -> Iterator[Any]:
        # What is in memory already needs no thread.
        depth = 0 if source.held_in_memory else 1
        with (progress or SilentProgress()).task(task, total=n) as counter:
            for block in read_ahead(read, range(0, n, size), depth):
                done = block.shape[0]
                yield block
                del block  # before the next one is waited for
                counter.advance(done)

    return blocks_of
