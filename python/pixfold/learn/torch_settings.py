"""torch's global settings while pixfold uses it: seed, threads, deterministic kernels."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor

from pixfold.learn.device import resolve_device
from pixfold.learn.training_options import TrainingOptions


@contextmanager
def torch_settings(options: TrainingOptions) -> Iterator[torch.device]:
    """Set seed, threads and deterministic kernels for the body; put the caller's settings back after it."""
    device = resolve_device(options.device)
    with ExitStack() as stack:
        cuda = [device.index or 0] if device.type == "cuda" else []
        stack.enter_context(torch.random.fork_rng(devices=cuda))
        torch.manual_seed(options.seed)
        if options.threads is not None:
            stack.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(options.threads)
        if cuda:
            stack.enter_context(
                torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=True)
            )
            stack.callback(
                torch.use_deterministic_algorithms,
                torch.are_deterministic_algorithms_enabled(),
                warn_only=torch.is_deterministic_algorithms_warn_only_enabled(),
            )
            torch.use_deterministic_algorithms(True, warn_only=True)
            stack.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", message=".*deterministic")
        yield device


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Give the state of the generators that a training on a device draws from."""
    found = {"cpu": torch.random.get_rng_state()}
    if device.type == "cuda":
        found["cuda"] = torch.cuda.get_rng_state(device)
    return found


def set_random_state(state: Mapping[str, Tensor], device: torch.device) -> None:
    """Go on drawing where :func:`random_state` was called."""
    torch.random.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
