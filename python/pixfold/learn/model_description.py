"""What model.json says, checked value by value: a model may come from somebody else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pixfold.learn.alleles import ALLELES
from pixfold.util.text import short_repr

# Kinds of labels that are saved: whether, whole numbers, numbers, text, objects (of pandas: text).
_KINDS = "biufUO"
_MOST_THREADS = 4096


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a description says; see :class:`pixfold.learn.model_files.Model`."""

    estimator: str
    parameters: dict[str, Any]
    backbone: Any
    features: list[str]
    features_named: bool
    categories: dict[str, list[str]]
    classes: NDArray[Any] | None
    class_names: list[str] | None
    metrics: dict[str, Any]
    target: tuple[float, float] | None
    alleles: dict[str, list[str]] | None

    @classmethod
    def of(cls, about: Mapping[str, Any]) -> Self:
        """Read a description.

        Raises
        ------
        KeyError, TypeError or ValueError
            For a value that is missing, or not what it must be.
        """
        parameters = _object("parameters", about["parameters"])
        # Checked by the estimator when they are used; a thread takes memory, and no check knows how many there may be.
        threads = parameters.get("threads")
        if isinstance(threads, int) and threads > _MOST_THREADS:
            raise _wrong("threads", f"at most {_MOST_THREADS:,}", threads)
        classes = _classes(about["classes"])
        names = about["class_names"]
        if (classes is None) != (names is None) or (
            classes is not None and len(_texts("class_names", names)) != len(classes)
        ):
            raise ValueError("class_names must be a name for each class")
        return cls(
            estimator=_text("estimator", about["estimator"]),
            parameters={name: tuple(v) if isinstance(v, list) else v for name, v in parameters.items()},
            backbone=about.get("backbone"),
            features=_texts("features", about["features"]),
            features_named=_switch("features_named", about["features_named"]),
            categories={
                name: _texts("categories", words) for name, words in _object("categories", about["categories"]).items()
            },
            classes=classes,
            class_names=names,
            metrics=_object("metrics", about["metrics"]),
            target=_target(about.get("target")),
            alleles=_alleles(about.get("alleles"), len(about["features"])),
        )


def _wrong(name: str, expected: str, value: Any) -> ValueError:
    return ValueError(f"{name} must be {expected}, got {short_repr(value)}")


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _wrong(name, "a text", value)
    return value


def _switch(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _wrong(name, "true or false", value)
    return value


def _object(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(name, "an object", value)
    return value


def _texts(name: str, value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _wrong(name, "a list of texts", value)
    return value


def _classes(value: Any) -> NDArray[Any] | None:
    if value is None:
        return None
    values, dtype = _object("classes", value)["values"], np.dtype(_text("dtype of classes", value["dtype"]))
    if not isinstance(values, list) or len(values) < 2 or any(isinstance(item, list | dict) for item in values):
        raise _wrong("classes", "two labels or more", values)
    # Every label of a text type takes as many bytes as the type says.
    longest = max((len(item) for item in values if isinstance(item, str)), default=0)
    if dtype.kind not in _KINDS or dtype.names is not None or dtype.itemsize > max(16, 4 * longest):
        raise _wrong("dtype of classes", "that of labels", value["dtype"])
    return np.asarray(values, dtype=dtype)


def _target(value: Any) -> tuple[float, float] | None:
    if value is None:
        return None
    numbers = value if isinstance(value, list) else []
    if len(numbers) != 2 or not all(isinstance(x, int | float) and not isinstance(x, bool) for x in numbers):
        raise _wrong("target", "two numbers", value)
    center, scale = float(numbers[0]), float(numbers[1])
    if not math.isfinite(center) or not math.isfinite(scale) or scale <= 0:
        raise _wrong("target", "a center and a scale above 0", value)
    return center, scale


def _alleles(value: Any, n_features: int) -> dict[str, list[str]] | None:
    if value is None:
        return None
    columns = {name: _texts("alleles", alleles) for name, alleles in _object("alleles", value).items()}
    if set(columns) != set(ALLELES) or any(len(alleles) != n_features for alleles in columns.values()):
        raise _wrong("alleles", f"{' and '.join(ALLELES)}, one of each feature", value)
    return columns
