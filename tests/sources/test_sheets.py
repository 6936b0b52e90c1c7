"""Spreadsheets: which sheet, which rows, and what its cells are."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import numpy as np
import pytest

from pixfold.errors import InputError
from pixfold.sources import open_source
from pixfold.sources.tables import sheets

pytest.importorskip("pyarrow")
pytest.importorskip("python_calamine")

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"


class Day(float):
    """A cell with a date, in days since 1900."""


def cell(value: Any, place: str) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return f'<c r="{place}" t="b"><v>{int(value)}</v></c>'
    if isinstance(value, Day):
        return f'<c r="{place}" s="1"><v>{value}</v></c>'
    if isinstance(value, int | float):
        return f'<c r="{place}"><v>{value}</v></c>'
    kind = "e" if value.startswith("#") else "str"
    return f'<c r="{place}" t="{kind}"><v>{escape(value)}</v></c>'


def book(path: Path, tables: dict[str, list[list[Any]]], first: str = "A", above: int = 0) -> Path:
    """Write a spreadsheet; the cells of its sheets begin in a column, below some rows."""
    with zipfile.ZipFile(path, "w") as archive:
        names = "".join(f'<sheet name={quoteattr(n)} sheetId="{i}" r:id="r{i}"/>' for i, n in enumerate(tables, 1))
        workbook = f'<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}"><sheets>{names}</sheets></workbook>'
        archive.writestr("xl/workbook.xml", workbook)
        top = f'<Relationship Id="r" Type="{OFFICE}/officeDocument" Target="xl/workbook.xml"/>'
        archive.writestr("_rels/.rels", f'<Relationships xmlns="{PACKAGE}">{top}</Relationships>')
        archive.writestr(
            "xl/styles.xml",
            f'<styleSheet xmlns="{MAIN}"><cellXfs><xf numFmtId="0"/><xf numFmtId="14"/></cellXfs></styleSheet>',
        )
        links = "".join(
            f'<Relationship Id="r{i}" Type="{OFFICE}/worksheet" Target="worksheets/s{i}.xml"/>'
            for i in range(1, len(tables) + 1)
        )
        archive.writestr("xl/_rels/workbook.xml.rels", f'<Relationships xmlns="{PACKAGE}">{links}</Relationships>')
        for i, rows in enumerate(tables.values(), 1):
            data = "".join(
                f'<row r="{r}">' + "".join(cell(v, f"{chr(ord(first) + c)}{r}") for c, v in enumerate(row)) + "</row>"
                for r, row in enumerate(rows, 1 + above)
            )
            sheet = f'<worksheet xmlns="{MAIN}"><sheetData>{data}</sheetData></worksheet>'
            archive.writestr(f"xl/worksheets/s{i}.xml", sheet)
    return path


HEAD = ["sample", "kind", "a", "b", "c", "d"]
ROWS = [[f"s{i}", "uv"[i % 2], i, i + 0.25, None if i == 2 else i * 1e6, "#N/A" if i == 3 else 7] for i in range(12)]
VALUES = np.array([[i, i + 0.25, np.nan if i == 2 else i * 1e6, np.nan if i == 3 else 7] for i in range(12)])


def check(source: Any) -> None:
    assert source.feature_names == ["a", "b", "c", "d"]
    assert source.sample_names == [f"s{i}" for i in range(12)]
    assert source.labels.tolist() == ["u", "v"] * 6
    np.testing.assert_array_equal(source.read(slice(None)), VALUES)


@pytest.mark.parametrize("cells", [8, 100_000])
@pytest.mark.parametrize("name", ["x.xlsx", "x.XLSM"])
@pytest.mark.parametrize(("first", "above"), [("A", 0), ("C", 4)])
@pytest.mark.parametrize("top", [[], [["Table S1. Expression of genes"], []]])
def test_a_sheet_is_read_as_a_text_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cells: int, name: str, first: str, above: int, top: list[list[str]]
) -> None:
    monkeypatch.setattr(sheets, "_CELLS", cells)
    source = open_source(book(tmp_path / name, {"data": [*top, HEAD, *ROWS, []]}, first, above), label="kind")
    check(source)
    assert source.messages == []


def test_which_sheet(tmp_path: Path) -> None:
    tables = {"empty": [], "data": [HEAD, *ROWS], "about & more": [["sample", "x"], ["s0", 1]]}
    path = book(tmp_path / "x.xlsx", tables)
    source = open_source(path, label="kind")
    check(source)
    assert source.messages == [f"{path}: sheet 'data' is read, not 'empty', 'about & more' (sheet says otherwise)"]
    check(open_source(path, label="kind", sheet="data"))
    assert open_source(path, sheet="about & more").feature_names == ["x"]
    with pytest.raises(InputError, match="sheet must be one of 'empty', 'data', 'about & more', got 'Data'"):
        open_source(path, sheet="Data")
    with pytest.raises(InputError, match="the sheet must begin with a row of feature names, got an empty one"):
        open_source(path, sheet="empty")
    with pytest.raises(InputError, match="must hold a table, got empty sheets alone"):
        open_source(book(path, {"a": [], "b": []}))


def test_labels_in_a_sheet(tmp_path: Path) -> None:
    path = book(tmp_path / "x.xlsx", {"a": [["sample", "x", "y"], ["s0", 1, 2], ["s1", 3, 4]]})
    labels = book(tmp_path / "l.xlsx", {"no": [["n"]], "l": [["id", "y"], ["s1", 5], ["s0", 6], ["s2", 7]]})
    np.savez(tmp_path / "x.npz", X=np.ones((2, 2)), sample_names=["s0", "s1"])
    source = open_source(tmp_path / "x.npz", labels=labels, label="y", sheet="l")
    assert source.labels is not None
    assert source.labels.tolist() == [6, 5]
    assert open_source(path, labels=path, label="y").feature_names == ["x", "y"]
    with pytest.raises(InputError, match=r"l\.xlsx: the file must hold one row per sample"):
        open_source(path, labels=labels, label="y")


def test_cells(tmp_path: Path) -> None:
    rows = [["sample", Day(45171), 5, "flag", "t"], *([f"s{i}", i, 1, i % 2 == 0, f"{i},5"] for i in range(6))]
    source = open_source(book(tmp_path / "x.xlsx", {"a": rows}))
    assert source.feature_names == ["2023-09-02", "5", "flag", "t"]
    assert source.read(slice(1, 2)).tolist() == [[1, 1, 0, 1.5]]
    assert [word for m in source.messages for word in ("decimal commas", "turns names of genes") if word in m] == [
        "decimal commas",
        "turns names of genes",
    ]
    rows[3][1] = Day(45171.5)
    with pytest.raises(InputError, match=r"row 4, column '2023-09-02' must hold a number, got '2023-09-02 12:00:00'"):
        open_source(book(tmp_path / "x.xlsx", {"a": rows}))


def test_a_sheet_without_a_header(tmp_path: Path) -> None:
    path = book(tmp_path / "x.xlsx", {"a": [[1.5, 2], [3, 4]]})
    with pytest.raises(InputError, match="row 1 must be a header of feature names, got numbers"):
        open_source(path)
    assert open_source(path, no_header=True).read(slice(None)).tolist() == [[1.5, 2], [3, 4]]
    with pytest.raises(InputError, match="must hold one row per sample after the header row, got none"):
        open_source(book(path, {"a": [HEAD]}))


def test_a_sheet_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheets, "LARGEST_SHEET", 1000)
    with pytest.raises(InputError, match=r"at most 1,000 bytes of XML, .* got [\d,]+; save it as \.csv"):
        open_source(book(tmp_path / "x.xlsx", {"data": [HEAD, *ROWS]}), label="kind")
    monkeypatch.setattr(sheets, "LARGEST_SHEET", 2**30)
    with pytest.raises(InputError, match=r"at most 900 bytes of XML"):
        open_source(tmp_path / "x.xlsx", label="kind", memory=900)
    assert open_source(tmp_path / "x.xlsx", label="kind", memory="1MB").n_samples == len(ROWS)
