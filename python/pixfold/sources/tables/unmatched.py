"""Where no sample is in a table of labels by its name: those that are files, and what the error says of others."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import PurePath

from pixfold.sources.base import Source

_LOOKED_AT = 20
_SHORTEST = 3


# What counting programs call samples: the files that they counted.
_FILE = re.compile(r".*[/\\].+|.+\.(?:bam|sam|cram|fastq|fq|cel|idat)(?:\.gz)?", re.IGNORECASE)


def without_folders(samples: Sequence[str]) -> list[str]:
    """Return the names of files without their folders, where all samples are files; else the samples as they are."""
    if not all(map(_FILE.fullmatch, samples)):
        return list(samples)
    return [PurePath(sample.replace("\\", "/")).name for sample in samples]


def without_paths(samples: Sequence[str], names: Collection[str]) -> list[str] | None:
    """Return the names of files without folders, and without as much of their endings as the table leaves out.

    Parameters
    ----------
    samples : sequence of str
        Names of samples, none of which is among ``names``.
    names : collection of str
        What a table calls samples.

    Returns
    -------
    list of str or None
        None unless all samples are files, and some of them are in the table so, no two by one name.
    """
    if not all(map(_FILE.fullmatch, samples)):
        return None
    found = without_folders(samples)
    while True:
        if any(name in names for name in found) and len(set(found)) == len(found):
            return found
        shorter = [name.rpartition(".")[0] or name for name in found]
        if shorter == found:
            return None
        found = shorter


def advice(source: Source, names: Sequence[str]) -> str:
    """Return what to do where no sample is among ``names``, to stand after the error; "" where nothing is known."""
    if len(set(names).intersection(source.feature_names)) >= min(2, source.n_features):
        return (
            "; the table names features of the data, so that its rows are features: a text table is read so with "
            "--transpose (transpose=True)"
        )
    for sample in source.sample_names[:_LOOKED_AT]:
        for name in names:
            if len(name) >= _SHORTEST and len(sample) >= _SHORTEST and (name in sample or sample in name):
                return f"; {name!r} and {sample!r} may be one sample: names are matched whole, so write them alike"
    return ""
