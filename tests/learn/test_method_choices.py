"""What users choose of attribution: what goes together, what a network serves, where baselines come from."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pixfold.errors import InputError
from pixfold.learn.attribution.baselines import Baselines
from pixfold.learn.attribution.choices import check_together, refuse, target_of
from pixfold.learn.attribution.positions import to_pixels
from pixfold.learn.backbones import build

SHAPE = (1, 12, 12)


def test_contrasts_are_named_by_their_classes() -> None:
    assert target_of("x", "true", ["a", "b"]) == "true"
    assert target_of("x", "b-a", ["a", "b"]) == (1, 0)
    assert target_of("x", "non-small - small", ["small", "non-small"]) == (1, 0)
    for wrong in ("a-c", "a-a", "b"):
        with pytest.raises(InputError, match=r"x: target must be two classes .* of 'a', 'b', got"):
            target_of("x", wrong, ["a", "b"])


def test_others_are_of_other_classes() -> None:
    images = torch.arange(6.0).reshape(6, 1, 1, 1)
    baselines = Baselines(images[:1], images, torch.tensor([0, 0, 1, 1, 2, 2]))
    one = baselines.one(torch.tensor([0, 1, 2, 0])).flatten()
    assert set(one[[0, 3]].tolist()) <= {2.0, 3.0, 4.0, 5.0}
    assert float(one[1]) in (0.0, 1.0, 4.0, 5.0)
    assert baselines.several(1).flatten().tolist() == [0.0, 1.0, 4.0, 5.0]
    with pytest.raises(InputError, match="needs samples with classes, got none"):
        baselines.one(None)
    with pytest.raises(InputError, match="training samples of two classes, got those of one"):
        Baselines(images[:1], images[:2], torch.tensor([0, 0])).several(0)


@pytest.mark.parametrize(
    ("method", "backbone", "words"),
    [
        ("lrp", "vit", "one whose layers all have a rule for LRP, got one with .*LayerNorm"),
        ("guided_backprop", "patchnet", "one with ReLU, whose gradient guided backpropagation replaces, .* GELU"),
        ("guided_gradcam", "mlp", "one with two-dimensional convolutions, got one without"),
        ("gradcam", "linear", "one with two-dimensional convolutions, got one without"),
        ("attention_rollout", "patchnet", "one with attention, such as vit, got one without"),
        (
            "attention_rollout",
            "swin",
            "a vision transformer that .* whole image, got one that attends within windows",
        ),
        ("gate", "mlp", "one with a gate, such as patchnet or resnet18, got one without"),
        ("deeplift", "vit", "one without attention, .* got one with attention"),
    ],
)
def test_methods_refuse_networks_by_name(method: str, backbone: str, words: str) -> None:
    module = build(backbone, shape=SHAPE, n_outputs=2, seed=0)
    with pytest.raises(InputError, match=rf"^x: backbone of the method '{method}' must be {words}.*, got {backbone}$"):
        refuse("x", module, method, backbone)


def test_maps_go_back_to_the_pixels_they_cover() -> None:
    module = build("resnet18", shape=(1, 20, 20), n_outputs=2, seed=0)  # blocks of 3 x 3 pixels move into channels
    places = torch.arange(49.0).reshape(1, 1, 7, 7)
    pixels = to_pixels(module, places, (1, 1, 20, 20))
    wanted = places.repeat_interleave(3, 2).repeat_interleave(3, 3)[..., :20, :20]
    assert torch.equal(pixels, wanted)
    small = build("mobilenet_v3_small", shape=(1, 8, 8), n_outputs=2, seed=0)  # pixels are repeated 4 x 4 times
    assert torch.equal(to_pixels(small, torch.ones(1, 1, 4, 4), (1, 1, 8, 8)), torch.ones(1, 1, 8, 8))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"target": "true"}, "target must go with a method, got 'true' without one"),
        ({"noise_tunnel": 4}, "noise_tunnel must go with a method"),
        (
            {"method": "saliency", "attribution_baseline": "mean"},
            "attribution_baseline must go with one of deeplift, .*'saliency'",
        ),
        ({"method": "gate", "noise_tunnel": 4}, "noise_tunnel must go with a method of samples, got it with 'gate'"),
        ({"method": "feature_ablation"}, "feature_groups must go with the method 'feature_ablation', got none"),
        ({"method": "occlusion", "feature_groups": "x"}, "feature_groups must go with .*, got it with 'occlusion'"),
    ],
)
def test_choices_that_do_not_go_together(given: dict[str, Any], message: str) -> None:
    choices = {
        "method": None,
        "target": "correct",
        "attribution_baseline": None,
        "noise_tunnel": None,
        "feature_groups": None,
    }
    with pytest.raises(InputError, match=message):
        check_together("x", choices | given)
