"""PackedGenotypes: genotypes at two bits each, as PLINK 1 keeps them, one sample after the other."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from pixfold import _core
from pixfold.errors import InputError
from pixfold.util.arguments import as_array, count_argument, flag_argument, threads_argument
from pixfold.util.optional import is_torch
from pixfold.util.text import short_repr

# Copies of the first allele in the codes 0, 1 (missing), 2 and 3.
_COPIES = (2, -1, 1, 0)


class PackedGenotypes:
    """Samples x features of genotypes, four to a byte, in the coding of PLINK 1 .bed files.

    Feature j of a sample is in byte ``j // 4`` of its row, bits ``2 * (j % 4)`` and ``2 * (j % 4) + 1``:

    ==== ================================ ============= =========================
    bits genotype                         `count_first` ``count_first=False``
    ==== ================================ ============= =========================
    00   homozygous for the first allele  2             0
    01   missing                          NaN           NaN
    10   heterozygous                     1             1
    11   homozygous for the second allele 0             2
    ==== ================================ ============= =========================

    A .bed file has one row per variant; this has one row per sample. :func:`pixfold.fold`,
    :func:`pixfold.column_stats`, :class:`pixfold.Normalizer` and the sources take it as it is, as they would take
    :meth:`toarray`, and never make it dense.

    Parameters
    ----------
    bits : uint8 array, shape (n_samples, ceil(n_features / 4))
        Used as it is, without a copy: a memory map or a read-only array will do. The bytes of a row must follow each
        other; rows may stand at any distance. Bits of a row's last byte that belong to no feature are ignored.
    n_features : int
        Number of features.
    count_first : bool
        Whether a value is the number of copies of the first allele (as bed-reader's ``count_A1``) or of the second.

    Raises
    ------
    InputError
        When the array has another shape than `n_features` asks for, or rows whose bytes do not follow each other.
    TypeError
        When it does not hold uint8.
    """

    def __init__(self, bits: Any, n_features: int, *, count_first: bool = True) -> None:
        op = "PackedGenotypes"
        rows = as_array(op, "bits", bits)
        n_features = count_argument(op, "n_features", n_features)
        if rows.dtype != np.uint8:
            raise TypeError(f"PackedGenotypes: bits must be uint8, got {rows.dtype}")
        width = -(-n_features // 4)
        if rows.ndim != 2 or rows.shape[1] != width:
            raise InputError(
                f"PackedGenotypes: bits must have shape (n_samples, {width}) for {n_features} features, "
                f"got {rows.shape}"
            )
        if width > 1 and rows.size and rows.strides[1] != 1:
            raise InputError(
                f"PackedGenotypes: the bytes of a row of bits must follow each other, got strides {rows.strides}: "
                "pass np.ascontiguousarray(bits)"
            )
        self._bits: NDArray[np.uint8] = rows
        self._n_features = n_features
        self._count_first = flag_argument(op, "count_first", count_first)

    @classmethod
    def pack(cls, G: Any, *, count_first: bool = True, missing: int = -1, threads: int | None = None) -> Self:
        """Pack a dense matrix of 0, 1 and 2.

        Parameters
        ----------
        G : array (n_samples, n_features)
            NumPy array or torch CPU tensor of any number dtype and any strides. NaN is missing.
        count_first : bool
            Whether the values are copies of the first allele or of the second.
        missing : int
            What stands for a missing genotype in a matrix of integers (bed-reader's int8 has -127).
        threads : int, optional
            Default: OMP_NUM_THREADS and the process's CPU affinity decide.

        Returns
        -------
        PackedGenotypes

        Raises
        ------
        InputError
            For a value that is neither 0, 1 nor 2 nor missing: the first one, with its sample and feature.
        TypeError
            For a dtype that is not a number.
        """
        op = "PackedGenotypes.pack"
        values = _matrix(op, G)
        if isinstance(missing, bool) or not isinstance(missing, int | np.integer) or missing in (0, 1, 2):
            raise InputError(f"{op}: missing must be an integer other than 0, 1 and 2, got {short_repr(missing)}")
        if not -(2**63) <= missing < 2**63:
            raise InputError(f"{op}: missing must be a 64-bit integer, got {missing}")
        n_samples, n_features = values.shape
        bits = np.empty((n_samples, -(-n_features // 4)), dtype=np.uint8)
        packed = cls(bits, n_features, count_first=count_first)
        bad = _core.pack(values, packed.count_first, int(missing), bits, threads_argument(op, threads))
        if bad >= 0:
            sample, feature = divmod(bad, n_features)
            value = values[sample, feature]
            other = f"{missing} for a missing one" if values.dtype.kind in "iub" else "NaN"
            raise InputError(f"{op}: G must hold 0, 1, 2 or {other}, got {value} in sample {sample}, feature {feature}")
        return packed

    @classmethod
    def from_variants(cls, bits: Any, n_samples: int, *, count_first: bool = True, threads: int | None = None) -> Self:
        """Transpose genotypes that lie variant after variant, as in most .bed files.

        Parameters
        ----------
        bits : uint8 array, shape (n_features, ceil(n_samples / 4))
            Sample i of a variant is in byte ``i // 4`` of its row, in the coding of this class. The bytes of a row
            must follow each other; rows may stand at any distance.
        n_samples : int
            Number of samples.
        count_first : bool
            As for the class.
        threads : int, optional
            As for :meth:`pack`.

        Returns
        -------
        PackedGenotypes

        Raises
        ------
        InputError
            When the array has another shape than `n_samples` asks for, or rows whose bytes do not follow each other.
        TypeError
            When it does not hold uint8.
        """
        op = "PackedGenotypes.from_variants"
        n_samples = count_argument(op, "n_samples", n_samples, least=0)
        bits = as_array(op, "bits", bits)
        shape, width = bits.shape, -(-n_samples // 4)
        if len(shape) != 2 or shape[1] != width or not shape[0]:
            raise InputError(f"{op}: bits must have shape (n_features, {width}) for {n_samples} samples, got {shape}")
        out = np.empty((n_samples, -(-shape[0] // 4)), dtype=np.uint8)
        packed = cls(out, shape[0], count_first=count_first)
        if n_samples == 0:
            return packed
        variants = cls(bits, n_samples).bits
        _core.transpose_packed(variants, n_samples, out, threads_argument(op, threads))
        return packed

    @property
    def bits(self) -> NDArray[np.uint8]:
        """The packed rows, (n_samples, ceil(n_features / 4))."""
        return self._bits

    @property
    def n_features(self) -> int:
        """Number of features."""
        return self._n_features

    @property
    def count_first(self) -> bool:
        """Whether values count the first allele."""
        return self._count_first

    @property
    def shape(self) -> tuple[int, int]:
        """``(n_samples, n_features)``."""
        return int(self._bits.shape[0]), self._n_features

    @property
    def ndim(self) -> int:
        """2: samples by features."""
        return 2

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32, of what :meth:`toarray` gives: a missing genotype is NaN."""
        return np.dtype(np.float32)

    @property
    def nbytes(self) -> int:
        """Bytes of the packed rows."""
        return int(self._bits.nbytes)

    def __len__(self) -> int:
        return int(self._bits.shape[0])

    def __getitem__(self, rows: Any) -> Self:
        """Take samples: a slice (shares memory), an array of positions or a boolean mask (copies the rows).

        Raises
        ------
        IndexError
            For anything else, and for positions outside.
        """
        if not isinstance(rows, slice):
            try:
                rows = np.asarray(rows)
            except ValueError:  # of ragged lists
                rows = np.asarray(None)
            if rows.size == 0 and rows.ndim == 1:
                rows = rows.astype(np.int64)
            if rows.ndim != 1 or rows.dtype.kind not in "iub":
                raise IndexError(
                    "PackedGenotypes: index samples by a slice, an array of positions or a boolean mask, got "
                    f"{rows.dtype} of shape {rows.shape}"
                )
        return type(self)(self._bits[rows], self._n_features, count_first=self._count_first)

    def toarray(self, dtype: DTypeLike = np.float32, *, threads: int | None = None) -> NDArray[Any]:
        """Unpack to a dense matrix.

        Parameters
        ----------
        dtype : {float32, float64, float16, int8}
            Element type of the result.
        threads : int, optional
            As for :meth:`pack`.

        Returns
        -------
        array (n_samples, n_features)
            0, 1, 2, and NaN for missing; -1 in int8.

        Raises
        ------
        InputError
            For another dtype.
        """
        try:
            wanted = np.dtype(dtype)
        except (TypeError, ValueError, DeprecationWarning):  # whatever NumPy makes of what is no dtype
            wanted = np.dtype(object)
        if wanted not in (np.float32, np.float64, np.float16, np.int8):
            raise InputError(
                f"PackedGenotypes.toarray: dtype must be float16, float32, float64 or int8, got {short_repr(dtype)}"
            )
        n_threads = threads_argument("PackedGenotypes.toarray", threads)
        made = np.dtype(np.float32) if wanted == np.float64 else wanted
        values = np.array(self._copies(), dtype=np.int8) if made == np.int8 else self.code_values().astype(made)
        out = np.empty(self.shape, dtype=made)
        _core.unpack(self._bits, self._n_features, values, out, n_threads)
        return out.astype(wanted, copy=False)

    def code_values(self) -> NDArray[np.float32]:
        """float32 array of four: the values of codes 0 to 3, NaN for the missing one."""
        return np.array([np.nan if copies < 0 else copies for copies in self._copies()], dtype=np.float32)

    def _copies(self) -> tuple[int, ...]:
        return _COPIES if self._count_first else tuple(2 - copies if copies >= 0 else copies for copies in _COPIES)

    def __repr__(self) -> str:
        n_samples, n_features = self.shape
        return f"PackedGenotypes(n_samples={n_samples}, n_features={n_features}, count_first={self._count_first})"


def _matrix(op: str, G: Any) -> NDArray[Any]:
    """Read genotypes as a matrix of numbers, without a copy where the kernel can read them as they are."""
    bfloat16 = is_torch(G) and str(G.dtype) == "torch.bfloat16"
    values = as_array(op, "G", G.float() if bfloat16 else G)
    if values.dtype.name != "bfloat16" and (values.dtype.kind not in "fiub" or values.dtype.itemsize > 8):
        raise TypeError(f"{op}: G must be of a float16/32/64, bool or integer dtype, got {values.dtype}")
    if values.ndim != 2 or values.shape[1] == 0:
        raise InputError(f"{op}: G must have shape (n_samples, n_features >= 1), got {values.shape}")
    return values if values.dtype.isnative else values.astype(values.dtype.newbyteorder("="))
