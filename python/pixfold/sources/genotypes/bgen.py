"""BGEN: dosages of imputed genotypes, with a .sample file beside them, through the package bgen."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.sources.base import check_size, numbered
from pixfold.sources.disk.changes import Unchanged
from pixfold.sources.genotypes.codes import MISSING, packed_rows, room_for
from pixfold.sources.genotypes.samples import Samples, read_sample
from pixfold.sources.genotypes.variant_major import VariantSource
from pixfold.sources.genotypes.variants import Variants, VariantsBuilder
from pixfold.sources.options import ReadOptions
from pixfold.util.optional import require
from pixfold.util.text import counted, reason_of

# PLINK's --hard-call-threshold: a dosage further than this from 0, 1 and 2 is no call.
_HARD_CALL = 0.1


def open_bgen(path: Path, options: ReadOptions) -> BgenSource:
    """Open a .bgen file; see :class:`BgenSource`."""
    return BgenSource(path, options)


class BgenSource(VariantSource):
    """A .bgen file. Names and labels are read when it is opened, dosages when they are asked for.

    A value is the dosage of the second allele, which is ALT where the first is REF (as in UK Biobank's files and those
    of ``plink2 --export bgen-1.2 ref-first``): P(het) + 2 P(hom), float32, NaN for missing ones. With ``hard_calls``
    values are 0, 1 and 2 at two bits; a dosage that is further than 0.1 from all of them is missing, as in PLINK.

    Versions 1.1, 1.2 and 1.3 are read, of any number of bits, phased or not, where all variants have two alleles and
    all samples two copies.

    Parameters
    ----------
    path : Path
        The .bgen file.
    options : ReadOptions, optional
        Its ``label``, ``groups`` and ``covariates`` are columns of the .sample file beside it; ``hard_calls`` as above.

    Raises
    ------
    InputError
        When the file is damaged, holds other variants, or disagrees with the .sample file, or the column does not
        exist.
    MissingDependencyError
        When bgen is not installed.
    """

    def __init__(self, path: Path, options: ReadOptions | None = None) -> None:
        require("bgen", "genotypes", "reading .bgen files")
        name, options, messages = str(path), options or ReadOptions(), list[str]()
        self.name, self._path = name, path.resolve()
        self._unchanged = Unchanged(name, path)
        self._reader: tuple[int, Any] | None = None
        self._turn = threading.Lock()
        header = self._open().header
        check_size(name, header.nsamples, header.nvariants)
        variants, self._offsets = self._scanned(path, header.nvariants)
        samples = self._named(path, header)
        self._reader = None  # one that has reached the end reads nothing more
        super().__init__(name, samples, variants.once(messages), options, packed=options.hard_calls, messages=messages)

    def read_variants(self, first: int, last: int, samples: slice = slice(None)) -> NDArray[Any]:
        """Read some variants; see :meth:`VariantSource.read_variants`."""
        start, stop, _ = samples.indices(self.n_samples)
        if not self.packed:
            dosages = np.empty((last - first, stop - start), dtype=np.float32)
            for row, found in zip(dosages, self._dosages(first, last), strict=True):
                row[:] = found[start:stop]
            return dosages
        calls = room_for(last - first, self.n_samples)
        for row, found in zip(calls, self._dosages(first, last), strict=True):
            row[: self.n_samples] = _other_copies(found)
        return packed_rows(calls)[:, start // 4 : -(-stop // 4)]

    def __getstate__(self) -> dict[str, Any]:
        """Leave what is open behind: another process opens its own."""
        return {**super().__getstate__(), "_reader": None, "_turn": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`__getstate__` left."""
        super().__setstate__(state)
        self._turn = threading.Lock()

    def _dosages(self, first: int, last: int) -> Any:
        for i in range(first, last):
            with self._turn:
                self._unchanged.check()
                try:
                    variant = self._open()[i]
                    if variant.fileoffset != self._offsets[i]:
                        raise ValueError("it stands elsewhere")
                    dosages, ploidy = variant.alt_dosage, variant.ploidy
                except (ValueError, IndexError, RuntimeError, OSError) as error:
                    self._unchanged.check()
                    raise self._damaged(i, error) from error
            if np.any(ploidy != 2):
                sample = int(np.flatnonzero(ploidy != 2)[0])
                raise InputError(
                    f"{self.name}: samples must have two copies of each variant, got {ploidy[sample]} of variant "
                    f"{self.feature_names[i]!r} in sample {self.sample_names[sample]!r}: write the autosomes alone "
                    f"(plink2 --bgen {self._path.name} ref-first --autosome --make-pgen --out NAME)"
                )
            yield dosages

    def _damaged(self, i: int, error: Exception) -> InputError:
        index = self._path.with_name(f"{self._path.name}.bgi")
        reason = f"the index {index.name} is of another file (remove it), or the" if index.exists() else "the"
        return InputError(
            f"{self.name}: variant {i + 1:,} ({self.feature_names[i]!r}) cannot be read: {reason} file is damaged or "
            f"cut off ({reason_of(error)})"
        )

    def _open(self) -> Any:
        """Return the reader of this process: its place in the file is its own."""
        if self._reader is None or self._reader[0] != os.getpid():
            bgen = require("bgen", "genotypes", "reading .bgen files")
            try:
                self._reader = os.getpid(), bgen.BgenReader(str(self._path))
            except Exception as error:  # of the file, or of SQLite about its index
                raise InputError(f"{self.name}: the file is damaged, or no BGEN ({reason_of(error)})") from error
        return self._reader[1]

    def _scanned(self, path: Path, n_variants: int) -> tuple[Variants, NDArray[np.int64]]:
        """Go through the file once, for what stands before the genotypes of each variant, and where it stands."""
        found, offsets, number = VariantsBuilder(path), np.zeros(n_variants, dtype=np.int64), 0
        size = path.stat().st_size
        try:
            for number, variant in enumerate(self._open()):
                alleles = variant.alleles
                if len(alleles) != 2:
                    raise InputError(
                        f"{path}: variants must have two alleles, got {len(alleles)} ({', '.join(alleles)[:40]}) of "
                        f"variant {number + 1:,} ({variant.rsid!r}): plink2 --bgen {path.name} ref-first "
                        "--max-alleles 2 --make-pgen --out NAME leaves it out"
                    )
                identifier = variant.rsid if variant.rsid not in ("", ".") else variant.varid
                found.add(variant.chrom or "0", variant.pos, identifier, alleles[1], alleles[0])
                offsets[number] = variant.fileoffset
                if variant.next_variant_offset > size:
                    raise ValueError("the last ends behind the end of the file")
        except (ValueError, IndexError, RuntimeError, OSError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"{path}: the file is damaged or cut off after {counted(number, 'variant')} of {n_variants:,} "
                f"({reason_of(error)})"
            ) from error
        return found.finish(), offsets

    def _named(self, path: Path, header: Any) -> Samples:
        beside = path.with_suffix(".sample")
        if beside.exists():
            samples = read_sample(beside)
            if len(samples.names) != header.nsamples:
                raise InputError(
                    f"{path}: the file must hold {counted(len(samples.names), 'sample')}, as {beside.name} does, got "
                    f"{counted(header.nsamples, 'sample')}"
                )
            return samples
        names = self._open().samples if header.has_sample_ids else numbered("sample", header.nsamples)
        return Samples(None, names)


def _other_copies(dosages: NDArray[np.float32]) -> NDArray[np.int8]:
    """Copies of the allele that is not counted, missing where a dosage is near no whole number."""
    whole = np.rint(dosages)
    called = np.abs(dosages - whole) <= _HARD_CALL
    return np.where(called, 2 - np.nan_to_num(whole), MISSING).astype(np.int8)
