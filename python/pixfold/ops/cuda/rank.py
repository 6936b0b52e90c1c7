"""rank and top_k of importances on a CUDA device."""

from __future__ import annotations

from typing import Any, NamedTuple

from pixfold.arrays import cuda as on_device
from pixfold.errors import InputError
from pixfold.ops.cuda.placed import address


class _Surveyed(NamedTuple):
    """Importances as float64 without NaN, and the numbers of their survey."""

    queue: on_device.Queue
    values: Any
    survey: list[int]


def rank_tensor(importance: Any) -> Any:
    """:func:`pixfold.rank` of a CUDA tensor; it waits for the device once, for the survey."""
    import torch

    x = _surveyed("rank", importance)
    ranks = torch.empty_like(x.values)
    n = x.values.numel()
    if n > 0:
        workspace = _workspace(x)
        x.queue.cuda.average_ranks(
            address(x.values), n, x.survey, address(ranks), address(workspace), x.queue.ordinal, x.queue.stream
        )
    return ranks


def top_k_tensor(importance: Any, k: int) -> Any:
    """:func:`pixfold.top_k` of a CUDA tensor; it waits for the device for the survey and for how many there are."""
    import torch

    x = _surveyed("top_k", importance)
    n = x.values.numel()
    positions = torch.empty(min(k, n), dtype=torch.int64, device=x.values.device)
    if positions.numel() == 0:
        return positions
    n_selected = torch.empty(1, dtype=torch.int64, device=x.values.device)
    workspace = _workspace(x)
    x.queue.cuda.top_k(
        address(x.values), n, x.survey, positions.numel(), address(positions), address(n_selected),
        address(workspace), x.queue.ordinal, x.queue.stream,
    )  # fmt: skip
    return positions[: n_selected.item()]


def _surveyed(op: str, importance: Any) -> _Surveyed:
    import torch

    x = on_device.usable(op, "importance", importance)
    if x.dim() != 1:
        raise InputError(f"{op}: importance must be one-dimensional, got shape {tuple(x.shape)}")
    queue = on_device.queue_of(op, "importance", x)
    n = x.numel()
    if n > queue.cuda.most_ranked:
        raise InputError(f"{op}: importance must have at most {queue.cuda.most_ranked} values on a GPU, got {n}")
    values = x.to(torch.float64).contiguous()
    if n == 0:
        return _Surveyed(queue, values, [-1, 0, 0, 0])
    workspace = torch.empty(queue.cuda.survey_workspace_bytes(n), dtype=torch.uint8, device=x.device)
    found = torch.empty(4, dtype=torch.int64, device=x.device)
    queue.cuda.survey(address(values), n, address(workspace), address(found), queue.ordinal, queue.stream)
    survey = found.tolist()
    if survey[0] >= 0:
        raise InputError(f"{op}: importance must be free of NaN, got NaN at position {survey[0]}")
    return _Surveyed(queue, values, survey)


def _workspace(x: _Surveyed) -> Any:
    import torch

    size = x.queue.cuda.rank_workspace_bytes(x.values.numel(), x.queue.ordinal)
    return torch.empty(size, dtype=torch.uint8, device=x.values.device)
