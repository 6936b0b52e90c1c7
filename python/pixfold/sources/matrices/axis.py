"""Which way a table lies: samples as rows, or features."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pixfold.errors import InputError
from pixfold.sources.matrices.columns import MatrixColumns, columns_of_head
from pixfold.sources.matrices.head import Head, parses
from pixfold.sources.matrices.names import (
    ANNOTATION,
    FEATURE_COLUMNS,
    SAMPLE,
    has_known_genes,
    is_summary,
    share_of_features,
    some_of,
)
from pixfold.sources.options import ReadOptions
from pixfold.util.text import listed

# Rows to a column that are more by far than samples are to features.
_TALL = 2
_SHARE = 0.5
# Features among the columns that make rows samples.
_VETO = 0.1


@dataclass(frozen=True)
class Axis:
    """What was found: whether rows are features, and what the user is told."""

    rows_are_features: bool
    message: str = ""


def axis_of(path: Path, head: Head, options: ReadOptions) -> Axis:
    """Tell whether the rows of a table are features: as the user says, or by what names them and the columns.

    Parameters
    ----------
    path : Path
        The file, for the message.
    head : Head
        Its header and first rows.
    options : ReadOptions
        ``transpose``; ``samples``, names that a table of labels has; a column that is asked for is one of samples
        as rows.

    Raises
    ------
    InputError
        When the header is a row of values.
    """
    if options.transpose is not None:
        return Axis(options.transpose)
    asked = {*options.columns, *(() if options.label is None else (options.label,))}
    if asked & set(head.columns) or len(head.columns) < 2:
        return Axis(False)
    known = frozenset(options.samples or ())
    if share_of_features(head.columns[1:]) >= _VETO or not _may_be_features(head, known):
        return Axis(False)
    columns = columns_of_head(head)
    samples = [head.columns[at] for at in columns.samples]
    features = [row[columns.naming] for row in head.rows if len(row) > columns.naming]
    if not samples:
        return Axis(False)
    if share_of_features([head.columns[columns.naming]]) and all(map(parses, samples)):
        raise InputError(
            f"{path}: {head.line} {head.n_lines} must be a header of sample names, got values of a feature "
            f"({listed(head.columns)}); put a {head.line} of names above it"
        )
    if known:
        in_rows, in_columns = known.intersection(features), known.intersection(samples)
        if in_rows:
            return Axis(False)
        if len(in_columns) >= min(2, len(samples)):
            return _found(path, head, columns, "the table of labels names the columns")
    named, why = _evidence(head, columns, samples, features)
    if named and len(why) > 1:
        return _found(path, head, columns, " and ".join(why[:2]))
    if named or (_looks_like_samples(samples) and len(why) > 1):
        return Axis(
            False,
            f"{path}: rows are taken as samples, although {why[0]}; where they are features, read it with --transpose "
            "(transpose=True)",
        )
    return Axis(False)


def _may_be_features(head: Head, known: frozenset[str]) -> bool:
    """Tell whether anything speaks for it at first sight: a table may have a million columns."""
    if not known.isdisjoint(head.columns) or _looks_like_samples(head.columns[1:]):
        return True
    for at in (0, 1):  # where the first column numbers the rows, the second may name features
        names = [row[at] for row in head.rows if len(row) > at]
        if head.columns[at].lower() in FEATURE_COLUMNS or _are_features(names):
            return True
    return False


def _found(path: Path, head: Head, columns: MatrixColumns, why: str) -> Axis:
    return Axis(
        True,
        f"{path}: rows are taken as features and columns as samples ({head.columns[columns.samples[0]]!r}, ...), "
        f"because {why} (--no-transpose, transpose=False: rows are samples)",
    )


def _evidence(head: Head, columns: MatrixColumns, samples: list[str], features: list[str]) -> tuple[bool, list[str]]:
    """Collect what speaks for features as rows; and tell whether any of it is a name of features."""
    first = head.columns[columns.naming]
    distinct = len(set(features)) > _SHARE * len(features)
    why = []
    if first.lower() in FEATURE_COLUMNS and distinct:
        why.append(f"the rows are named by a column {first!r}")
    if _are_features(features):
        why.append(f"names such as {next(name for name in features if name)!r} are of features")
    named = bool(why)
    annotation = [head.columns[at] for at in columns.annotation if head.columns[at].lower() in ANNOTATION]
    if annotation:
        why.append(f"columns such as {annotation[0]!r} describe features")
    if _looks_like_samples(samples):
        why.append(f"columns such as {samples[0]!r} look like samples")
    if head.n_rows_about >= _TALL * len(samples):
        why.append("there are far more rows than columns")
    return named, why


def _are_features(names: list[str]) -> bool:
    return share_of_features(names) >= _SHARE or has_known_genes(names) or any(map(is_summary, names))


def _looks_like_samples(names: list[str]) -> bool:
    some = some_of(names)
    return sum(bool(SAMPLE.fullmatch(name)) for name in some) >= _SHARE * len(some)
