"""What can be wrong with an argument: random damage, by the argument's kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.sparse

from fuzzing.calls import Random, layout_of, pick, unaligned
from pixfold import _core
from pixfold.layout import Layout
from pixfold.normalize.normalizer import Normalizer

EDGES = [-(2**63), -(2**31) - 1, -2, -1, 0, 1, 2**31 - 1, 2**31, 2**32, 2**62, 2**63 - 1]
ODD_FLOATS = [np.nan, np.inf, -np.inf, -1.0, 1e300, 5e-324, -0.0]
OBJECTS: list[Callable[[Any], Any]] = [
    lambda value: None,
    lambda value: "text",
    lambda value: 3,
    lambda value: 2.5,
    lambda value: b"bytes",
    lambda value: object(),
    lambda value: [value],
    lambda value: {"a": value},
    lambda value: [[1, 2], [3]],
    lambda value: [1.0, 2.0, None],
]
NUMPY_DTYPES: list[Any] = [
    object, "U3", "S4", "complex64", "complex128", "longdouble", "datetime64[D]", "timedelta64[s]", "V4", "bool",
    "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float32", "float64",
    ">f4", ">f8", ">i4", ">i8", ">u2", [("a", "f4"), ("b", "i4")], [("o", object)],
]  # fmt: skip


def _converted(rng: Random, a: Any) -> Any:
    dtype = np.dtype(pick(rng, NUMPY_DTYPES))
    if dtype.kind == "V":
        return np.zeros(a.shape, dtype)
    with np.errstate(all="ignore"):
        return a.astype(dtype)


def _reinterpreted(rng: Random, a: Any) -> Any:
    """The same bytes as another dtype of the size, so that a bool may hold 7 and a float any bits."""
    same = [d for d in NUMPY_DTYPES if np.dtype(d).itemsize == a.dtype.itemsize and not np.dtype(d).hasobject]
    noise = rng.integers(0, 256, a.nbytes, dtype=np.uint8)
    return noise.view(np.dtype(pick(rng, same))).reshape(a.shape)


def _reshaped(rng: Random, a: Any) -> Any:
    return pick(
        rng,
        [
            lambda: a[:-1],
            lambda: a[..., :-1],
            lambda: np.concatenate([a, a[:1]]),
            lambda: np.repeat(a, 2, axis=-1),
            lambda: a[None],
            lambda: a[..., None],
            lambda: a.reshape(-1),
            lambda: a[:0],
            lambda: a[..., :0],
            lambda: a.T.copy(),
            lambda: np.array(a.flat[0]),
            lambda: np.zeros((0,) * a.ndim, a.dtype),
            lambda: np.zeros((2,) * 20, a.dtype) if a.dtype.itemsize == 1 else a.reshape(1, 1, 1, -1),
        ],
    )()


def _strided(rng: Random, a: Any) -> Any:
    """The same shape; mostly also the same numbers, walked differently."""
    return pick(
        rng,
        [
            lambda: np.asfortranarray(a),
            lambda: a[::-1],
            lambda: a[..., ::-1],
            lambda: np.broadcast_to(a[:1], a.shape),
            lambda: np.lib.stride_tricks.as_strided(a.copy(), a.shape, (0,) * a.ndim),
            lambda: np.repeat(a, 2, axis=-1)[..., ::2],
            lambda: np.repeat(a, 3, axis=0)[::-3],
            lambda: unaligned(a),
            lambda: unaligned(np.repeat(a, 2, axis=-1))[..., ::-2],
        ],
    )()


def _read_only(rng: Random, a: Any) -> Any:
    copy = a.copy()
    copy.setflags(write=False)
    return copy


def _with_odd_values(rng: Random, a: Any) -> Any:
    copy = a.copy()
    at = rng.integers(0, a.size, pick(rng, [1, 1, a.size]))
    if a.dtype.kind == "f":
        with np.errstate(all="ignore"):
            copy.flat[at] = pick(rng, ODD_FLOATS)
    elif a.dtype.kind == "b":
        copy.view(np.uint8).flat[at] = 7
    else:
        edges = [*EDGES, a.size, a.size + 1, int(a.max()) + 1, int(a.min()) - 1]
        limits = np.iinfo(a.dtype)
        copy.flat[at] = pick(rng, [edge for edge in edges if limits.min <= edge <= limits.max])
    return copy


def _shuffled(rng: Random, a: Any) -> Any:
    return rng.permutation(a.reshape(-1)).reshape(a.shape)


def _long(rng: Random, a: Any) -> Any:
    """So many rows, all in one place, that sizes computed in 32 or 64 bits wrap around."""
    rows = a.shape[0] + 2 ** pick(rng, [32, 58, 59, 60, 61, 62])
    return np.broadcast_to(a[:1], (rows, *a.shape[1:]))


def _other_kind(rng: Random, a: Any) -> Any:
    return pick(
        rng,
        [
            lambda: a.tolist(),
            lambda: memoryview(np.ascontiguousarray(a)),
            lambda: np.ma.masked_array(a),
            lambda: np.asmatrix(a),
            lambda: scipy.sparse.csr_array(a),
            lambda: np.empty(a.shape, dtype=object),
        ],
    )()


def array(rng: Random, a: Any, *, long: bool) -> Any:
    """Damage an array; `long` allows lengths that no loop would come to an end of."""
    ways = [_converted, _reinterpreted, _reshaped, _strided, _read_only, _with_odd_values, _shuffled, _other_kind]
    return pick(rng, [*ways, _reshaped, _with_odd_values, *([_long] if long else [])])(rng, a)


def csr(rng: Random, x: Any) -> Any:
    """Damage one part of compressed rows, as a corrupt file would: SciPy looks only when it builds them."""
    damaged = x.copy()
    part = pick(rng, ["data", "indices", "indptr"])
    spoilt = array(rng, getattr(x, part), long=False)
    if not isinstance(spoilt, np.ndarray):
        spoilt = np.asarray(spoilt)
    setattr(damaged, part, spoilt)
    return damaged


def number(rng: Random, value: int, *, long: bool) -> Any:
    """Another number where one is expected; `long` allows those that are gigabytes where they are a size."""
    edges = [edge for edge in EDGES if long or not 2**24 <= edge < 2**33]
    return pick(rng, [*edges, value - 1, value + 1, 2**70, True, 1.0, 1.5, np.nan, np.int64(value), np.float32(value)])


def damaged(rng: Random, value: Any, others: Sequence[Any], *, long: bool) -> Any:
    """Something else in place of `value`: a damaged copy, another argument of the same call, or another kind."""
    for _ in range(20):
        try:
            draw = rng.random()
            if draw < 0.1:
                return pick(rng, OBJECTS)(value)
            if draw < 0.2 and others:
                return pick(rng, others)
            same = [other for other in others if type(other).__name__ == type(value).__name__]
            if hasattr(_core, type(value).__name__) and draw < 0.8:
                return pick(rng, same)
            if isinstance(value, np.ndarray) and value.size < 2**24:
                return array(rng, value, long=long)
            if scipy.sparse.issparse(value) and value.format == "csr":
                return csr(rng, value)
            if isinstance(value, Layout):
                return layout_of(rng, pick(rng, [value.n_features, value.n_features + 1, 1]))
            if isinstance(value, Normalizer):
                return pick(rng, [Normalizer("zscore"), Normalizer("log1p").fit(np.ones((2, 5))), "log1p"])
            if isinstance(value, bool):
                return pick(rng, [not value, int(value), "yes", None])
            if isinstance(value, int | np.integer):
                return number(rng, int(value), long=long)
            if isinstance(value, float):
                return pick(rng, ODD_FLOATS)
            return pick(rng, OBJECTS)(value)
        except (ValueError, TypeError, IndexError, OverflowError, AttributeError, MemoryError, RuntimeError):
            continue  # no such damage of this value: too few rows to cut one off, say
    return None
