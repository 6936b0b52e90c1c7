"""Samples that fit into memory are read once and stay there as they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.genotypes import PackedGenotypes
from pixfold.sources.arrays.array_source import ArraySource
from pixfold.sources.base import Source
from pixfold.stream.blocks import blocks, sample_bytes
from pixfold.stream.budget import free_memory
from pixfold.util.progress import Progress

# The part of free memory, or of the budget, that samples may fill.
_SHARE = 0.5
_INT32_MAX = 2**31 - 1


def in_memory(source: Source, *, memory: int | None = None, progress: Progress | None = None) -> Source:
    """Read a source once and keep its samples as they are.

    Sparse samples stay sparse, their indices 32 bits wide where that is enough; integers stay integers; genotypes stay
    packed.

    Parameters
    ----------
    source : Source
        One that is in memory already is returned as it is; so is one that would take more than half of the budget.
    memory : int, optional
        Budget in bytes; without one, the memory that is free.
    progress : Progress, optional
        Where samples are counted; silent without it.

    Returns
    -------
    Source
    """
    if source.held_in_memory:
        return source
    most = _SHARE * (free_memory() if memory is None else min(memory, free_memory()))
    if source.n_samples * sample_bytes(source) > most:
        return source
    read = blocks(source, memory=memory, op="in_memory", progress=progress, task="reading into memory")
    held = ArraySource(
        _whole(source, read()),
        labels=source.labels,
        groups=source.groups,
        covariates=source.covariates,
        feature_names=source.feature_names,
        sample_names=source.sample_names,
        name=source.name,
        categories=source.categories,
        messages=source.messages,
        kind=source.kind,
    )
    held.channel_sizes = source.channel_sizes
    return held


def _whole(source: Source, parts: Iterator[Any]) -> Any:
    if source.is_sparse:
        return _csr(source, parts)
    values: NDArray[Any] | None = None
    first, packed = 0, None
    for part in parts:
        packed = part if isinstance(part, PackedGenotypes) else None
        rows = part.bits if packed is not None else part
        if values is None:
            values = np.empty((source.n_samples, rows.shape[1]), dtype=rows.dtype)
        values[first : first + len(rows)] = rows
        first += len(rows)
        del part, rows
    assert values is not None
    if packed is None:
        return values
    return PackedGenotypes(values, source.n_features, count_first=packed.count_first)


def _csr(source: Source, parts: Iterator[Any]) -> Any:
    from scipy import sparse

    data, indices, lengths = [], [], []
    narrow = np.int32 if source.n_features <= _INT32_MAX else np.int64
    for part in parts:
        if not part.has_canonical_format:
            part = part.copy()
            part.sum_duplicates()
        data.append(part.data)
        indices.append(part.indices.astype(narrow, copy=False))
        lengths.append(np.diff(part.indptr))
        del part
    starts = np.concatenate([[0], np.cumsum(np.concatenate(lengths), dtype=np.int64)])
    values, columns = _joined(data), _joined(indices)
    matrix = sparse.csr_matrix((source.n_samples, source.n_features), dtype=values.dtype)
    # The constructor would make the indices as wide as the pointers, so each array is set by itself.
    matrix.data, matrix.indices = values, columns
    matrix.indptr = starts.astype(narrow) if starts[-1] <= _INT32_MAX else starts
    matrix.has_sorted_indices = matrix.has_canonical_format = True
    return matrix


def _joined(parts: list[NDArray[Any]]) -> NDArray[Any]:
    """Concatenate the parts; free each one as soon as it is copied."""
    out = np.empty(sum(part.size for part in parts), dtype=parts[0].dtype)
    at = 0
    for i, part in enumerate(parts):
        out[at : at + part.size] = part
        at += part.size
        parts[i] = part[:0].copy()
    return out
