"""The formula that every normalisation is: its parts, which presets are names for, and its parameters once fitted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Float64Array = NDArray[np.float64]

SCALES = ("minmax", "zscore", "max", "genotype")


@dataclass(frozen=True)
class Parts:
    """What a preset is a name for.

    Attributes
    ----------
    library_size : float or None
        Every sample is first scaled to this sum.
    log : bool
        Whether g is log1p.
    scale : {"minmax", "zscore", "max", "genotype"} or None
        How shift and scale are learned.
    lift : bool
        Whether the preset lifts features with negative values by their training minimum.
    """

    library_size: float | None = None
    log: bool = False
    scale: str | None = None
    lift: bool = False


PRESETS: dict[str, Parts] = {
    "none": Parts(),
    "log1p": Parts(log=True),
    "minmax": Parts(scale="minmax"),
    "log1p-minmax": Parts(log=True, scale="minmax"),
    "norm2": Parts(log=True, scale="max", lift=True),
    "cp10k-log1p": Parts(library_size=1e4, log=True),
    "zscore": Parts(scale="zscore"),
    "log1p-zscore": Parts(log=True, scale="zscore"),
    "genotype": Parts(scale="genotype"),
}


@dataclass(frozen=True)
class Accepted:
    """Which values the formula has an answer for; all others are refused.

    Attributes
    ----------
    missing, negative : bool
        Whether NaN, and values below 0, are accepted.
    genotypes_only : bool
        Whether a value must be 0, 1, 2 or missing.
    feature_names : sequence of str or None
        How messages call the features; by number without.
    """

    missing: bool
    negative: bool
    genotypes_only: bool
    feature_names: Sequence[str] | None = None

    def refuses(self, missing: int, negative: int) -> bool:
        """Whether so many missing and negative values are an error."""
        return (missing > 0 and not self.missing) or (negative > 0 and not self.negative)


class Fitted(ABC):
    """What the ops take as `normalizer`: anything that has a fitted formula."""

    @abstractmethod
    def parameters(self) -> Formula:
        """Give the fitted formula.

        Raises
        ------
        InputError
            Before anything was fitted.
        """

    @property
    @abstractmethod
    def learned(self) -> object:
        """An object that every fit replaces: torch.compile guards its identity."""


@dataclass(frozen=True, eq=False)
class Formula(Fitted):
    """The fitted formula, feature by feature; equal only to itself, so that caches can go by identity.

    ``y = clip((g((x + offset) * row_scale) - shift) * scale, lo, hi)``, and `fill` for a missing x.

    Attributes
    ----------
    log : bool
        g is log1p, else the identity.
    library_size : float or None
        row_scale is library_size over the sample's sum (0 for a sum of 0); 1 without.
    offset, shift, scale, fill : float64 array, shape (n_features,)
        In feature order.
    lo, hi : float
        Limits of y; infinite where there are none.
    clip_below_zero : bool
        Arguments of g below 0 are raised to 0.
    missing, negative : str
        The options of the normaliser for missing and negative values.
    accepted : Accepted
        Which values are no error.
    """

    log: bool
    library_size: float | None
    offset: Float64Array
    shift: Float64Array
    scale: Float64Array
    fill: Float64Array
    lo: float
    hi: float
    clip_below_zero: bool
    missing: str
    negative: str
    accepted: Accepted

    @property
    def n_features(self) -> int:
        """Number of features."""
        return int(self.offset.size)

    def parameters(self) -> Self:
        """Give itself: a formula can stand wherever a normaliser can."""
        return self

    @property
    def learned(self) -> object:
        """Itself."""
        return self

    def arrays(self) -> dict[str, Float64Array]:
        """The parameters per feature by their names."""
        return {"offset": self.offset, "shift": self.shift, "scale": self.scale, "fill": self.fill}
