"""column_stats, census and row sums of tensors on CUDA devices: computed there, given to the host.

They wait for the device once, for the one copy of their results; row sums stay and nothing waits for them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.arrays.cuda import CsrOnCuda, OnCuda, Queue
from pixfold.errors import InputError

Float64Array = NDArray[np.float64]


def stats_on_cuda(
    x: OnCuda | CsrOnCuda,
    log: bool,
    clip_below_zero: bool,
    offset: Float64Array | None,
    row_scale: Float64Array | None,
) -> tuple[Any, ...]:
    """Give the attributes of :class:`pixfold.ops.stats.ColumnStats`."""
    out = queued_stats(x, log, clip_below_zero, offset, row_scale)
    *columns, negative, infinite, taken = _on_host(x.queue, out)
    if isinstance(x, CsrOnCuda) and taken != x.values.numel():
        raise InputError(
            f"column_stats: indices of each row of sparse X must rise within [0, {x.shape[1]}), got "
            f"{x.values.numel() - taken} entries that do not"
        )
    return (*columns, negative, infinite)


def queued_stats(
    x: OnCuda | CsrOnCuda,
    log: bool,
    clip_below_zero: bool,
    offset: Float64Array | None,
    row_scale: Float64Array | None,
) -> Any:
    """Queue the kernels, and give the tensor with what they will find; nothing waits."""
    queue = x.queue
    vectors = [None if values is None else queue.to_device(values) for values in (offset, row_scale)]
    out = _numbers(queue, 7 * x.shape[1] + 3)
    how = (log, clip_below_zero, *vectors, out, queue.stream)
    if isinstance(x, CsrOnCuda):
        queue.kernels.column_stats_csr(x.rows, *how)
    else:
        queue.kernels.column_stats_dense(x.tensor, *how)
    return out


def packed_stats_on_cuda(
    queue: Queue, bits: Any, n_features: int, count_first: bool, log: bool = False, offset: Float64Array | None = None
) -> tuple[Any, ...]:
    """Give the same of packed genotypes, uint8 rows on a CUDA device."""
    lifts = None if offset is None else queue.to_device(offset)
    out = _numbers(queue, 7 * n_features + 3)
    queue.kernels.column_stats_packed(bits, n_features, count_first, log, False, lifts, out, queue.stream)
    *columns, negative, infinite, _ = _on_host(queue, out)
    return (*columns, negative, infinite)


def row_sums_on_cuda(x: OnCuda | CsrOnCuda) -> Any:
    """Sum each sample over its features, NaN left out; nothing waits for the result, a float64 tensor."""
    import torch

    out = torch.empty(x.shape[0], dtype=torch.float64, device=x.queue.device)
    if isinstance(x, CsrOnCuda):
        x.queue.kernels.row_sums_csr(x.rows, out, x.queue.stream)
    else:
        x.queue.kernels.row_sums_dense(x.tensor, out, x.queue.stream)
    return out


def census_on_cuda(x: OnCuda | CsrOnCuda) -> tuple[int, int, int]:
    """Count missing, infinite and negative values."""
    counts = _numbers(x.queue, 3)
    if isinstance(x, CsrOnCuda):
        x.queue.kernels.census_csr(x.rows, counts, x.queue.stream)
    else:
        x.queue.kernels.census_dense(x.tensor, counts, x.queue.stream)
    missing, infinite, negative = counts.tolist()
    return missing, infinite, negative


def _numbers(queue: Queue, n: int) -> Any:
    """Memory for numbers of 64 bits, all 0."""
    import torch

    return torch.zeros(n, dtype=torch.int64, device=queue.device)


def _on_host(queue: Queue, out: Any) -> tuple[Any, ...]:
    """The seven columns, the first three as they are, the others as the doubles that they are; and three counts.

    They are views of the one array that was copied.
    """
    numbers = queue.to_host(out)
    n = (numbers.size - 3) // 7
    counts, moments = numbers[: 3 * n].reshape(3, n), numbers[3 * n : 7 * n].view(np.float64).reshape(4, n)
    return (*counts, *moments, *numbers[7 * n :].tolist())
