"""DeviceDataset: what a batch shows is what fold shows of the same samples, however they are kept."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse

import pixfold as pf
from pixfold.arrays import cuda_extension as _cuda_extension

torch = pytest.importorskip("torch")

DTYPES = ["float32", "float64", "float16", "bool", "uint8", "int8", "int16", "uint16", "int32", "uint32", "int64"]
N, F = 45, 130


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request):
    if request.param == "cuda" and not (torch.cuda.is_available() and _cuda_extension.is_built()):
        pytest.skip("needs an NVIDIA GPU and the CUDA extension")
    return request.param


def counts(dtype="float32"):
    return np.random.default_rng(0).integers(0, 2 if dtype == "bool" else 100, (N, F)).astype(dtype)


def packed():
    bits = np.random.default_rng(0).integers(0, 256, (N, -(-F // 4)), dtype=np.uint8)
    return pf.PackedGenotypes(bits, F, count_first=False)


def csr_parts():
    matrix = scipy.sparse.csr_array(np.where(counts() < 80, 0, counts()))
    return [torch.from_numpy(part) for part in (matrix.indptr, matrix.indices, matrix.data)]


KEPT = {
    "dense": counts,
    "csr": lambda: scipy.sparse.csr_array(np.where(counts() < 80, 0, counts())),
    "packed": packed,
    "torch": lambda: torch.from_numpy(counts()),
    "torch bfloat16": lambda: torch.from_numpy(counts()).bfloat16(),
    "torch csr": lambda: torch.sparse_csr_tensor(*csr_parts(), (N, F), check_invariants=False),
}


def made(X, preset="log1p-zscore", **options):
    layout = pf.Layout.shuffled(F, seed=1)
    host = X.float().to_dense().numpy() if isinstance(X, torch.Tensor) else X
    normalizer = pf.Normalizer("genotype" if isinstance(X, pf.PackedGenotypes) else preset).fit(host)
    return pf.DeviceDataset(X, layout, normalizer, **options), np.asarray(pf.fold(host, layout, normalizer))


@pytest.mark.parametrize("kind", KEPT)
@pytest.mark.parametrize("indices", [[0], [3, 3, 44, 0], [], list(range(N))])
def test_fold(kind, indices, device):
    dataset, expected = made(KEPT[kind](), device=device)
    for given in (indices, np.array(indices, np.int32), torch.tensor(indices, dtype=torch.int64)):
        images = dataset.fold(given)
        assert images.device.type == device
        np.testing.assert_array_equal(images.cpu(), expected[indices])
    out = torch.full_like(images, 7)
    assert dataset.fold(indices, out=out) is out
    np.testing.assert_array_equal(out.cpu(), expected[indices])


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes(dtype, device):
    x = counts(dtype)
    dataset, expected = made(x, device=device)
    np.testing.assert_array_equal(dataset.fold([7, 1]).cpu(), expected[[7, 1]])
    found = torch.cat([images for images, *_ in dataset.batches(64)]).cpu().numpy()
    order = torch.cat([indices for *_, indices in dataset.batches(64)]).cpu().numpy()
    np.testing.assert_array_equal(found, expected[order])
    row_bytes = F * x.itemsize
    assert dataset.nbytes == N * (row_bytes if device == "cpu" else -(-row_bytes // 16) * 16)


@pytest.mark.parametrize("kind", ["dense", "csr", "packed"])
@pytest.mark.parametrize("batch_size", [8, 16, 64])
def test_every_sample_once(kind, batch_size, device):
    dataset, expected = made(KEPT[kind](), labels=np.arange(N) % 3, device=device)
    orders = []
    for epoch in (0, 1):
        seen = []
        for images, labels, indices in dataset.batches(batch_size, shuffle=True, seed=5, epoch=epoch):
            assert len(images) == len(labels) == len(indices) <= batch_size
            np.testing.assert_array_equal(images.cpu(), expected[indices.cpu()])
            np.testing.assert_array_equal(labels.cpu(), indices.cpu() % 3)
            seen.append(indices.cpu().numpy())
        orders.append(np.concatenate(seen))
        np.testing.assert_array_equal(np.sort(orders[-1]), np.arange(N))
    assert batch_size == 64 or not np.array_equal(*orders)
    again = [indices for *_, indices in dataset.batches(batch_size, shuffle=True, seed=5, epoch=1)]
    np.testing.assert_array_equal(torch.cat(again).cpu(), orders[1])


def test_in_order_without_a_shuffle():
    dataset, _ = made(counts(), device="cpu")
    assert [indices.tolist() for _, labels, indices in dataset.batches(20) if labels is None] == [
        list(range(20)),
        list(range(20, 40)),
        list(range(40, 45)),
    ]
    assert [len(indices) for *_, indices in dataset.batches(20, drop_last=True)] == [20, 20]


def test_interleave_is_accepted_without_effect():
    with pytest.warns(DeprecationWarning, match="DeviceDataset: interleave has no effect any more"):
        dataset, expected = made(counts(), device="cpu", interleave=True, seed=1)
    assert dataset.group_size == 1
    assert [indices.tolist() for *_, indices in dataset.batches(40)] == [list(range(40)), list(range(40, 45))]
    np.testing.assert_array_equal(dataset.fold(range(N)), expected)


def test_sparse_samples_stay_sparse():
    x = scipy.sparse.random(N, F, density=0.05, format="csr", dtype=np.float32, random_state=0)
    dataset, _ = made(x, "log1p", device="cpu")
    assert dataset.nbytes == x.nnz * (4 + 4) + (N + 1) * 8
    assert "sparse" in repr(dataset)


def test_packed_genotypes_stay_packed():
    dataset, _ = made(packed(), device="cpu")
    assert dataset.nbytes == N * -(-F // 4)
    assert len(dataset) == N


def test_read_in_blocks(tmp_path):
    """From a file whose blocks are smaller than it."""
    np.save(tmp_path / "x.npy", counts())
    source = pf.open_source(tmp_path / "x.npy")
    source.block_size = 7
    dataset, expected = made(counts(), device="cpu")
    again = pf.DeviceDataset(source, dataset.layout, dataset.normalizer, device="cpu")
    np.testing.assert_array_equal(again.fold(range(N)), expected)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("kind", KEPT)
def test_images_of_other_types(kind, dtype):
    dataset, expected = made(KEPT[kind](), device="cpu", dtype=dtype)
    images = dataset.fold(range(N))
    assert images.dtype == getattr(torch, dtype)
    torch.testing.assert_close(images, torch.from_numpy(expected).to(images.dtype), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("indices", "words"),
    [
        ([0, N], rf"in \[0, {N}\), got 0 to {N}"),
        ([-1], r"got -1 to -1"),
        ([0.5], r"integers of shape \(batch,\), got torch.float32"),
        ([[1]], r"of shape \(1, 1\)"),
        ([True], "got torch.bool"),
    ],
)
def test_bad_indices(indices, words):
    dataset, _ = made(counts(), device="cpu")
    with pytest.raises(pf.InputError, match=rf"DeviceDataset.fold: indices must be .*{words}"):
        dataset.fold(indices)


LAYOUT = pf.Layout.natural(F)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"layout": None}, "layout must be a Layout, got NoneType"),
        ({"layout": pf.Layout.natural(5)}, "X must have the layout's 5 features, got 130"),
        ({"normalizer": 3}, "normalizer must be a Normalizer or None, got int"),
        ({"normalizer": pf.Normalizer("zscore")}, "normalizer must be fitted"),
        ({"normalizer": pf.Normalizer("zscore").fit(np.eye(3))}, "must be fitted on the layout's 130 features, got 3"),
        ({"labels": [0, 1]}, r"labels must be 45 integers, one per sample, got int64 of shape \(2,\)"),
        ({"labels": np.zeros(N)}, "labels must be 45 integers, one per sample, got float64"),
        ({"device": "gpu"}, "device must be a torch device"),
        ({"dtype": "int8"}, "dtype must be one of float32, float16, bfloat16, got 'int8'"),
        ({"interleave": 1}, "interleave must be True or False, got 1"),
        ({"seed": -1}, "seed must be an integer of 0 or more, got -1"),
    ],
)
def test_bad_arguments(given, said):
    with pytest.raises((pf.InputError, TypeError), match=f"^DeviceDataset: .*{said}"):
        pf.DeviceDataset(**{"X": counts(), "layout": LAYOUT, "device": "cpu"} | given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"batch_size": 0}, "batch_size must be a positive integer, got 0"),
        ({"shuffle": "block"}, "shuffle must be True or False, got 'block'"),
        ({"seed": 1.5}, "seed must be an integer of 0 or more, got 1.5"),
        ({"epoch": -1}, "epoch must be an integer of 0 or more, got -1"),
        ({"drop_last": None}, "drop_last must be True or False, got None"),
    ],
)
def test_bad_batches(given, said):
    dataset = pf.DeviceDataset(counts(), LAYOUT, device="cpu")
    with pytest.raises(pf.InputError, match=f"^DeviceDataset.batches: {said}"):
        dataset.batches(**{"batch_size": 8} | given)


def test_samples_are_checked_when_they_are_read():
    x = counts()
    normalizer = pf.Normalizer("log1p-zscore").fit(x)
    x[30, 7] = np.nan
    with pytest.raises(pf.InputError, match="1 NaN in 1 feature"):
        pf.DeviceDataset(x, pf.Layout.natural(F), normalizer, device="cpu")
