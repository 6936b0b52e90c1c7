"""ImagePool: memory comes back when nobody refers to it, never before; and fresh outputs lie in huge pages."""

from __future__ import annotations

import copy
import gc
import itertools
import os
import pickle
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pixfold as pf

MIB = 1 << 20


def address(array) -> int:
    return array.__array_interface__["data"][0]


@pytest.fixture
def pool():
    return pf.ImagePool()


@pytest.fixture
def wide():
    """Samples whose float32 images take more than 1 MiB, and their layout."""
    return np.random.default_rng(0).random((20, 20_000), dtype=np.float32), pf.Layout.natural(20_000)


def test_memory_comes_back(pool):
    first = pool.empty((4, MIB), np.float32)
    assert first.shape == (4, MIB)
    assert first.dtype == np.float32
    assert first.flags.c_contiguous
    assert first.flags.writeable
    assert address(first) % 64 == 0
    where = address(first)
    del first
    assert address(pool.empty((4, MIB), np.float32)) == where
    assert address(pool.empty(8 * MIB, np.float16)) == where  # other shapes and types of the same size
    assert pool.held_bytes == 16 * MIB


def keep_slice(array):
    return array[1:3]


def keep_reshaped_transpose(array):
    return array.reshape(-1, 2).T


def keep_other_type(array):
    return array.view(np.uint8)[::2]


def keep_memoryview(array):
    return memoryview(array)


def keep_array_of_memoryview(array):
    return np.asarray(memoryview(array))


def keep_tensor(array):
    return pytest.importorskip("torch").from_numpy(array)


def keep_view_of_tensor(array):
    return pytest.importorskip("torch").from_numpy(array)[1:].detach().view(-1)


def keep_dlpack(array):
    return np.from_dlpack(array)[2:]


def keep_pickle_buffer(array):
    return pickle.PickleBuffer(array)


KEEPERS = [
    keep_slice,
    keep_reshaped_transpose,
    keep_other_type,
    keep_memoryview,
    keep_array_of_memoryview,
    keep_tensor,
    keep_view_of_tensor,
    keep_dlpack,
    keep_pickle_buffer,
]


@pytest.mark.parametrize("keep", KEEPERS)
def test_memory_that_something_refers_to_is_not_handed_out(pool, keep):
    array = pool.empty((4, MIB), np.float32)
    array[:] = 7
    where = address(array)
    kept = keep(array)
    del array
    gc.collect()
    other = pool.empty((4, MIB), np.float32)
    other[:] = 0
    assert address(other) != where
    assert np.all(np.asarray(kept).view(np.float32) == 7) if keep is not keep_other_type else kept.any()
    del kept, other
    assert where in {address(a) for a in [pool.empty((4, MIB), np.float32), pool.empty((4, MIB), np.float32)]}


def test_an_array_in_a_cycle_comes_back_with_the_cycle(pool):
    array = pool.empty((4, MIB))
    where = address(array)
    cycle = [array]
    cycle.append(cycle)
    del array, cycle
    gc.collect()
    assert address(pool.empty((4, MIB))) == where


def test_images_outlive_the_pool_and_its_clearing(pool):
    array = pool.empty((4, MIB))
    array[:] = 3
    pool.clear()
    assert pool.used_bytes == pool.held_bytes == array.nbytes
    del pool
    gc.collect()
    np.empty((4, MIB), np.float32)[:] = 0
    assert np.all(array == 3)


def test_clear_gives_back_what_waits(pool):
    array = pool.empty((4, MIB))
    assert pool.used_bytes == pool.held_bytes == array.nbytes
    del array
    assert pool.used_bytes == 0
    assert pool.held_bytes > 0
    pool.clear()
    assert pool.held_bytes == 0


def test_the_bound_holds_for_memory_in_use_too():
    pool = pf.ImagePool(max_bytes=10 * MIB)
    arrays = [pool.empty(4 * MIB, np.uint8) for _ in range(5)]
    assert pool.held_bytes == 8 * MIB
    assert len({address(a) for a in arrays}) == 5
    assert pool.empty(11 * MIB, np.uint8).nbytes == 11 * MIB
    del arrays
    # The two that wait make room, one by one, for one that neither of them has room for.
    large = pool.empty(6 * MIB, np.uint8)
    assert pool.held_bytes == 10 * MIB
    assert pool.used_bytes == large.nbytes == 6 * MIB


def test_a_small_array_does_not_hold_a_large_block(pool):
    where = address(pool.empty(64 * MIB, np.uint8))
    assert address(pool.empty(8 * MIB, np.uint8)) != where
    assert address(pool.empty(63 * MIB, np.uint8)) == where
    assert address(pool.empty(32 * MIB, np.uint8)) == where


def test_small_arrays_are_ordinary(pool):
    assert pool.empty((3, 5), np.float16).shape == (3, 5)
    assert pool.empty(0).size == 0
    assert pool.empty((MIB, 0)).size == 0
    assert pool.held_bytes == 0
    with pytest.raises(ValueError, match="negative"):
        pool.empty((-1, 3))


@pytest.mark.parametrize("max_bytes", [0, -1, True, 1.5, None, "4 GB"])
def test_bad_bounds_are_refused(max_bytes):
    with pytest.raises(pf.InputError, match="ImagePool: max_bytes must be a positive integer"):
        pf.ImagePool(max_bytes=max_bytes)


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))])
def test_copies_share_no_memory(again):
    pool = pf.ImagePool(max_bytes=64 * MIB)
    where = address(pool.empty((4, MIB)))
    other = again(pool)
    assert other.max_bytes == 64 * MIB
    assert other.held_bytes == 0
    assert address(other.empty((4, MIB))) != where


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 7)), max_size=40))
def test_arrays_in_use_never_overlap(steps):
    """Any order of taking (size in units of 700 KiB) and dropping: everybody's numbers stay."""
    pool = pf.ImagePool(max_bytes=24 * MIB)
    alive: list[tuple[int, np.ndarray]] = []
    for mark, (size, drop) in enumerate(steps):
        array = pool.empty(size * 700 * 1024, np.uint8)
        array[:: 64 * 1024] = array[-1] = mark
        alive.append((mark, array[: len(array) - 1][::-1] if mark % 3 == 0 else array))
        if drop < len(alive):
            del alive[drop]
        assert all(a[0] == m or a[-1] == m for m, a in alive)
        assert pool.used_bytes <= pool.held_bytes <= pool.max_bytes
    assert not any(np.may_share_memory(a, b) for (_, a), (_, b) in itertools.combinations(alive, 2))


def test_threads_share_a_pool(pool):
    """Threads that change places all the time, so that an unguarded choice of memory would be made twice."""
    wrong = []
    deadline = time.monotonic() + 1

    def work(mark: int) -> None:
        while time.monotonic() < deadline:
            arrays = [pool.empty(MIB, np.uint8) for _ in range(2)]
            for array in arrays:
                array[0] = mark
            pool.empty(2 * MIB, np.uint8)[-1] = 0
            wrong.extend(array for array in arrays if array[0] != mark)

    threads = [threading.Thread(target=work, args=(mark,)) for mark in range(1, 7)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not wrong
    assert pool.used_bytes == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_memory_of_its_own(pool, wide):
    X, layout = wide
    expected = pf.fold(X, layout, out=pool).copy()
    in_use = pool.empty((4, MIB))
    in_use[:] = 5
    # As when another thread of the parent is inside the pool at the moment of the fork.
    with pool._lock:
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            images = pf.fold(X, layout, out=pool)
            other = pool.empty((4, MIB))
            other[:] = 0
            fine = np.array_equal(images, expected) and np.all(in_use == 5) and address(other) != address(in_use)
            os._exit(0 if fine and pool.used_bytes > 0 else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert np.all(in_use == 5)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("kind", ["numpy", "torch", "csr"])
def test_fold_into_a_pool(pool, wide, dtype, kind):
    X, layout = wide
    X = np.tile(X, (2, 1))
    normalizer = pf.Normalizer("log1p-minmax").fit(X)
    if dtype == "bfloat16" and kind != "torch":
        pytest.importorskip("ml_dtypes")
    if kind == "torch":
        X = pytest.importorskip("torch").from_numpy(X)
    elif kind == "csr":
        X = pytest.importorskip("scipy.sparse").csr_matrix(np.where(X < 0.1, X, 0))
    expected = pf.fold(X, layout, normalizer, dtype=dtype)
    images = pf.fold(X, layout, normalizer, dtype=dtype, out=pool)
    assert type(images) is type(expected)
    assert images.dtype == expected.dtype
    assert bool((images == expected).all())
    assert pool.used_bytes > 0
    where = images.data_ptr() if kind == "torch" else address(images)
    images *= 0
    del images
    assert pool.used_bytes == 0
    images = pf.fold(X, layout, normalizer, dtype=dtype, out=pool)
    assert where == (images.data_ptr() if kind == "torch" else address(images))
    assert bool((images == expected).all())


def test_a_refused_fold_keeps_no_memory(pool, wide):
    X, layout = wide
    normalizer = pf.Normalizer("log1p-minmax").fit(X)
    X = X.copy()
    X[3, 5] = np.nan
    with pytest.raises(pf.InputError, match="missing"):
        pf.fold(X, layout, normalizer, out=pool)
    gc.collect()
    assert pool.used_bytes == 0
    assert pool.held_bytes > 0


def huge_bytes(array) -> int:
    """How much of the mappings that `array` reaches into is in huge pages."""
    reached, total = False, 0
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first = line.split()[0]
        if "-" in first:
            start, end = (int(part, 16) for part in first.split("-"))
            reached = start < address(array) + array.nbytes and address(array) < end
        elif reached and first == "AnonHugePages:":
            total += int(line.split()[1]) << 10
    return total


def huge_pages_on_request() -> bool:
    try:
        return "[never]" not in Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text()
    except OSError:
        return False


@pytest.mark.skipif(
    sys.platform != "linux" or not huge_pages_on_request() or os.environ.get("NUMPY_MADVISE_HUGEPAGE") == "0",
    reason="this system gives no huge pages",
)
@pytest.mark.parametrize("kind", ["numpy", "torch", "pool"])
def test_fresh_images_lie_in_huge_pages(kind):
    X = np.ones((64, 250_000), dtype=np.float32)
    layout = pf.Layout.natural(X.shape[1])
    if kind == "torch":
        images = pf.fold(pytest.importorskip("torch").from_numpy(X), layout).numpy()
    else:
        images = pf.fold(X, layout, out=pf.ImagePool() if kind == "pool" else None)
    # All but the two ends.
    assert huge_bytes(images) > 0.9 * images.nbytes
