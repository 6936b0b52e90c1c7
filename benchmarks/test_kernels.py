"""Every row of the speed table: an op against what memory allows on the same threads, in one process.

"kernel" rows call the op without the second look at the input that :func:`pixfold.fold` takes when it is given memory
of the caller's (a refused fold must leave that untouched), and, for sparse input, without the check of the indices;
"call" rows are what a user calls. Results are checked before they are timed, and nothing fails for being slow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import sparse

import pixfold as pf
from pixfold import _core
from pixfold.arrays.entry import samples as read_samples
from pixfold.ops import census, reference
from pixfold.ops.fold_samples import fold_into_fresh
from pixfold.ops.formula_arguments import row_scale as row_scale_of
from pixfold.ops.formula_arguments import slot_parameters

ALL = 0  # as many threads as the process may use
Versus = Callable[..., None]

threads_of_rows = pytest.mark.parametrize("threads", [ALL, 1], ids=["all", "one"])
arrangements = pytest.mark.parametrize("arrangement", ["natural", "shuffled"])


def words(*parts: str, threads: int = ALL) -> str:
    return ", ".join([*parts, "one thread"] if threads == 1 else parts)


def bar(ratio: float, threads: int) -> float | None:
    """The speed table's bars are for all threads; rows of one thread show how the ops scale."""
    return ratio if threads == ALL else None


def head_is_right(images: np.ndarray, x: Any, layout: pf.Layout, normalizer: pf.Normalizer | None) -> None:
    expected = reference.fold(x[:3], layout, normalizer)
    # Half a step of the output's type, and 1e-6 for the arithmetic in float.
    step = np.finfo(images.dtype).eps / 2
    np.testing.assert_allclose(images[:3], expected, rtol=step, atol=1e-6)
    tail = reference.fold(x[-2:], layout, normalizer)
    np.testing.assert_allclose(images[-2:], tail, rtol=step, atol=1e-6)


def copy_of(x: np.ndarray, threads: int) -> Callable[[], object]:
    other = np.empty_like(x)
    return lambda: _core.copy_bytes(other, x, threads)


def fills_of(out: np.ndarray, threads: int) -> dict[str, Callable[[], object]]:
    """memset to 1, and to 0: some processors write zeros several times as fast as any other value."""
    other = np.empty_like(out)
    return {
        "memset": lambda: _core.fill_bytes(other, threads, 1),
        "memset to 0": lambda: _core.fill_bytes(other, threads, 0),
    }


@threads_of_rows
@arrangements
def test_fold_dense_kernel(
    versus: Versus, samples: np.ndarray, normalizer: pf.Normalizer, arrangement: str, threads: int
) -> None:
    layout = getattr(pf.Layout, arrangement)(samples.shape[1])
    out = np.empty((len(samples), *layout.shape), dtype=np.float32)
    given = None if threads == ALL else threads

    def op() -> object:
        return fold_into_fresh(samples, layout, normalizer, dtype="float32", out=out, threads=given)

    op()
    head_is_right(out, samples, layout, normalizer)
    versus(
        op,
        {"memcpy": copy_of(samples, threads)},
        work=words("fold float32", "log1p-minmax", arrangement, "kernel", threads=threads),
        wanted=bar({"natural": 1.15, "shuffled": 2.0}[arrangement], threads),
        threads=threads,
    )


@threads_of_rows
@arrangements
@pytest.mark.parametrize("preset", ["log1p-minmax", "cp10k-log1p"])
def test_fold_gradient_kernel(versus: Versus, samples: np.ndarray, preset: str, arrangement: str, threads: int) -> None:
    """Reads samples and the gradient of images, and writes that of samples: a copy and the half of another."""
    layout = getattr(pf.Layout, arrangement)(samples.shape[1])
    normalizer = pf.Normalizer(preset).fit(samples)
    rng = np.random.default_rng(1)
    gradient = rng.standard_normal((len(samples), *layout.shape), dtype=np.float32)
    flat, out = gradient.reshape(len(samples), -1), np.empty_like(samples)
    parameters = slot_parameters(normalizer.parameters(), layout, in_double=False)
    row_scale = row_scale_of(normalizer.parameters(), read_samples("fold_gradient", samples))
    library_size = normalizer.parts.library_size or 0.0

    def op() -> object:
        return _core.fold_gradient(samples, layout.slots, parameters, row_scale, library_size, flat, out, threads)

    op()
    expected = reference.fold_gradient(gradient[:3], samples[:3], layout, normalizer)
    bound = reference.fold_gradient_bound(gradient[:3], samples[:3], layout, normalizer)
    assert np.all(np.abs(out[:3] - expected) <= bound)
    copied, read = copy_of(samples, threads), flat[: len(flat) // 2]
    half = copy_of(read, threads)

    def limit() -> None:
        copied()
        half()

    versus(
        op,
        {"memcpy of 1.5 times the samples": limit},
        work=words("fold_gradient float32", preset, arrangement, "kernel", threads=threads),
        threads=threads,
    )


@pytest.mark.parametrize("memory", ["reused array", "ImagePool", "new memory"])
@arrangements
def test_fold_dense_call(
    versus: Versus, samples: np.ndarray, normalizer: pf.Normalizer, arrangement: str, memory: str
) -> None:
    layout = getattr(pf.Layout, arrangement)(samples.shape[1])
    shape = (len(samples), *layout.shape)
    out = {"reused array": lambda: np.empty(shape, np.float32), "ImagePool": pf.ImagePool, "new memory": lambda: None}
    given = out[memory]()
    head_is_right(pf.fold(samples, layout, normalizer, out=given), samples, layout, normalizer)
    versus(
        lambda: pf.fold(samples, layout, normalizer, out=given),
        {"memcpy": copy_of(samples, ALL)},
        work=words("fold float32", "log1p-minmax", arrangement, "call", memory),
    )


@threads_of_rows
@arrangements
def test_fold_dense_without_normaliser(versus: Versus, samples: np.ndarray, arrangement: str, threads: int) -> None:
    layout = getattr(pf.Layout, arrangement)(samples.shape[1])
    out = np.empty((len(samples), *layout.shape), dtype=np.float32)
    given = None if threads == ALL else threads
    pf.fold(samples, layout, out=out)
    head_is_right(out, samples, layout, None)
    versus(
        lambda: pf.fold(samples, layout, out=out, threads=given),
        {"memcpy": copy_of(samples, threads)},
        work=words("fold float32", "no normaliser", arrangement, "call", threads=threads),
        threads=threads,
    )


@pytest.fixture(scope="module")
def wide() -> np.ndarray:
    return np.random.default_rng(0).random((120, 1_000_000), dtype=np.float32)


@pytest.mark.parametrize("normalised", [False, True], ids=["none", "log1p-minmax"])
def test_fold_wide_shuffled(versus: Versus, wide: np.ndarray, normalised: bool) -> None:
    layout = pf.Layout.shuffled(wide.shape[1])
    normalizer = pf.Normalizer("log1p-minmax").fit(wide) if normalised else None
    out = np.empty((len(wide), *layout.shape), dtype=np.float32)

    def op() -> object:
        return fold_into_fresh(wide, layout, normalizer, dtype="float32", out=out, threads=None)

    op()
    head_is_right(out, wide, layout, normalizer)
    versus(
        op,
        {"memcpy": copy_of(wide, ALL)},
        work=words("fold float32 of 120 x 10^6", "log1p-minmax" if normalised else "no normaliser", "shuffled, kernel"),
        wanted=4.0,
    )


@pytest.fixture(scope="module")
def csr(samples: np.ndarray) -> sparse.csr_matrix:
    """5 % of the samples' values, whole numbers as counts are."""
    stored = [np.flatnonzero(row < 0.05).astype(np.int32) for row in samples]
    starts = np.concatenate([[0], np.cumsum([len(s) for s in stored])]).astype(np.int32)
    values = np.random.default_rng(1).geometric(0.3, size=starts[-1]).astype(np.float32)
    return sparse.csr_matrix((values, np.concatenate(stored), starts), shape=samples.shape)


@threads_of_rows
@arrangements
@pytest.mark.parametrize("preset", ["log1p", "log1p-zscore"])
def test_fold_csr_kernel(versus: Versus, csr: sparse.csr_matrix, preset: str, arrangement: str, threads: int) -> None:
    layout = getattr(pf.Layout, arrangement)(csr.shape[1])
    normalizer = pf.Normalizer(preset).fit(csr)
    out = np.empty((csr.shape[0], *layout.shape), dtype=np.float32)
    rows = read_samples("fold", csr).rows
    parameters = slot_parameters(normalizer.parameters(), layout, in_double=False)

    def op() -> object:
        return _core.fold_csr(rows, layout.slots, parameters, None, out, threads)

    op()
    head_is_right(out, csr, layout, normalizer)
    versus(
        op,
        fills_of(out, threads),
        work=words("fold CSR 5 % -> float32", preset, arrangement, "kernel", threads=threads),
        wanted=bar(1.3, threads),
        threads=threads,
    )


@arrangements
def test_fold_csr_call(versus: Versus, csr: sparse.csr_matrix, arrangement: str) -> None:
    layout = getattr(pf.Layout, arrangement)(csr.shape[1])
    normalizer = pf.Normalizer("log1p").fit(csr)
    pool = pf.ImagePool()
    out = pf.fold(csr, layout, normalizer, out=pool)
    head_is_right(out, csr, layout, normalizer)
    limits = fills_of(out, ALL)
    del out
    versus(
        lambda: pf.fold(csr, layout, normalizer, out=pool),
        limits,
        work=words("fold CSR 5 % -> float32", "log1p", arrangement, "call", "ImagePool"),
    )


@threads_of_rows
@arrangements
@pytest.mark.parametrize("size", [(250, 1_000_000), (6_216, 19_319)], ids=["wide", "paper"])
def test_fold_genotypes(versus: Versus, size: tuple[int, int], arrangement: str, threads: int) -> None:
    n_samples, n_features = size
    packed = np.random.default_rng(0).integers(0, 256, (n_samples, -(-n_features // 4)), dtype=np.uint8)
    genotypes = pf.PackedGenotypes(packed, n_features)
    layout = getattr(pf.Layout, arrangement)(n_features)
    normalizer = pf.Normalizer("genotype").fit(genotypes)
    out = np.empty((n_samples, *layout.shape), dtype=np.float16)
    given = None if threads == ALL else threads

    def op() -> object:
        return fold_into_fresh(genotypes, layout, normalizer, dtype="float16", out=out, threads=given)

    op()
    head_is_right(out, genotypes, layout, normalizer)
    versus(
        op,
        fills_of(out, threads),
        work=words(
            f"fold 2-bit genotypes of {n_samples:,} x {n_features:,} -> float16",
            arrangement,
            "kernel",
            threads=threads,
        ),
        wanted=bar(1.5, threads),
        threads=threads,
    )


@threads_of_rows
def test_transpose_genotypes(versus: Versus, threads: int) -> None:
    """A band of a .bed file: variants of 10,000 samples become samples of these variants."""
    n_variants, n_samples = 100_000, 10_000
    bits = np.random.default_rng(0).integers(0, 256, (n_variants, n_samples // 4), dtype=np.uint8)
    out = np.empty((n_samples, n_variants // 4), dtype=np.uint8)
    given = 0 if threads == ALL else threads

    def op() -> object:
        return _core.transpose_packed(bits, n_samples, out, given)

    op()
    np.testing.assert_array_equal(out[:32, :8], reference.transpose_packed(bits[:32, :8], 32))
    versus(
        op,
        {"memcpy": lambda: _core.copy_bytes(out, bits, threads)},
        work=words(f"transpose 2-bit genotypes of {n_variants:,} x {n_samples:,}", "kernel", threads=threads),
        threads=threads,
    )


@threads_of_rows
@pytest.mark.parametrize("log", [False, True], ids=["identity", "log1p"])
def test_column_stats(versus: Versus, samples: np.ndarray, log: bool, threads: int) -> None:
    given = None if threads == ALL else threads
    found = pf.column_stats(samples, log=log, threads=given)
    some = slice(0, None, 997)
    values = samples[:, some].astype(np.float64)
    values = np.log1p(values) if log else values
    np.testing.assert_allclose(found.mean[some], values.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(found.m2[some], values.var(axis=0) * len(values), rtol=1e-6)
    np.testing.assert_array_equal(found.zeros[some], (samples[:, some] == 0).sum(axis=0))
    versus(
        lambda: pf.column_stats(samples, log=log, threads=given),
        {"read": lambda: _core.read_bytes(samples, threads)},
        work=words("column_stats float32", "log1p" if log else "no logarithm", "call", threads=threads),
        wanted=bar(1.3, threads),
        threads=threads,
    )


@threads_of_rows
def test_column_stats_of_genotypes(versus: Versus, threads: int) -> None:
    n_features = 100_000
    bits = np.random.default_rng(0).integers(0, 256, (10_000, n_features // 4), dtype=np.uint8)
    genotypes = pf.PackedGenotypes(bits, n_features)
    given = None if threads == ALL else threads
    found = pf.column_stats(genotypes, threads=given)
    values = reference.dense(pf.PackedGenotypes(bits[:, :9], 36))
    np.testing.assert_allclose(found.mean[:36], np.nanmean(values, axis=0), rtol=1e-12)
    np.testing.assert_array_equal(found.missing[:36], np.isnan(values).sum(axis=0))
    versus(
        lambda: pf.column_stats(genotypes, threads=given),
        {"read": lambda: _core.read_bytes(bits, threads)},
        work=words("column_stats 2-bit genotypes of 10,000 x 100,000", "call", threads=threads),
        threads=threads,
    )


@threads_of_rows
@pytest.mark.parametrize("log", [False, True], ids=["identity", "log1p"])
def test_column_stats_csr(versus: Versus, log: bool, threads: int) -> None:
    x = sparse.random(4_000, 19_319, density=0.05, format="csr", dtype=np.float32, random_state=0)
    rows = read_samples("column_stats", x, threads).rows
    dense = x[:, :50].toarray().astype(np.float64)
    found = pf.column_stats(x, log=log)
    np.testing.assert_allclose(found.mean[:50], (np.log1p(dense) if log else dense).mean(axis=0), rtol=1e-6)
    versus(
        lambda: _core.column_stats_csr(rows, log, False, None, None, threads),
        {"read": lambda: (_core.read_bytes(x.data, threads), _core.read_bytes(x.indices, threads))},
        work=words("column_stats CSR 5 % of 4,000", "log1p" if log else "no logarithm", "kernel", threads=threads),
        threads=threads,
    )


@threads_of_rows
def test_census(versus: Versus, samples: np.ndarray, threads: int) -> None:
    given = None if threads == ALL else threads
    assert census(samples[:100], threads=given) == reference.census(samples[:100])
    versus(
        lambda: census(samples, threads=given),
        {"read": lambda: _core.read_bytes(samples, threads)},
        work=words("census float32", "call", threads=threads),
        wanted=bar(1.3, threads),
        threads=threads,
    )


@threads_of_rows
@pytest.mark.parametrize("n_samples", [64, 256])
def test_aggregate(versus: Versus, n_samples: int, threads: int) -> None:
    layout = pf.Layout.natural(1_000_000)
    attributions = np.random.default_rng(0).standard_normal((n_samples, *layout.shape), dtype=np.float32)
    labels = np.arange(n_samples) % 10
    given = None if threads == ALL else threads
    accumulator = pf.AttributionAccumulator(layout, 10)
    accumulator.update(attributions, labels, threads=given)
    # What has to move besides the attributions: mean, M2 and mean absolute value of each class, read and written.
    state = np.zeros((2, 10, 3, layout.n_pixels))
    some = attributions.reshape(n_samples, -1)[labels == 3, ::997].astype(np.float64)
    found = accumulator.result()
    np.testing.assert_allclose(found.mean[3, ::997], some.mean(axis=0), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.mean_abs[3, ::997], abs(some).mean(axis=0), rtol=1e-9)
    versus(
        lambda: accumulator.update(attributions, labels, threads=given),
        {
            "read": lambda: _core.read_bytes(attributions, threads),
            "read, and the state copied": lambda: (
                _core.read_bytes(attributions, threads),
                _core.copy_bytes(state[0], state[1], threads),
            ),
        },
        work=words(f"aggregate {n_samples} x 10^6 float32, 10 classes", "call", threads=threads),
        wanted=bar(1.3, threads),
        threads=threads,
    )


@pytest.mark.parametrize("op", ["rank", "top_k"])
@pytest.mark.parametrize("values", ["uniform", "normal", "1,000 values"])
def test_rank(versus: Versus, values: str, op: str) -> None:
    from scipy.stats import rankdata

    rng = np.random.default_rng(0)
    draw = {
        "uniform": rng.random,
        "normal": rng.standard_normal,
        "1,000 values": lambda n: rng.integers(0, 1_000, n) / 7,
    }
    importance = draw[values](1_000_000)
    np.testing.assert_array_equal(pf.rank(importance), rankdata(-importance))
    # Ties that would straddle the cut are left out whole.
    expected = np.flatnonzero(rankdata(-importance, "max") <= 5_000)
    np.testing.assert_array_equal(np.sort(pf.top_k(importance, 5_000)), expected)
    run = {"rank": lambda: pf.rank(importance), "top_k": lambda: pf.top_k(importance, 5_000)}[op]
    versus(
        run,
        {"scipy.stats.rankdata": lambda: rankdata(importance)},
        work=words({"rank": "rank", "top_k": "top_k 5,000"}[op] + " of 10^6 float64", values, "call"),
        wanted=0.2,
    )


@arrangements
def test_unfold(versus: Versus, samples: np.ndarray, arrangement: str) -> None:
    layout = getattr(pf.Layout, arrangement)(samples.shape[1])
    images = pf.fold(samples, layout)
    np.testing.assert_array_equal(pf.unfold(images, layout), samples)
    versus(
        lambda: pf.unfold(images, layout),
        {"memcpy": copy_of(samples, ALL)},
        work=words("unfold float32", arrangement, "call", "new memory"),
    )
