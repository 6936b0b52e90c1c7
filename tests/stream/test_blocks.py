from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
from scipy import sparse

from pixfold.errors import InputError
from pixfold.formula import PRESETS
from pixfold.genotypes import PackedGenotypes
from pixfold.normalize.normalizer import Normalizer
from pixfold.sources import ArraySource, open_source
from pixfold.stream.blocks import blocks, read_ahead, rows_within, sample_bytes


def sources_of(tmp_path):
    x = np.random.default_rng(0).integers(0, 3, (50, 40)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    return {
        "dense": (ArraySource(x), 160),
        "file": (open_source(tmp_path / "x.npy"), 160),
        "sparse": (ArraySource(sparse.csr_matrix(x)), None),
        "packed": (ArraySource(PackedGenotypes.pack(x)), 10),
    }


@pytest.mark.parametrize("kind", ["dense", "file", "sparse", "packed"])
def test_blocks_stay_within_the_budget(tmp_path, kind):
    source, expected = sources_of(tmp_path)[kind]
    each = sample_bytes(source)
    assert expected is None or each == expected
    assert rows_within(source, None) == 50
    for rows in (1, 2, 7):
        assert rows_within(source, 3 * each * rows + 100, fixed=100) == rows
    read = blocks(source, memory=3 * each * 7)
    parts = [part.toarray() if hasattr(part, "toarray") else part for part in read()]
    assert [len(part) for part in parts] == [7] * 7 + [1]
    whole = source.read(slice(0, 50))
    np.testing.assert_array_equal(np.concatenate(parts), whole.toarray() if hasattr(whole, "toarray") else whole)
    with pytest.raises(
        InputError,
        match=r"^fit: memory must be at least 5,\d+ bytes for .*, where a sample of 40 features takes \d+ bytes and "
        r"what is kept per feature 5 kB, got 100 bytes$",
    ):
        rows_within(source, 100, fixed=5_000, op="fit")


def test_blocks_are_whole_blocks_of_the_source(tmp_path):
    source, each = sources_of(tmp_path)["dense"]
    source.block_size = 8
    assert rows_within(source, 3 * each * 21) == 16
    assert rows_within(source, 3 * each * 5) == 5


def test_blocks_of_some_rows_and_their_progress(tmp_path):
    source, each = sources_of(tmp_path)["file"]
    rows = np.array([0, 1, 5, 20, 21, 22, 49])

    class Counted:
        def __init__(self):
            self.steps, self.said = [], None

        def task(self, description, total):
            self.said = (description, total)
            return self

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def advance(self, steps=1.0):
            self.steps.append(steps)

    counted = Counted()
    read = blocks(source, rows, memory=3 * each * 3, progress=counted, task="scan")
    for _ in range(2):  # again and again
        np.testing.assert_array_equal(np.concatenate(list(read())), source.read(rows))
    assert counted.said == ("scan", 7)
    assert counted.steps == [3, 3, 1] * 2


def test_read_ahead_keeps_the_order_and_its_bound():
    most, done, handed = 0, 0, 0

    def work(item):
        nonlocal done
        done += 1
        return item * item

    for value in read_ahead(work, range(20), 3):
        assert value == handed * handed
        handed += 1
        time.sleep(0.002)
        most = max(most, done - handed)
    assert handed == 20
    assert most <= 3
    assert list(read_ahead(work, range(4), 0)) == [0, 1, 4, 9]


def readers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("pixfold-read")]


def test_errors_of_the_reader_come_out_where_it_is_used():
    def work(item):
        if item == 2:
            raise InputError("x.npy: the file has changed")
        return item

    ahead = read_ahead(work, range(9), 2)
    assert [next(ahead), next(ahead)] == [0, 1]
    with pytest.raises(InputError, match=r"x\.npy: the file has changed"):
        next(ahead)
    assert not readers()


def test_no_thread_stays_behind():
    ahead = read_ahead(lambda item: item, range(1_000_000), 2)
    next(ahead)
    assert readers()
    ahead.close()
    assert not readers()
    ahead = read_ahead(lambda item: item, range(1_000_000), 2)
    next(ahead)
    del ahead  # dropped
    assert not readers()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_is_told_and_does_not_hang():
    script = """
    import os, warnings
    from pixfold.stream.blocks import read_ahead
    warnings.simplefilter("ignore")
    ahead = read_ahead(lambda item: item, range(100), 1)
    assert next(ahead) == 0
    child = os.fork()
    if child == 0:
        try:
            list(ahead)
        except Exception as error:
            os._exit(7 if "forked process" in str(error) else 8)
        os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert list(ahead) == list(range(1, 100))
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, timeout=60)


def test_ctrl_c_while_waiting_for_the_reader():
    script = """
    import time
    from pixfold.stream.blocks import read_ahead
    def work(item):
        time.sleep(0.05)
        return item
    try:
        for item in read_ahead(work, range(10**9), 2):
            if item == 0:
                print("ready", flush=True)
    except KeyboardInterrupt:
        print("stopped", flush=True)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        # Far more than it takes, so that it fails only when it hangs.
        assert process.communicate(timeout=30)[0] == "stopped\n"
        assert process.returncode == 0


@pytest.mark.parametrize("preset", [p for p in PRESETS if p != "genotype"])
@pytest.mark.parametrize("kind", ["file", "sparse"])
def test_fit_within_a_budget_learns_the_same(tmp_path, preset, kind):
    source, _ = sources_of(tmp_path)[kind]
    whole = Normalizer(preset).fit(source.read(slice(0, 50)))
    made = Normalizer(preset)
    small = made.fitting_bytes(40) + 3 * sample_bytes(source) * 6
    made.fit(source, memory=small)
    for name in ("shift", "scale", "fill", "offset"):
        np.testing.assert_allclose(getattr(made.parameters(), name), getattr(whole.parameters(), name), rtol=1e-6)
    with pytest.raises(InputError, match=r"Normalizer\.fit: memory must be at least .* bytes for"):
        made.fit(source, memory=1_000)
    with pytest.raises(InputError, match=r"Normalizer.fit: memory must be a size such as"):
        made.fit(source, memory="much")


def test_fit_of_a_path(tmp_path):
    source, _ = sources_of(tmp_path)["file"]
    made = Normalizer("zscore").fit(source.name, memory="1MB")
    assert made.feature_names[:2] == ["feature_0", "feature_1"]
    np.testing.assert_allclose(made.parameters().shift, source.read(slice(0, 50)).mean(axis=0), rtol=1e-6)
