"""Covariates of a source by the names of their columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.pairs.features import columns_of
from pixfold.sources.base import Source
from pixfold.util.text import listed

# What reading a column of features may take at a time.
_READ_BYTES = 256 * 2**20


def covariates_of(source: Source, names: Sequence[str]) -> NDArray[np.float64]:
    """Find covariates among the columns of a source's samples, or else among its features.

    Parameters
    ----------
    source : Source
        The samples.
    names : sequence of str
        Columns. Text becomes one column of 0 and 1 for each of its values but the first.

    Returns
    -------
    float64 array (n_samples, q)

    Raises
    ------
    InputError
        When there is no such column.
    """
    table = source.tables()[0]
    known = [] if table is None else [str(column) for column in table.columns]
    places = {name: place for place, name in enumerate(source.feature_names)}
    absent = [name for name in names if name not in known and name not in places]
    if absent:
        raise InputError(
            f"pair_screen: covariates must be columns of {source.name}, got {listed(absent)}"
            + (f" where the samples have {listed(known, 10)}" if known else "")
        )
    columns = []
    for name in names:
        if name in known:
            columns.append(_numbers(np.asarray(table.iloc[:, known.index(name)].to_numpy())))
        else:
            values, _ = columns_of(
                source, np.arange(source.n_samples), np.array([places[name]], dtype=np.int64), _READ_BYTES
            )
            columns.append(values.T)
    return np.hstack(columns)


def _numbers(column: NDArray[Any]) -> NDArray[np.float64]:
    try:
        return column.astype(np.float64)[:, None]
    except (ValueError, TypeError):
        values = np.unique(column.astype(str))[1:]
        return np.asarray(column.astype(str)[:, None] == values, dtype=np.float64)
