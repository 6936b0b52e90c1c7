"""Source, the base of everything that samples are read from, and the checks that all sources share."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.genotypes import PackedGenotypes
from pixfold.util.text import counted, listed

# A block that is made dense as float32 stays about this large, whatever the number of features.
BLOCK_BYTES = 64 * 2**20


AnyRows = slice | NDArray[Any] | Sequence[int]


class RowsError(InputError, IndexError):
    """Row numbers that cannot be read: an InputError that is an IndexError, too."""


class Source(ABC):
    """A matrix of samples x features that is read in blocks of rows, with its names and labels.

    A format is one subclass; nothing else in pixfold knows formats. Opening a source reads names, labels and what is
    needed to check them; :meth:`read` alone reads values, so a format may leave them on disk. Several threads may call
    it at once. A source of your own calls ``super().__init__`` and defines :meth:`read`; what it sets beside that says
    how it is best read.

    Parameters
    ----------
    name : str
        The file, or "array", "DataFrame", "AnnData": how messages call it.
    shape : (int, int)
        Samples and features, both at least 1.
    dtype : numpy.dtype
        Of the values: an integer or floating type in native byte order.
    feature_names, sample_names : sequence of str, optional
        ``feature_0`` ... and ``sample_0`` ... when absent. Features of one name are kept apart by a number.
    labels : array-like of shape (n_samples,), optional
        Labels as they came: numbers, strings, objects. Missing ones are None, NaN, ``pandas.NA`` or "".
    groups : array-like of shape (n_samples,), optional
        Which samples belong together, such as those of one donor: values as labels are, missing ones too.
    covariates : dict of str to array-like of shape (n_samples,), optional
        What else is known of the samples and is no feature: batch, age, sex.
    categories : dict of str to list of str, optional
        Features that were categorical and are now codes: the categories of codes 0, 1, 2, ... Of a column that was
        encoded one-hot the key is "column=", and key and category together are the name of a feature.
    messages : list of str, optional
        What the user should be told about how this source was read.
    feature_annotation : dict of str to array-like of shape (n_features,), optional
        What else is known of the features: gene symbols, chromosomes. Numbers, or objects that are text.
    beside : dict of str to array-like of shape (n_samples,), optional
        Columns about the samples that were read because somebody asks for them, and are neither features nor
        covariates.
    is_sparse : bool
        Whether :meth:`read` returns CSR.
    chunk_rows : int
        Rows that are stored together, so that reading one of them reads them all.

    Attributes
    ----------
    n_samples, n_features : int
        The shape.
    kind : {"matrix", "counts", "genotypes", "sequences", "table", "mixed"}
        What the values are by their format, whatever they look like: numbers of any kind, counts of molecules,
        genotypes, letters one-hot, columns of a table, several of these side by side.
    block_size : int
        Rows that are read well at once: about 64 MB as dense float32, and whole chunks of the file.
    held_in_memory : bool
        Whether :meth:`read` takes no more than looking at memory.
    nbytes : int or None
        Bytes of all samples in memory, as they are read; None where that shows only when they are read.
    feature_annotation : dict of str to ndarray of shape (n_features,)
        What is known of the features beside their names, by column: object arrays of str, or numbers.
    channel_sizes : list of int, or None
        Features of each image channel, in feature order, where features stand in channels (sequences, inputs that are
        stacked); see :mod:`pixfold.stream.layout_for`.
    left_out : list of str
        Columns of a table that are no features because they were not chosen.
    name_column : str or None
        The annotation that reports call features by.

    Raises
    ------
    InputError
        When the matrix is empty, or names or labels do not fit it.
    """

    kind: str = "matrix"
    held_in_memory: bool = False
    channel_sizes: list[int] | None = None
    left_out: Sequence[str] = ()
    name_column: str | None = None

    def __init__(
        self,
        name: str,
        shape: tuple[int, int],
        dtype: np.dtype[Any],
        *,
        feature_names: Sequence[Any] | NDArray[Any] | None = None,
        sample_names: Sequence[Any] | NDArray[Any] | None = None,
        labels: Any = None,
        groups: Any = None,
        covariates: Mapping[str, Any] | None = None,
        categories: Mapping[str, list[str]] | None = None,
        messages: Sequence[str] | None = None,
        is_sparse: bool = False,
        chunk_rows: int = 1,
        feature_annotation: Mapping[str, Any] | None = None,
        beside: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.messages = list(messages or ())
        self.n_samples, self.n_features = (int(size) for size in shape)
        check_size(name, self.n_samples, self.n_features)
        self.dtype, self.is_sparse = dtype, is_sparse
        self.feature_names = unique_names(names_of(name, "feature", feature_names, self.n_features), self.messages)
        self.sample_names = names_of(name, "sample", sample_names, self.n_samples)
        self.labels: NDArray[Any] | None = None
        if labels is not None:
            self.labels = check_labels(name, labels, self.n_samples)
        self.groups: NDArray[Any] | None = None
        self.covariates: dict[str, NDArray[Any]] = {}
        self.beside: dict[str, NDArray[Any]] = {}
        describe(self, groups, covariates, beside)
        self.feature_annotation: dict[str, NDArray[Any]] = {
            about: check_annotation(name, values, self.n_features, about)
            for about, values in (feature_annotation or {}).items()
        }
        self.categories = dict(categories or {})
        self.chunk_rows = max(1, min(chunk_rows, self.n_samples))
        self.block_size = block_rows(self.n_features, self.chunk_rows)
        self.nbytes = None if is_sparse else self.n_samples * self.n_features * dtype.itemsize

    @abstractmethod
    def read(self, rows: AnyRows) -> Any:
        """Read some samples.

        Parameters
        ----------
        rows : slice, array of integers, or boolean mask
            Sample positions, in any order and repeated or not; the rows come back in this order. Sorted positions are
            the fast case. :func:`normalize_rows` checks them.

        Returns
        -------
        ndarray of shape (len(rows), n_features), or a SciPy CSR matrix or array, or PackedGenotypes of that shape
            Values of type ``dtype``. The caller does not write to it: it may be a view.

        Raises
        ------
        RowsError
            For rows that are not there.
        """

    def sample_columns(self) -> dict[str, NDArray[Any]]:
        """Return what stands beside the values about the samples, by column; read when it is asked for.

        Returns
        -------
        dict of str to ndarray of shape (n_samples,)
            With the columns of the labels, groups and covariates, where these are columns of the data. Missing values
            are those of labels.
        """
        return {**self.beside, **self.covariates}

    def tables(self) -> tuple[Any, Any]:
        """Return what is known of samples and of features beside names, as pandas.DataFrame, or None each."""
        return None, None


def as_values(block: Any) -> Any:
    """What a source has read, for those who look at single values: packed genotypes become dense float32."""
    return block.toarray() if isinstance(block, PackedGenotypes) else block


def normalize_rows(rows: AnyRows, n_samples: int, name: str = "normalize_rows") -> slice | NDArray[np.int64]:
    """Bring rows to one of two forms: a slice with start, stop and step 1, or an index array.

    Parameters
    ----------
    rows : slice, integer array or boolean mask of length ``n_samples``
        Sample positions, 0-based; an array holds none that are negative.
    n_samples : int
        Number of samples there are.
    name : str
        Who asks, for the message.

    Returns
    -------
    slice or ndarray of int64
        Positions that follow each other become a slice.

    Raises
    ------
    RowsError
        When a position is outside ``0 .. n_samples - 1``, or the array holds no positions.
    """
    if isinstance(rows, slice):
        try:
            start, stop, step = rows.indices(n_samples)
        except (TypeError, ValueError):
            raise RowsError(f"{name}: rows must be a slice of whole numbers with a step, got {rows}") from None
        if step == 1:
            return slice(start, max(start, stop))
        return normalize_rows(np.arange(start, stop, step, dtype=np.int64), n_samples, name)
    index = as_array(f"{name}: rows", rows)
    if index.dtype == np.bool_:
        if index.shape != (n_samples,):
            raise RowsError(f"{name}: rows must be a mask of {n_samples:,} samples, got one of shape {index.shape}")
        index = np.flatnonzero(index)
    if index.ndim != 1 or (index.dtype.kind not in "iu" and index.size):
        raise RowsError(f"{name}: rows must be whole numbers in one dimension, got {index.ndim}-D {index.dtype}")
    if not index.size:
        return slice(0, 0)
    low, high = int(index.min()), int(index.max())
    if low < 0 or high >= n_samples:
        raise RowsError(f"{name}: rows must be from 0 to {n_samples - 1:,}, got {low if low < 0 else high:,}")
    index = index.astype(np.int64, copy=False)
    if index.size == index[-1] - index[0] + 1 and bool(np.all(np.diff(index) == 1)):
        return slice(int(index[0]), int(index[-1]) + 1)
    return index


def block_rows(n_features: int, chunk: int = 1) -> int:
    """Rows of a block of about 64 MB as dense float32, a multiple of ``chunk`` where that many fit."""
    rows = max(1, BLOCK_BYTES // (4 * n_features))
    return max(chunk, rows - rows % chunk)


def runs_of(wanted: NDArray[np.int64], gap: int, longest: int) -> Iterator[tuple[int, int]]:
    """Split sorted rows where they lie further apart than ``gap``, into spans of at most ``longest`` rows."""
    first = 0
    cuts = np.diff(wanted) > gap
    for i in range(1, len(wanted)):
        if cuts[i - 1] or wanted[i] - wanted[first] >= longest:
            yield first, i
            first = i
    yield first, len(wanted)


def check_size(name: str, n_samples: int, n_features: int) -> None:
    """Raise InputError for a matrix without samples or without features."""
    for count, what in ((n_samples, "sample"), (n_features, "feature")):
        if count < 1:
            # scikit-learn's words, which its own checks of estimators look for.
            raise InputError(
                f"{name}: 0 {what}(s) (shape=({n_samples}, {n_features})) while a minimum of 1 is required."
            )


def check_dtype(name: str, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the native dtype that values of ``dtype`` are read as, or raise InputError."""
    if dtype == np.bool_:
        return np.dtype(np.uint8)
    if dtype.kind in "iu":
        return dtype.newbyteorder("=")
    if dtype.kind == "f":
        return dtype.newbyteorder("=") if dtype.itemsize <= 8 else np.dtype(np.float64)
    if dtype.kind == "c":
        raise InputError(f"{name}: values must be real numbers, got {dtype}: Complex data not supported")
    raise InputError(f"{name}: values must be real numbers, got type {dtype}")


def as_array(name: str, data: Any) -> NDArray[Any]:
    """Make an array of nested lists or of an object that offers one, or raise InputError."""
    try:
        return np.asarray(data)
    except (ValueError, TypeError) as error:
        raise InputError(f"{name}: rows must be of equal length, got others ({str(error).partition('.')[0]})") from None


def check_labels(name: str, labels: Any, n_samples: int, what: str = "labels") -> NDArray[Any]:
    """Return labels as a 1-D array of one label per sample, or raise InputError; ``what`` says what they are."""
    array = as_array(f"{name}: {what}", labels)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise InputError(f"{name}: {what} must be 1-D, one per sample, got shape {array.shape}")
    if len(array) != n_samples:
        raise InputError(f"{name}: {what} must be {n_samples:,}, one per sample, got {len(array):,}")
    return array


def relabelled(source: Source, labels: Any) -> Source:
    """Return a source of the same values with other labels; without any (None), the source itself."""
    if labels is None:
        return source
    other = copy.copy(source)
    other.labels = check_labels(source.name, labels, source.n_samples)
    return other


def check_annotation(name: str, values: Any, n_features: int, what: str) -> NDArray[Any]:
    """Return what is known of features as a 1-D array of one value per feature, or raise InputError."""
    array = as_array(f"{name}: {what}", values)
    if array.shape != (n_features,):
        raise InputError(
            f"{name}: feature_annotation {what!r} must be {n_features:,} values, one per feature, got shape "
            f"{array.shape}"
        )
    return array if array.dtype.kind in "biuf" else array.astype(object)


def describe(
    source: Source, groups: Any, covariates: Mapping[str, Any] | None, beside: Mapping[str, Any] | None = None
) -> None:
    """Give a source its groups, covariates and other columns, those that are not None, or raise InputError.

    A source that others may hold is copied before.
    """
    if groups is not None:
        source.groups = check_labels(source.name, groups, source.n_samples, "groups")
    if covariates:
        source.covariates = {
            name: check_labels(source.name, values, source.n_samples, f"covariate {name!r}")
            for name, values in covariates.items()
        }
    if beside:
        source.beside = {
            name: check_labels(source.name, values, source.n_samples, f"column {name!r}")
            for name, values in beside.items()
        }


def described(source: Source, groups: Any, covariates: Mapping[str, Any] | None) -> Source:
    """Return a source of the same values with other groups and covariates; without any, the source itself."""
    if groups is None and not covariates:
        return source
    other = copy.copy(source)
    describe(other, groups, covariates)
    return other


def names_of(source: str, word: str, names: Sequence[Any] | NDArray[Any] | None, count: int) -> list[str]:
    """Return the names of features or samples as text, numbered where there are none, or raise InputError."""
    if names is None:
        return numbered(word, count)
    if len(names) != count or np.ndim(names[0]):
        shape = np.shape(np.asarray(names, dtype=object))
        raise InputError(f"{source}: {word}_names must be {count:,} names, got an array of shape {shape}")
    return [str(name) for name in names]


def numbered(word: str, count: int) -> list[str]:
    """Names of things that have none: ``feature_0``, ``feature_1``, ..., counted as NumPy does."""
    return [f"{word}_{i}" for i in range(count)]


def unique_names(names: Sequence[str], messages: list[str], what: str = "feature") -> list[str]:
    """Keep features of one name apart: the second "x" becomes "x.1", and ``messages`` says so once."""
    if len(set(names)) == len(names):
        return list(names)
    counts, seen, taken = Counter(names), Counter[str](), set(names)
    result = []
    for name in names:
        new = name
        if seen[name]:
            while (new := f"{name}.{seen[name]}") in taken:
                seen[name] += 1
            taken.add(new)
        seen[name] += 1
        result.append(new)
    repeated = [name for name, count in counts.items() if count > 1]
    first = next(new for new, name in zip(result, names, strict=True) if new != name)
    messages.append(
        f"{counted(len(repeated), f'{what} name')} used more than once ({listed(repeated)}): "
        f"the later ones are kept apart by a number, such as {first!r}"
    )
    return result
