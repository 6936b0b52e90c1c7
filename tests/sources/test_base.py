from __future__ import annotations

from typing import Any

import numpy as np
import pytest

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
        ([10], "expected positions 0 to 9, received 10 to 10"),
        ([-1, 2], "received -1 to 2"),
        ([0.5], "expected 1-D integers, received 1-D float64"),
        ([[1, 2]], "received 2-D int64"),
        ([True], "expected a mask of length 10"),
    ],
)
def test_bad_rows(rows: Any, message: str) -> None:
    with pytest.raises(IndexError, match=message):
        normalize_rows(rows, 10)


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
