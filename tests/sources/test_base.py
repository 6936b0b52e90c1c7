from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pixfold.errors import InputError
from pixfold.sources.base import BLOCK_BYTES, block_rows, normalize_rows, unique_names
from pixfold.util.text import counted, listed


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (slice(None), slice(0, 10)),
        (slice(3, 99), slice(3, 10)),
        (slice(5, 2), slice(5, 5)),
        (slice(0, 10, 4), [0, 4, 8]),
        ([3, 4, 5], slice(3, 6)),
        ([7], slice(7, 8)),
        ([], slice(0, 0)),
        ([1, 3], [1, 3]),
        ([5, 4, 3], [5, 4, 3]),
        ([1, 1, 3], [1, 1, 3]),
        ([1, 3, 3], [1, 3, 3]),
        (np.arange(10) % 5 == 0, [0, 5]),
    ],
)
def test_normalize_rows(rows: Any, expected: Any) -> None:
    result = normalize_rows(rows, 10)
    if isinstance(expected, slice):
        assert result == expected
    else:
        assert isinstance(result, np.ndarray)
        assert result.dtype == np.int64
        assert result.tolist() == expected


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([10], "rows must be from 0 to 9, got 10"),
        ([-1, 2], "rows must be from 0 to 9, got -1"),
        ([0.5], "rows must be whole numbers in one dimension, got 1-D float64"),
        ([[1, 2]], "rows must be whole numbers in one dimension, got 2-D int64"),
        ([True], "rows must be a mask of 10 samples"),
        (np.array([2**63], np.uint64), "rows must be from 0 to 9, got 9,223,372,036,854,775,808"),
        (slice("a"), "rows must be a slice of whole numbers"),
        (slice(0, 5, 0), "rows must be a slice of whole numbers with a step"),
    ],
)
def test_bad_rows(rows: Any, message: str) -> None:
    for error in (IndexError, InputError):
        with pytest.raises(error, match=f"^x.npy: {message}"):
            normalize_rows(rows, 10, "x.npy")


@pytest.mark.parametrize(("features", "chunk"), [(10, 1), (20_000, 100), (10**8, 1), (10**6, 1_000)])
def test_blocks_are_bounded_and_whole_chunks(features: int, chunk: int) -> None:
    rows = block_rows(features, chunk)
    assert rows % chunk == 0
    assert rows == chunk or rows * features * 4 <= BLOCK_BYTES


def test_names_used_twice_are_kept_apart() -> None:
    messages: list[str] = []
    names = unique_names(["a", "b", "a", "a.1", "a"], messages)
    assert names == ["a", "b", "a.2", "a.1", "a.3"]
    assert messages == [
        "1 feature name used more than once ('a'): the later ones are kept apart by a number, such as 'a.2'"
    ]
    assert unique_names(["a", "b"], messages) == ["a", "b"]
    assert len(messages) == 1


def test_words() -> None:
    assert listed(["a"]) == "'a'"
    assert listed(list("abcde")) == "'a', 'b', 'c' and 2 more"
    assert [counted(n, "sample") for n in (1, 2_000)] == ["1 sample", "2,000 samples"]
