"""CAMFeatureSelector: features whose pixels a class activation map marks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.util.checks import choice
from pixfold.util.optional import require

CAM_METHODS = (
    "GradCAM",
    "AblationCAM",
    "XGradCAM",
    "GradCAMPlusPlus",
    "ScoreCAM",
    "LayerCAM",
    "EigenCAM",
    "EigenGradCAM",
    "FullGrad",
)
_FLATTEN: dict[str, Callable[..., Any]] = {"mean": np.mean, "max": np.max, "min": np.min}


class CAMFeatureSelector:
    """Select features by the class activation maps of a trained torch model (grad-cam computes them).

    Parameters
    ----------
    model : torch.nn.Module
        Trained on images of `it`.
    it : ImageTransformer
        Fitted: ours or pyDeepInsight's.
    target_layer : torch.nn.Module or str, optional
        The layer whose activations are mapped, or its name. Default: the last one whose output is still an image.
    cam_method : str
        One of ``CAM_METHODS``.

    Raises
    ------
    InputError
        For an unknown method or layer, or a model without a layer that gives images.
    """

    def __init__(self, model: Any, it: Any, target_layer: Any = None, cam_method: str = "GradCAM") -> None:
        choice(CAM_METHODS)("CAMFeatureSelector", "cam_method", cam_method)
        self.cam_method = cam_method
        self.feature_coords = it.coords()
        self.model = model
        self.target_layer = self._resolve_target_layer(target_layer, it.pixels)

    def _resolve_target_layer(self, target_layer: Any, pixels: tuple[int, int]) -> Any:
        layers = dict(self.model.named_modules())
        if target_layer is None:
            return layers[_last_image_layer(self.model, pixels)]
        if isinstance(target_layer, str):
            if target_layer not in layers:
                raise InputError(
                    f"CAMFeatureSelector: target_layer must be a name from model.named_modules(), got {target_layer!r}"
                )
            return layers[target_layer]
        return target_layer

    def compute_cam(self, X: Any, y: Any, batch_size: int = 1) -> NDArray[np.float64]:
        """Compute the class activation map of each image for its label.

        Parameters
        ----------
        X : tensor (n, channels, height, width)
        y : tensor (n,)
            Labels.
        batch_size : int

        Returns
        -------
        float64 array (n, height, width)
            From 0 to 1.
        """
        grad_cam = require("pytorch_grad_cam", "compare", "CAMFeatureSelector")
        targets = require("pytorch_grad_cam.utils.model_targets", "compare", "CAMFeatureSelector")
        if len(X) != len(y):
            raise InputError(
                f"CAMFeatureSelector.compute_cam: y must have a label for each image, got {len(y)} for {len(X)}"
            )
        maps = np.empty((len(X), *X.shape[-2:]), dtype=np.float64)
        self.model.eval()
        # One map-maker for all batches; on leaving it, the model loses its hooks.
        with getattr(grad_cam, self.cam_method)(model=self.model, target_layers=[self.target_layer]) as cam:
            for start in range(0, len(X), batch_size):
                part = slice(start, start + batch_size)
                labels = [targets.ClassifierOutputTarget(label) for label in y[part]]
                maps[part] = cam(input_tensor=X[part], targets=labels)
        return maps

    @staticmethod
    def flatten_cam(cams: NDArray[Any], method: str = "mean") -> NDArray[Any]:
        """Combine maps ``(n, height, width)`` into one: by their mean, their largest or their smallest value."""
        choice(_FLATTEN)("CAMFeatureSelector.flatten_cam", "method", method)
        flat: NDArray[Any] = _FLATTEN[method](cams, axis=0)
        return flat

    @staticmethod
    def flatten_classes(labels: Any, cam: NDArray[Any], method: str = "mean") -> dict[Any, NDArray[Any]]:
        """Combine the maps of each class into one, by class."""
        of_map = np.asarray(labels)
        return {name: CAMFeatureSelector.flatten_cam(cam[of_map == name], method) for name in np.unique(of_map)}

    def calculate_class_activations(
        self, X: Any, y: Any, batch_size: int = 1, flatten_method: str = "mean"
    ) -> dict[Any, NDArray[Any]]:
        """Compute the maps of all images and combine those of each class; arguments as for the methods that do so."""
        choice(_FLATTEN)("CAMFeatureSelector.calculate_class_activations", "flatten_method", flatten_method)
        maps = self.compute_cam(X, y, batch_size)
        return self.flatten_classes(y.detach().cpu().numpy(), maps, flatten_method)

    def select_class_features(
        self, cams: dict[Any, NDArray[Any]], threshold: float = 0.6
    ) -> dict[Any, NDArray[np.int64]]:
        """Select the features whose pixel reaches the threshold in a class's map.

        Returns
        -------
        dict
            Positions of the features by class, in the order of their pixels, row by row.
        """
        rows, columns = np.asarray(self.feature_coords).T
        in_order = np.lexsort((columns, rows))
        return {
            name: in_order[cam[rows[in_order], columns[in_order]] >= threshold].astype(np.int64, copy=False)
            for name, cam in cams.items()
        }


def _last_image_layer(model: Any, pixels: tuple[int, int]) -> str:
    """Name of the last layer to run whose output is an image of more than one pixel."""
    torch = require("torch", "train", "CAMFeatureSelector")
    shapes: list[tuple[str, tuple[int, ...]]] = []

    def hook_of(name: str) -> Any:
        def hook(module: Any, inputs: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor):
                shapes.append((name, tuple(output.shape)))

        return hook

    training = [(module, module.training) for module in model.modules()]
    hooks = [module.register_forward_hook(hook_of(name)) for name, module in model.named_modules()]
    try:
        model.eval()
        parameter = next(model.parameters())
        with torch.no_grad():
            model(torch.zeros((1, 3, *pixels), dtype=parameter.dtype, device=parameter.device))
    finally:
        for hook in hooks:
            hook.remove()
        for module, was_training in training:
            module.training = was_training
    for name, shape in reversed(shapes):
        if len(shape) == 4 and shape[2:] != (1, 1):
            return name
    raise InputError(
        f"CAMFeatureSelector: model must have a layer that gives images, got none among {len(shapes)} layers; name one "
        "with target_layer"
    )
