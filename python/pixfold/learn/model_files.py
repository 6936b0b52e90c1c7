"""Models on disk: tensors in safetensors, everything else in JSON; nothing is pickled."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from pixfold.learn.estimator import DeepMapperAutoencoder, DeepMapperClassifier

TENSORS, DESCRIPTION = "model.safetensors", "model.json"
_FORMAT = 1
_PARTS = ("module", "layout", "normalizer", "importance")


def save(estimator: Any, path: str | Path) -> None:
    """Write a fitted estimator to a folder; see :meth:`DeepMapperClassifier.save`."""
    safetensors = require("safetensors.torch", "train", "saving a model")
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write the model to {folder}: {error.strerror or error}") from error
    state = {f"module.{name}": value for name, value in estimator.module_.state_dict().items()}
    arrays = {
        **{f"layout.{name}": value for name, value in estimator.layout_.state().items()},
        **{f"normalizer.{name}": value for name, value in estimator.normalizer_.state().items()},
        "importance.mean": estimator.feature_importances_,
    }
    state |= {name: torch.from_numpy(np.array(value)) for name, value in arrays.items()}
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
    # The same number in both files: a pair of two different models is refused.
    number = uuid.uuid4().hex
    with replacing(folder / TENSORS) as temporary:
        safetensors.save_file(tensors, str(temporary), metadata={"model": number})
    with replacing(folder / DESCRIPTION) as temporary:
        temporary.write_text(json.dumps({"model": number, **_describe(estimator)}, indent=2), encoding="utf-8")


def _describe(estimator: Any) -> dict[str, Any]:
    from pixfold._core import __version__

    parameters = {
        name: plain(value)
        for name, value in estimator.get_params(deep=False).items()
        if value is None or isinstance(value, str | bool | int | float | np.generic | tuple | list | dict)
    }
    classes = getattr(estimator, "classes_", None)
    return {
        "format": _FORMAT,
        "pixfold": __version__,
        "estimator": type(estimator).__name__,
        "parameters": parameters,
        "features_named": hasattr(estimator, "feature_names_in_"),
        "features": estimator.feature_names_,
        "categories": estimator.categories_,
        "classes": None if classes is None else {"dtype": classes.dtype.str, "values": classes.tolist()},
        "class_names": getattr(estimator, "class_names_", None),
        "metrics": {
            key: value
            for key, value in estimator.metrics_.items()
            if isinstance(value, float | int | str | bool) and value == value
        },
    }


def load(path: str | Path, *, backbone: Any = None) -> DeepMapperClassifier | DeepMapperAutoencoder:
    """Read a model that :meth:`DeepMapperClassifier.save` wrote (``pixfold run`` writes one, too).

    Parameters
    ----------
    path : path
        The folder that holds model.safetensors and model.json.
    backbone : Module or callable, optional
        Needed for a model whose backbone was not given by name: code is not saved.

    Returns
    -------
    DeepMapperClassifier or DeepMapperAutoencoder
        Predicts (or transforms) as the one that was saved, on the CPU.

    Raises
    ------
    InputError
        When the folder does not hold a whole model of a format that this version reads.
    """
    from pixfold.learn.estimator import DeepMapperAutoencoder, DeepMapperClassifier

    folder = Path(path)
    about, tensors = _read(folder)
    kinds = {kind.__name__: kind for kind in (DeepMapperClassifier, DeepMapperAutoencoder)}
    try:
        kind: Any = kinds[about["estimator"]]
        parameters = {name: tuple(v) if isinstance(v, list) else v for name, v in about["parameters"].items()}
        estimator: DeepMapperClassifier | DeepMapperAutoencoder = kind(**parameters)
        parts: dict[str, dict[str, Any]] = {part: {} for part in _PARTS}
        for name, value in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = value
        estimator.layout_ = Layout.from_state(_arrays(parts["layout"]))
        estimator.normalizer_ = Normalizer.from_state(_arrays(parts["normalizer"]))
        estimator.feature_importances_ = parts["importance"]["mean"].numpy()
        estimator.feature_names_, estimator.categories_ = about["features"], about["categories"]
        estimator.n_features_in_ = len(about["features"])
        if estimator.layout_.n_features != len(about["features"]):
            raise ValueError(f"{len(about['features'])} names for {estimator.layout_.n_features} features")
        estimator.metrics_ = about["metrics"]
        if about["features_named"]:
            estimator.feature_names_in_ = np.asarray(about["features"], dtype=object)
        if about["classes"] is not None:
            values = about["classes"]["values"]
            estimator.classes_ = np.asarray(values, dtype=np.dtype(about["classes"]["dtype"]))
            estimator.class_names_ = about["class_names"]
        estimator.module_ = _module(estimator, about, backbone)
        estimator.module_.load_state_dict(parts["module"])
        estimator.module_.eval()
    except InputError as error:
        raise InputError(f"{folder}: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise InputError(f"{folder}: not a whole model that pixfold wrote ({error})") from error
    return estimator


def _module(estimator: Any, about: dict[str, Any], backbone: Any) -> torch.nn.Module:
    shape = estimator.layout_.shape
    if about["classes"] is None:
        return backbones.Autoencoder(shape, estimator.latent_dim)
    if "backbone" not in about["parameters"]:
        if backbone is None:
            raise InputError(
                "the model's backbone was a module or callable, which is not saved: load(path, backbone=...)"
            )
        estimator.backbone = backbone
    return backbones.build(estimator.backbone, shape=shape, n_outputs=len(estimator.classes_), seed=0)


def _arrays(tensors: dict[str, torch.Tensor]) -> dict[str, NDArray[Any]]:
    return {name: value.numpy() for name, value in tensors.items()}


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    safetensors = require("safetensors", "train", "loading a model")
    for name in (TENSORS, DESCRIPTION):
        if not (folder / name).is_file():
            raise InputError(f"{folder}: expected a folder with {TENSORS} and {DESCRIPTION}, {name} is missing")
    try:
        about = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        with safetensors.safe_open(str(folder / TENSORS), framework="pt") as file:
            number = (file.metadata() or {}).get("model")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise InputError(f"{folder}: not a whole model that pixfold wrote ({error})") from error
    if not isinstance(about, dict) or about.get("format") != _FORMAT:
        found = about.get("format") if isinstance(about, dict) else None
        raise InputError(f"{folder}: expected a model of format {_FORMAT}, received format {found!r}")
    if number != about.get("model"):
        raise InputError(f"{folder}: {TENSORS} and {DESCRIPTION} are of two different models")
    return about, tensors
