"""PLINK 2 genotypes: a .pgen file with .pvar (or .pvar.zst, .bim) and .psam (or .fam) beside it, through Pgenlib."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.sources.base import check_size
from pixfold.sources.disk.changes import Unchanged
from pixfold.sources.genotypes.codes import packed_rows, room_for
from pixfold.sources.genotypes.pgen_header import read_header
from pixfold.sources.genotypes.samples import read_fam, read_psam
from pixfold.sources.genotypes.text import beside
from pixfold.sources.genotypes.variant_major import VariantSource
from pixfold.sources.genotypes.variants import read_bim, read_pvar
from pixfold.sources.options import ReadOptions
from pixfold.util.optional import require
from pixfold.util.text import counted, reason_of


def open_pgen(path: Path, options: ReadOptions) -> PgenSource:
    """Open a .pgen file; see :class:`PgenSource`."""
    return PgenSource(path, options)


class PgenSource(VariantSource):
    """A .pgen file. Names and labels are read when it is opened, genotypes when they are asked for.

    A value is the number of alternate alleles, so that a file has the values of the .bed file that
    ``plink2 --make-bed`` writes of it (whose A1 is ALT). Where a variant has several alternate alleles, any of them
    counts. Missing calls stay missing. Where any variant has dosages, values are these (float32), and calls where there
    is none; with ``hard_calls`` they are the calls.

    Parameters
    ----------
    path : Path
        The .pgen file.
    options : ReadOptions, optional
        Its ``label``, ``groups`` and ``covariates`` are columns of the .psam file by their names there (SEX, PHENO1,
        ...), or of the .fam file; ``hard_calls`` as above. NA, nan and -9 are missing, NONE too, and 0 where all
        phenotypes are of -9, 0, 1 and 2.

    Raises
    ------
    InputError
        When a file is not there, is damaged, or disagrees with the others, or the column does not exist.
    MissingDependencyError
        When Pgenlib is not installed.
    """

    def __init__(self, path: Path, options: ReadOptions | None = None) -> None:
        require("pgenlib", "genotypes", "reading .pgen files")
        name, options, messages = str(path), options or ReadOptions(), list[str]()
        about, place = beside(path, ".psam", ".fam"), beside(path, ".pvar", ".pvar.zst", ".bim")
        samples = (read_psam if about.suffix == ".psam" else read_fam)(about)
        variants = (read_bim if place.suffix == ".bim" else read_pvar)(place)
        n_samples, n_variants = len(samples.names), len(variants.names)
        check_size(name, n_samples, n_variants)
        header = read_header(path)
        for found, wanted, what, file in (
            (header.n_samples, n_samples, "sample", about),
            (header.n_variants, n_variants, "variant", place),
        ):
            if found not in (None, wanted):
                raise InputError(
                    f"{path}: the file must hold {counted(wanted, what)}, as {file.name} does, got "
                    f"{counted(int(found or 0), what)}"
                )
        self._unchanged = Unchanged(name, path)
        self._path = path.resolve()
        self._alleles = variants.allele_ends()
        self._reader: tuple[int, Any] | None = None
        self._turn = threading.Lock()
        super().__init__(
            name,
            samples,
            variants.once(messages),
            options,
            packed=options.hard_calls or not header.dosages,
            messages=messages,
        )
        self._open()

    def read_variants(self, first: int, last: int, samples: slice = slice(None)) -> NDArray[Any]:
        """Read some variants; see :meth:`VariantSource.read_variants`."""
        start, stop, _ = samples.indices(self.n_samples)
        step = self.variants_at_once(1 if self.packed else 4)
        width, dtype = (-(-(stop - start) // 4), np.uint8) if self.packed else (stop - start, np.float32)
        out = np.empty((last - first, width), dtype=dtype)
        for at in range(first, last, step):
            end = min(at + step, last)
            out[at - first : end - first] = self._decoded(at, end, start, stop)
        return out

    def __getstate__(self) -> dict[str, Any]:
        """Leave what is open behind: another process opens its own."""
        return {**super().__getstate__(), "_reader": None, "_turn": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`__getstate__` left."""
        super().__setstate__(state)
        self._turn = threading.Lock()

    def _decoded(self, first: int, last: int, start: int, stop: int) -> NDArray[Any]:
        # Copies of REF: what is not REF is counted, however many alternate alleles there are.
        if self.packed:
            calls = room_for(last - first, self.n_samples)
            self._fill("read_range", first, last, calls)
            return packed_rows(calls)[:, start // 4 : -(-stop // 4)]
        dosages = np.empty((last - first, self.n_samples), dtype=np.float32)
        self._fill("read_dosages_range", first, last, dosages)
        part = dosages[:, start:stop]
        part[part < 0] = np.nan
        return np.subtract(2, part, out=part)

    def _fill(self, method: str, first: int, last: int, out: NDArray[Any]) -> None:
        with self._turn:
            self._unchanged.check()
            reader = self._open()
            try:
                getattr(reader, method)(first, last, out, allele_idx=0)
            except RuntimeError as error:
                self._unchanged.check()
                raise InputError(
                    f"{self.name}: variants {first + 1:,} to {last:,} cannot be read, the file is damaged "
                    f"(Pgenlib: {reason_of(error)})"
                ) from error

    def _open(self) -> Any:
        """Return the reader of this process: its place in the file is its own."""
        if self._reader is None or self._reader[0] != os.getpid():
            pgenlib = require("pgenlib", "genotypes", "reading .pgen files")
            more = {} if self._alleles is None else {"allele_idx_offsets": self._alleles}
            try:
                made = pgenlib.PgenReader(
                    os.fsencode(self._path), raw_sample_ct=self.n_samples, variant_ct=self.n_features, **more
                )
            except RuntimeError as error:
                reason = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else str(error)
                raise InputError(f"{self.name}: the file is damaged (Pgenlib: {reason_of(reason)})") from error
            self._reader = os.getpid(), made
        return self._reader[1]
