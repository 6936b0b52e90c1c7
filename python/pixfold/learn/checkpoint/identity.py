"""Which job a checkpoint is of: its settings, its data, and the machine it ran on."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pixfold._core import __version__, isa
from pixfold.learn.device import resolve_device
from pixfold.learn.options import JobOptions
from pixfold.learn.tensor_files import bytes_of
from pixfold.normalize.normalizer import Normalizer
from pixfold.stream.prepare import Prepared
from pixfold.util.text import short_repr

_FORMAT = 1
# A budget of time may be another one: a job that goes on gets more of it.
_FREE = ("time", "random_state", "training")
# Whatever processes share, the result is that of one.
_FREE_OF_TRAINING = ("seed", "share")


@dataclass(frozen=True)
class Identity:
    """What must be the same for a job to go on.

    Attributes
    ----------
    seed : int
        Of the job.
    seeded : bool
        Whether the user gave the seed; else that of the job that goes on is taken.
    settings, data : dict of str to plain values
        What was asked for; what the samples, labels and names are, as sums of their bytes.
    machine : dict of str to plain values
        What the last digits may depend on.
    """

    seed: int
    seeded: bool
    settings: dict[str, Any]
    data: dict[str, Any]
    machine: dict[str, Any]

    @classmethod
    def of(
        cls,
        task: str,
        options: JobOptions,
        prepared: Prepared,
        seed: int,
        *,
        streamed: bool,
        weights: NDArray[np.float64] | None = None,
    ) -> Identity:
        """Describe a job before its first run."""
        training = {f"training {name}": value for name, value in vars(options.training).items()}
        given = {"task": task, "backbone": options.backbone, **vars(options), **training}
        free = (*_FREE, *(f"training {name}" for name in _FREE_OF_TRAINING))
        source = prepared.source
        return cls(
            seed=seed,
            seeded=isinstance(options.random_state, int | np.integer),
            settings={name: _setting(value) for name, value in given.items() if name not in free},
            data={
                "number of samples": len(prepared.rows),
                "number of features": source.n_features,
                "values": prepared.digest,
                "names of features": _of_names(source.feature_names),
                "names of samples": _of_names(prepared.sample_names),
                "labels": _of_array(prepared.labels),
                "names of classes": _of_names(prepared.class_names or ()),
                "groups": _of_array(prepared.groups),
                "weights of samples": _of_array(weights),
            },
            machine={
                "pixfold": __version__,
                "torch": torch.__version__,
                "numpy": np.__version__,
                "device": str(resolve_device(options.training.device)),
                "threads": options.training.threads or torch.get_num_threads(),
                "instruction set": isa(),
                "samples": "streamed" if streamed else "in memory",
            },
        )

    def values(self) -> dict[str, Any]:
        """Give plain values for :meth:`of_values`."""
        return {"format": _FORMAT, **vars(self)}

    @classmethod
    def of_values(cls, values: Mapping[str, Any]) -> Identity:
        """Read what :meth:`values` gave; ValueError for anything else."""
        if values["format"] != _FORMAT:
            raise ValueError(f"format {short_repr(values['format'])} is not {_FORMAT}")
        parts = {name: values[name] for name in ("settings", "data", "machine")}
        if not all(isinstance(part, dict) for part in parts.values()):
            raise ValueError("settings, data and machine must be objects")
        seed = values["seed"]
        if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**64:
            raise ValueError(f"{short_repr(seed)} is no seed")
        return cls(seed=seed, seeded=values["seeded"] is True, **parts)

    def differences(self, kept: Identity) -> list[str]:
        """Say what differs from the job that is kept; nothing where this is that job."""
        found = [
            f"{name} was {short_repr(kept.settings.get(name))}, is {short_repr(value)}"
            for name, value in self.settings.items()
            if kept.settings.get(name) != value
        ]
        if self.seeded and self.seed != kept.seed:
            found.append(f"random_state was {kept.seed}, is {self.seed}")
        for name, value in self.data.items():
            if kept.data.get(name) != value:
                numbers = name.startswith("number")
                found.append(f"{name} was {kept.data.get(name)}, is {value}" if numbers else f"other {name}")
        return found

    def other_machine(self, kept: Identity) -> list[str]:
        """Say what of the machine differs."""
        return [
            f"{name} was {short_repr(kept.machine.get(name))}, is {short_repr(value)}"
            for name, value in self.machine.items()
            if kept.machine.get(name) != value
        ]


def _setting(value: Any) -> Any:
    """A setting as JSON gives it back; of code its name, of a network its weights."""
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple | list):
        return [_setting(item) for item in value]
    if isinstance(value, Normalizer):
        return {name: _setting(item) for name, item in value.settings().items()}
    if isinstance(value, nn.Module):
        total = 0
        for tensor in value.state_dict().values():
            total = zlib.crc32(bytes_of(tensor).data, total)
        return f"{type(value).__qualname__} with weights {total:08x}"
    if isinstance(value, Mapping):
        return {str(name): _setting(item) for name, item in value.items()}
    kind = value if hasattr(value, "__qualname__") else type(value)
    return f"{kind.__module__}.{kind.__qualname__}"


def _of_names(names: Iterable[str]) -> str:
    found = hashlib.blake2b(digest_size=16)
    for name in names:
        part = name.encode("utf-8", "surrogatepass")
        found.update(len(part).to_bytes(8, "little") + part)
    return found.hexdigest()


def _of_array(array: Any) -> str | None:
    return None if array is None else f"{zlib.crc32(np.asarray(array).tobytes()):08x}"
