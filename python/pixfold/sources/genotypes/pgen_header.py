"""The header of a .pgen file: its counts, whether it holds dosages, and how large the file must be."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pixfold.errors import InputError
from pixfold.util.text import counted

_MAGIC = b"\x6c\x1b"
_BED = 0x01
_CALLS_OF_FIXED_WIDTH = 0x02
_DOSAGES_OF_FIXED_WIDTH = (0x03, 0x04)
_VARIABLE, _WITH_EXTENSIONS = 0x10, 0x11
_WITH_INDEX_FILE = (0x20, 0x21)
_MODES = (_CALLS_OF_FIXED_WIDTH, *_DOSAGES_OF_FIXED_WIDTH, _VARIABLE, _WITH_EXTENSIONS)
# The index of a file of variable width stands in blocks of this many variants.
_BLOCK = 2**16
_DOSAGES = 0x60
# Of the two bits that say which alleles are not known to be REF: that a list says it.
_LISTED = 3


@dataclass(frozen=True)
class PgenHeader:
    """What the header says.

    Attributes
    ----------
    n_samples, n_variants : int or None
        None where the file is a PLINK 1 .bed under another name, which does not say.
    dosages : bool
        Whether any variant has dosages beside its genotypes.
    """

    n_samples: int | None
    n_variants: int | None
    dosages: bool


def read_header(path: Path) -> PgenHeader:
    """Read the header, and compare the size of the file with it.

    Raises
    ------
    InputError
        When the file is no .pgen file, is cut off, or keeps its index in a file of its own.
    """
    with path.open("rb") as file:
        head = file.read(12)
        size = os.fstat(file.fileno()).st_size
        if head[:2] != _MAGIC or len(head) < 3:
            raise InputError(f"{path}: the file must be PLINK 2 .pgen (first bytes 6c 1b), got {head[:3].hex(' ')}")
        mode = head[2]
        if mode == _BED:
            return PgenHeader(None, None, dosages=False)
        if mode in _WITH_INDEX_FILE:
            raise InputError(
                f"{path}: the file keeps its index in a .pgen.pgi file, which is not read: write it anew with "
                f"plink2 --pfile {path.stem} --make-pgen --out NAME"
            )
        if mode not in _MODES:
            raise InputError(f"{path}: the storage mode (third byte) must be one of PLINK 2's, got {mode:#04x}")
        if len(head) < 12:
            raise InputError(f"{path}: the file is cut off: its header must be of 12 bytes, got {len(head)}")
        n_variants, n_samples = (int.from_bytes(head[at : at + 4], "little") for at in (3, 7))
        if not n_variants or not n_samples:
            what = f"{counted(n_variants, 'variant')} of {counted(n_samples, 'sample')}"
            raise InputError(f"{path}: the header must say how many variants and samples there are, got {what}")
        if mode == _CALLS_OF_FIXED_WIDTH:
            flags = -(-n_variants // 8) if head[11] >> 6 == _LISTED else 0
            _check_size(path, size, 12 + flags + n_variants * -(-n_samples // 4), exact=True)
        # What only Pgenlib knows to take apart may hold dosages; calls come out as they are among these.
        dosages = mode != _CALLS_OF_FIXED_WIDTH
        if mode == _VARIABLE:
            dosages = _indexed(path, file, size, n_variants, head[11])
        return PgenHeader(n_samples, n_variants, dosages)


def _indexed(path: Path, file: BinaryIO, size: int, n_variants: int, control: int) -> bool:
    """Go through the index of a file of variable width; return whether any variant has dosages."""
    if control & 15 > 7:
        return True  # of a layout that Pgenlib knows better
    wide, length_bytes = control & 4, (control & 3) + 1
    n_blocks = -(-n_variants // _BLOCK)
    starts = np.frombuffer(file.read(8 * n_blocks), dtype="<u8")
    dosages, n_bytes = False, 0
    for block in range(n_blocks):
        n = min(_BLOCK, n_variants - block * _BLOCK)
        kinds = file.read(n if wide else -(-n // 2))
        raw = np.frombuffer(file.read(n * length_bytes), dtype=np.uint8)
        if len(raw) < n * length_bytes or len(starts) < n_blocks:
            raise InputError(f"{path}: the file is cut off in its index of {counted(n_variants, 'variant')}")
        dosages = dosages or bool(wide and np.any(np.frombuffer(kinds, np.uint8) & _DOSAGES))
        lengths = raw.reshape(n, length_bytes).astype(np.int64) << (8 * np.arange(length_bytes))
        n_bytes = int(starts[block]) + int(lengths.sum())
        file.seek(n * (control >> 4 & 3) + (-(-n // 8) if control >> 6 == _LISTED else 0), os.SEEK_CUR)
    _check_size(path, size, n_bytes, exact=False)
    return dosages


def _check_size(path: Path, size: int, wanted: int, *, exact: bool) -> None:
    if size < wanted or (exact and size > wanted):
        what = "cut off" if size < wanted else "too long"
        raise InputError(f"{path}: the file is {what}: it must be of {wanted:,} bytes by its header, got {size:,}")
