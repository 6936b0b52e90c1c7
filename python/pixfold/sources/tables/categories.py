"""Categorical columns: their texts, the codes that stand for them, and the errors of columns that are neither."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.sources.tables.notation import MARKS, advice, first_in_another, is_number, number_in
from pixfold.util.text import counted, listed

BOOLEAN = ("False", "True")
# As they are written in files.
_BOOLEAN_TEXTS = {"True": 1, "TRUE": 1, "true": 1, "False": 0, "FALSE": 0, "false": 0}

# A text column of this many samples or more, with more than half of its values distinct, is no categorical
# feature: an identifier or free text. (In fewer samples distinct values say nothing.)
_IDENTIFIER_SAMPLES = 10

# A text column with a larger fraction of numbers is a numeric column with wrong cells.
_MOST_NUMBERS = 0.1

# The key of a one-hot column in `Source.categories` ends in this: with a category it is the name of a feature.
_ONE_HOT = "="


def is_mixed(n_wrong: int, n_present: int) -> bool:
    """Tell whether a column with some texts among its values is one of numbers, with wrong cells."""
    return n_wrong < (1 - _MOST_NUMBERS) * n_present


def natural(value: Any) -> tuple[int, float, str]:
    """Sort key of categories: numbers by value, before texts."""
    text = str(value)
    number = float(text) if is_number(text) else np.inf
    return (0, number, text) if np.isfinite(number) else (1, 0.0, text)


def known_categories(name: str, categories: Mapping[str, Sequence[str]] | None) -> Sequence[str] | None:
    """Return the categories that a column was encoded by before, whichever way."""
    known = categories or {}
    return known.get(name, known.get(name + _ONE_HOT))


def has_one_hot(categories: Mapping[str, Sequence[str]]) -> bool:
    """Tell whether any of the columns was encoded one-hot."""
    return any(key.endswith(_ONE_HOT) for key in categories)


def check_known(source: str, feature: str, categories: Mapping[str, Sequence[str]] | None) -> None:
    """Raise InputError for a text column that was none when the model was trained."""
    if categories is not None and known_categories(feature, categories) is None:
        raise InputError(f"{source}: column {feature!r} must hold numbers as in training, got text")


def wrong_cell(source: str, where: str, value: Any, n_wrong: int, decimal: str | None = None) -> InputError:
    """Error of a numeric column with cells that are no numbers."""
    more = f" ({counted(n_wrong - 1, 'more cell')} like it in this column)" if n_wrong > 1 else ""
    what_to_do = advice(str(value), decimal) or "a missing value is an empty cell or NA"
    return InputError(f"{source}: {where} must hold a number, got {value!r}{more}; {what_to_do}")


def unknown_category(source: str, where: str, value: str, known: Sequence[str]) -> InputError:
    """Error of a value that no sample had when the model was trained."""
    return InputError(f"{source}: {where}: {value!r} is none of the known categories ({listed(known, 10)})")


def check_identifier(source: str, feature: str, values: Sequence[str], n_present: int, n_samples: int) -> None:
    """Raise InputError for a text column that names samples, or holds free text."""
    if n_samples >= _IDENTIFIER_SAMPLES and len(values) * 2 > n_present:
        raise InputError(
            f"{source}: column {feature!r} looks like an identifier or free text, not a feature: "
            f"{len(values):,} different texts in {n_present:,} samples ({listed(values)}); "
            "remove it or, if it names the samples, make it the first column and leave its header empty "
            "(in a DataFrame, the index)"
        )


def code_array(codes: NDArray[np.int64], n_categories: int) -> NDArray[Any]:
    """Codes as values: integers where none is missing (-1), else floats with NaN.

    They take the smallest types that hold them, so that they do not widen a float32 table.
    """
    missing = codes < 0
    if not missing.any():
        return codes.astype(np.int16 if n_categories < 2**15 else np.int64)
    values = codes.astype(np.float32 if n_categories < 2**24 else np.float64)
    values[missing] = np.nan
    return values


class TextColumn:
    """The texts of one column that arrives in parts, each given a code in order of first appearance.

    Parameters
    ----------
    source, feature : str
        The source and the column, for messages.
    known : sequence of str, optional
        Categories of training: they have the first codes, and are the only ones.
    is_categorical : bool
        Whether the file itself says that this column holds categories, so that they may look like numbers.
    decimal : {".", ","}, optional
        The decimal point of numbers; None where they did not come as texts.
    """

    def __init__(
        self,
        source: str,
        feature: str,
        *,
        known: Sequence[str] | None = None,
        is_categorical: bool = False,
        decimal: str | None = None,
    ) -> None:
        self._decimal = decimal
        self._source, self._feature = source, feature
        self._known = known
        self._is_categorical = is_categorical
        self._ordered = False
        self._code_of: dict[str, int] = {}
        self._counts: list[int] = []
        self._places: list[int] = []
        self.declare(known or ())

    def declare(self, categories: Sequence[str], ordered: bool = False) -> None:
        """Give codes to categories, whether or not any sample has them."""
        self._ordered = ordered
        for text in categories:
            self._code(text, 0)

    def add(self, texts: Any, places: NDArray[np.int64]) -> NDArray[Any]:
        """Return the codes of a pyarrow string array, as :func:`code_array` has them.

        Parameters
        ----------
        texts : pyarrow.Array of strings
            Missing values are null.
        places : ndarray of int64
            The line or row of each, for messages.
        """
        encoded = texts.dictionary_encode()
        indices = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        unique = encoded.dictionary.to_pylist()
        if self._known is not None and tuple(self._known) == BOOLEAN:
            unique = [BOOLEAN[_BOOLEAN_TEXTS[text]] if text in _BOOLEAN_TEXTS else text for text in unique]
        first = np.zeros(len(unique) + 1, dtype=np.int64)
        first[indices[::-1]] = np.arange(len(indices))[::-1]  # of equal indices the last assignment stays
        codes = np.array([*(self._code(text, int(places[first[i]])) for i, text in enumerate(unique)), -1])
        for code, count in zip(codes, np.bincount(indices[indices >= 0], minlength=len(unique)), strict=False):
            self._counts[code] += int(count)
        return code_array(codes[indices], len(self._code_of))

    @property
    def names_samples(self) -> bool:
        """Whether these could be names of samples: texts, each only once."""
        return (
            all(count <= 1 for count in self._counts)
            and not any(map(is_number, self._code_of))
            and not self._code_of.keys() <= _BOOLEAN_TEXTS.keys()
        )

    def finish(self, where: Callable[[int], str], n_samples: int) -> Coding:
        """Decide what the column is, once all of it is known.

        Raises
        ------
        InputError
            When it holds numbers with wrong cells, an identifier, or values outside the known categories.
        """
        texts, counts = list(self._code_of), np.asarray(self._counts, dtype=np.int64)
        if self._known is not None:
            for code in range(len(self._known), len(texts)):
                raise unknown_category(self._source, where(self._places[code]), texts[code], list(self._known))
            return Coding(np.arange(len(texts)), list(texts))
        if not self._is_categorical:
            if texts and self._code_of.keys() <= _BOOLEAN_TEXTS.keys():
                return Coding(np.array([_BOOLEAN_TEXTS[text] for text in texts]), list(BOOLEAN))
            marks = np.array([text in MARKS for text in texts], dtype=bool)
            numbers = [number_in(text, self._decimal) for text in texts]
            wrong = np.array([number is None for number in numbers], dtype=bool) & ~marks
            n_present, n_wrong = int(counts[~marks].sum()), int(counts[wrong].sum())
            if not n_wrong:
                return Coding(np.array(numbers, dtype=np.float64), None)
            first = first_in_another(texts, self._counts, self._decimal)
            if first is None and is_mixed(n_wrong, n_present):
                first = int(np.flatnonzero(wrong)[0])
            if first is not None:
                raise wrong_cell(self._source, where(self._places[first]), texts[first], n_wrong, self._decimal)
            check_identifier(self._source, self._feature, sorted(texts, key=natural), n_present, n_samples)
        names = texts if self._ordered else sorted(texts, key=natural)
        rank = {text: number for number, text in enumerate(names)}
        return Coding(np.array([rank[text] for text in texts], dtype=np.int64), names)

    def _code(self, text: str, place: int) -> int:
        code = self._code_of.setdefault(text, len(self._counts))
        if code == len(self._counts):
            self._counts.append(0)
            self._places.append(place)
        return code


@dataclass(frozen=True)
class Coding:
    """What the codes of a :class:`TextColumn` stand for.

    Attributes
    ----------
    values : ndarray of shape (n_codes,)
        The value of each code: the position of its category, or a number.
    categories : list of str, or None
        Absent where the column turned out to hold numbers.
    """

    values: NDArray[Any]
    categories: list[str] | None

    def decode(self, codes: NDArray[Any]) -> NDArray[Any]:
        """Return the values of codes; missing ones (NaN) stay missing."""
        missing = np.isnan(codes) if codes.dtype.kind == "f" else np.zeros(codes.shape, dtype=bool)
        values = np.append(self.values, 0)[np.where(missing, len(self.values), codes).astype(np.int64)]
        # Positions of categories are as many as codes, and fit the same type.
        values = values.astype(np.float64 if self.categories is None else codes.dtype)
        if missing.any():
            values[missing] = np.nan
        return values


class Encoding:
    """How the columns of a table become features: one each, or one for every category.

    Parameters
    ----------
    columns : list of str
        Names of the columns, each once.
    categories : mapping of int to list of str
        Those of the columns at these positions, which hold codes.
    encode : {"ordinal", "onehot"}
        How categorical columns are encoded, unless ``known`` says.
    known : mapping, optional
        ``categories`` of the source that a model was trained on.
    """

    def __init__(
        self,
        columns: list[str],
        categories: Mapping[int, list[str]],
        encode: str,
        known: Mapping[str, Sequence[str]] | None,
    ) -> None:
        self.feature_names: list[str] = []
        self.categories: dict[str, list[str]] = {}
        self._is_known = known is not None
        self._widths: dict[int, int] = {}
        for at, column in enumerate(columns):
            names = categories.get(at)
            one_hot = encode == "onehot" if known is None else column not in known
            if names is None:
                self.feature_names.append(column)
            elif one_hot:
                key = column + _ONE_HOT
                self.categories[key] = names
                self.feature_names += [key + category for category in names]
                self._widths[at] = len(names)
            else:
                self.categories[column] = names
                self.feature_names.append(column)

    @property
    def is_ordinal(self) -> bool:
        """Whether the features are the columns."""
        return not self._widths

    def messages(self) -> list[str]:
        """What the user should be told."""
        if not self.categories or self._is_known:
            return []
        keys = list(self.categories)
        if self.is_ordinal:
            return [f"{counted(len(keys), 'categorical feature')} encoded as codes 0, 1, 2, ... ({listed(keys)})"]
        columns = listed([key.removesuffix(_ONE_HOT) for key in keys])
        return [
            f"{counted(len(keys), 'categorical column')} encoded one-hot, as "
            f"{counted(sum(self._widths.values()), 'feature')} ({columns})"
        ]

    def apply(self, block: NDArray[Any]) -> NDArray[Any]:
        """Return the features of a block of columns; a missing category is missing in all features of it."""
        if self.is_ordinal:
            return block
        out = np.empty((len(block), len(self.feature_names)), dtype=block.dtype)
        start = done = 0
        for at, width in self._widths.items():
            out[:, start : start + at - done] = block[:, done:at]
            start += at - done
            codes = block[:, at, None]
            one_hot = out[:, start : start + width]
            one_hot[:] = codes == np.arange(width)
            if block.dtype.kind == "f":
                one_hot[np.isnan(block[:, at])] = np.nan
            start, done = start + width, at + 1
        out[:, start:] = block[:, done:]
        return out
