"""What files beside genotypes say of the samples: .fam, .psam and .sample, each a table of columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.sources.genotypes.text import lines_of, rows_of
from pixfold.util.text import counted

FAM_COLUMNS = ("family", "individual", "father", "mother", "sex", "phenotype")

_UNKNOWN = ("NA", "na", "NaN", "nan", ".", "")
_NOT_KNOWN = (*_UNKNOWN, "-9", "NONE")
_SEXES = {"1": "1", "2": "2", "M": "1", "F": "2", "m": "1", "f": "2", "male": "1", "female": "2"}
# What the columns of the formats mean, whatever else they hold.
_KINDS = {
    **dict.fromkeys(("family", "father", "mother", "FID", "PAT", "MAT", "SID"), "0 is missing"),
    **dict.fromkeys(("individual", "IID", "ID_1", "ID_2"), "text"),
    **dict.fromkeys(("sex", "SEX", "Sex"), "sex"),
}


@dataclass(frozen=True)
class Samples:
    """The samples of a file of genotypes.

    Attributes
    ----------
    path : Path or None
        The file that names them.
    names : list of str
        One per sample.
    columns : dict of str to tuple of str
        What the file says of them, as it stands there.
    likely : tuple of str
        The columns that are most likely meant for labels.
    plinks : bool
        Whether the columns are coded as PLINK does: phenotypes of 1 and 2, where 0 and -9 are missing.
    """

    path: Path | None
    names: list[str]
    columns: dict[str, tuple[str, ...]] = field(default_factory=dict)
    likely: tuple[str, ...] = ()
    plinks: bool = True

    def column(self, name: str, messages: list[str]) -> NDArray[Any]:
        """Return a column, missing values as None or NaN; numbers where all others are numbers."""
        if self.plinks or name in _KINDS:
            return fam_column(name, self.columns[name], messages)
        known = [None if value in _UNKNOWN else value for value in self.columns[name]]
        try:
            return _numbers(known)
        except ValueError:
            return np.array(known, dtype=object)


def fam_column(name: str, values: Sequence[str], messages: list[str]) -> NDArray[Any]:
    """Return a column of a .fam file, or one like it, by its name there; see :meth:`Samples.column`."""
    kind = _KINDS.get(name, "phenotype")
    if kind == "phenotype":
        return _phenotypes(values, messages)
    if kind == "sex":
        return _numbers([_SEXES.get(value) for value in values])
    return np.array([None if kind != "text" and value == "0" else value for value in values], dtype=object)


def read_fam(path: Path) -> Samples:
    """Read a .fam file, or raise InputError with the number of the line that is too short."""
    columns = list(zip(*rows_of(path, FAM_COLUMNS), strict=True)) or [()] * len(FAM_COLUMNS)
    named = dict(zip(FAM_COLUMNS, columns, strict=True))
    return Samples(path, _names(named, "individual", "family"), named, ("phenotype", "sex", "family"))


def read_psam(path: Path) -> Samples:
    """Read a .psam file: a header that begins with #FID or #IID, or the columns of a .fam file.

    Raises
    ------
    InputError
        For a line that is too short, a header without IID, and samples that are there twice.
    """
    lines = [line for _, line in lines_of(path)]
    while lines and lines[0].startswith("##"):
        del lines[0]
    first = lines[0].split()[:1] if lines else []
    if first in (["FID"], ["IID"]):
        raise InputError(f"{path}: the header must begin with #FID or #IID, got {first[0]!r}")
    if not first or not lines[0].startswith("#"):
        return read_fam(path)
    header = lines[0].lstrip("#").split()
    if "IID" not in header:
        raise InputError(f"{path}: the header must begin with #FID or #IID, got {' '.join(lines[0].split())[:40]!r}")
    columns = _table(path, header, n_header=1)
    names = _names(columns, "IID", "FID", "SID")
    _check_once(path, names)
    likely = tuple(name for name in header if name not in ("FID", "IID", "SID", "PAT", "MAT"))
    return Samples(path, names, columns, likely)


def read_sample(path: Path) -> Samples:
    """Read an Oxford .sample file: a line of names, a line of types (0, D, C, P, B), a line per sample.

    Raises
    ------
    InputError
        For a line that is too short, other types, and samples that are there twice.
    """
    head = [line.split() for _, (_, line) in zip(range(2), lines_of(path), strict=False)]
    if len(head) < 2 or len(head[1]) != len(head[0]) or not set(head[1]) <= set("0DCPB"):
        got = " ".join(head[1])[:40] if len(head) > 1 else "nothing"
        raise InputError(f"{path}: line 2 must hold the type of each column (0, D, C, P or B), got {got!r}")
    header = head[0]
    columns = _table(path, header, n_header=2)
    # Some files have one name, or zeros for the second.
    second = columns[header[1]] if len(header) > 1 and header[1] != "missing" else ()
    names = _names(columns, header[1], header[0]) if len(set(second)) > 1 else list(columns[header[0]])
    _check_once(path, names)
    return Samples(path, names, columns, tuple(header[3:]), plinks=False)


def _table(path: Path, header: Sequence[str], n_header: int) -> dict[str, tuple[str, ...]]:
    if len(set(header)) < len(header):
        twice = next(name for name in header if list(header).count(name) > 1)
        raise InputError(f"{path}: columns must have names of their own, got {twice!r} twice")
    rows = rows_of(path, header, skip=lambda line: line.startswith("##"), n_header=n_header)
    columns = list(zip(*rows, strict=True)) or [()] * len(header)
    return dict(zip(header, columns, strict=True))


def _names(columns: dict[str, tuple[str, ...]], first: str, *others: str) -> list[str]:
    """Names of samples: one column, and others before or behind it where it does not tell samples apart."""
    parts = [columns[first]]
    for n, other in enumerate(others):
        if len(set(zip(*parts, strict=True))) == len(columns[first]):
            break
        if other in columns and other != first:
            parts = [columns[other], *parts] if n == 0 else [*parts, columns[other]]
    return [":".join(fields) for fields in zip(*parts, strict=True)]


def _check_once(path: Path, names: list[str]) -> None:
    if len(set(names)) == len(names):
        return
    twice = next(name for name, count in Counter(names).items() if count > 1)
    raise InputError(f"{path}: samples must be there once each, got {twice!r} twice")


def _phenotypes(values: Sequence[str], messages: list[str]) -> NDArray[Any]:
    known: list[str | None] = [None if value in _NOT_KNOWN else value for value in values]
    try:
        numbers = _numbers(known)
    except ValueError:
        return np.array(known, dtype=object)
    found = set(np.unique(numbers[~np.isnan(numbers)]).tolist()) if numbers.dtype.kind == "f" else set(numbers.tolist())
    if found <= {-9.0, 0.0, 1.0, 2.0}:
        zeros = int(np.count_nonzero(numbers == 0))
        if zeros and 2.0 not in found:
            messages.append(
                f"{counted(zeros, 'sample')} of phenotype 0, which PLINK reads as missing: cases are 2, controls 1"
            )
        return _numbers([v if v is not None and float(v) not in (0.0, -9.0) else None for v in known])
    return np.where(numbers == -9, np.nan, numbers)


def _numbers(values: Sequence[str | None]) -> NDArray[Any]:
    """Whole numbers where none is missing, else floats with NaN; ValueError for anything else."""
    numbers = np.array([np.nan if value is None else float(value) for value in values], dtype=np.float64)
    whole = bool(np.isfinite(numbers).all()) and bool(np.all(numbers == np.floor(numbers)))
    return numbers.astype(np.int64) if whole else numbers
