"""The loops that benchmarks hold the kernels to must do all of the work that they stand for."""

from __future__ import annotations

import numpy as np
import pytest

from pixfold import _core

SIZES = [1, 7, 8, 63, 64, 65, 4_095, 1_000_003, 3 << 20]


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("n", SIZES)
def test_every_byte_is_moved_written_and_read(n, threads):
    rng = np.random.default_rng(n)
    data = rng.integers(0, 256, n, dtype=np.uint8)
    to = np.zeros(n, dtype=np.uint8)
    _core.copy_bytes(to, data, threads)
    np.testing.assert_array_equal(to, data)
    _core.fill_bytes(to, threads)
    assert np.all(to == 1)
    _core.fill_bytes(to, threads, 0)
    assert not to.any()
    words = data[: n // 8 * 8].view(np.uint64)
    assert _core.read_bytes(data, threads) == int(words.sum(dtype=np.uint64))


def test_bad_memory_is_refused():
    a = np.zeros((8, 8))
    with pytest.raises(ValueError, match="copy_bytes: from must be 512 bytes"):
        _core.copy_bytes(a, np.zeros(8), 1)
    with pytest.raises(ValueError, match=r"read_bytes: from must be .*C-contiguous"):
        _core.read_bytes(a.T[1:], 1)
    a.setflags(write=False)
    with pytest.raises(ValueError, match="writeable"):
        _core.fill_bytes(a, 1)
