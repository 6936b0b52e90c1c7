"""Stores that ``pixfold pack`` has written: dense or CSR values, genotypes at two bits each, dosages at a byte each."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.genotypes import PackedGenotypes
from pixfold.sources.base import AnyRows, Source, normalize_rows
from pixfold.sources.disk.zarr_files import Place
from pixfold.sources.feature_types import plain
from pixfold.sources.genotypes.dosages import from_bytes
from pixfold.sources.labels import check_columns, columns_of
from pixfold.sources.options import ReadOptions
from pixfold.sources.packed.store import PackedStore
from pixfold.util.optional import require


def open_packed(path: Place, options: ReadOptions) -> PackedSource:
    """Open a packed store; see :class:`PackedSource`."""
    return PackedSource(path, options)


class PackedSource(Source):
    """A packed store. Names and labels are read when it is opened, values when they are asked for.

    Every chunk that is read is checked against its checksums.

    Parameters
    ----------
    path : Path or Address
        The folder, or the store on another machine.
    options : ReadOptions, optional
        Its ``label``, ``groups`` and ``covariates`` are columns of the store's table of samples, ``y`` are labels
        beside it; with ``verify`` everything is read once and checked.

    Raises
    ------
    InputError
        When the store is half-written, damaged or of another version, or the column does not exist.
    MissingDependencyError
        When zarr or anndata is not installed.
    """

    def __init__(self, path: Place, options: ReadOptions | None = None) -> None:
        self._store, options = PackedStore(path), options or ReadOptions()
        if options.verify:
            self._store.verify()
        about = self._store.about
        name, shape = str(path), (int(about["shape"][0]), int(about["shape"][1]))
        samples, features = self._index("obs"), self._index("var")
        for names, count, table in ((samples, shape[0], "obs"), (features, shape[1], "var")):
            if len(names) != count:
                raise InputError(f"{path}: {table} must name {count:,} as the store says, got {len(names):,} names")
        labels = options.y
        if options.label is not None or options.columns:
            check_columns(name, options, self._obs_columns())
        if options.label is not None:
            labels = self._obs(options.label)
        self._stored = str(about["kind"])
        self._array = {"dense": "X", "csr": "X/data", "genotypes": "bits", "dosages": "dosages"}[self._stored]
        array = self._store.array(self._array)
        self._chunk = int(array.chunks[0])
        super().__init__(
            name,
            shape,
            np.dtype(np.float32 if self._stored in ("genotypes", "dosages") else about["dtype"]),
            feature_names=features,
            sample_names=samples,
            labels=labels,
            **columns_of(options, self._obs),
            categories=about["categories"],
            messages=about["messages"],
            feature_annotation=self._annotation(shape[1]),
            is_sparse=self._stored == "csr",
            chunk_rows=1 if self._stored == "csr" else self._chunk,
        )
        # Stores of version 0.1 do not say what their values are.
        self.kind = about.get("source_kind", "genotypes" if self._stored == "genotypes" else "matrix")
        self.channel_sizes = about["channel_sizes"]
        beside = 4 * array.shape[0] + 8 * self.n_samples if self.is_sparse else 0
        itemsize = 4 if self._stored == "dosages" else int(array.dtype.itemsize)  # as they are read
        self.nbytes = int(np.prod(array.shape)) * itemsize + beside
        self._row_start: NDArray[np.int64] | None = None
        self._lock = threading.Lock()

    def read(self, rows: AnyRows) -> Any:
        """Read some samples; see :meth:`pixfold.sources.base.Source.read`."""
        wanted = normalize_rows(rows, self.n_samples, self.name)
        if isinstance(wanted, slice):
            return self._block(wanted.start, wanted.stop)
        ordered, order = np.unique(wanted, return_inverse=True)
        parts = [self._picked(self._block(run[0], run[-1] + 1), run - run[0]) for run in _runs(ordered, self._gap())]
        return self._picked(self._joined(parts), order)

    def sample_columns(self) -> dict[str, NDArray[Any]]:
        """Read the columns of the table of samples; see :meth:`pixfold.sources.base.Source.sample_columns`."""
        return {column: self._obs(column) for column in self._obs_columns()}

    def tables(self) -> tuple[Any, Any]:
        """Read the tables of samples and features, as pandas.DataFrame."""
        return self._store.element("obs"), self._store.element("var")

    def __getstate__(self) -> dict[str, Any]:
        """Leave what was read behind: another process reads for itself."""
        return {**self.__dict__, "_row_start": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`__getstate__` left."""
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def _annotation(self, count: int) -> dict[str, NDArray[Any]]:
        columns = [str(column) for column in self._store.group_attributes("var")["column-order"]]
        found = {column: plain(self._store.element(f"var/{column}")) for column in columns}
        return {name: values for name, values in found.items() if values is not None and len(values) == count}

    def _obs_columns(self) -> list[str]:
        return [str(column) for column in self._store.group_attributes("obs")["column-order"]]

    def _obs(self, column: str) -> NDArray[Any]:
        values = self._store.element(f"obs/{column}")
        # Categories and nullable types become objects.
        return np.asarray(values, None if isinstance(values, np.ndarray) else object)

    def _index(self, table: str) -> list[str]:
        key = self._store.group_attributes(table)["_index"]
        return [str(name) for name in self._store.element(f"{table}/{key}")]

    def _gap(self) -> int:
        """Rows that lie apart by less are read with those between them: they are in the same chunks."""
        return max(1, self._chunk * self.n_samples // max(1, int(self._store.array(self._array).shape[0])))

    def _block(self, first: int, last: int) -> Any:
        if self._stored == "csr":
            return self._sparse(first, last)
        values = self._store.read(self._array, slice(first, last))
        if self._stored == "dense":
            return values
        if self._stored == "dosages":
            return from_bytes(values)
        return PackedGenotypes(values, self.n_features, count_first=bool(self._store.about["count_first"]))

    def _sparse(self, first: int, last: int) -> Any:
        sparse = require("scipy.sparse", "io", "sparse matrices")
        with self._lock:
            if self._row_start is None:
                self._row_start = self._store.read("X/indptr", slice(None))
            starts = self._row_start[first : last + 1]
        part = slice(int(starts[0]), int(starts[-1]))
        data, indices = self._store.read("X/data", part), self._store.read("X/indices", part)
        return sparse.csr_matrix((data, indices, starts - starts[0]), shape=(last - first, self.n_features))

    def _joined(self, parts: list[Any]) -> Any:
        if len(parts) == 1:
            return parts[0]
        if self._stored == "csr":
            return require("scipy.sparse", "io", "sparse matrices").vstack(parts, format="csr")
        if self._stored in ("dense", "dosages"):
            return np.concatenate(parts)
        bits = np.concatenate([part.bits for part in parts])
        return PackedGenotypes(bits, self.n_features, count_first=parts[0].count_first)

    def _picked(self, block: Any, rows: NDArray[np.int64]) -> Any:
        same = len(rows) == block.shape[0] and bool(np.all(rows == np.arange(len(rows))))
        return block if same else block[rows]


def _runs(ordered: NDArray[np.int64], gap: int) -> Iterator[NDArray[np.int64]]:
    yield from np.split(ordered, np.flatnonzero(np.diff(ordered) > gap) + 1)
