"""Names of samples that are the beginning of others, as barcodes of TCGA are."""

from __future__ import annotations

from collections import Counter

from pixfold.errors import InputError
from pixfold.sources.options import ReadOptions
from pixfold.util.text import counted, listed

_SEPARATORS = str.maketrans("._ ", "---")
# Fewer characters in common say nothing.
_LEAST_PREFIX = 3


def compared(
    samples: list[str], table: str, key: str, names: list[str | None], prefix: int | None
) -> tuple[list[str | None], list[str]]:
    """Return names of rows and of samples as they are compared: whole, or their first characters.

    Parameters
    ----------
    samples : list of str
        Names of the samples.
    table, key : str
        The table and its column of names, for the message.
    names : list of str or None
        Names of its rows.
    prefix : int or None
        How many characters; None for all.

    Raises
    ------
    InputError
        When a row has a shorter name.
    """
    if prefix is None:
        return names, samples
    short = [name for name in names if name is not None and len(name) < prefix]
    if short:
        raise InputError(
            f"{table}: match must be a prefix that all names in column {key!r} have, got prefix:{prefix} and "
            f"{counted(len(short), 'shorter name')} ({listed(short)})"
        )
    rows = [None if name is None else _alike(name)[:prefix] for name in names]
    return rows, [_alike(name)[:prefix] for name in samples]


def _alike(name: str) -> str:
    """A name with one sign between its parts: R turns TCGA-AB-1234 into TCGA.AB.1234."""
    return name.translate(_SEPARATORS)


def offer(rows: list[str], samples: list[str], options: ReadOptions) -> str:
    """Say which prefix would match samples to rows, where one would; nothing is matched by a guess."""
    if options.prefix is not None:
        return ""
    best, found = 0, 0
    lengths = Counter(len(name) for name in rows)
    # Barcodes of one study have few lengths, and one name is the beginning of the other.
    candidates = {length for length, _ in lengths.most_common(3)} | {len(samples[0])}
    for length in sorted(candidates):
        known = Counter(_alike(name)[:length] for name in rows if len(name) >= length)
        n = sum(known.get(_alike(name)[:length], 0) == 1 for name in samples)
        if length >= _LEAST_PREFIX and n > found and max(known.values(), default=2) == 1:
            best, found = length, n
    if not found:
        return ""
    return (
        f"; {found:,} of {counted(len(samples), 'sample')} agree with a row in the first {best} characters: "
        f'match="prefix:{best}" (--match prefix:{best}) matches them so'
    )
