"""The choices named "auto", from what kind of numbers the data are."""

from __future__ import annotations

from typing import Any

from pixfold.normalize.normalizer import Normalizer
from pixfold.sources.base import Source
from pixfold.stream.scan import Profile
from pixfold.util.text import counted, listed


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
