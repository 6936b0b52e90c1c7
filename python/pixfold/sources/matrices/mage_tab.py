"""MAGE-TAB processed data: a line of hybridizations, and a line that says which quantity each column is."""

from __future__ import annotations

import csv
from pathlib import Path

from pixfold.errors import InputError
from pixfold.sources.matrices.head import Head, decimal_of, read_rows
from pixfold.sources.tables.lines import open_text
from pixfold.util.text import counted, listed

# How the first line begins.
FIRST = ("hybridization ref", "assay ref", "sample ref", "source ref", "scan ref", "normalization ref", "extract ref")


def mage_tab_head(path: Path) -> Head:
    """Read the two header lines.

    Raises
    ------
    InputError
        When they differ in length, or there are several quantities of each sample.
    """
    with open_text(path) as file:
        reader = csv.reader(file, delimiter="\t")
        columns = [cell.strip() for cell in next(reader)]
        quantities = [cell.strip() for cell in next(reader, [])]
        if len(quantities) != len(columns) or not quantities[0].lower().endswith("ref"):
            raise InputError(
                f"{path}: line 2 must hold {counted(len(columns), 'field')} as line 1, the "
                "first one such as 'Reporter REF', then the quantity of each column, "
                f"got {len(quantities):,} and {listed(quantities[:1]) or 'none'}"
            )
        kinds = list(dict.fromkeys(quantity for quantity in quantities[1:] if quantity))
        if len(kinds) > 1:
            raise InputError(
                f"{path}: the table must hold one quantity of each sample, got {len(kinds)} ({listed(kinds, 6)}): keep "
                "the columns of one of them"
            )
        head = Head([quantities[0], *columns[1:]], reader.line_num, 0, "\t", format="MAGE-TAB")
        read_rows(head, reader, 0)
    if not head.rows:
        raise InputError(f"{path}: the table must hold rows of values after line {head.n_lines}, got none")
    head.decimal = decimal_of(head)
    return head
