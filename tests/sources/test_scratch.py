from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from pixfold.errors import OutputError
from pixfold.sources.disk import limits, scratch
from pixfold.sources.disk.scratch import RowsOnce, ScratchArray, by_rows, folder, room_for


class Listed:
    """Entries in memory, in a given order."""

    def __init__(self, rows: Any, columns: Any, values: Any) -> None:
        self.parts = (np.asarray(rows), np.asarray(columns), np.asarray(values))

    def rows(self, length: int) -> Iterator[Any]:
        for start in range(0, len(self.parts[0]), length):
            yield self.parts[0][start : start + length]

    def blocks(self, length: int) -> Iterator[Any]:
        for start in range(0, len(self.parts[0]), length):
            rows, columns, values = (part[start : start + length] for part in self.parts)
            yield rows, columns, values


def some_entries(shape: tuple[int, int], order: str) -> tuple[Listed, Any]:
    matrix = sparse.random(*shape, 0.2, format="coo", dtype=np.float32, rng=np.random.default_rng(3))
    keys = {"columns": (matrix.row, matrix.col), "rows": (matrix.col, matrix.row)}
    if order == "none":
        index = np.random.default_rng(4).permutation(matrix.nnz)
    else:
        index = np.lexsort(keys[order])
    return Listed(matrix.row[index], matrix.col[index], matrix.data[index]), matrix.tocsr()


def as_csr(rows: scratch.SparseRows, shape: tuple[int, int]) -> Any:
    n = int(rows.indptr[-1])
    return sparse.csr_matrix((rows.data[0:n], rows.indices[0:n], rows.indptr), shape=shape)


@pytest.mark.parametrize("order", ["columns", "rows", "none"])
@pytest.mark.parametrize("memory", [1, 200 * 5, 10**7], ids=["one", "five", "all"])
@pytest.mark.parametrize("shape", [(1, 400), (400, 1), (33, 17)], ids=str)
def test_entries_come_out_by_rows(
    monkeypatch: pytest.MonkeyPatch, order: str, memory: int, shape: tuple[int, int]
) -> None:
    monkeypatch.setattr(limits, "LARGEST", memory)
    entries, expected = some_entries(shape, order)
    rows = by_rows(entries, *shape, expected.nnz, np.dtype(np.float32))
    assert isinstance(rows.data, ScratchArray) == (expected.nnz * 12 > memory // 2)
    result = as_csr(rows, shape)
    assert result.has_canonical_format
    np.testing.assert_array_equal(result.toarray(), expected.toarray())
    rows.close()


@pytest.mark.parametrize("memory", [1, 200, 10**6])
def test_entries_of_one_place_are_added(monkeypatch: pytest.MonkeyPatch, memory: int) -> None:
    monkeypatch.setattr(limits, "LARGEST", memory)
    entries = Listed([0, 2, 0, 2, 3, 0], [1, 0, 1, 0, 2, 0], np.array([1, 2, 3, 4, 5, 6], np.int32))
    rows = by_rows(entries, 5, 3, 6, np.dtype(np.int32))
    result = as_csr(rows, (5, 3))
    assert result.toarray().tolist() == [[6, 4, 0], [0, 0, 0], [6, 0, 0], [0, 0, 5], [0, 0, 0]]
    assert result.nnz == 4


def test_no_entries() -> None:
    rows = by_rows(Listed([], [], []), 3, 2, 0, np.dtype(np.float32))
    assert rows.indptr.tolist() == [0, 0, 0, 0]


def test_temporary_files_have_no_names_and_go_where_the_user_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert folder() == str(tmp_path)
    array = ScratchArray(10, np.int64)
    array[2:5] = np.array([7, 8, 9], np.int32)
    assert array[3:5].tolist() == [8, 9]
    assert array[4:4].tolist() == []
    assert list(tmp_path.iterdir()) == []
    array.close()


def test_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LARGEST", 100)
    monkeypatch.setattr(scratch, "folder", lambda: str(tmp_path))
    with pytest.raises(OutputError, match=r"cannot write temporary files in .*: 8,000,000,.* GB are needed, .* TMPDIR"):
        room_for(10**18, [np.float64])
    array = ScratchArray(10, np.float64)

    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OutputError, match="No space left on device; set TMPDIR to a folder with room"):
        array[0:2] = np.zeros(2)
    monkeypatch.setattr(scratch, "folder", lambda: str(tmp_path / "none"))
    with pytest.raises(OutputError, match=r"cannot write temporary files in .*none: No such file"):
        ScratchArray(10, np.float64)


def made() -> scratch.SparseRows:
    return by_rows(Listed([1, 0], [0, 1], np.array([5.0, 6.0])), 2, 2, 2, np.dtype(np.float64))


def test_rows_are_made_once_and_again_after_closing_or_pickling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LARGEST", 1)
    once = RowsOnce(made)
    for rows in (once, once, pickle.loads(pickle.dumps(once))):
        assert rows.read(slice(0, 2), 2, np.dtype(np.float64)).toarray().tolist() == [[0, 6], [5, 0]]
        rows.close()
