"""AttributionAccumulator on CUDA against the CPU's: see `device` in conftest.py for where these tests run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pixfold import Layout, _core
from pixfold.errors import InputError
from pixfold.ops import AttributionAccumulator, AttributionResult

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.gpu


def batch(
    layout: Layout, n: int, n_classes: int, channels: int | None = None, dtype: str = "float32"
) -> tuple[Any, Any, Any]:
    """Attributions, labels and a mark on most samples; the others are NaN, which nothing may come of."""
    rng = np.random.default_rng(n)
    attributions = rng.normal(size=(n, channels or layout.channels, layout.height, layout.width)).astype(np.float32)
    labels, keep = rng.integers(0, n_classes, n), rng.random(n) < 0.75
    attributions[~keep] = np.nan
    return torch.from_numpy(attributions).to(getattr(torch, dtype)), labels, keep


def assert_same(found: AttributionResult, expected: AttributionResult) -> None:
    """The same bits: where no class is split the device's sums are the CPU's with fused multiply-add."""
    np.testing.assert_array_equal(found.count, expected.count)
    for name in ("mean", "m2", "mean_abs"):
        actual, wanted = getattr(found, name), getattr(expected, name)
        # Without it a square rounds twice, and its sum differs by one rounding more per sample.
        slack = 0.0 if _core.isa() != "baseline" or name != "m2" else 64 * 2.0**-52 * wanted.max(initial=1.0)
        np.testing.assert_allclose(actual, wanted, rtol=0, atol=slack, err_msg=name)


@pytest.mark.parametrize("n_classes", [1, 3])
@pytest.mark.parametrize("kind", ["natural", "shuffled", "rectangular", "channels", "gaps", "many", "keep"])
def test_every_layout(device: str, make_layout: Callable[..., Any], kind: str, n_classes: int):
    layout = make_layout(kind, 83)
    on_device, on_cpu = AttributionAccumulator(layout, n_classes), AttributionAccumulator(layout, n_classes)
    for n in (9, 0, 14):
        attributions, labels, keep = batch(layout, n, n_classes)
        on_device.update(attributions.to(device), labels, keep=keep)
        on_cpu.update(attributions.numpy(), labels, keep=keep)
    assert_same(on_device.result(), on_cpu.result())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_every_dtype_and_stride(device: str, make_layout: Callable[..., Any], dtype: str, channels: int):
    layout = make_layout("shuffled", 100)
    attributions, labels, keep = batch(layout, 12, 2, channels, dtype)
    expected = AttributionAccumulator(layout, 2)
    expected.update(attributions.double().numpy(), labels, keep=keep)
    x = attributions.to(device)
    wide = torch.full((12, channels, 10, 13), torch.nan, dtype=x.dtype, device=device)
    wide[..., :10] = x
    for view in (
        x,
        x.contiguous(memory_format=torch.channels_last),
        x.transpose(2, 3).contiguous().transpose(2, 3),
        x.repeat_interleave(2, 0)[::2],
        wide[..., :10],
    ):
        accumulator = AttributionAccumulator(layout, 2)
        accumulator.update(view, labels, keep=keep)
        assert_same(accumulator.result(), expected.result())


def test_classes_are_split(device: str):
    # 300 samples of one class: parts, whose sums are added in order. Means of n numbers round n times, m2 twice that.
    layout = Layout.natural(50)
    rng = np.random.default_rng(0)
    values = rng.normal(size=(300, 1, layout.height, layout.width)).astype(np.float32)
    accumulator, expected = AttributionAccumulator(layout, 1), AttributionAccumulator(layout, 1)
    for part in (values[:120], values[120:]):
        accumulator.update(torch.from_numpy(part).to(device), np.zeros(len(part), dtype=np.int64))
        expected.update(part, np.zeros(len(part), dtype=np.int64))
    found, wanted = accumulator.result(), expected.result()
    top = float(np.abs(values).max())
    np.testing.assert_allclose(found.mean, wanted.mean, rtol=0, atol=4 * 300 * 2.0**-53 * top)
    np.testing.assert_allclose(found.mean_abs, wanted.mean_abs, rtol=0, atol=4 * 300 * 2.0**-53 * top)
    np.testing.assert_allclose(found.m2, wanted.m2, rtol=0, atol=300 * (4 * 300 + 8) * 2.0**-53 * 4 * top**2)
    again = AttributionAccumulator(layout, 1)
    for part in (values[:120], values[120:]):
        again.update(torch.from_numpy(part).to(device), np.zeros(len(part), dtype=np.int64))
    for name in ("mean", "m2", "mean_abs"):
        np.testing.assert_array_equal(getattr(again.result(), name), getattr(found, name))


def test_labels_and_marks_on_the_device(device: str):
    layout = Layout.natural(30)
    attributions, labels, keep = batch(layout, 20, 2)
    expected, accumulator = AttributionAccumulator(layout, 2), AttributionAccumulator(layout, 2)
    expected.update(attributions.numpy(), labels, keep=keep)
    accumulator.update(
        attributions.to(device), torch.from_numpy(labels).to(device), keep=torch.from_numpy(keep).to(device)
    )
    assert_same(accumulator.result(), expected.result())


@pytest.mark.parametrize("kind", [torch.int64, torch.int32, torch.uint8])
def test_labels_of_any_integers_on_the_device(device: str, kind: Any):
    layout = Layout.natural(30)
    attributions, labels, _ = batch(layout, 5, 2)
    attributions = torch.nan_to_num(attributions)
    expected, accumulator = AttributionAccumulator(layout, 2), AttributionAccumulator(layout, 2)
    expected.update(attributions.numpy(), labels)
    apart = torch.from_numpy(labels).to(kind).repeat_interleave(2).to(device)
    accumulator.update(attributions.to(device), apart[::2])
    assert_same(accumulator.result(), expected.result())


def test_moments_stay_on_the_device(device: str):
    layout = Layout.natural(30)
    accumulator = AttributionAccumulator(layout, 2)
    attributions, _, _ = batch(layout, 3, 1)
    for _ in range(2):
        accumulator.update(torch.ones_like(attributions).to(device), [1, 1, 1])
        there = accumulator._on_cuda
        assert there is not None
        assert there.device.type == torch.device(device).type
        accumulator.result()
        assert accumulator._on_cuda is there
    assert accumulator.result().count.tolist() == [0, 6]


def test_an_update_does_not_wait(device: str):
    if device != "cuda":
        pytest.skip("the kernels of the host are done when they return")
    layout = Layout.natural(30)
    attributions, labels, keep = batch(layout, 9, 2)
    x, there, marks = attributions.to(device), torch.from_numpy(labels).to(device), torch.from_numpy(keep).to(device)
    accumulator, expected = AttributionAccumulator(layout, 2), AttributionAccumulator(layout, 2)
    accumulator.update(x, labels, keep=keep)
    expected.update(attributions.numpy(), labels, keep=keep)
    torch.cuda.synchronize()
    torch.cuda._sleep(200_000_000)  # a tenth of a second
    for given in ((labels, keep), (there, marks)):
        accumulator.update(x, given[0], keep=given[1])
        expected.update(attributions.numpy(), labels, keep=keep)
    assert not torch.cuda.current_stream().query()
    assert_same(accumulator.result(), expected.result())


def test_batches_on_several_streams(device: str):
    if device != "cuda":
        pytest.skip("needs streams")
    layout = Layout.natural(300)
    accumulator, expected = AttributionAccumulator(layout, 2), AttributionAccumulator(layout, 2)
    streams = [torch.cuda.Stream() for _ in range(3)]
    batches = [batch(layout, n, 2) for n in range(3, 24)]
    placed = [attributions.to(device) for attributions, _, _ in batches]
    torch.cuda.synchronize()
    for n, (x, (attributions, labels, keep)) in enumerate(zip(placed, batches, strict=True)):
        with torch.cuda.stream(streams[n % 3]):
            accumulator.update(x, labels, keep=keep)
        expected.update(attributions.numpy(), labels, keep=keep)
    assert_same(accumulator.result(), expected.result())


def test_from_one_device_to_the_other_and_back(device: str):
    layout = Layout.shuffled(60, seed=1)
    batches = [batch(layout, n, 3) for n in (8, 9, 10)]
    mixed, expected = AttributionAccumulator(layout, 3), AttributionAccumulator(layout, 3)
    for place, (attributions, labels, keep) in zip(("cpu", device, "cpu"), batches, strict=True):
        mixed.update(attributions.numpy() if place == "cpu" else attributions.to(place), labels, keep=keep)
        expected.update(attributions.numpy(), labels, keep=keep)
    assert_same(mixed.result(), expected.result())


@pytest.mark.parametrize("first", ["cpu", "device"])
@pytest.mark.parametrize("second", ["cpu", "device"])
def test_merge_across_devices(device: str, first: str, second: str):
    layout = Layout.shuffled(60, seed=1)
    accumulators = []
    for places in ((first, second), ("cpu", "cpu")):
        pair = [AttributionAccumulator(layout, 3) for _ in places]
        for n, (place, accumulator) in enumerate(zip(places, pair, strict=True)):
            attributions, labels, keep = batch(layout, 8 + n, 3)
            labels = labels % (n + 2)  # the last class is in one of them only
            accumulator.update(attributions.numpy() if place == "cpu" else attributions.to(device), labels, keep=keep)
        before = pair[1].result()
        pair[0].merge(pair[1])
        assert_same(pair[1].result(), before)
        accumulators.append(pair[0])
    assert_same(accumulators[0].result(), accumulators[1].result())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_changes_nothing(device: str, value: float):
    layout = Layout.natural(30)
    accumulator = AttributionAccumulator(layout, 2)
    attributions, labels, keep = batch(layout, 40, 2)
    accumulator.update(attributions.to(device), labels, keep=keep)
    before = accumulator.result()
    bad = torch.ones_like(attributions)
    bad[39, 0, 2, 3] = value
    accumulator.update(bad.to(device), labels)
    with pytest.raises(InputError, match=r"^aggregate: attributions must be finite.* in a batch on \S+ that was not"):
        accumulator.result()
    assert_same(accumulator.result(), before)  # raised once
    accumulator.update(bad.to(device), labels, keep=np.arange(40) < 39)
    assert accumulator.result().count.sum() == before.count.sum() + 39


@pytest.mark.parametrize("label", [-1, 2, 2**40])
def test_labels_out_of_range(device: str, label: int):
    layout = Layout.natural(30)
    attributions = torch.nan_to_num(batch(layout, 8, 2)[0]).to(device)
    labels = torch.tensor([0, 1] * 4, device=device)
    accumulator = AttributionAccumulator(layout, 2)
    accumulator.update(attributions, labels)
    before = accumulator.result()
    wrong = labels.clone()
    wrong[5] = label
    with pytest.raises(InputError, match=r"^aggregate: labels must be in \[0, 2\), got .* at position 5"):
        accumulator.update(attributions, wrong.tolist())  # those of the host are seen at once
    accumulator.update(attributions, wrong, keep=torch.tensor([True] * 5 + [False] * 3, device=device))
    with pytest.raises(InputError, match=r"^aggregate: labels must be in \[0, 2\), got 1 other label, in a batch"):
        accumulator.merge(AttributionAccumulator(layout, 2))
    assert_same(accumulator.result(), before)


def test_an_update_tells_of_the_batch_before(device: str):
    layout = Layout.natural(30)
    attributions, labels, _ = batch(layout, 8, 2)
    bad, good = attributions.clone().fill_(torch.nan).to(device), torch.ones_like(attributions).to(device)
    accumulator = AttributionAccumulator(layout, 2)
    accumulator.update(bad, labels)
    if device == "cuda":
        torch.cuda.synchronize()
    with pytest.raises(InputError, match="must be finite"):
        accumulator.update(good, labels)
    assert accumulator.result().count.sum() == 0
    accumulator.update(good, labels)
    assert accumulator.result().count.sum() == 8


@pytest.mark.parametrize(
    ("labels", "keep", "message"),
    [
        ([0.0, 1.0], None, "labels must be integers, got float32"),
        ([True, False], None, "labels must be integers, got bool"),
        ([0, 1, 1], None, r"labels must have shape \(2,\), got \(3,\)"),
        ([0, 1], [1, 0], r"keep must be a bool array of shape \(2,\), got int64 of shape \(2,\)"),
        ([0, 1], [True], r"keep must be a bool array of shape \(2,\), got bool of shape \(1,\)"),
    ],
)
def test_bad_labels_and_marks_on_the_device(device: str, labels: list[Any], keep: list[Any] | None, message: str):
    layout = Layout.natural(30)
    x = torch.ones((2, 1, *layout.shape[1:]), device=device)
    marks = None if keep is None else torch.tensor(keep, device=device)
    with pytest.raises(InputError, match=f"^aggregate: {message}"):
        AttributionAccumulator(layout, 2).update(x, torch.tensor(labels, device=device), keep=marks)


@pytest.mark.parametrize(
    ("change", "message", "kind"),
    [
        (lambda x: x[:, :, :2], "attributions must have shape", InputError),
        (lambda x: x.to(torch.int32), "attributions must be of dtype float16, .* got int32", TypeError),
        (lambda x: x.to(torch.complex64), "attributions must be of a real dtype", TypeError),
        (lambda x: x.to_sparse(), "attributions must be a dense", InputError),
        (lambda x: x.requires_grad_(), "attributions requires a gradient", InputError),
    ],
)
def test_bad_attributions(device: str, change: Callable[[Any], Any], message: str, kind: type[Exception]):
    layout = Layout.natural(30)
    with pytest.raises(kind, match=f"^aggregate: {message}"):
        AttributionAccumulator(layout, 2).update(change(torch.ones((2, 1, *layout.shape[1:]), device=device)), [0, 1])
