"""AnnData: in memory, and .h5ad files and Zarr stores whose matrix stays on disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.arrays.dask import is_dask
from pixfold.errors import InputError, PixfoldError
from pixfold.sources.anndata.containers import Container, Hdf5File, quiet
from pixfold.sources.anndata.stored import Matrix, open_matrix
from pixfold.sources.arrays.array_source import ArraySource, is_sparse
from pixfold.sources.arrays.dask import DaskSource
from pixfold.sources.base import Source, check_size, describe
from pixfold.sources.disk.on_disk import StoredSource
from pixfold.sources.feature_types import annotation_of, plain
from pixfold.sources.labels import check_columns, columns_of
from pixfold.sources.options import ReadOptions
from pixfold.util.optional import require
from pixfold.util.text import listed

RAW = "raw"


def open_anndata(adata: Any, options: ReadOptions) -> Source:
    """Make a source of an AnnData object.

    Parameters
    ----------
    adata : anndata.AnnData
        In memory, or backed by an .h5ad file: then its matrix stays there.
    options : ReadOptions
        Its ``label``, ``groups`` and ``covariates`` are columns of ``obs``, ``layer`` is read instead of ``X`` (or
        ``"raw"``), ``y`` are labels beside the object.

    Returns
    -------
    Source

    Raises
    ------
    InputError
        When the column or layer does not exist, or the matrix cannot be used.
    """
    with quiet():
        obs, labels = adata.obs, options.y
        check_columns("AnnData", options, list(map(str, obs.columns)), _likely(obs))
        if options.label is not None:
            labels = _plain(obs[options.label].array)
        beside = columns_of(options, lambda column: _plain(obs[column].array))
        if adata.isbacked:
            if adata.is_view:
                raise InputError("AnnData: a view of a backed object is not read; give its .to_memory()")
            backed = open_stored(Hdf5File(Path(adata.filename)), ReadOptions(layer=options.layer, y=labels))
            describe(backed, **beside)
            return backed
        matrix, var = _layer_of(adata, options.layer)
        var_names, about = var.index, annotation_of(var)
    if is_dask(matrix):
        lazy = DaskSource(matrix, name="AnnData", feature_names=var_names, sample_names=adata.obs_names, labels=labels)
        describe(lazy, **beside)
        lazy.feature_annotation = about
        return lazy
    if not (is_sparse(matrix) or isinstance(matrix, np.ndarray)):
        kind = f"{type(matrix).__module__}.{type(matrix).__qualname__}"
        raise InputError(f"AnnData: X must be a NumPy, SciPy sparse or Dask matrix, got {kind}")
    return _InMemory(
        matrix,
        obs,
        name="AnnData",
        feature_names=list(var_names),
        sample_names=list(adata.obs_names),
        labels=labels,
        feature_annotation=about,
        **beside,
    )


class _InMemory(ArraySource):
    """AnnData in memory, which knows its obs."""

    def __init__(self, matrix: Any, obs: Any, **about: Any) -> None:
        super().__init__(matrix, **about)
        self._obs = obs

    def sample_columns(self) -> dict[str, NDArray[Any]]:
        """Return the columns of obs; see :meth:`pixfold.sources.base.Source.sample_columns`."""
        return _columns_of_frame(self._obs)


def open_h5ad(path: Path, options: ReadOptions) -> Source:
    """Open an .h5ad file; see :func:`open_stored`."""
    return open_stored(Hdf5File(path), options)


def open_stored(container: Container, options: ReadOptions) -> StoredSource:
    """Make a source of AnnData on disk, which stays there: names and labels are read now, values when asked for.

    Dense matrices and CSR are read by row. CSC is brought to rows at the first read, within bounded memory.

    Parameters
    ----------
    container : Container
        The file or store.
    options : ReadOptions
        Its ``label``, ``groups``, ``covariates``, ``layer`` and ``y`` are those of :func:`open_anndata`.

    Raises
    ------
    InputError
        When the file is damaged or no AnnData, the column or layer does not exist, or the matrix cannot be used.
    MissingDependencyError
        When anndata, h5py or zarr is not installed.
    """
    with container.reading():
        root = container.node()
        key, var_key = _locate(container, root, options.layer)
    with container.reading(key):
        matrix = open_matrix(container, key)
        check_size(container.name, *matrix.shape)
    messages = list(matrix.messages)
    samples = _names(container, "obs", matrix.shape[0])
    features = _names(container, var_key, matrix.shape[1])
    labels = options.y
    with container.reading("obs" if options.label is None else f"obs/{options.label}"), quiet():
        _check_obs(container.name, root["obs"], options)
    if (label := options.label) is not None:
        with container.reading(f"obs/{label}"), quiet():
            labels = _obs_column(root["obs"], label)
            messages += _absent_labels(container, label)

    def beside(column: str) -> NDArray[Any]:
        with container.reading(f"obs/{column}"), quiet():
            messages.extend(_absent_labels(container, column, repr(column)))
            return _obs_column(root["obs"], column)

    kept = columns_of(options, beside)

    return AnnDataSource(
        container,
        matrix,
        var_key,
        feature_names=features,
        sample_names=samples,
        labels=labels,
        messages=messages,
        feature_annotation=_annotation(container, var_key, matrix.shape[1]),
        **kept,
    )


class AnnDataSource(StoredSource):
    """AnnData on disk, whose tables can be read too."""

    def __init__(self, container: Container, matrix: Matrix, var_key: str, **about: Any) -> None:
        super().__init__(container, matrix, **about)
        self._container, self._var_key = container, var_key

    def sample_columns(self) -> dict[str, NDArray[Any]]:
        """Read the columns of obs; see :meth:`pixfold.sources.base.Source.sample_columns`."""
        with self._container.reading("obs"), quiet():
            return _columns_of_frame(_read_elem(self._container.node("obs")))

    def tables(self) -> tuple[Any, Any]:
        """Read the tables of samples and features, as pandas.DataFrame."""
        with self._container.reading("obs and var"), quiet():
            return _read_elem(self._container.node("obs")), _read_elem(self._container.node(self._var_key))


def _names(container: Container, axis: str, count: int) -> list[str]:
    with container.reading(axis), quiet():
        node = container.node(axis)
        container.watch(axis)
        if _is_table(node) and (absent := container.absent(f"{axis}/{node.attrs['_index']}")):
            raise InputError(f"{container.name}: {absent[0]} with names of {axis} is missing")
        names = [str(n) for n in _index(node)]
    if len(names) != count:
        raise InputError(f"{container.name}: {axis} names {len(names):,}, the matrix has {count:,}")
    return names


def _annotation(container: Container, var_key: str, count: int) -> dict[str, NDArray[Any]]:
    """Columns of var; those that cannot be read are left out, because nobody has asked for them."""
    found: dict[str, NDArray[Any]] = {}
    try:
        with container.reading(var_key), quiet():
            var = container.node(var_key)
            if not _is_table(var):
                return annotation_of(_read_elem(var))
            columns = [str(column) for column in var.attrs["column-order"]]
    except PixfoldError:
        return found
    for column in columns:
        try:
            with container.reading(f"{var_key}/{column}"), quiet():
                node = var[column]
                if len(getattr(node, "shape", (0,))) == 1:
                    values = plain(_read_elem(node))
                    if values is not None and len(values) == count:
                        found[column] = values
        except PixfoldError:
            continue
    return found


def _absent_labels(container: Container, label: str, what: str = "the labels") -> list[str]:
    files = [file for part in ("", "/codes", "/values") for file in container.absent(f"obs/{label}{part}")]
    return [
        f"{container.name}: {file} of {what} is not stored: its samples get the first category, or 0"
        for file in files[:1]
    ]


def _layer_of(adata: Any, layer: str | None) -> tuple[Any, Any]:
    if layer is None:
        if adata.X is None:
            there = listed(list(adata.layers), 10) or "none"
            raise InputError(f"AnnData: X is empty; layers there are: {there}")
        return adata.X, adata.var
    if layer in adata.layers:
        return adata.layers[layer], adata.var
    if layer == RAW and adata.raw is not None:
        return adata.raw.X, adata.raw.var
    raise _no_layer("AnnData", layer, [*adata.layers, *([RAW] if adata.raw is not None else [])])


def _no_layer(name: str, layer: str, there: list[str]) -> InputError:
    return InputError(f"{name}: no layer {layer!r}; layers there are: {listed(there, 10) or 'none'}")


def _locate(container: Container, root: Any, layer: str | None) -> tuple[str, str]:
    """Return the keys of the matrix and of the table that names its features."""
    name = container.name
    if "obs" not in root or "var" not in root:
        there = listed(sorted(root), 10) or "nothing"
        raise InputError(f"{name}: the file must be AnnData with obs and var, got {container.kind} with {there}")
    layers = sorted(root["layers"]) if "layers" in root else []
    raw = "raw" in root and not hasattr(root["raw"], "shape") and "X" in root["raw"]
    if layer is None:
        # anndata stores None as an array or group of the type "null".
        if "X" not in root or root["X"].attrs.get("encoding-type") == "null":
            raise InputError(f"{name}: the file has no X; layers there are: {listed(layers, 10) or 'none'}")
        return "X", "var"
    if layer in layers:
        return f"layers/{layer}", "var"
    if layer == RAW and raw:
        return "raw/X", "raw/var"
    raise _no_layer(name, layer, [*layers, *([RAW] if raw else [])])


def _read_elem(node: Any) -> Any:
    return require("anndata", "io", "reading AnnData").io.read_elem(node)


def _is_table(node: Any) -> bool:
    """Tell whether obs or var is a group of columns; before anndata 0.7 it was one compound array."""
    return isinstance(node.attrs.get("_index"), str)


def _index(node: Any) -> Any:
    return _read_elem(node[node.attrs["_index"]]) if _is_table(node) else _read_elem(node).index


def _check_obs(name: str, obs: Any, options: ReadOptions) -> None:
    """Raise InputError unless obs has the columns that options name."""
    if options.label is None and not options.columns:
        return
    if not _is_table(obs):
        frame = _read_elem(obs)
        check_columns(name, options, list(map(str, frame.columns)), _likely(frame))
        return
    columns = [str(c) for c in obs.attrs["column-order"]]
    text = [c for c in columns if c in obs and not _numeric_column(obs[c])]
    check_columns(name, options, columns, text)


def _obs_column(obs: Any, column: str) -> NDArray[Any]:
    return _plain(_read_elem(obs[column])) if _is_table(obs) else _plain(_read_elem(obs)[column].array)


def _columns_of_frame(frame: Any) -> dict[str, NDArray[Any]]:
    """Columns of a pandas.DataFrame; of several of one name the first."""
    once = frame.loc[:, ~frame.columns.duplicated()]
    return {str(name): _plain(once[name].array) for name in once.columns}


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
        raise InputError("AnnData: the label column must hold one value per sample, got a group")
    dtype = getattr(values, "dtype", None)
    return np.asarray(values, dtype=None if isinstance(dtype, np.dtype) else object)
