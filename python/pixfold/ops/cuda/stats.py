"""column_stats, census and row sums of tensors on CUDA devices: computed there, given to the host.

They wait for the device once, at the end, when the result is copied; row scales stay and nothing waits for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pixfold.arrays import cuda as on_device
from pixfold.arrays.dense import OnCuda
from pixfold.errors import InputError
from pixfold.ops.cuda.placed import address, to_device

if TYPE_CHECKING:
    from pixfold.formula import Formula

Float64Array = NDArray[np.float64]


class _Viewed(NamedTuple):
    """Samples for the kernels, and the memory that they are in."""

    view: Any
    memory: Any
    sparse: bool
    n_stored: int


def usable(op: str, x: Any) -> OnCuda:
    """Read a CUDA tensor as samples, or raise the error that says what it is instead."""
    tensor = on_device.usable(op, "X", x)
    if tensor.dim() != 2:
        raise InputError(f"{op}: X must be two-dimensional (n_samples, n_features), got shape {tuple(tensor.shape)}")
    return OnCuda(op, tensor)


def stats_on_device(
    x: OnCuda, log: bool, clip_below_zero: bool, offset: Float64Array | None, row_scale: Float64Array | None
) -> tuple[Any, ...]:
    """Give the attributes of :class:`pixfold.ops.column_stats.ColumnStats`."""
    queue = on_device.queue_of(x.op, "X", x.tensor)
    viewed = _viewed(queue.cuda, x.tensor)
    vectors = [None if values is None else to_device(values, queue.device) for values in (offset, row_scale)]
    arguments = queue.cuda.StatsArguments(log, clip_below_zero, *map(address, vectors))
    kind = "csr" if viewed.sparse else "dense"
    scratch = _bytes(getattr(queue.cuda, f"column_stats_{kind}_workspace")(viewed.view), queue.device)
    out, counts = _numbers((7, x.shape[1]), queue.device), _counts(3, queue.device)
    getattr(queue.cuda, f"column_stats_{kind}")(
        viewed.view, arguments, address(out), address(counts), address(scratch), queue.ordinal, queue.stream
    )
    negative, infinite, taken = counts.tolist()
    if viewed.sparse and taken != viewed.n_stored:
        raise InputError(
            f"{x.op}: indices of each row of sparse X must rise within [0, {x.shape[1]}), got "
            f"{viewed.n_stored - taken} entries that do not"
        )
    return (*_on_host(out), negative, infinite)


def packed_stats_on_device(
    bits: Any, n_features: int, copies: int, log: bool = False, offset: Float64Array | None = None
) -> tuple[Any, ...]:
    """Give the same of packed genotypes, uint8 rows on a CUDA device; `copies` are those of code 0 (2 or 0)."""
    queue = on_device.queue_of("column_stats", "bits", bits)
    lifts = None if offset is None else to_device(offset, queue.device)
    rows = queue.cuda.PackedRows(bits.data_ptr(), bits.shape[0], n_features, bits.stride(0))
    arguments = queue.cuda.StatsArguments(log, False, address(lifts), 0)
    out, counts = _numbers((7, n_features), queue.device), _counts(3, queue.device)
    queue.cuda.column_stats_packed(rows, copies, arguments, address(out), address(counts), queue.ordinal, queue.stream)
    negative, infinite, _ = counts.tolist()
    return (*_on_host(out), negative, infinite)


def row_sums_on_device(x: OnCuda) -> Float64Array:
    """Sum of each sample over its features, NaN left out."""
    sums: Float64Array = _row_sums(x.tensor, on_device.queue_of(x.op, "X", x.tensor)).cpu().numpy()
    return sums


def row_scale_on_device(x: Any, formula: Formula, queue: on_device.Queue) -> Any:
    """library_size over each sample's sum (0 for a sum that is not positive), None without one; nothing waits."""
    import torch

    size = formula.library_size
    if size is None:
        return None
    sums = _row_sums(x, queue)
    # A number over a tensor would be its reciprocal times the number, rounded twice.
    return torch.where(sums > 0, torch.tensor(size, dtype=torch.float64) / sums, 0.0)


def _row_sums(x: Any, queue: on_device.Queue) -> Any:
    import torch

    viewed = _viewed(queue.cuda, x)
    out = torch.empty(x.shape[0], dtype=torch.float64, device=queue.device)
    if viewed.sparse:
        queue.cuda.row_sums_csr(viewed.view, address(out), queue.ordinal, queue.stream)
    else:
        scratch = _bytes(queue.cuda.row_sums_dense_workspace(viewed.view), queue.device)
        queue.cuda.row_sums_dense(viewed.view, address(out), address(scratch), queue.ordinal, queue.stream)
    return out


def census_on_device(x: OnCuda) -> tuple[int, int, int]:
    """Count missing, infinite and negative values."""
    queue = on_device.queue_of(x.op, "X", x.tensor)
    viewed = _viewed(queue.cuda, x.tensor)
    counts = _counts(3, queue.device)
    if viewed.sparse:
        queue.cuda.census_csr(viewed.view, viewed.n_stored, address(counts), queue.ordinal, queue.stream)
    else:
        queue.cuda.census_dense(viewed.view, address(counts), queue.ordinal, queue.stream)
    missing, infinite, negative = counts.tolist()
    return missing, infinite, negative


def _viewed(cuda: Any, x: Any) -> _Viewed:
    if on_device.is_csr(x):
        rows = on_device.csr_rows(cuda, x, on_device.type_name(x.dtype))
        return _Viewed(rows.view, rows.parts, True, x.values().numel())
    return _Viewed(on_device.dense_view(cuda, x), x, False, x.numel())


def _numbers(shape: tuple[int, ...], device: Any) -> Any:
    """Memory for numbers of 64 bits."""
    import torch

    return torch.empty(shape, dtype=torch.int64, device=device)


def _counts(n: int, device: Any) -> Any:
    import torch

    return torch.zeros(n, dtype=torch.int64, device=device)


def _bytes(n: int, device: Any) -> Any:
    import torch

    return torch.empty(n, dtype=torch.uint8, device=device)


def _on_host(out: Any) -> tuple[NDArray[Any], ...]:
    """The first three rows as they are, the others as the doubles that they are."""
    numbers = out.cpu().numpy()
    return (*(row.copy() for row in numbers[:3]), *(row.copy() for row in numbers[3:].view(np.float64)))
