"""Which device and precision a training has."""

from __future__ import annotations

from typing import Any

import torch

from pixfold.errors import InputError
from pixfold.util.text import must_be, short_repr

PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")
_HALVES = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def resolve_device(device: Any, op: str = "TrainingOptions") -> torch.device:
    """Torch device of a name; "auto" is CUDA where there is one, else the CPU.

    Raises
    ------
    InputError
        The device is not known or this machine does not have it.
    """
    if isinstance(device, str) and device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError):
        found = None
    if found is None or found.type not in ("cpu", "cuda", "mps"):
        raise InputError(must_be(op, "device", "auto, cpu, cuda, cuda:N or mps", device))
    n_cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if found.type == "cuda" and (found.index or 0) >= n_cuda:
        raise InputError(f"{op}: device must be one of this machine's {n_cuda} CUDA devices, got {short_repr(device)}")
    if found.type == "mps" and not torch.backends.mps.is_available():
        raise InputError(f"{op}: device must be one that this machine has, got {short_repr(device)}")
    return found


def resolve_precision(precision: str, device: torch.device) -> str:
    """Precision that ``"auto"`` stands for on a device; others are returned as they are."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported()
    elif device.type == "cpu":
        probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        fast = any(getattr(torch.cpu, name, lambda: False)() for name in probes)  # torch's private ones may go
    else:
        fast = False
    return "bf16-mixed" if fast else "32-true"


def half_type(precision: str) -> torch.dtype | None:
    """Type of 16 bits that a resolved precision computes with, or None for float32."""
    return _HALVES.get(precision)
