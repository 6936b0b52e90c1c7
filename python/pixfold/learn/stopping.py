"""When to stop training, and which epoch's weights to keep."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pixfold.learn.optimizer import WARM_UP
from pixfold.learn.training_options import TrainingOptions


class Stopping:
    """Follows the validation loss: keeps the weights of the best epoch, and says when to stop.

    Parameters
    ----------
    module : Module
        Whose weights are kept.
    options : TrainingOptions
        Patience, the least improvement, the loss that is good enough.
    epochs : int
        Epochs at most.
    """

    def __init__(self, module: nn.Module, options: TrainingOptions, epochs: int) -> None:
        self._module, self._options = module, options
        self._patience = options.resolve_patience(epochs)
        # While the rates rise, batch statistics run behind and the validation loss may be worse than untrained.
        self._warm_up = math.ceil(WARM_UP * epochs) if options.schedule == "one-cycle" else 0
        self._best_loss = math.inf
        self._best: dict[str, Tensor] | None = None
        self.best_epoch = 0

    def judge(self, epoch: int, loss: float | None) -> str | None:
        """Take an epoch's validation loss (None: there is none); say why to stop, or None to go on."""
        if loss is None:
            self.best_epoch = epoch
            return None
        if loss < self._best_loss - self._options.min_delta:
            self._best_loss, self.best_epoch = loss, epoch
            self._best = {name: value.detach().clone() for name, value in self._module.state_dict().items()}
        if loss <= self._options.good_enough_loss:
            return "good enough"
        if epoch - max(self.best_epoch, self._warm_up) >= self._patience:
            return "early"
        return None

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Give what :meth:`go_on` needs: the weights of the best epoch, and plain values."""
        return dict(self._best or {}), {"best_epoch": self.best_epoch, "best_loss": self._best_loss}

    def go_on(self, weights: dict[str, Tensor], values: Mapping[str, Any]) -> None:
        """Go on where :meth:`state` was called."""
        self.best_epoch, self._best_loss = int(values["best_epoch"]), float(values["best_loss"])
        own = self._module.state_dict()
        # Without validation no weights are kept.
        self._best = {name: torch.empty_like(own[name]).copy_(value) for name, value in weights.items()} or None

    @torch.no_grad()
    def restore(self) -> None:
        """Give the module the weights of the best epoch; without validation it keeps the last."""
        if self._best is not None:
            self._module.load_state_dict(self._best)
