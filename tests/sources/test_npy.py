from __future__ import annotations

import copy
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pixfold.errors import InputError
from pixfold.sources import open_source
from pixfold.sources.arrays.npy import NpySource

N, F = 40, 11


@pytest.fixture(params=["C", "F"])
def order(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def saved(folder: Path, dtype: Any, order: str = "C", shape: tuple[int, int] = (N, F)) -> tuple[Path, Any]:
    x = np.random.default_rng(0).integers(0, 2 if dtype == "bool" else 100, shape).astype(dtype)
    np.save(folder / "x.npy", np.asarray(x, order=order))  # type: ignore[call-overload]
    return folder / "x.npy", x


@pytest.mark.parametrize(
    "dtype", ["float32", "float64", "float16", "uint8", "int64", "bool", ">f4", ">i2", "longdouble"]
)
def test_rows_of_every_type(tmp_path: Path, dtype: str, order: str) -> None:
    path, x = saved(tmp_path, dtype, order)
    source = open_source(path)
    assert isinstance(source, NpySource)
    assert (source.n_samples, source.n_features, source.is_sparse) == (N, F, False)
    assert source.dtype.isnative
    other = {"bool": "uint8", "longdouble": "float64"}
    assert source.dtype == np.dtype(other.get(dtype, dtype)).newbyteorder("=")
    for rows in (
        slice(0, N),
        slice(3, 9),
        slice(5, 5),
        np.array([0, 1, 2]),
        np.array([0, 3, 4, 39]),
        np.array([7, 2, 2, 30]),
        np.array([], dtype=np.int64),
    ):
        block = source.read(rows)
        assert block.dtype == source.dtype
        np.testing.assert_array_equal(block, x[rows])


def test_rows_far_apart_are_read_alone(tmp_path: Path, order: str) -> None:
    path, x = saved(tmp_path, "float32", order, (60, 5_000))
    rows = np.array([0, 1, 7, 20, 21, 59])
    np.testing.assert_array_equal(open_source(path).read(rows), x[rows])


def test_a_block_is_not_written_to_again_while_it_is_used(tmp_path: Path) -> None:
    path, _ = saved(tmp_path, "float32", shape=(6, 400_000))  # blocks that the pool of memory serves
    source = open_source(path)
    first = source.read(slice(0, 2))
    held = first.copy()
    for _ in range(3):
        source.read(slice(2, 4))
    np.testing.assert_array_equal(first, held)


def test_threads_pickles_copies_and_forks(tmp_path: Path) -> None:
    path, x = saved(tmp_path, "float32")
    source = open_source(path)
    with ThreadPoolExecutor(4) as pool:
        for i, block in enumerate(pool.map(lambda i: source.read(slice(i, i + 3)), range(30))):
            np.testing.assert_array_equal(block, x[i : i + 3])
    other = open_source(path, y=np.arange(N))
    assert other.labels is not None
    for made in (pickle.loads(pickle.dumps(other)), copy.copy(other)):
        np.testing.assert_array_equal(made.read(slice(0, N)), x)
        assert made.labels.tolist() == list(range(N))


def test_a_file_that_changes(tmp_path: Path, order: str) -> None:
    path, _ = saved(tmp_path, "float32", order)
    source = open_source(path)
    pickled = pickle.dumps(source)
    os.truncate(path, path.stat().st_size - 100)
    with pytest.raises(InputError, match=r"x\.npy: the file has changed since it was opened"):
        source.read(slice(0, N))
    with pytest.raises(InputError, match=r"x\.npy: the file has changed since it was opened; open it anew"):
        source.read(slice(0, 1))
    with pytest.raises(InputError, match="has changed"):
        pickle.loads(pickled).read(slice(0, 1))
    path.unlink()
    with pytest.raises(InputError, match=r"x\.npy: cannot read the file: No such file"):
        pickle.loads(pickled).read(slice(0, 1))


def test_a_file_of_the_same_size_with_other_values(tmp_path: Path) -> None:
    path, _ = saved(tmp_path, "float32")
    source = open_source(path)
    with path.open("r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(b"\0\0\0\0")
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1_000_000_000))
    with pytest.raises(InputError, match="has changed since it was opened; open it anew"):
        source.read(slice(0, 1))


def test_only_matrices_of_numbers(tmp_path: Path) -> None:
    for x, message in (
        (np.zeros(3), "data must be a 2-D matrix"),
        (np.zeros((2, 2), complex), "Complex data not supported"),
        (np.zeros((0, 2)), r"0 sample\(s\)"),
    ):
        np.save(tmp_path / "x.npy", x)
        with pytest.raises(InputError, match=message):
            open_source(tmp_path / "x.npy")
