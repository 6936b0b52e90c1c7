"""Threads: how many there are, what a fork leaves of them, and ops that several Python threads call at once.

Everything runs in processes of its own, because OpenMP reads its environment once and keeps its threads.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at /proc, affinity and forks")

SANITIZED = "ASAN_OPTIONS" in os.environ
SECONDS = 120  # a hang, whatever else the machine does

# Every op at two sizes: one that is not worth a second thread, and one of several MiB that is.
OPS = """
import os, signal, sys, threading, time
import numpy as np
import scipy.sparse
import pixfold as pf
from pixfold import _core

def make_ops(n, n_features, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.gamma(0.7, 8.0, (n, n_features)).astype(np.float32)
    x[rng.random(x.shape) < 0.5] = 0
    sparse = scipy.sparse.csr_array(x)
    layout = pf.Layout.shuffled(n_features, seed=1)
    normalizer = pf.Normalizer("log1p-zscore").fit(x[:3])
    images = pf.fold(x, layout, normalizer, threads=1)
    out = np.empty_like(images)
    labels = rng.integers(0, 3, n)
    importance = rng.normal(size=n * n_features // 4)
    # Two bits a genotype: as many samples as give packed rows the bytes that a second thread is worth.
    codes = np.tile(rng.integers(0, 4, (n, n_features), dtype=np.int8), (8, 1))
    genotypes = pf.PackedGenotypes.pack(codes, missing=3, threads=1)
    scaled = pf.Normalizer("genotype").fit(genotypes[:3])

    def aggregate(threads):
        accumulator = pf.AttributionAccumulator(layout, 3)
        accumulator.update(images, labels, threads=threads)
        result = accumulator.result()
        return np.concatenate([result.mean.ravel(), result.m2.ravel(), result.mean_abs.ravel()])

    def stats(of):
        def op(threads):
            found = pf.column_stats(of, log=True, threads=threads)
            return np.concatenate([found.mean, found.m2, found.min, found.max])
        return op

    return {
        "fold": lambda threads: pf.fold(x, layout, normalizer, threads=threads),
        "fold into out": lambda threads: pf.fold(x, layout, normalizer, out=out, threads=threads),
        "fold of sparse rows": lambda threads: pf.fold(sparse, layout, normalizer, threads=threads),
        "unfold": lambda threads: pf.unfold(images, layout, threads=threads),
        "fold of packed genotypes": lambda threads: pf.fold(genotypes, layout, scaled, threads=threads),
        "packing": lambda threads: pf.PackedGenotypes.pack(codes, missing=3, threads=threads).bits,
        "transposing": lambda threads: pf.PackedGenotypes.from_variants(
            genotypes.bits, n_features, threads=threads
        ).bits,
        "column_stats": stats(x),
        "column_stats of sparse rows": stats(sparse),
        "column_stats of packed genotypes": stats(genotypes),
        "aggregate": aggregate,
        "rank": lambda threads: pf.rank(importance, threads=threads),
        "top_k": lambda threads: pf.top_k(importance, 50, threads=threads),
    }

LARGE = (400, 5_000)
tasks = lambda: len(os.listdir("/proc/self/task"))
"""

NAMES = [
    "fold",
    "fold into out",
    "fold of sparse rows",
    "fold of packed genotypes",
    "packing",
    "unfold",
    "column_stats",
    "column_stats of sparse rows",
    "column_stats of packed genotypes",
    "aggregate",
    "rank",
    "top_k",
]


def said(code: str, **environment: str) -> str:
    """Run a script that must end well, and give what it printed."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # NumPy's own threads would be counted, too.
        env={**kept, "OPENBLAS_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", **environment},
        start_new_session=True,
    ) as process:
        try:
            printed, complained = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # with the children that hang
            raise
    assert process.returncode == 0, f"ended with {process.returncode}\n{printed}\n{complained}"
    return printed.strip()


class TestHowMany:
    def test_environment_decides(self):
        code = "from pixfold import _core; print(_core.default_threads())"
        available = len(os.sched_getaffinity(0))
        assert said(code) == str(available)
        assert said(code, OMP_NUM_THREADS="1") == "1"
        assert said(code, OMP_NUM_THREADS="2") == str(min(2, available))
        assert said(code, OMP_NUM_THREADS="1000") == str(available)

    @pytest.mark.parametrize("when", ["before", "after"])
    def test_affinity_decides(self, when):
        pin = "os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])"
        before, after = (pin, "") if when == "before" else ("", pin)
        code = f"import os\n{before}\nfrom pixfold import _core\n{after}\nprint(_core.default_threads())"
        assert said(code, OMP_NUM_THREADS="2") == "1"

    @pytest.mark.parametrize("places", [{"OMP_PROC_BIND": "close"}, {"OMP_PLACES": "cores"}, {"OMP_PLACES": "threads"}])
    def test_binding_is_not_taken_for_affinity(self, places):
        # OpenMP then puts the first thread on one place, and its own affinity says nothing of the others.
        code = "from pixfold import _core; print(_core.default_threads())"
        available = len(os.sched_getaffinity(0))
        cores = "OMP_PLACES" in places and places["OMP_PLACES"] == "cores"
        found = int(said(code, OMP_NUM_THREADS="2", **places))
        assert found == min(2, available) or (cores and found >= 1)  # two threads of one core are one place

    @pytest.mark.parametrize("name", NAMES)
    def test_small_inputs_run_on_one_thread(self, name):
        code = f"""{OPS}
small, large = make_ops(4, 100), make_ops(*LARGE)[{name!r}]
before = tasks()
for op in small.values():
    op(2)
assert tasks() == before, "small inputs started threads"
large(1)
assert tasks() == before, "threads=1 started threads"
large(2)
assert tasks() == before + int(_core.openmp), f"{{before}} threads became {{tasks()}}"
"""
        said(code, OMP_NUM_THREADS="2")

    def test_fewer_threads_than_asked_for(self):
        code = f"""{OPS}
for name, op in make_ops(*LARGE).items():
    assert op(3).tobytes() == op(1).tobytes(), name
assert tasks() == 1
"""
        said(code, OMP_THREAD_LIMIT="1")


# The parent's OpenMP threads are running when it forks; a child that waits for them is killed and so found out.
FORKED = f"""{OPS}
import multiprocessing

ops = make_ops(*LARGE)
expected = {{name: op(2).tobytes() for name, op in ops.items()}}
assert tasks() > 1 or not _core.openmp

def child_is_right():
    return _core.default_threads() == 1 and all(op(2).tobytes() == expected[name] for name, op in ops.items())

def forked(job):
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        try:
            os._exit(0 if job() else 1)
        finally:
            os._exit(2)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        print("a child ended with", status)
    return status == 0
"""


class TestForks:
    def test_fork(self):
        said(f"{FORKED}\nassert forked(child_is_right)")

    def test_the_parent_keeps_its_threads(self):
        code = f"""{FORKED}
before = _core.default_threads()
assert forked(child_is_right)
assert _core.default_threads() == before
assert all(op(2).tobytes() == expected[name] for name, op in ops.items())
"""
        said(code)

    def test_fork_of_a_fork(self):
        said(f"{FORKED}\nassert forked(lambda: child_is_right() and forked(child_is_right))")

    def test_child_that_folds_first(self):
        # The parent has not used OpenMP yet, and uses it while the child lives and after.
        code = f"""{OPS}
ops = make_ops(*LARGE)
expected = {{name: op(1).tobytes() for name, op in ops.items()}}
child = os.fork()
right = all(op(2).tobytes() == expected[name] for name, op in ops.items())
if child == 0:
    os._exit(0 if right else 1)
signal.alarm(60)
assert right
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
        said(code)

    def test_pool(self):
        code = f"""{FORKED}
def fold_part(k):
    return [op(2).tobytes() == expected[name] for name, op in ops.items()]

with multiprocessing.get_context("fork").Pool(2) as pool:
    found = pool.map_async(fold_part, range(4)).get(timeout=100)
assert all(map(all, found)), found
"""
        said(code)

    @pytest.mark.skipif(SANITIZED, reason="the sanitizer's allocator may be locked by another thread when it is forked")
    def test_fork_while_other_threads_are_in_kernels(self):
        code = f"""{FORKED}
busy = True
def work():
    while busy:
        for op in ops.values():
            op(2)

threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads:
    thread.start()
results = [forked(child_is_right) for _ in range(8)]
busy = False
for thread in threads:
    thread.join()
assert all(results), results
"""
        said(code)

    @pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs torch")
    def test_data_loader_with_fork_workers(self):
        code = f"""{OPS}
import torch
from torch.utils.data import DataLoader, Dataset

n_features = 16_384
x = np.random.default_rng(0).gamma(0.7, 8.0, (96, n_features)).astype(np.float32)
layout = pf.Layout.shuffled(n_features, seed=1)
normalizer = pf.Normalizer("log1p-zscore").fit(x)
expected = pf.fold(x, layout, normalizer, threads=2)  # OpenMP's threads run now
assert tasks() > 1 or not _core.openmp

class Samples(Dataset):
    def __len__(self):
        return len(x)
    def __getitem__(self, i):
        everything = pf.fold(x, layout, normalizer, threads=2)  # 6 MiB: work for two threads
        assert _core.default_threads() == 1
        return everything[i], x[i]

def collate(items):
    images, samples = zip(*items)
    return torch.from_numpy(np.stack(images)), pf.fold(torch.from_numpy(np.stack(samples)), layout, normalizer)

loader = DataLoader(
    Samples(), batch_size=32, num_workers=2, multiprocessing_context="fork", collate_fn=collate, timeout=60
)
for epoch in range(2):
    batches = list(loader)
    for which in (0, 1):
        images = torch.cat([batch[which] for batch in batches]).numpy()
        assert images.tobytes() == expected.tobytes(), which
    assert pf.fold(x, layout, normalizer, threads=2).tobytes() == expected.tobytes()
"""
        said(code)


class TestPythonThreads:
    def test_at_once(self):
        code = f"""{OPS}
from concurrent.futures import ThreadPoolExecutor

jobs = [(name, op) for seed in range(3) for name, op in make_ops(120 + 60 * seed, 5_000, seed).items()
        if name != "fold into out"]  # which all would write to
expected = [op(1).tobytes() for _, op in jobs]
order = np.random.default_rng(0).permutation(np.repeat(np.arange(len(jobs)), 4))
with ThreadPoolExecutor(4) as pool:
    results = list(pool.map(lambda k: jobs[k][1](1 + k % 3).tobytes(), order))
wrong = {{jobs[k][0] for k, result in zip(order, results) if result != expected[k]}}
assert not wrong, wrong
"""
        said(code)

    def test_one_layout_and_one_normalizer_for_all(self):
        # Both keep plans for the kernels, made at their first use: here by all threads at once.
        code = f"""{OPS}
from concurrent.futures import ThreadPoolExecutor

x = np.random.default_rng(0).gamma(0.7, 8.0, (20, 300)).astype(np.float32)
fitted = pf.Normalizer("log1p-zscore").fit(x)
expected = pf.fold(x, pf.Layout.shuffled(300, seed=1), fitted).tobytes()
for _ in range(50):
    layout, normalizer = pf.Layout.shuffled(300, seed=1), pf.Normalizer.from_state(fitted.state())
    start = threading.Barrier(4)
    def job(k):
        start.wait()
        return pf.fold(x if k % 2 else scipy.sparse.csr_array(x), layout, normalizer).tobytes()
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(job, range(4))) == {{expected}}
"""
        said(code)

    def test_kernels_run_without_the_gil(self):
        """Another thread counts while a kernel runs.

        The interpreter is told never to take the GIL from a thread, so it changes hands only where somebody gives it
        away: the counting thread after every step, and a kernel. Had a kernel kept it, the count would be the same
        before and after. Whether the counting thread gets a processor in the meantime is up to the machine, and so
        an op may try again.
        """
        code = f"""{OPS}
ops = make_ops(800, 5_000)
counts = [0]
done = False
def count():
    while not done:
        counts[0] += 1
        time.sleep(0)

progress = [0]
def watched(function):
    def call(*args, **kwargs):
        before = counts[0]
        result = function(*args, **kwargs)
        progress[0] = max(progress[0], counts[0] - before)
        return result
    return call

for name in dir(_core):
    function = getattr(_core, name)
    if callable(function) and not isinstance(function, type):
        setattr(_core, name, watched(function))

sys.setswitchinterval(1e4)
thread = threading.Thread(target=count, daemon=True)
thread.start()
for name, op in ops.items():
    progress[0], end = 0, time.monotonic() + 20
    while not progress[0]:
        assert time.monotonic() < end, f"nobody counted while {{name}} ran"
        op(1)
_core.isa()  # gives nothing away
before = counts[0]
_core.isa()
assert counts[0] == before
done = True
thread.join()
"""
        said(code)
