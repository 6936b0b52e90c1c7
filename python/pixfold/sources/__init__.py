"""Where samples come from: one module per format, all of one small protocol."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pixfold.errors import InputError
from pixfold.genotypes import PackedGenotypes
from pixfold.sources.array import ArraySource, is_sparse, open_npy, open_npz
from pixfold.sources.base import Source, check_labels, normalize_rows
from pixfold.sources.labels import check_one_of

__all__ = ["SUFFIXES", "ArraySource", "Source", "normalize_rows", "open_source"]

_TEXT = (".csv", ".tsv", ".txt")
SUFFIXES = (".h5ad", ".npy", ".npz", *_TEXT, *(f"{suffix}.gz" for suffix in _TEXT))

_NPY, _ZIP, _HDF5, _GZIP, _PLAIN = "a NumPy array", "a ZIP archive", "HDF5", "gzip", "text"
_EXPECTED = {".npy": _NPY, ".npz": _ZIP, ".h5ad": _HDF5, ".gz": _GZIP}
_MAGIC = {
    b"\x93NUMPY": _NPY,
    b"PK\x03\x04": _ZIP,
    b"PK\x05\x06": _ZIP,
    b"\x89HDF\r\n\x1a\n": _HDF5,
    b"\x1f\x8b": _GZIP,
    b"\x28\xb5\x2f\xfd": "Zstandard",
    b"\x80\x04\x95": "a Python pickle",
    b"\x80\x05\x95": "a Python pickle",
    b"%PDF": "PDF",
    b"PAR1": "Parquet",
    b"\xd0\xcf\x11\xe0": "an old Excel file",
    b"\xff\xfe": "text in UTF-16",
    b"\xfe\xff": "text in UTF-16",
}
# HDF5 may begin with a block of its user's, of these sizes and on in powers of two.
_HDF5_OFFSETS = (512, 1024, 2048, 4096)


def open_source(
    data: Any,
    *,
    label: str | None = None,
    layer: str | None = None,
    y: Any = None,
    categories: Mapping[str, Sequence[str]] | None = None,
) -> Source:
    """Open data of any supported kind.

    Parameters
    ----------
    data : path, ndarray, SciPy sparse matrix, PackedGenotypes, pandas.DataFrame, anndata.AnnData or Source
        Samples x features. A path ends in one of ``SUFFIXES``. Other arrays (torch, nested lists) become
        NumPy arrays. A :class:`Source` is returned as it is.
    label : str, optional
        Where the labels are: a column of a table, a column of ``obs``, the name of an array in an .npz file.
    layer : str, optional
        AnnData alone: the layer to read instead of ``X``, or ``"raw"``.
    y : array-like of shape (n_samples,), optional
        Labels given beside the data, instead of ``label``.
    categories : mapping of str to sequence of str, optional
        Tables alone: ``categories`` of the source that a model was trained on, so that text is encoded by the
        same codes.

    Returns
    -------
    Source

    Raises
    ------
    InputError
        When the data cannot be used; the message names what was expected and what came.
    MissingDependencyError
        When the package that reads the format is not installed.
    """
    path = Path(data) if isinstance(data, (str, os.PathLike)) else None
    name = str(path) if path is not None else _called(data)
    check_one_of(label, y, name)
    kind = "path" if path is not None else _kind(data)
    is_anndata = kind == "AnnData" or (path is not None and path.suffix.lower() == ".h5ad")
    if layer is not None and not is_anndata:
        raise InputError(f"{name}: layers are read from AnnData alone, received layer {layer!r}")
    if path is not None:
        return _open_path(path, label, layer, y, categories)
    if kind == "AnnData":
        from pixfold.sources.anndata import open_anndata

        source: Source = open_anndata(data, label=label, layer=layer, y=y)
        return source
    if kind == "DataFrame":
        from pixfold.sources.table import open_frame

        return open_frame(data, label=label, y=y, categories=categories)
    if label is not None:
        raise InputError(f"{name}: has no columns to take labels {label!r} from; give them as y")
    if kind == "Source":
        return data if y is None else _relabelled(data, y)
    if kind == "torch":
        data = data.detach().cpu().numpy()
    elif kind == "unknown" and isinstance(data, PackedGenotypes):
        return ArraySource(data, labels=y)
    elif kind == "unknown" and not hasattr(data, "__array__") and not isinstance(data, (list, tuple)):
        raise InputError(
            "data: expected a path, NumPy array, SciPy sparse matrix, PackedGenotypes, pandas DataFrame or AnnData, "
            f"received {type(data).__module__}.{type(data).__qualname__}"
        )
    return ArraySource(data, labels=y)


def _kind(data: Any) -> str:
    """Name the kind of an object by the modules of its classes: nothing is imported to find out."""
    if is_sparse(data):
        return "sparse"
    for base in type(data).__mro__:
        package = base.__module__.partition(".")[0]
        if package == "anndata" and base.__name__ == "AnnData":
            return "AnnData"
        if package == "pandas" and base.__name__ == "DataFrame":
            return "DataFrame"
        if package == "torch" and base.__name__ == "Tensor":
            return "torch"
    return "Source" if isinstance(data, Source) else "unknown"


def _called(data: Any) -> str:
    kind = _kind(data)
    if kind == "Source":
        return str(data.name)
    return kind if kind in ("AnnData", "DataFrame") else "array"


def _relabelled(source: Source, y: Any) -> Source:
    other = copy.copy(source)
    other.labels = check_labels(source.name, y, source.n_samples)
    return other


def _open_path(
    path: Path,
    label: str | None,
    layer: str | None,
    y: Any,
    categories: Mapping[str, Sequence[str]] | None,
) -> Source:
    suffix = _suffix(path)
    _check_content(path, suffix)
    if suffix == ".h5ad":
        from pixfold.sources.anndata import H5adSource

        return H5adSource(path, label=label, layer=layer, y=y)
    if suffix == ".npz":
        source = open_npz(path, label=label)
        return source if y is None else _relabelled(source, y)
    if suffix == ".npy":
        if label is not None:
            raise InputError(f"{path}: a .npy file has no columns to take labels {label!r} from")
        source = open_npy(path)
        return source if y is None else _relabelled(source, y)
    from pixfold.sources.table import open_text

    return open_text(path, label=label, y=y, categories=categories)


def _suffix(path: Path) -> str:
    lower = path.name.lower()
    suffix = next((s for s in sorted(SUFFIXES, key=len, reverse=True) if lower.endswith(s)), None)
    if not path.exists():
        raise InputError(f"{path}: no such file")
    if path.is_dir():
        raise InputError(f"{path}: expected a file, received a folder")
    if suffix is None:
        raise InputError(f"{path}: expected a file ending in {', '.join(SUFFIXES)}")
    return suffix


def _check_content(path: Path, suffix: str) -> None:
    """Raise InputError when the first bytes of a file are not what its name says."""
    try:
        with path.open("rb") as file:
            head = file.read(8192)
    except OSError as error:
        raise InputError(f"{path}: cannot read the file: {error.strerror or error}") from error
    if not head:
        raise InputError(f"{path}: the file is empty")
    expected = _EXPECTED.get(suffix[suffix.rindex(".") :], _PLAIN)
    found = _found(head)
    if found != expected:
        raise InputError(f"{path}: the file is not what its name says: expected {expected}, found {found}")


def _found(head: bytes) -> str:
    for magic, what in _MAGIC.items():
        if head.startswith(magic):
            return what
    if any(head.startswith(b"\x89HDF\r\n\x1a\n", offset) for offset in _HDF5_OFFSETS):
        return _HDF5
    return "binary data" if b"\0" in head else _PLAIN
