"""Dask arrays: lazy images of the same bits, statistics as a tree, on threads and on a real cluster."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from pixfold.errors import InputError
from pixfold.formula import PRESETS
from pixfold.layout import Layout
from pixfold.normalize.normalizer import Normalizer
from pixfold.ops import column_stats, fold

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")

RNG = np.random.default_rng(0)
X = RNG.gamma(2.0, 3.0, (101, 60)).astype(np.float32)
GENOTYPES = RNG.integers(0, 3, (101, 60)).astype(np.int8)


def lazy(matrix: Any, chunks: Any = (17, 25)) -> Any:
    return da.from_array(matrix, chunks=chunks)


def lazy_csr(matrix: np.ndarray) -> Any:
    blocks = lazy(matrix, (17, -1))
    return blocks.map_blocks(sparse.csr_array, dtype=matrix.dtype, meta=sparse.csr_array((0, 0), dtype=matrix.dtype))


def assert_alike(a: Any, b: Any) -> None:
    """The same statistics to the 1e-6 that any order of merging keeps."""
    for name in ("count", "missing", "zeros", "min", "max", "n_negative"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    for name in ("mean", "m2"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("preset", [None, "log1p-zscore", "cp10k-log1p"])
@pytest.mark.parametrize("make", [lazy, lazy_csr])
def test_images_are_lazy_and_of_the_same_bits(make: Any, preset: str | None, dtype: str) -> None:
    layout = Layout.shuffled(60, seed=1, channels=2)
    normalizer = None if preset is None else Normalizer(preset).fit(X)
    images = fold(make(X), layout, normalizer, dtype=dtype)
    assert isinstance(images, da.Array)
    assert images.shape == (101, *layout.shape)
    assert images.chunks == ((17, 17, 17, 17, 17, 16), (2,), (6,), (6,))
    assert images.dtype == images._meta.dtype == np.dtype(dtype)
    with dask.config.set(scheduler="threads"):
        np.testing.assert_array_equal(images.compute(), fold(X, layout, normalizer, dtype=dtype))
        np.testing.assert_array_equal(images[40:43].compute(), fold(X[40:43], layout, normalizer, dtype=dtype))


def test_bfloat16() -> None:
    pytest.importorskip("ml_dtypes")
    images = fold(lazy(X), Layout.natural(60), dtype="bfloat16")
    computed = images.compute()
    assert computed.dtype == images.dtype
    np.testing.assert_array_equal(
        computed.view(np.uint16), fold(X, Layout.natural(60), dtype="bfloat16").view(np.uint16)
    )


def test_unknown_numbers_of_samples() -> None:
    some = lazy(X)
    some = some[some[:, 0] > 5]
    images = fold(some, Layout.natural(60))
    np.testing.assert_array_equal(images.compute(), fold(X[X[:, 0] > 5], Layout.natural(60)))


def test_layout_and_normaliser_are_in_the_graph_once() -> None:
    n = 5_000
    matrix = da.ones((400, n), chunks=(4, -1), dtype=np.float32)
    images = fold(matrix, Layout.natural(n), Normalizer("zscore").fit(np.eye(3, n)))
    # Forty bytes per feature, a hundred blocks.
    assert len(pickle.dumps(images)) < 3 * 40 * n


@pytest.mark.parametrize("preset", list(PRESETS))
@pytest.mark.parametrize("make", [lazy, lazy_csr])
def test_fit_as_in_memory(make: Any, preset: str) -> None:
    data = GENOTYPES if preset == "genotype" else X
    learned, expected = Normalizer(preset).fit(make(data)), Normalizer(preset).fit(data)
    for name in ("offset", "shift", "scale", "fill"):
        found, wanted = getattr(learned.parameters(), name), getattr(expected.parameters(), name)
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-12)
    # One order of merging, whatever the scheduler: the same bits every time.
    again = Normalizer(preset).fit(make(data))
    assert all(np.array_equal(a, b) for a, b in zip(learned.state().values(), again.state().values(), strict=True))


@pytest.mark.parametrize("missing", ["error", "mean"])
@pytest.mark.parametrize("preset", ["log1p-zscore", "log1p-minmax", "norm2"])
def test_negative_values_take_a_second_reduction(preset: str, missing: str) -> None:
    data = X - 4
    if missing == "mean":
        data[3, 5] = np.nan
    learned = Normalizer(preset, negative="shift", missing=missing).fit(lazy(data))
    expected = Normalizer(preset, negative="shift", missing=missing).fit(data)
    for name in ("offset", "shift", "scale", "fill"):
        found, wanted = getattr(learned.parameters(), name), getattr(expected.parameters(), name)
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-9)


def test_parts_of_a_fit_and_what_follows_it() -> None:
    whole = Normalizer("zscore").fit(X)
    parts = Normalizer("zscore").fit(lazy(X[:50])).partial_fit(lazy(X[50:]))
    np.testing.assert_allclose(parts.parameters().scale, whole.parameters().scale, rtol=1e-6)
    mixed = Normalizer("zscore").partial_fit(X[:50]).partial_fit(lazy(X[50:]))
    np.testing.assert_allclose(mixed.parameters().shift, whole.parameters().shift, rtol=1e-6)
    normalised = whole.transform(lazy(X))
    assert isinstance(normalised, da.Array)
    np.testing.assert_array_equal(normalised.compute(), whole.transform(X))


@pytest.mark.parametrize("make", [lazy, lazy_csr])
def test_column_stats_as_in_memory(make: Any) -> None:
    data = np.where(X > 5, X, 0)
    assert_alike(column_stats(make(data), log=True), column_stats(data, log=True))
    offset = np.arange(60.0)
    assert_alike(column_stats(make(data), offset=offset), column_stats(data, offset=offset))


def test_refusals() -> None:
    layout = Layout.natural(60)
    bad: list[tuple[Any, type[Exception], str]] = [
        (lambda: fold(lazy(X), Layout.natural(9)), InputError, "must have the layout's 9 features, got 60"),
        (lambda: fold(lazy(X), layout, Normalizer("zscore")), InputError, "not fitted yet"),
        (lambda: fold(lazy(X), layout, Normalizer("zscore").fit(X[:, :9])), InputError, "60 features, got 9"),
        (lambda: fold(lazy(X), layout, out=np.empty((101, 1, 8, 8))), InputError, "out must be None for a Dask array"),
        (lambda: fold(lazy(X), layout, dtype="int8"), InputError, "dtype must be one of"),
        (lambda: fold(lazy(X), X), TypeError, "layout must be a Layout"),
        (lambda: fold(lazy(X), layout, X), TypeError, "normalizer must be a Normalizer"),
        (lambda: fold(lazy(X), layout, threads=0), InputError, "threads must be a positive integer"),
        (lambda: fold(lazy(X[0], 9), layout), InputError, "X must be two-dimensional"),
        (lambda: fold(lazy(X.astype(complex)), layout), TypeError, "X must be of a float16/32/64, bool or integer"),
        (lambda: column_stats(lazy(X), row_scale=np.ones(101)), InputError, "row_scale must be None for a Dask"),
        (lambda: Normalizer("log1p").fit(lazy(X - 4)), InputError, "X must not be negative before a logarithm"),
        (lambda: Normalizer("zscore").fit(lazy(X[:0], (1, 60))), InputError, "at least one sample, got none"),
        (lambda: Normalizer("zscore").fit(lazy(X), ["a"]), InputError, "feature_names must have 60 entries, got 1"),
    ]
    for call, error, message in bad:
        with pytest.raises(error, match=message):
            call()


def test_values_that_are_refused_say_so_when_they_are_computed() -> None:
    data = X.copy()
    data[70, 3] = np.nan
    images = fold(lazy(data), Layout.natural(60), Normalizer("zscore").fit(X, [f"g{j}" for j in range(60)]))
    with pytest.raises(InputError, match=r"got 1 NaN in 1 feature \('g3'\)"):
        images.compute()
    with pytest.raises(InputError, match=r"got 1 NaN in 1 feature \('g3'\)"):
        Normalizer("zscore").fit(lazy(data), [f"g{j}" for j in range(60)])


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two worker processes."""
    distributed = pytest.importorskip("distributed")
    with (
        dask.config.set({"distributed.worker.daemon": True, "distributed.admin.large-graph-warning-threshold": "1GB"}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, memory_limit=0
        ) as workers,
        distributed.Client(workers) as client,
    ):
        yield client


def test_on_a_cluster_of_two_workers(cluster: Any) -> None:
    assert len(cluster.scheduler_info()["workers"]) == 2
    layout = Layout.shuffled(60, seed=2)
    for make in (lazy, lazy_csr):
        normalizer = Normalizer("log1p-zscore").fit(make(X))
        expected = Normalizer("log1p-zscore").fit(X)
        np.testing.assert_allclose(normalizer.parameters().scale, expected.parameters().scale, rtol=1e-6)
        with dask.config.set(scheduler="threads"):
            here = Normalizer("log1p-zscore").fit(make(X))
        assert np.array_equal(here.state()["scale"], normalizer.state()["scale"])
        images = fold(make(X), layout, normalizer)
        np.testing.assert_array_equal(images.compute(), fold(X, layout, normalizer))
    assert_alike(column_stats(lazy(X)), column_stats(X))
    with pytest.raises(InputError, match="X must not be negative before a logarithm"):
        Normalizer("log1p").fit(lazy(X - 4))


def test_a_cluster_writes_what_it_folds(cluster: Any, tmp_path: Any) -> None:
    zarr = pytest.importorskip("zarr")
    layout = Layout.natural(60)
    fold(lazy(X), layout, dtype="float16").rechunk((20, 1, 8, 8)).to_zarr(str(tmp_path / "x.zarr"))
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "x.zarr")[:], fold(X, layout, dtype="float16"))
