"""Packed genotypes, as the kernels read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.arrays.interop import NUMPY, Library
from pixfold.genotypes import PackedGenotypes


@dataclass(frozen=True, slots=True)
class Packed:
    """Packed genotypes; `dtype` is that of the dense values they stand for, which hold NaN for a missing one."""

    genotypes: PackedGenotypes

    @property
    def library(self) -> Library:
        """NumPy, whose arrays results are."""
        return NUMPY

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type of the values."""
        return self.genotypes.dtype

    @property
    def bits(self) -> NDArray[np.uint8]:
        """The packed rows."""
        return self.genotypes.bits

    @property
    def shape(self) -> tuple[int, int]:
        """Samples and features."""
        return self.genotypes.shape
