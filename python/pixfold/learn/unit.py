"""The unit in which a quantity is learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Unit:
    """Center and scale of a quantity: what is learned has the mean 0 and the standard deviation 1."""

    center: float
    scale: float

    @classmethod
    def of(cls, values: Floats) -> Self:
        """Take the unit from values; of those that are all the same the scale is 1."""
        center = float(values.mean())
        # In two steps: the squares of large values may be too large for a number.
        most = float(np.abs(values - center).max())
        return cls(center, 1.0 if most == 0.0 else most * float(((values - center) / most).std()))

    def of_values(self, values: Floats) -> Floats:
        """Give values in this unit."""
        return (values - self.center) / self.scale

    def back(self, outputs: NDArray[np.floating], known: Floats, weights: Floats | None = None) -> Floats:
        """Give outputs, which are 0 on average over the training samples, in the target's own unit.

        Parameters
        ----------
        outputs : float (n,)
            In this unit.
        known : float64 (n_train,)
            The quantity of the training samples.
        weights : float64 (n_train,), optional
            How much each of them counted.
        """
        return mean_of(known, weights) + self.scale * outputs.astype(np.float64)


def mean_of(values: Floats, weights: Floats | None = None) -> float:
    """Mean of a quantity, in which samples count by their weights."""
    return float(values.mean() if weights is None else np.average(values, weights=weights))
