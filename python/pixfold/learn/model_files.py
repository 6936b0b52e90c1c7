"""Models on disk: tensors in safetensors, everything else in JSON; nothing is pickled."""

from __future__ import annotations

import json
import math
import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pixfold.errors import InputError, OutputError
from pixfold.layout import Layout
from pixfold.learn import backbones
from pixfold.learn.model_description import Description
from pixfold.learn.tensor_files import check_regular, opened_tensors, save_tensors
from pixfold.normalize.normalizer import Normalizer
from pixfold.util.checks import whole_number
from pixfold.util.files import replacing
from pixfold.util.json_values import parsed, plain
from pixfold.util.text import reason_in_short, short_repr

TENSORS, DESCRIPTION = "model.safetensors", "model.json"
_FORMAT = 1
_NOT_WHOLE = "a whole model that pixfold wrote"
# A description is at most this large; an image has at most so many pixels, 8 GB.
_BYTES, _BYTES_OF_A_FEATURE, _MOST_PIXELS = 16 << 20, 1024, 1 << 31
_WRONG = (
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
    RuntimeError,
    IndexError,
    OverflowError,
    OSError,
    MemoryError,
)


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
    alleles : dict of str to list of str, or None
        Of genotypes, as :func:`pixfold.learn.alleles.alleles_of` says; None for models that do not say.
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
    alleles: dict[str, list[str]] | None = None


def write(model: Model, path: str | Path) -> None:
    """Write a model to a folder, which is made when it does not exist.

    Raises
    ------
    OutputError
        When the folder cannot be written.
    """
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
    # The same number in both files: a pair of two different models is refused.
    number = uuid.uuid4().hex
    save_tensors(folder / TENSORS, state, {"model": number})
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
        "alleles": model.alleles,
        "metrics": {
            key: value
            for key, value in model.metrics.items()
            if isinstance(value, float | int | str | bool) and value == value
        },
    }


def read(path: str | Path, *, backbone: Any = None) -> Model:
    """Read what :func:`write` wrote; see :func:`pixfold.load`.

    A folder that somebody else has made is data, not code: what it says is checked before memory is taken for it.
    """
    folder = Path(path)
    for name in (TENSORS, DESCRIPTION):
        if not os.path.lexists(folder / name):
            raise InputError(f"{folder}: must be a folder with {TENSORS} and {DESCRIPTION}, got one without {name}")
    with opened_tensors(folder / TENSORS, _NOT_WHOLE) as file:
        try:
            about = _description_in(folder / DESCRIPTION, file)
            return _model(about, file, backbone)
        except InputError as error:
            raise InputError(str(error) if str(error).startswith(str(folder)) else f"{folder}: {error}") from error
        except _WRONG as error:
            raise InputError(
                f"{folder}: must be {_NOT_WHOLE}, got something else ({reason_in_short(error)})"
            ) from error


def _description_in(path: Path, file: Any) -> dict[str, Any]:
    """Read the description, which is in proportion to the number of features, and of the model that `file` is of."""
    check_regular(path, _NOT_WHOLE)
    n_features = math.prod(file.get_slice("layout.pixel_of_feature").get_shape())
    size, most = path.stat().st_size, _BYTES + _BYTES_OF_A_FEATURE * n_features
    if size > most:
        raise ValueError(f"{path.name} has {size:,} bytes, more than {most:,}")
    about = parsed(path.read_text(encoding="utf-8"))
    if not isinstance(about, dict) or about.get("format") != _FORMAT:
        found = about.get("format") if isinstance(about, dict) else None
        newer = isinstance(found, int) and found > _FORMAT
        advice = "; it is of a newer pixfold: pip install --upgrade pixfold" if newer else ""
        raise InputError(f"{path.parent}: must be a model of format {_FORMAT}, got format {short_repr(found)}{advice}")
    if (file.metadata() or {}).get("model") != about.get("model"):
        raise InputError(f"{TENSORS} and {DESCRIPTION} are of two different models")
    return about


def _model(about: dict[str, Any], file: Any, backbone: Any) -> Model:
    description = Description.of(about)
    parts: dict[str, dict[str, Any]] = {"module": {}, "layout": {}, "normalizer": {}, "importance": {}}
    for name in file.keys():  # noqa: SIM118 (not a dict)
        part, _, rest = name.partition(".")
        parts[part][rest] = name
    arrays = {
        part: {rest: file.get_tensor(name).numpy() for rest, name in names.items()}
        for part, names in parts.items()
        if part != "module"
    }
    layout = Layout.from_state(arrays["layout"])
    if layout.n_pixels > _MOST_PIXELS:
        raise InputError(f"layout: n_pixels must be at most {_MOST_PIXELS:,}, got {layout.n_pixels:,}")
    normalizer = Normalizer.from_state(arrays["normalizer"])
    # Models of before it was written: where the normaliser says it.
    mean = arrays["normalizer"].get("mean", normalizer.training_mean())
    importance = arrays["importance"]["mean"]
    n = layout.n_features
    sizes = {"names": len(description.features), "normaliser": normalizer.parameters().n_features}
    for what, size in sizes.items():
        if size != n:
            raise ValueError(f"{what}: {size:,} for {n:,} features")
    for what, array in (("importance", importance), ("mean", mean)):
        if array is not None and (array.shape != (n,) or array.dtype != np.float64):
            raise ValueError(f"{what} must be {n:,} numbers, got {array.dtype} of shape {array.shape}")
    parameters = dict(description.parameters)
    builder = _builder(description, parameters, layout.shape, backbone)
    module = _filled(builder, {rest: (file, name) for rest, name in parts["module"].items()}, layout.n_pixels)
    return Model(
        estimator=description.estimator,
        parameters=parameters,
        backbone=description.backbone,
        layout=layout,
        normalizer=normalizer,
        module=module.eval(),
        importance=importance,
        features=description.features,
        features_named=description.features_named,
        categories=description.categories,
        classes=description.classes,
        class_names=description.class_names,
        metrics=description.metrics,
        mean=mean,
        target=description.target,
        alleles=description.alleles,
    )


def _builder(
    description: Description, parameters: dict[str, Any], shape: tuple[int, int, int], backbone: Any
) -> Callable[[], torch.nn.Module]:
    """Say how the network is made; a backbone that the caller gave becomes one of the parameters."""
    if description.classes is None and description.target is None:
        whole_number(1, below=2**31, optional=True)("model", "latent_dim", parameters["latent_dim"])
        return lambda: backbones.autoencoder(description.backbone, shape, parameters["latent_dim"])
    if "backbone" not in parameters:
        if backbone is None:
            raise InputError(
                "the model's backbone was a module or callable, which is not saved: load(path, backbone=...)"
            )
        parameters["backbone"] = backbone
    n_outputs = 1 if description.classes is None else len(description.classes)
    # Models of before it was written have the name among the parameters alone.
    name = description.backbone or parameters["backbone"]
    if backbones.is_code(name):  # a file has no say in which code runs
        if backbone is None:
            raise InputError(
                f"the model's backbone is code, which is imported only when it is named: "
                f"load(path, backbone={name!r}), or predict --backbone {name} --trust-code"
            )
        name = backbone
    return lambda: backbones.build(name, shape=shape, n_outputs=n_outputs, seed=0)


def _filled(
    build: Callable[[], torch.nn.Module], weights: dict[str, tuple[Any, str]], n_pixels: int
) -> torch.nn.Module:
    """Build a network and give it its weights, after a look at how large it would be."""
    held = sum(math.prod(file.get_slice(name).get_shape()) for file, name in weights.values())
    with torch.device("meta"):
        size = sum(value.numel() for value in build().state_dict().values())
    if size > held:
        raise ValueError(f"the network has {size:,} numbers, the file {held:,}")
    module = build()
    state = {rest: file.get_tensor(name) for rest, (file, name) in weights.items()}
    for rest, value in state.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise ValueError(f"{rest} of the network is not finite")
        if not value.is_floating_point() and value.numel() and not 0 <= int(value.min()) <= int(value.max()) < 2**62:
            raise ValueError(f"{rest} of the network is out of range")
    module.load_state_dict(state)
    pairs = getattr(module, "pairs", None)
    if isinstance(pairs, torch.Tensor) and pairs.numel() and int(pairs.max()) >= n_pixels:
        raise ValueError(f"pairs of the network must be below {n_pixels:,}")
    return module
