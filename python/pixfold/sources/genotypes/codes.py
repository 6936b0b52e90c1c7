"""Genotypes as the libraries of other formats give them, at a byte each, packed into PLINK 1's two bits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MISSING = -9
# Samples are packed eight at a time, as one word; rows are as long as that needs.
_WORD = 8
# What is worked on at once stays in the cache.
_CACHED_BYTES = 2**18


def room_for(n_variants: int, n_samples: int) -> NDArray[np.int8]:
    """Make an array for calls, (n_variants, n_samples) and some columns more, which :func:`packed_rows` ignores."""
    width = -(-n_samples // _WORD) * _WORD
    calls = np.empty((n_variants, width), dtype=np.int8)
    calls[:, n_samples:] = 0
    return calls


def packed_rows(calls: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Pack copies of the allele that is not counted.

    Parameters
    ----------
    calls : int8 array (n_variants, n), C-ordered, n a multiple of 8
        0, 1, 2, or -9 for a missing call. What else it holds gives a code of some kind.

    Returns
    -------
    uint8 array (n_variants, n / 4)
        Codes of two bits: 0 for 0 copies, 1 for a missing call, 2 for one copy, 3 for two.
    """
    out = np.empty((calls.shape[0], calls.shape[1] // 4), dtype=np.uint8)
    rows = max(1, _CACHED_BYTES // max(1, calls.shape[1]))
    for first in range(0, calls.shape[0], rows):
        _pack(calls[first : first + rows].view(np.uint64), out[first : first + rows])
    return out


def _pack(words: NDArray[np.uint64], out: NDArray[np.uint8]) -> None:
    """Pack eight bytes of each word: 0, 1, 2 and -9 are 00, 01, 10 and 0b11110111; their codes 00, 10, 11 and 01."""
    ones = np.uint64(0x0101010101010101)
    low = words >> np.uint64(1)  # bit 1 is set in 2 and -9, whose codes are odd
    high = words | low
    high &= ~(words >> np.uint64(2))  # bit 0 or bit 1, and not bit 2, which -9 alone has
    high &= ones
    low &= ones
    high <<= np.uint64(1)
    high |= low
    # Four codes, each in a byte of its own, come together in the uppermost byte.
    halves = high.view(np.uint32)
    halves *= np.uint32(1 << 24 | 1 << 18 | 1 << 12 | 1 << 6)
    out[:] = halves >> np.uint32(24)
