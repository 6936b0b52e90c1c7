"""What kind of numbers the data are, for the choices named "auto"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold._words import counted, listed
from pixfold.normalize import Normalizer
from pixfold.sources.base import Source, as_values


@dataclass(frozen=True)
class Profile:
    """Facts about the values of the samples that are used.

    Attributes
    ----------
    whole : bool
        All values that are there are whole numbers.
    smallest, largest : float
        Over all values.
    n_negative : int
        Values below zero.
    negative_features : int64 array
        Positions of the features that have any.
    """

    whole: bool
    smallest: float
    largest: float
    n_negative: int
    negative_features: NDArray[np.int64]

    @property
    def kind(self) -> str:
        """``"genotypes"`` (0, 1 and 2 alone, 2 among them), ``"counts"`` (whole, not negative) or ``"values"``."""
        if self.whole and self.smallest >= 0:
            return "genotypes" if self.largest == 2 else "counts"
        return "values"


def profile(source: Source, rows: NDArray[np.int64]) -> Profile:
    """Look at every value of some samples once, block by block.

    Parameters
    ----------
    source : Source
        Where samples are read from.
    rows : int64 array
        Samples that are looked at.

    Returns
    -------
    Profile
    """
    whole, smallest, largest, n_negative = True, np.inf, -np.inf, 0
    negative = np.zeros(source.n_features, dtype=bool)
    for start in range(0, len(rows), source.block_size):
        block = as_values(source.read(rows[start : start + source.block_size]))
        values: NDArray[Any] = block.data if source.is_sparse else block
        if source.is_sparse and values.size < block.shape[0] * block.shape[1]:
            smallest, largest = min(smallest, 0.0), max(largest, 0.0)
        if not values.size:
            continue
        there = values[~np.isnan(values)] if values.dtype.kind == "f" and np.isnan(values).any() else values
        if not there.size:
            continue
        smallest, largest = min(smallest, float(there.min())), max(largest, float(there.max()))
        whole = whole and (values.dtype.kind in "iub" or bool(np.all(there == np.floor(there))))
        below = values < 0
        if below.any():
            n_negative += int(np.count_nonzero(below))
            negative |= (
                np.bincount(block.indices[below], minlength=source.n_features) > 0
                if source.is_sparse
                else below.any(axis=0)
            )
    return Profile(whole, smallest, largest, n_negative, np.flatnonzero(negative))


def choose_normalizer(
    found: Profile, source: Source, *, normalize: str, negative: str, missing: str
) -> tuple[Normalizer, list[str]]:
    """Resolve the choices named "auto".

    Parameters
    ----------
    found : Profile
        What the values are.
    source : Source
        Names its features in the messages.
    normalize : str
        A preset, or "auto": genotypes -> "genotype", whole non-negative counts -> library size, log1p and z-score,
        all else -> "log1p-zscore".
    negative : {"auto", "error", "shift"}
        "auto" shifts where a logarithm would meet negative values.
    missing : {"error", "zero", "mean"}
        As for :class:`Normalizer`.

    Returns
    -------
    normalizer : Normalizer
        Not fitted.
    messages : list of str
        What was decided that the user might not expect.

    Raises
    ------
    InputError
        For an unknown preset or option.
    """
    messages = []
    # Genotype data mark missing calls; their preset has its own treatment of them.
    policy: dict[str, Any] = {"missing": missing}
    if normalize != "auto":
        made = Normalizer(normalize, negative="error" if negative == "auto" else negative, **policy)
    elif found.kind == "genotypes":
        made = Normalizer("genotype", **policy)
        messages.append("values are 0, 1 and 2: normalised as genotypes")
    elif found.kind == "counts":
        made = Normalizer(library_size=1e4, log=True, scale="zscore", **policy)
        messages.append(
            "values are whole and not negative: normalised as counts (each sample to a sum of 10,000, log1p, z-score)"
        )
    else:
        made = Normalizer("log1p-zscore", negative="error" if negative == "auto" else negative, **policy)
    if negative == "auto" and found.n_negative and made.parts.log and not made.parts.lift:
        made = made.with_options(negative="shift")
        names = [source.feature_names[j] for j in found.negative_features]
        messages.append(
            f"{counted(found.n_negative, 'negative value')} in "
            f"{counted(len(names), 'feature')} ({listed(names)}): "
            "each of these features is shifted by its training minimum before the logarithm "
            "(negative 'error' refuses them; the normaliser 'zscore' takes no logarithm)"
        )
    return made, messages
