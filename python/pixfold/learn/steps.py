"""Steps of a training: batches go through the network, in parts where memory is short, and move its weights."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from pixfold.errors import InputError
from pixfold.learn.micro_batches import MicroBatches
from pixfold.learn.objectives import Objective, Tally
from pixfold.learn.optimizer import Optimizer
from pixfold.learn.peers import Peers
from pixfold.learn.shared_layers import SharedLayers


@dataclass(frozen=True)
class Part:
    """The part of a batch that one of several processes has.

    Attributes
    ----------
    rows : int64 tensor (n,)
        Places of its samples in the whole batch.
    size : int
        Samples of the whole batch.
    """

    rows: Tensor
    size: int


@dataclass(frozen=True)
class Steps:
    """Makes the steps of one training.

    Attributes
    ----------
    module, objective, optimizer
        What is trained, for what, and how.
    micro : MicroBatches
        How many samples go through the network at once.
    peers : Peers
        Processes that make each step together.
    layers : SharedLayers
        Layers that look at the whole batch of all of them.
    half : torch.dtype or None
        Type of 16 bits that the network computes with.
    """

    module: nn.Module
    objective: Objective
    optimizer: Optimizer
    micro: MicroBatches
    peers: Peers
    layers: SharedLayers
    half: torch.dtype | None

    def make(
        self,
        images: Tensor,
        labels: Tensor | None,
        weights: Tensor | None,
        tally: Tally,
        part: Part | None,
        most: int,
    ) -> Tensor:
        """Make one step from a batch and add it to the tally; give its loss.

        Parameters
        ----------
        images, labels, weights
            Of this process: its samples, and how much each counts.
        tally : Tally
            Of this process.
        part : Part or None
            Which part of a batch they are, where several processes share it.
        most : int
            Samples of the largest part that a process has.

        Returns
        -------
        Tensor
            Mean loss of the whole batch.
        """
        work = partial(self._made, images, labels, weights, tally, part)
        # Processes stand within a layer together: none can begin again by itself.
        return self.micro.done(len(images), work, most=most, alone=part is None or not self.layers.wait)

    def outputs(self, images: Tensor) -> Tensor:
        """Outputs without a step."""
        return self.micro.done(len(images), partial(self._outputs, images))

    def _outputs(self, images: Tensor, parts: list[slice]) -> Tensor:
        return torch.cat([self._forward(images[part]) for part in parts]) if len(parts) > 1 else self._forward(images)

    def _made(
        self,
        images: Tensor,
        labels: Tensor | None,
        weights: Tensor | None,
        tally: Tally,
        own: Part | None,
        parts: list[slice],
    ) -> Tensor:
        self.optimizer.clear()
        found: list[tuple[Tensor, Tensor, Tensor, Tensor | None]] = []
        divisor: Tensor | None = None
        if own is not None:
            # The same in all processes: batch normalisation mixes what their losses say.
            divisor = torch.tensor(own.size * self.objective.weight_of_one(images), device=images.device)
        for part in parts:
            some = images[part], None if labels is None else labels[part]
            counts = None if weights is None else weights[part]
            if own is not None:
                self.layers.batch(own.rows[part], own.size)
            outputs = self._forward(some[0])
            # Without a sample of its own a process still stands by the others.
            total, weight = (
                self.objective(outputs, *some, counts) if len(outputs) else (outputs.sum(), outputs.new_zeros(()))
            )
            # Divided by about the weight of a batch, so that 16 bits suffice; by the exact one at the end.
            divisor = weight if divisor is None else divisor
            self.optimizer.add(total / divisor)
            found.append((total.detach(), weight, outputs.detach(), some[1]))
        assert divisor is not None  # a batch has a part
        whole = found[0][1] if len(found) == 1 else torch.stack([weight for _, weight, _, _ in found]).sum()
        total = torch.stack([total for total, _, _, _ in found]).sum()
        if own is None:
            self.optimizer.step(None if len(found) == 1 else divisor / whole)
        else:
            total, whole = self.optimizer.share(self.peers, torch.stack([total, whole.to(total.dtype)]))
            self.optimizer.step(divisor / whole)
        # Only now: what memory does not suffice for is done again.
        for each in found:
            if len(each[2]):
                tally.add(*each)
        return total / whole

    def _forward(self, images: Tensor) -> Tensor:
        half = self.half
        try:
            with nullcontext() if half is None else torch.autocast(images.device.type, dtype=half):
                outputs: Tensor = self.module(images)
        except ValueError as error:
            if "more than 1 value per channel" in str(error):
                raise InputError(
                    "train: batch_size must be 2 or more for a network with batch normalisation, got batches of 1"
                ) from error
            raise
        return outputs.float()
