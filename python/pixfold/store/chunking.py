"""What a packed store will look like: kind, type of values, chunks and shards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pixfold.errors import InputError
from pixfold.genotypes import PackedGenotypes
from pixfold.sources.base import Source
from pixfold.sources.genotypes.variant_major import VariantSource
from pixfold.stream.blocks import blocks
from pixfold.util.progress import Progress

# A read decompresses a chunk; a file holds a shard. With many chunks to a shard there are few files; an interrupted
# pack loses one shard at most.
_CHUNK_BYTES = 2**20
_SHARD_BYTES = 64 * 2**20
# While a shard is written, memory holds it several times: as values, as chunks, as a file.
_SHARD_SHARE = 16
_BAND_SHARE = 2


@dataclass(frozen=True)
class Chunking:
    """How a source is stored.

    Attributes
    ----------
    kind : str
        "dense", "csr", "genotypes", or "bands" and "dosages": genotypes that are read variant-major, a band of variants
        after the other, at two bits or at a byte each.
    dtype : str
        Of the stored values.
    chunks, shards : tuple of int
        Sizes along each axis of the array of values; for "csr" of its three arrays.
    count_first : bool
        Of genotypes: whether values count the first allele.
    """

    kind: str
    dtype: str
    chunks: tuple[int, ...]
    shards: tuple[int, ...]
    count_first: bool = True


def chunking_for(source: Source, memory: int, progress: Progress) -> Chunking:
    """Decide how a source is stored. This reads the values where a smaller type may hold them.

    Raises
    ------
    InputError
        When `memory` is too little for a few samples or variants.
    """
    shard_bytes = max(1, min(_SHARD_BYTES, memory // _SHARD_SHARE))
    if isinstance(source, VariantSource) and source.variant_major:
        return _bands(source, memory, shard_bytes)
    first = source.read(slice(0, 1))
    if isinstance(first, PackedGenotypes):
        width = -(-source.n_features // 4)
        chunk, shard = _rows(source.n_samples, width, shard_bytes)
        return Chunking("genotypes", "uint8", (chunk, width), (shard, width), first.count_first)
    dtype = stored_dtype(source, memory, progress)
    if source.is_sparse:
        chunk, shard = _rows(2**62, max(4, dtype.itemsize), shard_bytes)
        return Chunking("csr", dtype.name, (chunk,), (shard,))
    chunk, shard = _rows(source.n_samples, source.n_features * dtype.itemsize, shard_bytes)
    return Chunking("dense", dtype.name, (chunk, source.n_features), (shard, source.n_features))


def stored_dtype(source: Source, memory: int, progress: Progress) -> np.dtype[Any]:
    """Find the smallest integer type that holds all values of a source, or its own where they are not whole.

    Whole numbers of a floating type are counts where none is negative (nor -0.0) and none above 2^32 - 1; looking ends
    with the first value that is not.
    """
    dtype = source.dtype
    if dtype.itemsize == 1:
        return dtype
    least, most = 0, 0
    for block in blocks(source, memory=memory // 2, op="pack", progress=progress, task="looking at values")():
        values = block.data if source.is_sparse else block
        if not values.size:
            continue
        if dtype.kind == "f":
            if np.signbit(values).any() or not (values <= np.iinfo(np.uint32).max).all():
                return dtype
            if not (values == np.floor(values)).all():
                return dtype
        least, most = min(least, int(values.min())), max(most, int(values.max()))
    kinds = ("int8", "int16", "int32", "int64") if least < 0 else ("uint8", "uint16", "uint32", "uint64")
    return next(np.dtype(kind) for kind in kinds if np.iinfo(kind).min <= least and most <= np.iinfo(kind).max)


def _rows(n_rows: int, row_bytes: int, shard_bytes: int, multiple: int = 1) -> tuple[int, int]:
    """Rows of a chunk and of a shard, a multiple of it."""
    chunk = min(max(1, min(_CHUNK_BYTES, shard_bytes) // row_bytes), n_rows)
    chunk = -(-chunk // multiple) * multiple
    most = max(1, shard_bytes // (chunk * row_bytes))
    return chunk, chunk * min(most, -(-n_rows // chunk))


def _bands(source: VariantSource, memory: int, shard_bytes: int) -> Chunking:
    """Bands of variants as wide as memory allows: every byte of the file is read once, every shard written once."""
    per_byte = 4 if source.packed else 1
    variant_bytes = -(-source.n_samples // per_byte)
    most = memory // _BAND_SHARE // variant_bytes
    if most < 4:
        raise InputError(
            f"pack: memory must be at least {4 * _BAND_SHARE * variant_bytes:,} bytes for {source.name}, for a few "
            f"variants, got {memory:,} bytes"
        )
    n_bands = -(-source.n_features // (most - most % 4))
    width = -(-source.n_features // (per_byte * n_bands))  # bytes: bands of nearly one width
    chunk, shard = _rows(source.n_samples, width, shard_bytes, multiple=4)
    return Chunking("bands" if source.packed else "dosages", "uint8", (chunk, width), (shard, width))
