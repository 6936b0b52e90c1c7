"""The ops on a GPU: each against copies and fills of the same bytes by the same card, and against torch and CuPy.

Times are those of the device (events on its stream); the launch rows are the host's. Results are checked before they
are timed, against the ops on the CPU. Without a card everything is skipped, unless PIXFOLD_DRY_RUN=1 asks for a run of
the same code on the CPU at small sizes, whose figures mean nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pixfold as pf
from pixfold.ops import reference
from pixfold.ops.gradients import fold_gradient, unfold_gradient

torch: Any = pytest.importorskip("torch")

DRY = os.environ.get("PIXFOLD_DRY_RUN") == "1"
DEVICE = "cpu" if DRY else "cuda"
Versus = Callable[..., None]
arrangements = pytest.mark.parametrize("arrangement", ["natural", "shuffled"])

pytestmark = [
    pytest.mark.skipif(not (DRY or torch.cuda.is_available()), reason="needs an NVIDIA GPU that torch can use"),
    pytest.mark.filterwarnings("ignore"),  # rivals' own warnings are theirs
]


def size(full: int, small: int) -> int:
    return small if DRY else full


N_SAMPLES, N_FEATURES = size(6_216, 60), size(19_319, 500)
WIDE_SAMPLES, WIDE_FEATURES = size(120, 8), size(1_000_000, 5_000)


def device_seconds(run: Callable[[], object]) -> float:
    """How long the device works on a call, the launches included where they are slower than the device."""
    if DRY:
        started = time.perf_counter()
        run()
        return time.perf_counter() - started
    first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    first.record()
    run()
    last.record()
    last.synchronize()
    return float(first.elapsed_time(last)) / 1e3


@pytest.fixture
def held(versus: Versus) -> Versus:
    """`versus` by the device's own clock."""
    name = "dry run" if DRY else torch.cuda.get_device_name()

    def run(op: Callable[[], object], others: dict[str, Callable[[], object]], **options: Any) -> None:
        versus(op, others, stopwatch=device_seconds, device=name, **options)

    return run


def uniform(n_samples: int, n_features: int) -> Any:
    """Uniform numbers on the device; the first sample is all 0, so that every feature's minimum is."""
    x = torch.rand(n_samples, n_features, generator=torch.Generator(DEVICE).manual_seed(0), device=DEVICE)
    x[0] = 0
    return x


@pytest.fixture(scope="module")
def samples() -> Any:
    return uniform(N_SAMPLES, N_FEATURES)


@pytest.fixture(scope="module")
def wide() -> Any:
    return uniform(WIDE_SAMPLES, WIDE_FEATURES)


def fitted(preset: str, x: Any) -> pf.Normalizer:
    return pf.Normalizer(preset).fit(x.cpu() if isinstance(x, torch.Tensor) else x)


def is_right(images: Any, x: Any, layout: pf.Layout, normalizer: pf.Normalizer | None) -> None:
    """The first samples as the reference folds them, to half a step of the output's type and 1e-6 for arithmetic."""
    found = images[:3].float().cpu().numpy()
    step = float(torch.finfo(images.dtype).eps) / 2
    np.testing.assert_allclose(found, reference.fold(x, layout, normalizer), rtol=step, atol=1e-6)


def copy_of(x: Any) -> dict[str, Callable[[], object]]:
    other = torch.empty_like(x)
    return {"device-to-device copy": lambda: other.copy_(x)}


def fill_of(images: Any) -> dict[str, Callable[[], object]]:
    other = torch.empty_like(images)
    return {"fill": lambda: other.fill_(1)}


def read_of(x: Any) -> dict[str, Callable[[], object]]:
    """Half a copy stands for reading: a card moves bytes in and out at one rate."""
    half = x.view(-1)[: x.numel() // 2]
    other = torch.empty_like(half)
    return {"reading (a copy of half)": lambda: other.copy_(half), "torch.sum": lambda: x.sum()}


@arrangements
def test_fold(held: Versus, samples: Any, arrangement: str) -> None:
    layout = getattr(pf.Layout, arrangement)(N_FEATURES)
    normalizer = fitted("log1p-minmax", samples)
    images = pf.fold(samples, layout, normalizer)
    assert images.device == samples.device
    is_right(images, samples[:3].cpu().numpy(), layout, normalizer)
    held(
        lambda: pf.fold(samples, layout, normalizer, out=images),
        copy_of(samples),
        work=f"fold float32 of {N_SAMPLES:,} x {N_FEATURES:,}, log1p-minmax, {arrangement}",
        wanted=1.15 if arrangement == "natural" else None,
    )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_fold_to_half(held: Versus, samples: Any, dtype: str) -> None:
    layout = pf.Layout.natural(N_FEATURES)
    normalizer = fitted("log1p-minmax", samples)
    images = pf.fold(samples, layout, normalizer, dtype=dtype)
    is_right(images, samples[:3].cpu().numpy(), layout, normalizer)
    held(
        lambda: pf.fold(samples, layout, normalizer, dtype=dtype, out=images),
        copy_of(samples),
        work=f"fold float32 -> {dtype}, log1p-minmax, natural",
    )


@pytest.mark.parametrize("preset", [None, "log1p-minmax"])
def test_fold_wide(held: Versus, wide: Any, preset: str | None) -> None:
    layout = pf.Layout.shuffled(WIDE_FEATURES)
    normalizer = None if preset is None else fitted(preset, wide)
    images = pf.fold(wide, layout, normalizer)
    is_right(images, wide[:3].cpu().numpy(), layout, normalizer)
    held(
        lambda: pf.fold(wide, layout, normalizer, out=images),
        copy_of(wide),
        work=f"fold float32 of {WIDE_SAMPLES} x {WIDE_FEATURES:,}, {preset or 'no normaliser'}, shuffled, row-major",
        wanted=3.5,
    )


@arrangements
def test_fold_csr(held: Versus, samples: Any, arrangement: str) -> None:
    from scipy import sparse

    dense = torch.where(samples < 0.05, torch.ceil(100 * samples), 0.0)
    csr = dense.to_sparse_csr()
    layout = getattr(pf.Layout, arrangement)(N_FEATURES)
    normalizer = fitted("log1p", sparse.csr_matrix(dense.cpu().numpy()))
    images = pf.fold(csr, layout, normalizer)
    is_right(images, dense[:3].cpu().numpy(), layout, normalizer)
    held(
        lambda: pf.fold(csr, layout, normalizer, out=images),
        fill_of(images),
        work=f"fold CSR 5 % -> float32, log1p, {arrangement}",
        wanted=1.3,
    )


@arrangements
def test_fold_genotypes(held: Versus, arrangement: str) -> None:
    """From a DeviceDataset, its samples in a random order: rows are read by number, 2 bits per genotype."""
    n_samples = size(500, 8)
    packed = np.random.default_rng(0).integers(0, 256, (n_samples, WIDE_FEATURES // 4), dtype=np.uint8)
    genotypes = pf.PackedGenotypes(packed, WIDE_FEATURES)
    layout = getattr(pf.Layout, arrangement)(WIDE_FEATURES)
    dataset = pf.DeviceDataset(genotypes, layout, fitted("genotype", genotypes), device=DEVICE, dtype="float16")
    batch = np.random.default_rng(1).permutation(n_samples)
    images = dataset.fold(batch)
    is_right(images, genotypes[batch[:3]].toarray(), layout, dataset.normalizer)
    held(
        lambda: dataset.fold(batch, out=images),
        fill_of(images),
        work=f"fold 2-bit genotypes of {n_samples} x {WIDE_FEATURES:,} -> float16, {arrangement}, DeviceDataset",
        wanted=1.3,
    )


@pytest.mark.parametrize("interleave", [False, True])
def test_device_dataset(held: Versus, wide: Any, interleave: bool) -> None:
    """All samples once, in batches of 40, each of them one launch: of rows by number, or of whole groups."""
    layout = pf.Layout.shuffled(WIDE_FEATURES)
    host = wide.cpu().numpy()
    dataset = pf.DeviceDataset(host, layout, fitted("log1p-minmax", wide), device=DEVICE, interleave=interleave)
    is_right(dataset.fold([0, 1, 2]), host[:3], layout, dataset.normalizer)

    def epoch() -> None:
        for _ in dataset.batches(40, shuffle=True):
            pass

    held(
        epoch,
        copy_of(wide),
        work=f"DeviceDataset of {WIDE_SAMPLES} x {WIDE_FEATURES:,} float32, shuffled layout, interleave={interleave}",
        wanted=1.5 if interleave else None,
    )


@pytest.mark.parametrize("stored", ["float32", "uint8"])
@pytest.mark.parametrize("interleave", [False, True])
def test_device_dataset_batch(held: Versus, wide: Any, interleave: bool, stored: str) -> None:
    """One batch of the samples of a DeviceDataset, without what choosing it costs: the kernel alone."""
    layout = pf.Layout.shuffled(WIDE_FEATURES)
    host = (200 * wide).to(getattr(torch, stored)).cpu().numpy()
    dataset = pf.DeviceDataset(host, layout, fitted("log1p-minmax", host), device=DEVICE, interleave=interleave)
    (*_, positions), *_ = dataset.batches(size(96, 32), shuffle=True)
    batch = positions.cpu()  # looking at them on a GPU would wait for it
    images = dataset.fold(batch)
    is_right(images, host[batch[:3].numpy()], layout, dataset.normalizer)
    taken = torch.empty(len(batch) * WIDE_FEATURES, dtype=getattr(torch, stored), device=DEVICE)
    held(
        lambda: dataset.fold(batch, out=images),
        copy_of(images) if stored == "float32" else {**read_of(taken), **fill_of(images)},
        work=f"DeviceDataset, a batch of {len(batch)} x {WIDE_FEATURES:,} {stored}, shuffled, interleave={interleave}",
        wanted=1.5 if interleave and stored == "float32" else None,
    )


@pytest.mark.parametrize("stored", ["rows", "sparse"])
def test_device_dataset_samples(held: Versus, samples: Any, stored: str) -> None:
    """A batch of 1,024 random samples by their numbers, natural layout: rows and sparse rows are not copied first."""
    from scipy import sparse

    layout = pf.Layout.natural(N_FEATURES)
    host = samples.cpu().numpy() if stored == "rows" else torch.where(samples < 0.05, samples, 0.0).cpu().numpy()
    dataset = pf.DeviceDataset(
        host if stored == "rows" else sparse.csr_matrix(host), layout, fitted("log1p", host), device=DEVICE
    )
    batch = np.random.default_rng(0).permutation(N_SAMPLES)[:1024]
    images = dataset.fold(batch)
    is_right(images, host[batch[:3]], layout, dataset.normalizer)
    held(
        lambda: dataset.fold(batch, out=images),
        copy_of(images) if stored == "rows" else fill_of(images),
        work=f"DeviceDataset, {len(batch):,} random samples of {N_FEATURES:,}, log1p, natural, {stored}",
        wanted=1.15 if stored == "rows" else 1.3,
    )


@arrangements
def test_unfold(held: Versus, samples: Any, arrangement: str) -> None:
    layout = getattr(pf.Layout, arrangement)(N_FEATURES)
    images = pf.fold(samples, layout)
    assert torch.equal(pf.unfold(images, layout), samples)
    held(lambda: pf.unfold(images, layout), copy_of(samples), work=f"unfold float32, {arrangement}, new memory")


@arrangements
@pytest.mark.parametrize("preset", [None, "log1p-minmax", "cp10k-log1p"])
def test_fold_gradient(held: Versus, samples: Any, preset: str | None, arrangement: str) -> None:
    """A library size has all of it read a second time, for the sums of samples."""
    layout = getattr(pf.Layout, arrangement)(N_FEATURES)
    normalizer = None if preset is None else fitted(preset, samples)
    gradient = torch.randn(N_SAMPLES, *layout.shape, generator=torch.Generator(DEVICE).manual_seed(1), device=DEVICE)
    found = fold_gradient(gradient, samples, layout, normalizer)[:3].cpu().numpy()
    head = gradient[:3].cpu().numpy(), samples[:3].cpu().numpy(), layout, normalizer
    assert np.all(np.abs(found - reference.fold_gradient(*head)) <= reference.fold_gradient_bound(*head))
    held(
        lambda: fold_gradient(gradient, samples, layout, normalizer),
        copy_of(samples),
        work=f"fold_gradient float32, {preset or 'no normaliser'}, {arrangement}, new memory",
    )


@arrangements
def test_unfold_gradient(held: Versus, samples: Any, arrangement: str) -> None:
    layout = getattr(pf.Layout, arrangement)(N_FEATURES)
    assert torch.equal(unfold_gradient(samples, layout), pf.fold(samples, layout))
    held(
        lambda: unfold_gradient(samples, layout),
        copy_of(samples),
        work=f"unfold_gradient float32, {arrangement}, new memory",
    )


@pytest.mark.parametrize("log", [False, True], ids=["identity", "log1p"])
def test_column_stats(held: Versus, samples: Any, log: bool) -> None:
    found, expected = pf.column_stats(samples, log=log), pf.column_stats(samples.cpu(), log=log)
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-6)
    np.testing.assert_allclose(found.m2, expected.m2, rtol=1e-6)
    held(
        lambda: pf.column_stats(samples, log=log),
        read_of(samples),
        work=f"column_stats float32, {'log1p' if log else 'no logarithm'}",
        wanted=1.2,
    )


@pytest.mark.parametrize("n_samples", [64, 256])
def test_aggregate(held: Versus, n_samples: int) -> None:
    n_samples = size(n_samples, 12)
    layout = pf.Layout.natural(WIDE_FEATURES)
    generator = torch.Generator(DEVICE).manual_seed(0)
    attributions = torch.randn(n_samples, *layout.shape, generator=generator, device=DEVICE)
    labels = torch.arange(n_samples) % 10
    accumulator = pf.AttributionAccumulator(layout, 10)
    accumulator.update(attributions, labels)
    found = accumulator.result()
    some = attributions.view(n_samples, -1)[labels == 3, :WIDE_FEATURES:997].double()
    np.testing.assert_allclose(found.mean[3, ::997], some.mean(dim=0).cpu(), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.mean_abs[3, ::997], some.abs().mean(dim=0).cpu(), rtol=1e-9)
    held(
        lambda: accumulator.update(attributions, labels),
        read_of(attributions),
        work=f"aggregate {n_samples} x {WIDE_FEATURES:,} float32, 10 classes",
        wanted=1.15,
    )


@pytest.mark.parametrize("op", ["rank", "top_k"])
def test_rank(held: Versus, op: str) -> None:
    importance = torch.rand(WIDE_FEATURES, generator=torch.Generator(DEVICE).manual_seed(0), device=DEVICE).double()
    run = {"rank": lambda v: pf.rank(v), "top_k": lambda v: pf.top_k(v, 50)}[op]
    np.testing.assert_array_equal(torch.as_tensor(run(importance)).cpu(), run(importance.cpu().numpy()))
    held(
        lambda: run(importance),
        {"torch.sort": lambda: torch.sort(importance)},
        work=f"{op} of {WIDE_FEATURES:,} float64",
    )


def steps_of(normalizer: pf.Normalizer, layout: pf.Layout) -> Callable[[Any], Any]:
    """log1p-minmax and fold, in torch's own words."""
    p = normalizer.parameters()
    shift, scale = (torch.from_numpy(values).float().to(DEVICE) for values in (p.shift, p.scale))
    pixel_features = torch.from_numpy(layout.feature_of_pixel[: layout.n_features]).to(DEVICE)
    identity = bool((layout.feature_of_pixel[: layout.n_features] == np.arange(layout.n_features)).all())

    def steps(x: Any) -> Any:
        y = ((torch.log1p(x) - shift) * scale).clamp(0, 1)
        y = y if identity else y[:, pixel_features]
        return torch.nn.functional.pad(y, (0, layout.n_pixels - layout.n_features)).view(-1, *layout.shape)

    return steps


@arrangements
@pytest.mark.parametrize("rival", ["torch eager", "torch compile", "CuPy"])
def test_rivals(held: Versus, samples: Any, rival: str, arrangement: str) -> None:
    layout = getattr(pf.Layout, arrangement)(N_FEATURES)
    normalizer = fitted("log1p-minmax", samples)
    steps = steps_of(normalizer, layout)
    if rival == "torch compile":
        steps = torch.compile(steps, dynamic=False)
    if rival == "CuPy":
        steps = with_cupy(normalizer, layout)
    np.testing.assert_allclose(
        torch.as_tensor(steps(samples), device=DEVICE)[:50].cpu(),
        pf.fold(samples[:50], layout, normalizer).cpu(),
        rtol=0,
        atol=2e-6,
    )
    held(
        lambda: pf.fold(samples, layout, normalizer),
        {rival: lambda: steps(samples)},
        work=f"log1p-minmax + fold, {arrangement}, new memory",
        wanted=1.0,
        rounds=5,
    )


def with_cupy(normalizer: pf.Normalizer, layout: pf.Layout) -> Callable[[Any], Any]:
    cupy = pytest.importorskip("cupy")
    p = normalizer.parameters()
    shift, scale = cupy.asarray(p.shift, cupy.float32), cupy.asarray(p.scale, cupy.float32)
    pixel_features = cupy.asarray(layout.feature_of_pixel[: layout.n_features])

    def steps(x: Any) -> Any:
        y = cupy.clip((cupy.log1p(cupy.asarray(x)) - shift) * scale, 0, 1)[:, pixel_features]
        return cupy.pad(y, ((0, 0), (0, layout.n_pixels - layout.n_features))).reshape(-1, *layout.shape)

    return steps


@pytest.mark.parametrize("op", ["fold", "unfold"])
def test_launch(versus: Versus, op: str) -> None:
    """Of small inputs, the host's time for a call that returns before the device is done."""
    layout = pf.Layout.shuffled(1_000, seed=0)
    x = uniform(4, 1_000)
    normalizer = fitted("log1p-minmax", x)
    images = pf.fold(x, layout, normalizer)
    run = {"fold": lambda: pf.fold(x, layout, normalizer), "unfold": lambda: pf.unfold(images, layout)}[op]
    calls = 200

    def many() -> None:
        for _ in range(calls):
            run()

    def waits() -> None:
        time.sleep(30e-6 * calls)

    versus(
        many,
        {"30 microseconds a call": waits},
        work=f"{op} of 4 x 1,000, {calls} calls from Python",
        wanted=1.0,
        device="dry run" if DRY else torch.cuda.get_device_name(),
    )
