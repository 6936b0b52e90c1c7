"""Alleles that a model counted, compared with those that new genotypes count: names alone do not say which it was."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.sources.base import Source
from pixfold.util.text import counted

# Columns of Source.feature_annotation.
ALLELES = _COUNTED, _OTHER = ("counted_allele", "other_allele")


def alleles_of(source: Source) -> dict[str, list[str]] | None:
    """Return the allele that is counted of each variant, and the other one; None for what is not genotypes."""
    about = source.feature_annotation
    if _COUNTED not in about or _OTHER not in about:
        return None
    return {name: [str(allele) for allele in about[name]] for name in ALLELES}


def check_alleles(source: Source, learned: dict[str, list[str]] | None, who: str) -> None:
    """Compare the alleles of new genotypes with those of the training.

    Parameters
    ----------
    source : Source
        New samples, with the features that were learned in their order; those that are absent have no alleles.
    learned : dict of str to list of str, or None
        What :func:`alleles_of` gave of the training data. None, and new data without alleles, are not compared.
    who : str
        The model, for messages.

    Raises
    ------
    InputError
        When a variant counts the other allele than in training, or has other alleles.
    """
    there = alleles_of(source)
    if learned is None or there is None:
        return
    ours, ours_other = _array(learned[_COUNTED]), _array(learned[_OTHER])
    new, new_other = _array(there[_COUNTED]), _array(there[_OTHER])
    absent = (new == "") & (new_other == "")
    swapped = (new == ours_other) & (new_other == ours) & (new != new_other)
    different = ~absent & ~swapped & (new != ours)
    for which, what, helps in (
        (swapped, "count the other allele than in training", "plink2 --ref-allele force FILE sets which one"),
        (different, "have other alleles than in training", "leave them out (--drop) and add --fill-missing"),
    ):
        if which.any():
            shown = [
                f"{source.feature_names[at]} counts {new[at]}, learned was {ours[at]}"
                for at in np.flatnonzero(which)[:3].tolist()
            ]
            number = counted(int(which.sum()), "variant")
            raise InputError(f"{source.name}: {number} of {who} {what} ({', '.join(shown)}); {helps}")


def _array(values: list[str]) -> NDArray[np.object_]:
    return np.array(values, dtype=object)
