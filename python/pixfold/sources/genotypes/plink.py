"""PLINK 1 genotypes: a .bed file with its .bim (variants) and .fam (samples) beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.genotypes import PackedGenotypes
from pixfold.sources.base import AnyRows, check_size, normalize_rows
from pixfold.sources.genotypes.bed_file import BedFile
from pixfold.sources.genotypes.samples import read_fam
from pixfold.sources.genotypes.text import beside
from pixfold.sources.genotypes.variant_major import VariantSource
from pixfold.sources.genotypes.variants import read_bim
from pixfold.sources.options import ReadOptions


def open_plink(path: Path, options: ReadOptions) -> PlinkSource:
    """Open a .bed file; see :class:`PlinkSource`."""
    return PlinkSource(path, options)


class PlinkSource(VariantSource):
    """A .bed file. Names and labels are read when it is opened, genotypes when they are asked for.

    A value is the number of copies of the first allele of the .bim file (A1), as of bed-reader's ``count_A1``. Missing
    genotypes stay missing. Most .bed files are variant-major; see :class:`VariantSource` for what reading samples
    costs then.

    Parameters
    ----------
    path : Path
        The .bed file.
    options : ReadOptions, optional
        Its ``label``, ``groups`` and ``covariates`` are columns of the .fam file: family, individual, father, mother,
        sex or phenotype. A phenotype of -9 or NA is missing, and 0 where all phenotypes are of -9, 0, 1 and 2; a sex of
        0 and a parent or family 0 are missing. Its ``y`` are labels beside the file.

    Raises
    ------
    InputError
        When a file is not there, has short lines or a size that disagrees with the others, or the column does not
        exist.
    """

    def __init__(self, path: Path, options: ReadOptions | None = None) -> None:
        name, messages = str(path), list[str]()
        fam, bim = beside(path, ".fam"), beside(path, ".bim")
        samples, variants = read_fam(fam), read_bim(bim).once(messages)
        n_samples, n_variants = len(samples.names), len(variants.names)
        check_size(name, n_samples, n_variants)
        self._bed = BedFile(path, n_samples, n_variants, fam.name, bim.name)
        super().__init__(
            name,
            samples,
            variants,
            options or ReadOptions(),
            packed=True,
            variant_major=self._bed.variant_major,
            messages=messages,
        )

    def read(self, rows: AnyRows) -> PackedGenotypes:
        """Read some samples; see :meth:`pixfold.sources.base.Source.read`."""
        if self.variant_major:
            found: PackedGenotypes = super().read(rows)
            return found
        return PackedGenotypes(self._bed.rows_at(normalize_rows(rows, self.n_samples, self.name)), self.n_features)

    def read_variants(self, first: int, last: int, samples: slice = slice(None)) -> NDArray[Any]:
        """Read rows of a variant-major file; see :meth:`VariantSource.read_variants`."""
        start, stop, _ = samples.indices(self.n_samples)
        return self._bed.rows(first, last)[:, start // 4 : -(-stop // 4)]

    # The file is read in the order that costs least, not in blocks of variants.

    def _band(self, first: int, last: int) -> PackedGenotypes:
        return PackedGenotypes.from_variants(self._bed.columns(first // 4, -(-last // 4)), last - first)

    def _gathered(self, wanted: NDArray[np.int64]) -> PackedGenotypes:
        bytes_, place = np.unique(wanted // 4, return_inverse=True)
        turned = PackedGenotypes.from_variants(self._bed.columns_at(bytes_), 4 * len(bytes_))
        return turned[4 * place + wanted % 4]
