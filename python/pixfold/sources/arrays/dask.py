"""Dask arrays as a source: blocks are computed when they are read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from pixfold.errors import InputError
from pixfold.sources.arrays.array_source import is_sparse
from pixfold.sources.base import AnyRows, Source, check_dtype, check_size, normalize_rows


class DaskSource(Source):
    """A Dask array of samples x features, whose blocks are NumPy arrays or SciPy CSR.

    Parameters
    ----------
    matrix : dask.array.Array, shape (n_samples, n_features)
        Its sizes must be known.
    name : str
        How messages call it.
    feature_names, sample_names : sequence, optional
        Names; counted when absent.
    labels : array-like of shape (n_samples,), optional
        One label per sample.

    Raises
    ------
    InputError
        When the array is not 2-D, is empty, of unknown size or no numbers, or labels do not fit it.
    """

    def __init__(
        self,
        matrix: Any,
        *,
        name: str = "Dask array",
        feature_names: Sequence[Any] | None = None,
        sample_names: Sequence[Any] | None = None,
        labels: Any = None,
    ) -> None:
        if matrix.ndim != 2:
            raise InputError(f"{name}: data must be a 2-D matrix (samples x features), got shape {matrix.shape}")
        if any(np.isnan(size) for size in matrix.shape):
            raise InputError(f"{name}: sizes must be known (call compute_chunk_sizes()), got shape {matrix.shape}")
        shape = (int(matrix.shape[0]), int(matrix.shape[1]))
        check_size(name, *shape)
        super().__init__(
            name,
            shape,
            check_dtype(name, matrix.dtype),
            feature_names=feature_names,
            sample_names=sample_names,
            labels=labels,
            is_sparse=is_sparse(matrix._meta),
            chunk_rows=max(matrix.chunks[0]),
        )
        self._matrix = matrix
        self._process = os.getpid()

    def read(self, rows: AnyRows) -> Any:
        """Read some samples; see :meth:`pixfold.sources.base.Source.read`."""
        wanted = normalize_rows(rows, self.n_samples, self.name)
        # The threads of Dask's own scheduler are not there in a forked child, which would wait for them.
        options = {} if self._process == os.getpid() else {"scheduler": "synchronous"}
        block = self._matrix[wanted].compute(**options)
        if is_sparse(block):
            block = block.tocsr() if self.is_sparse else block.toarray()
        elif self.is_sparse:
            from scipy import sparse

            block = sparse.csr_array(block)
        return block.astype(self.dtype, copy=False)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Belong to the process that reads the pickle."""
        self.__dict__.update(state, _process=os.getpid())
