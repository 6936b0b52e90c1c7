"""FoldLoader: samples, labels and order; blocks, ranks, workers, resuming, and the thread that reads."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import threading
from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from pixfold.errors import InputError
from pixfold.genotypes import PackedGenotypes
from pixfold.layout import Layout
from pixfold.loader import FoldLoader, fold_loader
from pixfold.normalize.normalizer import Normalizer
from pixfold.ops import fold
from pixfold.sources import ArraySource, Source, open_source
from pixfold.stream.blocks import sample_bytes

N, F = 203, 30
X = np.random.default_rng(0).integers(0, 3, (N, F)).astype(np.float32)
LAYOUT = Layout.shuffled(F, seed=1)
FORMS = {"dense": np.asarray, "sparse": sparse.csr_matrix, "packed": PackedGenotypes.pack}


class OnDisk(Source):
    """A source that counts as one on disk; it remembers which rows were asked for."""

    def __init__(self, matrix) -> None:
        vars(self).update(vars(ArraySource(matrix)))
        self.asked: list[np.ndarray] = []
        self.chunk_rows = 8

    def read(self, rows):
        self.asked.append(np.arange(N)[rows])
        return self._matrix[rows]


WHERE = {"in memory": ArraySource, "on disk": OnDisk}


@pytest.fixture(params=FORMS)
def form(request):
    return FORMS[request.param]


@pytest.fixture(params=WHERE)
def place(request):
    return WHERE[request.param]


@pytest.fixture
def source(form) -> OnDisk:
    return OnDisk(form(X))


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks of eight samples, so that there are many."""
    monkeypatch.setattr(fold_loader, "_BLOCK_BYTES", 1)


def made(source, **given):
    return FoldLoader(source, LAYOUT, **{"batch_size": 5, "shuffle": "block", "seed": 3} | given)


def epoch_of(loader, epoch=0):
    loader.set_epoch(epoch)
    return [indices.tolist() for _, _, indices in loader]


def check(loader, rows, labels, normalizer):
    """Every entry of `rows` comes once, with its image and its label."""
    expected = fold(X[rows], LAYOUT, normalizer)
    batches = []
    for images, classes, indices in loader:
        assert images.shape == (len(indices), *LAYOUT.shape)
        np.testing.assert_array_equal(images.numpy(), expected[indices.numpy()])
        np.testing.assert_array_equal(classes.numpy(), labels[indices.numpy()])
        batches.append(indices.tolist())
    assert sorted(chain.from_iterable(batches)) == list(range(len(rows)))
    return batches


@pytest.mark.parametrize("prefetch", [0, 4])
@pytest.mark.parametrize("shuffle", [False, "full", "block"])
@pytest.mark.parametrize("batch_size", [1, 5, 300])
def test_every_sample_comes_once_with_its_image_and_label(form, place, shuffle, batch_size, prefetch):
    rows = np.flatnonzero(np.arange(N) % 3)
    normalizer = Normalizer("zscore").fit(X)
    loader = made(
        place(form(X)), normalizer=normalizer, rows=rows, labels=rows % 4, batch_size=batch_size, shuffle=shuffle,
        prefetch=prefetch, memory=2_000_000,
    )  # fmt: skip
    batches = check(loader, rows, rows % 4, normalizer)
    assert len(batches) == len(loader) == -(-len(rows) // batch_size)
    assert {len(part) for part in batches[:-1]} <= {batch_size}
    assert loader.n_samples == len(rows)
    seen = list(chain.from_iterable(batches))
    whole = batch_size == 300 and loader.shuffle == "full"  # a single batch of all, which has no inner order
    assert (seen == sorted(seen)) == (shuffle is False or whole)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.integers(0, N - 1), max_size=60),
    kind=st.sampled_from(sorted(FORMS)),
    where=st.sampled_from(sorted(WHERE)),
    shuffle=st.sampled_from([False, "full", "block"]),
    batch_size=st.integers(1, 40),
    world=st.integers(1, 3),
    done=st.integers(0, 5),
)
def test_rows_in_any_order_and_repeated(rows, kind, where, shuffle, batch_size, world, done):
    """Images and labels are those of ``X[rows]``, at every rank, and in a pass that goes on half-way."""
    rows = np.array(rows, np.int64)
    world = max(1, min(world, len(rows)))
    labels, source = rows + 7, WHERE[where](FORMS[kind](X))
    expected = fold(X[rows], LAYOUT)
    seen = []
    for rank in range(world):
        given = {"shuffle": shuffle, "batch_size": batch_size, "rank": rank, "world_size": world}
        loader = made(source, rows=rows, labels=labels, **given)
        whole = epoch_of(loader)
        resumed = made(source, rows=rows.tolist(), labels=labels, **given)
        resumed.load_state_dict(loader.state_dict() | {"batch": min(done, max(0, len(whole) - 1))})
        left = []
        for images, classes, indices in resumed:
            np.testing.assert_array_equal(images.numpy(), expected[indices.numpy()])
            np.testing.assert_array_equal(classes.numpy(), labels[indices.numpy()])
            left.append(indices.tolist())
        assert left == whole[done:] or done >= len(whole)
        seen += chain.from_iterable(whole)
    assert sorted(seen) == list(range(len(rows)))
    assert shuffle or seen == list(range(len(rows)))


def test_reads_rise_and_take_no_sample_twice(form):
    source = OnDisk(form(X))
    rows = np.random.default_rng(0).integers(0, N, 300)
    for shuffle in (False, True, "block"):
        loader = made(source, rows=rows, shuffle=shuffle, memory=30_000)
        source.asked.clear()
        epoch_of(loader)
        assert all((np.diff(asked) > 0).all() for asked in source.asked)
        assert set(np.concatenate(source.asked).tolist()) == set(rows.tolist())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_large_batches_use_memory_again_but_never_that_of_a_batch_in_use(dtype):
    wide = np.random.default_rng(0).random((12, 300_000), dtype=np.float32)
    layout = Layout.natural(wide.shape[1])
    batches = FoldLoader(wide, layout, batch_size=2, dtype=dtype)
    kept = [images for images, _, _ in batches]
    assert torch.equal(torch.cat(kept), fold(torch.from_numpy(wide), layout, dtype=dtype))
    assert len({images.data_ptr() for images in kept}) == len(kept)
    del kept
    # The next batch is made while the last one is still at hand: two take turns.
    assert len({images.data_ptr() for images, _, _ in batches}) < len(batches)


def test_epochs_are_shuffled_anew_and_repeatably(source):
    one, two = made(source, shuffle=True), made(source, shuffle=True)
    first, second = epoch_of(one, 1), epoch_of(one, 2)
    assert first != second
    assert epoch_of(one, 1) == first  # going back
    assert epoch_of(two, 2) == second  # without having gone through the first
    assert epoch_of(made(source, shuffle=True, seed=5), 1) != first


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_dtype(source, dtype):
    images, labels, indices = next(iter(made(source, dtype=dtype, shuffle=False)))
    assert images.dtype == getattr(torch, dtype)
    assert labels is None
    assert indices.tolist() == list(range(5))
    # Whole numbers below 256 are exact in all three.
    np.testing.assert_array_equal(images.float().numpy(), fold(X[:5], LAYOUT))


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
    assert made(X, shuffle="auto").shuffle == "full"
    assert made(source, shuffle=True).shuffle == "full"


def test_arrays_and_paths(tmp_path):
    np.save(tmp_path / "x.npy", X)
    for data in (X, tmp_path / "x.npy", str(tmp_path / "x.npy"), sparse.csr_matrix(X)):
        check(made(data, labels=np.arange(N)), np.arange(N), np.arange(N), None)


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
            state = json.loads(json.dumps(loader.state_dict()))  # plain values
            batches.close()
            assert state["batch"] == done
            other = made(source, **given)
            other.load_state_dict(state)
            source.asked.clear()
            # set_epoch of the same epoch keeps the place; after the last batch the pass begins anew
            assert epoch_of(other, 2) == (whole[done:] or whole)
            if done < len(whole):
                read = sum(len(rows) for rows in source.asked)
                assert read <= N // world_size + 1 - 5 * done + 8 * (other.buffer_blocks + 3)
            assert epoch_of(other, 3) == epoch_of(made(source, **given), 3)


def test_a_state_is_of_all_ranks(source):
    first, second = (made(source, rank=rank, world_size=2) for rank in range(2))
    next(iter(first))
    whole = epoch_of(second)
    second.load_state_dict(first.state_dict())
    assert [i.tolist() for _, _, i in second] == whole[1:]


def test_a_pass_that_was_left_begins_anew(source):
    loader = made(source)
    whole = epoch_of(loader)
    next(iter(loader))  # to look at a batch
    assert [i.tolist() for _, _, i in loader] == whole


class MadeInWorkers(IterableDataset):
    """A loader of each worker's own."""

    def __init__(self, ranks: bool) -> None:
        self.ranks = ranks

    def __iter__(self):
        info = get_worker_info()
        share = {"rank": info.id, "world_size": info.num_workers} if self.ranks else {}
        yield from FoldLoader(X, LAYOUT, batch_size=5, **share)


@pytest.mark.parametrize(("shuffle", "how"), [(False, "fork"), ("full", "fork"), ("block", "fork"), ("block", "spawn")])
def test_workers_of_a_dataloader_share_the_batches(tmp_path, shuffle, how):
    np.save(tmp_path / "x.npy", X)
    loader = made(tmp_path / "x.npy", shuffle=shuffle, batch_size=30, labels=np.arange(N))
    whole = [(indices.tolist(), images) for images, _, indices in loader]
    for done in (0, 3) if how == "fork" else (3,):
        loader.load_state_dict(loader.state_dict() | {"batch": done})
        shared = DataLoader(
            loader, batch_size=None, num_workers=2, multiprocessing_context=how, persistent_workers=True
        )
        assert len(shared) == len(loader)
        for expected in (whole[done:], whole):  # the workers go on; only their first pass is resumed
            batches = list(shared)
            assert [indices.tolist() for _, _, indices in batches] == [indices for indices, _ in expected]
            for (images, labels, indices), (_, alone) in zip(batches, expected, strict=True):
                assert torch.equal(images, alone)
                assert torch.equal(labels, indices)
        assert loader.state_dict()["batch"] == done  # workers have copies


@pytest.mark.parametrize("ranks", [False, True])
def test_loaders_that_are_made_in_workers(ranks):
    batches = DataLoader(MadeInWorkers(ranks), batch_size=None, num_workers=2)
    assert sorted(i for _, _, indices in batches for i in indices.tolist()) == list(range(N))


def test_a_state_that_a_worker_saves_is_for_that_worker(monkeypatch):
    class Info:
        id, num_workers = 1, 3

    whole = epoch_of(made(X))
    monkeypatch.setattr(fold_loader, "get_worker_info", Info)
    loader = made(X)
    batches = iter(loader)
    assert [next(batches)[2].tolist() for _ in range(2)] == [whole[1], whole[4]]
    other = made(X)
    other.load_state_dict(loader.state_dict())
    assert [i.tolist() for _, _, i in other] == whole[7::3]
    with pytest.raises(InputError, match="device must be 'cpu' in a worker of a DataLoader, got 'cuda'"):
        next(iter(made(X, device="cuda")))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 4}, "with seed=4, got 3: its batches are others"),
        ({"batch_size": 6}, "with batch_size=6, got 5"),
        ({"shuffle": "full"}, "with shuffle='full', got 'block'"),
        ({"rank": 0, "world_size": 2}, "with world_size=2, got 1"),
        ({"rows": np.arange(N - 1)}, "with n_samples=202, got 203"),
        ({"memory": 40_000}, r"with buffer_blocks=\d+, got \d+"),
    ],
)
def test_states_of_other_loaders_are_refused(source, change, said):
    state = made(source).state_dict()
    with pytest.raises(InputError, match=f"^FoldLoader.load_state_dict: state must be of a loader {said}"):
        made(source, **change).load_state_dict(state)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"batch": 99}, "batch must be an integer of 0 or more and below 42, got 99"),
        ({"batch": 1.5}, "batch must be an integer of 0 or more and below 42, got 1.5"),
        ({"epoch": -1}, "epoch must be an integer of 0 or more, got -1"),
        (None, "state must be what state_dict gave, got one without 'epoch'"),
    ],
)
def test_what_is_no_state_is_refused(changed, said):
    loader = made(X)
    with pytest.raises(InputError, match=f"^FoldLoader.load_state_dict: {said}"):
        loader.load_state_dict({} if changed is None else loader.state_dict() | changed)
    assert loader.state_dict()["batch"] == 0


# Refused before the source is opened, and when its size is known.
WRONG = [
    ({"layout": None}, "layout must be a Layout, got NoneType"),
    ({"normalizer": "zscore"}, "normalizer must be a Normalizer or None, got str"),
    ({"normalizer": Normalizer("zscore")}, r"normalizer must be fitted \(call its fit first\), got "),
    ({"normalizer": Normalizer("zscore").fit(X[:, :9])}, "must be fitted on the layout's 30 features, got 9"),
    ({"batch_size": 0}, "batch_size must be a positive integer, got 0"),
    ({"batch_size": 2.0}, "batch_size must be a positive integer, got 2.0"),
    ({"batch_size": True}, "batch_size must be a positive integer, got True"),
    ({"shuffle": "blocks"}, "shuffle must be one of True, False, 'full', 'block', 'auto', got 'blocks'"),
    ({"shuffle": 1}, "shuffle must be one of"),
    ({"seed": -1}, "seed must be an integer of 0 or more, got -1"),
    ({"dtype": "int8"}, "dtype must be one of float32, float16, bfloat16, got 'int8'"),
    ({"device": "gpu"}, "device must be a torch device, such as 'cpu' or 'cuda:0', got 'gpu'"),
    ({"device": 1.5}, "device must be a torch device"),
    ({"threads": 0}, "threads must be a positive integer or None, got 0"),
    ({"check_finite": 1}, "check_finite must be True or False, got 1"),
    ({"prefetch": -1}, "prefetch must be an integer of 0 or more, got -1"),
    ({"memory": "lots"}, "memory must be a size such as '500MB'.*, got 'lots'"),
    ({"rank": 1}, "rank and world_size must be given together, got 1 and None"),
    ({"rank": -1, "world_size": 2}, "rank must be an integer of 0 or more, got -1"),
]
WRONG_FOR_THE_SOURCE = [
    ({"layout": Layout.natural(31)}, "source must have the layout's 31 features, got 30"),
    ({"rows": [0, -1]}, "rows must be from 0 to 202, got -1"),
    ({"rows": [5, N]}, "rows must be from 0 to 202, got 203"),
    ({"rows": [0.0, 1.5]}, "rows must be whole numbers in one dimension, got 1-D float64"),
    ({"rows": np.ones(5, bool)}, r"rows must be a mask of 203 samples, got one of shape \(5,\)"),
    ({"rows": [[0, 1]]}, "rows must be whole numbers in one dimension, got 2-D int64"),
    ({"rows": [[0], [1, 2]]}, "rows: rows must be of equal length"),
    ({"rows": 3}, "rows must be whole numbers in one dimension, got 0-D int64"),
    ({"rows": ["a"]}, "rows must be whole numbers in one dimension"),
    ({"labels": [0, 1, 2]}, r"labels must be 203 integers, one per sample, got int64 of shape \(3,\)"),
    ({"labels": np.zeros(N)}, "labels must be 203 integers, one per sample, got float64"),
    ({"rows": [1, 2], "labels": np.arange(N)}, "labels must be 2 integers, one per sample"),
    ({"memory": 10}, r"memory must be at least 6,600 bytes for array, .*, got 10 bytes"),
    ({"rank": 2, "world_size": 2}, r"rank must be in \[0, world_size\), got rank 2 of world_size 2"),
]


@pytest.mark.parametrize(("given", "said"), WRONG + WRONG_FOR_THE_SOURCE)
def test_wrong_arguments(tmp_path, given, said):
    source = tmp_path / "none.npy" if (given, said) in WRONG else OnDisk(X)
    with pytest.raises((InputError, TypeError), match=f"^FoldLoader: .*{said}"):
        FoldLoader(source, **{"layout": LAYOUT, "shuffle": "block", "batch_size": 5} | given)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix], ids=["dense", "sparse"])
def test_infinite_values_are_named_when_looked_for(form, place):
    x = np.ones((6, F), dtype=np.float32)
    x[1, 2] = x[5, 2] = np.inf
    x[5, 0] = -np.inf
    batches = made(place(form(x)), check_finite=True, shuffle=False, batch_size=6)
    with pytest.raises(
        InputError,
        match=r"array: values must be finite, got 3 infinite in 2 features \('feature_0', 'feature_2'\) and 2 samples",
    ):
        next(iter(batches))


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
    np.save(tmp_path / "x.npy", X)
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


@pytest.mark.parametrize("shuffle", [False, "full", "block"])
def test_ranks_share_the_batches_of_one(source, shuffle):
    """Parts of a batch, put where they stand in it, are the batch; a part may be empty."""
    how = {"shuffle": shuffle, "labels": np.arange(len(X)) % 3}
    whole = made(source, **how)
    ranks = [made(source, rank=rank, world_size=3, share="batches", **how) for rank in range(3)]
    assert {len(loader) for loader in ranks} == {len(whole)}
    assert {loader.n_samples for loader in ranks} == {whole.n_samples}
    empty = 0
    for (images, labels, indices), *parts in zip(whole, *ranks, strict=True):
        for loader, (own_images, own_labels, own_indices) in zip(ranks, parts, strict=True):
            places, size = loader.part
            assert size == len(images)
            empty += not len(places)
            torch.testing.assert_close(own_images, images[places], rtol=0, atol=0)
            assert (own_labels == labels[places]).all()
            assert (own_indices == indices[places]).all()
    assert sum(len(loader.part[0]) for loader in ranks) == whole.part[1]
    assert empty or shuffle != "block"


def test_what_is_shared_is_known(source):
    with pytest.raises(InputError, match=r"^FoldLoader: share must be .*'samples'.*'batches', got .*'rows'"):
        made(source, share="rows")


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
