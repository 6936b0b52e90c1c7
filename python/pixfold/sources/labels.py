"""Find the label column that a user named, or say which columns there are."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from pixfold._words import listed
from pixfold.errors import InputError

_SHOWN = 10


def check_column(name: str, label: str, columns: Sequence[str], likely: Sequence[str] = ()) -> None:
    """Raise InputError unless exactly one of ``columns`` is named ``label``.

    Parameters
    ----------
    name : str
        The source, for the message.
    label : str
        The column that was asked for.
    columns : sequence of str
        The columns there are.
    likely : sequence of str
        Those of ``columns`` that look like labels (they are not numeric): named first.
    """
    if label in columns:
        if (count := list(columns).count(label)) > 1:
            raise InputError(f"{name}: {count} columns are named {label!r}, expected one to take labels from")
        return
    close = difflib.get_close_matches(label, columns, n=3, cutoff=0.7)
    close += [c for c in columns if c.lower() == label.lower() and c not in close]
    hint = f"; did you mean {' or '.join(repr(c) for c in close)}?" if close else ""
    known = set(likely)
    ordered = [*likely, *(c for c in columns if c not in known)]
    there = f"columns there are: {listed(ordered, _SHOWN)}" if ordered else "there are no columns"
    raise InputError(f"{name}: no label column {label!r}{hint or ';'} {there}")


def check_one_of(label: object, y: object, name: str) -> None:
    """Raise InputError when labels are given both as a column and beside the data."""
    if label is not None and y is not None:
        raise InputError(f"{name}: give labels either as the column {label!r} or as y, received both")
