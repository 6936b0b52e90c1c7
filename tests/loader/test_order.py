from __future__ import annotations

import numpy as np
import pytest

from pixfold.errors import InputError
from pixfold.loader.order import Epoch, Order


def order(n, batch_size=4, shuffle="block", *, block=8, buffer=3, rank=0, world=1, seed=0, share="samples"):
    return Order(n, batch_size, shuffle, seed, block, buffer, rank, world, share)


def check(epoch: Epoch) -> None:
    """What is read is what is wanted, in time, and no longer than it is."""
    members = [epoch.read_with(s) for s in range(len(epoch.last))]
    first_use = []
    for number in range(len(epoch)):
        positions, segment, place = epoch.batch(number)
        for p, s, k in zip(positions, segment, place, strict=True):
            assert members[s][k] == p
            assert number <= epoch.last[s]
            if s not in first_use:
                first_use.append(s)
    assert first_use == list(range(len(members)))
    for s, last in enumerate(epoch.last):
        assert s in epoch.batch(last)[1]
    assert all((np.diff(m) > 0).all() for m in members)


KINDS = [("full", 0), (False, 0), (False, 8), ("block", 8)]


@pytest.mark.parametrize("world", [1, 2, 3, 7])
@pytest.mark.parametrize("n", [7, 8, 9, 64, 100, 253])
@pytest.mark.parametrize(("shuffle", "block"), KINDS)
def test_every_sample_comes_once_at_one_rank(shuffle, block, n, world):
    for batch_size in (2, 4, 16, 500):
        parts, steps = [], []
        for rank in range(world):
            made = order(n, batch_size, shuffle, block=block, rank=rank, world=world)
            epoch = made.epoch(3)
            check(epoch)
            sizes = np.diff(epoch.cuts)
            assert sizes.min() >= 1
            assert sizes.max() <= batch_size
            parts.append(epoch.positions)
            steps.append(len(epoch))
        assert sorted(np.concatenate(parts).tolist()) == list(range(n))
        assert len(set(steps)) == 1  # what DistributedDataParallel needs
        lengths = [len(part) for part in parts]
        assert max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("n", [1, 9, 64, 253])
@pytest.mark.parametrize(("shuffle", "block"), KINDS)
def test_ranks_share_the_batches_of_one(shuffle, block, n, world):
    for batch_size in (2, 16):
        whole = order(n, batch_size, shuffle, block=block).epoch(3)
        parts = []
        for rank in range(world):
            made = order(n, batch_size, shuffle, block=block, rank=rank, world=world, share="batches")
            assert made.bounds == (0, n)
            parts.append(made.epoch(3))
            check(parts[-1])
        for number in range(len(whole)):
            wanted = whole.batch(number)[0]
            own = [part.batch(number)[0] for part in parts]
            places = [part.within[part.cuts[number] : part.cuts[number + 1]] for part in parts]
            assert sorted(np.concatenate(places)) == list(range(len(wanted)))
            for positions, where in zip(own, places, strict=True):
                assert (wanted[where] == positions).all()
            assert {int(part.sizes[number]) for part in parts} == {len(wanted)}
            sizes = [len(positions) for positions in own]
            if shuffle != "block" or n < 8 * 8 * world:
                assert max(sizes) - min(sizes) <= 1


def test_a_rank_reads_blocks_of_its_own():
    n, world = 2000, 2
    parts = [order(n, 16, buffer=50, rank=r, world=world, share="batches").epoch(1) for r in range(world)]
    blocks = [set((part.positions // 8).tolist()) for part in parts]
    assert not blocks[0] & blocks[1]
    assert len(blocks[0]) == len(blocks[1]) == 125
    # Each sample is read once: blocks that come round are read in two parts.
    assert all(sorted(part.members) == sorted(part.positions) for part in parts)
    sizes = np.stack([np.diff(part.cuts) for part in parts])
    assert abs(float((sizes[0] - sizes[1]).mean())) < 0.5


def test_batches_of_one_may_leave_a_rank_a_step_short():
    steps = [len(order(7, 1, rank=rank, world=2).epoch(0)) for rank in range(2)]
    assert sorted(steps) == [3, 4]


@pytest.mark.parametrize(("shuffle", "block"), KINDS)
def test_order_depends_on_seed_and_epoch_alone(shuffle, block):
    def positions(epoch, **given):
        return order(200, 8, shuffle, block=block, **given).epoch(epoch).positions.tolist()

    assert positions(1) == positions(1)
    changes = shuffle is not False
    assert (positions(1) != positions(2)) == changes
    assert (positions(1) != positions(1, seed=1)) == changes
    if not changes:
        assert positions(1) == list(range(200))


def test_no_more_blocks_than_the_buffer_holds():
    for seed in range(5):
        epoch = order(1000, 10, block=10, buffer=7, seed=seed).epoch(0)
        alive, most = set(), 0
        for number in range(len(epoch)):
            alive |= set(epoch.batch(number)[1].tolist())
            most = max(most, len(alive))
            alive -= {s for s in alive if epoch.last[s] == number}
        # One more for the block that the span begins in, and as many as a batch crosses.
        assert most <= 7 + 1 + 1


def test_few_blocks_are_shuffled_in_full():
    epoch = order(40, 4, block=10, buffer=4).epoch(0)
    assert len(epoch.last) == 4
    seen = np.zeros(40)
    for seed in range(3000):
        seen[order(40, 4, block=10, buffer=4, seed=seed).epoch(0).positions[:4]] += 1
    # 300 times each; the spread of a count is 16, and five of those are not met by 40 counts in a million tries.
    assert abs(seen - 300).max() < 85


def test_how_far_a_block_shuffle_is_from_a_full_one():
    """The numbers of FoldLoader's Notes, over many epochs."""
    n, block, buffer, size = 6000, 20, 25, 10
    span = block * buffer
    rng = np.random.default_rng(0)
    apart, shared, displaced, first, effective = [], [], [], [], []
    label = np.arange(n) < n // 2  # a file sorted by class
    for seed in range(150):
        epoch = order(n, size, block=block, buffer=buffer, seed=seed).epoch(0)
        at = np.empty(n, dtype=np.int64)
        at[epoch.positions] = np.arange(n)
        starts = rng.integers(0, n // block, 300) * block
        neighbours = at[starts], at[starts + 1]
        gap = abs(neighbours[0] - neighbours[1])
        apart.append(np.minimum(gap, n - gap).mean())
        shared.append((neighbours[0] // size == neighbours[1] // size).mean())
        displaced.append(abs(at - np.arange(n)).mean())
        first.append(at[:: n // 7])
        effective.append(np.add.reduceat(label[epoch.positions], np.arange(0, n, size)) / size)
    # Standard errors: of the order of 1 % for means over 45,000 pairs, 4 % for rare events.
    assert np.mean(apart) == pytest.approx(span / 3, rel=0.03)
    assert np.mean(shared) == pytest.approx((size - 1) / span, rel=0.15)
    assert np.mean(displaced) == pytest.approx(n / 3, rel=0.02)
    # Any place is as likely as any other: the counts of ten equal stretches.
    counts = np.histogram(np.concatenate(first), bins=10, range=(0, n))[0]
    expected = counts.sum() / 10
    assert abs(counts - expected).max() < 4.5 * np.sqrt(expected)
    # The share of a class varies as in smaller batches of a full shuffle.
    variance = np.concatenate(effective).var()
    assert 0.25 / variance == pytest.approx(size / (1 + (size - 1) / buffer), rel=0.05)


def test_impossible_ranks():
    with pytest.raises(InputError, match=r"rank must be in \[0, world_size\), got rank 2 of world_size 2"):
        order(10, rank=2, world=2)
    with pytest.raises(InputError, match="world_size must be at most the number of samples, 3, got 4"):
        order(3, rank=0, world=4)


def test_nothing_at_all():
    assert len(order(0, shuffle="full", block=0).epoch(0)) == 0
