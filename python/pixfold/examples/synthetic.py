"""Generated data with a known answer: the needle in a haystack (NIHS) of the DeepMapper paper."""

from __future__ import annotations

import contextlib
import operator
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError, OutputError
from pixfold.util.optional import require
from pixfold.util.text import short_repr

# The paper counts variables from 1: its needles are variable 20 and variable 17,998 of 18,225.
PAPER_FEATURES = 18_225
PAPER_NEEDLES = (19, 17_997)

# (low, high) of a needle in class 0 and in class 1: the two kinds of needle in the paper.
RANGES = (
    ((0.00, 0.20), (0.20, 0.40)),
    ((0.10, 0.20), (0.25, 0.35)),
)

_BLOCK_BYTES = 64 * 2**20


class NihsData(NamedTuple):
    """A needle-in-a-haystack data set.

    Attributes
    ----------
    X : ndarray of float32, shape (n_samples, n_features)
        Values in [0, 1].
    y : ndarray of int64, shape (n_samples,)
        Class of each sample, 0 or 1.
    needles : ndarray of int64, shape (needles,)
        0-based indices of the features that differ between the classes, in the order they were planted.
    feature_names : list of str
        ``variable_1`` ... ``variable_<n_features>``.
    """

    X: NDArray[np.float32]
    y: NDArray[np.int64]
    needles: NDArray[np.int64]
    feature_names: list[str]


def nihs(n_samples: int = 10_000, n_features: int = PAPER_FEATURES, *, needles: int = 2, seed: int = 0) -> NihsData:
    """Generate uniform noise in two balanced classes, in which a few features differ.

    Every feature is U(0, 1), except the needles. Needle 1 is U(0.00, 0.20) in class 0 and U(0.20, 0.40)
    in class 1; needle 2 is U(0.10, 0.20) and U(0.25, 0.35); further needles take these two kinds in turn. At
    the paper's width of 18,225 features the first two are variables 20 and 17,998 (counted from 1). At any
    other width they keep their relative places: 0-based index ``round(i * (n_features - 1) / 18,224)`` for
    ``i`` = 19 and 17,997. Further needles lie at places drawn with ``seed``.

    Parameters
    ----------
    n_samples : int
        Samples, at least 2. An odd number gives class 0 one sample more.
    n_features : int
        Features, at least 1.
    needles : int
        Planted features, 0 to ``n_features``.
    seed : int
        Seed of everything random, not negative.

    Returns
    -------
    NihsData

    Raises
    ------
    InputError
        When an argument is not an integer or outside its range.

    References
    ----------
    Ersavas, Smith and Mattick, "Novel applications of convolutional neural networks in the age of
    transformers", Sci. Rep. 14 (2024).
    """
    haystack = _Haystack(n_samples, n_features, needles, seed)
    X = np.empty((haystack.n_samples, haystack.n_features), dtype=np.float32)
    for _ in haystack.blocks(out=X):  # fills X
        pass
    return NihsData(X, haystack.y, haystack.needles, haystack.feature_names)


def write_nihs(
    path: str | os.PathLike[str],
    n_samples: int = 10_000,
    n_features: int = PAPER_FEATURES,
    *,
    needles: int = 2,
    seed: int = 0,
) -> Path:
    """Write the data of :func:`nihs` to an .h5ad file, block by block.

    ``obs`` has the categorical column ``label`` (``class_0``, ``class_1``), ``var`` the boolean column
    ``needle``. The file is written under a temporary name beside ``path`` and renamed when it is complete.

    Parameters
    ----------
    path : path-like
        The file to write; it must end in ``.h5ad`` and is replaced when it exists.
    n_samples, n_features, needles, seed
        As in :func:`nihs`.

    Returns
    -------
    Path
        ``path``.

    Raises
    ------
    InputError
        When an argument is wrong.
    OutputError
        When the file cannot be written.
    MissingDependencyError
        When anndata, h5py or pandas is not installed.
    """
    target = Path(path)
    if target.suffix.lower() != ".h5ad":
        raise InputError(f"nihs: the output must be named .h5ad, got {target.name!r}")
    if target.is_dir():
        raise OutputError(f"{target}: cannot write the file, a folder has this name")
    haystack = _Haystack(n_samples, n_features, needles, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # anndata announces its own future on import and on write
        anndata_io = require("anndata", "io", "writing .h5ad files").io
        h5py = require("h5py", "io", "writing .h5ad files")
        pandas = require("pandas", "io", "writing .h5ad files")
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            with h5py.File(temporary, "w") as file:
                _write(file, haystack, anndata_io, pandas)
            temporary.replace(target)
        except OSError as error:
            raise OutputError(f"{target}: cannot write the file: {_reason(error)}") from error
        finally:
            with contextlib.suppress(OSError):  # of a file system that is read-only, say: the error is known by now
                temporary.unlink(missing_ok=True)
    return target


class _Haystack:
    """The checked arguments of one data set, and its values row block by row block."""

    def __init__(self, n_samples: int, n_features: int, needles: int, seed: int) -> None:
        self.n_samples = _integer("n_samples", n_samples, 2)
        self.n_features = _integer("n_features", n_features, 1)
        n_needles = _integer("needles", needles, 0)
        self.seed = _integer("seed", seed, 0)
        if n_needles > self.n_features:
            raise InputError(f"nihs: needles must be at most n_features ({self.n_features:,}), got {n_needles:,}")
        # Separate streams: the noise of a seed does not depend on the number of needles.
        noise, order, places, values = np.random.SeedSequence(self.seed).spawn(4)
        self._noise, self._values = noise, values
        self.y = np.arange(self.n_samples, dtype=np.int64) % 2
        np.random.default_rng(order).shuffle(self.y)
        self.needles = _places(self.n_features, n_needles, np.random.default_rng(places))
        self.feature_names = [f"variable_{i}" for i in range(1, self.n_features + 1)]

    def blocks(self, out: NDArray[np.float32] | None = None) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield (first row, block); the values do not depend on the size of a block."""
        noise, values = np.random.default_rng(self._noise), np.random.default_rng(self._values)
        rows = max(1, _BLOCK_BYTES // (4 * self.n_features))
        for start in range(0, self.n_samples, rows):
            stop = min(start + rows, self.n_samples)
            block = np.empty((stop - start, self.n_features), np.float32) if out is None else out[start:stop]
            noise.random(out=block, dtype=np.float32)
            # Row by row, so that the stream is the same whatever the number of rows in a block.
            planted = values.random((stop - start, len(self.needles)), dtype=np.float32)
            y = self.y[start:stop]
            for number, feature in enumerate(self.needles):
                ranges = np.asarray(RANGES[number % len(RANGES)], dtype=np.float32)
                low, high = ranges[y, 0], ranges[y, 1]
                block[:, feature] = np.minimum(low + (high - low) * planted[:, number], high)
            yield start, block


def _places(n_features: int, needles: int, rng: np.random.Generator) -> NDArray[np.int64]:
    last = PAPER_FEATURES - 1
    places = [round(i * (n_features - 1) / last) for i in PAPER_NEEDLES[:needles]]
    if needles > len(places):
        free = np.setdiff1d(np.arange(n_features), places)
        places.extend(rng.choice(free, size=needles - len(places), replace=False))
    return np.asarray(places, dtype=np.int64)


def _integer(name: str, value: object, least: int) -> int:
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise InputError(f"nihs: {name} must be an integer, got {short_repr(value)}") from None
    if number < least:
        raise InputError(f"nihs: {name} must be at least {least}, got {number}")
    return number


def _write(file: Any, haystack: _Haystack, anndata_io: Any, pandas: Any) -> None:
    file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
    X = file.create_dataset("X", (haystack.n_samples, haystack.n_features), dtype="<f4")
    X.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    for start, block in haystack.blocks():
        X[start : start + len(block)] = block
    needle = np.zeros(haystack.n_features, dtype=bool)
    needle[haystack.needles] = True
    label = pandas.Categorical.from_codes(haystack.y, categories=["class_0", "class_1"])
    samples = [f"sample_{i}" for i in range(1, haystack.n_samples + 1)]
    anndata_io.write_elem(file, "obs", pandas.DataFrame({"label": label}, index=samples))
    anndata_io.write_elem(file, "var", pandas.DataFrame({"needle": needle}, index=haystack.feature_names))
    for group in ("layers", "obsm", "obsp", "uns", "varm", "varp"):
        anndata_io.write_elem(file, group, {})


def _reason(error: OSError) -> str:
    """Say what the system said, without HDF5's own wording where a plain one exists."""
    return os.strerror(error.errno) if error.errno else str(error)
