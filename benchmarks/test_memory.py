"""What new memory for images costs, by where it comes from: float32 samples folded without a normaliser.

Each row is held to the same fold into memory that is used again and again (`held` at the end of this file). Making the
memory and giving it back are part of the time.
"""

from __future__ import annotations

import ctypes
import math
import mmap
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import pixfold as pf
from pixfold import _core
from pixfold.ops.fold_samples import fold_into_fresh

Versus = Callable[..., None]
Shape = tuple[int, ...]
Maker = Callable[[Shape], np.ndarray]

MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_POPULATE_WRITE = 14, 15, 23
PAGE = 4096


def numpy_empty(shape: Shape) -> np.ndarray:
    return np.empty(shape, dtype=np.float32)


def numpy_empty_touched_by_one_thread(shape: Shape) -> np.ndarray:
    images = np.empty(shape, dtype=np.float32)
    images.ravel()[:: PAGE // 4] = 0
    return images


def torch_empty(shape: Shape) -> np.ndarray:
    return pytest.importorskip("torch").empty(shape).numpy()


def pooled() -> Maker:
    pool = pf.ImagePool()
    return lambda shape: pool.empty(shape, np.float32)


def mapped(pages: int, populate_threads: int = 0) -> Maker:
    """Memory of mmap under `pages` advice, written by the system before the fold by so many threads."""
    madvise = ctypes.CDLL(None, use_errno=True).madvise  # gives up the GIL, unlike mmap's own
    madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    workers = ThreadPoolExecutor(max(1, populate_threads))

    def advise(first: int, n_bytes: int, advice: int) -> None:
        if madvise(first, n_bytes, advice) != 0:
            raise OSError(ctypes.get_errno(), "madvise")

    def make(shape: Shape) -> np.ndarray:
        n_bytes = math.prod(shape) * 4
        memory = mmap.mmap(-1, n_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        images = np.frombuffer(memory, dtype=np.float32).reshape(shape)
        start = images.ctypes.data
        advise(start, n_bytes, pages)
        if populate_threads:
            part = -(-n_bytes // populate_threads // PAGE) * PAGE
            starts = range(0, n_bytes, part)
            list(workers.map(lambda s: advise(start + s, min(part, n_bytes - s), MADV_POPULATE_WRITE), starts))
        return images

    return make


MAKERS: dict[str, Callable[[], Maker]] = {
    "numpy.empty, as fold takes it": lambda: numpy_empty,
    "ImagePool": pooled,
    "torch.empty": lambda: torch_empty,
    "numpy.empty, touched by one thread": lambda: numpy_empty_touched_by_one_thread,
    "mmap, huge pages": lambda: mapped(MADV_HUGEPAGE),
    "mmap, huge pages, populated by 2 threads": lambda: mapped(MADV_HUGEPAGE, 2),
    "mmap, 4 KiB pages": lambda: mapped(MADV_NOHUGEPAGE),
    "mmap, 4 KiB pages, populated by 2 threads": lambda: mapped(MADV_NOHUGEPAGE, 2),
}
LARGE, MIDDLE, SMALL = 6_216, 600, 60
CASES = [(LARGE, source) for source in MAKERS] + [
    (n, source) for n in (MIDDLE, SMALL) for source in ("numpy.empty, as fold takes it", "ImagePool", "torch.empty")
]


@pytest.mark.skipif(sys.platform != "linux", reason="madvise's numbers are Linux's")
@pytest.mark.parametrize(("n_samples", "source"), CASES)
def test_memory(versus: Versus, samples: np.ndarray, n_samples: int, source: str) -> None:
    x = samples[:n_samples]
    layout = pf.Layout.natural(x.shape[1])
    shape = (len(x), *layout.shape)
    held, other = np.empty(shape, dtype=np.float32), np.empty_like(x)
    make = MAKERS[source]()

    def fold_into(images: np.ndarray) -> np.ndarray:
        fold_into_fresh(x, layout, None, dtype="float32", out=images, threads=None)
        return images

    np.testing.assert_array_equal(pf.unfold(fold_into(make(shape)), layout), x)
    versus(
        lambda: fold_into(make(shape)),
        {
            "the same fold into memory in use": lambda: fold_into(held),
            "memcpy": lambda: _core.copy_bytes(other, x, 0),
        },
        work=f"{held.nbytes / 1e6:.0f} MB of images, {source}",
    )
