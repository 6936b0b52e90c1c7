"""DeviceDataset on CUDA: any batch is one launch without a copy of its samples, with the bits of the CPU's fold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.sparse

import pixfold
from pixfold import _core
from pixfold.arrays import cuda_extension as _cuda_extension
from pixfold.errors import InputError

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.gpu

N, F = 45, 70
ORDERS = {
    "one": [44],
    "none": [],
    "repeated": [3, 3, 44, 0, 3],
    "all": list(range(N)),
    "any": np.random.default_rng(0).permutation(N).tolist(),
}
KINDS = ["natural", "shuffled", "channels", "gaps", "many", "shuffled keep"]
DTYPES = ["float32", "float64", "float16", "bool", "uint8", "int8", "int16", "uint16", "int32", "uint32", "int64"]


def on_host(images: Any) -> Any:
    return images.cpu().float().numpy()


def packed() -> Any:
    bits = np.random.default_rng(0).integers(0, 256, (N, -(-F // 4)), dtype=np.uint8)
    return pixfold.PackedGenotypes(bits, F, count_first=False)


def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the kernels' entry points, as they are called."""
    cuda = _cuda_extension.load()
    called: list[str] = []

    def noted(name: str) -> Callable[..., Any]:
        run = getattr(cuda, name)
        return lambda *arguments: (called.append(name), run(*arguments))[1]

    for name in ("fold_dense", "fold_csr", "fold_packed"):
        monkeypatch.setattr(cuda, name, noted(name))
    return called


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_dense(
    device: str,
    make_layout: Callable[..., Any],
    make_samples: Callable[..., Any],
    dtype: str,
    kind: str,
):
    x = make_samples(N, F, dtype)
    layout = make_layout(kind, F)
    normalizer = pixfold.Normalizer("zscore").fit(x)
    dataset = pixfold.DeviceDataset(x, layout, normalizer, device=device)
    for order in ORDERS.values():
        assert np.array_equal(on_host(dataset.fold(order)), pixfold.fold(x[order], layout, normalizer))
    seen = []
    for images, _, positions in dataset.batches(64, shuffle=True):
        assert np.array_equal(on_host(images), pixfold.fold(x[positions.cpu()], layout, normalizer))
        seen += positions.tolist()
    assert sorted(seen) == list(range(N))


@pytest.mark.parametrize("kind", KINDS)
def test_sparse(device: str, make_layout: Callable[..., Any], make_samples: Callable[..., Any], kind: str):
    x = make_samples(N, F, storage="csr32")
    layout = make_layout(kind, F)
    normalizer = pixfold.Normalizer("minmax").fit(x)
    dataset = pixfold.DeviceDataset(x, layout, normalizer, device=device)
    for order in ORDERS.values():
        assert np.array_equal(on_host(dataset.fold(order)), pixfold.fold(x[order], layout, normalizer))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("kind", KINDS)
def test_packed(device: str, make_layout: Callable[..., Any], kind: str, dtype: str):
    x = packed()
    layout = make_layout(kind, F)
    normalizer = pixfold.Normalizer("genotype").fit(x)
    dataset = pixfold.DeviceDataset(x, layout, normalizer, device=device, dtype=dtype)
    expected = np.asarray(pixfold.fold(x, layout, normalizer, dtype=dtype))
    for order in ORDERS.values():
        assert np.array_equal(on_host(dataset.fold(order)), expected[order])


@pytest.mark.parametrize("kept", ["rows", "sparse"])
def test_library_sizes(device: str, make_layout: Callable[..., Any], make_samples: Callable[..., Any], kept: str):
    """Sums are taken once, when the samples are read."""
    if _core.isa() == "baseline":
        pytest.skip("this machine's CPU kernels take another logarithm")
    x = make_samples(N, F, storage="csr32" if kept == "sparse" else "C")
    layout = make_layout("shuffled", F)
    normalizer = pixfold.Normalizer("cp10k-log1p").fit(x)
    dataset = pixfold.DeviceDataset(x, layout, normalizer, device=device)
    for order in ORDERS.values():
        assert np.array_equal(on_host(dataset.fold(order)), pixfold.fold(x[order], layout, normalizer))


@pytest.mark.parametrize("kept", ["rows", "sparse", "packed"])
def test_a_batch_is_one_launch(
    device: str, make_layout: Callable[..., Any], make_samples: Callable[..., Any], kept: str,
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    x = {"sparse": lambda: make_samples(N, F, storage="csr32"), "packed": packed}.get(kept, lambda: make_samples(N, F))
    dataset = pixfold.DeviceDataset(x(), make_layout("shuffled", F), device=device)
    dataset.fold([0])  # what is made once of the layout is
    called = calls(monkeypatch)
    for n_batches, _ in enumerate(dataset.batches(16, shuffle=True), start=1):
        assert called == [{"sparse": "fold_csr", "packed": "fold_packed"}.get(kept, "fold_dense")] * n_batches
    dataset.fold([7, 1, 7])
    assert len(called) == n_batches + 1


def test_images_in_channels_last(device: str, make_layout: Callable[..., Any], make_samples: Callable[..., Any]):
    x = make_samples(N, F)
    layout = make_layout("channels", F)
    for samples in (x, scipy.sparse.csr_array(x)):
        dataset = pixfold.DeviceDataset(samples, layout, device=device)
        out = torch.empty((3, *layout.shape), device=device, memory_format=torch.channels_last)
        assert dataset.fold([5, 2, 5], out=out) is out
        assert np.array_equal(on_host(out), pixfold.fold(x[[5, 2, 5]], layout))


def test_samples_lie_in_the_order_of_the_pixels(
    device: str, make_layout: Callable[..., Any], make_samples: Callable[..., Any]
):
    """Without the features that have no pixel, and in rows of whole 16 bytes."""
    layout = make_layout("shuffled keep", F)
    kept = layout.slot_feature
    x = make_samples(N, F)
    rows = pixfold.DeviceDataset(x, layout, device=device)._store
    assert np.array_equal(rows.values.view(torch.float32)[:, : kept.size].cpu(), x[:, kept])
    assert rows.values.stride(0) * 4 == -(-kept.size // 4) * 16
    genotypes = packed()
    bits = pixfold.DeviceDataset(genotypes, layout, device=device)._store.bits.cpu().numpy()
    code = lambda of, j: of[:, j // 4] >> (2 * (j % 4)) & 3  # noqa: E731
    assert np.array_equal(code(bits, np.arange(kept.size)), code(genotypes.bits, kept))
    assert bits.shape[1] % 16 == 0


def test_positions_with_gaps(device: str, make_layout: Callable[..., Any], make_samples: Callable[..., Any]):
    """A strided tensor of positions."""
    x = make_samples(N, F)
    layout = make_layout("shuffled", F)
    positions = torch.arange(N, device=device)[1::3]
    dataset = pixfold.DeviceDataset(x, layout, device=device)
    assert np.array_equal(on_host(dataset.fold(positions)), pixfold.fold(x[1::3], layout))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64", "uint8", "uint16", "bool"])
def test_samples_that_are_there_already(
    device: str, make_layout: Callable[..., Any], make_samples: Callable[..., Any], dtype: str,
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    """Dense tensors on the device do not pass through the host, and are not kept: the dataset has its own copy."""
    monkeypatch.setattr("pixfold.loader.device_dataset._on_host", lambda X: pytest.fail("brought to the host"))
    x = torch.from_numpy(make_samples(N, F, "float32" if dtype == "bfloat16" else dtype)).to(device)
    x = x.bfloat16() if dtype == "bfloat16" else x
    host = x.float().cpu().numpy() if dtype == "bfloat16" else x.cpu().numpy()
    layout = make_layout("shuffled", F)
    normalizer = pixfold.Normalizer("zscore").fit(host)
    dataset = pixfold.DeviceDataset(x, layout, normalizer, device=device)
    expected = pixfold.fold(host[ORDERS["any"]], layout, normalizer)
    x.zero_()
    assert np.array_equal(on_host(dataset.fold(ORDERS["any"])), expected)


def test_bad_samples_that_are_there_already(device: str):
    layout = pixfold.Layout.natural(F)
    with pytest.raises(InputError, match=r"DeviceDataset: X must be two-dimensional"):
        pixfold.DeviceDataset(torch.zeros(N, F, 1, device=device), layout, device=device)
    with pytest.raises(InputError, match=rf"X must have the layout's {F} features, got 3"):
        pixfold.DeviceDataset(torch.zeros(N, 3, device=device), layout, device=device)
    x = torch.ones(N, F, device=device)
    normalizer = pixfold.Normalizer("minmax").fit(np.ones((2, F), np.float32))
    x[3, 4] = torch.nan
    with pytest.raises(InputError, match="1 NaN in 1 feature"):
        pixfold.DeviceDataset(x, layout, normalizer, device=device)
