"""The columns that PLINK puts before the variants in .raw files: who a sample is, and its phenotype."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from numpy.typing import NDArray

from pixfold.sources.genotypes.samples import FAM_COLUMNS, fam_column
from pixfold.sources.options import ReadOptions
from pixfold.sources.tables.builder import Columns

_RAW = ("FID", "IID", "PAT", "MAT", "SEX", "PHENOTYPE")
_NAMES = dict(zip(FAM_COLUMNS, _RAW, strict=True)) | {name.lower(): name for name in _RAW}


def are_plinks(names: list[str]) -> bool:
    """Tell whether a table is one that PLINK wrote of genotypes."""
    return tuple(names[: len(_RAW)]) == _RAW


def with_plinks_names(options: ReadOptions) -> ReadOptions:
    """Let options name the columns as the .fam file has them, or in small letters."""

    def named(column: str) -> str:
        return _NAMES.get(column, column)

    changed: dict[str, object] = {} if options.label is None else {"label": named(options.label)}
    if options.groups_column is not None:
        changed["groups"] = named(options.groups_column)
    if options.covariate_columns:
        changed["covariates"] = tuple(map(named, options.covariate_columns))
    return dataclasses.replace(options, **changed)  # type: ignore[arg-type]


def set_apart(columns: Columns, notes: list[str]) -> None:
    """Make IID the names of the samples; the other columns are no features, and are read as PLINK means them.

    Parameters
    ----------
    columns : Columns
        Those of the table; changed.
    notes : list of str
        What the user should be told; added to.
    """
    columns.naming = (1,)
    columns.apart = set(range(len(_RAW)))
    for at, name in enumerate(FAM_COLUMNS):
        columns.read_as[at] = functools.partial(_read, name, notes)


def _read(name: str, notes: list[str], texts: list[str | None]) -> NDArray[Any]:
    return fam_column(name, tuple("NA" if text is None else text for text in texts), notes)
