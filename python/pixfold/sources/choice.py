"""Features and samples that a user chooses: names, patterns, files of names, conditions on columns."""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.sources.alignment import without_version
from pixfold.sources.base import Source
from pixfold.sources.joined import SideBySide
from pixfold.sources.labels import check_column
from pixfold.sources.options import ReadOptions
from pixfold.sources.selected import Selected
from pixfold.util.text import counted, listed

_WILD = re.compile(r"[*?\[]")
# Among more names than this none is looked for that is spelled like another.
_MOST_NAMES = 200_000
_SHOWN = 3


def unwanted_columns(options: ReadOptions, columns: Sequence[str]) -> set[int]:
    """Positions of the columns of a table that are no features because they were not chosen.

    Those about samples (labels, groups, ...) are not looked at: callers take them out first or afterwards.

    Parameters
    ----------
    options : ReadOptions
        Its ``features``, ``drop`` and ``learned``.
    columns : sequence of str
        Names as the table has them. A column that becomes one feature per category is chosen by its own name, or by
        that of a feature (column=category).
    """
    kept = np.ones(len(columns), dtype=bool)
    if options.features is not None:
        one_hot = [name.rpartition("=")[0] for name in options.features if "=" in name]
        found = matching([*options.features, *one_hot], columns)[0]
        # Of a table without any of them, the error is about the names; another input may have them.
        kept &= found | ~found.any()
    if options.drop is not None:
        kept &= ~matching(options.drop, columns)[0]
    if options.learned is not None:
        known = {_key(name) for name in options.learned}
        learned = np.array([_key(name) in known for name in columns], dtype=bool)
        kept &= learned | ~learned.any()
    return set(np.flatnonzero(~kept).tolist())


def chosen(source: Source, options: ReadOptions) -> Source:
    """Return the samples and features of a source that ``where``, ``features`` and ``drop`` choose.

    Raises
    ------
    InputError
        When a name matches no feature, a condition cannot be evaluated, or nothing is left.
    """
    messages: list[str] = []
    rows = None if options.where is None else _rows(source, options, messages)
    columns = _columns(source, options, messages)
    if rows is None and columns is None:
        source.messages.extend(messages)
        return source
    return Selected(source, rows=rows, columns=columns, messages=messages)


def matching(patterns: Iterable[str], names: Sequence[str]) -> tuple[NDArray[np.bool_], list[str]]:
    """Tell which names are among patterns, and give the patterns that match none.

    A pattern that is a name is that name; another one may have wildcards (``MT-*``).
    """
    places: dict[str, list[int]] = {}
    for at, name in enumerate(names):
        places.setdefault(name, []).append(at)
    found = np.zeros(len(names), dtype=bool)
    without: list[str] = []
    for pattern in patterns:
        found_at = places.get(pattern, [])
        if not found_at and _WILD.search(pattern):
            matches = re.compile(fnmatch.translate(pattern)).match
            found_at = [place for place, name in enumerate(names) if matches(name)]
        found[found_at] = True
        if not found_at:
            without.append(pattern)
    return found, without


def _columns(source: Source, options: ReadOptions, messages: list[str]) -> NDArray[np.int64] | None:
    if options.features is None and options.drop is None:
        return None
    kept = np.ones(source.n_features, dtype=bool)
    if options.features is not None:
        kept = _of_names(source, "features", options.features, options.name_column)
    if options.drop is not None:
        # Columns that are labels or the like are no features anyway.
        apart = {options.label, options.groups_column, *source.covariates, *source.beside}
        given = [name for name in options.drop if name not in apart or name in source.feature_names]
        kept &= ~_of_names(source, "drop", given, options.name_column)
    if not kept.any():
        raise InputError(f"{source.name}: features and drop must leave a feature, got none")
    n_left = int(kept.sum())
    n_all = source.n_features + len(source.left_out)
    messages.append(f"{n_left:,} of {counted(n_all, 'feature')} chosen, {n_all - n_left:,} left out")
    return None if kept.all() else np.flatnonzero(kept)


def _of_names(source: Source, option: str, patterns: Sequence[str], shown: str | None) -> NDArray[np.bool_]:
    """Features that patterns name: by their names, those that they are shown by, or the columns they were made of."""
    found, without = matching(patterns, source.feature_names)
    if without and isinstance(source, SideBySide):
        # Where inputs share names, features are called by their input, too.
        own, without = matching(without, [name for part in source.parts for name in part.feature_names])
        found |= own
    encoded = {key.removesuffix("="): key for key in source.categories if key.endswith("=")}
    if without and encoded:
        columns, without = matching(without, list(encoded))
        for name, is_meant in zip(encoded, columns, strict=True):
            if is_meant:
                key = encoded[name]
                of_column = {key + category for category in source.categories[key]}
                found |= np.array([feature in of_column for feature in source.feature_names], dtype=bool)
    if without and shown in source.feature_annotation:
        called, without = matching(without, list(map(str, source.feature_annotation[shown].tolist())))
        found |= called
    if without and source.left_out:
        without = matching(without, source.left_out)[1]
    if without:
        what = f"{counted(len(without), 'name')} in {option} (--{option}) {'matches' if len(without) == 1 else 'match'}"
        raise InputError(
            f"{source.name}: {what} no feature: {_with_close(without, [*source.feature_names, *source.left_out])}"
            f"{_in_annotation(source, without)}"
        )
    return found


def _in_annotation(source: Source, without: Sequence[str]) -> str:
    """Say which column of annotation has what no name matches."""
    for column, values in source.feature_annotation.items():
        if values.dtype.kind == "O" and (n := len(without) - len(matching(without, list(map(str, values)))[1])):
            return (
                f"; {n:,} of them in the annotation {column!r}: name_column={column!r} (--name-column) finds it there"
            )
    return ""


def _with_close(without: Sequence[str], names: Sequence[str]) -> str:
    """Names that match nothing, the first ones with names that look like them."""
    parts = []
    for name in without[:_SHOWN]:
        close = [other for other in names if _key(other) == _key(name)][:2]
        if not close and len(names) <= _MOST_NAMES:
            close = difflib.get_close_matches(name, names, n=2, cutoff=0.75)
        parts.append(repr(name) + (f" (did you mean {' or '.join(map(repr, close))}?)" if close else ""))
    more = f" and {len(without) - _SHOWN:,} more" if len(without) > _SHOWN else ""
    return f"{', '.join(parts)}{more}; features are called {listed(names)}"


def _rows(source: Source, options: ReadOptions, messages: list[str]) -> NDArray[np.int64] | None:
    assert options.where is not None
    known: dict[str, NDArray[Any]] = {**source.beside, **source.covariates}
    if options.label is not None and source.labels is not None:
        known[options.label] = source.labels
    if options.groups_column is not None and source.groups is not None:
        known[options.groups_column] = source.groups
    if any(column not in known for column in options.where.columns):
        known = {**source.sample_columns(), **known}
    for column in options.where.columns:
        check_column(source.name, column, list(known), option="where")
    met, failed = options.where.met(source.name, known)
    n, n_missing = int(met.sum()), int((~met & ~failed).sum())
    missing = f", {n_missing:,} of the others because a value is missing" if n_missing else ""
    if not n:
        seen = {
            column: list(dict.fromkeys(map(str, known[column][:1000].tolist()))) for column in options.where.columns
        }
        values = "; ".join(f"{column} is {listed(some)}" for column, some in seen.items())
        raise InputError(
            f"{source.name}: where must leave a sample, got none of {source.n_samples:,} with "
            f"{options.where.text} ({values})"
        )
    messages.append(f"{n:,} of {counted(source.n_samples, 'sample')} with {options.where.text} stay{missing}")
    return None if n == source.n_samples else np.flatnonzero(met)


def _key(name: str) -> str:
    return without_version(name).lower()
