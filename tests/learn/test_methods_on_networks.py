"""Every attribution method on every kind of network: it gives finite values, or refuses the network by name."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pixfold.errors import InputError
from pixfold.layout import Layout
from pixfold.learn.attribute import attribute
from pixfold.learn.attribution import METHODS
from pixfold.learn.attribution.groups import PixelGroups, feature_groups
from pixfold.learn.backbones import build
from pixfold.learn.training_options import TrainingOptions
from pixfold.ops import AttributionAccumulator

SIDE, N = 12, 2
SHAPE = (1, SIDE, SIDE)
OPTIONS = TrainingOptions(device="cpu", precision="32-true")
NAMES = [f"f{i}" for i in range(SIDE * SIDE)]
GROUPS = feature_groups({"upper": NAMES[:80], "lower": NAMES[60:]}, NAMES, {})
# What docs/networks.md says: the methods that each kind of network does not serve.
WITHOUT_CONVOLUTIONS = {"gradcam", "guided_gradcam"}
WITHOUT_RELU = {"guided_backprop", "guided_gradcam"}
WITH_ATTENTION = {"deeplift", "deeplift_shap", "lrp"}
REFUSED = {
    "linear": {"attention_rollout", "gate", *WITHOUT_CONVOLUTIONS, *WITHOUT_RELU},
    "mlp": {"attention_rollout", "gate", *WITHOUT_CONVOLUTIONS},
    "additive": {"attention_rollout", "gate", "lrp", *WITHOUT_CONVOLUTIONS, *WITHOUT_RELU},
    "patchnet": {"attention_rollout", *WITHOUT_RELU},
    "resnet18": {"attention_rollout"},
    "vit": {"gate", *WITHOUT_RELU, *WITH_ATTENTION},
    "swin": {"attention_rollout", "gate", *WITHOUT_RELU, *WITH_ATTENTION},
    "cnn1d": {"attention_rollout", "gate", *WITHOUT_CONVOLUTIONS},
    "cnn2d": {"attention_rollout", "gate"},
    "mobilenet_v3_small": {"attention_rollout", "gate", "lrp"},
}
COMPLETE = {"integrated_gradients", "deeplift", "deeplift_shap", "gradient_shap", "lrp"}


class Images:
    """One batch of two classes."""

    n_samples = N

    def __len__(self) -> int:
        return 1

    def set_epoch(self, epoch: int) -> None: ...

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        images = torch.randn(N, *SHAPE, generator=torch.Generator().manual_seed(0))
        yield images, torch.arange(N) % 2, torch.arange(N)


@pytest.fixture(scope="module", params=REFUSED)
def network(request: pytest.FixtureRequest) -> tuple[str, nn.Module]:
    """A network none of whose layers is still 0, as some heads are before the training."""
    module = build(request.param, shape=SHAPE, n_outputs=2, seed=0)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=draw)
    return request.param, module


@pytest.mark.parametrize("method", METHODS)
def test_a_method_gives_values_or_refuses_the_network(network: tuple[str, nn.Module], method: str) -> None:
    name, module = network
    layout = Layout.natural(SIDE * SIDE)
    accumulator = AttributionAccumulator(layout, 2)
    groups = PixelGroups.of(GROUPS, layout, torch.device("cpu")) if method == "feature_ablation" else None
    before = {key: value.clone() for key, value in module.state_dict().items()}
    how = {"method": method, "target": "true", "groups": groups, "n_steps": 4, "options": OPTIONS}
    if method in REFUSED[name]:
        with pytest.raises(
            InputError, match=rf"^attribute: backbone of the method '{method}' must be (one|a vision) .*, got "
        ):
            attribute(module, Images(), accumulator, **how)
    else:
        found = attribute(module, Images(), accumulator, **how)
        assert found.n_used == N
        assert (found.delta is not None) == (method in COMPLETE)
        values = accumulator.result().mean
        assert np.isfinite(values).all()
        # Grad-CAM keeps what speaks for a class, and there may be nothing.
        assert method in ("gradcam", "guided_gradcam") or np.abs(values).max() > 0
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
