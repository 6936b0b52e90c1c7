"""VariantSource: genotypes that lie variant after variant, and are wanted sample by sample."""

from __future__ import annotations

import threading
from abc import abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.genotypes import PackedGenotypes
from pixfold.sources.base import AnyRows, Source, block_rows, normalize_rows
from pixfold.sources.genotypes.samples import Samples
from pixfold.sources.genotypes.variants import Variants
from pixfold.sources.labels import check_columns, columns_of
from pixfold.sources.options import ReadOptions
from pixfold.util.optional import require

# What is kept of a file, sample-major: as many samples as this holds.
_SPAN_BYTES = 64 * 2**20
# What is decoded at once: little enough that an interrupt is heard soon.
_DECODED_BYTES = 16 * 2**20


class VariantSource(Source):
    """Genotypes or dosages of a file that holds one variant after the other.

    A sample is spread over the whole file. Reading samples goes through all variants once, for as many samples as 64 MB
    hold; these are kept, so that blocks in order cost one pass over the file for each 64 MB. Scattered samples cost a
    pass per read. For several epochs, or for samples in random order, write the file once with ``pixfold pack``.

    Parameters
    ----------
    name : str
        The file.
    samples, variants : Samples, Variants
        What stands beside the genotypes.
    options : ReadOptions
        Its ``label``, ``groups`` and ``covariates`` are columns of the samples, ``y`` are labels beside them.
    packed : bool
        Whether blocks are :class:`PackedGenotypes`, else float32 dosages with NaN for missing ones.
    variant_major : bool
        False for a subclass that reads samples as they are.
    messages : list of str
        As for :class:`Source`.
    """

    kind = "genotypes"

    def __init__(
        self,
        name: str,
        samples: Samples,
        variants: Variants,
        options: ReadOptions,
        *,
        packed: bool,
        variant_major: bool = True,
        messages: list[str] | None = None,
    ) -> None:
        messages = [] if messages is None else messages
        check_columns(name, options, tuple(samples.columns), samples.likely)
        labels = options.y
        if options.label is not None:
            labels = samples.column(options.label, messages)
        n_samples, n_features = len(samples.names), len(variants.names)
        self.packed, self.variant_major = packed, variant_major
        row_bytes = -(-n_features // 4) if packed else 4 * n_features
        # Packed samples of four to a byte: spans begin with a byte.
        self._span = max(4, _SPAN_BYTES // row_bytes // 4 * 4)
        super().__init__(
            name,
            (n_samples, n_features),
            np.dtype(np.float32),
            feature_names=variants.names,
            sample_names=samples.names,
            labels=labels,
            **columns_of(options, lambda column: samples.column(column, messages)),
            feature_annotation=variants.annotation,
            messages=messages,
            chunk_rows=self._span if variant_major else 1,
        )
        self.block_size = block_rows(self.n_features, 4)
        self.nbytes = self.n_samples * row_bytes
        self._samples = samples
        self._kept: tuple[int, Any] | None = None
        self._lock = threading.Lock()

    @abstractmethod
    def read_variants(self, first: int, last: int, samples: slice = slice(None)) -> NDArray[Any]:
        """Read variants ``first .. last - 1``.

        Parameters
        ----------
        first, last : int
            Of the variants.
        samples : slice
            Of the samples; it begins with one whose number four divides.

        Returns
        -------
        uint8 array (last - first, ceil(n / 4)), or float32 array (last - first, n)
            Packed genotypes in PLINK 1's coding, or dosages with NaN for missing ones.
        """

    def read(self, rows: AnyRows) -> Any:
        """Read some samples; see :meth:`pixfold.sources.base.Source.read`."""
        wanted = normalize_rows(rows, self.n_samples, self.name)
        first, last = _ends(wanted)
        if isinstance(wanted, slice) or first // self._span == (last - 1) // self._span:
            return self._from_spans(wanted, first, last)
        return self._gathered(wanted)

    def sample_columns(self) -> dict[str, NDArray[Any]]:
        """Return what the file of samples says; see :meth:`pixfold.sources.base.Source.sample_columns`."""
        return {name: self._samples.column(name, []) for name in self._samples.columns}

    def tables(self) -> tuple[Any, Any]:
        """Return what is known of samples and variants.

        Returns
        -------
        samples, features : pandas.DataFrame
            One row each, in order; missing values as :meth:`sample_columns` has them.
        """
        pandas = require("pandas", "io", "a table of samples")
        return pandas.DataFrame(self.sample_columns(), index=range(self.n_samples)), pandas.DataFrame(
            self.feature_annotation
        )

    def variants_at_once(self, bytes_per_value: int) -> int:
        """How many variants are decoded at once, a multiple of four; ``bytes_per_value`` while they are."""
        return max(4, _DECODED_BYTES // (self.n_samples * bytes_per_value) // 4 * 4)

    def __getstate__(self) -> dict[str, Any]:
        """Leave what was read behind: another process reads for itself."""
        return {**self.__dict__, "_kept": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`__getstate__` left."""
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def _from_spans(self, wanted: slice | NDArray[np.int64], first: int, last: int) -> Any:
        if first == last:
            return self._empty(0)
        parts = []
        for start in range(first // self._span * self._span, last, self._span):
            span = self._span_at(start)
            if not isinstance(wanted, slice):
                return span[wanted - start]
            parts.append(span[max(first - start, 0) : last - start])
        if len(parts) == 1:
            return parts[0]
        if not self.packed:
            return np.concatenate(parts)
        return PackedGenotypes(np.concatenate([part.bits for part in parts]), self.n_features)

    def _span_at(self, start: int) -> Any:
        with self._lock:
            if self._kept is None or self._kept[0] != start:
                self._kept = None  # before the next is made: one at a time in memory
                self._kept = start, self._band(start, min(start + self._span, self.n_samples))
            return self._kept[1]

    def _band(self, first: int, last: int) -> Any:
        """Samples ``first .. last - 1``, of all variants."""
        out = self._empty(last - first)
        for start, stop in self._steps():
            self._put(out, start, stop, self.read_variants(start, stop, slice(first, last)))
        return out

    def _gathered(self, wanted: NDArray[np.int64]) -> Any:
        """Samples from anywhere, of all variants."""
        out = self._empty(len(wanted))
        low, high = int(wanted.min()) // 4 * 4, int(wanted.max()) + 1
        bytes_, place = np.unique((wanted - low) // 4, return_inverse=True)
        for start, stop in self._steps():
            values = self.read_variants(start, stop, slice(low, high))
            if not self.packed:
                out[:, start:stop] = values[:, wanted - low].T
                continue
            turned = PackedGenotypes.from_variants(np.take(values, bytes_, axis=1), 4 * len(bytes_))
            out.bits[:, start // 4 : -(-stop // 4)] = turned.bits[4 * place + wanted % 4]
        return out

    def _steps(self) -> list[tuple[int, int]]:
        step = self.variants_at_once(4)
        return [(start, min(start + step, self.n_features)) for start in range(0, self.n_features, step)]

    def _empty(self, n_samples: int) -> Any:
        if not self.packed:
            return np.empty((n_samples, self.n_features), dtype=np.float32)
        return PackedGenotypes(np.empty((n_samples, -(-self.n_features // 4)), np.uint8), self.n_features)

    def _put(self, out: Any, start: int, stop: int, values: NDArray[Any]) -> None:
        if not self.packed:
            out[:, start:stop] = values.T
            return
        turned = PackedGenotypes.from_variants(values, out.shape[0])
        out.bits[:, start // 4 : -(-stop // 4)] = turned.bits


def _ends(wanted: slice | NDArray[np.int64]) -> tuple[int, int]:
    if isinstance(wanted, slice):
        return wanted.start, wanted.stop
    return int(wanted.min()), int(wanted.max()) + 1
