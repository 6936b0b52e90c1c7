"""The fast and the thorough reader of delimited text find the same cells."""

from __future__ import annotations

import csv

import pytest

from pixfold.sources.tables import delimited

hypothesis = pytest.importorskip("hypothesis")
pytest.importorskip("pyarrow")
st = hypothesis.strategies

CELL = st.one_of(
    st.sampled_from(
        ["", "NA", "1", "-2.5", "+3", "1e3", ".5", "x", "True", ' a"b', "a\nb", "é", "a,b", '"', " 7 ", "\t"]
    ),
    st.integers().map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
)


@hypothesis.settings(deadline=None, max_examples=150)
@hypothesis.given(
    st.integers(2, 5).flatmap(lambda k: st.lists(st.lists(CELL, min_size=k, max_size=k), min_size=1, max_size=9))
)
def test_both_readers_find_the_same_cells(tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]) -> None:
    path = tmp_path_factory.mktemp("cells") / "x.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([[f"c{i}" for i in range(len(rows[0]))], *rows])
    header = delimited.Header(path)
    found = []
    for uncommon in (False, True):
        cells = list(delimited.read_cells(path, header, uncommon=uncommon))
        found.append(
            (
                [value for part in cells for value in part.values.to_pylist()],
                [line for part in cells for line in part.lines.tolist()],
            )
        )
    assert found[0] == found[1]
    missing = set(delimited.MISSING)
    kept = [row for row in rows if any(cell.strip() for cell in row) or len(row) > 1]
    assert found[0][0] == [None if c.strip() in missing else c.strip() for row in kept for c in row]
