"""Some samples and features of a source, in any order, read from it as they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.genotypes import PackedGenotypes
from pixfold.sources.base import AnyRows, Source, normalize_rows

# A column that the source does not have.
ABSENT = -1


class Selected(Source):
    """Some samples and features of a source.

    Only as many samples as the source reads well at once are ever held with all of their features.

    Parameters
    ----------
    source : Source
        Where values are read from.
    rows : int64 array (n,), optional
        Samples, each once. Default: all.
    columns : int64 array (m,), optional
        Features, each once and in any order; :data:`ABSENT` stands for one that the source lacks: it reads as 0.
        Default: all.
    feature_names : sequence of str, optional
        Names of the features. Default: as the source calls them; needed where some are absent.
    messages : sequence of str
        What the user should be told, beside what the source says.

    Raises
    ------
    InputError
        When no sample or no feature is left.
    """

    def __init__(
        self,
        source: Source,
        *,
        rows: NDArray[np.int64] | None = None,
        columns: NDArray[np.int64] | None = None,
        feature_names: Sequence[str] | None = None,
        messages: Sequence[str] = (),
    ) -> None:
        self._source, self._rows, self._columns = source, rows, columns
        names = source.feature_names
        if feature_names is None:
            feature_names = names if columns is None else [names[at] for at in columns.tolist()]
        samples = source.sample_names
        kept = slice(None) if rows is None else rows
        super().__init__(
            source.name,
            (source.n_samples if rows is None else len(rows), len(feature_names)),
            source.dtype,
            feature_names=feature_names,
            sample_names=samples if rows is None else [samples[row] for row in rows.tolist()],
            labels=None if source.labels is None else source.labels[kept],
            groups=None if source.groups is None else source.groups[kept],
            covariates={name: values[kept] for name, values in source.covariates.items()},
            beside={name: values[kept] for name, values in source.beside.items()},
            categories=_categories_of(source, feature_names),
            messages=[*source.messages, *messages],
            is_sparse=source.is_sparse,
            chunk_rows=source.chunk_rows,
            feature_annotation={name: _at(values, columns) for name, values in source.feature_annotation.items()},
        )
        self.kind, self.left_out = source.kind, source.left_out
        self.channel_sizes = _channels_of(source, columns)
        if source.nbytes is None or source.is_sparse:
            self.nbytes = source.nbytes if columns is None and rows is None else None
        elif source.kind == "genotypes":
            self.nbytes = self.n_samples * -(-self.n_features // 4)
        # Where each feature of the source goes; ABSENT where it is left out.
        self._place: NDArray[np.int64] | None = None
        if columns is not None:
            self._place = np.full(source.n_features, ABSENT, dtype=np.int64)
            there = np.flatnonzero(columns != ABSENT)
            self._place[columns[there]] = there

    def read(self, rows: AnyRows) -> Any:
        """Read some samples; see :meth:`pixfold.sources.base.Source.read`."""
        wanted = normalize_rows(rows, self.n_samples, self.name)
        own = wanted if self._rows is None else normalize_rows(self._rows[wanted], self._source.n_samples)
        if self._columns is None:
            return self._source.read(own)
        n = own.stop - own.start if isinstance(own, slice) else len(own)
        step = max(1, self._source.block_size)
        parts = []
        for start in range(0, max(n, 1), step):
            stop = min(start + step, n)
            part = slice(own.start + start, own.start + stop) if isinstance(own, slice) else own[start:stop]
            parts.append(self._picked(self._source.read(part)))
        return parts[0] if len(parts) == 1 else _stacked(parts)

    def sample_columns(self) -> dict[str, NDArray[Any]]:
        """Return the columns of the source; see :meth:`pixfold.sources.base.Source.sample_columns`."""
        kept = slice(None) if self._rows is None else self._rows
        return {name: values[kept] for name, values in self._source.sample_columns().items()}

    def tables(self) -> tuple[Any, Any]:
        """Return the tables of the source; see :meth:`pixfold.sources.base.Source.tables`."""
        samples, features = self._source.tables()
        if samples is not None and self._rows is not None:
            samples = samples.iloc[self._rows]
        if features is not None and self._columns is not None:
            features = None if (self._columns == ABSENT).any() else features.iloc[self._columns]
        return samples, features

    def _picked(self, block: Any) -> Any:
        assert self._columns is not None
        assert self._place is not None
        there = self._columns != ABSENT
        if isinstance(block, PackedGenotypes):
            return PackedGenotypes.pack(_dense(block.toarray(np.int8), self._columns, there))
        if isinstance(block, np.ndarray):
            return _dense(block, self._columns, there)
        return _sparse(block, self._place, len(self._columns))


def _dense(block: NDArray[Any], columns: NDArray[np.int64], there: NDArray[np.bool_]) -> NDArray[Any]:
    if there.all():
        return np.take(block, columns, axis=1)
    picked = np.zeros((block.shape[0], len(columns)), dtype=block.dtype)
    picked[:, there] = block[:, columns[there]]
    return picked


def _sparse(block: Any, place: NDArray[np.int64], n_columns: int) -> Any:
    """Columns of a CSR block at their places; no entry is looked at twice."""
    from scipy import sparse

    csr = block.tocsr()
    columns = place[csr.indices]
    kept = columns != ABSENT
    # Entries before each row's beginning that stay.
    before = np.concatenate([[0], np.cumsum(kept)])
    kind = np.int32 if n_columns < 2**31 and len(columns) < 2**31 else np.int64
    picked = sparse.csr_matrix(
        (csr.data[kept], columns[kept].astype(kind), before[csr.indptr].astype(kind)), shape=(csr.shape[0], n_columns)
    )
    picked.sort_indices()
    return picked


def _stacked(parts: list[Any]) -> Any:
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    if isinstance(parts[0], PackedGenotypes):
        return PackedGenotypes(np.concatenate([part.bits for part in parts]), parts[0].n_features)
    from scipy import sparse

    return sparse.vstack(parts, format="csr")


def _at(values: NDArray[Any], columns: NDArray[np.int64] | None) -> NDArray[Any]:
    """Annotation of some features; nothing of those that are absent."""
    if columns is None:
        return values
    picked = values[columns]
    absent = columns == ABSENT
    if absent.any():
        picked = picked.astype(np.float64 if picked.dtype.kind in "iuf" else object)
        picked[absent] = np.nan if picked.dtype.kind == "f" else ""
    return picked


def _categories_of(source: Source, names: Sequence[str]) -> dict[str, list[str]]:
    """Categories of the columns of which a feature is left: the column itself, or one of "column=category"."""
    left = set(names)
    return {
        key: categories
        for key, categories in source.categories.items()
        if key in left or any(key + category in left for category in categories)
    }


def _channels_of(source: Source, columns: NDArray[np.int64] | None) -> list[int] | None:
    """Features of each channel that are left, where they are in the order of the source."""
    if source.channel_sizes is None or columns is None:
        return source.channel_sizes
    if (columns == ABSENT).any() or (np.diff(columns) < 0).any():
        return None
    ends = np.searchsorted(columns, np.cumsum(source.channel_sizes))
    return [int(size) for size in np.diff(ends, prepend=0) if size]
