"""Training: the loop over epochs and batches.

Devices and half precision are torch's own autocast and GradScaler. Processes that share a training add up their
gradients at the end of a step, in one exchange. (DistributedDataParallel begins while the gradients are still made, and
hangs when one process makes them again in smaller parts because its memory did not suffice.)
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pixfold.errors import InputError
from pixfold.learn.batches import Batches
from pixfold.learn.checkpoint import State
from pixfold.learn.device import half_type, resolve_precision
from pixfold.learn.keep import Keep
from pixfold.learn.micro_batches import MicroBatches
from pixfold.learn.objectives import Classification, Objective, Quantity, Reconstruction, Tally
from pixfold.learn.optimizer import Optimizer
from pixfold.learn.peers import Peers
from pixfold.learn.shared_layers import SharedLayers
from pixfold.learn.steps import Part, Steps
from pixfold.learn.stopping import Stopping
from pixfold.learn.torch_settings import random_state, set_random_state, torch_settings
from pixfold.learn.training_options import TrainingOptions
from pixfold.learn.training_result import TrainingResult
from pixfold.loader import FoldLoader
from pixfold.util.progress import Progress, SilentProgress

# Of the training and of the validation samples.
Weights = tuple[NDArray[np.float64], NDArray[np.float64]]


def train(
    module: nn.Module,
    train: Batches,
    validation: Batches | None,
    options: TrainingOptions,
    *,
    n_classes: int,
    class_counts: Sequence[int] | NDArray[np.int64] | NDArray[np.float64] | None = None,
    sample_weights: Weights | None = None,
    progress: Progress | None = None,
    keep: Keep | None = None,
    peers: Peers | None = None,
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
        Training samples per class, or their weights; needed for ``options.class_weights`` (without counts all weigh the
        same).
    sample_weights : (float64 (n_train,), float64 (n_validation,)), optional
        How much each sample counts in the losses, by the ``indices`` of the batches.
    progress : Progress, optional
        Where to report.
    keep : Keep, optional
        What is done at the end of each epoch, and where to go on.
    peers : Peers, optional
        Processes that train one network together. Each has a part of every batch of ``train`` (a FoldLoader that shares
        batches), and a part of the validation samples. All end with the same network.

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
            raise InputError(f"train: class_counts must have {n_classes} values, got {counts.numel()}")
        if options.class_weights:
            # A class without training samples never enters the training loss; 1 serves it in validation.
            balanced = counts.sum() / (n_classes * torch.where(counts > 0, counts, torch.ones_like(counts)))
            weights = torch.where(counts > 0, balanced, torch.ones_like(counts)).float()
    objective = Classification(n_classes, weights)
    return _Training(module, train, validation, options, objective, progress, keep, peers, sample_weights).run()


def train_quantity(
    module: nn.Module,
    train: Batches,
    validation: Batches | None,
    options: TrainingOptions,
    *,
    values: NDArray[np.float32],
    sample_weights: Weights | None = None,
    progress: Progress | None = None,
    keep: Keep | None = None,
    peers: Peers | None = None,
) -> TrainingResult:
    """Train a network of one output with Huber's loss.

    Parameters
    ----------
    module : Module
        ``(B, C, H, W) -> (B, 1)``; trained in place.
    train, validation, options, progress, keep, peers
        As for :func:`train`; the labels of batches are positions in ``values``.
    values : float32 (n,)
        Standardised quantity.
    sample_weights : pair of float64 arrays, optional
        As for :func:`train`.

    Returns
    -------
    TrainingResult
        See :func:`train`.
    """
    objective = Quantity(torch.from_numpy(values))
    return _Training(module, train, validation, options, objective, progress, keep, peers, sample_weights).run()


def train_autoencoder(
    module: nn.Module,
    train: Batches,
    validation: Batches | None,
    options: TrainingOptions,
    *,
    mask: Tensor | NDArray[np.bool_] | None = None,
    progress: Progress | None = None,
    keep: Keep | None = None,
    peers: Peers | None = None,
) -> TrainingResult:
    """Train an auto-encoder with the mean squared error between its output and its input.

    Parameters
    ----------
    module : Module
        ``(B, C, H, W) -> (B, C, H, W)``; trained in place.
    train, validation, options, progress, keep, peers
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
        raise InputError("train_autoencoder: mask must leave a pixel, got one that leaves none")
    return _Training(module, train, validation, options, Reconstruction(pixels), progress, keep, peers).run()


class _Rejected(Exception):  # noqa: N818 - a run that went wrong by itself is no error
    """Ends the training of a run that is not to be used; holds why."""


class _Training:
    """One training: what its steps share."""

    def __init__(
        self,
        module: nn.Module,
        train: Batches,
        validation: Batches | None,
        options: TrainingOptions,
        objective: Objective,
        progress: Progress | None,
        keep: Keep | None,
        peers: Peers | None,
        sample_weights: Weights | None = None,
    ) -> None:
        if train.n_samples < 2:
            raise InputError(f"train: the batches must hold 2 samples or more, got {train.n_samples}")
        self.module, self.options, self.objective = module, options, objective
        self.train = train
        of_train, of_validation = sample_weights or (None, None)
        self.of_train, self.of_validation = _table(of_train), _table(of_validation)
        self.validation = validation if validation is not None and validation.n_samples else None
        self.progress, self.keep = progress or SilentProgress(), keep or Keep()
        self.epochs = options.resolve_epochs(len(train))
        self.stopping = Stopping(module, options, self.epochs)
        # Batch statistics of a single sample are useless and may not exist: a batch of one left over at the
        # end of an epoch is passed over. It is another sample after every shuffle.
        self.norm = any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in module.modules())
        self.skip_single = self.norm and len(train) < train.n_samples
        self.micro = MicroBatches(options.micro_batch, least=2 if self.norm else 1, progress=self.progress)
        self.peers = peers or Peers()
        self.history: list[dict[str, float]] = []
        self.step, self.spent = 0, 0.0

    def run(self) -> TrainingResult:
        start = time.perf_counter()
        rejected = None
        with torch_settings(self.options) as self.device:
            precision = resolve_precision(self.options.precision, self.device)
            half = half_type(precision)
            self.module.to(self.device)
            self.objective.to(self.device)
            if self.options.channels_last:
                self.module.to(memory_format=torch.channels_last)
            steps = self.epochs * len(self.train)
            self.optimizer = Optimizer(self.module, self.options, steps, self.device, half)
            layers = SharedLayers(self.module, self.peers)
            self.steps = Steps(self.module, self.objective, self.optimizer, self.micro, self.peers, layers, half)
            try:
                with layers.in_place():
                    stopped = self.go_on() or self.loop()
            except _Rejected as reason:
                stopped, rejected = "rejected", str(reason)
            finally:
                self.module.zero_grad(set_to_none=True)
                # Weights can only be saved when they are contiguous.
                self.module.to(memory_format=torch.contiguous_format)
            self.stopping.restore()
            self.module.eval()
        return TrainingResult(
            module=self.module,
            history=self.history,
            best_epoch=self.stopping.best_epoch,
            stopped=stopped,
            rejected=rejected,
            seconds=time.perf_counter() - start + self.spent,
            device=str(self.device),
            precision=precision,
            micro_batch=self.micro.most,
        )

    def loop(self) -> str:
        """Train epoch by epoch; say what ended it."""
        with self.progress.task("training", total=self.epochs * len(self.train)) as task:
            if self.history:
                task.advance(len(self.history) * len(self.train))
            for epoch in range(len(self.history) + 1, self.epochs + 1):
                start = time.perf_counter()
                row: dict[str, float] = {"epoch": epoch, **self.train_epoch(epoch, task), **self.validate()}
                row["learning_rate"] = self.optimizer.rate
                if self.optimizer.gates:
                    row["open_gates"] = self.optimizer.n_open_gates
                row["seconds"] = time.perf_counter() - start
                self.history.append(row)
                if row.get("open_gates") == 0:
                    raise _Rejected(
                        f"every gate closed in epoch {epoch}: gate_penalty {self.options.gate_penalty:g} is too "
                        "large, or no feature tells the samples apart"
                    )
                if "validation_loss" in row:
                    _require_finite(row["validation_loss"], epoch, "validation loss")
                stop = self.stopping.judge(epoch, row.get("validation_loss"))
                self.keep.epoch_ended(row, partial(self.state, stop), last=stop is not None)
                if stop:
                    return stop
        return "epochs"

    def state(self, stop: str | None) -> State:
        """All that the epochs to come depend on."""
        optimizer, rates = self.optimizer.state()
        best, judged = self.stopping.state()
        parts = {
            "module": self.module.state_dict(),
            "optimizer": optimizer,
            "best": best,
            "random": random_state(self.device),
        }
        tensors = {f"{part}/{name}": value for part, named in parts.items() for name, value in named.items()}
        values = {
            "history": self.history,
            "step": self.step,
            "stop": stop,
            "micro_batch": self.micro.most,
            "optimizer": rates,
            "stopping": judged,
        }
        return State(tensors, values)

    def go_on(self) -> str | None:
        """Take the state of the last epoch that was kept, if there is one; say what ended the training, if it has."""
        kept = self.peers.state_of_first(self.keep.kept())
        if kept is None:
            return None
        with self.keep.refusing_others():
            return self.take(kept)

    def take(self, kept: State) -> str | None:
        parts: dict[str, dict[str, Tensor]] = {"module": {}, "optimizer": {}, "best": {}, "random": {}}
        for key, value in kept.tensors.items():
            part, _, name = key.partition("/")
            parts[part][name] = value
        values = kept.values
        self.module.load_state_dict(parts["module"])
        self.optimizer.restore(parts["optimizer"], values["optimizer"])
        self.stopping.go_on(parts["best"], values["stopping"])
        self.history, self.step = values["history"], values["step"]
        self.micro.most = values["micro_batch"]
        self.spent = sum(row["seconds"] for row in self.history)
        set_random_state(parts["random"], self.device)
        stop: str | None = values["stop"]
        return stop

    def train_epoch(self, epoch: int, task: Any) -> dict[str, float]:
        self.module.train()
        self.train.set_epoch(epoch)
        tally = Tally(self.objective.n_classes, self.device)
        every = 1 if self.device.type == "cpu" else 16  # reading a number back from a GPU waits for it
        for batch in self.train:
            images, labels, weights = self.place(batch, self.of_train)
            # Batch normalisation waits for the parts of all processes.
            sizes = self.peers.sizes(len(images)) if self.norm else [len(images)]
            if sum(sizes) == 1 and self.skip_single:
                task.advance(1)
                continue
            loss = self.steps.make(images, labels, weights, tally, self.part(), max(sizes))
            self.step += 1
            if self.step % every:
                task.advance(1)
                continue
            value = float(loss.detach())
            _require_finite(value, epoch)
            task.advance(1, epoch=f"{epoch}/{self.epochs}", loss=value, **self.last_validation())
        tally.shared(self.peers)
        row = tally.row("train")
        row.pop("train_balanced_accuracy", None)
        _require_finite(row["train_loss"], epoch)
        return row

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        if self.validation is None:
            return {}
        self.module.eval()
        tally = Tally(self.objective.n_classes, self.device)
        for batch in self.validation:
            images, labels, weights = self.place(batch, self.of_validation)
            outputs = self.steps.outputs(images)
            tally.add(*self.objective(outputs, images, labels, weights), outputs, labels)
        tally.shared(self.peers)
        return tally.row("validation")

    def last_validation(self) -> dict[str, float]:
        last = self.history[-1] if self.history else {}
        return {
            name.replace("validation", "val"): last[name]
            for name in ("validation_loss", "validation_accuracy")
            if name in last
        }

    def part(self) -> Part | None:
        """Which part of the batch at hand is this process's, where several share it."""
        if self.peers.size == 1:
            return None
        rows, size = cast(FoldLoader, self.train).part  # which alone shares batches
        return Part(torch.from_numpy(rows), size)

    def place(
        self, batch: tuple[Tensor, Tensor | None, Tensor], table: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Put a batch on the device, with the weights of its samples."""
        images, labels, indices = batch
        images = images.to(self.device, non_blocking=True)
        if self.options.channels_last and images.shape[1] > 1:
            images = images.contiguous(memory_format=torch.channels_last)
        weights = None if table is None else table[indices.cpu()]
        labels, weights = (
            None if part is None else part.to(self.device, non_blocking=True) for part in (labels, weights)
        )
        return images, labels, weights


def _table(weights: NDArray[np.float64] | None) -> Tensor | None:
    return None if weights is None else torch.from_numpy(weights).float()


def _require_finite(value: float, epoch: int, what: str = "training loss") -> None:
    if not math.isfinite(value):
        raise _Rejected(f"{what} is {value} in epoch {epoch}: a lower learning_rate may help")
