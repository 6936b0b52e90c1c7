"""The training loop: Lightning Fabric for device and precision, the rest is here and thin."""

from __future__ import annotations

import logging
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pixfold.errors import InputError
from pixfold.learn.backbones.autoencoder import Autoencoder
from pixfold.learn.backbones.gate import Gate, gates
from pixfold.util.optional import require
from pixfold.util.progress import Progress, SilentProgress, tracked

_PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")
_SCHEDULES = ("one-cycle", "constant")
_WARM_UP = 0.3  # part of the steps in which the one-cycle rate rises
_FINAL_RATE = 0.01  # one-cycle: last rate as a part of the highest


class Batches(Protocol):
    """Batches of images that can be gone through again and again."""

    @property
    def n_samples(self) -> int:
        """Number of samples in all batches together."""

    def __len__(self) -> int:
        """Return the number of batches."""

    def set_epoch(self, epoch: int, /) -> None:
        """Choose the shuffle of the next pass."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor | None, Tensor]]:
        """Yield ``images float32 (B, C, H, W), labels int64 (B,) or None, indices int64 (B,)``."""


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
        Stop after so many epochs, those of the warm-up not counted, in which the validation loss did not
        improve. Without it: 3, or a third of
        the epochs where that is more (small data has short epochs).
    min_delta : float
        Smallest decrease of the validation loss that counts as an improvement.
    good_enough_loss : float
        Stop when the validation loss is at most this: nothing is left to learn. 0 turns it off.
    class_weights : bool
        Weight the cross-entropy of each class by ``n / (n_classes * n_class)`` of the training samples.
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
        Train with channels last in memory, which convolutions are faster with.

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
    precision: str = "auto"
    device: str = "auto"
    seed: int = 0
    threads: int | None = None
    channels_last: bool = True

    def __post_init__(self) -> None:
        """Check every value."""
        for name, least in (("epochs", 1), ("patience", 1), ("threads", 1), ("min_steps", 1), ("seed", 0)):
            value = getattr(self, name)
            if value is None and name in ("epochs", "patience", "threads"):
                continue
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
                raise InputError(f"training: {name} must be a whole number of {least} or more, not {value!r}")
        for name in ("learning_rate", "weight_decay", "gate_learning_rate", "gate_penalty", "min_delta"):
            self._check_number(name, positive="learning_rate" in name)
        self._check_number("good_enough_loss", positive=False)
        for name, known in (("precision", _PRECISIONS), ("schedule", _SCHEDULES)):
            if getattr(self, name) not in known:
                raise InputError(f"training: {name} must be one of {', '.join(known)}, not {getattr(self, name)!r}")
        if self.seed >= 2**63:
            raise InputError(f"training: seed must be below 2**63, not {self.seed}")
        resolve_device(self.device)

    def _check_number(self, name: str, *, positive: bool) -> None:
        value = getattr(self, name)
        numeric = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
        if not numeric or not math.isfinite(value) or value < 0 or (positive and value == 0):
            least = "above 0" if positive else "of 0 or more"
            raise InputError(f"training: {name} must be a finite number {least}, not {value!r}")

    @classmethod
    def for_autoencoder(cls, **given: Any) -> TrainingOptions:
        """Options with the defaults of auto-encoders; ``given`` options replace them.

        Reconstruction needs more and larger steps than classification (rate 5e-3, 600 steps), and its gates
        are not pushed towards zero: every feature is a target, needed or not.
        """
        defaults = {"learning_rate": 5e-3, "gate_learning_rate": 5e-3, "gate_penalty": 0.0, "min_steps": 600}
        return cls(**(defaults | given))

    def resolve_epochs(self, n_batches: int) -> int:
        """Epochs at most, for a loader of ``n_batches`` batches."""
        if self.epochs is not None:
            return int(self.epochs)
        return min(200, max(10, -(-self.min_steps // max(n_batches, 1))))

    def resolve_patience(self, epochs: int) -> int:
        """Epochs without improvement after which training of at most ``epochs`` epochs stops."""
        return int(self.patience) if self.patience is not None else max(3, -(-epochs // 3))


@dataclass(frozen=True)
class TrainingResult:
    """What came of a training.

    Attributes
    ----------
    module : Module
        The module that was given, in evaluation mode, on the device of the training, with its best weights.
    history : list of dict
        One per epoch: ``epoch`` (from 1), ``train_loss``, ``validation_loss``, for classifiers
        ``train_accuracy``, ``validation_accuracy``, ``validation_balanced_accuracy``, then ``learning_rate``
        (at the end of the epoch), ``open_gates`` (gate factors that are not 0, where there is a gate),
        ``seconds``. Losses and accuracies of the training samples are means over the epoch, while the
        weights change. Without validation samples their columns are absent.
    best_epoch : int
        The epoch whose weights the module has.
    stopped : str
        ``"epochs"`` (all done), ``"early"`` (patience), ``"good enough"``, ``"rejected"``.
    rejected : str or None
        Why the run is not to be used, in words; None for a good one.
    seconds : float
        Wall time.
    device, precision : str
        What was chosen.
    """

    module: nn.Module
    history: list[dict[str, float]]
    best_epoch: int
    stopped: str
    rejected: str | None
    seconds: float
    device: str
    precision: str


def train(
    module: nn.Module,
    train: Batches,
    validation: Batches | None,
    options: TrainingOptions,
    *,
    n_classes: int,
    class_counts: Sequence[int] | NDArray[np.int64] | None = None,
    progress: Progress | None = None,
) -> TrainingResult:
    """Train a classifier with class-weighted cross-entropy.

    Parameters
    ----------
    module : Module
        ``(B, C, H, W) -> (B, n_classes)``; trained in place.
    train, validation : Batches
        Validation decides when to stop and which epoch's weights to keep; None or no samples: the last.
    options : TrainingOptions
        How to train.
    n_classes : int
        Number of classes.
    class_counts : int[n_classes], optional
        Training samples per class; needed for ``options.class_weights`` (without counts all weigh the same).
    progress : Progress, optional
        Where to report.

    Returns
    -------
    TrainingResult
        Also for a run that went wrong by itself (loss not finite, every gate closed): ``rejected`` says why.

    Raises
    ------
    InputError
        No labels in the batches, labels out of range, or a single training sample.
    """
    weights = None
    if class_counts is not None:
        counts = torch.as_tensor(np.asarray(class_counts), dtype=torch.float64)
        if counts.shape != (n_classes,):
            raise InputError(f"training: class_counts must have {n_classes} values, not {counts.numel()}")
        if options.class_weights:
            # A class without training samples never enters the training loss; 1 serves it in validation.
            balanced = counts.sum() / (n_classes * counts.clamp(min=1))
            weights = torch.where(counts > 0, balanced, torch.ones_like(counts)).float()
    return _Loop(module, train, validation, options, _Classification(n_classes, weights), progress).run()


def train_autoencoder(
    module: nn.Module,
    train: Batches,
    validation: Batches | None,
    options: TrainingOptions,
    *,
    mask: Tensor | NDArray[np.bool_] | None = None,
    progress: Progress | None = None,
) -> TrainingResult:
    """Train an auto-encoder with the mean squared error between its output and its input.

    Parameters
    ----------
    module : Module
        ``(B, C, H, W) -> (B, C, H, W)``; trained in place.
    train, validation, options, progress
        As for :func:`train`; labels are not looked at.
    mask : bool (C, H, W), optional
        Pixels that hold a feature; padding does not enter the loss. Without it all pixels count.

    Returns
    -------
    TrainingResult
        See :func:`train`.
    """
    pixels = None if mask is None else torch.as_tensor(np.asarray(mask), dtype=torch.bool)
    if pixels is not None and not bool(pixels.any()):
        raise InputError("auto-encoder: mask leaves no pixel")
    return _Loop(module, train, validation, options, _Reconstruction(pixels), progress).run()


def predict_proba(
    module: nn.Module, batches: Batches, options: TrainingOptions | None = None, progress: Progress | None = None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Class probabilities (softmax of the outputs), in evaluation mode, float32.

    Returns
    -------
    probabilities : float32 (n, K)
    indices : int64 (n,)
        The ``indices`` of the batches: row ``i`` of ``probabilities`` is sample ``indices[i]``.
    """
    return _collect(module, lambda x: torch.softmax(module(x).float(), dim=1), batches, options, progress)


def encode(
    module: Autoencoder, batches: Batches, options: TrainingOptions | None = None, progress: Progress | None = None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Latent values of an auto-encoder, ``float32 (n, L)``, and the samples' indices."""
    return _collect(module, module.encode, batches, options, progress)


def _collect(
    module: nn.Module,
    function: Callable[[Tensor], Tensor],
    batches: Batches,
    options: TrainingOptions | None,
    progress: Progress | None,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    with torch_settings(options or TrainingOptions()) as device, torch.no_grad():
        module.to(device).eval()
        rows, indices = [], []
        for images, _, index in tracked(batches, progress, "predicting", len(batches)):
            rows.append(function(images.to(device)).float().cpu().numpy())
            indices.append(index.cpu().numpy())
    if not rows:
        raise InputError("prediction: there are no samples")
    return np.concatenate(rows), np.concatenate(indices)


def resolve_device(device: str) -> torch.device:
    """Torch device of ``options.device``.

    Raises
    ------
    InputError
        The device is not known or this machine does not have it.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    known = "training: device must be auto, cpu, cuda, cuda:N or mps"
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise InputError(f"{known}, not {device!r}") from error
    if found.type not in ("cpu", "cuda", "mps"):
        raise InputError(f"{known}, not {device!r}")
    n_cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if found.type == "cuda" and (found.index or 0) >= n_cuda:
        raise InputError(f"training: device {device} is not there: torch sees {n_cuda} CUDA devices")
    if found.type == "mps" and not torch.backends.mps.is_available():
        raise InputError("training: device mps is not available on this machine")
    return found


def resolve_precision(precision: str, device: torch.device) -> str:
    """Precision that ``"auto"`` stands for on a device; others are returned as they are."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported()
    elif device.type == "cpu":
        probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        fast = any(getattr(torch.cpu, name, lambda: False)() for name in probes)
    else:
        fast = False
    return "bf16-mixed" if fast else "32-true"


@contextmanager
def torch_settings(options: TrainingOptions) -> Iterator[torch.device]:
    """Seed, threads and deterministic kernels for the body; the caller's settings are put back after it."""
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


@contextmanager
def _quiet_fabric() -> Iterator[None]:
    """Keep Fabric's remarks about precision and hardware from the user."""
    children = ("", ".utilities.rank_zero", ".fabric")
    loggers = [logging.getLogger(f"lightning_fabric{child}") for child in children]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning_fabric")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


class _Objective(Protocol):
    """What is minimised: sums and weights, so that any number of batches adds up to an exact mean."""

    n_classes: int

    def to(self, device: torch.device) -> None: ...

    def __call__(self, outputs: Tensor, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """Sum of weighted losses, and sum of weights."""


class _Classification:
    def __init__(self, n_classes: int, weights: Tensor | None) -> None:
        self.n_classes = n_classes
        self.weights = weights

    def to(self, device: torch.device) -> None:
        if self.weights is not None:
            self.weights = self.weights.to(device)

    def __call__(self, outputs: Tensor, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        if labels is None:
            raise InputError("training: the batches have no labels")
        if labels.device.type == "cpu" and not 0 <= int(labels.min()) <= int(labels.max()) < self.n_classes:
            wrong = labels[(labels < 0) | (labels >= self.n_classes)][0]
            raise InputError(f"training: labels must lie in 0 to {self.n_classes - 1}, found {int(wrong)}")
        total = nn.functional.cross_entropy(outputs, labels, weight=self.weights, reduction="sum")
        weight = outputs.new_tensor(len(labels)) if self.weights is None else self.weights[labels].sum()
        return total, weight


class _Reconstruction:
    n_classes = 0

    def __init__(self, mask: Tensor | None) -> None:
        self.mask = mask

    def to(self, device: torch.device) -> None:
        if self.mask is not None:
            self.mask = self.mask.to(device)

    def __call__(self, outputs: Tensor, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        error = (outputs - images).square()
        if self.mask is None:
            return error.sum(), error.new_tensor(error.numel())
        return (error * self.mask).sum(), (self.mask.sum() * len(images)).to(error.dtype)


class _Tally:
    """Running loss and per-class hits of one pass, on the device, so that a GPU never waits for a number."""

    def __init__(self, n_classes: int, device: torch.device) -> None:
        exact = torch.float32 if device.type == "mps" else torch.float64
        self.loss = torch.zeros((), dtype=exact, device=device)
        self.weight = torch.zeros((), dtype=exact, device=device)
        self.hits = torch.zeros(n_classes, dtype=torch.int64, device=device)
        self.counts = torch.zeros(n_classes, dtype=torch.int64, device=device)

    @torch.no_grad()
    def add(self, total: Tensor, weight: Tensor, outputs: Tensor, labels: Tensor | None) -> None:
        self.loss += total.detach()
        self.weight += weight
        if len(self.hits) and labels is not None:
            self.counts += torch.bincount(labels, minlength=len(self.counts))
            self.hits += torch.bincount(labels[outputs.argmax(1) == labels], minlength=len(self.hits))

    def mean_loss(self) -> float:
        return float(self.loss / self.weight)

    def accuracy(self) -> float:
        return int(self.hits.sum()) / max(int(self.counts.sum()), 1)

    def balanced_accuracy(self) -> float:
        """Mean recall over the classes that occur."""
        seen = self.counts > 0
        return float((self.hits[seen] / self.counts[seen]).mean())


class _Halt(Exception):  # noqa: N818 - no error
    """Ends the loop; holds why."""


class _Loop:
    """One training: what it needs is held here, so that each step of it can be a short method."""

    def __init__(
        self,
        module: nn.Module,
        train: Batches,
        validation: Batches | None,
        options: TrainingOptions,
        objective: _Objective,
        progress: Progress | None,
    ) -> None:
        if train.n_samples < 2:
            raise InputError(f"training: 2 samples or more are needed, not {train.n_samples}")
        self.module, self.options, self.objective = module, options, objective
        self.train = train
        self.validation = validation if validation is not None and validation.n_samples else None
        self.progress = progress or SilentProgress()
        self.epochs = options.resolve_epochs(len(train))
        self.patience = options.resolve_patience(self.epochs)
        # While the rates rise, batch statistics run behind and the validation loss may be worse than untrained.
        self.warm_up = math.ceil(_WARM_UP * self.epochs) if options.schedule == "one-cycle" else 0
        self.gates: list[Gate] = gates(module)
        # Batch statistics of a single sample are useless and may not exist: a batch of one left over at the
        # end of an epoch is passed over. It is another sample after every shuffle.
        norm = any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in module.modules())
        self.skip_single = norm and len(train) < train.n_samples
        self.history: list[dict[str, float]] = []
        self.best_loss, self.best_epoch = math.inf, 0
        self.best: dict[str, Tensor] | None = None
        self.step = 0
        self.rejected: str | None = None

    def run(self) -> TrainingResult:
        start = time.perf_counter()
        with torch_settings(self.options) as device, _quiet_fabric():
            precision = resolve_precision(self.options.precision, device)
            self.setup(device, precision)
            try:
                stopped = self.loop()
            finally:
                self.module.zero_grad(set_to_none=True)
                # Weights can only be saved when they are contiguous.
                self.module.to(memory_format=torch.contiguous_format)
            if self.best is not None:
                self.module.load_state_dict(self.best)
            self.module.eval()
        return TrainingResult(
            module=self.module,
            history=self.history,
            best_epoch=self.best_epoch,
            stopped=stopped,
            rejected=self.rejected,
            seconds=time.perf_counter() - start,
            device=str(device),
            precision=precision,
        )

    def setup(self, device: torch.device, precision: str) -> None:
        fabric_class = require("lightning_fabric", "train", "training").Fabric
        options = self.options
        self.device = device
        self.fabric: Any = fabric_class(
            accelerator=device.type,
            devices=[device.index or 0] if device.type == "cuda" else 1,
            precision=precision,
        )
        self.module.to(device)
        self.objective.to(device)
        if options.channels_last:
            self.module.to(memory_format=torch.channels_last)
        factors = {id(gate.g) for gate in self.gates}
        learned = [p for p in self.module.parameters() if p.requires_grad]
        groups: list[dict[str, Any]] = []
        if network := [p for p in learned if id(p) not in factors]:
            decay = options.weight_decay
            groups.append({"params": network, "lr": options.learning_rate, "weight_decay": decay})
        if gate := [p for p in learned if id(p) in factors]:
            groups.append({"params": gate, "lr": options.gate_learning_rate, "weight_decay": 0.0})
        if not groups:
            raise InputError("training: the module has no parameter to train")
        optimizer = torch.optim.AdamW(groups, fused=device.type in ("cpu", "cuda"))
        self.rates = [float(group["lr"]) for group in groups]
        self.model, self.optimizer = self.fabric.setup(self.module, optimizer)

    def loop(self) -> str:
        with self.progress.task("training", total=self.epochs * len(self.train)) as task:
            for epoch in range(1, self.epochs + 1):
                start = time.perf_counter()
                row: dict[str, float] = {"epoch": epoch}
                try:
                    row |= self.train_epoch(epoch, task)
                    row |= self.validate()
                    row["learning_rate"] = self.options.learning_rate * self.rate_factor()
                    if self.gates:
                        row["open_gates"] = sum(gate.n_open for gate in self.gates)
                    row["seconds"] = time.perf_counter() - start
                    self.history.append(row)
                    self.judge(epoch, row)
                except _Halt as stop:
                    return str(stop)
        return "epochs"

    def rate_factor(self) -> float:
        """Part of the highest rates that holds for the current step."""
        if self.options.schedule == "constant":
            return 1.0
        done = min(1.0, self.step / (self.epochs * len(self.train)))
        if done < _WARM_UP:
            return 0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * done / _WARM_UP))
        fall = (done - _WARM_UP) / (1 - _WARM_UP)
        return _FINAL_RATE + (1 - _FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * fall))

    def train_epoch(self, epoch: int, task: Any) -> dict[str, float]:
        self.model.train()
        self.train.set_epoch(epoch)
        tally = _Tally(self.objective.n_classes, self.device)
        every = 1 if self.device.type == "cpu" else 16  # reading a number back from a GPU waits for it
        for batch in self.train:
            images, labels = self.place(batch)
            if len(images) == 1 and self.skip_single:
                task.advance(1)
                continue
            loss = self.learn(images, labels, tally)
            self.step += 1
            if self.step % every:
                task.advance(1)
                continue
            value = float(loss)
            self.require_finite(value, epoch)
            task.advance(1, epoch=f"{epoch}/{self.epochs}", loss=value, **self.last_validation())
        row = {"train_loss": tally.mean_loss()}
        self.require_finite(row["train_loss"], epoch)
        if self.objective.n_classes:
            row["train_accuracy"] = tally.accuracy()
        return row

    def learn(self, images: Tensor, labels: Tensor | None, tally: _Tally) -> Tensor:
        factor = self.rate_factor()
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        self.optimizer.zero_grad(set_to_none=True)
        try:
            outputs = self.model(images)
        except ValueError as error:
            if "more than 1 value per channel" in str(error):
                raise InputError(
                    "training: batches of one sample cannot train a network with batch normalisation: "
                    "choose a batch size of 2 or more"
                ) from error
            raise
        total, weight = self.objective(outputs, images, labels)
        loss = total / weight
        self.fabric.backward(loss)
        self.optimizer.step()
        if amount := self.options.gate_learning_rate * factor * self.options.gate_penalty:
            for gate in self.gates:
                gate.shrink(amount)
        tally.add(total, weight, outputs, labels)
        return loss.detach()

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        if self.validation is None:
            return {}
        self.model.eval()
        tally = _Tally(self.objective.n_classes, self.device)
        for batch in self.validation:
            images, labels = self.place(batch)
            outputs = self.model(images)
            tally.add(*self.objective(outputs, images, labels), outputs, labels)
        row = {"validation_loss": tally.mean_loss()}
        if self.objective.n_classes:
            row["validation_accuracy"] = tally.accuracy()
            row["validation_balanced_accuracy"] = tally.balanced_accuracy()
        return row

    def judge(self, epoch: int, row: dict[str, float]) -> None:
        """Keep the best weights; decide whether to go on."""
        if self.gates and row["open_gates"] == 0:
            self.reject(
                f"every gate closed in epoch {epoch}: gate_penalty {self.options.gate_penalty:g} is too "
                "large, or no feature tells the samples apart"
            )
        if self.validation is None:
            self.best_epoch = epoch
            return
        loss = row["validation_loss"]
        self.require_finite(loss, epoch, "validation loss")
        if loss < self.best_loss - self.options.min_delta:
            self.best_loss, self.best_epoch = loss, epoch
            self.best = {name: value.detach().clone() for name, value in self.module.state_dict().items()}
        if loss <= self.options.good_enough_loss:
            raise _Halt("good enough")
        if epoch - max(self.best_epoch, self.warm_up) >= self.patience:
            raise _Halt("early")

    def require_finite(self, value: float, epoch: int, what: str = "training loss") -> None:
        if not math.isfinite(value):
            self.reject(f"{what} is {value} in epoch {epoch}: a lower learning_rate may help")

    def reject(self, reason: str) -> None:
        self.rejected = reason
        raise _Halt("rejected")

    def last_validation(self) -> dict[str, float]:
        last = self.history[-1] if self.history else {}
        return {
            name.replace("validation", "val"): last[name]
            for name in ("validation_loss", "validation_accuracy")
            if name in last
        }

    def place(self, batch: tuple[Tensor, Tensor | None, Tensor]) -> tuple[Tensor, Tensor | None]:
        images, labels, _ = batch
        images = images.to(self.device, non_blocking=True)
        if self.options.channels_last and images.shape[1] > 1:
            images = images.contiguous(memory_format=torch.channels_last)
        return images, None if labels is None else labels.to(self.device, non_blocking=True)
