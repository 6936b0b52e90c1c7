"""column_stats, census and row sums of tensors on CUDA devices: computed there, given to the host.

They wait for the device once, at the end, when the result is copied; row sums stay and nothing waits for them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.arrays.cuda import CsrOnCuda, OnCuda, Queue
from pixfold.errors import InputError
from pixfold.ops.cuda.placed import to_device

Float64Array = NDArray[np.float64]


def stats_on_cuda(
    x: OnCuda | CsrOnCuda,
    log: bool,
    clip_below_zero: bool,
    offset: Float64Array | None,
    row_scale: Float64Array | None,
) -> tuple[Any, ...]:
    """Give the attributes of :class:`pixfold.ops.stats.ColumnStats`."""
    queue = x.queue
    vectors = [None if values is None else to_device(values, queue.device) for values in (offset, row_scale)]
    out, counts = _memory(queue, (7, x.shape[1])), _counts(queue)
    how = (log, clip_below_zero, *vectors, out, counts, queue.stream)
    if isinstance(x, CsrOnCuda):
        queue.kernels.column_stats_csr(x.rows, *how)
    else:
        queue.kernels.column_stats_dense(x.tensor, *how)
    negative, infinite, taken = counts.tolist()
    if isinstance(x, CsrOnCuda) and taken != x.values.numel():
        raise InputError(
            f"column_stats: indices of each row of sparse X must rise within [0, {x.shape[1]}), got "
            f"{x.values.numel() - taken} entries that do not"
        )
    return (*_on_host(out), negative, infinite)


def packed_stats_on_cuda(
    queue: Queue, bits: Any, n_features: int, count_first: bool, log: bool = False, offset: Float64Array | None = None
) -> tuple[Any, ...]:
    """Give the same of packed genotypes, uint8 rows on a CUDA device."""
    lifts = None if offset is None else to_device(offset, queue.device)
    out, counts = _memory(queue, (7, n_features)), _counts(queue)
    queue.kernels.column_stats_packed(bits, n_features, count_first, log, False, lifts, out, counts, queue.stream)
    negative, infinite, _ = counts.tolist()
    return (*_on_host(out), negative, infinite)


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
    counts = _counts(x.queue)
    if isinstance(x, CsrOnCuda):
        x.queue.kernels.census_csr(x.rows, counts, x.queue.stream)
    else:
        x.queue.kernels.census_dense(x.tensor, counts, x.queue.stream)
    missing, infinite, negative = counts.tolist()
    return missing, infinite, negative


def _memory(queue: Queue, shape: tuple[int, ...]) -> Any:
    """Memory for numbers of 64 bits."""
    import torch

    return torch.empty(shape, dtype=torch.int64, device=queue.device)


def _counts(queue: Queue) -> Any:
    import torch

    return torch.zeros(3, dtype=torch.int64, device=queue.device)


def _on_host(out: Any) -> tuple[NDArray[Any], ...]:
    """The first three rows as they are, the others as the doubles that they are."""
    numbers = out.cpu().numpy()
    return (*(row.copy() for row in numbers[:3]), *(row.copy() for row in numbers[3:].view(np.float64)))
