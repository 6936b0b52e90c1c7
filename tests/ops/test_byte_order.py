"""Every op takes arrays whose byte order is named ('<' or '>', as Zarr's are) as it takes those of '='."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse

import pixfold
from pixfold.ops import census

N, F = 6, 20
LAYOUT = pixfold.Layout.shuffled(F, seed=1)
ORDERS = ["<", ">"]


def named(array, order):
    """The same numbers, in a byte order that NumPy is told by name."""
    return array.astype(array.dtype.newbyteorder(order))


def counts(dtype, order):
    return named(np.random.default_rng(0).integers(0, 3, (N, F)).astype(dtype), order)


def csr(dtype, order):
    rows = scipy.sparse.csr_array(counts(dtype, "="))
    made = scipy.sparse.csr_array(rows.shape, dtype=rows.dtype)
    made.data, made.indices, made.indptr = (named(part, order) for part in (rows.data, rows.indices, rows.indptr))
    return made


def fold_normalised(x):
    return pixfold.fold(x, LAYOUT, pixfold.Normalizer("cp10k-log1p").fit(x))


def aggregate(images, labels, keep):
    accumulator = pixfold.AttributionAccumulator(LAYOUT, 2)
    accumulator.update(images, labels, keep)
    return accumulator.result()


OF_SAMPLES = {
    "fold": lambda x: pixfold.fold(x, LAYOUT),
    "fold with a normaliser": fold_normalised,
    "column_stats": lambda x: pixfold.column_stats(x, log=True).mean,
    "census": census,
    "Normalizer.fit": lambda x: pixfold.Normalizer("zscore").fit(x).parameters().scale,
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("make", "dtype"),
    [(counts, "float16")]  # SciPy has no sparse float16
    + [(make, d) for make in (counts, csr) for d in ("float32", "float64", "int16", "uint32", "int64", "bool")],
)
@pytest.mark.parametrize("op", OF_SAMPLES)
def test_samples(op, make, dtype, order):
    np.testing.assert_array_equal(OF_SAMPLES[op](make(dtype, order)), OF_SAMPLES[op](make(dtype, "=")))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("make", [counts, csr])
def test_native_out(make, dtype):
    order = "<" if np.little_endian else ">"
    out = np.zeros((N, *LAYOUT.shape), dtype=np.dtype(dtype).newbyteorder(order))
    assert pixfold.fold(make("float32", "="), LAYOUT, dtype=dtype, out=out) is out
    np.testing.assert_array_equal(out, pixfold.fold(make("float32", "="), LAYOUT, dtype=dtype))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int16"])
def test_images(dtype, order):
    images = named(np.random.default_rng(2).integers(0, 9, (N, *LAYOUT.shape)).astype(dtype), order)
    features = pixfold.unfold(images, LAYOUT)
    np.testing.assert_array_equal(features, pixfold.unfold(named(images, "="), LAYOUT))
    if dtype != "int16":
        labels, keep = np.arange(N) % 2, np.arange(N) != 3
        result = aggregate(images, named(labels, order), keep)
        np.testing.assert_array_equal(result.mean, aggregate(named(images, "="), labels, keep).mean)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
@pytest.mark.parametrize("op", [pixfold.rank, lambda importance: pixfold.top_k(importance, 3)])
def test_importance(op, dtype, order):
    importance = np.array([3, 1, 4, 1, 5, 9], dtype)
    np.testing.assert_array_equal(op(named(importance, order)), op(importance))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", ["float32", "int16"])
def test_genotypes(dtype, order):
    packed = pixfold.PackedGenotypes.pack(counts(dtype, order))
    np.testing.assert_array_equal(packed.bits, pixfold.PackedGenotypes.pack(counts(dtype, "=")).bits)


@pytest.mark.parametrize("order", ORDERS)
def test_layouts(order):
    index = np.random.default_rng(3).permutation(F)
    assert pixfold.Layout.from_index(named(index, order)) == pixfold.Layout.from_index(index)
