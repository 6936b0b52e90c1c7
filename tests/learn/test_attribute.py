from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pixfold.errors import InputError
from pixfold.learn.attribute import attribute
from pixfold.learn.backbones import Autoencoder, build
from pixfold.learn.latent import attribute_latent, n_directions
from pixfold.learn.training_options import TrainingOptions

CPU = TrainingOptions(device="cpu", precision="32-true")
SHAPE = (1, 4, 5)


class ArrayBatches:
    def __init__(self, images: Tensor, labels: Tensor | None, size: int) -> None:
        self.images, self.labels, self.size, self.n_samples = images, labels, size, len(images)

    def __len__(self) -> int:
        return -(-self.n_samples // self.size)

    def set_epoch(self, epoch: int) -> None:
        raise AssertionError("attribution shuffles nothing")

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor | None, Tensor]]:
        for begin in range(0, self.n_samples, self.size):
            rows = torch.arange(begin, min(begin + self.size, self.n_samples))
            yield self.images[rows], None if self.labels is None else self.labels[rows], rows + 100


class Sums:
    """The accumulator's contract in its plainest form."""

    def __init__(self, n_classes: int, shape: tuple[int, int, int] = SHAPE) -> None:
        self.count = np.zeros(n_classes, np.int64)
        self.signed, self.absolute = np.zeros((2, n_classes, *shape))
        self.batches: list[int] = []

    def update(self, attributions: Any, labels: Any, *, keep: Any) -> None:
        assert attributions.dtype == np.float32
        assert keep.dtype == bool
        self.batches.append(len(labels))
        for a, k in zip(np.asarray(attributions)[keep], np.asarray(labels)[keep], strict=True):
            self.count[k] += 1
            self.signed[k] += a
            self.absolute[k] += np.abs(a)


class Linear(nn.Module):
    """Scores with known gradients: the weights."""

    def __init__(self, n_outputs: int = 2) -> None:
        super().__init__()
        weight = torch.randn(n_outputs, 20, generator=torch.Generator().manual_seed(1))
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight.T


def samples(n: int = 23) -> tuple[Tensor, Tensor]:
    x = torch.randn(n, *SHAPE, generator=torch.Generator().manual_seed(0))
    return x, torch.arange(n) % 2


@pytest.mark.parametrize("method", ["saliency", "input_x_gradient", "integrated_gradients"])
def test_linear_network_gives_its_signed_weights_over_correct_samples(method: str) -> None:
    module, (x, y), sums = Linear(), samples(), Sums(2)
    used = attribute(module, ArrayBatches(x, y, 8), sums, method=method, options=CPU).n_used
    correct = module(x).argmax(1) == y
    assert 0 < int(correct.sum()) < len(y)
    assert used == int(correct.sum())
    for k in (0, 1):
        chosen = x[correct & (y == k)].detach().double()
        weight = module.weight[k].detach().double().view(SHAPE)
        expected = (weight.expand_as(chosen) if method == "saliency" else weight * chosen).sum(0)
        assert sums.count[k] == len(chosen)
        # Up to 23 float32 terms of size below 16, a few roundings each; the integral is exact for a plane.
        np.testing.assert_allclose(sums.signed[k], expected.numpy(), atol=23 * 16 * 2**-22)
    assert (sums.signed < 0).any()


def test_all_samples_or_predicted_classes_when_asked() -> None:
    module, (x, y) = Linear(), samples()
    sums = Sums(2)
    attribute(module, ArrayBatches(x, y, 8), sums, target="true", options=CPU)
    assert sums.count.tolist() == [12, 11]
    sums = Sums(2)
    attribute(module, ArrayBatches(x, None, 8), sums, target="predicted", options=CPU)
    assert sums.count.tolist() == torch.bincount(module(x).argmax(1), minlength=2).tolist()
    with pytest.raises(InputError, match="must have labels for the target 'correct', got none"):
        attribute(module, ArrayBatches(x, None, 8), Sums(2), options=CPU)


def test_integrated_gradients_are_complete() -> None:
    """Attributions of a sample add up to f(x) - f(0); what is missing shrinks with the number of steps."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(20, 16), nn.Tanh(), nn.Linear(16, 2))
    with torch.no_grad():
        for i, p in enumerate(module.parameters()):
            p.copy_(0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(i)))
    x, y = samples(1)
    with torch.no_grad():
        wanted = float((module(x) - module(torch.zeros_like(x)))[0, int(y)])
    gap = {}
    for steps in (1, 4, 32):
        sums = Sums(2)
        attribute(
            module,
            ArrayBatches(x, y, 1),
            sums,
            method="integrated_gradients",
            n_steps=steps,
            target="true",
            options=CPU,
        )
        gap[steps] = abs(sums.signed[0].sum() - wanted)
    # The integrand is analytic (tanh of sums of size ~1): Gauss-Legendre with 32 points is exact to float32,
    # that is 20 pixels x 32 steps x 16 units of terms below 1, with random roundings of 2^-24.
    assert gap[32] < np.sqrt(20 * 32 * 16) * 2**-24
    assert gap[1] > gap[4] > gap[32]


def test_internal_batch_size_is_never_exceeded() -> None:
    class Counting(Linear):
        largest = 0

        def forward(self, x: Tensor) -> Tensor:
            if torch.is_grad_enabled():
                self.largest = max(self.largest, len(x))
            return super().forward(x)

    x, y = samples()
    results = []
    for bound, largest in ((None, 23), (3, 3), (1, 1)):
        module, sums = Counting(), Sums(2)
        attribute(
            module,
            ArrayBatches(x, y, 23),
            sums,
            method="integrated_gradients",
            target="true",
            internal_batch_size=bound,
            options=CPU,
        )
        assert 0 < module.largest <= largest
        results.append(sums.signed)
    for other in results[1:]:
        np.testing.assert_allclose(other, results[0], rtol=1e-4, atol=1e-5)


def test_module_is_left_trainable_and_batches_do_not_matter() -> None:
    module = build("patchnet", shape=SHAPE, n_outputs=2, seed=0)
    x, y = samples()
    whole, parts = Sums(2), Sums(2)
    attribute(module, ArrayBatches(x, y, 23), whole, options=CPU)
    attribute(module, ArrayBatches(x, y, 4), parts, options=CPU)
    assert whole.count.tolist() == parts.count.tolist()
    assert max(parts.batches) <= 4
    np.testing.assert_allclose(parts.absolute, whole.absolute, rtol=1e-4, atol=1e-5)
    assert all(p.requires_grad and p.grad is None for p in module.parameters())


@pytest.mark.parametrize(
    ("name", "value"),
    [("n_steps", 0), ("internal_batch_size", 0), ("baseline", float("nan")), ("method", "salience")],
)
def test_arguments_are_checked(name: str, value: Any) -> None:
    x, y = samples()
    with pytest.raises(InputError, match=f"^attribute: {name} must be .*, got {value!r}"):
        attribute(Linear(), ArrayBatches(x, y, 8), Sums(2), options=CPU, **{name: value})
    with pytest.raises(InputError, match="1 sample or more, got none"):
        attribute(Linear(), ArrayBatches(x[:0], y[:0], 8), Sums(2), options=CPU)


class LinearEncoder(nn.Module):
    """Latent values that are a known matrix times the pixels."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = weight
        self.n_latent = len(weight)

    def encode(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight.T + 1e3


def test_latent_dimensions_are_weighted_by_their_spread_and_dead_ones_left_out() -> None:
    weight = torch.zeros(3, 20)
    weight[0, 7], weight[1, 3] = 2.0, -0.5  # the third latent value is always the same
    encoder, (x, _), sums = LinearEncoder(weight), samples(), Sums(3)
    summary = attribute_latent(encoder, ArrayBatches(x, None, 5), sums, method="saliency", options=CPU)  # type: ignore[arg-type]
    spread = (x.flatten(1) @ weight.T).std(0).numpy()
    # Latent values near 1e3 carry a rounding of 2^-15 each, of both signs.
    np.testing.assert_allclose(summary.spread, spread, atol=2**-13)
    assert summary.n_seen == 23
    assert sums.count.tolist() == [23, 23, 0]
    expected = 23 * spread[:2, None] * weight[:2].numpy()
    np.testing.assert_allclose(sums.signed[:2].reshape(2, 20), expected, atol=23 * 2**-12)


def test_many_latent_values_are_reduced_to_principal_directions() -> None:
    """40 latent values made of 2 pixels: two directions hold all spread, as an exact decomposition says."""
    generator = torch.Generator().manual_seed(4)
    weight = torch.zeros(40, 20)
    weight[:, [2, 11]] = torch.randn(40, 2, generator=generator)
    encoder, (x, _) = LinearEncoder(weight), samples(60)
    made: list[Sums] = []

    def make(n: int) -> Sums:
        made.append(Sums(n))
        return made[0]

    batches = ArrayBatches(x, None, 16)
    summary = attribute_latent(encoder, batches, make, max_directions=4, options=CPU)  # type: ignore[arg-type]
    assert n_directions(encoder, 4) == 4  # type: ignore[arg-type]
    z = (x.flatten(1) @ weight.T).double()
    exact = torch.linalg.svdvals(z - z.mean(0)) / np.sqrt(59)
    np.testing.assert_allclose(summary.spread[:2], exact[:2].numpy(), rtol=1e-4)
    np.testing.assert_allclose(summary.directions @ summary.directions.T, np.eye(4), atol=1e-5)
    importance = made[0].absolute.sum(0).ravel()
    assert set(np.argsort(importance)[-2:]) == {2, 11}
    again = attribute_latent(encoder, batches, make, max_directions=4, options=CPU)  # type: ignore[arg-type]
    np.testing.assert_array_equal(again.directions, summary.directions)


def test_latent_space_without_differences_is_refused() -> None:
    x, _ = samples()
    with pytest.raises(InputError, match="must differ between samples"):
        attribute_latent(LinearEncoder(torch.zeros(3, 20)), ArrayBatches(x, None, 5), Sums(3), options=CPU)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="2 samples or more, got 1"):
        attribute_latent(LinearEncoder(torch.ones(3, 20)), ArrayBatches(x[:1], None, 5), Sums(3), options=CPU)  # type: ignore[arg-type]


@pytest.mark.parametrize("latent_dim", [None, 3])
def test_latent_attribution_of_the_autoencoder(latent_dim: int | None) -> None:
    module, (x, _) = Autoencoder(SHAPE, latent_dim), samples()
    x[:, 0, 1, 1] = 0.0  # a feature that never varies
    sums = Sums(n_directions(module))
    summary = attribute_latent(module, ArrayBatches(x, None, 8), sums, options=CPU)
    assert len(summary.spread) == len(sums.count) == (3 if latent_dim else 16)
    importance = sums.absolute.sum(0)[0]
    assert importance[1, 1] == 0
    assert (np.delete(importance.ravel(), 6) > 0).all()
