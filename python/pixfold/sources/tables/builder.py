"""Build a source of a table that arrives in blocks of rows, whichever file it comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.sources.base import Source, check_labels, check_size, unique_names
from pixfold.sources.disk.row_store import RowStore, source_of
from pixfold.sources.labels import columns_of, label_values
from pixfold.sources.options import ReadOptions
from pixfold.sources.tables.categories import Coding, Encoding, TextColumn, check_known, known_categories

# The name of a sample whose name is a word for missing values: this is what it most likely was.
_UNNAMED = "NA"


@dataclass
class Columns:
    """What the columns of a table are. Reading all of it may show that some are something else.

    Attributes
    ----------
    names : list of str
        As they are in the file.
    label : int or None
        The position of the column with the labels.
    others : dict of str to int
        Positions of the columns with groups and covariates, by name.
    naming : tuple of int
        Columns that name the samples.
    may_name : bool
        Whether the first column is text that names the samples if it differs in every row.
    text : set of int
        Columns that hold texts, or are encoded by categories of training.
    categorical : set of int
        Those of them that are categories by their type.
    apart : set of int
        Columns that are no features, whether or not anything else is made of them.
    read_as : dict of int to callable
        How columns of labels, groups and covariates are read that have a way of their own, of texts or None.
    unwanted : set of int
        Columns that are no features because they were not chosen; labels and their like may be among them.
    """

    names: list[str]
    label: int | None = None
    others: dict[str, int] = field(default_factory=dict)
    naming: tuple[int, ...] = ()
    may_name: bool = False
    text: set[int] = field(default_factory=set)
    categorical: set[int] = field(default_factory=set)
    apart: set[int] = field(default_factory=set)
    read_as: dict[int, Callable[[list[str | None]], NDArray[Any]]] = field(default_factory=dict)
    unwanted: set[int] = field(default_factory=set)

    @property
    def kept(self) -> set[int]:
        """Columns of labels, groups and covariates, which are kept as they are."""
        return {*([] if self.label is None else [self.label]), *self.others.values()}

    @property
    def features(self) -> list[int]:
        """Columns that are features."""
        apart = {*self.kept, *self.naming, *self.apart, *self.unwanted, *({0} if self.may_name else ())}
        return [at for at in range(len(self.names)) if at not in apart]

    @property
    def numbers(self) -> list[int]:
        """Columns that are features and hold numbers."""
        return [at for at in self.features if at not in self.text]

    @property
    def beside(self) -> list[int]:
        """Columns that are read and are no features of numbers."""
        first = {0} if self.may_name else set()
        return sorted({*self.kept, *self.naming, *first, *(self.text - self.unwanted - self.apart)})

    @property
    def left_out(self) -> list[str]:
        """Names of the columns that would be features had they been chosen."""
        apart = {*self.kept, *self.naming, *self.apart, *({0} if self.may_name else ())}
        return [self.names[at] for at in sorted(self.unwanted - apart)]

    def could_name(self, options: ReadOptions) -> bool:
        """Tell whether the first column names the samples, provided that its values can."""
        return (
            not self.naming
            and 0 not in self.apart
            and len(self.names) > 1
            and 0 not in self.kept
            and known_categories(self.names[0], options.categories) is None
        )


class TableBuilder:
    """Collect the blocks of a table; see :meth:`add` and :meth:`finish`.

    Parameters
    ----------
    name : str
        The source, for messages.
    columns : Columns
        What the columns are.
    options : ReadOptions
        What the user said.
    where : callable
        Says where a cell is, of its place and the name of its column.
    decimal : str, optional
        The decimal point of numbers, where all values came as texts.
    notes : sequence of str
        What the user should be told, beside what the columns say.
    """

    def __init__(
        self,
        name: str,
        columns: Columns,
        options: ReadOptions,
        where: Callable[[int, str], str],
        *,
        decimal: str | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self._name, self._columns, self._options, self._where = name, columns, options, where
        self._decimal = decimal
        self._messages = list(notes)
        self._positions = columns.features
        self._features = unique_names([columns.names[at] for at in self._positions], self._messages)
        self._numeric = np.array([at not in columns.text for at in self._positions], dtype=bool)
        self.texts = {
            at: TextColumn(
                name,
                feature,
                known=known_categories(feature, options.categories),
                is_categorical=at in columns.categorical,
                decimal=decimal,
            )
            for at, feature in zip(self._positions, self._features, strict=True)
            if at in columns.text
        }
        self._first = TextColumn(name, columns.names[0]) if columns.may_name else None
        self._n_unnamed = 0
        self._samples: list[str] = []
        self._kept: dict[int, list[Any]] = {at: [] for at in columns.kept}
        self._store = RowStore(name)

    def add(self, numbers: NDArray[Any], others: Mapping[int, Any], places: NDArray[np.int64]) -> None:
        """Add rows.

        Parameters
        ----------
        numbers : ndarray of shape (n, len(columns.numbers))
            Values of the features that hold numbers, missing ones as NaN.
        others : mapping of int to pyarrow.Array
            All other columns, by position. All but ``columns.kept`` are strings.
        places : ndarray of int64
            Line or row of each, for messages.
        """
        columns = self._columns
        for at, parts in self._kept.items():
            parts.append(others[at])
        if self._first is not None:
            self._first.add(others[0], places)
            self._n_unnamed += others[0].null_count
        naming = columns.naming or ((0,) if self._first is not None else ())
        names = [others[at].fill_null(_UNNAMED).to_pylist() for at in naming]
        self._samples += [" ".join(parts) for parts in zip(*names, strict=True)]
        if not self.texts:
            self._store.append(numbers)
            return
        codes = {at: text.add(others[at], places) for at, text in self.texts.items()}
        kinds = {values.dtype for values in codes.values()} | ({numbers.dtype} if numbers.shape[1] else set())
        block = np.empty((len(places), len(self._positions)), dtype=np.result_type(*kinds))
        block[:, self._numeric] = numbers
        for column, at in zip(np.flatnonzero(~self._numeric), codes, strict=True):
            block[:, column] = codes[at]
        self._store.append(block)

    def finish(self) -> Source | None:
        """Return the source, or None when the columns are not what they were taken for: all is to be read again.

        Raises
        ------
        InputError
            When a column is no feature, or nothing is left.
        """
        if self._first is not None and not (self._first.names_samples and self._n_unnamed <= 1):
            self._columns.may_name = False
            self._columns.text.add(0)
            self.discard()
            return None
        n_samples = self._store.n_rows
        check_size(self._name, n_samples, len(self._positions))
        labels = self._options.y
        kept = {at: self._values(at) for at in self._kept}
        if self._columns.label is not None:
            labels = kept[self._columns.label]
        if labels is not None:
            labels = check_labels(self._name, labels, n_samples)
        codings = self._codings(n_samples)
        encoding = Encoding(
            self._features,
            {at: coding.categories for at, coding in codings.items() if coding.categories is not None},
            self._options.categorical,
            self._options.categories,
        )
        source = source_of(
            self._store.finish(_change(codings, encoding)),
            name=self._name,
            feature_names=encoding.feature_names,
            sample_names=self._samples or None,
            labels=labels,
            **columns_of(self._options, lambda column: kept[self._columns.others[column]]),
            categories=encoding.categories,
            messages=self._messages + encoding.messages(),
        )
        source.left_out = self._columns.left_out
        return source

    def discard(self) -> None:
        """Let go of all that was collected."""
        self._store.discard()

    def _values(self, at: int) -> NDArray[Any]:
        """Return a column of labels, groups or covariates."""
        parts = self._kept[at]
        if at in self._columns.read_as:
            return self._columns.read_as[at]([text for part in parts for text in part.to_pylist()])
        return label_values(parts, is_text=self._decimal is not None, decimal=self._decimal or ".")

    def _codings(self, n_samples: int) -> dict[int, Coding]:
        codings: dict[int, Coding] = {}
        for column, at in zip(np.flatnonzero(~self._numeric), self.texts, strict=True):
            feature = self._features[column]

            def where(place: int, at: int = at) -> str:
                return self._where(place, self._columns.names[at])

            codings[int(column)] = self.texts[at].finish(where, n_samples)
            if codings[int(column)].categories is not None:
                check_known(self._name, feature, self._options.categories)
        return codings


def _change(codings: Mapping[int, Coding], encoding: Encoding) -> Callable[[NDArray[Any]], NDArray[Any]] | None:
    """Return what turns blocks of codes into features, or None where they are features already."""
    settled = [np.array_equal(c.values, np.arange(len(c.values))) for c in codings.values()]
    if all(settled) and encoding.is_ordinal:
        return None

    def change(block: NDArray[Any]) -> NDArray[Any]:
        values = {at: coding.decode(block[:, at]) for at, coding in codings.items()}
        block = block.astype(np.result_type(block.dtype, *{v.dtype for v in values.values()}), copy=False)
        for at, column in values.items():
            block[:, at] = column
        return encoding.apply(block)

    return change


def numeric_columns(columns: Sequence[Any], n_rows: int) -> NDArray[Any]:
    """Make a matrix of pyarrow arrays of numbers; nulls become NaN."""
    arrays = [column.to_numpy(zero_copy_only=False) for column in columns]
    if not arrays:
        return np.empty((n_rows, 0), dtype=np.float32)
    matrix = np.empty((n_rows, len(arrays)), dtype=np.result_type(*{array.dtype for array in arrays}))
    for at, array in enumerate(arrays):
        matrix[:, at] = array
    return matrix
