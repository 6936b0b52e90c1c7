"""The ops on CUDA against the CPU's, bit by bit.

With a card and the extension these tests run on it. Under `make sanitize-address` the extension is the one of
tests/cpp/simt, whose kernels run on the host: then tensors of the CPU go the way of a card's.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.sparse

import pixfold
from pixfold import _core
from pixfold.errors import InputError
from pixfold.ops.cuda import fold as cuda_ops
from pixfold.ops.cuda import placed as _cuda_plans

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.gpu

DTYPES = ["float32", "float16", "float64", "bool", "uint8", "int8", "int16", "int32", "int64"]


def fused() -> bool:
    return _core.isa() != "baseline"


def on_host(images: Any) -> Any:
    """A tensor's values; bfloat16, which NumPy lacks, as float32."""
    images = images.cpu()
    return (images.float() if images.dtype == torch.bfloat16 else images).numpy()


def cpu_fold(x: Any, layout: Any, normalizer: Any = None, dtype: str = "float32") -> Any:
    """The CPU's images of NumPy or SciPy samples, as `on_host` gives them."""
    if dtype != "bfloat16":
        return pixfold.fold(x, layout, normalizer, dtype=dtype)
    ml_dtypes = pytest.importorskip("ml_dtypes")
    return pixfold.fold(x, layout, normalizer, dtype=ml_dtypes.bfloat16).astype(np.float32)


def test_a_card_that_is_there_is_used(device: str):
    # Elsewhere this suite is skipped, so somewhere it must be said that it was not.
    x = torch.ones(2, 4, device=device)
    images = pixfold.fold(x, pixfold.Layout.natural(4))
    assert images.device == x.device
    assert on_host(images).tolist() == np.ones((2, 1, 2, 2)).tolist()


@pytest.mark.parametrize("n", [1, 15, 16, 17, 33, 1000])
def test_every_layout(
    device: str, make_layout: Callable[..., Any], make_samples: Callable[..., Any], kind: str, n: int
):
    layout = make_layout(kind, n)
    x = make_samples(3, n)
    normalizer = pixfold.Normalizer("minmax").fit(x)
    for fitted in (None, normalizer):
        images = pixfold.fold(torch.from_numpy(x).to(device), layout, fitted)
        assert np.array_equal(on_host(images), cpu_fold(x, layout, fitted))


@pytest.mark.parametrize("out", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype(
    device: str, make_layout: Callable[..., Any], make_samples: Callable[..., Any], dtype: str, out: str
):
    x = make_samples(5, 70, dtype)
    for kind in ("natural", "shuffled", "many"):
        layout = make_layout(kind, 70)
        normalizer = pixfold.Normalizer("zscore").fit(x)
        for fitted in (None, normalizer):
            images = pixfold.fold(torch.from_numpy(x).to(device), layout, fitted, dtype=out)
            assert str(images.dtype) == f"torch.{out}"
            assert np.array_equal(on_host(images), cpu_fold(x, layout, fitted, out))


def test_bfloat16_samples(device: str, make_layout: Callable[..., Any], make_samples: Callable[..., Any]):
    x = torch.from_numpy(make_samples(4, 50)).bfloat16()
    layout = make_layout("shuffled", 50)
    images = pixfold.fold(x.to(device), layout)
    assert np.array_equal(on_host(images), cpu_fold(x.float().numpy(), layout))


@pytest.mark.parametrize(
    "preset", ["log1p", "minmax", "log1p-minmax", "norm2", "cp10k-log1p", "zscore", "log1p-zscore"]
)
def test_every_preset(device: str, make_layout: Callable[..., Any], make_samples: Callable[..., Any], preset: str):
    # Whole numbers, so that their sums are exact and with them every library size.
    x = np.floor(make_samples(7, 90))
    held_out = np.floor(make_samples(5, 90, seed=1))
    normalizer = pixfold.Normalizer(preset).fit(x)
    if normalizer.parts.log and not fused():
        pytest.skip("this machine's CPU kernels take another logarithm")
    for kind in ("natural", "shuffled", "many"):
        layout = make_layout(kind, 90)
        images = pixfold.fold(torch.from_numpy(held_out).to(device), layout, normalizer)
        assert np.array_equal(on_host(images), cpu_fold(held_out, layout, normalizer))


@pytest.mark.parametrize("missing", ["zero", "mean"])
def test_missing_values(device: str, make_layout: Callable[..., Any], make_samples: Callable[..., Any], missing: str):
    x = make_samples(6, 40)
    x[np.random.default_rng(0).random(x.shape) < 0.1] = np.nan
    layout = make_layout("shuffled", 40)
    normalizer = pixfold.Normalizer("zscore", missing=missing).fit(x)
    images = pixfold.fold(torch.from_numpy(x).to(device), layout, normalizer)
    assert np.array_equal(on_host(images), cpu_fold(x, layout, normalizer))
    cuda_ops.check_folds(normalizer)


def test_refused_values_show_and_are_counted(device: str):
    x = np.ones((4, 9), dtype=np.float32)
    layout = pixfold.Layout.natural(9)
    normalizer = pixfold.Normalizer("log1p").fit(x)
    cuda_ops.check_folds(normalizer)  # nothing was folded
    pixfold.fold(torch.from_numpy(x).to(device), layout, normalizer)
    cuda_ops.check_folds(normalizer)  # nothing is wrong
    x[1, 2] = x[3, 8] = np.nan
    images = pixfold.fold(torch.from_numpy(x).to(device), layout, normalizer)
    assert np.array_equal(np.isnan(on_host(images)).reshape(4, 9), np.isnan(x))
    with pytest.raises(InputError, match="no missing values, got 2 NaN"):
        cuda_ops.check_folds(normalizer)
    cuda_ops.check_folds(normalizer)  # looked at
    x = np.ones((4, 9), dtype=np.float32)
    x[0, 0] = -0.5
    pixfold.fold(torch.from_numpy(x).to(device), layout, normalizer)
    with pytest.raises(InputError, match="got 1 negative value"):
        cuda_ops.check_folds(normalizer)
    with pytest.raises(InputError, match="negative"):
        normalizer.check(torch.from_numpy(x).to(device), layout)


@pytest.mark.parametrize("kind", ["natural", "shuffled", "many"])
def test_strides(device: str, make_layout: Callable[..., Any], make_samples: Callable[..., Any], kind: str):
    whole = torch.from_numpy(make_samples(8, 60)).to(device)
    views = [whole[::2], whole[:, ::3], whole[:, 7:51], whole.t().contiguous().t(), whole[:1].expand(5, 60), whole[3:3]]
    for x in views:
        layout = make_layout(kind, x.shape[1])
        images = pixfold.fold(x, layout)
        assert np.array_equal(on_host(images), cpu_fold(x.cpu().numpy(), layout))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("kind", ["natural", "channels", "many"])
def test_channels_last(
    device: str, make_layout: Callable[..., Any], make_samples: Callable[..., Any], kind: str, dtype: str
):
    x = make_samples(5, 100)
    layout = make_layout(kind, 100)
    normalizer = pixfold.Normalizer("minmax").fit(x)
    out = torch.empty(
        (5, *layout.shape), dtype=getattr(torch, dtype), device=device, memory_format=torch.channels_last
    ).fill_(7)
    images = pixfold.fold(torch.from_numpy(x).to(device), layout, normalizer, dtype=dtype, out=out)
    assert images is out
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert np.array_equal(on_host(images), cpu_fold(x, layout, normalizer, dtype))
    if layout.is_one_to_one:
        features = pixfold.unfold(images, layout)
        assert np.array_equal(on_host(features), pixfold.unfold(cpu_fold(x, layout, normalizer, dtype), layout))


def csr_tensor(x: Any, index: str, device: str) -> Any:
    parts = (x.indptr.astype(index), x.indices.astype(index), x.data)
    return torch.sparse_csr_tensor(*map(torch.from_numpy, parts), size=x.shape, check_invariants=True).to(device)


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta state")
@pytest.mark.parametrize("index", ["int32", "int64"])
def test_sparse_rows(
    device: str, make_layout: Callable[..., Any], make_samples: Callable[..., Any], kind: str, index: str
):
    x = make_samples(6, 120, storage="csr32")
    x.data = np.floor(x.data)
    layout = make_layout(kind, 120)
    on_device = csr_tensor(x, index, device)
    for preset in ("minmax", "cp10k-log1p"):
        normalizer = pixfold.Normalizer(preset).fit(x)
        if normalizer.parts.log and not fused():
            continue
        images = pixfold.fold(on_device, layout, normalizer, dtype="float16")
        assert np.array_equal(on_host(images), cpu_fold(x, layout, normalizer, "float16"))
        cuda_ops.check_folds(normalizer)
    assert np.array_equal(on_host(pixfold.fold(on_device, layout)), cpu_fold(x, layout))


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta state")
def test_indices_are_looked_at_on_request(device: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PIXFOLD_CHECK", "1")
    x = scipy.sparse.csr_array(np.eye(3, 5, dtype=np.float32))
    layout = pixfold.Layout.natural(5)
    assert np.array_equal(on_host(pixfold.fold(csr_tensor(x, "int32", device), layout)), cpu_fold(x, layout))
    x.indices = np.array([0, 4, 1], dtype=np.int32)  # still rising within each row
    assert np.array_equal(on_host(pixfold.fold(csr_tensor(x, "int32", device), layout)), cpu_fold(x, layout))
    starts, indices, values = torch.tensor([0, 2]), torch.tensor([3, 1]), torch.ones(2)
    falling = torch.sparse_csr_tensor(starts, indices, values, size=(1, 5), check_invariants=False)
    with pytest.raises(InputError, match=r"indices of each row of sparse X must rise within \[0, 5\)"):
        pixfold.fold(falling.to(device), layout)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("kind", ["natural", "shuffled", "channels", "gaps", "keep", "many"])
def test_packed_genotypes(device: str, make_layout: Callable[..., Any], kind: str, dtype: str):
    rng = np.random.default_rng(0)
    genotypes = rng.integers(0, 3, (19, 130)).astype(np.float32)
    genotypes[rng.random(genotypes.shape) < 0.05] = np.nan
    packed = pixfold.PackedGenotypes.pack(genotypes)
    layout = make_layout(kind, 130)
    normalizer = pixfold.Normalizer("genotype").fit(packed)
    bits = torch.from_numpy(packed.bits).to(device)
    for fitted in (None, normalizer):
        formula = None if fitted is None else fitted.parameters()
        images = cuda_ops.fold_packed_rows(bits, 130, layout, formula, values=packed.code_values(), dtype=dtype)
        assert np.array_equal(on_host(images), cpu_fold(packed, layout, fitted, dtype), equal_nan=True)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64", "int8", "int64"])
def test_unfold(device: str, make_layout: Callable[..., Any], kind: str, dtype: str):
    layout = make_layout(kind, 77)
    images = torch.arange(3 * layout.n_pixels).reshape(3, *layout.shape).to(getattr(torch, dtype))
    features = pixfold.unfold(images.to(device), layout)
    assert features.dtype == images.dtype
    expected = pixfold.unfold(on_host(images), layout)
    assert np.array_equal(on_host(features), expected)
    every_second = pixfold.unfold(images.to(device).repeat_interleave(2, 0)[::2], layout)
    assert np.array_equal(on_host(every_second), expected)


def test_a_normaliser_that_is_fitted_again(device: str, make_samples: Callable[..., Any]):
    layout = pixfold.Layout.shuffled(50, seed=1)
    x = make_samples(4, 50)
    normalizer = pixfold.Normalizer("minmax")
    for samples in (x, 3 * x):
        normalizer.fit(samples)
        images = pixfold.fold(torch.from_numpy(x).to(device), layout, normalizer)
        assert np.array_equal(on_host(images), cpu_fold(x, layout, normalizer))


def test_bad_input(device: str):
    layout = pixfold.Layout.natural(4)
    x = torch.ones(2, 4, device=device)
    with pytest.raises(InputError, match=r"X must have the layout's 4 features, got 3 \(shape \(2, 3\)\)"):
        pixfold.fold(x[:, :3], layout)
    with pytest.raises(InputError, match=r"X must be two-dimensional .* got shape \(4,\)"):
        pixfold.fold(x[0], layout)
    with pytest.raises(InputError, match=r"got layout torch\.sparse_coo"):
        pixfold.fold(x.to_sparse(), layout)
    with pytest.raises(TypeError, match=r"real dtype, got torch\.complex64"):
        pixfold.fold(x * 1j, layout)
    with pytest.raises(InputError, match="fitted on the layout's 4 features, got 5"):
        pixfold.fold(x, layout, pixfold.Normalizer("minmax").fit(np.ones((2, 5))))
    with pytest.raises(InputError, match=r"out must be a float32 tensor of shape \(2, 1, 2, 2\)"):
        pixfold.fold(x, layout, out=torch.empty(2, 4, device=device))
    with pytest.raises(InputError, match="out must be contiguous"):
        pixfold.fold(x, layout, out=torch.empty(4, 1, 2, 2, device=device)[::2])
    with pytest.raises(InputError, match="out must not overlap X"):
        pixfold.fold(x, layout, out=x.view(2, 1, 2, 2))
    with pytest.raises(TypeError, match="out must be a tensor on"):
        pixfold.fold(x, layout, out=np.empty((2, 1, 2, 2), dtype=np.float32))
    with pytest.raises(InputError, match=r"images must have shape \(n_samples, 1, 2, 2\), got \(2, 4\)"):
        pixfold.unfold(x, layout)
    with pytest.raises(InputError, match="bits must be uint8 rows of 1 contiguous bytes, got float32"):
        cuda_ops.fold_packed_rows(x, 4, layout, values=np.zeros(4))
    many = pixfold.Layout.from_coordinates(np.zeros(4, int), np.zeros(4, int), (1, 1))
    with pytest.raises(InputError, match="layout must have 3 features, got 4"):
        cuda_ops.fold_packed_rows(torch.zeros(2, 1, dtype=torch.uint8, device=device), 3, many, values=np.zeros(4))


def test_long_rows_under_an_arrangement(device: str, simulated: bool):
    # Their values are put side by side in scratch memory first: as many rows as make that the way that is taken.
    n, n_samples = (62_500 if simulated else 1_000_000), 9
    x = np.random.default_rng(0).integers(0, 9, (n_samples, n)).astype(np.float32)
    x[4, 5::1000] = np.nan
    layout = pixfold.Layout.shuffled(n, seed=0)
    normalizer = pixfold.Normalizer("log1p-minmax", missing="mean").fit(x)
    on_device = torch.from_numpy(x).to(device)
    expected = cpu_fold(x, layout, normalizer)
    for _ in range(2):  # the second is planned
        images = pixfold.fold(on_device, layout, normalizer)
        assert np.array_equal(on_host(images), expected)
    images = pixfold.fold(on_device, layout)
    assert np.array_equal(on_host(pixfold.unfold(images, layout)), x, equal_nan=True)


@pytest.mark.parametrize("kind", ["natural", "shuffled"])
@pytest.mark.parametrize("scale", [None, "zscore"])
def test_library_size_of_long_samples(device: str, simulated: bool, kind: str, scale: str | None):
    # Sums and images of the whole card's worth of long samples come from one reading.
    n_samples = 5 if simulated else 1000
    x = np.random.default_rng(1).poisson(0.5, (n_samples, 5000)).astype(np.float32)
    x[1, 7], x[2] = np.nan, 0
    layout = pixfold.Layout.natural(5000) if kind == "natural" else pixfold.Layout.shuffled(5000, seed=1)
    normalizer = pixfold.Normalizer(library_size=1e4, log=True, scale=scale, missing="mean").fit(x)
    on_device = torch.from_numpy(x).to(device)
    for dtype in ("float32", "bfloat16"):
        images = pixfold.fold(on_device, layout, normalizer, dtype=dtype)
        assert np.array_equal(on_host(images), cpu_fold(x, layout, normalizer, dtype))


def test_nothing_waits_and_graphs_capture(device: str, simulated: bool, make_samples: Callable[..., Any]):
    if simulated:
        pytest.skip("the shim has no streams")
    layout = pixfold.Layout.shuffled(1000, seed=0)
    x = torch.from_numpy(np.floor(make_samples(16, 1000))).to(device)
    normalizer = pixfold.Normalizer("cp10k-log1p").fit(x.cpu().numpy())
    out = torch.empty((16, *layout.shape), device=device)
    expected = pixfold.fold(x, layout, normalizer).clone()
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        pixfold.fold(x, layout, normalizer, out=out)
    finally:
        torch.cuda.set_sync_debug_mode(before)
    assert torch.equal(out, expected)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        pixfold.fold(x, layout, normalizer, out=out)
        features = pixfold.unfold(out, layout)
    x.mul_(0)
    graph.replay()
    assert torch.equal(out, torch.zeros_like(out))
    assert torch.equal(features, torch.zeros_like(features))


def test_the_current_stream_is_used(device: str, simulated: bool, make_samples: Callable[..., Any]):
    if simulated:
        pytest.skip("the shim has no streams")
    layout = pixfold.Layout.shuffled(1000, seed=0)
    x = torch.from_numpy(make_samples(64, 1000)).to(device)
    expected = pixfold.fold(x, layout)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(20_000_000)  # a kernel on another stream would overtake what follows
        later = x + 0
        images = pixfold.fold(later, layout)
    stream.synchronize()
    assert torch.equal(images, expected)


def test_what_is_kept_goes_with_its_layout_and_normaliser(device: str, make_samples: Callable[..., Any]):
    x = scipy.sparse.csr_array(make_samples(3, 30))
    kept = _cuda_plans._kept._of
    gc.collect()
    before = len(kept)
    layout, normalizer = pixfold.Layout.shuffled(30, seed=1), pixfold.Normalizer("minmax").fit(x)
    for fitted in (None, normalizer):
        pixfold.fold(csr_tensor(x, "int32", device), layout, fitted)
    assert len(kept) > before
    del layout, normalizer, fitted
    gc.collect()
    assert len(kept) == before
