"""Every attribution method finds planted features on one small trained network, or refuses the network by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pixfold.layout import Layout
from pixfold.learn.attribute import AttributionSummary, attribute
from pixfold.learn.attribution import METHODS
from pixfold.learn.attribution.baselines import Baselines
from pixfold.learn.attribution.groups import PixelGroups, feature_groups
from pixfold.learn.attribution.layers import leaves, separated
from pixfold.learn.backbones import build
from pixfold.learn.backbones.gate import Gate
from pixfold.learn.train import train
from pixfold.learn.training_options import TrainingOptions
from pixfold.ops import AttributionAccumulator

OPTIONS = TrainingOptions(device="cpu", precision="32-true", epochs=12, learning_rate=3e-3, good_enough_loss=0.0)
SIDE = 12
SHAPE = (1, SIDE, SIDE)
N = 240
NEEDLES = (17, 100)
# Ablation needs groups; the rest serve a residual network with a gate and ReLU.
SHARP = [
    "saliency",
    "input_x_gradient",
    "integrated_gradients",
    "deeplift",
    "deeplift_shap",
    "gradient_shap",
    "guided_backprop",
    "guided_gradcam",
    "lrp",
    "occlusion",
    "gate",
]


class Residual(nn.Module):
    """What residual networks have in common, small: a ReLU that is used twice, in place, and an addition."""

    def __init__(self, shape: tuple[int, int, int], n_outputs: int) -> None:
        super().__init__()
        self.gate = Gate(shape)
        self.stem = nn.Conv2d(shape[0], 8, 3, stride=3)
        self.norm = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.inner = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8 * (SIDE // 3) ** 2, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.stem(self.gate(x))))
        x = self.relu(self.inner(x) + x)
        scores: Tensor = self.head(torch.flatten(x, 1))
        return scores


class Batches:
    def __init__(self, images: Tensor, labels: Tensor, size: int = 32) -> None:
        self.images, self.labels, self.size, self.n_samples = images, labels, size, len(images)

    def __len__(self) -> int:
        return -(-self.n_samples // self.size)

    def set_epoch(self, epoch: int) -> None:
        self.order = torch.randperm(self.n_samples, generator=torch.Generator().manual_seed(epoch))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for rows in getattr(self, "order", torch.arange(self.n_samples)).split(self.size):
            yield self.images[rows], self.labels[rows], rows


def data(seed: int) -> tuple[Tensor, Tensor]:
    """Noise in which two pixels differ by 3 standard deviations between two classes."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(N) % 2
    images = torch.randn(N, *SHAPE, generator=generator)
    for needle in NEEDLES:
        images.view(N, -1)[:, needle] += 3.0 * (labels - 0.5)
    return images, labels


def trained_on(backbone: Any) -> nn.Module:
    module = build(backbone, shape=SHAPE, n_outputs=2, seed=0)
    return train(module, Batches(*data(0)), None, OPTIONS, n_classes=2).module


@pytest.fixture(scope="module")
def residual() -> nn.Module:
    return trained_on(Residual)


def importance(
    module: nn.Module, method: str, images: Tensor, labels: Tensor, **how: Any
) -> tuple[np.ndarray, AttributionSummary]:
    accumulator = AttributionAccumulator(Layout.natural(SIDE * SIDE), 2)
    summary = attribute(module, Batches(images, labels, 16), accumulator, method=method, options=OPTIONS, **how)
    return accumulator.result().importance, summary


def found(importance: np.ndarray) -> set[int]:
    return set(np.argsort(importance)[-2:].tolist())


@pytest.fixture(scope="module")
def held_out() -> tuple[Tensor, Tensor]:
    images, labels = data(1)
    return images[:48], labels[:48]


@pytest.fixture(scope="module")
def others(held_out: tuple[Tensor, Tensor]) -> Baselines:
    images, labels = data(0)
    return Baselines(images[:1], images[:16], labels[:16])


def start(method: str, others: Baselines) -> Baselines | None:
    return others if method in ("deeplift_shap", "gradient_shap") else None


@pytest.mark.parametrize("method", SHARP)
def test_sharp_methods_find_the_planted_pixels(
    method: str, residual: nn.Module, held_out: tuple[Tensor, Tensor], others: Baselines
) -> None:
    values, summary = importance(residual, method, *held_out, baselines=start(method, others))
    assert found(values) == set(NEEDLES)
    assert summary.n_used > 40


def test_all_methods_are_tried_here() -> None:
    assert set(METHODS) == {*SHARP, "gradcam", "attention_rollout", "feature_ablation"}


def test_gradcam_finds_the_places_of_the_planted_pixels(residual: nn.Module, held_out: tuple[Tensor, Tensor]) -> None:
    """A place of the 4 x 4 map covers 3 x 3 pixels: those with a needle get more than the others do on average."""
    values, _ = importance(residual, "gradcam", *held_out)
    image = values.reshape(SIDE, SIDE)
    assert min(image.flat[needle] for needle in NEEDLES) > np.median(image)
    assert len(np.unique(np.round(image, 6))) > 4


@pytest.mark.parametrize(
    ("method", "baseline", "most"),
    [
        ("integrated_gradients", "zero", 0.02),
        ("integrated_gradients", "others", 0.02),
        ("deeplift", "zero", 1e-4),
        ("deeplift", "others", 1e-4),
        ("deeplift_shap", "others", 1e-4),
        ("gradient_shap", "others", 0.5),
    ],
)
def test_complete_methods_report_how_far_they_are(
    method: str, baseline: str, most: float, residual: nn.Module, held_out: tuple[Tensor, Tensor], others: Baselines
) -> None:
    """DeepLIFT's sum is exact but for rounding; an integral of 32 terms is not, and 32 random points less so."""
    how = {"baselines": others} if baseline == "others" else {}
    _, summary = importance(residual, method, *held_out, **how)
    assert summary.delta is not None
    assert summary.relative_delta is not None
    assert 0 <= summary.relative_delta < most


def test_deltas_are_what_the_sum_misses(residual: nn.Module, held_out: tuple[Tensor, Tensor]) -> None:
    images, labels = held_out[0][:1], held_out[1][:1]
    with torch.no_grad():
        change = (residual(images) - residual(torch.zeros_like(images)))[0, labels[0]]
    accumulator = AttributionAccumulator(Layout.natural(SIDE * SIDE), 2)
    summary = attribute(
        residual,
        Batches(images, labels),
        accumulator,
        method="integrated_gradients",
        n_steps=2,
        target="true",
        options=OPTIONS,
    )
    missed = abs(accumulator.result().mean[int(labels[0])].sum() - float(change))
    assert missed > 1e-3
    assert summary.delta == pytest.approx(missed, rel=1e-2)


def test_occlusion_and_deeplift_agree_with_a_linear_network(held_out: tuple[Tensor, Tensor]) -> None:
    """All of them are weight x (pixel - baseline) there."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 2)).eval()
    images, labels = held_out
    baseline = Baselines(torch.full((1, *SHAPE), 0.25))
    weight = module[1].weight.detach().numpy()[labels]
    wanted = np.abs(weight * (images.flatten(1).numpy() - 0.25))
    for method in ("integrated_gradients", "deeplift", "deeplift_shap", "gradient_shap", "occlusion"):
        values, _ = importance(module, method, images, labels, target="true", baselines=baseline)
        # The mean over 48 samples of float32 numbers of size 1.
        np.testing.assert_allclose(values, wanted.mean(0), atol=48 * 2**-22)


def test_targets(residual: nn.Module, held_out: tuple[Tensor, Tensor]) -> None:
    images, labels = held_out
    wrong = labels.clone()
    wrong[:8] = 1 - wrong[:8]
    used = {
        target: importance(residual, "saliency", images, wrong, target=target)[1].n_used
        for target in ("correct", "true", "predicted", (1, 0))
    }
    assert used["correct"] < 41 < used["true"] == used["predicted"] == used[(1, 0)] == 48
    # Of two classes the gradient of the difference is the same for the samples of both.
    accumulator = AttributionAccumulator(Layout.natural(SIDE * SIDE), 2)
    attribute(residual, Batches(images, labels), accumulator, target=(1, 0), options=OPTIONS)
    mean = accumulator.result().mean
    assert (mean[:, NEEDLES] > 0).all()
    accumulator = AttributionAccumulator(Layout.natural(SIDE * SIDE), 2)
    attribute(residual, Batches(images, labels), accumulator, target=(0, 1), options=OPTIONS)
    np.testing.assert_allclose(accumulator.result().mean, -mean, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "method", ["integrated_gradients", "deeplift_shap", "gradient_shap", "occlusion", "feature_ablation"]
)
def test_no_pass_holds_more_images_than_asked_for(
    method: str, held_out: tuple[Tensor, Tensor], others: Baselines
) -> None:
    class Counting(nn.Module):
        largest = 0

        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(SIDE * SIDE, 2)

        def forward(self, x: Tensor) -> Tensor:
            if not isinstance(x, torch.fx.Proxy):
                Counting.largest = max(Counting.largest, len(x))
            scores: Tensor = self.head(x.flatten(1))
            return scores

    class Loose(Counting):
        """One that torch.fx cannot trace, so that it is itself that runs."""

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) if len(x) else x

    groups = groups_of({"all": range(SIDE * SIDE)}) if method == "feature_ablation" else None
    images, labels = held_out
    accumulator = AttributionAccumulator(Layout.natural(SIDE * SIDE), 2)
    attribute(
        Loose(),
        Batches(images[:6], labels[:6], 6),
        accumulator,
        method=method,
        target="true",
        baselines=start(method, others),
        groups=groups,
        internal_batch_size=4,
        options=OPTIONS,
    )
    assert 0 < Counting.largest <= 4


def groups_of(members: dict[str, Any], layout: Layout | None = None) -> PixelGroups:
    named = {name: [str(feature) for feature in features] for name, features in members.items()}
    groups = feature_groups(named, [str(feature) for feature in range(SIDE * SIDE)], {})
    return PixelGroups.of(groups, layout or Layout.natural(SIDE * SIDE), torch.device("cpu"))


def test_ablation_by_groups_that_overlap(residual: nn.Module, held_out: tuple[Tensor, Tensor]) -> None:
    """Each group's fall is the fall when its pixels are zero; a pixel gets its share of every group it is in."""
    members = {"needles": NEEDLES, "rest": range(40, 90), "overlap": [NEEDLES[0], 40, 41, 42]}
    groups = groups_of(members)
    assert [held for _, held in groups.masks] == [[0, 1], [2]]
    images, labels = held_out
    values = AttributionAccumulator(Layout.natural(SIDE * SIDE), 2)
    falls = AttributionAccumulator(PixelGroups.layout(3), 2)
    attribute(
        residual,
        Batches(images, labels),
        values,
        method="feature_ablation",
        target="true",
        groups=groups,
        falls=falls,
        options=OPTIONS,
    )
    wanted = []
    with torch.no_grad():
        for pixels in members.values():
            without = images.clone()
            without.view(len(images), -1)[:, list(pixels)] = 0.0
            wanted.append((residual(images) - residual(without))[torch.arange(len(images)), labels])
    for label in (0, 1):
        mean = np.array([float(fall[labels == label].mean()) for fall in wanted])
        np.testing.assert_allclose(falls.result().mean[label], mean, rtol=1e-4, atol=1e-5)
        share = mean / [len(list(pixels)) for pixels in members.values()]
        got = values.result().mean[label]
        np.testing.assert_allclose(got[NEEDLES[1]], share[0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(got[NEEDLES[0]], share[0] + share[2], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(got[41], share[1] + share[2], rtol=1e-4, atol=1e-5)
        assert got[0] == 0
    assert falls.result().mean_abs.sum(0).argmax() == 0


def test_noise_tunnel_averages_noisy_copies(residual: nn.Module, held_out: tuple[Tensor, Tensor]) -> None:
    images, labels = held_out
    clean, _ = importance(residual, "saliency", images, labels)
    noisy, summary = importance(residual, "saliency", images, labels, noise_tunnel=8)
    again, _ = importance(residual, "saliency", images, labels, noise_tunnel=8, internal_batch_size=16)
    assert found(noisy) == set(NEEDLES)
    assert not np.allclose(noisy, clean, rtol=1e-3)
    np.testing.assert_allclose(again, noisy, rtol=0.2, atol=1e-3)  # other parts draw other noise
    _, summary = importance(residual, "integrated_gradients", images, labels, noise_tunnel=3)
    assert summary.delta is None
    # A linear network has the same gradient everywhere.
    linear = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 2)).eval()
    values = [importance(linear, "saliency", images, labels, target="true", noise_tunnel=n)[0] for n in (None, 4)]
    np.testing.assert_allclose(values[0], values[1], rtol=1e-5)


def test_noise_tunnel_over_baselines_of_other_classes(
    residual: nn.Module, held_out: tuple[Tensor, Tensor], others: Baselines
) -> None:
    values, _ = importance(residual, "deeplift_shap", *held_out, baselines=others, noise_tunnel=2)
    assert found(values) == set(NEEDLES)


@pytest.mark.parametrize("method", ["deeplift", "guided_backprop", "lrp", "gradcam", "guided_gradcam"])
@pytest.mark.parametrize("name", ["resnet18", "densenet121"])
def test_networks_of_torchvision_serve_the_methods_of_relu(method: str, name: str) -> None:
    module = build(name, shape=SHAPE, n_outputs=2, seed=0).eval()
    for part in module.modules():  # as after the first steps: residual branches begin at zero
        if isinstance(part, nn.BatchNorm2d):
            nn.init.ones_(part.weight)
    x, y = data(2)
    values, summary = importance(module, method, x[:3], y[:3], target="true")
    assert np.isfinite(values).all()
    assert values.max() > 0
    if method == "deeplift":
        assert summary.relative_delta is not None
        assert summary.relative_delta < 1e-2


def test_activations_without_a_rule_of_captum_are_rescaled_and_passed() -> None:
    """patchnet has GELU: DeepLIFT stays complete, and LRP hands relevance on."""
    module = trained_on("patchnet")
    images, labels = data(1)
    for method in ("deeplift", "lrp"):
        values, summary = importance(module, method, images[:48], labels[:48])
        assert found(values) == set(NEEDLES)
        if method == "deeplift":
            assert summary.relative_delta is not None
            assert summary.relative_delta < 1e-4


def test_relevance_is_conserved_without_biases(held_out: tuple[Tensor, Tensor]) -> None:
    """LRP hands on all of the output where there is no bias to take any."""
    torch.manual_seed(0)

    class Chain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(1, 4, 3, stride=3, bias=False)
            self.inner = nn.Conv2d(4, 4, 3, padding=1, bias=False)
            self.head = nn.Linear(4 * 16, 2, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            x = torch.relu(self.first(x))
            x = torch.relu(self.inner(x) + x)
            scores: Tensor = self.head(x.flatten(1))
            return scores

    images, labels = held_out
    _, summary = importance(Chain().eval(), "lrp", images, labels, target="true")
    assert summary.relative_delta is not None
    assert summary.relative_delta < 1e-4


def test_attention_rollout_finds_the_patch_that_is_attended_to() -> None:
    """Attention is set by hand, in one layer: tokens look at the brightest pixel, another one in each image."""
    module = build("vit", shape=SHAPE, n_outputs=2, seed=0).eval()
    trunk = module[-1]
    with torch.no_grad():
        for parameter in (trunk.conv_proj.weight, trunk.conv_proj.bias, trunk.class_token, trunk.encoder.pos_embedding):
            parameter.zero_()
        trunk.conv_proj.weight[0] = 1.0  # the first of a token's numbers is its pixel
        for layer in trunk.encoder.layers:
            layer.self_attention.in_proj_weight.zero_()
            layer.self_attention.in_proj_bias.zero_()
        attention, width = trunk.encoder.layers[1].self_attention, 96
        attention.in_proj_bias[:width] = 1.0  # all queries are the same
        attention.in_proj_weight[width : 2 * width, 0] = 1.0  # keys are the first number
    bright = torch.tensor([17, 100, 3, 143])
    images = torch.zeros(4, *SHAPE)
    images.view(4, -1)[torch.arange(4), bright] = 5.0
    seen = []

    class Each:
        def update(self, attributions: Any, labels: Any, *, keep: Any) -> None:
            seen.append(attributions)

    attribute(
        module,
        Batches(images, torch.tensor([0, 1, 0, 1])),
        Each(),
        method="attention_rollout",
        target="true",
        options=OPTIONS,
    )
    values = np.concatenate(seen).reshape(4, -1)
    assert values.argmax(1).tolist() == bright.tolist()
    # Four layers, half of each the token itself: what the class token keeps is (1/2)^4 and more, the patches the rest.
    assert ((values.sum(1) > 0.5) & (values.sum(1) < 1 - 0.5**4 + 1e-6)).all()
    assert (values > 0).all()


def test_layers_are_separated_and_the_network_stays_as_it_is(residual: nn.Module) -> None:
    images, _ = data(3)
    with torch.no_grad():
        before = residual(images)
        apart = separated(residual)
        assert torch.equal(apart(images), before)
    assert sum(isinstance(part, nn.ReLU) for part in leaves(apart)) == 2
    assert sum(isinstance(part, nn.ReLU) for part in leaves(residual)) == 1
    assert residual.relu.inplace
    assert {id(p) for p in apart.parameters()} == {id(p) for p in residual.parameters()}
