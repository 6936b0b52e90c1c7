"""Matrices in memory: NumPy, SciPy sparse, and what .npy and .npz files hold."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
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
    AnyRows,
    Source,
    as_array,
    check_dtype,
    check_size,
    names_of,
    normalize_rows,
    relabelled,
)
from pixfold.sources.labels import columns_of
from pixfold.sources.options import COLUMNS, NoColumnError, ReadOptions
from pixfold.util.text import listed


class ArraySource(Source):
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
    groups, covariates, feature_annotation, beside : optional
        See :class:`Source`.
    categories : dict, optional
        Categories of features that are codes.
    messages : list of str, optional
        What the user should be told.
    kind : str, optional
        Of the values, see :class:`Source`. Default: "genotypes" for packed ones, else "matrix".

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
        groups: Any = None,
        covariates: Mapping[str, Any] | None = None,
        categories: dict[str, list[str]] | None = None,
        messages: list[str] | None = None,
        kind: str | None = None,
        feature_annotation: Mapping[str, Any] | None = None,
        beside: Mapping[str, Any] | None = None,
    ) -> None:
        is_packed = isinstance(matrix, PackedGenotypes)
        if not is_sparse(matrix) and not is_packed and not isinstance(matrix, np.ndarray):
            matrix = as_array(name, matrix)
        if matrix.ndim != 2:
            raise InputError(
                f"{name}: data must be a 2-D matrix (samples x features), got {matrix.ndim}-D of shape "
                f"{tuple(matrix.shape)}"
                + (". Reshape your data: X.reshape(1, -1) is one sample" if matrix.ndim == 1 else "")
            )
        shape = (int(matrix.shape[0]), int(matrix.shape[1]))
        check_size(name, *shape)
        if is_sparse(matrix):
            matrix = _csr(matrix, name)
        elif not is_packed:
            matrix = _dense(matrix, name, names_of(name, "feature", feature_names, shape[1]))
        super().__init__(
            name,
            shape,
            matrix.dtype,
            feature_names=feature_names,
            sample_names=sample_names,
            labels=labels,
            groups=groups,
            covariates=covariates,
            categories=categories,
            messages=messages,
            is_sparse=is_sparse(matrix),
            feature_annotation=feature_annotation,
            beside=beside,
        )
        self.kind = kind or ("genotypes" if is_packed else "matrix")
        self.nbytes = matrix_bytes(matrix)
        self._matrix = matrix

    held_in_memory = True

    def read(self, rows: AnyRows) -> Any:
        """Read some samples; see :meth:`pixfold.sources.base.Source.read`."""
        wanted = normalize_rows(rows, self.n_samples, self.name)
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
    options.refuse(str(path), *COLUMNS)
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
        Its ``label`` is the name of the array with the labels, so are ``groups`` and ``covariates``. Without it there
        are none, as for every other format.

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
        return relabelled(_from_archive(path, arrays, options), options.y)
    options.refuse(str(path), *COLUMNS)
    return relabelled(ArraySource(_load_sparse(path), name=str(path)), options.y)


def matrix_bytes(matrix: Any) -> int:
    """Bytes that samples take in memory as they are: dense, CSR or packed."""
    if isinstance(matrix, np.ndarray | PackedGenotypes):
        return int(matrix.nbytes)
    return int(matrix.data.nbytes + matrix.indices.nbytes + matrix.indptr.nbytes)


def is_sparse(data: Any) -> bool:
    """Tell whether ``data`` is a SciPy sparse matrix or array, without importing SciPy."""
    return type(data).__module__.startswith("scipy.sparse") and hasattr(data, "tocsr")


def _from_archive(path: Path, arrays: dict[str, NDArray[Any]], options: ReadOptions) -> ArraySource:
    matrices = [key for key, array in arrays.items() if array.ndim == 2]
    key = "X" if "X" in arrays else matrices[0] if len(matrices) == 1 else None
    if key is None:
        raise InputError(f"{path}: the file must hold an array named 'X', got {listed(list(arrays), 10) or 'none'}")
    matrix = arrays[key]
    messages = []
    vectors = [k for k, array in arrays.items() if array.ndim == 1 and k not in _NAMES]
    label = options.label
    covariates = [("covariates", name) for name in options.covariate_columns]
    others = [("where", name) for name in options.where_columns]
    for what, name in (("labels", label), ("groups", options.groups_column), *covariates, *others):
        if name is not None and name not in vectors:
            there = listed(vectors, 10) or "none"
            raise NoColumnError(f"{path}: no array of {what} {name!r}; 1-D arrays there are: {there}", [name])
    if label is None and "y" in vectors:
        messages.append(f"{path}: the array 'y' is not used, because no label was asked for")
    return ArraySource(
        matrix,
        name=str(path),
        feature_names=arrays.get("feature_names"),
        sample_names=arrays.get("sample_names"),
        labels=None if label is None else arrays[label],
        **columns_of(options, arrays.__getitem__),
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
                f"{name}: values must be numbers, got {value!r} in row {row}, column {column} "
                f"({features[column]!r}); categorical features can be given in a pandas DataFrame"
            ) from None
    blank = np.vectorize(lambda v: v is None or (isinstance(v, str) and not v.strip()), otypes=[bool])(matrix)
    return np.where(blank, np.nan, matrix).astype(np.float64)
