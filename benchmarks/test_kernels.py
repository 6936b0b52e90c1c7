"""Every op against what memory allows, and against NumPy and torch, in one process: `make bench`.

Each test checks the result first, then times the op and its limit in turns, so that both meet the same machine, and
records the ratio of the medians as ``extra_info["ratio"]``. Nothing here fails for being slow.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import sparse

import pixfold as pf
from pixfold import _core
from pixfold.ops import reference

N_SAMPLES, N_FEATURES = 6_216, 19_319  # the paper's comparison with DeepInsight
ROUNDS = 7
THREADS = 0  # all that the process may use, for kernels and limits alike


@pytest.fixture(scope="module")
def samples() -> np.ndarray:
    return np.random.default_rng(0).random((N_SAMPLES, N_FEATURES), dtype=np.float32)


@pytest.fixture(scope="module")
def normalizer(samples: np.ndarray) -> pf.Normalizer:
    return pf.Normalizer("log1p-minmax").fit(samples)


def against(benchmark: Any, op: Callable[[], object], limit: Callable[[], object], name: str) -> None:
    """Time `op` under pytest-benchmark, then op and limit in turns for their ratio."""
    op(), limit()
    times: dict[str, list[float]] = {"op": [], "limit": []}
    for _ in range(ROUNDS):
        for key, run in (("op", op), ("limit", limit)):
            started = time.perf_counter()
            run()
            times[key].append(time.perf_counter() - started)
    ratio = statistics.median(times["op"]) / statistics.median(times["limit"])
    benchmark.extra_info.update(limit=name, ratio=round(ratio, 2), isa=_core.isa(), threads=_core.default_threads())
    benchmark.pedantic(op, rounds=3)
    print(f"\n{benchmark.name}: {ratio:.2f} x {name} ({statistics.median(times['op']) * 1e3:.1f} ms)")


def head_is_right(images: np.ndarray, samples: Any, layout: pf.Layout, normalizer: pf.Normalizer | None) -> None:
    expected = reference.fold(samples[:3], layout, normalizer)
    np.testing.assert_allclose(images[:3], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("arrangement", ["natural", "shuffled"])
def test_fold_dense(benchmark: Any, samples: np.ndarray, normalizer: pf.Normalizer, arrangement: str) -> None:
    layout = getattr(pf.Layout, arrangement)(N_FEATURES)
    out = np.empty((N_SAMPLES, *layout.shape), dtype=np.float32)
    kernel = (layout.slot_feature, layout.slot_pixel, layout.n_pixels)
    parameters = normalizer.slot_parameters(layout, in_double=False)

    def op() -> object:
        return _core.fold_dense(samples, False, *kernel, parameters, None, out, False, THREADS)

    op()
    head_is_right(out, samples, layout, normalizer)
    other = np.empty_like(samples)
    against(benchmark, op, lambda: _core.copy_bytes(other, samples, THREADS), "memcpy")


def test_fold_wide_shuffled(benchmark: Any) -> None:
    x = np.random.default_rng(0).random((120, 1_000_000), dtype=np.float32)
    layout = pf.Layout.shuffled(x.shape[1])
    out, other = np.empty((len(x), *layout.shape), dtype=np.float32), np.empty_like(x)
    pf.fold(x, layout, out=out)
    head_is_right(out, x, layout, None)
    against(benchmark, lambda: pf.fold(x, layout, out=out), lambda: _core.copy_bytes(other, x, THREADS), "memcpy")


def test_fold_csr(benchmark: Any) -> None:
    x = sparse.random(2_000, N_FEATURES, density=0.05, format="csr", dtype=np.float32, random_state=0)
    layout = pf.Layout.natural(N_FEATURES)
    normalizer = pf.Normalizer("log1p").fit(x)
    out = np.empty((x.shape[0], *layout.shape), dtype=np.float32)
    pf.fold(x, layout, normalizer, out=out)
    head_is_right(out, x, layout, normalizer)
    kernel = (layout.slot_of_feature, layout.slot_feature, layout.slot_pixel, layout.n_pixels)
    parameters = normalizer.slot_parameters(layout, in_double=False)
    starts = x.indptr.astype(np.int64)
    against(
        benchmark,
        lambda: _core.fold_csr(x.data, False, x.indices, starts, *kernel, parameters, None, out, False, THREADS),
        lambda: _core.fill_bytes(out, THREADS),
        "memset",
    )


def test_column_stats(benchmark: Any, samples: np.ndarray) -> None:
    np.testing.assert_allclose(pf.column_stats(samples).mean, samples.mean(axis=0, dtype=np.float64), rtol=1e-9)
    against(
        benchmark, lambda: pf.column_stats(samples), lambda: _core.read_bytes(samples, THREADS), "reading the bytes"
    )


def test_aggregate(benchmark: Any) -> None:
    layout = pf.Layout.natural(1_000_000)
    attributions = np.random.default_rng(0).standard_normal((64, *layout.shape), dtype=np.float32)
    labels = np.arange(64) % 10
    accumulator = pf.AttributionAccumulator(layout, 10)
    accumulator.update(attributions, labels)
    expected = attributions[labels == 3].astype(np.float64).mean(axis=0).ravel()
    np.testing.assert_allclose(accumulator.result().mean[3], expected, rtol=1e-9, atol=1e-12)
    against(
        benchmark,
        lambda: accumulator.update(attributions, labels),
        lambda: _core.read_bytes(attributions, THREADS),
        "reading the bytes",
    )


def test_rank(benchmark: Any) -> None:
    from scipy.stats import rankdata

    importance = np.random.default_rng(0).random(1_000_000)
    np.testing.assert_array_equal(pf.rank(importance), rankdata(-importance))
    against(benchmark, lambda: pf.rank(importance), lambda: rankdata(-importance), "scipy.stats.rankdata")


def test_conversion_against_numpy(benchmark: Any, samples: np.ndarray, normalizer: pf.Normalizer) -> None:
    """The same images from NumPy's own operations, fresh memory on both sides."""
    layout = pf.Layout.natural(N_FEATURES)
    p = normalizer.parameters()
    shift, scale = p.shift.astype(np.float32), p.scale.astype(np.float32)

    def rival() -> np.ndarray:
        images = np.zeros((N_SAMPLES, layout.n_pixels), dtype=np.float32)
        images[:, :N_FEATURES] = np.clip((np.log1p(samples) - shift) * scale, 0, 1)
        return images.reshape(N_SAMPLES, *layout.shape)

    np.testing.assert_allclose(pf.fold(samples[:50], layout, normalizer), rival()[:50], atol=1e-6)
    against(benchmark, lambda: pf.fold(samples, layout, normalizer), rival, "NumPy")


def test_conversion_against_torch(benchmark: Any, samples: np.ndarray, normalizer: pf.Normalizer) -> None:
    torch = pytest.importorskip("torch")
    layout = pf.Layout.natural(N_FEATURES)
    p = normalizer.parameters()
    x = torch.from_numpy(samples)
    shift, scale = torch.from_numpy(p.shift).float(), torch.from_numpy(p.scale).float()

    def rival() -> Any:
        y = ((torch.log1p(x) - shift) * scale).clamp(0, 1)
        return torch.nn.functional.pad(y, (0, layout.n_pixels - N_FEATURES)).view(N_SAMPLES, *layout.shape)

    np.testing.assert_allclose(pf.fold(samples[:50], layout, normalizer), rival()[:50].numpy(), atol=1e-6)
    against(benchmark, lambda: pf.fold(samples, layout, normalizer), rival, "torch eager")
