"""Blocks of samples that are alike, and labels that are permuted within them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pixfold.errors import InputError
from pixfold.learn.sample_blocks import permuted_labels, sample_blocks

CLASSES = np.repeat([0, 1, 2], [53, 31, 12])


def table(labels: Any, blocks: Any) -> Any:
    """Samples of each block (rows) and class."""
    codes = np.unique(labels, return_inverse=True)[1]
    counts = np.zeros((blocks.max() + 1, codes.max() + 1), dtype=np.int64)
    np.add.at(counts, (blocks, codes), 1)
    return counts


@pytest.mark.parametrize("n_blocks", [2, 5, 10])
@pytest.mark.parametrize("seed", [0, 1])
def test_classes_and_sizes_differ_by_at_most_one_sample(n_blocks: int, seed: int) -> None:
    order = np.random.default_rng(3).permutation(len(CLASSES))
    found = sample_blocks(CLASSES[order], n_blocks=n_blocks, seed=seed)
    assert found.n_blocks == n_blocks
    assert found.blocks.dtype == np.int64
    counts = table(CLASSES[order], found.blocks)
    assert np.ptp(counts, axis=0).max() <= 1
    assert np.ptp(counts.sum(axis=1)) <= 1
    assert found.messages == []


def test_many_small_classes_are_not_heaped_in_the_first_blocks() -> None:
    labels = np.arange(100) // 4
    found = sample_blocks(labels, n_blocks=10, seed=0)
    assert found.n_blocks == 4
    assert np.all(table(labels, found.blocks) == 1)
    labels = np.arange(101) // 7
    found = sample_blocks(labels, n_blocks=10, seed=0)
    assert np.ptp(np.bincount(found.blocks)) <= 1


def test_a_seed_gives_the_same_blocks_and_another_one_others() -> None:
    first, again, other = (sample_blocks(CLASSES, seed=seed).blocks for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize(
    ("sizes", "n_blocks", "message"),
    [
        ([40, 10], 10, None),
        ([40, 40, 2], 10, "1 class has fewer samples than the 10 blocks of samples: 'c' (2 samples)"),
        ([40, 1], 10, "'b' (1 sample); some blocks have none of it, and one of a single sample is never both"),
        ([40, 2, 1], 10, "2 classes have fewer samples than the 10 blocks of samples: 'b' (2 samples), 'c' (1 sample)"),
        ([2, 2], 2, None),
        ([2, 1], 2, "'b' (1 sample)"),
        ([1, 1, 1], 1, "no two samples or groups of one class: all samples are in one block"),
    ],
)
def test_small_classes(sizes: list[int], n_blocks: int, message: str | None) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    found = sample_blocks(labels, seed=0, class_names=["a", "b", "c"])
    assert found.n_blocks == n_blocks
    assert len(found.messages) == (message is not None)
    assert message is None or message in found.messages[0]
    for code, size in enumerate(sizes):
        assert len(np.unique(found.blocks[labels == code])) == min(size, n_blocks)


def test_blocks_of_a_measurement_have_its_quantiles() -> None:
    values = np.random.default_rng(0).gamma(1.0, size=200)
    found = sample_blocks(values, n_blocks=10, seed=0)
    ranks = np.argsort(np.argsort(values)) // 10
    # Every ten values that follow each other are one in each block.
    assert np.all(table(ranks, found.blocks) == 1)
    assert sample_blocks(np.arange(5.0), seed=0).n_blocks == 2
    assert sample_blocks(np.array([1.5]), seed=0).n_blocks == 1


@pytest.mark.parametrize("labels", ["classes", "measurement"])
def test_groups_are_never_parted(labels: str) -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(30), rng.integers(1, 12, 30))
    drawn = (groups % 3) if labels == "classes" else rng.random(30)[groups]
    order = rng.permutation(len(groups))
    groups, drawn = groups[order], drawn[order]
    names = np.array([f"donor {group}" for group in groups], dtype=object)
    found = sample_blocks(drawn, names, n_blocks=5, seed=0)
    assert found.n_blocks == 5
    for group in range(30):
        assert len(np.unique(found.blocks[groups == group])) == 1
    if labels == "classes":
        assert table(drawn, found.blocks).min() >= 1
    np.testing.assert_array_equal(sample_blocks(drawn, names, n_blocks=5, seed=0).blocks, found.blocks)


def test_classes_of_few_groups_are_named() -> None:
    groups = np.repeat(np.arange(12), 4)
    labels = np.where(groups < 10, 0, 1)
    found = sample_blocks(labels, groups, seed=0, class_names=["healthy", "ill"])
    assert found.n_blocks == 10
    assert found.messages == [
        "1 class has fewer groups than the 10 blocks of samples: 'ill' (2 groups); some blocks have none of it"
    ]
    alone = sample_blocks(np.where(groups < 11, 0, 1), groups, seed=0)
    assert "'1' (1 group)" in alone.messages[0]
    assert "one of a single group is never both learned and tested" in alone.messages[0]


def test_samples_without_a_group_are_groups_of_their_own() -> None:
    groups = np.array(["a", "a", None, None, "", float("nan")] * 5, dtype=object)
    labels = np.arange(30) % 2
    found = sample_blocks(labels, groups, n_blocks=3, seed=0)
    assert len(np.unique(found.blocks[groups == "a"])) == 1
    assert found.n_blocks == 3
    one = sample_blocks(labels, np.zeros(30), seed=0)
    assert one.n_blocks == 1
    assert one.messages


@pytest.mark.parametrize("labels", [CLASSES, np.random.default_rng(1).random(96)])
def test_permutations_keep_what_is_in_each_block(labels: Any) -> None:
    blocks = sample_blocks(labels, seed=0).blocks
    found = permuted_labels(labels, blocks, n=50, seed=0)
    assert found.labels.shape == (50, len(labels))
    assert found.labels.dtype == labels.dtype
    for permuted in found.labels:
        for block in range(blocks.max() + 1):
            np.testing.assert_array_equal(np.sort(permuted[blocks == block]), np.sort(labels[blocks == block]))
    assert len(np.unique(found.labels, axis=0)) == 50
    assert not (found.labels == labels).all(axis=1).any()
    assert found.messages == []
    np.testing.assert_array_equal(permuted_labels(labels, blocks, n=50, seed=0).labels, found.labels)
    assert (permuted_labels(labels, blocks, n=50, seed=1).labels != found.labels).any()


def test_every_arrangement_comes_about_as_often() -> None:
    labels, blocks = np.array([0, 0, 1, 1]), np.zeros(4, dtype=np.int64)
    first = [permuted_labels(labels, blocks, n=1, seed=seed).labels[0].tolist() for seed in range(600)]
    counts = [first.count(one) for one in ([0, 1, 0, 1], [0, 1, 1, 0], [1, 0, 0, 1], [1, 0, 1, 0], [1, 1, 0, 0])]
    assert sum(counts) == 600
    # 120 of each are expected, with a standard deviation of 9.8.
    assert min(counts) > 70


def test_few_permutations_are_said() -> None:
    labels, blocks = np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1])
    found = permuted_labels(labels, blocks, n=10, seed=0)
    # All there are, and not one more: the labels as they are come first.
    assert len(np.unique(np.vstack([labels, found.labels]), axis=0)) == 4 == 1 + len(found.labels)
    assert "can be permuted in 3 other ways only" in found.messages[0]
    assert "a p-value cannot be below 0.25" in found.messages[0]
    assert permuted_labels(labels, blocks, n=3, seed=0).messages == []
    same = permuted_labels(np.zeros(4, dtype=np.int64), blocks, n=3, seed=0)
    assert same.labels.shape == (0, 4)
    assert same.messages


def test_groups_of_one_label_exchange_labels_as_a_whole() -> None:
    groups = np.repeat(np.arange(40), 5)
    labels = groups % 2
    blocks = sample_blocks(labels, groups, n_blocks=4, seed=0).blocks
    found = permuted_labels(labels, blocks, groups, n=30, seed=0)
    for permuted in found.labels:
        assert np.all(permuted.reshape(40, 5) == permuted[::5, None])
        np.testing.assert_array_equal(table(permuted, blocks), table(labels, blocks))
    assert len(np.unique(found.labels, axis=0)) == 30
    assert found.messages == []


def test_groups_exchange_labels_with_those_of_their_size() -> None:
    sizes = np.array([1] * 20 + [50] * 20)
    groups = np.repeat(np.arange(40), sizes)
    labels = groups % 2
    blocks = np.zeros(len(groups), dtype=np.int64)
    for permuted in permuted_labels(labels, blocks, groups, n=20, seed=0).labels:
        assert permuted.sum() == labels.sum()


def test_few_groups_still_exchange_labels_within_their_block() -> None:
    """Over blocks, what is held out would be out of balance in the permutations alone."""
    groups = np.repeat(np.arange(12), 3)
    labels = np.tile(np.repeat([0, 1], 3), 6)
    blocks = groups // 2 // 3
    found = permuted_labels(labels, blocks, groups, n=1000, seed=0)
    assert len(np.unique(found.labels, axis=0)) == 20 * 20 - 1  # 3 of 6 groups in each of two blocks
    for permuted in found.labels:
        assert np.all(permuted.reshape(12, 3) == permuted[::3, None])
        np.testing.assert_array_equal(table(permuted, blocks), table(labels, blocks))


def test_labels_that_differ_within_groups_are_permuted_within_them() -> None:
    groups = np.repeat(np.arange(20), 4)  # of the last four groups each has one label
    labels = np.where(groups < 16, np.tile([0, 0, 1, 1], 20), groups % 2)
    blocks = sample_blocks(labels, groups, n_blocks=4, seed=0).blocks
    for permuted in permuted_labels(labels, blocks, groups, n=20, seed=0).labels:
        assert np.all(permuted.reshape(20, 4)[:16].sum(axis=1) == 2)
        assert np.all(permuted.reshape(20, 4)[16:] == permuted.reshape(20, 4)[16:, :1])
    pairs = permuted_labels(np.tile([0.5, 1.5], 20), np.arange(40) // 20, np.arange(40) // 2, n=5, seed=0)
    assert np.all(np.sort(pairs.labels.reshape(5, 20, 2)) == [0.5, 1.5])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sample_blocks([], seed=0), "sample_blocks: labels must be integers"),
        (lambda: sample_blocks([0.0, np.nan], seed=0), "sample_blocks: labels must be integers"),
        (lambda: sample_blocks(["a", "b"], seed=0), "sample_blocks: labels must be integers"),
        (lambda: sample_blocks([0, 1], n_blocks=1, seed=0), "n_blocks must be an integer of 2 or more, got 1"),
        (lambda: sample_blocks([0, 1], seed=-1), "sample_blocks: seed must be an integer of 0 or more, got -1"),
        (lambda: sample_blocks([0, 1], [0], seed=0), "sample_blocks: groups must be 2, one per sample, got 1"),
        (lambda: permuted_labels([0, 1], [0], n=1, seed=0), "permuted_labels: blocks must be 2, one per sample, got 1"),
        (lambda: permuted_labels([0, 1], [0.5, 1], n=1, seed=0), "permuted_labels: blocks must be integers"),
        (lambda: permuted_labels([0, 1], [0, 0], n=0, seed=0), "permuted_labels: n must be a positive integer, got 0"),
        (lambda: permuted_labels([0, 1], [0, 0], [1], n=1, seed=0), "permuted_labels: groups must be 2"),
    ],
)
def test_what_is_refused(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
