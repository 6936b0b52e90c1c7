"""Outcomes of runs as states of a checkpoint, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pixfold.layout import Layout
from pixfold.learn.checkpoint.checkpoint import State
from pixfold.learn.consensus import RunImportance
from pixfold.learn.outcome import RunOutcome
from pixfold.normalize.normalizer import Normalizer

_PLAIN = ("number", "history", "metrics", "score", "messages", "target")
_ARRAYS = ("test", "probabilities", "z", "falls", "predicted")
_OF_IMPORTANCE = ("importance", "class_mean", "class_mean_abs", "class_count", "saliency", "class_gradient")


def state_of(outcome: RunOutcome) -> State:
    """Give all of an outcome but its network, and what follows from the job: layout and normaliser."""
    tensors = _tensors({name: getattr(outcome, name) for name in _ARRAYS})
    values = {name: getattr(outcome, name) for name in _PLAIN}
    if (found := outcome.importance) is not None:
        tensors |= _tensors({f"importance.{name}": getattr(found, name) for name in _OF_IMPORTANCE})
        values["n_used"] = found.n_used
    return State(tensors, values)


def outcome_of(state: State, layout: Layout, normalizer: Normalizer) -> RunOutcome:
    """Give the outcome that :func:`state_of` was of.

    Parameters
    ----------
    state : State
        What was kept.
    layout : Layout
        Of the run.
    normalizer : Normalizer
        Stands in for that of the run, which can be fitted again.

    Returns
    -------
    RunOutcome
        Without its network.

    Raises
    ------
    KeyError, TypeError or ValueError
        When the state is of something else.
    """
    arrays = {name: value.numpy() for name, value in state.tensors.items()}
    values: Mapping[str, Any] = state.values
    importance = None
    if "importance.importance" in arrays:
        parts: dict[str, NDArray[Any] | None] = {name: arrays.get(f"importance.{name}") for name in _OF_IMPORTANCE}
        importance = RunImportance(n_used=values["n_used"], **parts)  # type: ignore[arg-type]
    target = values["target"]
    return RunOutcome(
        number=values["number"],
        layout=layout,
        normalizer=normalizer,
        module=None,
        importance=importance,
        history=values["history"],
        metrics=values["metrics"],
        test=arrays["test"],
        probabilities=arrays.get("probabilities"),
        score=values["score"],
        messages=values["messages"],
        z=arrays.get("z"),
        falls=arrays.get("falls"),
        predicted=arrays.get("predicted"),
        target=None if target is None else (float(target[0]), float(target[1])),
    )


def _tensors(arrays: Mapping[str, NDArray[Any] | None]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items() if array is not None}
