"""The table of what a model says of new samples, and how right it is where their labels are known."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.learn.new_samples import NewSamples
from pixfold.learn.results import classification_metrics, regression_metrics
from pixfold.sources.base import Source
from pixfold.stream.labels import encode_quantity, labelled_rows, names_of_labels
from pixfold.util.optional import require
from pixfold.util.text import counted, listed

if TYPE_CHECKING:
    import pandas as pd

# Classes that --split median made of numbers.
_HALVES = re.compile(r"(<=|>) (\S+)")


def predictions_of(model: Any, new: NewSamples) -> tuple[pd.DataFrame, dict[str, Any], list[str]]:
    """Predict new samples.

    Parameters
    ----------
    model : DeepMapperClassifier, DeepMapperRegressor or DeepMapperAutoencoder
        Fitted.
    new : NewSamples
        From its ``aligned``.

    Returns
    -------
    table : pandas.DataFrame
        One row per sample: ``sample``, ``predicted``, ``label`` and ``correct`` (where there are labels),
        ``probability_<class>``; of a quantity ``sample``, ``predicted`` and ``target``; of an auto-encoder ``sample``
        and ``latent_<number>``.
    scores : dict
        Of :func:`pixfold.learn.results.classification_metrics` or ``regression_metrics``; empty without labels.
    messages : list of str
        What the user should be told.

    Raises
    ------
    InputError
        When labels are no labels of the model's kind, or values cannot be normalised.
    """
    messages: list[str] = []
    source = new.source
    columns: dict[str, Any] = {"sample": np.asarray(source.sample_names, dtype=object)}
    if hasattr(model, "class_names_"):
        names = list(model.class_names_)
        known = None if source.labels is None else _known_classes(source, names, messages)
        chances = model.predict_proba(new)
        return _classes(columns, chances, names, known), _class_scores(chances, names, known), messages
    if hasattr(model, "predict"):
        targets = None if source.labels is None else _known_quantity(source, messages)
        predicted = model.predict(new)
        if targets is None:
            return _table({**columns, "predicted": predicted}), {}, messages
        there = ~np.isnan(targets)
        scores = regression_metrics(targets[there], predicted[there]) if there.any() else {}
        return _table({**columns, "predicted": predicted, "target": targets}), scores, messages
    latent = model.transform(new)
    return _table({**columns, **{f"latent_{d}": latent[:, d] for d in range(latent.shape[1])}}), {}, messages


def _classes(
    columns: dict[str, Any], chances: NDArray[Any], names: Sequence[str], known: NDArray[Any] | None
) -> pd.DataFrame:
    predicted = np.asarray(names, dtype=object)[chances.argmax(axis=1)]
    columns["predicted"] = predicted
    if known is not None:
        correct = np.array([None if a is None else a == b for a, b in zip(known, predicted, strict=True)], dtype=object)
        columns |= {"label": known, "correct": correct}
    for at, name in enumerate(names):
        columns[f"probability_{name}"] = chances[:, at]
    return _table(columns)


def _class_scores(chances: NDArray[Any], names: Sequence[str], known: NDArray[Any] | None) -> dict[str, Any]:
    code = {name: number for number, name in enumerate(names)}
    rows = [] if known is None else [row for row, name in enumerate(known.tolist()) if name in code]
    if not rows or known is None:
        return {}
    true = np.array([code[known[row]] for row in rows], dtype=np.int64)
    return classification_metrics(true, chances[rows].argmax(axis=1), len(names), names)


def _known_classes(source: Source, names: Sequence[str], messages: list[str]) -> NDArray[Any]:
    """Name of each sample's class, None where it has no label."""
    unsaid: list[str] = []
    rows, labels = labelled_rows(source, unsaid)
    known = np.full(source.n_samples, None, dtype=object)
    if labels is None or not len(rows):
        messages.append(f"{source.name}: no sample has a label, so that there is no accuracy")
        return known
    if unsaid:
        messages.append(
            f"{source.name}: {counted(source.n_samples - len(rows), 'sample')} without a label: predicted, not scored"
        )
    known[rows] = _halves(source.name, labels, names) if _are_halves(names) else names_of_labels(labels)
    unknown = sorted(set(known[rows].tolist()) - set(names))
    if unknown:
        n = sum(name in set(unknown) for name in known[rows].tolist())
        if n == len(rows):
            raise InputError(
                f"{source.name}: labels must be among the classes that were learned ({listed(names, 10)}), got "
                f"{listed(unknown)}"
            )
        messages.append(
            f"{source.name}: {counted(n, 'sample')} of classes that were not learned ({listed(unknown)}): predicted, "
            "not scored"
        )
    return known


def _are_halves(names: Sequence[str]) -> bool:
    found = [_HALVES.fullmatch(name) for name in names]
    return len(found) == 2 and all(found) and len({match[2] for match in found if match}) == 1


def _halves(source: str, labels: NDArray[Any], names: Sequence[str]) -> list[str]:
    """Classes of numbers that were split at the median of the training samples."""
    found = names_of_labels(labels)
    if set(found) <= set(names):
        return found
    match = _HALVES.fullmatch(names[0])
    assert match is not None
    try:
        numbers = labels.astype(np.float64)
    except ValueError:
        raise InputError(
            f"{source}: labels must be numbers, because the model learned {listed(names)}, got {listed(found)}"
        ) from None
    return [f"> {match[2]}" if number > float(match[2]) else f"<= {match[2]}" for number in numbers]


def _known_quantity(source: Source, messages: list[str]) -> NDArray[np.float64]:
    rows, labels = labelled_rows(source, [])
    targets = np.full(source.n_samples, np.nan)
    if labels is None or not len(rows):
        messages.append(f"{source.name}: no sample has a label, so that there is no R2")
        return targets
    if len(set(labels.tolist())) > 1:
        targets[rows] = encode_quantity(source.name, labels)
    else:
        messages.append(f"{source.name}: all samples have the label {labels[0]}, so that there is no R2")
    return targets


def _table(columns: dict[str, Any]) -> pd.DataFrame:
    table: pd.DataFrame = require("pandas", "train", "the predictions table").DataFrame(columns)
    return table
