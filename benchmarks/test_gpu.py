"""The ops on a GPU, each against copies, fills and reading of the same bytes by the same card.

Every row is timed twice (`held` in conftest.py): its kernels alone, queued before the card begins, and whole calls from
an idle card. Results are checked against the reference before they are timed. Without a card everything is skipped,
unless PIXFOLD_DRY_RUN=1 asks for a run of the same code on the CPU at small sizes, whose figures mean nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

import pixfold as pf
from pixfold.ops import reference
from pixfold.ops.gradients import fold_gradient, unfold_gradient

torch: Any = pytest.importorskip("torch")

DRY = os.environ.get("PIXFOLD_DRY_RUN") == "1"
DEVICE = "cpu" if DRY else "cuda"
Held = Callable[..., None]
arrangements = pytest.mark.parametrize("arrangement", ["natural", "shuffled"])

pytestmark = [
    pytest.mark.skipif(not (DRY or torch.cuda.is_available()), reason="needs an NVIDIA GPU that torch can use"),
    pytest.mark.filterwarnings("ignore"),  # torch's own
]


def size(full: int, small: int) -> int:
    return small if DRY else full


N_SAMPLES, N_FEATURES = size(6_216, 60), size(19_319, 500)
N_ALIGNED = size(19_600, 576)  # a square: rows of images that begin on 16 bytes
WIDE_SAMPLES, WIDE_FEATURES = size(120, 8), size(1_000_000, 5_000)


@cache
def uniform(n_samples: int, n_features: int) -> Any:
    """Uniform numbers on the device; the first sample is all 0, so that every feature's minimum is."""
    x = torch.rand(n_samples, n_features, generator=torch.Generator(DEVICE).manual_seed(0), device=DEVICE)
    x[0] = 0
    return x


@cache
def fitted(preset: str, n_samples: int, n_features: int) -> pf.Normalizer | None:
    """Fitted to the uniform numbers of that size; None for "none"."""
    return None if preset == "none" else pf.Normalizer(preset).fit(uniform(n_samples, n_features))


def is_right(images: Any, x: Any, layout: pf.Layout, normalizer: pf.Normalizer | None) -> None:
    """The first samples as the reference folds them, to half a step of the output's type and 1e-6 for arithmetic."""
    found = images[:3].float().cpu().numpy()
    head = x[:3].cpu().numpy() if isinstance(x, torch.Tensor) else x
    step = float(torch.finfo(images.dtype).eps) / 2
    np.testing.assert_allclose(found, reference.fold(head, layout, normalizer), rtol=step, atol=1e-6)


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
    return {"reading (a copy of half)": lambda: other.copy_(half)}


# ---- fold

WANTED = {
    "natural": {"none": 1.1, "cp10k-log1p": 1.3},
    "shuffled": {"none": 1.25, "log1p": 1.5, "log1p-minmax": 1.65, "cp10k-log1p": 3.0},
}


@arrangements
@pytest.mark.parametrize(
    "preset", ["none", "log1p", "minmax", "log1p-minmax", "norm2", "cp10k-log1p", "zscore", "log1p-zscore"]
)
def test_fold(held: Held, preset: str, arrangement: str) -> None:
    x, layout = uniform(N_SAMPLES, N_FEATURES), getattr(pf.Layout, arrangement)(N_FEATURES)
    normalizer = fitted(preset, N_SAMPLES, N_FEATURES)
    images = pf.fold(x, layout, normalizer)
    assert images.device == x.device
    is_right(images, x, layout, normalizer)
    held(
        lambda: pf.fold(x, layout, normalizer, out=images),
        copy_of(x),
        work=f"fold float32 of {N_SAMPLES:,} x {N_FEATURES:,}, {preset}, {arrangement}",
        wanted=WANTED[arrangement].get(preset, 1.15 if arrangement == "natural" else None),
    )


@arrangements
def test_fold_genotypes_as_floats(held: Held, arrangement: str) -> None:
    x, layout = torch.floor(3 * uniform(N_SAMPLES, N_FEATURES)), getattr(pf.Layout, arrangement)(N_FEATURES)
    normalizer = pf.Normalizer("genotype").fit(x)
    images = pf.fold(x, layout, normalizer)
    is_right(images, x, layout, normalizer)
    work = f"fold float32 of {N_SAMPLES:,} x {N_FEATURES:,}, genotype, {arrangement}"
    held(lambda: pf.fold(x, layout, normalizer, out=images), copy_of(x), work=work)


@arrangements
@pytest.mark.parametrize("preset", ["none", "log1p-minmax"])
def test_fold_aligned(held: Held, preset: str, arrangement: str) -> None:
    x, layout = uniform(N_SAMPLES, N_ALIGNED), getattr(pf.Layout, arrangement)(N_ALIGNED)
    normalizer = fitted(preset, N_SAMPLES, N_ALIGNED)
    images = pf.fold(x, layout, normalizer)
    is_right(images, x, layout, normalizer)
    held(
        lambda: pf.fold(x, layout, normalizer, out=images),
        copy_of(x),
        work=f"fold float32 of {N_SAMPLES:,} x {N_ALIGNED:,}, aligned, {preset}, {arrangement}",
        wanted=1.15 if arrangement == "natural" else None,
    )


@arrangements
def test_fold_missing(held: Held, arrangement: str) -> None:
    """5 % of the values are NaN."""
    x, layout = uniform(N_SAMPLES, N_FEATURES).clone(), getattr(pf.Layout, arrangement)(N_FEATURES)
    x[torch.rand(x.shape, generator=torch.Generator(DEVICE).manual_seed(1), device=DEVICE) < 0.05] = torch.nan
    normalizer = pf.Normalizer("log1p-minmax", missing="mean").fit(x)
    images = pf.fold(x, layout, normalizer)
    is_right(images, x, layout, normalizer)
    work = f"fold float32 of {N_SAMPLES:,} x {N_FEATURES:,}, 5 % NaN, log1p-minmax, {arrangement}"
    held(lambda: pf.fold(x, layout, normalizer, out=images), copy_of(x), work=work)


@arrangements
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_fold_to_half(held: Held, dtype: str, arrangement: str) -> None:
    x, layout = uniform(N_SAMPLES, N_FEATURES), getattr(pf.Layout, arrangement)(N_FEATURES)
    normalizer = fitted("log1p-minmax", N_SAMPLES, N_FEATURES)
    images = pf.fold(x, layout, normalizer, dtype=dtype)
    is_right(images, x, layout, normalizer)
    held(
        lambda: pf.fold(x, layout, normalizer, dtype=dtype, out=images),
        copy_of(x),
        work=f"fold float32 of {N_SAMPLES:,} x {N_FEATURES:,} -> {dtype}, log1p-minmax, {arrangement}",
    )


@pytest.mark.skipif(DRY, reason="the CPU writes no channels-last images")
@arrangements
def test_fold_channels_last(held: Held, arrangement: str) -> None:
    """Three channels, whose values of a pixel lie side by side."""
    x, layout = uniform(N_SAMPLES, N_FEATURES), getattr(pf.Layout, arrangement)(N_FEATURES, channels=3)
    normalizer = fitted("log1p-minmax", N_SAMPLES, N_FEATURES)
    images = torch.empty((N_SAMPLES, *layout.shape), device=DEVICE, memory_format=torch.channels_last)
    pf.fold(x, layout, normalizer, out=images)
    is_right(images, x, layout, normalizer)
    work = f"fold float32 of {N_SAMPLES:,} x {N_FEATURES:,}, 3 channels last, log1p-minmax, {arrangement}"
    held(lambda: pf.fold(x, layout, normalizer, out=images), copy_of(x), work=work)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("preset", ["none", "log1p-minmax"])
def test_fold_wide(held: Held, preset: str, dtype: str) -> None:
    x, layout = uniform(WIDE_SAMPLES, WIDE_FEATURES), pf.Layout.shuffled(WIDE_FEATURES)
    normalizer = fitted(preset, WIDE_SAMPLES, WIDE_FEATURES)
    images = pf.fold(x, layout, normalizer, dtype=dtype)
    is_right(images, x, layout, normalizer)
    held(
        lambda: pf.fold(x, layout, normalizer, dtype=dtype, out=images),
        copy_of(x),
        work=f"fold float32 of {WIDE_SAMPLES} x {WIDE_FEATURES:,} -> {dtype}, {preset}, shuffled",
        wanted=2.6 if dtype == "float32" else 1.9,
    )


@pytest.mark.parametrize(
    ("preset", "arrangement", "wanted"),
    [("log1p", "natural", 1.5), ("log1p", "shuffled", 1.6), ("log1p-zscore", "natural", 1.8)],
)
def test_fold_csr(held: Held, preset: str, arrangement: str, wanted: float) -> None:
    """With a z-score, what is not stored becomes the image of zeros, which is read as well."""
    from scipy import sparse

    x = uniform(N_SAMPLES, N_FEATURES)
    dense = torch.where(x < 0.05, torch.ceil(100 * x), 0.0)
    csr, layout = dense.to_sparse_csr(), getattr(pf.Layout, arrangement)(N_FEATURES)
    normalizer = pf.Normalizer(preset).fit(sparse.csr_matrix(dense.cpu().numpy()))
    images = pf.fold(csr, layout, normalizer)
    is_right(images, dense, layout, normalizer)
    held(
        lambda: pf.fold(csr, layout, normalizer, out=images),
        fill_of(images),
        work=f"fold CSR 5 % -> float32, {preset}, {arrangement}",
        wanted=wanted,
    )


# ---- DeviceDataset


@arrangements
@pytest.mark.parametrize("stored", ["float32", "2-bit"])
def test_device_dataset(held: Held, stored: str, arrangement: str) -> None:
    """Samples in a random order, by their numbers."""
    layout = getattr(pf.Layout, arrangement)(WIDE_FEATURES)
    if stored == "2-bit":
        codes = np.random.default_rng(0).integers(0, 256, (size(500, 8), WIDE_FEATURES // 4), dtype=np.uint8)
        held_there: Any = pf.PackedGenotypes(codes, WIDE_FEATURES)
        dtype, preset = "float16", "genotype"
    else:
        held_there, dtype, preset = uniform(WIDE_SAMPLES, WIDE_FEATURES).cpu().numpy(), "float32", "log1p-minmax"
    normalizer = pf.Normalizer(preset).fit(held_there)
    dataset = pf.DeviceDataset(held_there, layout, normalizer, device=DEVICE, dtype=dtype)
    batch = np.random.default_rng(1).permutation(held_there.shape[0])
    images = dataset.fold(batch)
    head = held_there[batch[:3]]
    is_right(images, head.toarray() if stored == "2-bit" else head, layout, normalizer)
    held(
        lambda: dataset.fold(batch, out=images),
        fill_of(images) if stored == "2-bit" else copy_of(images),
        work=f"DeviceDataset of {len(batch)} x {WIDE_FEATURES:,} {stored} -> {dtype}, {arrangement}, random samples",
        wanted=1.4 if stored == "2-bit" else 1.2,
    )


def test_device_dataset_sparse(held: Held) -> None:
    from scipy import sparse

    x = uniform(N_SAMPLES, N_FEATURES)
    host, layout = torch.where(x < 0.05, x, 0.0).cpu().numpy(), pf.Layout.natural(N_FEATURES)
    normalizer = pf.Normalizer("log1p").fit(host)
    dataset = pf.DeviceDataset(sparse.csr_matrix(host), layout, normalizer, device=DEVICE)
    batch = np.random.default_rng(0).permutation(N_SAMPLES)[:1024]
    images = dataset.fold(batch)
    is_right(images, host[batch[:3]], layout, normalizer)
    work = f"DeviceDataset, {len(batch):,} random samples of {N_FEATURES:,}, CSR 5 %, log1p, natural"
    held(lambda: dataset.fold(batch, out=images), fill_of(images), work=work, wanted=1.5)


# ---- The way back, statistics, attributions


@arrangements
def test_unfold(held: Held, arrangement: str) -> None:
    x, layout = uniform(N_SAMPLES, N_FEATURES), getattr(pf.Layout, arrangement)(N_FEATURES)
    images = pf.fold(x, layout)
    assert torch.equal(pf.unfold(images, layout), x)
    held(
        lambda: pf.unfold(images, layout),
        copy_of(x),
        work=f"unfold float32, {arrangement}, new memory",
        wanted=1.15 if arrangement == "natural" else 1.25,
    )


@arrangements
@pytest.mark.parametrize("preset", ["none", "log1p-minmax", "cp10k-log1p"])
def test_fold_gradient(held: Held, preset: str, arrangement: str) -> None:
    """A library size has all of it read a second time, for the sums of samples."""
    x, layout = uniform(N_SAMPLES, N_FEATURES), getattr(pf.Layout, arrangement)(N_FEATURES)
    normalizer = fitted(preset, N_SAMPLES, N_FEATURES)
    gradient = torch.randn(N_SAMPLES, *layout.shape, generator=torch.Generator(DEVICE).manual_seed(1), device=DEVICE)
    found = fold_gradient(gradient, x, layout, normalizer)[:3].cpu().numpy()
    head = gradient[:3].cpu().numpy(), x[:3].cpu().numpy(), layout, normalizer
    assert np.all(np.abs(found - reference.fold_gradient(*head)) <= reference.fold_gradient_bound(*head))
    held(
        lambda: fold_gradient(gradient, x, layout, normalizer),
        copy_of(x),
        work=f"fold_gradient float32, {preset}, {arrangement}, new memory",
        wanted=None if preset == "cp10k-log1p" else {"natural": 1.3, "shuffled": 1.8}[arrangement],
    )


@arrangements
def test_unfold_gradient(held: Held, arrangement: str) -> None:
    x, layout = uniform(N_SAMPLES, N_FEATURES), getattr(pf.Layout, arrangement)(N_FEATURES)
    assert torch.equal(unfold_gradient(x, layout), pf.fold(x, layout))
    held(
        lambda: unfold_gradient(x, layout),
        copy_of(x),
        work=f"unfold_gradient float32, {arrangement}, new memory",
        wanted={"natural": 1.3, "shuffled": 1.8}[arrangement],
    )


@pytest.mark.parametrize("log", [False, True], ids=["identity", "log1p"])
def test_column_stats(held: Held, log: bool) -> None:
    from pixfold.arrays import entry
    from pixfold.ops.cuda.stats import queued_stats

    x = uniform(N_SAMPLES, N_FEATURES)
    found, expected = pf.column_stats(x, log=log), pf.column_stats(x.cpu(), log=log)
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-6)
    np.testing.assert_allclose(found.m2, expected.m2, rtol=1e-6)
    held(
        lambda: pf.column_stats(x, log=log),
        {**read_of(x), "torch.sum": lambda: x.sum()},
        queued=None if DRY else lambda: queued_stats(entry.samples("column_stats", x), log, False, None, None),
        work=f"column_stats float32, {'log1p' if log else 'identity'}",
        wanted=2.0 if log else 1.25,
    )


@pytest.mark.parametrize("labels_on", ["host", "device"])
@pytest.mark.parametrize("n_samples", [64, 256])
def test_aggregate(held: Held, n_samples: int, labels_on: str) -> None:
    n_samples = size(n_samples, 12)
    layout = pf.Layout.natural(WIDE_FEATURES)
    generator = torch.Generator(DEVICE).manual_seed(0)
    attributions = torch.randn(n_samples, *layout.shape, generator=generator, device=DEVICE)
    labels = torch.arange(n_samples) % 10
    given = labels if labels_on == "host" else labels.to(DEVICE)
    accumulator = pf.AttributionAccumulator(layout, 10)
    accumulator.update(attributions, given)
    found = accumulator.result()
    some = attributions.view(n_samples, -1)[labels == 3, :WIDE_FEATURES:997].double()
    np.testing.assert_allclose(found.mean[3, ::997], some.mean(dim=0).cpu(), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.mean_abs[3, ::997], some.abs().mean(dim=0).cpu(), rtol=1e-9)
    held(
        lambda: accumulator.update(attributions, given),
        read_of(attributions),
        work=f"aggregate {n_samples} x {WIDE_FEATURES:,} float32, 10 classes, labels on the {labels_on}",
        wanted_call=1.75 if n_samples == 256 else None,
    )


@pytest.mark.parametrize("op", ["rank", "top_k"])
def test_rank(held: Held, op: str) -> None:
    importance = torch.rand(WIDE_FEATURES, generator=torch.Generator(DEVICE).manual_seed(0), device=DEVICE).double()
    run = {"rank": lambda v: pf.rank(v), "top_k": lambda v: pf.top_k(v, 50)}[op]
    np.testing.assert_array_equal(torch.as_tensor(run(importance)).cpu(), run(importance.cpu().numpy()))
    held(
        lambda: run(importance),
        {"torch.sort": lambda: torch.sort(importance)},
        work=f"{op} of {WIDE_FEATURES:,} float64",
    )


# ---- The host's share of a small call


@pytest.mark.parametrize(("op", "microseconds"), [("fold out given", 15), ("fold new memory", 20), ("unfold", 20)])
def test_launch(versus: Callable[..., None], op: str, microseconds: int) -> None:
    """Of small inputs, the host's time for a call that returns before the device is done."""
    layout = pf.Layout.shuffled(1_000, seed=0)
    x = uniform(4, 1_000)
    normalizer = fitted("log1p-minmax", 4, 1_000)
    images = pf.fold(x, layout, normalizer)
    run = {
        "fold out given": lambda: pf.fold(x, layout, normalizer, out=images),
        "fold new memory": lambda: pf.fold(x, layout, normalizer),
        "unfold": lambda: pf.unfold(images, layout),
    }[op]
    calls = 200

    def repeated(call: Callable[[], object]) -> Callable[[], None]:
        def many() -> None:
            for _ in range(calls):
                call()

        return many

    def waits() -> None:
        time.sleep(microseconds * 1e-6 * calls)

    versus(
        repeated(run),
        {f"{microseconds} microseconds a call": waits, "torch.neg": repeated(lambda: torch.neg(x))},
        work=f"{op} of 4 x 1,000, {calls} calls from Python",
        wanted=1.0,
        device="dry run" if DRY else torch.cuda.get_device_name(),
    )
