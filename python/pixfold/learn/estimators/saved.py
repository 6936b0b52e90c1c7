"""Read a saved model as the estimator that wrote it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pixfold.errors import InputError
from pixfold.learn.estimators.autoencoder import DeepMapperAutoencoder
from pixfold.learn.estimators.classifier import DeepMapperClassifier
from pixfold.learn.estimators.regressor import DeepMapperRegressor
from pixfold.learn.model_files import read


def load(
    path: str | Path, *, backbone: Any = None
) -> DeepMapperClassifier | DeepMapperRegressor | DeepMapperAutoencoder:
    """Read a model that :meth:`DeepMapperClassifier.save` wrote (``pixfold run`` writes one, too).

    Parameters
    ----------
    path : path
        The folder that holds model.safetensors and model.json.
    backbone : Module, callable or "package.module:callable", optional
        Needed for a model whose backbone is code: code is not saved, and none is imported that is not named here.

    Returns
    -------
    DeepMapperClassifier, DeepMapperRegressor or DeepMapperAutoencoder
        Predicts (or transforms) as the one that was saved, on the CPU.

    Raises
    ------
    InputError
        When the folder does not hold a whole model of a format that this version reads.
    """
    model = read(path, backbone=backbone)
    kinds: dict[str, type[DeepMapperClassifier | DeepMapperRegressor | DeepMapperAutoencoder]] = {
        "DeepMapperClassifier": DeepMapperClassifier,
        "DeepMapperRegressor": DeepMapperRegressor,
        "DeepMapperAutoencoder": DeepMapperAutoencoder,
    }
    try:
        estimator = kinds[model.estimator](**model.parameters)
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: must be a model of this version's estimators, got another ({error})") from error
    estimator._keep(model)
    return estimator
