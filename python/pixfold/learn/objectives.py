"""What training minimises, as sums and weights: any number of batches adds up to an exact mean."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from pixfold.errors import InputError
from pixfold.learn.peers import Peers


class Objective(Protocol):
    """A loss."""

    n_classes: int

    def to(self, device: torch.device) -> None:
        """Move what the loss holds to the device of the training."""

    def __call__(
        self, outputs: Tensor, images: Tensor, labels: Tensor | None, weights: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Sum of weighted losses, and sum of weights; ``weights`` are those of the samples."""

    def weight_of_one(self, images: Tensor) -> float:
        """Weight of a sample on average, about; the same for any part of a batch."""


class Classification:
    """Cross-entropy, weighted by class."""

    def __init__(self, n_classes: int, weights: Tensor | None) -> None:
        self.n_classes = n_classes
        self.weights = weights

    def to(self, device: torch.device) -> None:
        """Move the weights to a device."""
        if self.weights is not None:
            self.weights = self.weights.to(device)

    def __call__(
        self, outputs: Tensor, images: Tensor, labels: Tensor | None, weights: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """See :class:`Objective`."""
        if labels is None:
            raise InputError("train: the batches must have labels, got none")
        # A GPU checks the range itself; reading it back here would make the CPU wait for it.
        if labels.device.type == "cpu" and not 0 <= int(labels.min()) <= int(labels.max()) < self.n_classes:
            wrong = labels[(labels < 0) | (labels >= self.n_classes)][0]
            raise InputError(f"train: labels must lie in 0 to {self.n_classes - 1}, got {int(wrong)}")
        if weights is not None:
            each = nn.functional.cross_entropy(outputs, labels, reduction="none")
            weights = weights if self.weights is None else weights * self.weights[labels]
            return (weights * each).sum(), weights.sum()
        total = nn.functional.cross_entropy(outputs, labels, weight=self.weights, reduction="sum")
        weight = outputs.new_tensor(len(labels)) if self.weights is None else self.weights[labels].sum()
        return total, weight

    def weight_of_one(self, images: Tensor) -> float:
        """See :class:`Objective`."""
        return 1.0


class Quantity:
    """Huber's loss of one output: squared for small errors, so that far samples do not decide all.

    Parameters
    ----------
    values : float32 (n,)
        Standardised quantity of all samples of the job; the labels of batches are positions in it.
    """

    n_classes = 0

    def __init__(self, values: Tensor) -> None:
        self.values = values

    def to(self, device: torch.device) -> None:
        """Move the quantity to a device."""
        self.values = self.values.to(device)

    def __call__(
        self, outputs: Tensor, images: Tensor, labels: Tensor | None, weights: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """See :class:`Objective`."""
        if labels is None:
            raise InputError("train_quantity: the batches must have positions as labels, got none")
        if weights is not None:
            each = nn.functional.huber_loss(outputs[:, 0], self.values[labels], reduction="none")
            return (weights * each).sum(), weights.sum()
        total = nn.functional.huber_loss(outputs[:, 0], self.values[labels], reduction="sum")
        return total, outputs.new_tensor(len(labels))

    def weight_of_one(self, images: Tensor) -> float:
        """See :class:`Objective`."""
        return 1.0


class Reconstruction:
    """Squared error between output and input, over the pixels of a mask."""

    n_classes = 0

    def __init__(self, mask: Tensor | None) -> None:
        self.mask = mask

    def to(self, device: torch.device) -> None:
        """Move the mask to a device."""
        if self.mask is not None:
            self.mask = self.mask.to(device)

    def __call__(
        self, outputs: Tensor, images: Tensor, labels: Tensor | None, weights: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """See :class:`Objective`; every sample counts alike."""
        error = (outputs - images).square()
        if self.mask is None:
            return error.sum(), error.new_tensor(error.numel())
        return (error * self.mask).sum(), (self.mask.sum() * len(images)).to(error.dtype)

    def weight_of_one(self, images: Tensor) -> float:
        """See :class:`Objective`."""
        return float(images.shape[1:].numel() if self.mask is None else self.mask.sum())


class Tally:
    """Running loss and hits per class of one pass, kept on the device so that a GPU never waits for a number."""

    def __init__(self, n_classes: int, device: torch.device) -> None:
        exact = torch.float32 if device.type == "mps" else torch.float64
        self.loss = torch.zeros((), dtype=exact, device=device)
        self.weight = torch.zeros((), dtype=exact, device=device)
        self.hits = torch.zeros(n_classes, dtype=torch.int64, device=device)
        self.counts = torch.zeros(n_classes, dtype=torch.int64, device=device)

    @torch.no_grad()
    def add(self, total: Tensor, weight: Tensor, outputs: Tensor, labels: Tensor | None) -> None:
        """Add one batch: its sum of losses, its sum of weights, its outputs."""
        self.loss += total.detach()
        self.weight += weight
        if len(self.hits) and labels is not None:
            self.counts += torch.bincount(labels, minlength=len(self.counts))
            self.hits += torch.bincount(labels[outputs.argmax(1) == labels], minlength=len(self.hits))

    def shared(self, peers: Peers) -> None:
        """Add up what all processes have seen."""
        if peers.size > 1:
            sums = peers.sums(torch.cat([torch.stack([self.loss, self.weight]), self.hits, self.counts]))
            self.loss, self.weight = sums[0], sums[1]
            self.hits, self.counts = (part.round().long() for part in sums[2:].chunk(2))

    def row(self, part: str) -> dict[str, float]:
        """Columns of the history: loss, and for classes accuracy and balanced accuracy (mean recall)."""
        found = {f"{part}_loss": float(self.loss / self.weight)}
        if len(self.hits):
            found[f"{part}_accuracy"] = int(self.hits.sum()) / max(int(self.counts.sum()), 1)
            seen = self.counts > 0
            found[f"{part}_balanced_accuracy"] = float((self.hits[seen] / self.counts[seen]).mean())
        return found
