"""What is known of features beside their names: types and genomes that are chosen, the annotation that names them."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.sources.base import Source
from pixfold.sources.options import ReadOptions
from pixfold.sources.selected import Selected
from pixfold.util.text import counted, listed

# As scanpy calls the columns of 10x' features.tsv in var.
GENE_IDS, FEATURE_TYPES, GENOME = "gene_ids", "feature_types", "genome"
_GENES = "Gene Expression"


def of_types(source: Source, options: ReadOptions) -> Source:
    """Return the features of the types and genomes that were asked for; of 10x files, by default, gene expression.

    Raises
    ------
    InputError
        When the source does not say of which type or genome its features are, or has none of these.
    """
    kept = np.ones(source.n_features, dtype=bool)
    messages: list[str] = []
    types = source.feature_annotation.get(FEATURE_TYPES)
    wanted = None if options.feature_type is None else _split(options.feature_type)
    if wanted == ["all"]:
        wanted = None
    elif wanted is None and types is not None:
        counts = Counter(map(str, types.tolist()))
        if len(counts) > 1:
            # What is in an AnnData object somebody has put there.
            is_of_10x = source.kind == "counts" and _GENES in counts
            wanted = [_GENES] if is_of_10x else None
            how = f"only {_GENES} is used" if is_of_10x else "all are used"
            messages.append(
                f"{source.name}: features are of {len(counts)} types ({_in_words(counts)}): {how}; feature_type "
                "(--feature-type) chooses"
            )
    if wanted is not None:
        kept &= _among(source, "feature_type", FEATURE_TYPES, wanted)
    if options.genome is not None:
        kept &= _among(source, "genome", GENOME, _split(options.genome))
    elif (genomes := source.feature_annotation.get(GENOME)) is not None:
        counts = Counter(str(genome) for genome in genomes[kept].tolist() if genome)
        if len(counts) > 1:
            messages.append(
                f"{source.name}: features are of {len(counts)} genomes ({_in_words(counts)}): all are used; genome "
                "(--genome) chooses"
            )
    if not kept.any():
        raise InputError(f"{source.name}: feature_type and genome must leave a feature, got none")
    if kept.all():
        source.messages.extend(messages)
        return source
    if options.feature_type is not None or options.genome is not None:
        messages.append(
            f"{source.name}: {int(kept.sum()):,} of {counted(source.n_features, 'feature')} are of these types"
        )
    return Selected(source, columns=np.flatnonzero(kept), messages=messages)


def named_by(source: Source, column: str | None) -> Source:
    """Return a source whose features reports call by an annotation; without one, the source itself.

    Raises
    ------
    InputError
        When there is no such annotation.
    """
    if column is None:
        return source
    if column not in source.feature_annotation:
        there = listed(list(source.feature_annotation), 10) or "none"
        raise InputError(f"{source.name}: name_column must be an annotation of the features ({there}), got {column!r}")
    other = copy.copy(source)
    other.name_column = column
    return other


def shown_names(source: Source) -> list[str] | None:
    """What reports call the features: their annotation ``name_column``, or the name where that is empty; else None."""
    if source.name_column is None:
        return None
    shown = source.feature_annotation[source.name_column].tolist()
    return [
        name if value is None or value != value or not str(value) else str(value)
        for name, value in zip(source.feature_names, shown, strict=True)
    ]


def annotation_of(frame: Any) -> dict[str, NDArray[Any]]:
    """Columns of a pandas.DataFrame of features that say something in one value each: numbers, text, categories."""
    found: dict[str, NDArray[Any]] = {}
    for at, name in enumerate(map(str, frame.columns)):
        values = plain(frame.iloc[:, at].array)
        if values is not None and name not in found:
            found[name] = values
    return found


def plain(values: Any) -> NDArray[Any] | None:
    """One annotation as numbers, or as text where missing values are ""; None for what is neither."""
    if isinstance(values, Mapping) or getattr(values, "ndim", 0) != 1:
        return None
    dtype = getattr(values, "dtype", None)
    array = np.asarray(values, dtype=None if isinstance(dtype, np.dtype) else object)
    if array.dtype.kind in "biuf":
        return array
    if array.dtype.kind not in "OSUT":
        return None
    texts = [
        "" if value is None or value != value else value.decode() if isinstance(value, bytes) else value
        for value in (None if type(value).__name__ == "NAType" else value for value in array.tolist())
    ]
    if texts and all(isinstance(value, int | float) and not isinstance(value, bool) for value in texts):
        return np.asarray(texts, dtype=np.float64)
    if not all(isinstance(value, str | int | float | bool) for value in texts):
        return None
    return np.array([str(value) for value in texts], dtype=object)


def _split(given: str) -> list[str]:
    return [part.strip() for part in given.split(",") if part.strip()]


def _in_words(counts: Counter[str]) -> str:
    return ", ".join(f"{name or 'none'} {n:,}" for name, n in counts.most_common(6))


def _among(source: Source, option: str, column: str, wanted: list[str]) -> NDArray[np.bool_]:
    values = source.feature_annotation.get(column)
    if values is None:
        raise InputError(
            f"{source.name}: {option} must be left out, because its features have no annotation {column!r}, got "
            f"{', '.join(wanted)}"
        )
    there = Counter(map(str, values.tolist()))
    by_lower = {name.lower(): name for name in there}
    unknown = [name for name in wanted if name.lower() not in by_lower]
    if unknown or not wanted:
        raise InputError(
            f"{source.name}: {option} must be among {_in_words(there)}, got {', '.join(unknown) or 'none'}"
        )
    chosen = {by_lower[name.lower()] for name in wanted}
    return np.array([str(value) in chosen for value in values.tolist()], dtype=bool)
