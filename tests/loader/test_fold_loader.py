from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse

from pixfold.errors import InputError
from pixfold.layout import Layout
from pixfold.loader import FoldLoader
from pixfold.normalize.normalizer import Normalizer
from pixfold.ops import fold
from pixfold.sources import ArraySource

N, F = 23, 10


@pytest.fixture(params=["dense", "sparse"])
def source(request) -> ArraySource:
    X = np.random.default_rng(0).integers(0, 9, (N, F)).astype(np.float32)
    return ArraySource(X if request.param == "dense" else sparse.csr_matrix(X), labels=np.arange(N) % 3)


class Watched(ArraySource):
    """Remembers which rows were asked for."""

    def __init__(self, matrix) -> None:
        super().__init__(matrix)
        self.asked: list[np.ndarray] = []

    def read(self, rows):
        self.asked.append(np.asarray(rows))
        return super().read(rows)


def dense(source):
    X = source.read(slice(0, source.n_samples))
    return X.toarray() if source.is_sparse else X


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_large_batches_use_memory_again_but_never_that_of_a_batch_in_use(dtype):
    X = np.random.default_rng(0).random((12, 300_000), dtype=np.float32)
    layout = Layout.natural(X.shape[1])
    expected = fold(torch.from_numpy(X), layout, dtype=dtype)
    batches = FoldLoader(ArraySource(X), layout, batch_size=2, dtype=dtype)
    kept = [images for images, _, _ in batches]
    assert torch.equal(torch.cat(kept), expected)
    assert len({images.data_ptr() for images in kept}) == len(kept)
    del kept
    # The next batch is made while the last one is still at hand: two take turns.
    assert len({images.data_ptr() for images, _, _ in batches}) < len(batches)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("batch_size", [1, 7, 23, 64])
def test_every_sample_comes_once_with_its_image_and_label(source, shuffle, batch_size):
    layout = Layout.shuffled(F, seed=1)
    normalizer = Normalizer("zscore").fit(dense(source))
    rows = np.arange(1, N, 2)
    labels = source.labels[rows]
    batches = FoldLoader(source, layout, normalizer, rows=rows, labels=labels, batch_size=batch_size, shuffle=shuffle)
    expected = fold(dense(source)[rows], layout, normalizer)
    seen = []
    for images, classes, indices in batches:
        assert images.shape == (len(indices), *layout.shape)
        assert images.dtype == torch.float32
        np.testing.assert_array_equal(images.numpy(), expected[indices.numpy()])
        np.testing.assert_array_equal(classes.numpy(), labels[indices.numpy()])
        seen.append(indices.numpy())
    np.testing.assert_array_equal(np.sort(np.concatenate(seen)), np.arange(len(rows)))
    assert len(seen) == len(batches) == -(-len(rows) // batch_size)
    assert [len(part) for part in seen[:-1]] == [batch_size] * (len(seen) - 1)
    assert len(seen[-1]) == len(rows) - batch_size * (len(seen) - 1)
    assert batches.n_samples == len(rows)


def epoch_of(batches, number):
    batches.set_epoch(number)
    return [indices.tolist() for _, _, indices in batches]


def test_epochs_are_shuffled_anew_and_repeatably(source):
    layout = Layout.natural(F)
    one, two = (FoldLoader(source, layout, batch_size=5, shuffle=True, seed=4) for _ in range(2))
    first, second = epoch_of(one, 1), epoch_of(one, 2)
    assert first != second
    assert epoch_of(one, 1) == first  # going back
    assert epoch_of(two, 2) == second  # without having gone through the first
    assert epoch_of(FoldLoader(source, layout, batch_size=5, shuffle=True, seed=5), 1) != first


def test_order_stays_without_shuffle(source):
    batches = FoldLoader(source, Layout.natural(F), batch_size=6)
    assert [i for batch in epoch_of(batches, 3) for i in batch] == list(range(N))


def test_reads_rise(source):
    watched = Watched(dense(source))
    rows = np.arange(0, N, 2)
    for _ in FoldLoader(watched, Layout.natural(F), rows=rows, batch_size=4, shuffle=True):
        pass
    assert sorted(np.concatenate(watched.asked).tolist()) == rows.tolist()
    assert all((np.diff(asked) > 0).all() for asked in watched.asked)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_dtype(source, dtype):
    layout = Layout.natural(F)
    images, labels, _ = next(iter(FoldLoader(source, layout, dtype=dtype)))
    assert images.dtype == getattr(torch, dtype)
    assert labels is None
    # Whole numbers below 256 are exact in all three.
    np.testing.assert_array_equal(images.float().numpy(), fold(dense(source), layout))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"labels": np.zeros(3, dtype=np.int64)}, "labels must have 23 entries, got 3"),
        ({"batch_size": 0}, "batch_size must be a positive integer, got 0"),
        ({"batch_size": 2.0}, "batch_size must be a positive integer, got 2.0"),
        ({"rows": np.array([3, 1])}, "rows must be sorted"),
    ],
)
def test_wrong_arguments(source, arguments, said):
    with pytest.raises(InputError, match=said):
        FoldLoader(source, Layout.natural(F), **arguments)


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix], ids=["dense", "sparse"])
def test_infinite_values_are_named_when_looked_for(make):
    X = np.ones((6, 4), dtype=np.float32)
    X[1, 2] = X[5, 2] = np.inf
    X[5, 0] = -np.inf
    batches = FoldLoader(ArraySource(make(X)), Layout.natural(4), check_finite=True)
    with pytest.raises(InputError, match=r"3 values infinite in 2 features \('feature_0', 'feature_2'\)"):
        next(iter(batches))
