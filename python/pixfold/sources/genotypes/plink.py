"""PLINK 1 genotypes: a .bed file with its .bim (variants) and .fam (samples) beside it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.genotypes import PackedGenotypes
from pixfold.sources.base import AnyRows, Source, block_rows, check_size, normalize_rows, unique_names
from pixfold.sources.genotypes.bed_file import BedFile
from pixfold.sources.labels import check_columns, columns_of
from pixfold.sources.options import ReadOptions
from pixfold.util.optional import require
from pixfold.util.text import counted

FAM_COLUMNS = ("family", "individual", "father", "mother", "sex", "phenotype")
BIM_COLUMNS = ("chromosome", "variant", "morgans", "position", "allele_1", "allele_2")

# What a reader of a variant-major file keeps of it, sample-major: as many samples as this holds.
_SPAN_BYTES = 64 * 2**20
_NOT_KNOWN = ("-9", "NA", "na", "NaN", "nan", ".")


def open_plink(path: Path, options: ReadOptions) -> PlinkSource:
    """Open a .bed file; see :class:`PlinkSource`."""
    return PlinkSource(path, options)


class PlinkSource(Source):
    """A .bed file. Names and labels are read when it is opened, genotypes when they are asked for.

    A value is the number of copies of the first allele of the .bim file (A1), as of bed-reader's ``count_A1``. Missing
    genotypes stay missing.

    Most .bed files are variant-major: a sample is spread over the whole file. Reading samples then reads a band of
    every variant and transposes it, and 64 MB of transposed samples are kept, so that blocks in order cost one pass
    over the file for each 64 MB. Scattered samples cost a pass per read. For several epochs, or for samples in random
    order, write the file once with ``pixfold pack``.

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

    kind = "genotypes"

    def __init__(self, path: Path, options: ReadOptions | None = None) -> None:
        name, messages = str(path), list[str]()
        options = options or ReadOptions()
        self._fam, self._bim = _beside(path, ".fam"), _beside(path, ".bim")
        columns = list(zip(*_fields(self._fam, FAM_COLUMNS), strict=True)) or [()] * len(FAM_COLUMNS)
        self._columns = dict(zip(FAM_COLUMNS, columns, strict=True))
        samples = _sample_names(self._columns)
        variants = unique_names(_variant_names(self._bim), messages, "variant")
        check_size(name, len(samples), len(variants))
        self._bed = BedFile(path, len(samples), len(variants), self._fam.name, self._bim.name)
        check_columns(name, options, FAM_COLUMNS, ("phenotype", "sex", "family"))
        labels = options.y
        if options.label is not None:
            labels = _column(options.label, self._columns[options.label], messages)
        row_bytes = -(-len(variants) // 4)
        # Samples of four to a byte: spans begin with a byte.
        self._span = max(4, _SPAN_BYTES // row_bytes // 4 * 4)
        super().__init__(
            name,
            (len(samples), len(variants)),
            np.dtype(np.float32),
            feature_names=variants,
            sample_names=samples,
            labels=labels,
            **columns_of(options, lambda column: _column(column, self._columns[column], messages)),
            messages=messages,
            chunk_rows=self._span if self.variant_major else 1,
        )
        self.block_size = block_rows(self.n_features, 4)
        self.nbytes = self.n_samples * row_bytes
        self._kept: tuple[int, PackedGenotypes] | None = None
        self._lock = threading.Lock()

    @property
    def variant_major(self) -> bool:
        """Whether the file holds variant after variant."""
        return self._bed.variant_major

    def read(self, rows: AnyRows) -> PackedGenotypes:
        """Read some samples; see :meth:`pixfold.sources.base.Source.read`."""
        wanted = normalize_rows(rows, self.n_samples, self.name)
        if not self.variant_major:
            return PackedGenotypes(self._bed.rows_at(wanted), self.n_features)
        first, last = _ends(wanted)
        if isinstance(wanted, slice) or first // self._span == (last - 1) // self._span:
            return self._from_spans(wanted, first, last)
        return self._gathered(wanted)

    def read_variants(self, first: int, last: int) -> NDArray[np.uint8]:
        """Read rows of a variant-major file as they are: (last - first, ceil(n_samples / 4)) bytes."""
        return self._bed.rows(first, last)

    def sample_columns(self) -> dict[str, NDArray[Any]]:
        """Return the columns of the .fam file; see :meth:`pixfold.sources.base.Source.sample_columns`."""
        return {name: _column(name, self._columns[name], []) for name in FAM_COLUMNS}

    def tables(self) -> tuple[Any, Any]:
        """Read what the .fam and .bim files say of samples and variants.

        Returns
        -------
        samples, features : pandas.DataFrame
            One row each, in order; missing values as :class:`PlinkSource` takes them.
        """
        pandas = require("pandas", "io", "a table of samples")
        samples = pandas.DataFrame(self.sample_columns())
        types = dict.fromkeys(BIM_COLUMNS, "str") | dict.fromkeys(("chromosome", "allele_1", "allele_2"), "category")
        features = pandas.read_csv(
            self._bim, sep=r"\s+", header=None, names=BIM_COLUMNS, dtype=types, keep_default_na=False, usecols=range(6)
        )
        for column, wanted in (("position", np.int64), ("morgans", np.float64)):
            try:
                features[column] = features[column].astype(wanted)
            except ValueError:
                raise InputError(f"{self._bim}: column {column} must hold numbers, got text") from None
        return samples, features

    def __getstate__(self) -> dict[str, Any]:
        """Leave what was read behind: another process reads for itself."""
        return {**self.__dict__, "_kept": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`__getstate__` left."""
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def _from_spans(self, wanted: slice | NDArray[np.int64], first: int, last: int) -> PackedGenotypes:
        if first == last:
            return self._turned(self._bed.columns(0, 0), 0)
        parts = []
        for start in range(first // self._span * self._span, last, self._span):
            span = self._span_at(start)
            if not isinstance(wanted, slice):
                return span[wanted - start]
            parts.append(span[max(first - start, 0) : last - start])
        if len(parts) == 1:
            return parts[0]
        return PackedGenotypes(np.concatenate([part.bits for part in parts]), self.n_features)

    def _span_at(self, start: int) -> PackedGenotypes:
        with self._lock:
            if self._kept is None or self._kept[0] != start:
                self._kept = None  # before the next is made: one at a time in memory
                last = min(start + self._span, self.n_samples)
                self._kept = start, self._turned(self._bed.columns(start // 4, -(-last // 4)), last - start)
            return self._kept[1]

    def _gathered(self, wanted: NDArray[np.int64]) -> PackedGenotypes:
        """Samples from anywhere: the bytes that hold them, of every variant."""
        bytes_, place = np.unique(wanted // 4, return_inverse=True)
        return self._turned(self._bed.columns_at(bytes_), 4 * len(bytes_))[4 * place + wanted % 4]

    def _turned(self, columns: NDArray[np.uint8], n_samples: int) -> PackedGenotypes:
        return PackedGenotypes.from_variants(columns, n_samples)


def _ends(wanted: slice | NDArray[np.int64]) -> tuple[int, int]:
    if isinstance(wanted, slice):
        return wanted.start, wanted.stop
    return int(wanted.min()), int(wanted.max()) + 1


def _beside(path: Path, suffix: str) -> Path:
    other = path.with_suffix(suffix)
    if not other.exists():
        raise InputError(f"{path}: there is no {other.name} beside it")
    return other


def _fields(path: Path, columns: tuple[str, ...]) -> Iterator[list[str]]:
    """Yield the fields of every line, or raise InputError with the number of the line that has too few."""
    ended = 0
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                fields = line.split()
                if not fields:
                    ended = ended or number
                    continue
                if ended:
                    raise InputError(f"{path}: line {ended} must hold {', '.join(columns)}, got nothing")
                if len(fields) < len(columns):
                    raise InputError(
                        f"{path}: line {number} must hold {len(columns)} columns ({', '.join(columns)}), "
                        f"got {len(fields)}"
                    )
                yield fields[: len(columns)]
    except UnicodeDecodeError:
        raise InputError(f"{path}: the file must be text in UTF-8, got other bytes") from None
    except OSError as error:
        raise InputError(f"{path}: cannot read the file: {error.strerror or error}") from error


def _sample_names(columns: dict[str, tuple[str, ...]]) -> list[str]:
    individuals = columns["individual"]
    if len(set(individuals)) == len(individuals):
        return list(individuals)
    return [f"{family}:{individual}" for family, individual in zip(columns["family"], individuals, strict=True)]


def _variant_names(bim: Path) -> list[str]:
    """Identifiers of variants; those that have none, or one that others have too, are named by place and alleles."""
    names: list[str] = []
    places: list[str] = []
    fields = _fields(bim, BIM_COLUMNS)
    for chromosome, name, _, position, first, second in fields:
        names.append(name)
        if name == ".":
            names[-1] = f"{chromosome}:{position}:{first}:{second}"
    if len(set(names)) == len(names):
        return names
    counts = Counter(names)
    places = [f"{f[0]}:{f[3]}:{f[4]}:{f[5]}" for f in _fields(bim, BIM_COLUMNS)]
    return [place if counts[name] > 1 else name for name, place in zip(names, places, strict=True)]


def _column(name: str, values: tuple[str, ...], messages: list[str]) -> NDArray[Any]:
    """Return a column of the .fam file, missing values as None or NaN; numbers where all others are numbers."""
    if name == "phenotype":
        return _phenotypes(values, messages)
    if name == "sex":
        return _numbers([value if value in ("1", "2") else None for value in values])
    zero_is_missing = name != "individual"
    return np.array([None if zero_is_missing and value == "0" else value for value in values], dtype=object)


def _phenotypes(values: tuple[str, ...], messages: list[str]) -> NDArray[Any]:
    known: list[str | None] = [None if value in _NOT_KNOWN else value for value in values]
    try:
        numbers = _numbers(known)
    except ValueError:
        return np.array(known, dtype=object)
    found = set(np.unique(numbers[~np.isnan(numbers)]).tolist()) if numbers.dtype.kind == "f" else set(numbers.tolist())
    if found <= {-9.0, 0.0, 1.0, 2.0}:
        zeros = int(np.count_nonzero(numbers == 0))
        if zeros and 2.0 not in found:
            messages.append(
                f"{counted(zeros, 'sample')} of phenotype 0, which PLINK reads as missing: cases are 2, controls 1"
            )
        return _numbers([v if v is not None and float(v) not in (0.0, -9.0) else None for v in known])
    return np.where(numbers == -9, np.nan, numbers)


def _numbers(values: list[str | None]) -> NDArray[Any]:
    """Whole numbers where none is missing, else floats with NaN; ValueError for anything else."""
    numbers = np.array([np.nan if value is None else float(value) for value in values], dtype=np.float64)
    whole = bool(np.isfinite(numbers).all()) and bool(np.all(numbers == np.floor(numbers)))
    return numbers.astype(np.int64) if whole else numbers
