"""TrainingOptions: how to train."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pixfold.learn.device import PRECISIONS, resolve_device
from pixfold.util.checks import Check, check_all, choice, number, switch, whole_number

_RATE, _AMOUNT = number(above_zero=True), number()

CHECKS: dict[str, Check] = {
    "epochs": whole_number(1, optional=True),
    "min_steps": whole_number(1),
    "learning_rate": _RATE,
    "weight_decay": _AMOUNT,
    "gate_learning_rate": _RATE,
    "gate_penalty": _AMOUNT,
    "schedule": choice(("one-cycle", "constant")),
    "patience": whole_number(1, optional=True),
    "min_delta": _AMOUNT,
    "good_enough_loss": _AMOUNT,
    "class_weights": switch,
    "clip_norm": number(above_zero=True, optional=True),
    "micro_batch": whole_number(1, optional=True),
    "precision": choice(PRECISIONS),
    "device": lambda op, _, value: _known_device(op, value),
    "seed": whole_number(0, below=2**63),
    "threads": whole_number(1, optional=True),
    "channels_last": switch,
    "share": choice(("auto", "runs", "samples")),
}

# Reconstruction needs more and larger steps than classification, and its gates are not pushed towards zero: every
# feature is a target, needed or not.
OF_AUTOENCODERS = {"learning_rate": 5e-3, "gate_learning_rate": 5e-3, "gate_penalty": 0.0, "min_steps": 600}


def _known_device(op: str, value: Any) -> None:
    resolve_device(value, op)


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How to train; the batch size belongs to the loader.

    Parameters
    ----------
    epochs : int, optional
        Passes over the training samples at most. Without it: 10, or on small data as many as ``min_steps``
        optimiser steps take, yet not more than 200.
    min_steps : int
        Optimiser steps that the automatic number of epochs provides for.
    learning_rate : float
        Highest rate of AdamW for the network and the offsets of the gate.
    weight_decay : float
        AdamW's decoupled weight decay for the same; the factors of the gate have none.
    gate_learning_rate : float
        Highest rate for the factors of the gate.
    gate_penalty : float
        After each step the factors are soft-thresholded by their current rate times this. 0 turns it off; far
        above 0.3 closes every gate, which rejects the run.
    schedule : {"one-cycle", "constant"}
        One cycle: all rates rise for the first 30 % of the steps and fall to 1 % along cosines.
    patience : int, optional
        Training stops when the validation loss has not improved for so many epochs after the warm-up. Without
        it: 3, or a third of the epochs where that is more (small data has short epochs).
    min_delta : float
        Smallest decrease of the validation loss that counts as an improvement.
    good_enough_loss : float
        Stop when the validation loss is at most this: nothing is left to learn. 0 turns it off.
    class_weights : bool
        Weight the cross-entropy of each class by ``n / (n_classes * n_class)`` of the training samples.
    clip_norm : float, optional
        Gradients of a step whose norm, over all parameters, is larger are shortened to this one.
    micro_batch : int, optional
        Samples that go through the network at once, at most. Larger batches go through in parts, whose gradients are
        added up: a step is of ``batch_size`` samples whatever this is, and takes less memory. (Batch normalisation
        looks at each part by itself.) Without it whole batches do; where memory does not suffice, half of them.
    precision : {"auto", "32-true", "bf16-mixed", "16-mixed"}
        Of the forward and backward passes. ``auto``: bfloat16 autocast on CUDA devices that have it and on
        CPUs with AVX512_BF16 or AMX, else float32. Predictions and attributions are always made in float32.
    device : str
        ``"auto"`` (CUDA when there is one, else the CPU), ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.
    seed : int
        Of everything random during training (dropout); initial weights are seeded by ``backbones.build``.
    threads : int, optional
        Torch's CPU threads while training and predicting; put back afterwards. Without it: as they are.
    channels_last : bool
        Train with channels last in memory, which makes convolutions faster.
    share : {"auto", "runs", "samples"}
        What several processes of torch.distributed share: whole ``runs``, as many at once as there are processes; or
        the ``samples`` of each run, which all processes train together: each takes a part of every batch, and
        statistics, gradients and attributions are added up. ``auto``: samples where there are fewer runs than
        processes, and 64 samples or more for each of them.

    Raises
    ------
    InputError
        A value outside its range.
    """

    epochs: int | None = None
    min_steps: int = 120
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    gate_learning_rate: float = 0.06
    gate_penalty: float = 0.3
    schedule: str = "one-cycle"
    patience: int | None = None
    min_delta: float = 1e-4
    good_enough_loss: float = 3e-3
    class_weights: bool = True
    clip_norm: float | None = None
    micro_batch: int | None = None
    precision: str = "auto"
    device: str = "auto"
    seed: int = 0
    threads: int | None = None
    channels_last: bool = True
    share: str = "auto"

    def __post_init__(self) -> None:
        """Check every value."""
        check_all("TrainingOptions", CHECKS, vars(self))

    @classmethod
    def for_autoencoder(cls, **given: Any) -> TrainingOptions:
        """Options with the defaults of auto-encoders; ``given`` options replace them."""
        return cls(**(OF_AUTOENCODERS | given))

    def resolve_epochs(self, n_batches: int) -> int:
        """Epochs at most, for a loader of ``n_batches`` batches."""
        if self.epochs is not None:
            return int(self.epochs)
        return min(200, max(10, -(-self.min_steps // max(n_batches, 1))))

    def resolve_patience(self, epochs: int) -> int:
        """Epochs without improvement after which training of at most ``epochs`` epochs stops."""
        return int(self.patience) if self.patience is not None else max(3, -(-epochs // 3))
