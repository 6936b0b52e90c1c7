"""The choices named "auto": from what the source is, then from its values."""

from __future__ import annotations

from typing import Any

from pixfold.normalize.normalizer import Normalizer
from pixfold.sources.base import Source
from pixfold.stream.scan import ValueFacts
from pixfold.util.text import counted, listed

# Fewer features, some of them 0 and 1 alone, are read as a mixture (yes or no beside ages and doses): counts have more
# features, or none like that.
_FEW_FEATURES = 100
# A logarithm draws in a long tail to the right. Values that reach hardly further to the right than to the left (normal
# ones reach 1.0 times as far, log-normal ones of sigma 0.25 1.3 to 1.7 times) are on such a scale already: log-ratios,
# M-values, z-scores. A shift and a logarithm of those cost the list of an additive network its lead over an F test's
# (benchmarks/list_bars, planted effects).
_LONG_TAIL = 1.25


def choose_normalizer(
    found: ValueFacts, source: Source, *, normalize: str, negative: str, missing: str
) -> tuple[Normalizer, list[str]]:
    """Resolve the choices named "auto".

    Parameters
    ----------
    found : ValueFacts
        What the values are.
    source : Source
        Says what its values are by their format, and names its features in the messages.
    normalize : str
        A preset, or "auto": genotypes -> "genotype"; sequences, and 0 and 1 alone -> "none"; counts -> library size,
        log1p and z-score; other numbers -> "log1p-zscore" where they have a long tail to the right, else "zscore".
    negative : {"auto", "error", "shift"}
        "auto" shifts where a logarithm would meet negative values.
    missing : {"error", "zero", "mean"}
        As for :class:`Normalizer`.

    Returns
    -------
    normalizer : Normalizer
        Not fitted.
    messages : list of str
        What was chosen and why, and what happens to negative values.

    Raises
    ------
    InputError
        For an unknown preset or option.
    """
    parts, messages = _chosen(found, source) if normalize == "auto" else ({"preset": normalize}, [])
    made = Normalizer(**parts, negative="error" if negative == "auto" else negative, missing=missing)
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


def _chosen(found: ValueFacts, source: Source) -> tuple[dict[str, Any], list[str]]:
    """Parts of a normaliser for this source, and the message that says why."""
    kind, whole = source.kind, found.is_whole_and_positive
    other = _why_neither_counts_nor_genotypes(found, source)
    parts: dict[str, Any]
    if kind == "sequences":
        parts, what, how = {"preset": "none"}, "sequences (their letters are one-hot)", "values stay as they are"
    elif kind == "genotypes" or (whole and found.largest == 2 and kind != "counts" and not other):
        values = "0, 1 and 2 alone" if whole else "dosages from 0 to 2"
        parts, what, how = {"preset": "genotype"}, f"genotypes ({values})", "(g - 2p) / sqrt(2p(1 - p))"
    elif whole and found.largest <= 1 and kind != "counts":
        parts, what, how = {"preset": "none"}, "presence and absence (0 and 1 alone)", "values stay as they are"
    elif whole and not other:
        parts = {"library_size": 1e4, "log": True, "scale": "zscore"}
        what, how = "counts (non-negative whole numbers)", "each sample to a sum of 10,000, log1p, z-score"
    else:
        why = other or " and ".join(
            reason
            for reason, holds in (("not all whole", not found.whole), ("some negative", found.n_negative))
            if holds
        )
        if found.right_tail < _LONG_TAIL:
            parts, how = {"preset": "zscore"}, "z-score without a logarithm"
            what = f"numbers without a long tail to the right ({why})"
        else:
            parts, how = {"preset": "log1p-zscore"}, "log1p, z-score"
            known = found.right_tail == found.right_tail
            tail = "with a long tail to the right" if known else "of too few samples to see a tail"
            what = f"numbers {tail} ({why})"
    return parts, [f"normalised as {what}: {how}"]


def _why_neither_counts_nor_genotypes(found: ValueFacts, source: Source) -> str | None:
    if source.categories:
        return "some are codes of categories"
    if source.kind == "mixed":
        return "inputs of several kinds"
    # 0, 1 and 2 in an array are genotypes, of which rare ones are 0 and 1 alone.
    mixture = source.kind == "table" or (source.kind == "matrix" and found.largest > 2)
    if mixture and found.n_binary and source.n_features < _FEW_FEATURES:
        return f"{counted(found.n_binary, 'column')} of 0 and 1 beside others"
    return None
