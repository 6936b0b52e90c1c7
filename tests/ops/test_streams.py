"""What is kept on a device is safe across streams and threads, and check_folds waits for all of a device.

Devices are stood in for by a recorder: it notes which streams hold which memory, and what is waited for.
"""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import pixfold
from pixfold.errors import InputError
from pixfold.ops.cuda import check_folds
from pixfold.util.identity import KeptWith

torch = pytest.importorskip("torch")

from pixfold.ops.cuda import fold as cuda_fold  # noqa: E402
from pixfold.ops.cuda import placed  # noqa: E402


class Recorder:
    """A queue that notes what is asked of it; tensors are the CPU's."""

    kernels = SimpleNamespace(Slots=lambda *arrays, **how: SimpleNamespace(arrays=arrays, n_features=9))
    device = torch.device("cpu")

    def __init__(self, stream: int) -> None:
        self.stream = stream
        self.held: list[Any] = []
        self.waits = 0

    def holds(self, *tensors: Any) -> None:
        self.held += tensors

    def wait(self) -> None:
        self.waits += 1


def test_memory_is_held_by_every_stream_that_uses_it():
    layout = pixfold.Layout.shuffled(9, seed=0)
    first, second = Recorder(1), Recorder(2)
    made = placed.device_layout(first, layout, False)
    assert first.waits == 1  # other streams find it made
    assert not first.held  # its allocator knows this stream
    for _ in range(2):
        assert placed.device_layout(second, layout, False) is made
    assert {id(t) for t in second.held} == {id(t) for t in made.slots.arrays[:4] if t is not None}
    assert len(second.held) == len({id(t) for t in second.held})  # once is enough
    assert second.waits == 0


def test_threads_make_a_thing_once():
    kept, owner, made = KeptWith(most=2), pixfold.Layout.natural(4), []
    begin = threading.Barrier(8)

    def use() -> None:
        begin.wait()
        for key in range(50):
            kept.get(owner, key % 2, lambda key=key: made.append(key) or object())

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 2
    assert kept.all(owner)


def test_check_folds_waits_for_the_whole_device(monkeypatch: pytest.MonkeyPatch):
    normalizer = pixfold.Normalizer("log1p").fit(np.ones((2, 9), np.float32))
    formula = normalizer.parameters()
    streams = [Recorder(1), Recorder(2)]
    counts = [placed.device_counts(queue, formula) for queue in streams]
    assert counts[0] is counts[1]  # folds on all streams of a device add to one counter
    pending = [3]

    def finish(device: Any) -> None:  # what was queued, on any stream, is done only when the device is waited for
        assert device == counts[0].device
        counts[0][0] += pending.pop() if pending else 0

    monkeypatch.setattr(cuda_fold, "wait_for", finish)
    with pytest.raises(InputError, match="got 3 NaN"):
        check_folds(normalizer)
    check_folds(normalizer)  # what was said once is not said again
    assert counts[0][0] == 3  # never set back: a fold on another stream may be adding
    pending.append(2)
    with pytest.raises(InputError, match="got 2 NaN"):
        check_folds(normalizer)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_check_folds_sees_folds_on_other_streams():
    layout = pixfold.Layout.shuffled(1 << 16, seed=0)
    x = torch.ones(512, 1 << 16, device="cuda")
    normalizer = pixfold.Normalizer("log1p").fit(np.ones((2, 1 << 16), np.float32))
    pixfold.fold(x, layout, normalizer)
    x[-1, -1] = torch.nan
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(20):
            pixfold.fold(x, layout, normalizer)
    with pytest.raises(InputError, match="got 20 NaN"):
        check_folds(normalizer)
