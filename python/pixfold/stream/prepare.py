"""What of a source can be used: without empty features and samples, with labels as classes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.sources.base import Source
from pixfold.sources.missing import missing_labels
from pixfold.stream.labels import Classes, encode_classes, encode_quantity, group_codes, labelled_rows
from pixfold.stream.scan import ValueFacts, scan
from pixfold.util.checks import choice
from pixfold.util.progress import Progress
from pixfold.util.text import counted, listed

Missing = Literal["error", "zero", "mean"]


@dataclass(frozen=True)
class Prepared:
    """What of a source is used, and how its labels are encoded.

    Attributes
    ----------
    source : Source
        Where values are read from.
    rows : ndarray of int64, shape (n,)
        Positions in ``source`` of the samples that are used, sorted.
    labels : ndarray of int64 or float64, shape (n,), or None
        Class of each of ``rows``, counted from 0; or the quantity that is learned.
    class_names : list of str, or None
        Names of the classes, in the order of their codes; None without classes.
    classes : ndarray, or None
        Labels as they came, sorted: that of code 0, 1, 2, ...; None without classes.
    keep : ndarray of bool, shape (n_features,)
        Which features have a value other than zero in any of ``rows``.
    dropped_features, dropped_samples : list of str
        Names of those that are empty: all zero or missing.
    facts : ValueFacts
        What kind of numbers the values are.
    varies : bool
        Whether any feature has two different values or more.
    n_unlabelled : int
        Samples left out because their label is missing.
    messages : list of str
        What the user should be told, those of the source included.
    digest : str or None
        Sum of all values, those of empty samples included, where it was asked for.
    """

    source: Source
    rows: NDArray[np.int64]
    labels: NDArray[Any] | None
    class_names: list[str] | None
    classes: NDArray[Any] | None
    keep: NDArray[np.bool_]
    facts: ValueFacts
    dropped_features: list[str] = field(default_factory=list)
    dropped_samples: list[str] = field(default_factory=list)
    varies: bool = True
    n_unlabelled: int = 0
    messages: list[str] = field(default_factory=list)
    digest: str | None = None

    @property
    def sample_names(self) -> list[str]:
        """Names of the samples in ``rows``."""
        names = self.source.sample_names
        return [names[row] for row in self.rows]

    @property
    def is_quantity(self) -> bool:
        """Whether a quantity is learned, rather than classes or nothing."""
        return self.labels is not None and self.class_names is None

    @property
    def groups(self) -> NDArray[np.int64] | None:
        """Group of each of ``rows``, counted from 0, or None; see :func:`pixfold.stream.labels.group_codes`."""
        groups = self.source.groups
        return None if groups is None else group_codes(groups[self.rows])

    @property
    def covariates(self) -> dict[str, NDArray[Any]]:
        """Covariates of ``rows``, as the source has them."""
        return {name: values[self.rows] for name, values in self.source.covariates.items()}


def prepare(
    source: Source,
    *,
    missing: Missing = "error",
    supervised: bool = True,
    quantity: bool = False,
    memory: int | None = None,
    progress: Progress | None = None,
    digest: bool = False,
) -> Prepared:
    """Check a source in one pass over its values, and find what of it can be used.

    Samples without a label are left out; then features and samples whose values are all zero or missing.
    Nothing else is filtered. The values themselves are not changed: ``missing`` only says whether missing
    ones are allowed, the normaliser replaces them.

    Parameters
    ----------
    source : Source
        The samples, with labels or without.
    missing : {"error", "zero", "mean"}
        Whether values may be missing (NaN) in what is used, and how the normaliser will replace them.
    supervised : bool
        Whether labels are used; without them all samples are, labelled or not.
    quantity : bool
        Whether labels are a quantity rather than classes.
    memory : int, optional
        Budget of the pass, in bytes; see :func:`pixfold.stream.blocks.rows_within`.
    progress : Progress, optional
        Where samples are counted; silent without it.
    digest : bool
        Whether to sum up all values, so that the same data can be told from others later.

    Returns
    -------
    Prepared

    Raises
    ------
    InputError
        When values are infinite, or missing and not allowed; when all is empty; when labels are of
        one class only or do not name classes; when a quantity is the same for all samples or no number.
    """
    choice(("error", "zero", "mean"))("prepare", "missing", missing)
    messages = list(source.messages)
    rows, labels = labelled_rows(source, messages) if supervised else (np.arange(source.n_samples), None)
    # Bad labels are refused before the pass over the values, which may be long.
    encoded = None if labels is None else _encoded(source.name, labels, quantity)
    n_unlabelled = source.n_samples - len(rows)

    found = scan(source, rows, memory=memory, progress=progress, digest=digest)
    empty = rows[found.empty_samples]
    keep = found.nonzero > 0
    dropped_samples = [source.sample_names[i] for i in empty]
    dropped_features = [source.feature_names[i] for i in np.flatnonzero(~keep)]
    if len(empty) == len(rows):
        raise InputError(f"{source.name}: all values are zero or missing, there is nothing to learn from")
    for names, total, what in (
        (dropped_features, source.n_features, "feature"),
        (dropped_samples, len(rows), "sample"),
    ):
        if names:
            messages.append(f"{len(names):,} of {counted(total, what)} left out, all zero or missing: {listed(names)}")
    gaps = np.where(keep, found.missing, 0)
    if missing == "error":
        _raise_missing(source, gaps)
    elif gaps.any():
        total, features = int(gaps.sum()), int(np.count_nonzero(gaps))
        messages.append(
            f"{counted(total, 'value')} missing in {counted(features, 'feature')}, "
            f"replaced by {'zero' if missing == 'zero' else 'the mean of the feature'}"
        )
    if len(empty):
        used = ~found.empty_samples
        rows = rows[used]
        if labels is not None:
            encoded = _encoded(source.name, labels[used], quantity)
    classes = encoded if isinstance(encoded, Classes) else None
    if classes is not None:
        messages.extend(classes.messages)
    if source.groups is not None:
        alone = [source.sample_names[row] for row in rows[missing_labels(source.groups[rows])]]
        if alone:
            messages.append(f"{counted(len(alone), 'sample')} without a group, each taken for one: {listed(alone)}")
    return Prepared(
        source=source,
        rows=rows,
        labels=encoded.codes if isinstance(encoded, Classes) else encoded,
        class_names=None if classes is None else classes.names,
        classes=None if classes is None else classes.values,
        keep=keep,
        facts=found.facts,
        varies=bool(found.varies.any()),
        dropped_features=dropped_features,
        dropped_samples=dropped_samples,
        n_unlabelled=n_unlabelled,
        messages=messages,
        digest=found.digest,
    )


def _encoded(name: str, labels: NDArray[Any], quantity: bool) -> Classes | NDArray[np.float64]:
    return encode_quantity(name, labels) if quantity else encode_classes(name, labels)


def _raise_missing(source: Source, missing: NDArray[np.int64]) -> None:
    total = int(missing.sum())
    if total:
        features = [source.feature_names[i] for i in np.flatnonzero(missing)]
        raise InputError(
            f"{source.name}: {counted(total, 'value')} missing (NaN) in {counted(len(features), 'feature')} "
            f'({listed(features)}); choose missing="mean" or missing="zero" (command line: --missing mean)'
        )
