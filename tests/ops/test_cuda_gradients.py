"""Gradients and aggregate_ on CUDA against the CPU's: see `device` in conftest.py for where these tests run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pixfold as pf
from pixfold import _core
from pixfold.errors import InputError
from pixfold.ops.gradients import fold_gradient, unfold_gradient

torch = pytest.importorskip("torch")

from pixfold.ops import torch as torch_ops  # noqa: E402
from pixfold.ops.named_folds import named_fold  # noqa: E402

pytestmark = pytest.mark.gpu

FLOATS = ["float32", "float64", "float16", "bfloat16"]
IMAGES = ["float32", "float16", "bfloat16"]
NORMALIZERS = {
    "minmax": lambda: pf.Normalizer("minmax"),
    "log1p-minmax": lambda: pf.Normalizer("log1p-minmax"),
    "log1p, shift": lambda: pf.Normalizer("log1p", negative="shift"),
    "zscore, clip": lambda: pf.Normalizer("zscore", clip=(-0.45, 0.7)),
    "cp10k-log1p": lambda: pf.Normalizer("cp10k-log1p"),
    "library size, clip": lambda: pf.Normalizer(library_size=50.0, log=False, scale="minmax", clip=(0.1, 0.9)),
}


def whole(make_samples: Callable[..., Any], n: int, n_features: int, seed: int = 0) -> Any:
    """Whole numbers, so that their sums are exact and with them every library size."""
    return np.floor(make_samples(n, n_features, seed=seed))


def fitted(name: str, x: Any) -> pf.Normalizer:
    """A normaliser that learned from part of the range, so that its limits clip some of the samples."""
    normalizer = NORMALIZERS[name]().fit(x * 0.7)
    clips = np.isfinite([normalizer.parameters().lo, normalizer.parameters().hi]).any()
    if normalizer.parts.log and clips and _core.isa() == "baseline":
        pytest.skip("this machine's CPU kernels take another logarithm, which decides what is clipped")
    return normalizer


def arriving(n: int, layout: pf.Layout, dtype: str = "float32") -> Any:
    return torch.randn(n, *layout.shape, generator=torch.Generator().manual_seed(5)).to(getattr(torch, dtype))


def host(x: Any) -> Any:
    """What the CPU's op takes in place of a tensor, and its result as a tensor of that dtype."""
    return (x.float() if x.dtype == torch.bfloat16 else x).numpy()


def cpu_fold_gradient(gradient: Any, x: Any, layout: pf.Layout, normalizer: pf.Normalizer | None = None) -> Any:
    found = torch.from_numpy(fold_gradient(host(gradient), host(x), layout, normalizer))
    return found.to(x.dtype)  # bfloat16 is computed in float32, and this is its one rounding


@pytest.mark.parametrize("name", NORMALIZERS)
def test_every_layout_and_normaliser(
    device: str, make_layout: Callable[..., Any], make_samples: Callable[..., Any], kind: str, name: str
):
    for n_features, n in ((1, 1), (33, 5), (1100, 3)):
        layout, x = make_layout(kind, n_features), torch.from_numpy(whole(make_samples, n, n_features))
        normalizer, gradient = fitted(name, x.numpy()), arriving(n, layout)
        found = fold_gradient(gradient.to(device), x.to(device), layout, normalizer)
        assert torch.equal(found.cpu(), cpu_fold_gradient(gradient, x, layout, normalizer))


@pytest.mark.parametrize("images", IMAGES)
@pytest.mark.parametrize("dtype", FLOATS)
def test_every_dtype(
    device: str, make_layout: Callable[..., Any], make_samples: Callable[..., Any], dtype: str, images: str
):
    x = torch.from_numpy(whole(make_samples, 5, 70)).to(getattr(torch, dtype))
    x[1, 3] = torch.nan
    for kind in ("natural", "shuffled", "many"):
        layout = make_layout(kind, 70)
        gradient = arriving(5, layout, images)
        for name in (None, "zscore, clip", "cp10k-log1p"):
            normalizer = None if name is None else fitted(name, whole(make_samples, 9, 70, seed=3))
            found = fold_gradient(gradient.to(device), x.to(device), layout, normalizer)
            assert found.dtype == x.dtype
            assert torch.equal(found.cpu(), cpu_fold_gradient(gradient, x, layout, normalizer))


@pytest.mark.parametrize("images", IMAGES)
@pytest.mark.parametrize("name", [None, "minmax", "log1p, shift", "zscore, clip", "cp10k-log1p", "library size, clip"])
def test_long_samples_under_an_arrangement(
    device: str, simulated: bool, make_samples: Callable[..., Any], name: str | None, images: str
):
    # Enough of them for the whole card, whose rows lie in shared memory.
    n_features, n = 4100, 5 if simulated else 1000
    layout, x = pf.Layout.shuffled(n_features, seed=2), torch.from_numpy(whole(make_samples, n, n_features))
    normalizer, gradient = None if name is None else fitted(name, x.numpy()), arriving(n, layout, images)
    x[1, 3], x[2] = torch.nan, 0.0  # a missing value, and a sample without a library size
    found = fold_gradient(gradient.to(device), x.to(device), layout, normalizer)
    assert torch.equal(found.cpu(), cpu_fold_gradient(gradient, x, layout, normalizer))


def test_strides(device: str, make_layout: Callable[..., Any], make_samples: Callable[..., Any]):
    samples = torch.from_numpy(whole(make_samples, 8, 60)).to(device)
    views = [samples[::2], samples[:, ::3], samples[:, 7:51], samples.t().contiguous().t(), samples[:1].expand(5, 60)]
    for x in (*views, samples[3:3]):
        layout = make_layout("shuffled", x.shape[1])
        gradient = arriving(len(x), layout)
        for name in ("minmax", "cp10k-log1p"):
            normalizer = fitted(name, whole(make_samples, 9, x.shape[1], seed=3))
            found = fold_gradient(gradient.to(device), x, layout, normalizer)
            assert found.is_contiguous()
            assert torch.equal(found.cpu(), cpu_fold_gradient(gradient, x.cpu(), layout, normalizer))


@pytest.mark.parametrize("name", ["minmax", "cp10k-log1p"])
@pytest.mark.parametrize("kind", ["channels", "many"])
def test_channels_last(
    device: str, make_layout: Callable[..., Any], make_samples: Callable[..., Any], kind: str, name: str
):
    x, layout = torch.from_numpy(whole(make_samples, 4, 100)).to(device), make_layout(kind, 100)
    normalizer, gradient = fitted(name, x.cpu().numpy()), arriving(4, layout).to(device)
    found = fold_gradient(gradient.contiguous(memory_format=torch.channels_last), x, layout, normalizer)
    assert torch.equal(found, fold_gradient(gradient, x, layout, normalizer))


@pytest.mark.parametrize("dtype", FLOATS)
def test_unfold_gradient_of_long_rows(device: str, simulated: bool, dtype: str):
    layout, n = pf.Layout.shuffled(4100, seed=2), 5 if simulated else 1000
    gradient = torch.randn(n, 4100, generator=torch.Generator().manual_seed(1)).to(getattr(torch, dtype))
    expected = torch.from_numpy(unfold_gradient(host(gradient), layout)).to(gradient.dtype)
    assert torch.equal(unfold_gradient(gradient.to(device), layout).cpu(), expected)


@pytest.mark.parametrize("dtype", FLOATS)
def test_unfold_gradient(device: str, make_layout: Callable[..., Any], kind: str, dtype: str):
    layout = make_layout(kind, 77)
    gradient = torch.randn(3, 77, generator=torch.Generator().manual_seed(1)).to(getattr(torch, dtype))
    found = unfold_gradient(gradient.to(device), layout)
    assert found.shape == (3, *layout.shape)
    expected = torch.from_numpy(unfold_gradient(host(gradient), layout)).to(gradient.dtype)
    assert torch.equal(found.cpu(), expected)
    assert torch.equal(unfold_gradient(gradient.to(device).t().contiguous().t(), layout).cpu(), expected)


@pytest.mark.parametrize("name", [None, "log1p-minmax", "cp10k-log1p"])
def test_autograd_of_fold(
    device: str, make_layout: Callable[..., Any], make_samples: Callable[..., Any], name: str | None
):
    x = torch.from_numpy(whole(make_samples, 4, 50))
    normalizer = None if name is None else fitted(name, x.numpy())
    for kind in ("shuffled", "channels", "many"):
        layout, given = make_layout(kind, 50), x.to(device, copy=True).requires_grad_()
        images = pf.fold(given, layout, normalizer)
        assert torch.equal(images.detach(), pf.fold(x.to(device), layout, normalizer))
        weights = arriving(4, layout)
        (images * weights.to(device)).sum().backward()
        assert torch.equal(given.grad.cpu(), cpu_fold_gradient(weights, x, layout, normalizer))
        assert bool(given.grad.any())


@pytest.mark.parametrize("kind", ["natural", "shuffled", "channels", "many", "keep"])
def test_autograd_of_unfold(device: str, make_layout: Callable[..., Any], kind: str):
    """Linear, so that finite differences have no error but rounding; and differentiable again."""
    layout = make_layout(kind, 12)
    images = torch.rand(2, *layout.shape, dtype=torch.float64, device=device, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: pf.unfold(t, layout), (images,))
    assert torch.autograd.gradgradcheck(lambda t: pf.unfold(t, layout), (images,))


def test_finite_differences_of_fold(device: str, make_layout: Callable[..., Any], make_samples: Callable[..., Any]):
    """float64 samples make float32 images: a step of 1/32 is exact in both, and minmax a plane."""
    x = torch.from_numpy(whole(make_samples, 3, 20).astype(np.float64)).to(device).requires_grad_()
    spread = 1024.0 * np.outer([0.0, 1.0], np.ones(20))
    normalizer, step = pf.Normalizer("zscore").fit(spread), 32.0
    for kind in ("shuffled", "many"):
        layout = make_layout(kind, 20)
        (gradient,) = torch.autograd.grad(pf.fold(x, layout, normalizer).sum(), x)
        moved = x.detach() + step * torch.eye(20, dtype=torch.float64, device=device)[:3]
        before, after = (pf.fold(t, layout, normalizer).double().sum((1, 2, 3)) for t in (x.detach(), moved))
        # Sums of 20 numbers of size 2 at most, each rounded to float32 once.
        slope = (after - before) / step
        np.testing.assert_allclose(gradient.diagonal().cpu(), slope.cpu(), rtol=0, atol=2 * 20 * 2 * 2**-24 / step)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_opcheck(device: str, make_layout: Callable[..., Any], make_samples: Callable[..., Any], dtype: str):
    kind = getattr(torch, dtype)
    layout = make_layout("many", 50)
    x = torch.from_numpy(whole(make_samples, 4, 50)).to(device, kind)
    named = named_fold(layout, fitted("cp10k-log1p", x.float().cpu().numpy()))
    torch.library.opcheck(torch_ops.fold_op, (x.clone().requires_grad_(), named.name, torch.float32))
    torch.library.opcheck(torch_ops.fold_gradient_op, (arriving(4, layout).to(device), x, named.name))
    images = torch.ones(3, *layout.shape, dtype=kind, device=device, requires_grad=True)
    torch.library.opcheck(torch_ops.unfold_op, (images, named.name))
    torch.library.opcheck(torch_ops.unfold_gradient_op, (x.clone().requires_grad_(), named.name))
    count = torch.zeros(3, dtype=torch.int64, device=device)
    moments = torch.zeros(3, 3, layout.n_pixels, dtype=torch.float64, device=device)
    labels = torch.tensor([0, 2, 2], device=device)
    torch.library.opcheck(torch_ops.aggregate_op, (count, moments, images.detach(), labels))


@pytest.mark.parametrize("place", ["cpu", "device"])
@pytest.mark.parametrize("channels", [1, 3])
def test_aggregate(device: str, channels: int, place: str):
    """Of 5 x 5 pixels, so that the moments of every second class begin between multiples of 16 bytes."""
    count = torch.zeros(3, dtype=torch.int64, device=device if place == "device" else "cpu")
    moments = torch.full((3, 3, 25), torch.nan, dtype=torch.float64, device=device)
    accumulator = pf.AttributionAccumulator(pf.Layout.natural(25), 3)
    rng = np.random.default_rng(4)
    for n in (5, 1, 8):
        attributions = rng.normal(size=(n, channels, 5, 5)).astype(np.float32)
        labels, keep = rng.integers(0, 3, n), rng.random(n) < 0.8
        on_device = torch.from_numpy(attributions).to(device)
        accumulator.update(on_device, labels, keep)
        torch.ops.pixfold.aggregate_(count, moments, on_device, torch.from_numpy(labels), torch.from_numpy(keep))
    result = accumulator.result()
    np.testing.assert_array_equal(count.cpu(), result.count)
    assert result.count.all()
    np.testing.assert_array_equal(moments[:, 0].cpu(), result.mean)
    np.testing.assert_array_equal(moments[:, 1].cpu(), result.m2)


def test_a_batch_that_is_refused_changes_nothing(device: str):
    count = torch.zeros(2, dtype=torch.int64, device=device)
    moments = torch.zeros(2, 3, 25, dtype=torch.float64, device=device)
    attributions, labels = torch.rand(4, 1, 5, 5).to(device), torch.tensor([0, 1, 1, 0])
    torch_ops.aggregate_op(count, moments, attributions, labels)
    before = count.clone(), moments.clone()
    bad = attributions.clone()
    bad[3, 0, 2, 2] = torch.inf
    for given, of in ((bad, labels), (attributions, labels + 1), (attributions, labels[:3])):
        with pytest.raises(InputError, match="aggregate"):
            torch_ops.aggregate_op(count, moments, given, of)
        assert torch.equal(count, before[0])
        assert torch.equal(moments, before[1])


def test_attributions_stay_on_the_device(device: str):
    pytest.importorskip("captum")
    from pixfold.learn.attribute import attribute
    from pixfold.learn.training_options import TrainingOptions

    layout = pf.Layout.natural(25)
    x, y = torch.rand(6, *layout.shape, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 2

    class Batches:
        n_samples = 6

        def __len__(self) -> int:
            return 2

        def set_epoch(self, epoch: int) -> None:
            raise AssertionError("attribution shuffles nothing")

        def __iter__(self) -> Any:
            yield x[:4], y[:4], torch.arange(4)
            yield x[4:], y[4:], torch.arange(4, 6)

    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(25, 2))
    accumulator = pf.AttributionAccumulator(layout, 2)
    attribute(
        module, Batches(), accumulator, target="true", options=TrainingOptions(device=device, precision="32-true")
    )
    assert accumulator._on_cuda is not None
    assert accumulator._on_cuda.device.type == device
    result, weight = accumulator.result(), module[1].weight.detach().double().cpu().numpy()
    assert result.count.tolist() == [3, 3]
    np.testing.assert_array_equal(result.mean_abs, np.abs(weight))


def test_bad_input(device: str):
    layout = pf.Layout.natural(4)
    x, gradient = torch.ones(2, 4, device=device), torch.ones(2, 1, 2, 2, device=device)
    with pytest.raises(InputError, match=r"fold_gradient: X must have shape \(n_samples, 4\), got \(2, 3\)"):
        fold_gradient(gradient, x[:, :3], layout)
    with pytest.raises(InputError, match=r"fold_gradient: X must be float32, .* got int32"):
        fold_gradient(gradient, x.int(), layout)
    with pytest.raises(InputError, match=r"fold_gradient: gradient must have shape \(2, 1, 2, 2\) and .*got \(1, 1, 2"):
        fold_gradient(gradient[:1], x, layout)
    with pytest.raises(InputError, match="fold_gradient: gradient must be float32, float16 or bfloat16, got float64"):
        fold_gradient(gradient.double(), x, layout)
    with pytest.raises(InputError, match="fitted on the layout's 4 features, got 5"):
        fold_gradient(gradient, x, layout, pf.Normalizer("minmax").fit(np.ones((2, 5))))
    with pytest.raises(InputError, match=r"unfold_gradient: gradient must have shape \(n_samples, 4\), got \(2, 3\)"):
        unfold_gradient(x[:, :3], layout)
    with pytest.raises(InputError, match=r"unfold_gradient: gradient must be float32, .* got int32"):
        unfold_gradient(x.int(), layout)
    given = x.clone().requires_grad_()
    (first,) = torch.autograd.grad(pf.fold(given, layout).square().sum(), given, create_graph=True)
    with pytest.raises(InputError, match="its gradient must not be differentiated again"):
        first.sum().backward()
