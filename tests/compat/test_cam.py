"""CAMFeatureSelector: pyDeepInsight's maps and features, from the same model."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

pytest.importorskip("torch", reason="models are torch's")
pytest.importorskip("sklearn", reason="maps of features need scikit-learn and SciPy")

import torch

from pixfold.compat.deepinsight import CAMFeatureSelector, ImageTransformer
from pixfold.compat.deepinsight.cam import CAM_METHODS
from pixfold.errors import InputError

SIDE, N = 12, 60


class Placed:
    def fit_transform(self, X):
        return np.random.default_rng(0).random((len(X), 2))


@pytest.fixture(scope="module")
def theirs():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(
            "pyDeepInsight.feature_selection",
            reason='pyDeepInsight and grad-cam are what is compared with: pip install "pixfold[compare]"',
            exc_type=ImportError,
        )


@pytest.fixture
def model():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(8, 4, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(4, 2),
    )


@pytest.fixture
def transformer():
    return ImageTransformer(Placed(), pixels=SIDE).fit(np.zeros((2, N)))


@pytest.mark.parametrize("method", ["GradCAM", "GradCAMPlusPlus", "LayerCAM", "EigenCAM"])
@pytest.mark.filterwarnings("ignore")
def test_maps_and_features_are_theirs(theirs, model, transformer, method):
    rng = np.random.default_rng(0)
    images = transformer.transform(rng.random((7, N)), "pytorch")
    y = torch.tensor([0, 1, 1, 0, 1, 0, 0])
    got = CAMFeatureSelector(model, transformer, cam_method=method)
    wanted = theirs.CAMFeatureSelector(model, transformer, target_layer="3", cam_method=method)
    assert got.target_layer is wanted.target_layer is model[3]
    for flatten in ("mean", "max", "min"):
        maps = got.calculate_class_activations(images, y, batch_size=3, flatten_method=flatten)
        same = wanted.calculate_class_activations(images, y, batch_size=3, flatten_method=flatten)
        assert list(maps) == list(same)
        for name in maps:
            np.testing.assert_allclose(maps[name], same[name], rtol=0, atol=1e-6)
        for threshold in (0.0, 0.3, 0.6):
            features, those = got.select_class_features(same, threshold), wanted.select_class_features(same, threshold)
            for name in features:
                np.testing.assert_array_equal(features[name], those[name])
    assert not any(module._forward_hooks for module in model.modules())


def test_a_model_keeps_its_mode_and_hooks(model, transformer):
    model.train()
    CAMFeatureSelector(model, transformer)
    assert all(module.training for module in model.modules())
    assert not any(module._forward_hooks for module in model.modules())


def test_methods_are_theirs(theirs):
    assert set(CAM_METHODS) == set(theirs.CAM_FUNCTIONS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cam_method": "CAM"}, "cam_method must be one of GradCAM, AblationCAM"),
        ({"target_layer": "conv"}, "target_layer must be a name from model.named_modules(), got 'conv'"),
    ],
)
def test_bad_input_is_one_clear_line(model, transformer, options, message):
    with pytest.raises(InputError) as error:
        CAMFeatureSelector(model, transformer, **options)
    assert message in str(error.value)


def test_a_model_without_images_is_refused(transformer):
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * SIDE * SIDE, 2))
    with pytest.raises(InputError, match="model must have a layer that gives images, got none among 3 layers"):
        CAMFeatureSelector(model, transformer)
    with pytest.raises(InputError, match="method must be one of mean, max, min, got 'sum'"):
        CAMFeatureSelector.flatten_cam(np.zeros((2, 3, 3)), "sum")
