"""Where attribution begins: zero, the training mean, or samples of other classes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pixfold.errors import InputError

# "zero" is 0 of the normalised values: with standardised features their training mean.
NAMES = ("zero", "mean", "others")
# Training samples of each class that stand for it.
PER_CLASS = 16


@dataclass(frozen=True)
class Baselines:
    """Images without what is to be explained.

    Parameters
    ----------
    image : tensor (1, C, H, W)
        The one baseline of all samples; used where there are no ``others``.
    others : tensor (n, C, H, W), optional
        Training samples; a sample is set against those of other classes than its own.
    classes : int64 tensor (n,), optional
        Their classes.
    """

    image: Tensor
    others: Tensor | None = None
    classes: Tensor | None = None

    @classmethod
    def constant(cls, value: float, shape: tuple[int, int, int], device: torch.device) -> Baselines:
        """Make baselines whose pixels all have one value."""
        return cls(torch.full((1, *shape), value, device=device))

    def one(self, classes: Tensor | None) -> Tensor:
        """One baseline for each image, ``(B, C, H, W)``, or ``(1, C, H, W)`` where all have the same.

        Samples of other classes are taken in turn, so that every one of them serves.
        """
        if self.others is None:
            return self.image
        chosen = []
        for at, label in enumerate(self._labels(classes)):
            rows = self._rows(label)
            chosen.append(rows[at % len(rows)])
        return self.others[torch.stack(chosen)]

    def several(self, label: int | None) -> Tensor:
        """All baselines for images of one class, ``(n, C, H, W)``, two or more."""
        if self.others is None:
            return self.image.expand(2, -1, -1, -1).clone()
        if label is None:
            raise InputError("attribute: baseline 'others' needs samples with classes, got none")
        rows = self._rows(label)
        found = self.others[rows]
        return found if len(found) > 1 else found.expand(2, -1, -1, -1).clone()

    def _labels(self, classes: Tensor | None) -> list[int]:
        if classes is None:
            raise InputError("attribute: baseline 'others' needs samples with classes, got none")
        return [int(label) for label in classes]

    def _rows(self, label: int) -> Tensor:
        assert self.classes is not None  # others come with their classes
        rows = torch.nonzero(self.classes != label).flatten()
        if not len(rows):
            raise InputError("attribute: baseline 'others' needs training samples of two classes, got those of one")
        return rows
