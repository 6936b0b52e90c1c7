"""Any rows of any source are those of the matrix that it holds, and rows that are not there are one error."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pixfold.errors import InputError

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies

N = 48
BOUNDS = st.none() | st.integers(-2 * N, 2 * N)
ROWS = st.one_of(
    st.builds(slice, BOUNDS, BOUNDS, st.none() | st.integers(-5, 5).filter(bool)),
    st.lists(st.integers(0, N - 1), max_size=2 * N).map(lambda rows: np.array(rows, dtype=np.int64)),
    st.lists(st.integers(0, N - 1), max_size=9),
    st.lists(st.integers(0, N - 1), max_size=9).map(lambda rows: np.array(rows, dtype=np.uint8)),
    st.lists(st.booleans(), min_size=N, max_size=N).map(np.array),
)


@hypothesis.settings(max_examples=12, deadline=None)
@hypothesis.given(rows=ROWS)
def test_rows_are_those_of_the_matrix(written: Any, rows: Any) -> None:
    source = written.source
    block = source.read(rows)
    dense = block if isinstance(block, np.ndarray) else block.toarray()
    expected = written.matrix[rows if not isinstance(rows, list) or rows else slice(0, 0)]
    assert dense.shape == expected.shape
    assert block.dtype == source.dtype
    np.testing.assert_array_equal(dense, expected)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([0, N], f"rows must be from 0 to {N - 1}, got {N}"),
        ([-1], f"rows must be from 0 to {N - 1}, got -1"),
        ([0.5, 1], "rows must be whole numbers in one dimension, got 1-D float64"),
        ([[0, 1]], "rows must be whole numbers in one dimension, got 2-D int64"),
        ([True, False], f"rows must be a mask of {N} samples, got one of shape .2,."),
        (["1"], "rows must be whole numbers in one dimension, got 1-D <U1"),
    ],
)
def test_rows_that_are_not_there(written: Any, rows: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        written.source.read(np.array(rows))
    assert str(caught.value).startswith(f"{written.source.name}: ")
