"""What an op refuses: one ValueError or TypeError that names op, argument, what was expected and what came.

Nothing is written on the way, neither to `out` (or an accumulator's state) nor to an input. `make fuzz` searches for
what this list has forgotten.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
import scipy.sparse

from pixfold.errors import BackendError, InputError
from pixfold.layout import Layout
from pixfold.normalize.normalizer import Normalizer
from pixfold.ops import AttributionAccumulator, column_stats, fold, rank, top_k, unfold

N, N_FEATURES = 4, 16
SHAPE = (N, 1, 4, 4)


def good_x():
    return np.arange(N * N_FEATURES, dtype=np.float32).reshape(N, N_FEATURES)


def good_csr(index="int32"):
    """Two entries in every sample: features 1 and 5, 2 and 6, ..."""
    columns = np.array([[1 + i, 5 + i] for i in range(N)], dtype=index).ravel()
    return scipy.sparse.csr_array(
        (np.arange(1.0, 2 * N + 1, dtype=np.float32), columns, np.arange(0, 2 * N + 1, 2, dtype=index)),
        shape=(N, N_FEATURES),
    )


def with_value(value, x=None):
    x = good_x() if x is None else x
    x[1, 3] = value
    return x


def unaligned(shape, dtype):
    dtype = np.dtype(dtype)
    return np.zeros(int(np.prod(shape)) * dtype.itemsize + 1, np.uint8)[1:].view(dtype).reshape(shape)


def arrays_of(value):
    if scipy.sparse.issparse(value):
        return [value.data, value.indices, value.indptr]
    return [value] if isinstance(value, np.ndarray) else []


def content(*values):
    return [np.array(a, copy=True) for value in values for a in arrays_of(value)]


def assert_same(before, after):
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


def assert_refused(call, words, *inputs, kind=(InputError, TypeError)):
    """`words` must follow each other in the message, the first one at its start."""
    before = content(*inputs)
    with pytest.raises(kind) as caught:
        call()
    message = str(caught.value)
    assert re.match("(?is)" + ".*?".join(re.escape(word) for word in words), message), message
    assert_same(before, content(*inputs))


# Samples that no op takes, and what the message says of them. The op's name comes first, then "X".
SAMPLES = {
    "one dimension": (np.ones(16, np.float32), ["two-dimensional (n_samples, n_features)", "got", "(16,)"]),
    "three dimensions": (np.ones((2, 4, 4), np.float32), ["two-dimensional", "got", "(2, 4, 4)"]),
    "a number": (np.float32(1.0), ["two-dimensional", "got", "()"]),
    "objects": (np.ones((2, 16), object), ["float16/32/64, bool or integer", "got", "object"]),
    "text": (np.full((2, 16), "a"), ["float16/32/64, bool or integer", "got", "<U1"]),
    "complex": (np.ones((2, 16), np.complex64), ["float16/32/64, bool or integer", "got", "complex64"]),
    "dates": (np.full((2, 16), "2020-01-01", "datetime64[D]"), ["float16/32/64", "got", "datetime64"]),
    "structured": (np.zeros((2, 16), [("a", "f4")]), ["float16/32/64", "got", "'a'"]),
    "none": (None, ["float16/32/64", "got", "object"]),
    "ragged": ([[1.0, 2.0], [3.0]], ["array of numbers", "got", "list"]),
    "sparse objects": (scipy.sparse.csr_array(np.eye(2, 16)), ["float16/32/64", "got", "object"]),
    "sparse complex": (scipy.sparse.csr_array(np.eye(2, 16) * 1j), ["float16/32/64", "got", "complex128"]),
}
SAMPLES["sparse objects"][0].data = SAMPLES["sparse objects"][0].data.astype(object)
if np.dtype(np.longdouble).itemsize > 8:
    SAMPLES["long doubles"] = (np.ones((2, 16), np.longdouble), ["float16/32/64", "got", str(np.dtype(np.longdouble))])

# What can be wrong with a part of compressed rows; the rest of the message follows "X.".
CSR = {
    "index too large": ("indices", lambda a: with_entry(a, 3, N_FEATURES), ["indices", "[0, 16)", "got", "16"]),
    "negative index": ("indices", lambda a: with_entry(a, 3, -1), ["indices", "[0, 16)", "got", "-1"]),
    "huge index": ("indices", lambda a: with_entry(a, 7, 2**31 - 1), ["indices", "[0, 16)", "got", "2147483647"]),
    "float indices": ("indices", lambda a: a.astype(np.float64), ["indices", "integers", "got", "float64"]),
    "text indices": ("indices", lambda a: a.astype("U2"), ["indices", "integers", "got", "<U"]),
    "two-dimensional indices": ("indices", lambda a: a.reshape(2, -1), ["indices", "one-dimensional", "got", "(2, 4)"]),
    "falling indptr": ("indptr", lambda a: with_entry(a, 2, 1), ["indptr", "rising from 0", "got", "[0 2 1 6 8]"]),
    "negative indptr": ("indptr", lambda a: with_entry(a, 1, -5), ["indptr", "rising from 0", "got", "-5"]),
    "indptr from 1": ("indptr", lambda a: with_entry(a, 0, 1), ["indptr", "rising from 0", "got", "[1 2"]),
    "indptr beyond the end": ("indptr", lambda a: with_entry(a, 4, 9), ["indptr", "at most nnz = 8", "got", "9]"]),
    "negative end": ("indptr", lambda a: with_entry(a, 4, -8), ["indptr", "rising from 0", "got", "-8]"]),
    "indptr too short": ("indptr", lambda a: a[:-1], ["indptr", "5 entries", "got", "(4,)"]),
    "indptr too long": ("indptr", lambda a: np.append(a, 8), ["indptr", "5 entries", "got", "(6,)"]),
    "no indptr": ("indptr", lambda a: a[:0], ["indptr", "5 entries", "got", "(0,)"]),
    "float indptr": ("indptr", lambda a: a.astype(np.float32), ["indptr", "integers", "got", "float32"]),
    "indptr that wraps around": (
        "indptr",
        lambda a: np.array([0, 2, 4, 2, 8], np.uint8),
        ["indptr", "rising from 0", "got", "[0 2 4 2 8]"],
    ),
    "indptr at the limit": (
        "indptr",
        lambda a: np.array([0, 2, 4, 6, -(2**63)]),
        ["indptr", "rising from 0", "got", "-9223372036854775808"],
    ),
    "values cut off": ("data", lambda a: a[:5], ["indptr", "at most nnz = 5", "got", "8]"]),
    "indices cut off": ("indices", lambda a: a[:5], ["indptr", "at most nnz = 5", "got", "8]"]),
    "no values": ("data", lambda a: a[:0], ["indptr", "at most nnz = 0", "got", "8]"]),
    "two-dimensional values": ("data", lambda a: a.reshape(2, -1), ["data", "one-dimensional", "got", "(2, 4)"]),
}


def with_entry(a, position, value):
    changed = a.copy()
    changed[position] = value
    return changed


OPS_OF_SAMPLES = {
    "fold": lambda x: fold(x, Layout.natural(N_FEATURES)),
    "column_stats": lambda x: column_stats(x),
    "Normalizer.fit": lambda x: Normalizer("zscore").fit(x),
}


@pytest.mark.parametrize("op", OPS_OF_SAMPLES)
@pytest.mark.parametrize("case", SAMPLES)
def test_samples(op, case):
    x, words = SAMPLES[case]
    assert_refused(lambda: OPS_OF_SAMPLES[op](x), [f"{op}: X", *words])


@pytest.mark.parametrize("op", OPS_OF_SAMPLES)
@pytest.mark.parametrize("index", ["int32", "int64"])
@pytest.mark.parametrize("case", CSR)
def test_corrupt_rows(op, case, index):
    part, damage, words = CSR[case]
    x = good_csr(index)
    # SciPy looks when it builds a matrix, not when a part is set: a corrupt file or a bug elsewhere looks like this.
    setattr(x, part, damage(getattr(x, part)))
    assert_refused(lambda: OPS_OF_SAMPLES[op](x), [f"{op}: X.", *words], x)


@pytest.mark.parametrize("n_features", [0, 15, 17])
@pytest.mark.parametrize("sparse", [False, True])
def test_features_of_fold(n_features, sparse):
    x = np.ones((N, n_features), np.float32)
    out = np.full(SHAPE, 9, np.float32)
    assert_refused(
        lambda: fold(scipy.sparse.csr_array(x) if sparse else x, Layout.natural(N_FEATURES), out=out),
        ["fold: X", "16 features", "got", str(n_features)],
        x,
        out,
    )


def fitted(preset, n_features=N_FEATURES, **options):
    train = np.arange(4.0 * n_features).reshape(4, n_features)
    return Normalizer(preset, **options).fit(train)


FOLD = {
    "no layout": ({"layout": None}, ["fold: layout", "Layout", "got", "NoneType"]),
    "layout is text": ({"layout": "natural"}, ["fold: layout", "Layout", "got", "str"]),
    "normaliser as layout": ({"layout": fitted("log1p")}, ["fold: layout", "Layout", "got", "Normalizer"]),
    "normaliser is a name": ({"normalizer": "log1p"}, ["fold: normalizer", "Normalizer or None", "got", "str"]),
    "normaliser not fitted": ({"normalizer": Normalizer("zscore")}, ["Normalizer: not fitted yet", "call fit"]),
    "normaliser of others": (
        {"normalizer": fitted("zscore", 15)},
        ["fold: ", "normalizer", "16 features", "got", "15"],
    ),
    "dtype": ({"dtype": "float64"}, ["fold: dtype", "float32, float16, bfloat16", "got", "float64"]),
    "dtype of integers": ({"dtype": np.int32}, ["fold: dtype", "float32", "got", "int32"]),
    "dtype is none": ({"dtype": 7}, ["fold: dtype", "float32", "got", "7"]),
    "dtype is an array": ({"dtype": np.ones(2)}, ["fold: dtype", "float32", "got", "array"]),
    "no threads": ({"threads": 0}, ["fold: threads", "positive integer or None", "got", "0"]),
    "negative threads": ({"threads": -2}, ["fold: threads", "positive integer", "got", "-2"]),
    "half a thread": ({"threads": 1.5}, ["fold: threads", "positive integer", "got", "1.5"]),
    "threads are true": ({"threads": True}, ["fold: threads", "positive integer", "got", "True"]),
    "threads are text": ({"threads": "2"}, ["fold: threads", "positive integer", "got", "'2'"]),
    "too many threads": ({"threads": 2**31}, ["fold: threads", "positive integer", "got", "2147483648"]),
    "missing value": (
        {"X": with_value(np.nan), "normalizer": fitted("zscore")},
        ["fold: X", "no missing values", "got 1 NaN", "number 3", "missing='mean'"],
    ),
    "negative value": (
        {"X": with_value(-4.0), "normalizer": fitted("log1p")},
        ["fold: X", "not be negative", "got 1 negative value", "number 3", "negative='shift'"],
    ),
    "negative sparse value": (
        {"X": scipy.sparse.csr_array(with_value(-4.0)), "normalizer": fitted("log1p-zscore")},
        ["fold: X", "not be negative", "got 1 negative value", "number 3"],
    ),
    "negative total": (
        {"X": with_value(-400.0, np.ones((N, N_FEATURES), np.float32)), "normalizer": fitted("cp10k-log1p")},
        ["fold: X", "not be negative", "got 1 negative value"],
    ),
}


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("case", FOLD)
def test_fold(isa, case, given):
    changes, words = FOLD[case]
    arguments = {"X": good_x(), "layout": Layout.natural(N_FEATURES), **changes}
    out = np.full(SHAPE, 9, np.float32)
    assert_refused(
        lambda: fold(**arguments, **({"out": out} if given else {})), words, out, *arguments.values()
    )  # `out` is as it was, and so is every input


OUT = {
    "too few samples": (np.full((3, 1, 4, 4), 9, np.float32), ["shape (4, 1, 4, 4)", "got", "(3, 1, 4, 4)"]),
    "flat": (np.full((4, 16), 9, np.float32), ["shape (4, 1, 4, 4)", "got", "(4, 16)"]),
    "no channel": (np.full((4, 4, 4), 9, np.float32), ["shape (4, 1, 4, 4)", "got", "(4, 4, 4)"]),
    "empty": (np.zeros((0, 1, 4, 4), np.float32), ["shape (4, 1, 4, 4)", "got", "(0, 1, 4, 4)"]),
    "doubles": (np.full(SHAPE, 9, np.float64), ["float32", "got", "float64"]),
    "halves": (np.full(SHAPE, 9, np.float16), ["float32", "got", "float16"]),
    "integers": (np.full(SHAPE, 9, np.int32), ["float32", "got", "int32"]),
    "big-endian": (np.full(SHAPE, 9, ">f4"), ["float32", "got", "native byte order"]),
    "every second column": (
        np.full((4, 1, 4, 8), 9, np.float32)[..., ::2],
        ["C-contiguous", "got", "not C-contiguous"],
    ),
    "Fortran": (np.asfortranarray(np.full(SHAPE, 9, np.float32)), ["C-contiguous", "got", "not C-contiguous"]),
    "reversed": (np.full(SHAPE, 9, np.float32)[::-1], ["C-contiguous", "got", "not C-contiguous"]),
    "one row many times": (np.broadcast_to(np.full((1, 1, 4, 4), 9, np.float32), SHAPE), ["C-contiguous", "got"]),
    "unaligned": (unaligned(SHAPE, np.float32), ["C-contiguous", "got", "aligned"]),
    "list": ([[1.0]], ["NumPy array", "got", "list"]),
    "text": ("out", ["NumPy array", "got", "str"]),
}


@pytest.mark.parametrize("normalizer", [None, fitted("log1p-zscore")], ids=["plain", "normalised"])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("case", OUT)
def test_out(case, sparse, normalizer):
    out, words = OUT[case]
    x = good_csr() if sparse else good_x()
    assert_refused(lambda: fold(x, Layout.natural(N_FEATURES), normalizer, out=out), ["fold: out", *words], out, x)


def test_read_only_out():
    out = np.full(SHAPE, 9, np.float32)
    out.setflags(write=False)
    assert_refused(lambda: fold(good_x(), Layout.natural(N_FEATURES), out=out), ["fold: out", "writeable", "got"], out)


@pytest.mark.parametrize("start", [0, 1, 16, 63])
def test_out_that_overlaps_samples(start):
    memory = np.arange(N * N_FEATURES + start, dtype=np.float32)
    x, out = memory[: N * N_FEATURES].reshape(N, N_FEATURES), memory[start:].reshape(SHAPE)
    assert_refused(lambda: fold(x, Layout.natural(N_FEATURES), out=out), ["fold: out", "not overlap X"], memory)


def test_out_that_overlaps_samples_of_another_dtype():
    memory = np.zeros(N * N_FEATURES, np.float32)
    x = memory.view(np.uint8).reshape(4 * N, N_FEATURES)[N : 2 * N]
    assert_refused(
        lambda: fold(x, Layout.natural(N_FEATURES), out=memory.reshape(SHAPE)), ["fold: out", "not overlap X"], memory
    )


def test_out_that_overlaps_samples_that_are_copied():
    memory = np.zeros(N * N_FEATURES, ">f4")
    x, out = memory.reshape(N, N_FEATURES), memory.view(np.float32).reshape(SHAPE)
    assert_refused(lambda: fold(x, Layout.natural(N_FEATURES), out=out), ["fold: out", "not overlap X"], memory)


def test_out_that_overlaps_strided_samples():
    memory = np.zeros((2 * N, N_FEATURES), np.float32)
    x = memory[::-2]
    assert_refused(
        lambda: fold(x, Layout.natural(N_FEATURES), out=memory[2:6].reshape(SHAPE)), ["fold: out", "not overlap X"]
    )


@pytest.mark.parametrize("part", ["data", "indices", "indptr"])
def test_out_that_overlaps_sparse_samples(part):
    memory = np.zeros(N * N_FEATURES, np.float32)
    x = good_csr()
    length = getattr(x, part).size
    shared = memory[:length].view(getattr(x, part).dtype)
    shared[:] = getattr(x, part)
    setattr(x, part, shared)
    assert_refused(
        lambda: fold(x, Layout.natural(N_FEATURES), out=memory.reshape(SHAPE)), ["fold: out", "not overlap X"], memory
    )


STATS = {
    "offset too short": ({"offset": np.ones(15)}, ["offset", "shape (16,)", "got", "(15,)"]),
    "offset per sample": ({"offset": np.ones((16, 1))}, ["offset", "shape (16,)", "got", "(16, 1)"]),
    "offset is text": ({"offset": "one"}, ["offset", "shape (16,)", "got", "<U3"]),
    "offset is ragged": ({"offset": [[1.0], [1.0, 2.0]]}, ["offset", "numbers", "got", "list"]),
    "offset of objects": ({"offset": np.ones(16, object)}, ["offset", "numbers", "got", "object"]),
    "row_scale too long": ({"row_scale": np.ones(5)}, ["row_scale", "shape (4,)", "got", "(5,)"]),
    "row_scale is complex": ({"row_scale": np.ones(4, complex)}, ["row_scale", "numbers", "got", "complex128"]),
    "log is text": ({"log": "yes"}, ["log", "True or False", "got", "'yes'"]),
    "clip is a number": ({"clip_below_zero": 1}, ["clip_below_zero", "True or False", "got", "1"]),
    "no threads": ({"threads": 0}, ["threads", "positive integer or None", "got", "0"]),
    "too many threads": ({"threads": 2**40}, ["threads", "positive integer", "got", str(2**40)]),
}


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("case", STATS)
def test_column_stats(case, sparse):
    arguments, words = STATS[case]
    assert_refused(
        lambda: column_stats(good_csr() if sparse else good_x(), **arguments), [f"column_stats: {words[0]}", *words[1:]]
    )


def test_column_stats_of_sparse_samples_cannot_move_zeros_differently():
    assert_refused(
        lambda: column_stats(good_csr(), offset=np.ones(N_FEATURES), row_scale=np.ones(N)),
        ["column_stats: offset and row_scale", "sparse"],
    )


def test_statistics_of_other_features_do_not_merge():
    one, other = column_stats(np.ones((2, 4))), column_stats(np.ones((2, 5)))
    assert_refused(lambda: one.merge(other), ["ColumnStats.merge: ", "4 features", "got", "5"])


@pytest.mark.parametrize("preset", ["zscore", "log1p", "minmax", "cp10k-log1p"])
@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinity_is_no_training_value(preset, value):
    expected = ["Normalizer.fit: X", "finite", "got"] if value > 0 or "log" not in preset else ["Normalizer.fit: X"]
    assert_refused(lambda: Normalizer(preset).fit(with_value(value)), expected)


UNFOLD = {
    "image too large": ({"images": np.ones((2, 1, 4, 5), np.float32)}, ["images", "1, 4, 4)", "got", "(2, 1, 4, 5)"]),
    "too many channels": ({"images": np.ones((2, 2, 4, 4), np.float32)}, ["images", "got", "(2, 2, 4, 4)"]),
    "flat": ({"images": np.ones((2, 16), np.float32)}, ["images", "1, 4, 4)", "got", "(2, 16)"]),
    "objects": ({"images": np.ones((2, 1, 4, 4), object)}, ["images", "float16/32/64", "got", "object"]),
    "complex": ({"images": np.ones((2, 1, 4, 4), complex)}, ["images", "float16/32/64", "got", "complex128"]),
    "none": ({"images": None}, ["images", "float16/32/64", "got", "object"]),
    "no layout": ({"layout": (1, 4, 4)}, ["layout", "Layout", "got", "tuple"]),
    "no threads": ({"threads": 0}, ["threads", "positive integer", "got", "0"]),
}


@pytest.mark.parametrize("case", UNFOLD)
def test_unfold(case):
    changes, words = UNFOLD[case]
    arguments = {"images": np.ones((2, 1, 4, 4), np.float32), "layout": Layout.natural(N_FEATURES), **changes}
    assert_refused(lambda: unfold(**arguments), [f"unfold: {words[0]}", *words[1:]], *arguments.values())


ATTRIBUTIONS, LABELS, KEEP = np.ones(SHAPE, np.float32), np.array([0, 1, 0, 1]), np.ones(N, dtype=bool)


def with_attribution(value, dtype=np.float32):
    attributions = ATTRIBUTIONS.astype(dtype)
    attributions[2, 0, 1, 1] = value
    return attributions


AGGREGATE = {
    "flat": ({"attributions": np.ones((4, 16), np.float32)}, ["attributions", "1, 4, 4)", "got", "(4, 16)"]),
    "other image": ({"attributions": np.ones((4, 1, 4, 5), np.float32)}, ["attributions", "got", "(4, 1, 4, 5)"]),
    "no channels": ({"attributions": np.ones((4, 0, 4, 4), np.float32)}, ["attributions", "got", "(4, 0, 4, 4)"]),
    "objects": ({"attributions": ATTRIBUTIONS.astype(object)}, ["attributions", "float16/32/64", "got", "object"]),
    "integers": ({"attributions": ATTRIBUTIONS.astype(int)}, ["attributions", "float", "got", "int64"]),
    "NaN": ({"attributions": with_attribution(np.nan)}, ["attributions", "finite", "got", "NaN"]),
    "infinity": ({"attributions": with_attribution(np.inf)}, ["attributions", "finite", "got", "infinite"]),
    "infinite half": ({"attributions": with_attribution(-np.inf, np.float16)}, ["attributions", "finite", "got"]),
    "infinite double": ({"attributions": with_attribution(np.inf, np.float64)}, ["attributions", "finite", "got"]),
    "too few labels": ({"labels": LABELS[:3]}, ["labels", "shape (4,)", "got", "(3,)"]),
    "label too large": ({"labels": np.array([0, 1, 0, 2])}, ["labels", "[0, 2)", "got", "2"]),
    "negative label": ({"labels": np.array([0, -1, 0, 1])}, ["labels", "[0, 2)", "got", "-1"]),
    "huge label": ({"labels": np.array([0, 2**63 + 1, 0, 1], np.uint64)}, ["labels", "[0, 2)", "got"]),
    "float labels": ({"labels": LABELS.astype(float)}, ["labels", "integers", "got", "float64"]),
    "labels in columns": ({"labels": LABELS[:, None]}, ["labels", "shape (4,)", "got", "(4, 1)"]),
    "labels are text": ({"labels": ["a", "b", "a", "b"]}, ["labels", "integers", "got", "<U1"]),
    "ragged labels": ({"labels": [[0], [1, 2]]}, ["labels", "numbers", "got", "list"]),
    "too few to keep": ({"keep": KEEP[:3]}, ["keep", "shape (4,)", "got", "(3,)"]),
    "keep by number": ({"keep": np.ones(N)}, ["keep", "bool", "got", "float64"]),
    "keep by position": ({"keep": np.arange(N)}, ["keep", "bool", "got", "int64"]),
    "bytes called bool": ({"keep": np.array([0, 1, 7, 1], np.uint8).view(bool)}, ["keep", "True or False", "got", "7"]),
    "no threads": ({"threads": 0}, ["threads", "positive integer", "got", "0"]),
}


@pytest.mark.parametrize("case", AGGREGATE)
def test_aggregate(isa, case):
    changes, words = AGGREGATE[case]
    accumulator = AttributionAccumulator(Layout.natural(N_FEATURES), 2)
    accumulator.update(ATTRIBUTIONS, LABELS)
    before = accumulator.result()
    arguments = {"attributions": ATTRIBUTIONS, "labels": LABELS, "keep": KEEP, **changes}
    assert_refused(lambda: accumulator.update(**arguments), [f"aggregate: {words[0]}", *words[1:]], *arguments.values())
    after = accumulator.result()
    for name in ("count", "mean", "m2", "mean_abs"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))


@pytest.mark.parametrize(("n_classes", "got"), [(0, "0"), (-1, "-1"), (2.0, "2.0"), (True, "True"), ("2", "'2'")])
def test_classes(n_classes, got):
    assert_refused(
        lambda: AttributionAccumulator(Layout.natural(16), n_classes),
        ["AttributionAccumulator: n_classes", "positive integer", "got", got],
    )


def test_accumulator_without_a_layout():
    assert_refused(lambda: AttributionAccumulator(16, 2), ["AttributionAccumulator: layout", "Layout", "got", "int"])


RANKED = {
    "NaN": (np.array([1.0, np.nan, 2.0]), ["importance", "free of NaN", "got", "position 1"]),
    "half NaN": (np.array([1, 2, np.nan], np.float16), ["importance", "free of NaN", "got", "position 2"]),
    "matrix": (np.ones((2, 3)), ["importance", "one-dimensional", "got", "(2, 3)"]),
    "number": (1.0, ["importance", "one-dimensional", "got", "()"]),
    "text": (np.array(["a", "b"]), ["importance", "float16/32/64, bool or integer", "got", "<U1"]),
    "complex": (np.array([1j, 2.0]), ["importance", "float16/32/64, bool or integer", "got", "complex128"]),
    "objects": ([1.0, None], ["importance", "float16/32/64, bool or integer", "got", "object"]),
    "ragged": ([[1.0], [1.0, 2.0]], ["importance", "numbers", "got", "list"]),
}


@pytest.mark.parametrize("op", ["rank", "top_k"])
@pytest.mark.parametrize("case", RANKED)
def test_ranks(op, case):
    importance, words = RANKED[case]
    call = {"rank": rank, "top_k": lambda importance: top_k(importance, 2)}[op]
    assert_refused(lambda: call(importance), [f"{op}: {words[0]}", *words[1:]])


@pytest.mark.parametrize(("k", "got"), [(-1, "-1"), (1.5, "1.5"), (None, "None"), ("3", "'3'"), (True, "True")])
def test_k(k, got):
    assert_refused(lambda: top_k(np.arange(5.0), k), ["top_k: k", "non-negative integer", "got", got])


class TestTorch:
    """The same of tensors."""

    @pytest.fixture
    def torch(self):
        return pytest.importorskip("torch")

    def test_out(self, torch):
        x, layout = torch.from_numpy(good_x()), Layout.natural(N_FEATURES)
        cases = [
            (torch.full((3, 1, 4, 4), 9.0), ["shape (4, 1, 4, 4)", "got", "(3, 1, 4, 4)"]),
            (torch.full(SHAPE, 9.0, dtype=torch.float64), ["float32", "got", "float64"]),
            (torch.full((4, 1, 4, 8), 9.0)[..., ::2], ["C-contiguous", "got", "not C-contiguous"]),
            (torch.full(SHAPE, 9.0, requires_grad=True), ["C-contiguous", "got"]),
            (torch.eye(4).to_sparse(), ["C-contiguous", "got"]),
            (torch.full(SHAPE, 9.0, device="meta"), ["CPU memory", "got"][1:]),
        ]
        for out, words in cases:
            assert_refused(lambda out=out: fold(x, layout, out=out), ["fold: out", *words])
            if out.device.type == "cpu" and out.layout == torch.strided:
                assert bool((out == 9).all())
        assert_refused(lambda: fold(x, layout, out=x.reshape(SHAPE)), ["fold: out", "not overlap X"])

    @pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning")
    def test_samples(self, torch):
        layout = Layout.natural(N_FEATURES)
        cases = [
            (torch.ones((2, 16), dtype=torch.complex64), ["real dtype", "got", "complex64"]),
            (torch.eye(2, 16).to_sparse(), ["dense or sparse CSR", "got", "sparse_coo"]),
            (torch.eye(2, 16).to_sparse_csr().requires_grad_(), ["requires a gradient", "detach"]),
            (torch.ones((2, 3, 16)).to_sparse_csr(), ["two-dimensional", "got", "(2, 3, 16)"]),
            (torch.ones(16), ["two-dimensional", "got", "(16,)"]),
        ]
        for x, words in cases:
            assert_refused(lambda x=x: fold(x, layout), ["fold: X", *words])
        with pytest.raises(BackendError, match=r"fold: X is on meta.*pass X\.cpu"):
            fold(torch.ones((2, 16), device="meta"), layout)

    @pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning")
    @pytest.mark.parametrize(
        ("crow", "columns", "words"),
        [
            ([0, 1, 2], [0, 16], ["indices", "[0, 16)", "got", "16"]),
            ([0, 1, 2], [0, -1], ["indices", "[0, 16)", "got", "-1"]),
            ([0, 2, 1], [0, 1], ["indptr", "rising from 0", "got", "[0 2 1]"]),
            ([0, 1, 9], [0, 1], ["indptr", "at most nnz = 2", "got", "9]"]),
        ],
    )
    def test_corrupt_rows(self, torch, crow, columns, words):
        x = torch.sparse_csr_tensor(crow, columns, [1.0, 2.0], size=(2, 16), check_invariants=False)
        assert_refused(lambda: fold(x, Layout.natural(N_FEATURES)), ["fold: X.", *words])
