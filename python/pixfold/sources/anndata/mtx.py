"""Matrix Market files: features x samples, as 10x Genomics writes them, parsed as a stream."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError, PixfoldError
from pixfold.sources.disk.changes import Unchanged
from pixfold.sources.disk.rows import Rows, csr_bytes
from pixfold.sources.disk.scratch import Block, RowsOnce, ScratchArray, SparseRows, by_rows, room_for, scratch_note
from pixfold.util.optional import require
from pixfold.util.text import reason_of, short_repr

_DTYPES = {"integer": np.int32, "real": np.float64, "pattern": np.uint8}
_LARGEST = 2**31 - 1
# pyarrow reads several blocks ahead.
_BLOCK_BYTES = 1 << 20
# Lines that pyarrow can split: exactly one blank between fields.
_PLAIN_LINE = re.compile(rb"\d+([ \t])\d+(\1\S+)?\r?\n?")


class MtxFile:
    """A sparse matrix as text: one line "feature sample value" per entry, counted from 1.

    It is parsed at the first read, once in each process, and kept by samples: in memory where it is small,
    otherwise in temporary files, within the memory of :func:`pixfold.sources.disk.limits.held`.

    Parameters
    ----------
    path : Path
        ``.mtx`` or ``.mtx.gz``.

    Attributes
    ----------
    name : str
        How messages call it.
    shape : tuple of int
        Samples, features.
    dtype : numpy.dtype
        int32 for "integer", float64 for "real", uint8 for "pattern" (entries are 1).
    nbytes : int
        What all samples take in memory, as they are read.
    messages : list of str
        What the user should be told.

    Raises
    ------
    InputError
        When the header is not that of a sparse matrix of real numbers.
    """

    is_sparse = True
    chunk = 1

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path.resolve()
        self._gzip = path.suffix.lower() == ".gz"
        self.unchanged = Unchanged(self.name, path)
        self._once = RowsOnce(self._by_samples)
        with self.reading():
            self._read_header()
        self.nbytes = csr_bytes(self._n_entries, self.shape, self.dtype)
        self.messages = scratch_note(self.name, self._n_entries, self.dtype)

    def read(self, wanted: Rows) -> Any:
        """Read samples as a CSR matrix; index arrays must rise."""
        return self._once.read(wanted, self.shape[1], self.dtype)

    def close(self) -> None:
        """Give temporary space back; the next read parses the file again."""
        self._once.close()

    @contextmanager
    def reading(self, what: str = "") -> Iterator[None]:
        """Read within this: what the file layers raise becomes an InputError."""
        self.unchanged.check()
        try:
            yield
        except PixfoldError:
            raise
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise self._damaged(error) from error
        except OSError as error:
            if error.errno is None:  # pyarrow, about gzip
                raise self._damaged(error) from error
            raise InputError(f"{self.name}: cannot read the file: {error.strerror}") from error

    def _damaged(self, error: Exception) -> InputError:
        self.unchanged.check()
        return InputError(f"{self.name}: the file is damaged or cut off ({error})")

    def _open(self) -> IO[bytes]:
        if self._gzip:
            return cast(IO[bytes], gzip.open(self._path, "rb"))
        return self._path.open("rb")

    def _read_header(self) -> None:
        with self._open() as file:
            first = file.readline(4096)
            words = first.decode("latin-1").lower().split()
            if words[:2] != ["%%matrixmarket", "matrix"] or len(words) != 5:
                raise InputError(
                    f"{self.name}: line 1 must be '%%MatrixMarket matrix coordinate ... general', "
                    f"got {short_repr(first.decode('latin-1').strip())}"
                )
            if words[2] != "coordinate" or words[3] not in _DTYPES or words[4] != "general":
                raise InputError(
                    f"{self.name}: line 1 must announce a sparse matrix of features x samples (coordinate; "
                    f"{', '.join(_DTYPES)}; general), got {' '.join(words[2:])}"
                )
            self.dtype = np.dtype(_DTYPES[words[3]])
            self._fields = 2 if words[3] == "pattern" else 3
            self._header = 1
            for line in file:
                self._header += 1
                if line.strip() and not line.startswith(b"%"):
                    break
            else:
                raise InputError(f"{self.name}: the file ends after line {self._header}, before the sizes")
            sizes = line.split()
            if len(sizes) != 3 or not all(size.isdigit() for size in sizes):
                raise InputError(
                    f"{self.name}: line {self._header} must hold the numbers of features, samples and entries, "
                    f"got {short_repr(line.decode('latin-1').strip())}"
                )
            n_features, n_samples, self._n_entries = map(int, sizes)
            self.shape = (n_samples, n_features)
            line = file.readline(4096)
            self._ends = not line
            match = _PLAIN_LINE.fullmatch(line)
            self._delimiter = match[1].decode() if match else None

    def _by_samples(self) -> SparseRows:
        n_samples, n_features = self.shape
        spill = _Spill(self._n_entries, self.dtype)
        counts = np.zeros(n_samples, dtype=np.int64)
        done, last, rising = 0, -1, True
        for samples, features, values in self._parsed():
            if done + len(samples) > self._n_entries:
                raise InputError(
                    f"{self.name}: line {self._header} promises {self._n_entries:,} entries, the file has more"
                )
            spill.write(done, samples, features, values)
            first = int(samples.min())  # by samples, a block has few of them
            found = np.bincount(samples - first)
            counts[first : first + len(found)] += found
            places = samples * n_features + features
            rising = rising and places[0] > last and bool(np.all(np.diff(places) > 0))
            last, done = int(places[-1]), done + len(samples)
        if done != self._n_entries:
            raise InputError(
                f"{self.name}: line {self._header} promises {self._n_entries:,} entries, the file ends after {done:,}"
            )
        if rising:
            return spill.as_rows(counts)
        try:
            return by_rows(spill, n_samples, n_features, self._n_entries, self.dtype)
        finally:
            spill.close()

    def _parsed(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[Any]]]:
        """Yield samples, features (from 0) and values of consecutive lines."""
        try:
            for features, samples, *values in self._columns():
                if not len(features):
                    continue
                entries = values[0] if values else np.ones(len(features), dtype=self.dtype)
                for positions, size in ((features, self.shape[1]), (samples, self.shape[0])):
                    if positions.min() < 1 or positions.max() > size:
                        raise ValueError("index out of range")
                if self.dtype.kind == "i" and np.abs(entries).max() > _LARGEST:
                    raise ValueError("integer out of range")
                yield samples - 1, features - 1, entries.astype(self.dtype, copy=False)
        except ValueError as error:  # pyarrow's and pandas' errors of parsing are some, too
            self.unchanged.check()
            raise self._wrong_line(error) from error

    def _columns(self) -> Iterator[tuple[NDArray[Any], ...]]:
        """Parse the entries, as (features, samples, values) in int64 and the value's widest type."""
        names = ["feature", "sample", "value"][: self._fields]
        types = ["int64", "int64", "int64" if self.dtype.kind == "i" else "float64"][: self._fields]
        if self._ends:
            return
        if self._delimiter is None:
            pandas = require("pandas", "io", "reading .mtx files")
            with pandas.read_csv(
                self._path,
                sep=r"\s+",
                header=None,
                names=names,
                dtype=dict(zip(names, types, strict=True)),
                skiprows=self._header,
                chunksize=_BLOCK_BYTES // 16,
                na_filter=False,
                on_bad_lines="error",
                index_col=False,
                compression="gzip" if self._gzip else None,
            ) as chunks:
                for chunk in chunks:
                    yield tuple(chunk[name].to_numpy() for name in names)
            return
        csv = require("pyarrow.csv", "io", "reading .mtx files")
        stream = require("pyarrow", "io", "reading .mtx files").input_stream
        with csv.open_csv(
            stream(str(self._path), compression="gzip" if self._gzip else None),
            read_options=csv.ReadOptions(skip_rows=self._header, column_names=names, block_size=_BLOCK_BYTES),
            parse_options=csv.ParseOptions(delimiter=self._delimiter, quote_char=False),
            convert_options=csv.ConvertOptions(
                column_types=dict(zip(names, types, strict=True)), null_values=[], check_utf8=False
            ),
        ) as batches:
            for batch in batches:
                yield tuple(column.to_numpy() for column in batch.columns)

    def _wrong_line(self, error: Exception) -> InputError:
        """Find the first line that is no entry, reading the file again."""
        sizes = (("feature", self.shape[1]), ("sample", self.shape[0]))
        limit = _LARGEST if self.dtype.kind == "i" else np.inf
        with self._open() as file:
            for number, line in enumerate(file, 1):
                words = line.split()
                if number <= self._header or not words:
                    continue
                text = short_repr(line.decode("latin-1").strip())
                where = f"line {number}"
                if len(words) != self._fields:
                    return InputError(f"{self.name}: {where} must hold {self._fields} fields, got {text}")
                for (what, size), word in zip(sizes, words, strict=False):
                    if not word.isdigit() or not 1 <= int(word) <= size:
                        return InputError(f"{self.name}: {where} must hold a {what} from 1 to {size:,}, got {text}")
                try:
                    value = (int if self.dtype.kind == "i" else float)(words[-1])
                except ValueError:
                    return InputError(f"{self.name}: {where} must hold a number as value, got {text}")
                if abs(value) > limit:
                    return InputError(
                        f"{self.name}: {where} must hold an integer of 32 bits, got {text}; larger ones are read where "
                        "line 1 says real instead of integer"
                    )
        reason = reason_of(error)
        return InputError(f"{self.name}: entries must be separated as in the first line, got others ({reason})")


class _Spill:
    """Entries in the order of the file."""

    def __init__(self, n_entries: int, dtype: np.dtype[Any]) -> None:
        self._n_entries = n_entries
        self._arrays = room_for(n_entries, [np.int32, np.int32, dtype])

    def write(self, start: int, *parts: NDArray[Any]) -> None:
        """Write samples, features and values from an entry on."""
        for array, part in zip(self._arrays, parts, strict=True):
            array[start : start + len(part)] = part

    def rows(self, length: int) -> Iterator[NDArray[Any]]:
        """Yield the samples of all entries, at most ``length`` at a time."""
        for start in range(0, self._n_entries, length):
            yield self._arrays[0][start : start + length]

    def blocks(self, length: int) -> Iterator[Block]:
        """Yield samples, features and values of all entries, at most ``length`` at a time."""
        for start in range(0, self._n_entries, length):
            samples, features, values = (array[start : start + length] for array in self._arrays)
            yield samples, features, values

    def as_rows(self, counts: NDArray[np.int64]) -> SparseRows:
        """Entries that came by samples are rows as they are."""
        samples, features, values = self._arrays
        if isinstance(samples, ScratchArray):
            samples.close()
        return SparseRows(np.concatenate([[0], np.cumsum(counts)]), features, values)

    def close(self) -> None:
        """Give the space back."""
        for array in self._arrays:
            if isinstance(array, ScratchArray):
                array.close()
