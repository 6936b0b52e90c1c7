"""Letters of sequences, and what each becomes in the channels of an image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_NUCLEOTIDES = {
    **{letter: letter for letter in "ACGT"},
    "U": "T",
    **{"R": "AG", "Y": "CT", "S": "CG", "W": "AT", "K": "GT", "M": "AC"},
    **{"B": "CGT", "D": "AGT", "H": "ACT", "V": "ACG", "N": "ACGT", "X": "ACGT"},
}
_RESIDUES = "ACDEFGHIKLMNPQRSTVWY"
# Selenocysteine and pyrrolysine are read as what they are made from.
_AMINO_ACIDS = {
    **{letter: letter for letter in _RESIDUES},
    **{"U": "C", "O": "K", "B": "DN", "Z": "EQ", "J": "IL", "X": _RESIDUES},
}
# Gaps of an alignment, and the end of a protein: no letter stands there.
_NOTHING = "-.*"

# Nucleotides are most of the letters of DNA, and about a quarter of those of a protein.
_MOSTLY = 0.9


@dataclass(frozen=True)
class Alphabet:
    """One kind of sequence.

    Attributes
    ----------
    name : str
        "DNA" or "protein".
    channels : str
        The letter of each channel.
    parts : dict of str to str
        The channels that a letter may stand for.
    """

    name: str
    channels: str
    parts: dict[str, str]

    def known(self) -> NDArray[np.bool_]:
        """Tell which of the 256 bytes are letters of it."""
        letters = np.zeros(256, dtype=bool)
        letters[[ord(letter) for letter in (*self.parts, *_NOTHING)]] = True
        return letters

    def table(self, counts: NDArray[np.int64], ambiguous: str) -> NDArray[np.uint8] | NDArray[np.float32]:
        """Give the value of each byte in each channel, shape (channels, 256).

        Parameters
        ----------
        counts : int64 array (256,)
            How often each byte is there: without a letter that is spread, values are 0 and 1.
        ambiguous : {"spread", "zero"}
            Whether a letter that may stand for several is each of them to equal parts, or nothing.
        """
        values = np.zeros((len(self.channels), 256), dtype=np.float32)
        fractions = False
        for letter, parts in self.parts.items():
            if len(parts) > 1 and ambiguous == "zero":
                continue
            fractions = fractions or (len(parts) > 1 and bool(counts[ord(letter)]))
            for part in parts:
                values[self.channels.index(part), ord(letter)] = 1 / len(parts)
        return values if fractions else (values == 1).astype(np.uint8)


DNA = Alphabet("DNA", "ACGT", _NUCLEOTIDES)
PROTEIN = Alphabet("protein", _RESIDUES, _AMINO_ACIDS)
ALPHABETS = {"dna": DNA, "rna": DNA, "protein": PROTEIN}


def detected(counts: NDArray[np.int64]) -> Alphabet:
    """Tell by its letters what a set of sequences is.

    Parameters
    ----------
    counts : int64 array (256,)
        How often each byte is there.
    """
    nucleotides = sum(int(counts[ord(letter)]) for letter in "ACGTUN")
    letters = int(counts.sum()) - sum(int(counts[ord(letter)]) for letter in _NOTHING)
    return DNA if nucleotides >= _MOSTLY * letters else PROTEIN
