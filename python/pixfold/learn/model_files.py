"""Models on disk: tensors in safetensors, everything else in JSON; nothing is pickled."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pixfold.errors import InputError, OutputError
from pixfold.layout import Layout
from pixfold.learn import backbones
from pixfold.normalize.normalizer import Normalizer
from pixfold.util.files import replacing
from pixfold.util.json_values import plain
from pixfold.util.optional import require

TENSORS, DESCRIPTION = "model.safetensors", "model.json"
_FORMAT = 1
_NOT_WHOLE = "a whole model that pixfold wrote"


@dataclass(frozen=True, kw_only=True)
class Model:
    """What predicts, and what is known of how it came about.

    Attributes
    ----------
    estimator : str
        Name of the estimator's class.
    parameters : dict
        The estimator's own; those that no JSON can hold (modules, normalisers) are not written.
    backbone : str or None
        Name of the network that was trained, where it has one: the parameter may have been ``"auto"``.
    layout, normalizer, module
        From samples to outputs.
    importance : float64 array (n_features,)
        What the runs agreed on.
    features : list of str
        Names of the features that were learned.
    features_named : bool
        Whether these are names of their own, rather than numbers.
    categories : dict of str to list of str
        Codes of text columns, as in :class:`pixfold.sources.base.Source`.
    classes : array (n_classes,) or None
        Labels as they came; None without classes.
    class_names : list of str or None
        Their names.
    metrics : dict
        Scores; only plain numbers and words are written.
    mean : float64 array (n_features,) or None
        Normalised mean of each feature in the training samples; None for models that do not say.
    target : (float, float) or None
        Center and scale of the quantity that the module's output stands for; None where it stands for something else.
    """

    estimator: str
    parameters: dict[str, Any]
    backbone: str | None
    layout: Layout
    normalizer: Normalizer
    module: torch.nn.Module
    importance: NDArray[np.float64]
    features: list[str]
    features_named: bool
    categories: dict[str, list[str]]
    classes: NDArray[Any] | None
    class_names: list[str] | None
    metrics: dict[str, Any]
    mean: NDArray[np.float64] | None = None
    target: tuple[float, float] | None = None


def write(model: Model, path: str | Path) -> None:
    """Write a model to a folder, which is made when it does not exist.

    Raises
    ------
    OutputError
        When the folder cannot be written.
    """
    safetensors = require("safetensors.torch", "train", "saving a model")
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write the model to {folder}: {error.strerror or error}") from error
    arrays = {
        **{f"layout.{name}": value for name, value in model.layout.state().items()},
        **{f"normalizer.{name}": value for name, value in model.normalizer.state().items()},
        "importance.mean": model.importance,
        **({} if model.mean is None else {"normalizer.mean": model.mean}),
    }
    state = {f"module.{name}": value for name, value in model.module.state_dict().items()}
    state |= {name: torch.from_numpy(np.array(value)) for name, value in arrays.items()}
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
    # The same number in both files: a pair of two different models is refused.
    number = uuid.uuid4().hex
    with replacing(folder / TENSORS) as temporary:
        safetensors.save_file(tensors, str(temporary), metadata={"model": number})
    with replacing(folder / DESCRIPTION) as temporary:
        temporary.write_text(json.dumps({"model": number, **_description(model)}, indent=2), encoding="utf-8")


def _description(model: Model) -> dict[str, Any]:
    from pixfold._core import __version__

    classes = model.classes
    return {
        "format": _FORMAT,
        "pixfold": __version__,
        "estimator": model.estimator,
        "parameters": {
            name: plain(value)
            for name, value in model.parameters.items()
            if value is None or isinstance(value, str | bool | int | float | np.generic | tuple | list | dict)
        },
        "backbone": model.backbone,
        "features_named": model.features_named,
        "features": model.features,
        "categories": model.categories,
        "classes": None if classes is None else {"dtype": classes.dtype.str, "values": classes.tolist()},
        "class_names": model.class_names,
        "target": model.target,
        "metrics": {
            key: value
            for key, value in model.metrics.items()
            if isinstance(value, float | int | str | bool) and value == value
        },
    }


def read(path: str | Path, *, backbone: Any = None) -> Model:
    """Read what :func:`write` wrote; see :func:`pixfold.load`."""
    folder = Path(path)
    about, tensors = _read_files(folder)
    try:
        return _model(about, tensors, backbone)
    except InputError as error:
        raise InputError(f"{folder}: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise InputError(f"{folder}: must be {_NOT_WHOLE}, got something else ({error})") from error


def _model(about: dict[str, Any], tensors: dict[str, torch.Tensor], backbone: Any) -> Model:
    parts: dict[str, dict[str, Any]] = {"module": {}, "layout": {}, "normalizer": {}, "importance": {}}
    for name, value in tensors.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = value if part == "module" else value.numpy()
    parameters: dict[str, Any] = {
        name: tuple(v) if isinstance(v, list) else v for name, v in about["parameters"].items()
    }
    classes, features = about["classes"], about["features"]
    layout = Layout.from_state(parts["layout"])
    if layout.n_features != len(features):
        raise ValueError(f"{len(features)} names for {layout.n_features} features")
    module: torch.nn.Module
    target = about.get("target")
    if classes is None and target is None:
        module = backbones.Autoencoder(layout.shape, parameters["latent_dim"])
    else:
        if "backbone" not in parameters:
            if backbone is None:
                raise InputError(
                    "the model's backbone was a module or callable, which is not saved: load(path, backbone=...)"
                )
            parameters["backbone"] = backbone
        n_outputs = 1 if classes is None else len(classes["values"])
        # Models of before it was written have the name among the parameters alone.
        name = about.get("backbone") or parameters["backbone"]
        module = backbones.build(name, shape=layout.shape, n_outputs=n_outputs, seed=0)
    module.load_state_dict(parts["module"])
    normalizer = Normalizer.from_state(parts["normalizer"])
    # Models of before it was written: where the normaliser says it.
    mean = parts["normalizer"].get("mean", normalizer.training_mean())
    return Model(
        estimator=about["estimator"],
        parameters=parameters,
        backbone=about.get("backbone"),
        layout=layout,
        normalizer=normalizer,
        module=module.eval(),
        importance=parts["importance"]["mean"],
        features=features,
        features_named=about["features_named"],
        categories=about["categories"],
        classes=None if classes is None else np.asarray(classes["values"], dtype=np.dtype(classes["dtype"])),
        class_names=about["class_names"],
        metrics=about["metrics"],
        mean=mean,
        target=None if target is None else (float(target[0]), float(target[1])),
    )


def _read_files(folder: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    safetensors = require("safetensors", "train", "loading a model")
    for name in (TENSORS, DESCRIPTION):
        if not (folder / name).is_file():
            raise InputError(f"{folder}: must be a folder with {TENSORS} and {DESCRIPTION}, got one without {name}")
    try:
        about = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        with safetensors.safe_open(str(folder / TENSORS), framework="pt") as file:
            number = (file.metadata() or {}).get("model")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise InputError(f"{folder}: must be {_NOT_WHOLE}, got something else ({error})") from error
    if not isinstance(about, dict) or about.get("format") != _FORMAT:
        found = about.get("format") if isinstance(about, dict) else None
        raise InputError(f"{folder}: must be a model of format {_FORMAT}, got format {found!r}")
    if number != about.get("model"):
        raise InputError(f"{folder}: {TENSORS} and {DESCRIPTION} are of two different models")
    return about, tensors
