"""rank and top_k of importances on a CUDA device."""

from __future__ import annotations

from typing import Any

from pixfold.arrays.cuda import OnCuda
from pixfold.errors import InputError


def rank_on_cuda(x: OnCuda) -> Any:
    """:func:`pixfold.rank`; it waits for the device once, for the survey."""
    import torch

    values = x.tensor.to(torch.float64).contiguous()
    ranks = torch.empty_like(values)
    if values.numel() > 0:
        x.queue.kernels.rank(values, _surveyed("rank", x, values), ranks, x.queue.stream)
    return ranks


def top_k_on_cuda(x: OnCuda, k: int) -> Any:
    """:func:`pixfold.top_k`; it waits for the device for the survey and for how many there are."""
    import torch

    values = x.tensor.to(torch.float64).contiguous()
    positions = torch.empty(k, dtype=torch.int64, device=values.device)
    if values.numel() == 0:
        return positions
    survey = _surveyed("top_k", x, values)
    if k == 0:
        return positions
    n_selected = torch.empty(1, dtype=torch.int64, device=values.device)
    x.queue.kernels.top_k(values, survey, positions, n_selected, x.queue.stream)
    return positions[: n_selected.item()]


def _surveyed(op: str, x: OnCuda, values: Any) -> list[int]:
    import torch

    if values.numel() > x.queue.kernels.most_ranked:
        raise InputError(
            f"{op}: importance must have at most {x.queue.kernels.most_ranked} values on a GPU, got {values.numel()}"
        )
    found = torch.empty(4, dtype=torch.int64, device=values.device)
    x.queue.kernels.survey(op, values, found, x.queue.stream)
    survey: list[int] = found.tolist()
    if survey[0] >= 0:
        raise InputError(f"{op}: importance must be free of NaN, got NaN at position {survey[0]}")
    return survey
