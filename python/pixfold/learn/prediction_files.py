"""Tables of predictions on disk, written whole or not at all, and replaced only where pixfold wrote them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pixfold.errors import InputError, OutputError
from pixfold.util.files import staged
from pixfold.util.optional import require
from pixfold.util.outputs import MARK, check_table

if TYPE_CHECKING:
    import pandas as pd

_ENDS = (".csv", ".parquet")
# What a table begins with: that of classes and quantities, and that of latent values.
_BEGINNINGS = ("sample,predicted", "sample,latent_0")
_MARK = MARK.encode()


def check_output(path: Path, *, force: bool) -> None:
    """Refuse a name of another format, and a file that would be lost.

    Raises
    ------
    InputError
        When the name ends in neither .csv nor .parquet.
    OutputError
        When something is there that may not be replaced, or there is no such folder.
    """
    end = path.suffix.lower()
    if end not in _ENDS:
        raise InputError(f"predict: out must be a name that ends in {' or '.join(_ENDS)}, got {path.name!r}")
    if end == ".parquet":
        require("pyarrow", "io", "writing .parquet files")
    if path.is_dir():
        raise OutputError(f"cannot write {path}: it is a folder; name a file")
    if end == ".parquet" and force and path.is_file() and not path.is_symlink():
        if not _is_own(path):
            raise OutputError(
                f"cannot write {path}: it must be a table of pixfold's to be replaced, got a file that pixfold has not "
                "written; it stays"
            )
        return
    check_table(path, _BEGINNINGS, force=force)


def write(table: pd.DataFrame, path: Path) -> None:
    """Write a table under another name, and rename it when it is whole.

    Raises
    ------
    OutputError
        When it cannot be written.
    """
    with staged(path) as (temporary,):
        if path.suffix.lower() == ".csv":
            # No float_format: the shortest digits that give the same number back.
            table.to_csv(temporary, index=False, lineterminator="\n", encoding="utf-8")
            return
        pyarrow = require("pyarrow", "io", "writing .parquet files")
        parquet = require("pyarrow.parquet", "io", "writing .parquet files")
        made = pyarrow.Table.from_pandas(table, preserve_index=False)
        parquet.write_table(
            made.replace_schema_metadata({**(made.schema.metadata or {}), _MARK: b"predictions"}), temporary
        )


def _is_own(path: Path) -> bool:
    pyarrow = require("pyarrow", "io", "writing .parquet files")
    parquet = require("pyarrow.parquet", "io", "writing .parquet files")
    try:
        return _MARK in (parquet.read_schema(path).metadata or {})
    except (OSError, pyarrow.ArrowException):
        return False
