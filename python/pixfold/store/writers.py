"""Writers of the values of a packed store: shard after shard, beginning with any of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pixfold.genotypes import PackedGenotypes
from pixfold.sources.base import Source
from pixfold.sources.genotypes.dosages import to_bytes
from pixfold.sources.genotypes.variant_major import VariantSource
from pixfold.sources.packed.store import zarr_settings
from pixfold.store.chunking import Chunking
from pixfold.store.resume import TEMPORARY
from pixfold.stream.blocks import read_ahead, rows_within
from pixfold.util.files import interrupted_after

# Level 3 is Zstandard's own choice.
_LEVEL = 3


@dataclass(frozen=True)
class Shard:
    """A shard that was written: its files, relative to the store, and its share of the whole work."""

    files: tuple[str, ...]
    share: float


class Writer(Protocol):
    """Writes the values of a source."""

    def create(self, group: Any) -> None:
        """Make the arrays of an empty store."""

    def shards(self, group: Any, done: int) -> Iterator[Shard]:
        """Write shard number `done` and those after it, and yield after each."""
        ...

    def finish(self, group: Any) -> tuple[str, ...]:
        """Write what is known only at the end, and return its files; a resumed pack may call it again."""
        ...


def writer_for(source: Source, chunking: Chunking, memory: int, folder: Path) -> Writer:
    """Make the writer of a source; `folder` is the store that is being written."""
    if chunking.kind in ("bands", "dosages"):
        assert isinstance(source, VariantSource)  # chunking_for makes bands of nothing else
        return _Bands(source, chunking)
    return (_Sparse if chunking.kind == "csr" else _Rows)(source, chunking, memory, folder)


def compressors() -> tuple[Any, ...]:
    """Zstandard with its checksum of the values, and a CRC of the compressed bytes."""
    from zarr.codecs import Crc32cCodec, ZstdCodec

    return ZstdCodec(level=_LEVEL, checksum=True), Crc32cCodec()


def _create(group: Any, key: str, shape: tuple[int, ...], dtype: str, chunks: Any, shards: Any) -> None:
    array = group.create_array(
        key,
        shape=shape,
        dtype=dtype,
        chunks=chunks,
        shards=shards,
        compressors=compressors(),
        fill_value=0,
        overwrite=True,
    )
    array.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})


def _store(array: Any, where: tuple[slice, ...], values: NDArray[Any]) -> None:
    """Write a shard. Ctrl-C waits for its end: otherwise zarr's threads would write on while the program ends."""
    with interrupted_after():
        array[where] = values


def _file(array: Any, *place: int) -> str:
    return f"{array.path}/{array.metadata.encode_chunk_key(place)}"


def _starts(first: int, n: int, step: int) -> Iterator[slice]:
    """Yield blocks from ``first`` on, cut at multiples of ``step``, so that each chunk of the input is read once."""
    while first < n:
        last = min(first - first % step + step, n)
        yield slice(first, last)
        first = last


class _Rows:
    """Dense values, or genotypes that are read sample by sample: a shard is some samples."""

    def __init__(self, source: Source, chunking: Chunking, memory: int, folder: Path) -> None:
        self._source, self._chunking = source, chunking
        self._key = "X" if chunking.kind == "dense" else "bits"
        self._step = rows_within(source, memory // 2, op="pack")

    def create(self, group: Any) -> None:
        width = self._chunking.chunks[1]
        _create(
            group,
            self._key,
            (self._source.n_samples, width),
            self._chunking.dtype,
            self._chunking.chunks,
            self._chunking.shards,
        )

    def shards(self, group: Any, done: int) -> Iterator[Shard]:
        array, rows, n = group[self._key], self._chunking.shards[0], self._source.n_samples
        held = np.empty((min(rows, n), array.shape[1]), dtype=array.dtype)
        first, filled = done * rows, 0
        for block in read_ahead(self._source.read, _starts(first, n, self._step), 1):
            values = block.bits if isinstance(block, PackedGenotypes) else block
            at = 0
            while at < len(values):
                taken = min(len(held) - filled, len(values) - at)
                held[filled : filled + taken] = values[at : at + taken]
                filled, at = filled + taken, at + taken
                if filled == len(held) or first + filled == n:
                    if self._chunking.kind == "genotypes":
                        _clear_unused(held[:filled], self._source.n_features)
                    _store(array, (slice(first, first + filled),), held[:filled])
                    yield Shard((_file(array, first // rows, 0),), filled / n)
                    first, filled = first + filled, 0

    def finish(self, group: Any) -> tuple[str, ...]:
        return ()


class _Bands:
    """Genotypes that lie variant after variant: a shard is some samples of a band of variants."""

    def __init__(self, source: VariantSource, chunking: Chunking) -> None:
        self._source, self._chunking = source, chunking
        # Values in a byte, along a sample.
        self._key, self._per_byte = ("bits", 4) if source.packed else ("dosages", 1)

    def create(self, group: Any) -> None:
        shape = (self._source.n_samples, -(-self._source.n_features // self._per_byte))
        _create(group, self._key, shape, "uint8", self._chunking.chunks, self._chunking.shards)

    def shards(self, group: Any, done: int) -> Iterator[Shard]:
        array, (rows, width) = group[self._key], self._chunking.shards
        n_samples, n_bytes = array.shape
        down, across = -(-n_samples // rows), -(-n_bytes // width)
        variants: NDArray[np.uint8] | None = None
        for shard in range(done, down * across):
            band, part = divmod(shard, down)
            if variants is None or part == 0:
                variants = None  # freed before the next band is read
                last = min((band + 1) * width * self._per_byte, self._source.n_features)
                variants = self._read(band * width * self._per_byte, last)
            first, end = part * rows, min((part + 1) * rows, n_samples)
            if self._source.packed:
                turned = PackedGenotypes.from_variants(variants[:, first // 4 : -(-end // 4)], end - first).bits
            else:
                turned = np.ascontiguousarray(variants[:, first:end].T)
            _store(array, (slice(first, end), slice(band * width, band * width + turned.shape[1])), turned)
            yield Shard((_file(array, part, band),), (end - first) / n_samples * turned.shape[1] / n_bytes)

    def finish(self, group: Any) -> tuple[str, ...]:
        return ()

    def _read(self, first: int, last: int) -> NDArray[np.uint8]:
        if self._source.packed:
            return self._source.read_variants(first, last)
        out, step = np.empty((last - first, self._source.n_samples), np.uint8), self._source.variants_at_once(8)
        for at in range(first, last, step):
            values = self._source.read_variants(at, min(at + step, last))
            out[at - first : at - first + len(values)] = to_bytes(values)
        return out


class _Sparse:
    """CSR: values and indices of some stored elements; how many there are is known at the end.

    How many each row has is kept beside the store while it grows, so that writing can go on in the middle of a row.
    """

    def __init__(self, source: Source, chunking: Chunking, memory: int, folder: Path) -> None:
        self._source, self._chunking = source, chunking
        self._counts = folder / f"{TEMPORARY}counts"
        self._step = rows_within(source, memory // 2, op="pack")

    def create(self, group: Any) -> None:
        matrix = group.create_group("X")
        matrix.attrs.update(
            {
                "encoding-type": "csr_matrix",
                "encoding-version": "0.1.0",
                "shape": [self._source.n_samples, self._source.n_features],
            }
        )
        for key, dtype in (("data", self._chunking.dtype), ("indices", self._index_type())):
            _create(matrix, key, (0,), dtype, self._chunking.chunks, self._chunking.shards)
        self._counts.write_bytes(b"")

    def shards(self, group: Any, done: int) -> Iterator[Shard]:
        data, indices, size = group["X/data"], group["X/indices"], self._chunking.shards[0]
        row, skipped = self._restart(done * size)
        values, columns = np.empty(size, data.dtype), np.empty(size, indices.dtype)
        filled, unsaid = 0, 0
        for block in read_ahead(self._source.read, _starts(row, self._source.n_samples, self._step), 1):
            counts = np.diff(block.indptr).astype(np.int64)
            with self._counts.open("ab") as file:
                file.write(counts.tobytes())
                file.flush()
                os.fsync(file.fileno())
            unsaid += len(counts)
            at, skipped = skipped, 0
            while at < len(block.data):
                taken = min(size - filled, len(block.data) - at)
                values[filled : filled + taken] = block.data[at : at + taken]
                columns[filled : filled + taken] = block.indices[at : at + taken]
                filled, at = filled + taken, at + taken
                if filled == size:
                    yield self._write(data, indices, done, values, columns, unsaid)
                    done, filled, unsaid = done + 1, 0, 0
        if filled:
            yield self._write(data, indices, done, values[:filled], columns[:filled], unsaid)

    def finish(self, group: Any) -> tuple[str, ...]:
        row_start = np.concatenate([[0], np.cumsum(np.fromfile(self._counts, np.int64))])
        _create(group["X"], "indptr", row_start.shape, "int64", (min(len(row_start), 2**17),), None)
        array = group["X/indptr"]
        _store(array, (slice(None),), row_start)
        return tuple(_file(array, place) for place in range(-(-len(row_start) // array.chunks[0])))

    def _index_type(self) -> str:
        return "int32" if self._source.n_features <= np.iinfo(np.int32).max else "int64"

    def _restart(self, stored: int) -> tuple[int, int]:
        """Find the row to continue with and how many of its elements are stored; drop the counts of later rows."""
        ends = np.cumsum(np.fromfile(self._counts, np.int64))
        row = int(np.searchsorted(ends, stored, side="right")) if stored else 0
        with self._counts.open("r+b") as file:
            file.truncate(8 * row)
        return row, stored - (int(ends[row - 1]) if row else 0)

    def _write(self, data: Any, indices: Any, place: int, values: Any, columns: Any, rows: int) -> Shard:
        first = place * self._chunking.shards[0]
        for array, part in ((data, values), (indices, columns)):
            array.resize((first + len(part),))
            _store(array, (slice(first, None),), part)
        return Shard((_file(data, place), _file(indices, place)), rows / self._source.n_samples)


def _clear_unused(bits: NDArray[np.uint8], n_features: int) -> None:
    if n_features % 4:
        bits[:, -1] &= (1 << 2 * (n_features % 4)) - 1


def write_tables(group: Any, samples: Any, features: Any) -> None:
    """Write the tables of samples and features, as AnnData does, with our checksums."""
    from pixfold.util.optional import require

    anndata = require("anndata", "io", "writing a packed store")
    with zarr_settings(numbers=False):
        for key, frame in (("obs", samples), ("var", features)):
            anndata.io.write_elem(group, key, frame, dataset_kwargs={"compressors": compressors()})
