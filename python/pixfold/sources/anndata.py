"""AnnData: in memory, and .h5ad files whose matrix stays on disk."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold._optional import require
from pixfold._words import listed
from pixfold.errors import InputError
from pixfold.ops._dask import is_dask
from pixfold.sources.array import ArraySource, is_sparse
from pixfold.sources.base import (
    BLOCK_BYTES,
    block_rows,
    check_dtype,
    check_labels,
    check_size,
    normalize_rows,
    unique_names,
)
from pixfold.sources.dask import DaskSource
from pixfold.sources.formats import Options
from pixfold.sources.labels import check_column

# Wanted rows of a dense file that lie apart by less than this are read in one go with those between them.
_GAP_BYTES = 256 * 2**10

RAW = "raw"


def open_anndata(adata: Any, *, label: str | None = None, layer: str | None = None, y: Any = None) -> Any:
    """Make a source of an AnnData object.

    Parameters
    ----------
    adata : anndata.AnnData
        In memory, or backed by an .h5ad file: then its matrix stays there.
    label : str, optional
        The column of ``obs`` with the labels.
    layer : str, optional
        A layer instead of ``X``, or ``"raw"``.
    y : array-like of shape (n_obs,), optional
        Labels beside the object, instead of ``label``.

    Returns
    -------
    ArraySource, DaskSource or H5adSource

    Raises
    ------
    InputError
        When the column or layer does not exist, or the matrix cannot be used.
    """
    with quiet():
        labels = y
        if label is not None:
            obs = adata.obs
            check_column("AnnData", label, list(map(str, obs.columns)), _likely(obs))
            labels = _plain(obs[label].array)
        if adata.isbacked:
            if adata.is_view:
                raise InputError("AnnData: a view of a backed object is not read; give its .to_memory()")
            return H5adSource(Path(adata.filename), layer=layer, y=labels)
        matrix, var_names = _layer_of(adata, layer)
    if is_dask(matrix):
        return DaskSource(matrix, name="AnnData", feature_names=var_names, sample_names=adata.obs_names, labels=labels)
    if not (is_sparse(matrix) or isinstance(matrix, np.ndarray)):
        kind = f"{type(matrix).__module__}.{type(matrix).__qualname__}"
        raise InputError(f"AnnData: expected a NumPy, SciPy sparse or Dask matrix, received {kind}")
    return ArraySource(
        matrix,
        name="AnnData",
        feature_names=list(var_names),
        sample_names=list(adata.obs_names),
        labels=labels,
    )


def open_h5ad(path: Path, options: Options) -> H5adSource:
    """Open an .h5ad file; see :class:`H5adSource`."""
    return H5adSource(path, label=options.label, layer=options.layer, y=options.y)


class H5adSource:
    """An .h5ad file. Names and labels are read when it is opened, values when they are asked for.

    Dense matrices and CSR are read by row. CSC cannot be: it is loaded as a whole at the first read, sparse.

    Parameters
    ----------
    path : Path
        The file.
    label : str, optional
        The column of ``obs`` with the labels.
    layer : str, optional
        A layer instead of ``X``, or ``"raw"``.
    y : array-like of shape (n_obs,), optional
        Labels beside the file, instead of ``label``.

    Raises
    ------
    InputError
        When the file is damaged or no AnnData, the column or layer does not exist, or the matrix cannot be
        used.
    MissingDependencyError
        When anndata or h5py is not installed.
    """

    def __init__(self, path: Path, *, label: str | None = None, layer: str | None = None, y: Any = None) -> None:
        self.name = str(path)
        self.messages: list[str] = []
        self.categories: dict[str, list[str]] = {}
        self._path = path.resolve()  # the working directory may change before the first read
        self._file: Any = None
        self._pid = -1
        self._csr: Any = None
        self._indptr: NDArray[np.int64] | None = None
        self._lock = threading.RLock()
        with quiet(), self._damage():
            file = self._open()
            self._key, var_key = _locate(self.name, file, layer)
            node = file[self._key]
            self._format, shape = _encoding(self.name, self._key, node)
            self.n_samples, self.n_features = shape
            check_size(self.name, *shape)
            self.is_sparse = self._format != "dense"
            values = node["data"] if self.is_sparse else node
            self.dtype = check_dtype(self.name, values.dtype)
            self._stored = values.dtype
            self.sample_names = [str(n) for n in _index(file["obs"])]
            self.feature_names = unique_names([str(n) for n in _index(file[var_key])], self.messages)
            labels = y if label is None else _label(self.name, file["obs"], label)
        for names, count, axis in (
            (self.sample_names, self.n_samples, "obs"),
            (self.feature_names, self.n_features, "var"),
        ):
            if len(names) != count:
                raise InputError(f"{self.name}: {axis} names {len(names):,}, the matrix has {count:,}")
        self.labels = None if labels is None else check_labels(self.name, labels, self.n_samples)
        chunk = values.chunks[0] if not self.is_sparse and values.chunks else 1
        self.block_size = block_rows(self.n_features, min(chunk, self.n_samples))

    def read(self, rows: slice | NDArray[np.int64]) -> Any:
        """Read some samples; see :meth:`pixfold.sources.base.Source.read`."""
        wanted = normalize_rows(rows, self.n_samples)
        order = None
        if not isinstance(wanted, slice) and np.any(np.diff(wanted) <= 0):
            # A file is read forwards and each row once.
            wanted, order = np.unique(wanted, return_inverse=True)
            wanted = normalize_rows(wanted, self.n_samples)
        with self._lock, self._damage():
            node = self._open()[self._key]
            if self._format == "dense":
                block = self._read_dense(node, wanted)
            elif self._format == "csr":
                block = self._read_csr(node, wanted)
            else:
                block = self._whole(node)[wanted]
        return block if order is None else block[order]

    def close(self) -> None:
        """Close the file; the next read opens it again."""
        with self._lock:
            if self._file is not None and self._pid == os.getpid():
                self._file.close()
            self._file = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the open file behind: another process opens its own."""
        return {**self.__dict__, "_file": None, "_lock": None, "_csr": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`__getstate__` left."""
        self.__dict__.update(state)
        self._lock = threading.RLock()

    def _open(self) -> Any:
        """Return the open file of this process: an HDF5 handle must not cross a fork."""
        if self._file is None or self._pid != os.getpid():
            h5py = require("h5py", "io", "reading .h5ad files")
            self._file, self._pid = h5py.File(self._path, "r"), os.getpid()
        return self._file

    @contextmanager
    def _damage(self) -> Iterator[None]:
        try:
            yield
        except InputError:
            raise
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else "the HDF5 file is damaged or cut off"
            raise InputError(f"{self.name}: cannot read the file: {reason}") from error
        except (KeyError, RuntimeError) as error:
            raise InputError(f"{self.name}: the file is damaged or no AnnData file ({error})") from error

    def _read_dense(self, node: Any, wanted: slice | NDArray[np.int64]) -> NDArray[Any]:
        if isinstance(wanted, slice):
            return _native(node[wanted], self.dtype)
        row_bytes = self.n_features * self._stored.itemsize
        gap = max(1, _GAP_BYTES // row_bytes)
        if node.chunks:
            gap = max(1, node.chunks[0])  # rows between two of one chunk are decompressed in any case
        longest = max(1, BLOCK_BYTES // row_bytes)
        out = np.empty((len(wanted), self.n_features), dtype=self.dtype)
        for first, last in _runs(wanted, gap, longest):
            start = int(wanted[first])
            block = node[start : int(wanted[last - 1]) + 1]
            out[first:last] = block[wanted[first:last] - start]
        return out

    def _read_csr(self, node: Any, wanted: slice | NDArray[np.int64]) -> Any:
        from scipy import sparse

        indptr = self._pointers(node)
        if isinstance(wanted, slice):
            runs, starts, stops = [(0, 0)], indptr[[wanted.start]], indptr[[wanted.stop]]
            lengths = np.diff(indptr[wanted.start : wanted.stop + 1])
        else:
            runs = list(_runs(wanted, 1, len(wanted)))
            starts = indptr[[wanted[first] for first, _ in runs]]
            stops = indptr[[wanted[last - 1] + 1 for _, last in runs]]
            lengths = indptr[wanted + 1] - indptr[wanted]
        pointers = np.concatenate([[0], np.cumsum(lengths)])
        data = np.empty(pointers[-1], dtype=self.dtype)
        indices = np.empty(pointers[-1], dtype=node["indices"].dtype)
        done = 0
        for start, stop in zip(starts, stops, strict=True):
            size = int(stop - start)
            data[done : done + size] = node["data"][start:stop]
            indices[done : done + size] = node["indices"][start:stop]
            done += size
        self._check_indices(indices, self.n_features)
        return sparse.csr_matrix((data, indices, pointers), shape=(len(lengths), self.n_features))

    def _pointers(self, node: Any) -> NDArray[np.int64]:
        if self._indptr is None:
            indptr = node["indptr"][:].astype(np.int64)
            rows = self.n_samples if self._format == "csr" else self.n_features
            stored = node["data"].shape[0]
            if (
                len(indptr) != rows + 1
                or indptr[0] != 0
                or indptr[-1] != stored
                or stored != node["indices"].shape[0]
                or np.any(np.diff(indptr) < 0)
            ):
                raise InputError(f"{self.name}: the sparse matrix {self._key!r} is damaged (indptr does not fit)")
            self._indptr = indptr
        return self._indptr

    def _check_indices(self, indices: NDArray[Any], size: int) -> None:
        # An index outside the matrix would be written outside the image later.
        if indices.size and (indices.min() < 0 or indices.max() >= size):
            raise InputError(
                f"{self.name}: the sparse matrix {self._key!r} is damaged (index {indices.max()} of {size})"
            )

    def _whole(self, node: Any) -> Any:
        from scipy import sparse

        if self._csr is None:
            indptr, indices = self._pointers(node), node["indices"][:]
            self._check_indices(indices, self.n_samples)
            data = node["data"][:].astype(self.dtype, copy=False)
            shape = (self.n_samples, self.n_features)
            self._csr = sparse.csc_matrix((data, indices, indptr), shape=shape).tocsr()
        return self._csr


@contextmanager
def quiet() -> Iterator[None]:
    """Hide what anndata says about its own future: nothing a user of pixfold can act on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _runs(wanted: NDArray[np.int64], gap: int, longest: int) -> Iterator[tuple[int, int]]:
    """Split sorted rows where they lie further apart than ``gap``, into spans of at most ``longest`` rows."""
    first = 0
    cuts = np.diff(wanted) > gap
    for i in range(1, len(wanted)):
        if cuts[i - 1] or wanted[i] - wanted[first] >= longest:
            yield first, i
            first = i
    yield first, len(wanted)


def _native(block: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    return block.astype(dtype, copy=False)


def _layer_of(adata: Any, layer: str | None) -> tuple[Any, Any]:
    if layer is None:
        if adata.X is None:
            there = listed(list(adata.layers), 10) or "none"
            raise InputError(f"AnnData: X is empty; layers there are: {there}")
        return adata.X, adata.var_names
    if layer in adata.layers:
        return adata.layers[layer], adata.var_names
    if layer == RAW and adata.raw is not None:
        return adata.raw.X, adata.raw.var_names
    raise _no_layer("AnnData", layer, [*adata.layers, *([RAW] if adata.raw is not None else [])])


def _no_layer(name: str, layer: str, there: list[str]) -> InputError:
    return InputError(f"{name}: no layer {layer!r}; layers there are: {listed(there, 10) or 'none'}")


def _locate(name: str, file: Any, layer: str | None) -> tuple[str, str]:
    """Return the keys of the matrix and of the table that names its features."""
    if "obs" not in file or "var" not in file:
        there = listed(list(file), 10) or "nothing"
        raise InputError(f"{name}: expected an AnnData file with obs and var, received HDF5 with {there}")
    layers = list(file["layers"]) if "layers" in file else []
    raw = "raw" in file and "X" in file["raw"]
    if layer is None:
        if "X" not in file:
            raise InputError(f"{name}: the file has no X; layers there are: {listed(layers, 10) or 'none'}")
        return "X", "var"
    if layer in layers:
        return f"layers/{layer}", "var"
    if layer == RAW and raw:
        return "raw/X", "raw/var"
    raise _no_layer(name, layer, [*layers, *([RAW] if raw else [])])


def _encoding(name: str, key: str, node: Any) -> tuple[str, tuple[int, int]]:
    """Return "dense", "csr" or "csc", and the shape."""
    if hasattr(node, "dtype"):
        if len(node.shape) != 2:
            raise InputError(f"{name}: {key} must be 2-D (samples x features), received {len(node.shape)}-D")
        return "dense", (int(node.shape[0]), int(node.shape[1]))
    # "h5sparse" is how anndata before 0.7 called it
    kind = str(node.attrs.get("encoding-type", node.attrs.get("h5sparse_format", "")))
    shape = node.attrs.get("shape", node.attrs.get("h5sparse_shape"))
    if kind[:3] not in ("csr", "csc") or shape is None:
        raise InputError(f"{name}: expected {key} to be dense, CSR or CSC, received {kind or 'a plain group'!r}")
    return kind[:3], (int(shape[0]), int(shape[1]))


def _read_elem(node: Any) -> Any:
    return require("anndata", "io", "reading .h5ad files").io.read_elem(node)


def _is_table(node: Any) -> bool:
    """Tell whether obs or var is a group of columns; before anndata 0.7 it was one compound array."""
    return isinstance(node.attrs.get("_index"), str)


def _index(node: Any) -> Any:
    return _read_elem(node[node.attrs["_index"]]) if _is_table(node) else _read_elem(node).index


def _label(name: str, obs: Any, label: str) -> NDArray[Any]:
    if not _is_table(obs):
        frame = _read_elem(obs)
        check_column(name, label, list(map(str, frame.columns)), _likely(frame))
        return _plain(frame[label].array)
    columns = [str(c) for c in obs.attrs["column-order"]]
    text = [c for c in columns if c in obs and not _numeric_column(obs[c])]
    check_column(name, label, columns, text)
    return _plain(_read_elem(obs[label]))


def _numeric_column(node: Any) -> bool:
    return getattr(getattr(node, "dtype", None), "kind", "O") in "iufb"


def _likely(frame: Any) -> list[str]:
    return [
        str(c)
        for c, dtype in zip(frame.columns, frame.dtypes, strict=True)
        if getattr(dtype, "kind", "O") not in "iufb"
    ]


def _plain(values: Any) -> NDArray[Any]:
    """Labels as NumPy values: categories and nullable types become objects, missing ones stay missing."""
    if isinstance(values, Mapping):
        raise InputError("AnnData: the label column is a group, expected one value per sample")
    dtype = getattr(values, "dtype", None)
    return np.asarray(values, dtype=None if isinstance(dtype, np.dtype) else object)
