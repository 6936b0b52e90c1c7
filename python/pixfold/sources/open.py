"""Open data of any supported kind: the one way from a path or an object to a source."""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pixfold.arrays.dask import is_dask
from pixfold.errors import InputError
from pixfold.genotypes import PackedGenotypes
from pixfold.sources.arrays.array_source import ArraySource, is_sparse
from pixfold.sources.base import AnyRows, Source, described, normalize_rows, relabelled, unique_names
from pixfold.sources.choice import chosen
from pixfold.sources.disk.limits import within
from pixfold.sources.disk.remote import here
from pixfold.sources.disk.zarr_files import Address, Place
from pixfold.sources.feature_types import named_by, of_types
from pixfold.sources.formats import format_of
from pixfold.sources.joined import joined
from pixfold.sources.labels import check_columns, split_labels
from pixfold.sources.names import Names
from pixfold.sources.options import COLUMNS, NoColumnError, ReadOptions
from pixfold.sources.tables.spreadsheet_dates import warn_of_dates

Opener = TypeVar("Opener", bound=Callable[..., Source])

_OF_SEQUENCES = ("alphabet", "ambiguous", "length")
_OF_TEXT = ("decimal", "no_header", "sheet")
_OF_TYPES = ("feature_type", "genome")
_NOT_EVERYWHERE = {"layer", "verify", "sequence", "hard_calls", "transpose", *_OF_TEXT, *_OF_TYPES}
_TAKEN = {"AnnData": frozenset({"layer", *_OF_TYPES}), "DataFrame": frozenset({"sequence"})}


def _shows_options(function: Opener) -> Opener:
    """Show the options among the parameters of a function, for ``help`` and editors."""
    own = [p for p in inspect.signature(function).parameters.values() if p.kind != inspect.Parameter.VAR_KEYWORD]
    options = inspect.signature(ReadOptions).parameters.values()
    shown: Any = function
    shown.__signature__ = inspect.Signature([*own, *options], return_annotation=Source)
    return function


@_shows_options
def open_source(data: Any, **options: Any) -> Source:
    """Open data of any supported kind.

    Parameters
    ----------
    data : path, ndarray, SciPy sparse matrix, Dask array, PackedGenotypes, pandas.DataFrame, anndata.AnnData or Source
        Samples x features. A path ends in one of ``SUFFIXES``, or is an address (``https://``, ``s3://``, ...), whose
        file is downloaded, or whose Zarr store is read where it is. Other arrays (torch, nested lists) become
        NumPy arrays. A :class:`Source` is returned as it is. A list of paths, sources, tables or AnnData objects
        is read as :func:`side_by_side`.
    **options
        Fields of :class:`pixfold.sources.options.ReadOptions`, which says what each of them means.

    Returns
    -------
    Source

    Raises
    ------
    InputError
        When the data or an option cannot be used.
    MissingDependencyError
        When the package that reads the format is not installed.
    """
    return open_with(data, ReadOptions.of("open_source", options))


def open_with(data: Any, options: ReadOptions) -> Source:
    """Open data with options that are checked already; see :func:`open_source`."""
    data = [here(item) for item in data] if _are_several(data) else here(data)
    if options.labels is not None:
        options = dataclasses.replace(options, labels=here(options.labels))
    assert not isinstance(options.memory, str)  # its bytes, once it is checked
    with within(options.memory):
        source = named_by(chosen(_read(data, options), options), options.name_column)
    if options.split is None:
        return source
    classes, message = split_labels(source.name, source.labels, options.split)
    result = relabelled(source, classes)
    result.messages = [*source.messages, message]
    return result


def _read(data: Any, options: ReadOptions) -> Source:
    """Open data with all of their samples, and what stands beside them."""
    reading = options
    if options.where is not None and isinstance(options.covariates, Mapping):
        # The others come as values.
        columns = [name for name in options.where.columns if name not in options.covariates]
        reading = dataclasses.replace(options, where=options.where.of_columns(columns))
    if options.labels is None:
        source = _opened(data, reading)
    else:
        source = _with_table(data, reading, Path(options.labels))
    return _with_values(source, options)


def _with_table(data: Any, options: ReadOptions, path: Path) -> Source:
    """Open data with labels, groups and covariates of a table beside them; columns that it lacks are the data's."""
    from pixfold.sources.tables.label_table import columns_in, match_table, names_in

    takes = frozenset[str]().union(*map(_takes, data)) if _are_several(data) else _takes(data)
    # The decimal point is that of both; a sheet is that of the data where they have sheets.
    of_table = dataclasses.replace(options, sheet=None) if "sheet" in takes else options
    there = columns_in(path, of_table)
    own = dataclasses.replace(options, label=None, labels=None, match=None)
    own = own.in_columns([column for column in options.columns if column not in there])
    if own.samples is None:
        own = dataclasses.replace(own, samples=names_in(path, of_table.in_columns(there)))
    of_table_alone = {"decimal", "sheet"} & format_of(path).takes - takes
    own = dataclasses.replace(
        own,
        decimal=None if "decimal" in of_table_alone else own.decimal,
        sheet=None if "sheet" in of_table_alone else own.sheet,
    )
    try:
        source = _opened(data, own)
    except NoColumnError:
        # The table is where these columns were looked for first, and most likely meant.
        check_columns(str(path), own, there)
        raise
    return match_table(source, path, of_table.in_columns(there))


def _with_values(source: Source, options: ReadOptions) -> Source:
    """Give a source the groups and covariates that came as values, not as columns."""
    groups = None if options.groups_column is not None else options.groups
    return described(source, groups, options.covariates if isinstance(options.covariates, Mapping) else None)


@_shows_options
def side_by_side(sources: Iterable[Any], names: Sequence[str] | None = None, **options: Any) -> Source:
    """Put sources of the same samples side by side: the features of one after those of the other.

    Samples are matched by their names, and stand in the order of the first source. Where a source has no names of its
    own (``sample_0``, ``sample_1``, ...), samples are matched by their position. Features that several sources have
    under one name are kept apart by the source's name. Labels are those of the source that has them.

    Parameters
    ----------
    sources : iterable of Source, or of what :func:`open_source` opens
        One or more.
    names : sequence of str, optional
        What each source is called in feature names. Default: the stem of its file, or input1, input2, ...
    **options
        Fields of :class:`pixfold.sources.options.ReadOptions`. ``label`` is in at least one of the sources that are
        opened here, ``layer`` is that of those that are AnnData, ``y`` are in the order of the result, and
        ``categories`` are named as the features of the result.

    Returns
    -------
    Source
        CSR where most features are sparse, packed where all are packed genotypes, else dense of the common type.

    Raises
    ------
    InputError
        When samples cannot be matched or are missing, or sources disagree about a label.
    """
    return _several([here(source) for source in sources], names, ReadOptions.of("side_by_side", options))


def _opened(data: Any, options: ReadOptions) -> Source:
    if _are_several(data):
        return _several(data, None, options)
    kind, takes = _kind(data), _takes(data)
    name = str(data) if kind == "path" else _called(data)
    options.refuse(name, *_NOT_EVERYWHERE - takes)
    if options.sequence is None and "alphabet" not in takes:
        options.refuse(name, *_OF_SEQUENCES)
    if kind == "path":
        path = _place(data)
        if options.sequence is not None:
            from pixfold.sources.sequences.sequences import open_table

            options.refuse(name, *_OF_TEXT)
            assert isinstance(path, Path)  # Zarr stores take no sequences
            return open_table(path, options)
        return of_types(warn_of_dates(format_of(path).open(path, options)), options)
    if kind == "AnnData":
        from pixfold.sources.anndata.anndata import open_anndata

        return of_types(open_anndata(data, options), options)
    if kind == "DataFrame" and options.sequence is not None:
        from pixfold.sources.sequences.sequences import open_frame as open_sequences

        return open_sequences(data, options)
    if kind == "DataFrame":
        from pixfold.sources.tables.frame import open_frame

        return warn_of_dates(open_frame(data, options=options))
    # A source has columns; which ones is asked when the condition is evaluated.
    options.refuse(name, *(column for column in COLUMNS if kind != "Source" or column != "where"))
    if kind == "Dask":
        from pixfold.sources.arrays.dask import DaskSource

        return DaskSource(data, labels=options.y)
    if kind == "Source":
        return relabelled(data, options.y)
    if kind == "torch":
        data = data.detach().cpu().numpy()
    elif kind == "unknown":
        return relabelled(_adapted(data), options.y)
    return ArraySource(data, labels=options.y)


class AdaptedSource(Source):
    """An object with the attributes of a source that is no :class:`Source`."""

    def __init__(self, source: Any) -> None:
        super().__init__(
            str(source.name),
            (source.n_samples, source.n_features),
            source.dtype,
            feature_names=source.feature_names,
            sample_names=source.sample_names,
            labels=source.labels,
            # Of sources that were written before there were these.
            groups=getattr(source, "groups", None),
            covariates=getattr(source, "covariates", None),
            categories=source.categories,
            messages=source.messages,
            is_sparse=bool(source.is_sparse),
            chunk_rows=int(source.block_size),
        )
        self.nbytes = None
        self._source = source

    def read(self, rows: AnyRows) -> Any:
        """Read some samples; see :meth:`pixfold.sources.base.Source.read`."""
        return self._source.read(normalize_rows(rows, self.n_samples, self.name))


# What AdaptedSource takes from such an object.
_MEMBERS = (
    *("name", "n_samples", "n_features", "dtype", "is_sparse", "block_size", "feature_names", "sample_names"),
    *("labels", "categories", "messages", "read"),
)


def _adapted(data: Any) -> Source:
    absent = [member for member in _MEMBERS if not hasattr(data, member)]
    if not absent:
        return AdaptedSource(data)
    if "read" not in absent and "n_samples" not in absent:
        raise InputError(
            f"open_source: data must be a pixfold.sources.Source, got {type(data).__qualname__} without "
            f"{', '.join(absent)}"
        )
    raise InputError(
        "open_source: data must be a path, NumPy array, SciPy sparse matrix, Dask array, PackedGenotypes, pandas "
        f"DataFrame or AnnData, got {type(data).__module__}.{type(data).__qualname__}"
    )


def _several(items: Sequence[Any], names: Sequence[str] | None, options: ReadOptions) -> Source:
    if not items:
        raise InputError("side_by_side: sources must be at least one, got none")
    for name in ("verify", "sequence", *_OF_SEQUENCES):
        if name in options.asked_for():
            raise InputError(f"open_source: {name} must be left out for several inputs, got {len(items)} of them")
    called = list(names) if names is not None else [_stem(item, n) for n, item in enumerate(items, 1)]
    if len(called) != len(items):
        raise InputError(f"side_by_side: names must be {len(items)}, one per source, got {len(called)}")
    called = unique_names(called, [], "input")
    result = joined(_parts(items, called, options), called, options.join, stack=options.stack)
    return _with_values(relabelled(result, options.y), options)


def _parts(items: Sequence[Any], names: Sequence[str], options: ReadOptions) -> list[Source]:
    """Open those of several inputs that are no sources yet."""
    takes = [_takes(item) for item in items]
    for option in ("layer", "transpose", *_OF_TEXT):
        if not any(option in taken for taken in takes):
            options.refuse("side_by_side", option)
    if not any(isinstance(item, Source) or "feature_type" in taken for item, taken in zip(items, takes, strict=True)):
        options.refuse("side_by_side", *_OF_TYPES)
    parts: list[Source] = []
    refusals: dict[str, list[InputError]] = {}
    for item, name, taken in zip(items, names, takes, strict=True):
        if isinstance(item, Source):
            parts.append(item)
            continue
        known = options.categories
        own = ReadOptions(
            layer=options.layer if "layer" in taken else None,
            decimal=options.decimal if "decimal" in taken else None,
            sheet=options.sheet if "sheet" in taken else None,
            no_header=options.no_header and "no_header" in taken,
            transpose=options.transpose if "transpose" in taken else None,
            samples=options.samples,
            categorical=options.categorical,
            categories=None if known is None else {key.removeprefix(f"{name}:"): known[key] for key in known},
            features=_of_part(options.features, name),
            drop=_of_part(options.drop, name),
            learned=None if options.learned is None else [key.removeprefix(f"{name}:") for key in options.learned],
            **({name: vars(options)[name] for name in _OF_TYPES} if "feature_type" in taken else {}),
        )
        parts.append(_part(item, own, options, refusals))
    absent = {options.label: "labels"} if all(part.labels is None for part in parts) else {}
    absent |= {options.groups_column: "groups"} if all(part.groups is None for part in parts) else {}
    absent |= {
        name: "covariate" for name in options.covariate_columns if all(name not in part.covariates for part in parts)
    }
    absent |= {name: "column" for name in options.where_columns if all(name not in part.beside for part in parts)}
    for column, what in absent.items():
        if column is not None:
            errors = refusals.get(column, [])
            if len(errors) == 1:
                raise errors[0]
            raise NoColumnError(f"no input has the {what} {column!r}: {'; '.join(map(str, errors))}", [column])
    return parts


def _of_part(names: Names | None, part: str) -> Names | None:
    """Names of features as one of several inputs may have them: as they are, and without its own name before them."""
    return None if names is None else Names((*names, *(name.removeprefix(f"{part}:") for name in names)))


def _part(item: Any, own: ReadOptions, options: ReadOptions, refusals: dict[str, list[InputError]]) -> Source:
    """Open one of several inputs with those columns of labels, groups and covariates that it has."""
    wanted = {*options.columns, *(() if options.label is None else (options.label,))}
    while True:
        named = options.in_columns(wanted)
        label = options.label if options.label in wanted else None
        try:
            asked = dataclasses.replace(own, label=label, groups=named.groups, covariates=named.covariates)
            return _read(item, dataclasses.replace(asked, where=named.where))
        except InputError as error:
            if not wanted:
                raise
            # One that opens without a column has only that against it: another input may have it.
            lacking = wanted & set(error.columns) if isinstance(error, NoColumnError) else wanted
            for column in lacking or wanted:
                refusals.setdefault(column, []).append(error)
            wanted = wanted - (lacking or wanted)


def _stem(item: Any, number: int) -> str:
    """Name of a file without its folder and suffixes; inputs that are no files are counted."""
    name = item.name if isinstance(item, Source) else item
    is_file = isinstance(name, str | os.PathLike) and os.path.exists(name)
    return Path(name).name.partition(".")[0] if is_file else f"input{number}"


def _are_several(data: Any) -> bool:
    """Tell whether a list holds inputs of their own, rather than rows of numbers."""
    return (
        isinstance(data, (list, tuple))
        and len(data) > 0
        and all(_kind(item) in ("path", "AnnData", "DataFrame", "Source") for item in data)
    )


def _place(data: Any) -> Place:
    return data if isinstance(data, Address) else Path(data)


def _takes(data: Any) -> frozenset[str]:
    """Name the options that are not for every input, and are for this one."""
    kind = _kind(data)
    return format_of(_place(data)).takes if kind == "path" else _TAKEN.get(kind, frozenset())


def _kind(data: Any) -> str:
    """Name the kind of an object by the modules of its classes: nothing is imported to find out."""
    if isinstance(data, str | os.PathLike | Address):
        return "path"
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
    if isinstance(data, Source):
        return "Source"
    return "array" if isinstance(data, PackedGenotypes | list | tuple) or hasattr(data, "__array__") else "unknown"


def _called(data: Any) -> str:
    kind = _kind(data)
    if kind == "Source":
        return str(data.name)
    return kind if kind in ("AnnData", "DataFrame") else "array"
