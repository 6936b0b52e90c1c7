"""Pretrained weights from a local file, as far as they fit a network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pixfold.errors import InputError
from pixfold.util.optional import require
from pixfold.util.text import counted, listed, reason_of

# Names under which training scripts keep a state_dict, and what they put before its names.
_WITHIN = ("state_dict", "model", "model_state_dict", "module")
_BEFORE = ("module.", "model.", "backbone.", "_orig_mod.")


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a file by name: safetensors, or what ``torch.save`` wrote; no code of a file is run.

    Raises
    ------
    InputError
        When there is no such file, or it holds no tensors by name.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"weights: must be a file, got {str(path)!r}")
    try:
        if path.suffix == ".safetensors":
            loaded: Any = require("safetensors.torch", "train", "reading weights").load_file(str(path))
        else:
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the readers raise on what they do not know
        raise InputError(
            f"{path}: must be weights as safetensors or as torch.save writes a state_dict, got something else "
            f"({reason_of(error)[:200]})"
        ) from error
    for name in _WITHIN:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(name), Mapping):
            loaded = loaded[name]
    tensors = {}
    if isinstance(loaded, Mapping):
        tensors = {name: value for name, value in loaded.items() if isinstance(name, str) and torch.is_tensor(value)}
    if not tensors:
        raise InputError(f"{path}: must hold tensors by name, got none")
    for prefix in _BEFORE:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def take_weights(network: nn.Module, path: str | Path) -> str:
    """Give a network the weights of a file that fit it.

    Tensors are matched by name, within the part of the network where most names match (its trunk, behind a gate or a
    padding). A first convolution for another number of channels gets the mean over its channels, scaled so that images
    which are the same in all channels give the same output. Others that differ in shape keep their initial values.

    Parameters
    ----------
    network : Module
        Changed in place.
    path : path
        See :func:`read_weights`.

    Returns
    -------
    str
        What was taken and what was not, for the user.

    Raises
    ------
    InputError
        When no tensor fits.
    """
    given = read_weights(path)
    own = network.state_dict()
    prefix = max(_prefixes(network), key=lambda start: sum(f"{start}{name}" in own for name in given))
    first = next((f"{name}.weight" for name, part in network.named_modules() if isinstance(part, nn.Conv2d)), None)
    taken: dict[str, Tensor] = {}
    unfit, adapted = [], False
    for name, value in given.items():
        here = own.get(prefix + name)
        if here is None:
            unfit.append(name)
        elif here.shape == value.shape:
            taken[prefix + name] = value
        elif prefix + name == first and value.ndim == 4 and _but_channels(here) == _but_channels(value):
            channels = here.shape[1]
            mean = value.float().mean(1, keepdim=True) * (value.shape[1] / channels)
            taken[prefix + name] = mean.expand(-1, channels, -1, -1).clone()
            adapted = True
        else:
            unfit.append(f"{name} ({_shape(value)}, here {_shape(here)})")
    if not taken:
        raise InputError(f"{path}: must have weights that fit the backbone ({listed(list(own))}), got {listed(unfit)}")
    network.load_state_dict(taken, strict=False)
    fresh = [name for name in own if name not in taken and not name.endswith("num_batches_tracked")]
    said = f"weights: {len(taken):,} of {counted(len(given), 'tensor')} of {path} were taken"
    if adapted:
        said += ", the first convolution's as the mean over its channels"
    if unfit:
        said += f"; they do not fit: {listed(unfit)}"
    return said + (f"; not in the file, and fresh: {listed(fresh)}" if fresh else "")


def _prefixes(network: nn.Module) -> list[str]:
    return [f"{name}." if name else "" for name, _ in network.named_modules()]


def _but_channels(value: Tensor) -> tuple[int, ...]:
    """Shape of a convolution's weights, without the channels that go in."""
    return (value.shape[0], *value.shape[2:])


def _shape(value: Tensor) -> str:
    return " x ".join(map(str, value.shape)) or "one number"
