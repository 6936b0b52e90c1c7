"""What FoldLoader does for a CUDA device: compact bytes there, and the fold there."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from pixfold.errors import InputError
from pixfold.genotypes import PackedGenotypes
from pixfold.layout import Layout
from pixfold.normalize.normalizer import Normalizer
from pixfold.ops import fold
from pixfold.sources import ArraySource

torch = pytest.importorskip("torch")

N, F = 23, 301


def genotypes(seed=0):
    return np.random.default_rng(seed).choice([0, 1, 2], (N, F)).astype(np.float32)


FORMS = {
    "float32": lambda x: x,
    "float64": lambda x: x.astype(np.float64),
    "uint8": lambda x: x.astype(np.uint8),
    "uint16": lambda x: x.astype(np.uint16),
    "int64": lambda x: x.astype(np.int64),
    "columns": np.asfortranarray,
    "csr": sparse.csr_matrix,
    "packed": PackedGenotypes.pack,
}


@pytest.fixture
def transfer(device, simulated):
    from pixfold.loader.transfer import Transfer

    return Transfer(torch.device(device))


@pytest.mark.parametrize("form", FORMS)
def test_batches_arrive_and_fold_as_on_the_cpu(transfer, form):
    layout = Layout.shuffled(F, seed=1)
    x = FORMS[form](genotypes())
    normalizer = Normalizer("zscore").fit(genotypes())
    parts = [x[:9], x[9:10], x[10:]]
    # Two are under way before the first is folded, and the buffers take turns.
    sent = [transfer.send(part) for part in parts[:2]]
    images = [transfer.fold(sent[0], layout, normalizer, "float32")]
    sent.append(transfer.send(parts[2]))
    images += [transfer.fold(one, layout, normalizer, "float32") for one in sent[1:]]
    expected = fold(genotypes(), layout, normalizer)
    found = torch.cat(images).cpu().numpy()
    # 4 ulp of float32 at the largest value, as the kernels promise.
    assert abs(found - expected).max() <= 4 * np.spacing(np.float32(abs(expected).max()))


@pytest.mark.parametrize("shuffle", [False, "full", "block"])
@pytest.mark.parametrize("form", FORMS)
def test_a_loader_for_the_device(transfer, device, form, shuffle):
    from pixfold.loader import FoldLoader
    from pixfold.loader.folding import DeviceFolding

    layout = Layout.shuffled(F, seed=1)
    normalizer = Normalizer("zscore").fit(genotypes())
    loader = FoldLoader(
        ArraySource(FORMS[form](genotypes())), layout, normalizer, batch_size=5, shuffle=shuffle, device=device
    )
    loader._folding = DeviceFolding(transfer, layout, normalizer, "float32")
    expected = fold(genotypes(), layout, normalizer)
    seen = []
    for images, _, indices in loader:
        assert images.device.type == device
        assert abs(images.cpu().numpy() - expected[indices.numpy()]).max() <= 4 * np.spacing(
            np.float32(abs(expected).max())
        )
        seen += indices.tolist()
    assert sorted(seen) == list(range(N))


def test_missing_values_are_told_at_the_end_of_the_epoch(transfer):
    from pixfold.loader.folding import DeviceFolding

    layout, x = Layout.natural(F), genotypes()
    normalizer = Normalizer("zscore").fit(x)
    x[20, 3] = np.nan
    batches = [(np.arange(i, i + 5), x[i : i + 5]) for i in range(0, 20, 5)] + [(np.arange(20, 23), x[20:])]
    made = DeviceFolding(transfer, layout, normalizer, "float32").images(iter(batches))
    for _ in range(5):
        next(made)
    with pytest.raises(InputError, match="X must have no missing values, got 1 NaN"):
        next(made)


@pytest.mark.gpu
def test_a_card_is_used_where_there_is_one():
    from pixfold.arrays import cuda_extension as _cuda_extension
    from pixfold.loader import FoldLoader
    from pixfold.loader.folding import DeviceFolding

    if not torch.cuda.is_available() or not _cuda_extension.is_built():
        pytest.skip("no NVIDIA GPU, or pixfold was built without the CUDA extension")
    layout, x = Layout.shuffled(F), genotypes()
    loader = FoldLoader(x, layout, batch_size=4, shuffle="block", device="cuda")
    found = torch.zeros((N, *layout.shape), device="cuda")
    for images, _, indices in loader:
        assert images.is_cuda
        found[indices] = images
    assert isinstance(loader._folding, DeviceFolding)
    np.testing.assert_array_equal(found.cpu().numpy(), fold(x, layout))
