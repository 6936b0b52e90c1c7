"""Dask arrays as a source: blocks are computed when they are read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.sources.arrays.memory import is_sparse
from pixfold.sources.base import (
    block_rows,
    check_dtype,
    check_labels,
    check_size,
    normalize_rows,
    numbered,
    unique_names,
)


class DaskSource:
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
        self.name = name
        self.messages: list[str] = []
        self.categories: dict[str, list[str]] = {}
        if matrix.ndim != 2:
            raise InputError(f"{name}: expected a 2-D matrix (samples x features), received shape {matrix.shape}")
        if any(np.isnan(size) for size in matrix.shape):
            raise InputError(f"{name}: expected known sizes, received shape {matrix.shape}: call compute_chunk_sizes()")
        self.n_samples, self.n_features = (int(size) for size in matrix.shape)
        check_size(name, self.n_samples, self.n_features)
        self.dtype = check_dtype(name, matrix.dtype)
        self.is_sparse = is_sparse(matrix._meta)
        features = numbered("feature", self.n_features) if feature_names is None else [str(n) for n in feature_names]
        self.feature_names = unique_names(features, self.messages)
        self.sample_names = (
            numbered("sample", self.n_samples) if sample_names is None else [str(n) for n in sample_names]
        )
        self.labels = None if labels is None else check_labels(name, labels, self.n_samples)
        self.block_size = block_rows(self.n_features, max(matrix.chunks[0]))
        self._matrix = matrix
        self._process = os.getpid()

    def read(self, rows: slice | NDArray[np.int64]) -> Any:
        """Read some samples; see :meth:`pixfold.sources.base.Source.read`."""
        wanted = normalize_rows(rows, self.n_samples)
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
