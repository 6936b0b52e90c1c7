"""The tables of the output folder: CSV always, and Parquet where pyarrow is installed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def has_parquet() -> bool:
    """Whether tables are written as Parquet, too."""
    return find_spec("pyarrow") is not None


def write_table(table: pd.DataFrame, folder: Path, name: str) -> None:
    """Write ``NAME.csv``, and ``NAME.parquet`` where pyarrow is installed."""
    # No float_format: the shortest digits that give the same number back.
    table.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n", encoding="utf-8")
    if has_parquet():
        _of_one_kind(table).to_parquet(folder / f"{name}.parquet", index=False, engine="pyarrow")


def _of_one_kind(table: pd.DataFrame) -> pd.DataFrame:
    """Make text of columns that mix kinds of values, which Parquet cannot hold; what is missing stays missing."""
    from pandas.api.types import infer_dtype

    mixed = [
        column
        for column in table.columns
        if table[column].dtype == object and infer_dtype(table[column], skipna=True).startswith("mixed")
    ]
    if not mixed:
        return table
    return table.assign(**{column: table[column].map(str, na_action="ignore") for column in mixed})
