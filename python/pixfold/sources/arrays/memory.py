"""Matrices in memory: NumPy, SciPy sparse, and what .npy and .npz files hold."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.genotypes import PackedGenotypes
from pixfold.sources.arrays.csr import csr_rows
from pixfold.sources.arrays.npy import NpySource
from pixfold.sources.base import (
    Source,
    as_array,
    block_rows,
    check_dtype,
    check_labels,
    check_size,
    normalize_rows,
    numbered,
    relabelled,
    unique_names,
)
from pixfold.sources.options import ReadOptions
from pixfold.util.text import listed


class ArraySource:
    """A dense or sparse matrix, or packed genotypes, in memory (or mapped into it).

    Parameters
    ----------
    matrix : ndarray, SciPy sparse matrix or array, or PackedGenotypes, shape (n_samples, n_features)
        Real numbers of any integer or floating type; booleans become 0 and 1; text and objects are read as
        numbers where they can be. Sparse formats become CSR.
    name : str
        How messages call it.
    feature_names, sample_names : sequence of str, optional
        Names; ``feature_0`` ... and ``sample_0`` ... when absent.
    labels : array-like of shape (n_samples,), optional
        One label per sample.
    categories : dict, optional
        Categories of features that are codes.
    messages : list of str, optional
        What the user should be told.

    Raises
    ------
    InputError
        When the matrix is not 2-D, is empty or does not hold real numbers, or names or labels do not fit it.
    """

    def __init__(
        self,
        matrix: Any,
        *,
        name: str = "array",
        feature_names: Sequence[Any] | NDArray[Any] | None = None,
        sample_names: Sequence[Any] | NDArray[Any] | None = None,
        labels: Any = None,
        categories: dict[str, list[str]] | None = None,
        messages: list[str] | None = None,
    ) -> None:
        self.name = name
        self.messages = list(messages or ())
        self.is_sparse = is_sparse(matrix)
        packed = isinstance(matrix, PackedGenotypes)
        if not self.is_sparse and not packed and not isinstance(matrix, np.ndarray):
            matrix = as_array(name, matrix)
        if matrix.ndim != 2:
            raise InputError(
                f"{name}: expected a 2-D matrix (samples x features), received {matrix.ndim}-D "
                f"of shape {tuple(matrix.shape)}"
                + (". Reshape your data: X.reshape(1, -1) is one sample" if matrix.ndim == 1 else "")
            )
        self.n_samples, self.n_features = (int(size) for size in matrix.shape)
        check_size(name, self.n_samples, self.n_features)
        names = _names("feature", feature_names, self.n_features, name)
        self.feature_names = unique_names(names, self.messages)
        self.sample_names = _names("sample", sample_names, self.n_samples, name)
        if packed:
            self._matrix = matrix
        else:
            self._matrix = _csr(matrix, name) if self.is_sparse else _dense(matrix, name, self.feature_names)
        self.dtype: np.dtype[Any] = self._matrix.dtype
        self.labels: NDArray[Any] | None = None
        if labels is not None:
            self.labels = check_labels(name, labels, self.n_samples)
        self.block_size = block_rows(self.n_features)
        self.categories = dict(categories or {})

    def read(self, rows: slice | NDArray[np.int64]) -> Any:
        """Read some samples; see :meth:`pixfold.sources.base.Source.read`."""
        wanted = normalize_rows(rows, self.n_samples)
        if self.is_sparse and self._matrix.indices.dtype != self._matrix.indptr.dtype:
            index = np.arange(wanted.start, wanted.stop) if isinstance(wanted, slice) else wanted
            return csr_rows([(self._matrix, index)])
        return self._matrix[wanted]


def open_npy(path: Path, options: ReadOptions) -> Source:
    """Open a .npy file; its values stay on disk.

    Raises
    ------
    InputError
        When the file is cut off, holds objects, or is no matrix of real numbers.
    """
    options.refuse(str(path), "label")
    with _readable(path):
        try:
            matrix = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError) as error:  # what NumPy raises for a header that does not fit the file
            raise _damaged(path, error) from error
    fortran = not matrix.flags.c_contiguous
    if matrix.ndim != 2 or matrix.dtype.kind not in "iufb" or not hasattr(os, "preadv"):
        return relabelled(ArraySource(matrix, name=str(path)), options.y)
    return relabelled(NpySource(path, matrix.dtype, matrix.shape, matrix.offset, fortran=fortran), options.y)


def open_npz(path: Path, options: ReadOptions) -> Source:
    """Open a .npz file: a matrix saved by ``scipy.sparse.save_npz``, or an archive with the array ``X``.

    Beside ``X`` an archive may hold ``feature_names``, ``sample_names`` and labels. An archive of one 2-D
    array needs no name for it.

    Parameters
    ----------
    path : Path
        The file.
    options : ReadOptions
        Its ``label`` is the name of the array with the labels. Without it there are none, as for every other
        format.

    Raises
    ------
    InputError
        When the file is damaged, holds objects, has no ``X`` or no array of that label.
    """
    with _readable(path), path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            raise _damaged(path, "its ZIP directory is missing")
        file.seek(0)
        with np.load(file, allow_pickle=False) as archive:
            keys = archive.files
            is_scipys = {"format", "shape", "data"} <= set(keys)
            arrays = {} if is_scipys else {key: _member(archive, key, path) for key in keys}
    if not is_scipys:
        return relabelled(_from_archive(path, arrays, options.label), options.y)
    options.refuse(str(path), "label")
    return relabelled(ArraySource(_load_sparse(path), name=str(path)), options.y)


def is_sparse(data: Any) -> bool:
    """Tell whether ``data`` is a SciPy sparse matrix or array, without importing SciPy."""
    return type(data).__module__.startswith("scipy.sparse") and hasattr(data, "tocsr")


def _from_archive(path: Path, arrays: dict[str, NDArray[Any]], label: str | None) -> ArraySource:
    matrices = [key for key, array in arrays.items() if array.ndim == 2]
    key = "X" if "X" in arrays else matrices[0] if len(matrices) == 1 else None
    if key is None:
        raise InputError(f"{path}: expected an array named 'X', received {listed(list(arrays), 10) or 'none'}")
    matrix = arrays[key]
    messages = []
    vectors = [k for k, array in arrays.items() if array.ndim == 1 and k not in _NAMES]
    if label is not None and label not in vectors:
        raise InputError(f"{path}: no array of labels {label!r}; 1-D arrays there are: {listed(vectors, 10) or 'none'}")
    if label is None and "y" in vectors:
        messages.append(f"{path}: the array 'y' is not used, because no label was asked for")
    return ArraySource(
        matrix,
        name=str(path),
        feature_names=arrays.get("feature_names"),
        sample_names=arrays.get("sample_names"),
        labels=None if label is None else arrays[label],
        messages=messages,
    )


_NAMES = ("feature_names", "sample_names")


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot read the file: {error.strerror or error}") from error


def _member(archive: Any, key: str, path: Path) -> NDArray[Any]:
    try:
        return np.asarray(archive[key])
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise _damaged(path, error, f"the array {key!r}") from error


def _load_sparse(path: Path) -> Any:
    from scipy import sparse

    try:
        return sparse.load_npz(path)
    except (ValueError, KeyError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: object, what: str = "the file") -> InputError:
    if "allow_pickle" in str(error) or "Python objects" in str(error):
        return InputError(
            f"{path}: {what} holds pickled Python objects, which are not loaded; save it as numbers or text"
        )
    return InputError(f"{path}: {what} is damaged or cut off ({error})")


def _names(word: str, names: Sequence[Any] | NDArray[Any] | None, count: int, source: str) -> list[str]:
    if names is None:
        return numbered(word, count)
    array = np.asarray(names, dtype=object)
    if array.shape != (count,):
        raise InputError(f"{source}: expected {count:,} {word} names, received {array.size:,} of shape {array.shape}")
    return [str(name) for name in array]


def _csr(matrix: Any, name: str) -> Any:
    dtype = check_dtype(name, matrix.dtype)
    csr = matrix.tocsr()
    if csr.dtype != dtype:
        csr = csr.astype(dtype)
    if not csr.has_canonical_format:
        if csr is matrix:
            csr = csr.copy()  # the caller's matrix is not rewritten
        csr.sum_duplicates()
    return csr


def _dense(matrix: NDArray[Any], name: str, features: list[str]) -> NDArray[Any]:
    if isinstance(matrix, np.ma.MaskedArray):
        matrix = np.ma.filled(matrix.astype(np.result_type(matrix.dtype, np.float32)), np.nan)
    if matrix.dtype.kind in "OSUT":
        return _numbers(matrix, name, features)
    # asarray: a memory map or a np.matrix is read as the plain array it is
    return np.asarray(matrix).astype(check_dtype(name, matrix.dtype), copy=False)


def _numbers(matrix: NDArray[Any], name: str, features: list[str]) -> NDArray[np.float64]:
    """Read objects or text as float64, or name the first cell that is no number."""
    try:
        return matrix.astype(np.float64)
    except (TypeError, ValueError):
        pass
    for (row, column), value in np.ndenumerate(matrix):
        if value is None or (isinstance(value, str) and not value.strip()):
            continue
        try:
            float(value)
        except (TypeError, ValueError):
            raise InputError(
                f"{name}: expected numbers, received {value!r} in row {row}, column {column} "
                f"({features[column]!r}); categorical features can be given in a pandas DataFrame"
            ) from None
    blank = np.vectorize(lambda v: v is None or (isinstance(v, str) and not v.strip()), otypes=[bool])(matrix)
    return np.where(blank, np.nan, matrix).astype(np.float64)
