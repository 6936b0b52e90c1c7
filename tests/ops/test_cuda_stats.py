"""column_stats, row sums, census and fitting on CUDA, against the reference and the CPU.

With a card and the extension these tests run on it. Under `make sanitize-address` the extension is the one of
tests/cpp/simt, whose kernels run on the host: then tensors of the CPU go the way of a card's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.sparse

import pixfold
from pixfold.arrays.cuda import CsrOnCuda, OnCuda, queue_of
from pixfold.arrays.entry import samples
from pixfold.errors import InputError
from pixfold.ops import census, column_stats, reference
from pixfold.ops.cuda.stats import packed_stats_on_cuda
from pixfold.ops.stats import ColumnStats, row_sums

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta state")]

DTYPES = ["float32", "float16", "float64", "bool", "uint8", "int8", "int16", "int32", "int64"]


def tensor(x: Any, device: str) -> Any:
    """The tensor of NumPy or SciPy samples."""
    if scipy.sparse.issparse(x):
        parts = (x.indptr, x.indices, x.data)
        return torch.sparse_csr_tensor(*map(torch.from_numpy, parts), size=x.shape, check_invariants=True).to(device)
    return torch.from_numpy(x).to(device)


def assert_described(stats: ColumnStats, x: Any, **options: Any) -> None:
    """As the CPU is held to; of no more samples than are one block on either."""
    assert x.shape[0] <= 128
    expected, bound = reference.column_stats(x, **options), reference.stats_bound(x, **options)
    for name in ("count", "missing", "zeros"):
        assert getattr(stats, name).dtype == np.int64
        np.testing.assert_array_equal(getattr(stats, name), expected[name], err_msg=name)
    for name in ("min", "max", "mean", "m2"):
        actual = getattr(stats, name)
        assert actual.dtype == np.float64
        np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected[name]), err_msg=name)
        assert np.all(np.nan_to_num(np.abs(actual - expected[name])) <= bound[name]), name


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(
    ("dtype", "storage"),
    [
        (dtype, storage)
        for dtype in DTYPES
        for storage in ("C", "csr32", "csr64")
        if dtype != "float16" or storage == "C"  # SciPy has no sparse float16
    ],
)
def test_every_dtype(device: str, make_samples: Callable[..., Any], dtype: str, storage: str, log: bool):
    x = make_samples(37, 70, dtype, storage)
    assert_described(column_stats(tensor(x, device), log=log), x, log=log)


def test_bfloat16(device: str, make_samples: Callable[..., Any]):
    x = torch.from_numpy(make_samples(40, 50)).bfloat16()
    assert_described(column_stats(x.to(device)), x.float().numpy())


@pytest.mark.parametrize("storage", ["C", "csr32"])
def test_offset_row_scale_and_clip(device: str, make_samples: Callable[..., Any], storage: str):
    x = make_samples(60, 33, storage=storage)
    offset, row_scale = np.linspace(0, 3, 33), np.linspace(0.5, 2, 60)
    assert_described(column_stats(tensor(x, device), offset=offset, log=True), x, offset=offset, log=True)
    assert_described(column_stats(tensor(x, device), row_scale=row_scale), x, row_scale=row_scale)
    lowered = column_stats(tensor(x, device), offset=offset - 2, clip_below_zero=True)
    expected = column_stats(x, offset=offset - 2, clip_below_zero=True)
    assert lowered.n_negative == expected.n_negative > 0
    np.testing.assert_array_equal(lowered.min, expected.min)
    np.testing.assert_array_equal(lowered.max, expected.max)


def test_missing_negative_and_infinite_values(device: str, make_samples: Callable[..., Any]):
    x = make_samples(50, 40)
    x[::7, ::3] = np.nan
    x[:, 3] = np.nan
    x[1::9, 5:9] *= -1
    stats = column_stats(tensor(x, device))
    assert_described(stats, x)
    assert stats.n_negative == np.sum(x < 0) > 0
    x[4, 4], x[7, 20] = np.inf, -np.inf
    assert column_stats(tensor(x, device)).n_infinite == 2
    assert census(tensor(x, device)) == census(x)
    sparse = scipy.sparse.csr_array(np.where(x == 0, 0, x))
    assert column_stats(tensor(sparse, device)).n_infinite == 2
    assert census(tensor(sparse, device)) == census(x)


def test_strides(device: str, make_samples: Callable[..., Any]):
    whole = tensor(make_samples(24, 60), device)
    views = [whole[::2], whole[:, ::3], whole[:, 7:51], whole.t().contiguous().t(), whole[:1].expand(5, 60), whole[3:3]]
    for x in views:
        assert_described(column_stats(x), x.cpu().numpy())
        assert census(x) == census(x.cpu().numpy())


@pytest.mark.parametrize("storage", ["C", "csr32"])
def test_row_sums(device: str, make_samples: Callable[..., Any], storage: str):
    x = make_samples(9, 5000, storage=storage)
    values = x if storage == "C" else x.data
    np.floor(values, out=values)  # whole numbers, whose sums are exact in any order
    values[2] = np.nan  # a value of a sparse matrix, a sample of a dense one
    on_device = samples("row_sums", tensor(x, device))
    assert isinstance(on_device, OnCuda | CsrOnCuda)
    np.testing.assert_array_equal(row_sums(on_device), row_sums(samples("row_sums", x)))


@pytest.mark.parametrize("storage", ["C", "csr32"])
@pytest.mark.parametrize("preset", ["minmax", "cp10k-log1p", "zscore", "log1p-zscore", "norm2"])
def test_fit(device: str, make_samples: Callable[..., Any], preset: str, storage: str):
    x = make_samples(90, 130, storage=storage)
    here, there = pixfold.Normalizer(preset).fit(x), pixfold.Normalizer(preset).fit(tensor(x, device))
    for name in ("offset", "shift", "scale", "fill"):
        expected, found = getattr(here.parameters(), name), getattr(there.parameters(), name)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=0, err_msg=name)


def test_fit_refuses_as_on_the_host(device: str, make_samples: Callable[..., Any]):
    x = make_samples(8, 9)
    x[1, 2] = np.nan
    with pytest.raises(InputError, match="got 1 NaN in 1 feature"):
        pixfold.Normalizer("zscore").fit(tensor(x, device))
    x[1, 2] = -1
    with pytest.raises(InputError, match="got 1 negative value in 1 feature"):
        pixfold.Normalizer("log1p").fit(tensor(x, device))
    x[1, 2] = 1
    normalizer = pixfold.Normalizer("log1p").fit(tensor(x, device))
    x[3, 3] = -2
    with pytest.raises(InputError, match="negative"):
        normalizer.check(tensor(x, device), pixfold.Layout.natural(9))


def test_packed_genotypes(device: str):
    rng = np.random.default_rng(0)
    genotypes = rng.integers(0, 3, (300, 130)).astype(np.float32)
    genotypes[rng.random(genotypes.shape) < 0.05] = np.nan
    packed = pixfold.PackedGenotypes.pack(genotypes)
    bits = torch.from_numpy(packed.bits).to(device)
    offset, queue = np.linspace(0, 1, 130), queue_of("column_stats", "bits", bits.device)
    for lift in (None, offset):
        found = ColumnStats(*packed_stats_on_cuda(queue, bits, 130, True, offset=lift))
        expected = column_stats(packed, offset=lift)
        for name in ("count", "missing", "zeros", "min", "max", "mean", "m2"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)


def test_refused(device: str):
    x = torch.ones(2, 4, device=device)
    with pytest.raises(InputError, match=r"column_stats: X must be two-dimensional .* got shape \(4,\)"):
        column_stats(x[0])
    with pytest.raises(InputError, match=r"census: X .* got layout torch\.sparse_coo"):
        census(x.to_sparse())
    with pytest.raises(TypeError, match=r"real dtype, got torch\.complex64"):
        column_stats(x * 1j)
    with pytest.raises(InputError, match=r"column_stats: row_scale must hold numbers, in shape \(2,\)"):
        column_stats(x, row_scale=np.ones(3))
    with pytest.raises(InputError, match="offset and row_scale cannot be combined for sparse X"):
        column_stats(x.to_sparse_csr(), offset=np.ones(4), row_scale=np.ones(2))
    starts, values = torch.tensor([0, 2]), torch.ones(2)
    for indices in ([1, 5], [-1, 2]):
        rows = torch.sparse_csr_tensor(starts, torch.tensor(indices), values, size=(1, 5), check_invariants=False)
        with pytest.raises(InputError, match=r"must rise within \[0, 5\), got 1 entries that do not"):
            column_stats(rows.to(device))
