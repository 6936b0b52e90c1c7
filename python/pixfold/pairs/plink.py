"""PLINK's statistic of two genotypes, to compare with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_SAMPLES = 16 * 2**20
# Weights of the 3 x 3 genotypes in the four cells of the table of alleles: each sample counts as four pairs of them.
_COPIES = np.array([0.0, 1.0, 2.0])
_CELLS = np.stack(
    [
        np.outer(2 - _COPIES, 2 - _COPIES).ravel(),
        np.outer(2 - _COPIES, _COPIES).ravel(),
        np.outer(_COPIES, 2 - _COPIES).ravel(),
        np.outer(_COPIES, _COPIES).ravel(),
    ]
)
_SIGNS = np.array([1.0, -1.0, -1.0, 1.0])


def fast_epistasis(a: NDArray[np.float64], b: NDArray[np.float64], cases: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Z of the difference between the allelic log odds ratios of cases and of the others.

    Genotypes of two variants in one group become a 2 x 2 table of alleles with counts A, B, C, D, in which a sample
    counts four times. Z = (log(AD/BC) of cases - that of the others) / sqrt(V of cases + V of the others), as PLINK's
    ``--fast-epistasis`` (Purcell et al., Am J Hum Genet 2007). V is not 1/A + 1/B + 1/C + 1/D, which takes the four
    pairs of alleles of a sample for independent, but the delta method's of the nine genotype counts n:
    V = sum(n g^2), g = wA/A - wB/B - wC/C + wD/D with w the times that a genotype counts in a cell (Ueki and Cordell,
    Improved statistics for genome-wide interaction analysis, PLoS Genet 2012). 1/2 is added to the cells of a table
    that has an empty one.

    Parameters
    ----------
    a, b : float64 array (k, n)
        0, 1, 2 copies; NaN is missing, and leaves the sample out of the pair.
    cases : bool array (k, n)
        Samples of the class.

    Returns
    -------
    float64 array (k,)
        0 where a group has no samples.
    """
    k, n = a.shape
    out = np.zeros(k)
    step = max(1, _SAMPLES // (16 * n))
    for first in range(0, k, step):
        part = slice(first, first + step)
        known = ~np.isnan(a[part]) & ~np.isnan(b[part])
        code = np.where(known, 3 * np.nan_to_num(a[part]) + np.nan_to_num(b[part]), 0).astype(np.int64)
        code += 9 * np.arange(len(code))[:, None]
        groups = []
        for group in (cases[part], ~cases[part]):
            chosen = code[known & group]
            counts = np.bincount(chosen, minlength=9 * len(code)).reshape(-1, 9).astype(np.float64)
            table = counts @ _CELLS.T
            table += np.where((table == 0).any(axis=1, keepdims=True), 0.5, 0.0)
            gradient = (_SIGNS / table) @ _CELLS
            groups.append((np.log(table) @ _SIGNS, (counts * gradient**2).sum(axis=1), counts.sum(axis=1)))
        (log_r, var_r, n_r), (log_s, var_s, n_s) = groups
        variance = var_r + var_s
        usable = (variance > 0) & (n_r > 0) & (n_s > 0)
        out[part] = np.where(usable, (log_r - log_s) / np.sqrt(np.where(usable, variance, 1)), 0)
    return out
