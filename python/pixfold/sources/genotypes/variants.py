"""What .bim and .pvar files say of the variants: names, places and alleles."""

from __future__ import annotations

import dataclasses
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.sources.base import unique_names
from pixfold.sources.disk.zarr_files import Place
from pixfold.sources.genotypes.text import lines_of, rows_of

BIM_COLUMNS = ("chromosome", "variant", "morgans", "position", "allele_1", "allele_2")
_PVAR_COLUMNS = ("CHROM", "POS", "ID", "REF", "ALT")


@dataclass(frozen=True)
class Variants:
    """The variants of a file of genotypes, in its order.

    Attributes
    ----------
    path : Path or Address
        The file that names them.
    names : list of str
        Identifiers; a variant that has none, or one that others have too, is named by its place and alleles.
    annotation : dict of str to ndarray
        ``chromosome`` (text), ``position`` (int64), ``counted_allele`` and ``other_allele`` (text).
    """

    path: Place
    names: list[str]
    annotation: dict[str, NDArray[Any]]

    def once(self, messages: list[str]) -> Variants:
        """Return the same variants with each name there once: later ones get a number, and ``messages`` says so."""
        return dataclasses.replace(self, names=unique_names(self.names, messages, "variant"))

    def allele_ends(self) -> NDArray[np.uintp] | None:
        """Where the alleles of each variant begin among those of all, and their number; None where all have two."""
        counted = self.annotation["counted_allele"]
        more = np.fromiter((text.count(",") for text in counted), dtype=np.uintp, count=len(counted))
        return np.concatenate([np.zeros(1, np.uintp), np.cumsum(more + 2, dtype=np.uintp)]) if more.any() else None


class VariantsBuilder:
    """Variants, one after the other; texts that many of them share are held once.

    Parameters
    ----------
    path : Path or Address
        The file or store, for messages.
    """

    def __init__(self, path: Place) -> None:
        self._path = path
        self._ids, self._places = list[str](), array("q")
        self._chromosomes, self._counted, self._others = list[str](), list[str](), list[str]()
        self._held = dict[str, str]()

    def add(self, chromosome: str, position: str | int, identifier: str, counted: str, other: str) -> None:
        """Take a variant over.

        Raises
        ------
        InputError
            When its position is no whole number.
        """
        try:
            self._places.append(int(position))
        except (ValueError, OverflowError):
            raise InputError(
                f"{self._path}: variant {len(self._ids) + 1:,} ({identifier!r}): its position must be a whole number, "
                f"got {str(position)[:40]!r}"
            ) from None
        self._ids.append(identifier)
        held = self._held.setdefault
        self._chromosomes.append(held(chromosome, chromosome))
        self._counted.append(held(counted, counted))
        self._others.append(held(other, other))

    def finish(self) -> Variants:
        """Return the variants. Names by place give the counted allele last: it is ALT in all files of PLINK 2."""
        chromosome, counted, other = map(_objects, (self._chromosomes, self._counted, self._others))
        position = np.array(self._places, dtype=np.int64)
        names = variant_names(self._ids, chromosome, position, other, counted)
        annotation = {
            "chromosome": chromosome,
            "position": position,
            "counted_allele": counted,
            "other_allele": other,
        }
        return Variants(self._path, names, annotation)


def read_bim(path: Path) -> Variants:
    """Read a .bim file. Its first allele (A1) is the one that is counted."""
    found = VariantsBuilder(path)
    for chromosome, identifier, _, position, first, second in rows_of(path, BIM_COLUMNS):
        found.add(chromosome, position, identifier, first, second)
    return found.finish()


def read_pvar(path: Path) -> Variants:
    """Read a .pvar file (or .pvar.zst): with the header #CHROM POS ID REF ALT, or as .bim without it.

    The alternate alleles are those that are counted.

    Raises
    ------
    InputError
        For a line that is too short, another header and positions that are no numbers.
    """
    header = next((line for _, line in lines_of(path) if not line.startswith("##")), "")
    if not header.startswith(("#", "CHROM")):
        return read_bim(path)
    columns = header.lstrip("#").split()
    if tuple(columns[:5]) != _PVAR_COLUMNS:
        raise InputError(
            f"{path}: the header must begin with #{' '.join(_PVAR_COLUMNS)}, got {' '.join(header.split()[:5])!r}"
        )
    found = VariantsBuilder(path)
    rows = rows_of(path, _PVAR_COLUMNS, skip=lambda line: line.startswith("##"), n_header=1)
    for chromosome, position, identifier, ref, alt in rows:
        found.add(chromosome, position, identifier, alt, ref)
    return found.finish()


def variant_names(
    ids: Sequence[str],
    chromosome: NDArray[Any],
    position: NDArray[np.int64],
    first: NDArray[Any],
    second: NDArray[Any],
) -> list[str]:
    """Names of variants: their identifiers where these tell them apart, else chromosome:position:allele:allele."""

    def place(i: int) -> str:
        return f"{chromosome[i]}:{position[i]}:{first[i]}:{second[i]}"

    names = [place(i) if name in (".", "") else name for i, name in enumerate(ids)]
    if len(set(names)) == len(names):
        return names
    counts = Counter(names)
    return [place(i) if counts[name] > 1 else name for i, name in enumerate(names)]


def _objects(values: Sequence[str]) -> NDArray[Any]:
    out = np.empty(len(values), dtype=object)
    out[:] = values
    return out
