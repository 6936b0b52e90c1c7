"""Arrays of JAX and CuPy in every op: read where they are, answered in kind.

JAX's are tested on the CPU where it is installed, and so is what its CUDA arrays share with CuPy's. Those that only a
GPU has are stood in for by `standin`: arrays that say of memory which the simulated kernels read that it is CuPy's.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.sparse

import pixfold
from pixfold.arrays import interop as _interop
from pixfold.errors import BackendError, InputError, MissingDependencyError

N, F = 9, 40


def counted(n: int = N, n_features: int = F) -> Any:
    """Whole numbers, so that their sums are exact."""
    return np.random.default_rng(0).integers(0, 50, (n, n_features)).astype(np.float32)


@pytest.fixture
def jax() -> Any:
    """JAX on this machine's CPU."""
    module = pytest.importorskip("jax", reason="JAX is not installed")
    if module.default_backend() != "cpu":
        pytest.skip("JAX puts its arrays on an accelerator")
    return module


# JAX on the CPU


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("kind", ["natural", "shuffled", "channels", "many"])
def test_fold_of_jax(jax: Any, make_layout: Callable[..., Any], kind: str, dtype: str):
    x = counted()
    layout = make_layout(kind, F)
    normalizer = pixfold.Normalizer("zscore").fit(x)
    images = pixfold.fold(jax.numpy.asarray(x), layout, normalizer, dtype=jax.numpy.dtype(dtype))
    assert isinstance(images, jax.Array)
    assert images.dtype == dtype
    expected = pixfold.fold(x, layout, normalizer, dtype=images.dtype)
    assert np.array_equal(np.asarray(images).view(np.uint8), expected.view(np.uint8))


def test_jax_memory_is_read_where_it_is(jax: Any):
    x = jax.numpy.asarray(counted())
    read, kind = _interop.adopted("fold", "X", x)
    assert read.ctypes.data == x.unsafe_buffer_pointer()
    assert not read.flags.writeable
    assert kind is not None
    assert kind.name == "JAX"


def test_jax_takes_images_over_without_a_copy(jax: Any):
    layout = pixfold.Layout.shuffled(1 << 16)
    x = jax.numpy.ones((8, 1 << 16))
    pool = pixfold.ImagePool()
    images = pixfold.fold(x, layout, out=pool)
    assert pool.used_bytes == pool.held_bytes > 0
    assert (images == 1).all()
    # Without a pool, too, at an address that JAX takes memory over from.
    assert pixfold.fold(x, layout).unsafe_buffer_pointer() % 64 == 0


def test_bfloat16_samples_of_jax(jax: Any, make_layout: Callable[..., Any]):
    x = counted()
    layout = make_layout("shuffled", F)
    images = pixfold.fold(jax.numpy.asarray(x, dtype="bfloat16"), layout)  # whole numbers of six bits are exact
    assert isinstance(images, jax.Array)
    assert np.array_equal(images, pixfold.fold(x, layout))


def test_unfold_of_jax(jax: Any, make_layout: Callable[..., Any]):
    layout = make_layout("shuffled", F)
    for dtype in ("float32", "bfloat16", "int16"):
        x = jax.numpy.asarray(counted(), dtype=dtype)
        images = pixfold.fold(x, layout).astype(dtype)
        features = pixfold.unfold(images, layout)
        assert isinstance(features, jax.Array)
        assert features.dtype == dtype
        assert (features == x).all()


def test_normalizer_of_jax(jax: Any):
    x = counted()
    on_jax = jax.numpy.asarray(x)
    for preset in ("minmax", "cp10k-log1p", "log1p-zscore"):
        normalizer = pixfold.Normalizer(preset).fit(on_jax)
        expected = pixfold.Normalizer(preset).fit(x)
        assert np.array_equal(normalizer.parameters().scale, expected.parameters().scale)
        transformed = normalizer.transform(on_jax)
        assert isinstance(transformed, jax.Array)
        assert np.array_equal(transformed, expected.transform(x))
    in_parts = pixfold.Normalizer("minmax").partial_fit(on_jax[:4]).partial_fit(on_jax[4:])
    assert np.array_equal(in_parts.parameters().scale, pixfold.Normalizer("minmax").fit(x).parameters().scale)
    missing = on_jax.at[1, 2].set(np.nan)
    with pytest.raises(InputError, match="1 NaN in 1 feature"):
        normalizer.check(missing, pixfold.Layout.natural(F))
    with pytest.raises(InputError, match="1 NaN in 1 feature"):
        pixfold.fold(missing, pixfold.Layout.natural(F), normalizer)


def test_statistics_of_jax(jax: Any):
    x = counted()
    stats = pixfold.column_stats(jax.numpy.asarray(x), log=True)
    expected = pixfold.column_stats(x, log=True)
    assert np.array_equal(stats.mean, expected.mean)
    assert np.array_equal(stats.zeros, expected.zeros)
    assert pixfold.ops.census(jax.numpy.asarray(x)) == pixfold.ops.census(x)


def test_attributions_of_jax(jax: Any, make_layout: Callable[..., Any]):
    layout = make_layout("shuffled", F)
    images = np.random.default_rng(1).normal(size=(N, *layout.shape)).astype(np.float32)
    labels, keep = np.arange(N) % 3, np.arange(N) != 4
    expected = pixfold.AttributionAccumulator(layout, 3)
    expected.update(images, labels, keep)
    accumulator = pixfold.AttributionAccumulator(layout, 3)
    accumulator.update(*map(jax.numpy.asarray, (images, labels, keep)))
    assert np.array_equal(accumulator.result().mean, expected.result().mean)
    assert np.array_equal(accumulator.result().count, expected.result().count)


def test_ranks_of_jax(jax: Any):
    importance = np.array([3.0, 1.0, 3.0, 7.0], dtype=np.float32)
    ranks = pixfold.rank(jax.numpy.asarray(importance))
    assert isinstance(ranks, jax.Array)
    assert ranks.tolist() == pixfold.rank(importance).tolist()
    positions = pixfold.top_k(jax.numpy.asarray(importance), 2)
    assert isinstance(positions, jax.Array)
    assert positions.tolist() == [3]


@pytest.mark.parametrize("kind", ["natural", "shuffled", "many"])
def test_bcsr(jax: Any, make_layout: Callable[..., Any], kind: str):
    bcsr = pytest.importorskip("jax.experimental.sparse").BCSR
    dense = np.where(counted() > 40, counted(), 0)
    x = bcsr.fromdense(jax.numpy.asarray(dense))
    layout = make_layout(kind, F)
    normalizer = pixfold.Normalizer("cp10k-log1p").fit(x)
    images = pixfold.fold(x, layout, normalizer)
    assert isinstance(images, jax.Array)
    assert np.array_equal(images, pixfold.fold(scipy.sparse.csr_array(dense), layout, normalizer))
    # Room for more values than there are.
    roomy = bcsr.fromdense(jax.numpy.asarray(dense), nse=int((dense != 0).sum()) + 5)
    assert np.array_equal(pixfold.fold(roomy, layout, normalizer), images)
    with pytest.raises(InputError, match="X must be a BCSR matrix without batch or dense dimensions, got BCOO"):
        pixfold.fold(x.to_bcoo(), layout)


def test_device_dataset_of_jax(jax: Any, make_layout: Callable[..., Any]):
    pytest.importorskip("torch")
    x = counted()
    layout = make_layout("shuffled", F)
    sparse = pytest.importorskip("jax.experimental.sparse").BCSR.fromdense(jax.numpy.asarray(x))
    for given in (jax.numpy.asarray(x), sparse):
        dataset = pixfold.DeviceDataset(given, layout, labels=jax.numpy.arange(N), device="cpu")
        assert np.array_equal(dataset.fold(jax.numpy.asarray([4, 4, 0])), pixfold.fold(x[[4, 4, 0]], layout))
        assert np.array_equal(next(dataset.batches(N))[1], np.arange(N))


def test_jax_arrays_are_never_written_to(jax: Any):
    x = jax.numpy.asarray(counted())
    layout = pixfold.Layout.natural(F)
    out = jax.numpy.zeros((N, *layout.shape))
    with pytest.raises(InputError, match="out must be None for JAX arrays, which are never written to"):
        pixfold.fold(x, layout, out=out)
    with pytest.raises(TypeError, match="out must be a NumPy array"):
        pixfold.fold(np.asarray(x), layout, out=out)
    assert not out.any()
    pool = pixfold.ImagePool()
    assert np.array_equal(pixfold.fold(x, layout, out=pool), pixfold.fold(np.asarray(x), layout))


def test_what_jax_traces(jax: Any):
    layout = pixfold.Layout.natural(F)
    with pytest.raises(InputError, match=r"fold: X is traced by JAX.*outside of jit"):
        jax.jit(lambda x: pixfold.fold(x, layout))(counted())
    shape = jax.ShapeDtypeStruct((N, *layout.shape), "float32")

    def called_back(x: Any) -> Any:
        return jax.pure_callback(lambda x: np.asarray(pixfold.fold(x, layout)), shape, x)

    assert np.array_equal(jax.jit(called_back)(counted()), pixfold.fold(counted(), layout))


def test_bad_jax_arrays(jax: Any):
    layout = pixfold.Layout.natural(F)
    with pytest.raises(InputError, match=rf"X must have the layout's {F} features, got 3"):
        pixfold.fold(jax.numpy.zeros((2, 3)), layout)
    with pytest.raises(TypeError, match="got complex64"):
        pixfold.fold(jax.numpy.zeros((2, F), "complex64"), layout)
    gone = jax.numpy.zeros((2, F))
    gone.delete()
    with pytest.raises(InputError, match="fold: X cannot be read: Array has been deleted"):
        pixfold.fold(gone, layout)
    with pytest.raises(InputError, match="fold: X cannot be read: JAX array with PRNGKey"):
        pixfold.fold(jax.random.key(0), layout)


def test_jax_on_other_accelerators():
    tpu = type("Device", (), {"platform": "tpu"})()
    array = type("ArrayImpl", (), {"devices": lambda self: {tpu}})
    array.__module__ = "jaxlib._jax"
    with pytest.raises(BackendError, match="fold: X is on tpu, for which pixfold has no kernels"):
        pixfold.fold(array(), pixfold.Layout.natural(F))
    array.devices = lambda self: {1, 2}  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="X must be on one device, got an array on 2"):
        pixfold.fold(array(), pixfold.Layout.natural(F))


# CuPy, by a stand-in


class Ndarray:
    """What pixfold uses of a CuPy array, over memory of the simulated device."""

    def __init__(self, tensor: Any) -> None:
        self.tensor = tensor
        self.asked: list[Any] = []

    @property
    def dtype(self) -> str:
        return str(self.tensor.dtype).removeprefix("torch.")

    @property
    def shape(self) -> Any:
        return self.tensor.shape

    def reshape(self, *shape: int) -> Ndarray:
        return Ndarray(self.tensor.reshape(shape))

    def __dlpack__(self, **options: Any) -> Any:
        self.asked.append(options.get("stream"))
        return self.tensor.__dlpack__()

    def __dlpack_device__(self) -> Any:
        return self.tensor.__dlpack_device__()

    def __array__(self, *arguments: Any, **options: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")


class Csr(types.SimpleNamespace):
    """A cupyx.scipy.sparse matrix, likewise."""

    def tocsr(self) -> Csr:
        return self


Ndarray.__module__, Csr.__module__ = "cupy", "cupyx.scipy.sparse._csr"


@pytest.fixture
def standin(device: str, simulated: bool, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Ndarray]:
    """Bring NumPy arrays to what passes for CuPy on the simulated device."""
    if not simulated:
        pytest.skip("stands in for CuPy where kernels are simulated")
    torch = pytest.importorskip("torch")
    monkeypatch.setitem(sys.modules, "cupy", types.SimpleNamespace(from_dlpack=lambda x: Ndarray(torch.from_dlpack(x))))
    return lambda values: Ndarray(torch.from_numpy(np.array(values)))


@pytest.fixture
def cupy(device: str, simulated: bool) -> Any:
    """CuPy on a card."""
    module = pytest.importorskip("cupy", reason="CuPy is not installed")
    if simulated:
        pytest.skip("CuPy's memory is a card's")
    return module


def every_op(bring: Callable[[Any], Any], read: Callable[[Any], Any], kind: type) -> None:
    """Each op on arrays that `bring` makes, which answers in their kind what it answers of NumPy's."""
    x, layout = counted(), pixfold.Layout.shuffled(F, seed=1)
    normalizer = pixfold.Normalizer("minmax").fit(bring(x))
    expected = pixfold.fold(x, layout, pixfold.Normalizer("minmax").fit(x))
    images = pixfold.fold(bring(x), layout, normalizer)
    assert isinstance(images, kind)
    assert np.array_equal(read(images), expected)
    out = bring(np.zeros_like(expected))
    assert pixfold.fold(bring(x), layout, normalizer, out=out) is out
    assert np.array_equal(read(out), expected)
    in_order = pixfold.fold(x, pixfold.Layout.natural(F, shape=(1, F)), normalizer)
    assert np.array_equal(read(normalizer.transform(bring(x))), in_order.reshape(N, F))
    features = pixfold.unfold(bring(expected), layout)
    assert isinstance(features, kind)
    assert np.array_equal(read(features), pixfold.unfold(expected, layout))
    stats, of_host = pixfold.column_stats(bring(x)), pixfold.column_stats(x)
    assert np.array_equal(stats.max, of_host.max)
    assert np.array_equal(stats.zeros, of_host.zeros)
    labels = np.arange(N) % 2
    accumulators = [pixfold.AttributionAccumulator(layout, 2) for _ in range(2)]
    accumulators[0].update(expected, labels, labels == 0)
    accumulators[1].update(bring(expected), bring(labels), bring(labels == 0))
    assert np.array_equal(accumulators[0].result().mean_abs, accumulators[1].result().mean_abs)
    ranks = pixfold.rank(bring(x[0]))
    assert isinstance(ranks, kind)
    assert np.array_equal(read(ranks), pixfold.rank(x[0]))
    positions = pixfold.top_k(bring(x[0]), 5)
    assert isinstance(positions, kind)
    assert np.array_equal(read(positions), pixfold.top_k(x[0], 5))


@pytest.mark.gpu
def test_every_op_of_the_standin(standin: Callable[[Any], Any]):
    every_op(standin, lambda array: array.tensor.numpy(), Ndarray)


@pytest.mark.gpu
@pytest.mark.parametrize("index", ["int32", "int64"])
def test_sparse_of_the_standin(standin: Callable[[Any], Any], make_layout: Callable[..., Any], index: str):
    x = scipy.sparse.csr_array(np.where(counted() > 40, counted(), 0))
    parts = {"data": x.data, "indices": x.indices.astype(index), "indptr": x.indptr.astype(index)}
    matrix = Csr(**{name: standin(part) for name, part in parts.items()}, shape=x.shape)
    layout = make_layout("shuffled", F)
    images = pixfold.fold(matrix, layout)
    assert isinstance(images, Ndarray)
    assert np.array_equal(images.tensor, pixfold.fold(x, layout))
    assert np.array_equal(pixfold.column_stats(matrix).zeros, pixfold.column_stats(x).zeros)
    dataset = pixfold.DeviceDataset(matrix, layout, device="cpu")
    assert np.array_equal(dataset.fold([3, 3]), pixfold.fold(x[[3, 3]], layout))


@pytest.mark.gpu
def test_memory_of_the_standin_is_read_where_it_is(standin: Callable[[Any], Any]):
    x = standin(counted())
    tensor, kind = _interop.adopted("fold", "X", x)
    assert tensor.data_ptr() == x.tensor.data_ptr()
    assert kind is not None
    assert len(x.asked) == 1


@pytest.mark.gpu
def test_bad_arrays_of_the_standin(standin: Callable[[Any], Any]):
    layout = pixfold.Layout.natural(F)
    x = standin(counted())
    with pytest.raises(InputError, match=rf"X must have the layout's {F} features, got 3"):
        pixfold.fold(standin(np.zeros((2, 3))), layout)
    with pytest.raises(BackendError, match=r"fold: CuPy has no bfloat16: use float16, or pass torch.from_dlpack\(X\)"):
        pixfold.fold(x, layout, dtype="bfloat16")
    with pytest.raises(TypeError, match="out must be a CuPy array like the input, got ndarray"):
        pixfold.fold(x, layout, out=np.zeros((N, *layout.shape), np.float32))
    with pytest.raises(InputError, match="out must be a float32 tensor of shape"):
        pixfold.fold(x, layout, out=standin(np.zeros((1, *layout.shape), np.float32)))
    over = Ndarray(x.tensor.view(N, 1, 1, F))
    with pytest.raises(InputError, match="out must not overlap X in memory"):
        pixfold.fold(x, pixfold.Layout.natural(F, shape=(1, F)), out=over)


def test_subclasses_are_what_they_are():
    """Of a user's own module; on a GPU, too, where DLPack would lose that a gradient is wanted."""
    torch = pytest.importorskip("torch")
    mine = [type("Mine", (base,), {"__module__": "mine"}) for base in (np.ndarray, torch.Tensor)]
    for array in (np.zeros(3).view(mine[0]), torch.zeros(3).as_subclass(mine[1])):
        read, library = _interop.adopted("fold", "X", array)
        assert read is array
        assert library in (_interop.NUMPY, _interop.TORCH)


@pytest.mark.parametrize("interface", ["__dlpack_device__", "__cuda_array_interface__"])
def test_a_gpu_array_without_torch(interface: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    # DLPack's number for CUDA is 2.
    members = {"__dlpack__": None, interface: lambda self: (2, 0)} if "dlpack" in interface else {interface: {}}
    array = type("DeviceArray", (), members)
    array.__module__ = "numba.cuda"
    with pytest.raises(MissingDependencyError, match=r"fold of arrays on a GPU needs torch.*pip install"):
        pixfold.fold(array(), pixfold.Layout.natural(F))


@pytest.mark.gpu
def test_every_op_of_cupy(cupy: Any):
    every_op(cupy.asarray, cupy.asnumpy, cupy.ndarray)


@pytest.mark.gpu
def test_sparse_of_cupy(cupy: Any, make_layout: Callable[..., Any]):
    sparse = pytest.importorskip("cupyx.scipy.sparse")
    x = scipy.sparse.csr_matrix(np.where(counted() > 40, counted(), 0))
    layout = make_layout("shuffled", F)
    images = pixfold.fold(sparse.csr_matrix(x), layout)
    assert isinstance(images, cupy.ndarray)
    assert np.array_equal(images.get(), pixfold.fold(x, layout))


@pytest.mark.gpu
def test_streams_of_cupy(cupy: Any):
    """A fold waits for the stream that its samples are made on, and what CuPy does next waits for the fold."""
    layout = pixfold.Layout.shuffled(1 << 20)
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        x = cupy.zeros((64, 1 << 20), dtype=cupy.float32)
        for _ in range(20):
            x += 1
        images = pixfold.fold(x, layout)
        x -= 20
        assert (images == 20).all()


@pytest.mark.gpu
def test_cuda_array_interface(device: str, simulated: bool):
    if simulated:
        pytest.skip("the interface is of a card's memory")
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(counted()).to(device)
    stream = torch.cuda.Stream()
    for number in (None, 1, 2, stream.cuda_stream):
        interface = {**tensor.__cuda_array_interface__, "stream": number}
        array = type("DeviceArray", (), {"__cuda_array_interface__": interface})()
        images = pixfold.fold(array, pixfold.Layout.natural(F))
        assert images.device == tensor.device
        assert np.array_equal(images.cpu(), pixfold.fold(counted(), pixfold.Layout.natural(F)))


@pytest.mark.gpu
def test_arrays_that_dlpack_does_not_know(standin: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch):
    def refuse(self: Any, **options: Any) -> Any:
        raise BufferError("no such type in DLPack")

    monkeypatch.setattr(Ndarray, "__dlpack__", refuse)
    with pytest.raises(InputError, match="fold: X cannot be read as an array on a GPU: no such type in DLPack"):
        pixfold.fold(standin(counted()), pixfold.Layout.natural(F))
