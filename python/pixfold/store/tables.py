"""The tables of a packed store: names, labels and what else the source knows of samples and features."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.sources.base import Source
from pixfold.sources.missing import missing_labels
from pixfold.util.optional import require


def tables_of(source: Source, label: str | None, groups: str | None = None) -> tuple[Any, Any]:
    """Make the tables of samples and of features.

    Labels stand in the column `label`, or "label" where they came beside the data; so do groups. Covariates stand in
    columns of their names.

    Raises
    ------
    InputError
        When a column of the table is neither numbers nor text.
    """
    pandas = require("pandas", "io", "writing a packed store")
    samples, features = source.tables()
    if features is None and source.feature_annotation:
        features = pandas.DataFrame(source.feature_annotation)
    frames = []
    for frame, names in ((samples, source.sample_names), (features, source.feature_names)):
        frame = pandas.DataFrame(index=range(len(names))) if frame is None else frame.copy()
        frame.index = pandas.Index(names, dtype=object)
        frames.append(frame)
    samples, features = frames
    if source.labels is not None:
        samples[label or "label"] = source.labels
    if source.groups is not None:
        samples[groups or "groups"] = source.groups
    for name, values in source.covariates.items():
        samples[name] = values
    for name in samples.columns:
        if samples[name].dtype == object:
            samples[name] = _column(np.asarray(samples[name]), f"{source.name}: {name!r}", pandas)
    for frame in frames:
        # AnnData would take an index for the column of the same name.
        frame.index.name = None
    return samples, features


def _column(values: NDArray[Any], name: str, pandas: Any) -> Any:
    """Convert objects to booleans, integers, floats or categories of text, which a file can hold; missing ones stay."""
    missing = missing_labels(values)
    known = [value.decode() if isinstance(value, bytes) else value for value in values[~missing].tolist()]
    for kinds, dtype in ((bool, "boolean"), (int, "Int64"), ((int, float), "Float64")):
        if known and all(isinstance(v, kinds) and (kinds is bool or not isinstance(v, bool)) for v in known):
            return pandas.array([None if gone else v for v, gone in zip(values, missing, strict=True)], dtype=dtype)
    if not all(isinstance(value, str | int | float) for value in known):
        raise InputError(f"pack: {name} must be numbers or text, got {type(known[0]).__name__}")
    text = np.full(len(values), None, dtype=object)
    text[~missing] = [str(value) for value in known]
    return pandas.Categorical(text)
