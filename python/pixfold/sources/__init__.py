"""Where samples come from: one module per format, all of one small protocol."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pixfold.arrays.dask import is_dask
from pixfold.errors import InputError
from pixfold.genotypes import PackedGenotypes
from pixfold.sources.arrays.memory import ArraySource, is_sparse
from pixfold.sources.base import Source, normalize_rows, relabelled
from pixfold.sources.formats import SUFFIXES, Options, format_of
from pixfold.sources.labels import check_one_of, split_labels
from pixfold.sources.side_by_side import Join, side_by_side
from pixfold.sources.tables.categories import ENCODINGS

__all__ = ["SUFFIXES", "ArraySource", "Source", "normalize_rows", "open_source", "side_by_side"]


def open_source(
    data: Any,
    *,
    label: str | None = None,
    layer: str | None = None,
    y: Any = None,
    categories: Mapping[str, Sequence[str]] | None = None,
    categorical: str = "ordinal",
    labels: str | os.PathLike[str] | None = None,
    split: str | None = None,
    verify: bool = False,
    sequence: str | None = None,
    alphabet: str | None = None,
    ambiguous: str = "spread",
    length: int | None = None,
    join: Join = "all",
    stack: bool = False,
) -> Source:
    """Open data of any supported kind.

    Parameters
    ----------
    data : path, ndarray, SciPy sparse matrix, Dask array, PackedGenotypes, pandas.DataFrame, anndata.AnnData or Source
        Samples x features. A path ends in one of ``SUFFIXES``. Other arrays (torch, nested lists) become
        NumPy arrays. A :class:`Source` is returned as it is. A list of paths, sources, tables or AnnData objects
        is read as :func:`side_by_side`.
    label : str, optional
        Where the labels are: a column of a table, a column of ``obs``, the name of an array in an .npz file; or,
        with ``labels``, a column of that table.
    layer : str, optional
        AnnData alone: the layer to read instead of ``X``, or ``"raw"``.
    y : array-like of shape (n_samples,), optional
        Labels given beside the data, instead of ``label``.
    categories : mapping of str to sequence of str, optional
        Tables alone: ``categories`` of the source that a model was trained on, so that text is encoded by the
        same codes, or as the same features.
    categorical : {"ordinal", "onehot"}
        Tables alone: columns of text, booleans and categories become codes 0, 1, 2, ... in sorted order, or one
        feature of 0 and 1 for every category, named "column=category". Where ``categories`` is given, it says.
    labels : path, optional
        A table (.csv, .tsv, .txt, compressed or not, .parquet, .feather) with labels of the samples in its column
        ``label``. Its samples are matched by name: they are named by a first column without a header, else by one
        called sample, id or IID, else by the first column. A sample that is not in it has no label.
    split : {"median"}, optional
        Make two classes of labels that are numbers: those up to their median, and those above it.
    verify : bool
        Packed stores alone: read everything once and check it against its checksums.
    sequence : str, optional
        Tables alone: the column of DNA, RNA or protein sequences that is the data.
    alphabet : {"dna", "rna", "protein"}, optional
        Sequences alone (FASTA, FASTQ, ``sequence``): what they are; without it their letters tell. Every letter has a
        channel of its own, see :class:`pixfold.sources.sequences.sequences.SequenceSource`.
    ambiguous : {"spread", "zero"}
        Sequences alone: a letter that stands for several (N, R, ...) is each of them to equal parts, or nothing.
    length : int, optional
        Sequences alone: letters per sample; shorter ones are padded with zeros, longer ones cut. Default: the longest.
    join, stack
        A list of inputs alone: as for :func:`side_by_side`.

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
    if categorical not in ENCODINGS:
        raise InputError(f"categorical: expected {' or '.join(map(repr, ENCODINGS))}, received {categorical!r}")
    if labels is not None:
        if label is None:
            raise InputError(f"{labels}: say which of its columns holds the labels (label)")
        check_one_of(label, y, str(labels))
    source = _open(
        data,
        Options(
            label=None if labels is not None else label,
            y=y,
            layer=layer,
            categories=categories,
            categorical=categorical,
            verify=verify,
            sequence=sequence,
            alphabet=alphabet,
            ambiguous=ambiguous,
            length=length,
            join=join,
            stack=stack,
        ),
    )
    if labels is not None and label is not None:
        from pixfold.sources.tables.label_table import match_labels

        source = match_labels(source, Path(labels), label)
    if split is None:
        return source
    classes, message = split_labels(source.name, source.labels, split)
    result = relabelled(source, classes)
    result.messages = [*source.messages, message]
    return result


def _open(data: Any, options: Options) -> Source:
    label, y, layer = options.label, options.y, options.layer
    if _are_several(data):
        if options.verify:
            raise _nothing_to_verify("sources side by side")
        for name in ("sequence", "alphabet", "length"):
            if getattr(options, name) is not None:
                raise InputError(f"{name}: is an option of a single input, received {len(data)} of them")
        return side_by_side(
            data,
            label=label,
            layer=layer,
            y=y,
            categories=options.categories,
            categorical=options.categorical,
            join=options.join,
            stack=options.stack,
        )
    path = Path(data) if isinstance(data, (str, os.PathLike)) else None
    name = str(path) if path is not None else _called(data)
    check_one_of(label, y, name)
    kind = "path" if path is not None else _kind(data)
    if path is not None:
        known = format_of(path)
        if layer is not None and "layer" not in known.takes:
            raise _no_layers(name, layer)
        if options.verify and "verify" not in known.takes:
            raise _nothing_to_verify(name)
        if options.sequence is not None:
            from pixfold.sources.sequences.sequences import open_table

            if "sequence" not in known.takes:
                raise InputError(f"{name}: a column of sequences is read from tables alone")
            return open_table(path, options)
        if options.alphabet is not None and "alphabet" not in known.takes:
            raise InputError(f"{name}: expected sequences for alphabet={options.alphabet!r}, which {known.name} is not")
        return known.open(path, options)
    if options.verify:
        raise _nothing_to_verify(name)
    if layer is not None and kind != "AnnData":
        raise _no_layers(name, layer)
    if kind == "AnnData":
        from pixfold.sources.anndata.anndata import open_anndata

        opened: Source = open_anndata(data, label=label, layer=layer, y=y)
        return opened
    if kind == "Dask" and label is None:
        from pixfold.sources.arrays.dask import DaskSource

        return DaskSource(data, labels=y)
    if kind == "DataFrame" and options.sequence is not None:
        from pixfold.sources.sequences.sequences import open_frame as open_sequences

        return open_sequences(data, options)
    if kind == "DataFrame":
        from pixfold.sources.tables.frame import open_frame

        return open_frame(data, label=label, y=y, categories=options.categories, categorical=options.categorical)
    if label is not None:
        raise InputError(f"{name}: has no columns to take labels {label!r} from; give them as y")
    if kind == "Source":
        return data if y is None else relabelled(data, y)
    if kind == "torch":
        data = data.detach().cpu().numpy()
    elif kind == "unknown" and isinstance(data, PackedGenotypes):
        return ArraySource(data, labels=y)
    elif kind == "unknown" and not hasattr(data, "__array__") and not isinstance(data, (list, tuple)):
        raise InputError(
            "data: expected a path, NumPy array, SciPy sparse matrix, Dask array, PackedGenotypes, pandas DataFrame or "
            "AnnData, "
            f"received {type(data).__module__}.{type(data).__qualname__}"
        )
    return ArraySource(data, labels=y)


def takes_layer(data: Any) -> bool:
    """Tell whether data of any supported kind are AnnData, and so may have layers."""
    if isinstance(data, (str, os.PathLike)):
        return "layer" in format_of(Path(data)).takes
    return _kind(data) == "AnnData"


def _are_several(data: Any) -> bool:
    """Tell whether a list holds inputs of their own, rather than rows of numbers."""
    return (
        isinstance(data, (list, tuple))
        and len(data) > 0
        and all(
            isinstance(item, (str, os.PathLike)) or _kind(item) in ("AnnData", "DataFrame", "Source") for item in data
        )
    )


def _kind(data: Any) -> str:
    """Name the kind of an object by the modules of its classes: nothing is imported to find out."""
    if is_sparse(data):
        return "sparse"
    if is_dask(data):
        return "Dask"
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


def _no_layers(name: str, layer: str) -> InputError:
    return InputError(f"{name}: layers are read from AnnData alone, received layer {layer!r}")


def _nothing_to_verify(name: str) -> InputError:
    return InputError(f"{name}: only stores that pixfold pack has written hold checksums to verify")
