"""FoldLoader on samples that are on disk: blocks, shuffles, ranks, resuming, and the thread that reads."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest
import torch
from scipy import sparse

from pixfold.errors import InputError
from pixfold.genotypes import PackedGenotypes
from pixfold.layout import Layout
from pixfold.loader import FoldLoader, fold_loader
from pixfold.normalize.normalizer import Normalizer
from pixfold.ops import fold
from pixfold.sources import ArraySource, open_source
from pixfold.stream.blocks import sample_bytes

N, F = 203, 30


class OnDisk:
    """A source that is not in memory; remembers what was asked for."""

    def __init__(self, matrix, chunk_rows=None) -> None:
        self.__dict__.update(ArraySource(matrix).__dict__)
        self.asked: list[np.ndarray] = []
        if chunk_rows is not None:
            self.chunk_rows = chunk_rows

    def read(self, rows):
        self.asked.append(np.arange(N)[rows])
        return self._matrix[rows]


FORMS = {"dense": np.asarray, "sparse": sparse.csr_matrix, "packed": PackedGenotypes.pack}


@pytest.fixture(params=FORMS)
def source(request) -> OnDisk:
    x = np.random.default_rng(0).integers(0, 3, (N, F)).astype(np.float32)
    return OnDisk(FORMS[request.param](x), chunk_rows=8)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks of eight samples, so that there are many."""
    monkeypatch.setattr(fold_loader, "_BLOCK_BYTES", 1)


def dense(source):
    block = source._matrix[np.arange(N)]
    return block.toarray() if hasattr(block, "toarray") else block


def made(source, **given):
    each = {"batch_size": 5, "shuffle": "block", "seed": 3} | given
    return FoldLoader(source, Layout.shuffled(F, seed=1), **each)


def epoch_of(loader, epoch=0):
    loader.set_epoch(epoch)
    return [indices.tolist() for _, _, indices in loader]


@pytest.mark.parametrize("prefetch", [0, 1, 4])
@pytest.mark.parametrize("shuffle", [False, True, "full", "block", "auto"])
@pytest.mark.parametrize("batch_size", [1, 5, 8, 16, 300])
def test_every_sample_comes_once_with_its_image_and_label(source, shuffle, batch_size, prefetch):
    rows = np.flatnonzero(np.arange(N) % 3)
    labels = rows % 4
    normalizer = Normalizer("zscore").fit(dense(source))
    loader = made(
        source, normalizer=normalizer, rows=rows, labels=labels, batch_size=batch_size, shuffle=shuffle,
        prefetch=prefetch, memory=2_000_000,
    )  # fmt: skip
    expected = fold(dense(source)[rows], loader.layout, normalizer)
    seen = []
    for images, classes, indices in loader:
        np.testing.assert_array_equal(images.numpy(), expected[indices.numpy()])
        np.testing.assert_array_equal(classes.numpy(), labels[indices.numpy()])
        seen += indices.tolist()
    assert sorted(seen) == list(range(len(rows)))
    assert (seen == sorted(seen)) == (shuffle is False or (batch_size == 300 and shuffle in (True, "full")))
    assert len(loader) == -(-len(rows) // batch_size)


def test_whole_blocks_are_read_and_each_nearly_once(source):
    batch = 5 * (3 * 36 * 4 + sample_bytes(source))
    loader = made(source, memory=(5 + 3) * 8 * sample_bytes(source) + batch)
    source.asked.clear()
    assert (loader.block_rows, loader.buffer_blocks, loader.prefetch) == (8, 5, 2)
    epoch_of(loader)
    assert sorted(np.concatenate(source.asked).tolist()) == list(range(N))
    assert all(rows.max() // 8 == rows.min() // 8 for rows in source.asked)
    # Those that the circle of the stream cuts are read in two parts.
    assert len(source.asked) <= -(-N // 8) + 5 + 1


def test_a_shuffle_is_chosen_by_where_the_samples_are(source):
    assert made(source, shuffle="auto").shuffle == "block"
    assert made(ArraySource(dense(source)), shuffle="auto").shuffle == "full"
    assert made(source, shuffle=True).shuffle == "full"


def test_arrays_and_paths(tmp_path):
    x = np.random.default_rng(0).random((N, F), dtype=np.float32)
    np.save(tmp_path / "x.npy", x)
    expected = fold(x, Layout.shuffled(F, seed=1))
    for data in (x, tmp_path / "x.npy", str(tmp_path / "x.npy"), sparse.csr_matrix(x)):
        for images, _, indices in made(data):
            np.testing.assert_array_equal(images.numpy(), expected[indices.numpy()])


@pytest.mark.parametrize("shuffle", [False, "full", "block"])
@pytest.mark.parametrize("world_size", [1, 3])
def test_resuming_gives_exactly_the_batches_that_are_left(source, shuffle, world_size):
    for rank in range(world_size):
        given = {"shuffle": shuffle, "rank": rank, "world_size": world_size, "memory": 30_000}
        whole = epoch_of(made(source, **given), 2)
        for done in (0, 1, 7, len(whole) - 1, len(whole)):
            loader = made(source, **given)
            loader.set_epoch(2)
            batches = iter(loader)
            for _ in range(done):
                next(batches)
            state = loader.state_dict()
            batches.close()
            other = made(source, **given)
            other.load_state_dict(state)
            assert [i.tolist() for _, _, i in other._batches(other._next)] == whole[done:]
            other = made(source, **given)
            other.load_state_dict(state)
            if done < len(whole):
                source.asked.clear()
                assert epoch_of(other, 2) == whole[done:]  # set_epoch of the same epoch keeps the place
                read = sum(len(rows) for rows in source.asked)
                assert read <= N // world_size + 1 - 5 * done + 8 * (other.buffer_blocks + 3)
                assert epoch_of(other, 3) == epoch_of(made(source, **given), 3)


def test_states_are_plain_and_of_all_ranks(source):
    import json

    first = made(source, rank=0, world_size=2)
    batches = iter(first)
    next(batches)
    state = json.loads(json.dumps(first.state_dict()))
    second = made(source, rank=1, world_size=2)
    whole = epoch_of(second)
    second.load_state_dict(state)
    assert [i.tolist() for _, _, i in second] == whole[1:]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 4}, "with seed=3, expected 4: its batches would be others"),
        ({"batch_size": 6}, "with batch_size=5, expected 6"),
        ({"shuffle": "full"}, "with shuffle='block', expected 'full'"),
        ({"rank": 0, "world_size": 2}, "with world_size=1, expected 2"),
        ({"rows": np.arange(N - 1)}, "with n_samples=203, expected 202"),
        ({"memory": 40_000}, r"with buffer_blocks=\d+, expected \d+"),
    ],
)
def test_states_of_other_loaders_are_refused(source, change, said):
    state = made(source).state_dict()
    with pytest.raises(InputError, match=said):
        made(source, **change).load_state_dict(state)


def test_what_is_no_state_is_refused(source):
    loader = made(source)
    with pytest.raises(InputError, match="expected what state_dict gave, received one without 'epoch'"):
        loader.load_state_dict({})
    with pytest.raises(InputError, match="batch must be in 0 to 41, got 99"):
        loader.load_state_dict(loader.state_dict() | {"batch": 99})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"shuffle": "blocks"}, "shuffle must be one of True, False, 'full', 'block', 'auto', got 'blocks'"),
        ({"shuffle": 1}, "shuffle must be one of"),
        ({"prefetch": -1}, "prefetch must be an integer, not negative, got -1"),
        ({"memory": "lots"}, "FoldLoader: memory: expected a size such as '500MB'"),
        (
            {"memory": 10},
            r"memory=10 bytes \(10 bytes\) is too small for array: 4 blocks of 8 samples take .*, and batches of 5",
        ),
        ({"rank": 1}, "rank and world_size go together, got 1 and None"),
        ({"rank": -1, "world_size": 2}, "rank must be an integer, not negative"),
        ({"rank": 2, "world_size": 2}, r"rank must be in \[0, world_size\)"),
        ({"seed": -1}, "seed must be an integer, not negative, got -1"),
    ],
)
def test_wrong_arguments(source, given, said):
    with pytest.raises(InputError, match=said):
        made(source, **given)


def readers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("pixfold-read")]


def test_the_thread_ends_with_the_iterator(source):
    loader = made(source)
    for _ in loader:
        assert readers()
    assert not readers()
    batches = iter(loader)
    next(batches)
    assert readers()
    batches.close()
    assert not readers()
    batches = iter(loader)
    next(batches)
    del batches
    assert not readers()


def test_errors_of_reading_come_out(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((N, F), dtype=np.float32))
    source = open_source(tmp_path / "x.npy")
    batches = iter(made(source))
    next(batches)
    np.save(tmp_path / "x.npy", np.ones((3, F), dtype=np.float32))
    with pytest.raises(InputError, match=r"x\.npy: the file has changed since it was opened"):
        list(batches)
    assert not readers()


def test_a_loader_can_be_pickled_and_used_in_a_fork(tmp_path):
    script = f"""
    import os, pickle, warnings
    import numpy as np
    warnings.simplefilter("ignore")
    from pixfold import FoldLoader, Layout
    np.save({str(tmp_path / "x.npy")!r}, np.ones((50, 9), dtype=np.float32))
    loader = FoldLoader({str(tmp_path / "x.npy")!r}, Layout.natural(9), batch_size=4, shuffle="block")
    whole = [i.tolist() for _, _, i in loader]
    assert [i.tolist() for _, _, i in pickle.loads(pickle.dumps(loader))] == whole
    child = os.fork()
    if child == 0:
        os._exit(0 if [i.tolist() for _, _, i in loader] == whole else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, timeout=120)


def test_ranks_of_torch_distributed(tmp_path):
    """Two processes of gloo share an epoch, and make their steps together."""
    if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
        pytest.skip("torch was built without gloo")
    script = f"""
    import sys
    import numpy as np
    import torch
    import torch.distributed as dist
    from pixfold import FoldLoader, Layout
    rank = int(sys.argv[1])
    dist.init_process_group("gloo", init_method="file://{tmp_path / "store"}", rank=rank, world_size=2)
    loader = FoldLoader({str(tmp_path / "x.npy")!r}, Layout.natural(9), batch_size=4, shuffle="block", seed=1)
    seen = []
    for images, _, indices in loader:
        assert torch.equal(images[:, 0, 0, 0].long(), indices)
        total = images.sum()
        dist.all_reduce(total)  # every rank must come here equally often
        seen += indices.tolist()
    parts = [None, None]
    dist.all_gather_object(parts, seen)
    assert sorted(parts[0] + parts[1]) == list(range(53)), parts
    assert abs(len(parts[0]) - len(parts[1])) <= 1
    dist.destroy_process_group()
    """
    x = np.zeros((53, 9), dtype=np.float32)
    x[:, 0] = np.arange(53)
    np.save(tmp_path / "x.npy", x)
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script)]
    ranks = [subprocess.Popen([*command, str(rank)]) for rank in range(2)]
    try:
        assert [process.wait(timeout=240) for process in ranks] == [0, 0]
    finally:
        for process in ranks:
            process.kill()
