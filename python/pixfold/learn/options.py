"""The options of a job, all checked before any data are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args

import numpy as np

from pixfold.errors import InputError
from pixfold.formula import PRESETS
from pixfold.learn import backbones
from pixfold.learn.attribution.choices import CHECKS as ATTRIBUTION_CHECKS
from pixfold.learn.attribution.choices import check_together
from pixfold.learn.split import check_fractions
from pixfold.learn.time_budget import seconds_of
from pixfold.learn.training_options import CHECKS as TRAINING_CHECKS
from pixfold.learn.training_options import TrainingOptions
from pixfold.normalize.normalizer import Normalizer
from pixfold.stream.prepare import Missing
from pixfold.util.checks import Check, check_all, choice, is_whole, number, switch, whole_number
from pixfold.util.sizes import bytes_of
from pixfold.util.text import must_be, one_of

# Parameters of the estimators that training takes as they are.
_OF_TRAINING = ("epochs", "device", "precision", "threads")


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """What the user chose; see :class:`pixfold.DeepMapperClassifier`, whose parameters these are.

    ``latent_dim`` is None for a classifier; ``memory`` is in bytes.
    """

    backbone: Any
    latent_dim: int | None
    n_runs: int | None
    time: float | None
    fdr: float
    baselines: bool
    pair_screen: bool | None
    normalize: str | Normalizer
    negative: str
    missing: Missing
    arrangement: str
    method: str | None
    target: str
    attribution_baseline: str | None
    noise_tunnel: int | None
    feature_groups: Any
    weights: Any
    latent_layer: str | None
    clusters: Any
    batch_size: int
    min_accuracy: float | None
    fractions: tuple[float, float, float]
    top_k: int | None
    random_state: Any
    memory: int | None
    training: TrainingOptions

    @classmethod
    def of(cls, op: str, parameters: Mapping[str, Any], defaults: Mapping[str, Any]) -> JobOptions:
        """Check an estimator's parameters.

        Parameters
        ----------
        op : str
            The estimator, for messages.
        parameters : mapping
            What ``get_params`` gives.
        defaults : mapping
            Options of training that differ from those of TrainingOptions; ``parameters["training"]`` replaces them.

        Returns
        -------
        JobOptions

        Raises
        ------
        InputError
            For the first parameter that is not usable.
        """
        check_all(op, _CHECKS | (_OF_AUTOENCODERS if "latent_dim" in parameters else {}), parameters)
        if "target" in parameters:
            check_together(op, {name: parameters[name] for name in ATTRIBUTION_CHECKS})
        elif parameters.get("method") == "feature_ablation":
            raise InputError(f"{op}: method must be one that needs no groups of features, got 'feature_ablation'")
        training = {**defaults, **(parameters["training"] or {}), **{name: parameters[name] for name in _OF_TRAINING}}
        own: dict[str, Any] = {field.name: parameters.get(field.name) for field in fields(cls)}
        memory = parameters["memory"]
        own["memory"] = None if memory is None else bytes_of(op, memory)
        own["time"] = seconds_of(op, "time", parameters["time"])
        own["training"] = TrainingOptions(**training)
        return cls(**own)


def _check_backbone(op: str, name: str, value: Any) -> None:
    backbones.check(op, name, value, "auto")


def _check_pair_screen(op: str, name: str, value: Any) -> None:
    if value is not None:
        switch(op, name, value)


def _check_time(op: str, name: str, value: Any) -> None:
    seconds_of(op, name, value)


def _check_weights(op: str, name: str, value: Any) -> None:
    if value is not None and not isinstance(value, str | Path):
        raise InputError(must_be(op, name, "the path of a file, or None", value))


def _check_latent_layer(op: str, name: str, value: Any) -> None:
    if value is not None and not (isinstance(value, str) and value):
        raise InputError(must_be(op, name, "the name of a layer, such as encoder.4, or None", value))


def _check_clusters(op: str, name: str, value: Any) -> None:
    if value is not None and value not in ("kmeans", "leiden") and not is_whole(value, 2):
        raise InputError(must_be(op, name, "'kmeans', 'leiden', a number of clusters of 2 or more, or None", value))


def _check_normalize(op: str, name: str, value: Any) -> None:
    known = ("auto", *PRESETS)
    if not isinstance(value, Normalizer) and not (isinstance(value, str) and value in known):
        raise InputError(must_be(op, name, f"a Normalizer or {one_of(known)}", value))


def _check_random_state(op: str, name: str, value: Any) -> None:
    if value is not None and not isinstance(value, np.random.RandomState) and not is_whole(value, 0):
        raise InputError(must_be(op, name, "an integer of 0 or more, a numpy.random.RandomState or None", value))


def _check_memory(op: str, name: str, value: Any) -> None:
    if value is not None:
        bytes_of(op, value)


def _check_training(op: str, name: str, value: Any) -> None:
    if value is None:
        return
    if not isinstance(value, Mapping):
        raise InputError(must_be(op, name, "a dict of options of TrainingOptions or None", value))
    for option, chosen in value.items():
        if option in (*_OF_TRAINING, "seed"):
            own = "random_state" if option == "seed" else option
            raise InputError(f"{op}: {name} must leave {option!r} to the parameter {own}, got {option!r} in it")
        if option not in TRAINING_CHECKS:
            known = sorted(set(TRAINING_CHECKS) - {*_OF_TRAINING, "seed"})
            raise InputError(must_be(op, f"an option in {name}", one_of(known), option))
        TRAINING_CHECKS[option](op, f"{name}[{option!r}]", chosen)


_OF_AUTOENCODERS: dict[str, Check] = {"backbone": choice(("auto", *backbones.AUTOENCODERS))}
_CHECKS: dict[str, Check] = {
    **{name: TRAINING_CHECKS[name] for name in _OF_TRAINING},
    "backbone": _check_backbone,
    "latent_dim": whole_number(1, optional=True),
    "n_runs": whole_number(1, optional=True),
    "time": _check_time,
    "fdr": number(most=1.0, above_zero=True),
    "baselines": switch,
    "pair_screen": _check_pair_screen,
    "normalize": _check_normalize,
    "negative": choice(("auto", "error", "shift")),
    "missing": choice(get_args(Missing)),
    "arrangement": choice(("natural", "shuffled")),
    **ATTRIBUTION_CHECKS,
    "weights": _check_weights,
    "latent_layer": _check_latent_layer,
    "clusters": _check_clusters,
    "batch_size": whole_number(1),
    "min_accuracy": number(most=1.0, optional=True),
    "fractions": check_fractions,
    "top_k": whole_number(1, optional=True),
    "random_state": _check_random_state,
    "memory": _check_memory,
    "training": _check_training,
}
