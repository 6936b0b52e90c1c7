"""Additive networks in dual form, against ridge regression written out feature by feature in double precision."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from pixfold.layout import Layout
from pixfold.learn.additive import pixels, solver
from pixfold.learn.additive.pixels import Pixels
from pixfold.learn.additive.solver import RIDGE, RIDGE_OF_PREDICTIONS, SQUARES, Targets
from pixfold.learn.attribute import attribute, attribute_evidence
from pixfold.learn.backbones.additive import CLIP
from pixfold.learn.training_options import TrainingOptions
from pixfold.ops import AttributionAccumulator

CPU = TrainingOptions(device="cpu", precision="32-true")
# Sums of some hundred float32 products, each off by 6e-8 of the largest, through a matrix whose largest and smallest
# eigenvalues differ by n / RIDGE, some 200.
CLOSE = 5e-5


def close(found, expected, tolerance=CLOSE):
    expected = np.asarray(expected)
    np.testing.assert_allclose(np.asarray(found), expected, rtol=0, atol=tolerance * np.abs(expected).max())


class Reference(NamedTuple):
    """What :func:`reference` gives."""

    scores: np.ndarray  # (n, K), of all samples
    gradient: np.ndarray  # (n, K, p), of each score by the standardised pixels
    evidence: np.ndarray  # (p,)


def standardised(images, train):
    """Pixels and squares; those without any spread among the training samples are 0."""

    def of(values):
        mean, spread = values[train].mean(0), values[train].std(0)
        constant = spread <= 1e-9
        return np.where(constant, 0.0, (values - mean) / np.where(constant, 1.0, spread)), spread

    z = np.clip(of(images)[0], -CLIP, CLIP)
    q, spread = of(z**2)
    return z, q, np.where(spread <= 1e-9, 0.0, 1.0 / np.where(spread <= 1e-9, 1.0, spread))


def without(i, features, wanted, ridge):
    """Output for a training sample of a fit without it, beside the mean of what is wanted of all."""
    others = np.arange(len(features)) != i
    mean, level = features[others].mean(0), wanted[others].mean(0)
    x, t = features[others] - mean, wanted[others] - level
    weights = np.linalg.solve(x.T @ x + ridge * np.eye(features.shape[1]), x.T @ t)
    return level + (features[i] - mean) @ weights - wanted.mean(0)


def reference(images, train, held_out, labels, n_classes, share=RIDGE) -> Reference:
    """Ridge regression of class membership on 2 p features, then the nearest class; nothing in dual form."""
    p = images.shape[1]
    z, q, square_scale = standardised(images.astype(np.float64), train)
    features = np.hstack([z, np.sqrt(SQUARES) * q]) / np.sqrt(p)
    mean = features[train].mean(0)
    x = features[train] - mean
    wanted = np.eye(n_classes)[labels]
    gram = x.T @ x
    ridge = share * np.trace(gram) / len(train)  # a share of the mean eigenvalue of the n x n matrix
    weights = np.linalg.solve(gram + ridge * np.eye(2 * p), x.T @ (wanted[train] - wanted[train].mean(0)))
    f = (features - mean) @ weights
    left_out = np.stack([without(i, features[train], wanted[train], ridge) for i in range(len(train))])
    seen = np.unique(labels[train])
    centroids, means = np.zeros((2, n_classes, n_classes))
    for k in seen:
        centroids[k] = f[train][labels[train] == k].mean(0)
        means[k] = left_out[labels[train] == k].mean(0)
    scores = f @ centroids.T
    spread = np.zeros((n_classes, n_classes))
    for i in range(len(train)):
        rest = left_out[i] - means[labels[train[i]]]
        spread += np.outer(rest, rest) / max(len(train) - len(seen), 1)
    n_of = np.bincount(labels[train], minlength=n_classes)

    def threshold(k, j):
        """Half-way between the classes, as samples are seen that were not learned, where that is certain."""
        line = centroids[k] - centroids[j]
        trained = (centroids[k] + centroids[j]) @ line / 2
        move = (means[k] + means[j]) @ line / 2 - trained
        error2 = line @ spread @ line * (1 / n_of[k] + 1 / n_of[j]) / 4
        return trained + (max(0.0, 1 - 9 * error2 / move**2) * move if move else 0.0)

    for k in seen:
        scores[:, k] -= np.mean([threshold(k, j) for j in seen])  # the mean over the pairs
    scores -= scores.mean(1, keepdims=True)
    scores[:, np.setdiff1d(np.arange(n_classes), labels[train])] = -np.inf
    contrast = centroids - centroids.mean(0)
    of_pixel = contrast @ weights[:p].T / np.sqrt(p)  # (K, p)
    of_square = contrast @ weights[p:].T * np.sqrt(SQUARES / p)
    gradient = of_pixel + of_square * 2 * z[:, None, :] * square_scale
    evidence = np.zeros(p)
    for k in np.unique(labels[held_out]):
        members = held_out[labels[held_out] == k]
        evidence += (z[members] * gradient[members, k]).mean(0)
    return Reference(scores, gradient, evidence)


@dataclass
class Problem:
    """A problem, and what the solver makes of it."""

    images: np.ndarray
    labels: np.ndarray  # (P, n)
    train: np.ndarray
    held_out: np.ndarray
    n_classes: int

    def __post_init__(self) -> None:
        codes = torch.from_numpy(self.labels)
        self.targets = Targets(torch.nn.functional.one_hot(codes, self.n_classes).float(), codes)
        self.at, self.held = torch.from_numpy(self.train), torch.from_numpy(self.held_out)
        self.pixels = Pixels.standardise(torch.from_numpy(self.images.astype(np.float32)), self.at)
        self.solution = solver.solve(self.pixels, self.at, self.targets)
        self.said = solver.evidence(self.pixels, self.at, self.held, self.targets, self.solution)

    @property
    def module(self):
        return solver.network(self.pixels, self.at, self.solution, (1, 1, self.images.shape[1]))


def problem(n=48, p=30, n_classes=2, n_labellings=1, seed=0, change=None) -> Problem:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % n_classes
    images = rng.standard_normal((n, p)) * rng.uniform(0.5, 3.0, p) + rng.uniform(-2.0, 2.0, p)
    images[:, 3] += 1.5 * labels
    images[:, 4] *= 1.0 + labels  # spread alone, which only the square sees
    if change is not None:
        images, labels = change(images, labels)
    order = rng.permutation(n)
    train, held_out = np.sort(order[: 2 * n // 3]), np.sort(order[2 * n // 3 :])
    rows = np.stack([labels, *(rng.permutation(labels) for _ in range(n_labellings - 1))])
    return Problem(images, rows, train, held_out, n_classes)


@pytest.mark.parametrize("p", [1, 5, 30, 200])
@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_scores_network_and_evidence_are_those_of_ridge_regression(n_classes, p):
    one = problem(p=max(p, 5), n_classes=n_classes, seed=p)
    if p == 1:
        one = Problem(one.images[:, 3:4], one.labels, one.train, one.held_out, n_classes)
    expected = reference(one.images, one.train, one.held_out, one.labels[0], n_classes)
    close(one.solution.outputs[0], expected.scores)
    with torch.no_grad():
        outputs = one.module(torch.from_numpy(one.images.astype(np.float32))[:, None, None, :])
    close(outputs, expected.scores)
    close(one.said.evidence[0], expected.evidence)


def test_predictions_have_a_ridge_of_their_own():
    one = problem(n_classes=3, n_labellings=2)
    expected = reference(one.images, one.train, one.held_out, one.labels[0], 3, RIDGE_OF_PREDICTIONS)
    assert one.solution.predicting.outputs.shape == (1, 48, 3)  # of the true labels alone
    close(one.solution.predicting.outputs[0], expected.scores)


def test_evidence_of_each_class():
    one = problem(n_classes=3, p=20)
    labels = one.labels[0]
    found = reference(one.images, one.train, one.held_out, labels, 3)
    z = standardised(one.images, one.train)[0]
    predicted = found.scores.argmax(1)
    rights = []
    for k in range(3):
        members = one.held_out[labels[one.held_out] == k]
        gradient = found.gradient[members, k]
        close(one.said.class_mean[k], (z[members] * gradient).mean(0))
        close(one.said.class_mean_abs[k], np.abs(z[members] * gradient).mean(0))
        close(one.said.class_gradient[k], gradient.mean(0))
        rights += list(np.abs(gradient[predicted[members] == k]))
    close(one.said.saliency, np.mean(rights, axis=0))
    close(one.said.evidence[0], one.said.class_mean.sum(0))


@pytest.mark.parametrize("n_classes", [2, 3])
def test_labellings_at_once_are_those_one_by_one(n_classes):
    together = problem(n_classes=n_classes, n_labellings=6)
    for row in range(6):
        alone = Problem(together.images, together.labels[[row]], together.train, together.held_out, n_classes)
        close(together.solution.outputs[row], alone.solution.outputs[0], 1e-5)
        close(together.solution.dual[row], alone.solution.dual[0], 1e-5)
        close(together.said.evidence[row], alone.said.evidence[0], 1e-5)
        expected = reference(together.images, together.train, together.held_out, together.labels[row], n_classes)
        close(together.said.evidence[row], expected.evidence)
    scores = solver.scores(together.held, together.targets, together.solution)
    for row in range(6):
        right = together.solution.outputs[row, together.held].argmax(1).numpy() == together.labels[row, together.held]
        truth = together.labels[row, together.held_out]
        recall = [right[truth == k].mean() for k in np.unique(truth)]
        assert scores[row].item() == pytest.approx(np.mean(recall), abs=1e-12)


def test_two_classes_are_the_same_as_the_general_way():
    """A third class without any sample changes nothing, and takes the general way."""
    two = problem(n_labellings=4)
    three = Problem(two.images, two.labels, two.train, two.held_out, 3)
    assert torch.equal(two.solution.outputs.argmax(2), three.solution.outputs.argmax(2))
    difference = [one.solution.outputs[..., 1] - one.solution.outputs[..., 0] for one in (two, three)]
    close(difference[1], difference[0], 1e-5)
    for row in range(4):
        general = reference(two.images, two.train, two.held_out, two.labels[row], 2).evidence
        close(two.said.evidence[row], general)


def test_class_without_training_samples_is_never_named():
    one = problem(n_classes=3)
    labels = one.labels[0].copy()
    labels[one.train] %= 2
    labels[one.held_out[0]] = 2
    other = Problem(one.images, labels[None], one.train, one.held_out, 3)
    assert torch.isneginf(other.solution.outputs[0, :, 2]).all()
    assert torch.isfinite(other.solution.outputs[0, :, :2]).all()
    with torch.no_grad():
        outputs = other.module(torch.from_numpy(one.images.astype(np.float32))[:, None, None, :])
    assert torch.isneginf(outputs[:, 2]).all()
    close(outputs[:, :2], other.solution.outputs[0, :, :2])
    # Its probability is 0, not NaN.
    probabilities = torch.softmax(outputs, dim=1)
    assert (probabilities[:, 2] == 0).all()
    close(probabilities.sum(1), np.ones(len(labels)), 1e-6)
    assert torch.isfinite(other.said.evidence).all()
    expected = reference(one.images, one.train, one.held_out, labels, 3)
    # Beside a constant, which changes no comparison.
    close(
        other.solution.outputs[0, :, 1] - other.solution.outputs[0, :, 0], expected.scores[:, 1] - expected.scores[:, 0]
    )
    assert torch.isfinite(solver.scores(other.held, other.targets, other.solution)).all()


def test_class_without_held_out_samples_is_left_out_of_the_evidence():
    one = problem(n_classes=3)
    labels = one.labels[0].copy()
    labels[one.held_out] %= 2
    other = Problem(one.images, labels[None], one.train, one.held_out, 3)
    assert torch.equal(other.said.class_mean[2], torch.zeros(30))
    # The gradient of a square is judged by the standardised square: where all classes are there, its mean cancels.
    z = standardised(one.images, one.train)[0]
    gradient = reference(one.images, one.train, one.held_out, labels, 3).gradient
    mean_square = (z**2)[one.train].mean(0)
    expected = np.zeros(30)
    for k in range(2):
        members = one.held_out[labels[one.held_out] == k]
        # pixel x gradient = w z + 2 s z^2 / d; the second part without its mean.
        slope = (gradient[members[0], k] - gradient[members[1], k]) / (z[members[0]] - z[members[1]])
        expected += (z[members] * gradient[members, k]).mean(0) - slope * mean_square
    close(other.said.evidence[0], expected)


def spoiled(images, labels):
    images[:, 0] = 0.0  # padding
    images[:, 1] = 7.3  # a constant that float32 does not hold exactly
    images[:, 2] = labels
    return images, labels


def test_constant_pixels_and_padding_have_no_evidence():
    one = problem(n_labellings=3, change=spoiled)
    assert torch.equal(one.said.evidence[:, :2], torch.zeros(3, 2))
    for values in (one.said.class_mean, one.said.class_mean_abs, one.said.class_gradient):
        assert torch.equal(values[:, :2], torch.zeros(2, 2))
    assert torch.equal(one.said.saliency[:2], torch.zeros(2))
    module = one.module
    assert torch.equal(module.scale[:2], torch.zeros(2))
    assert torch.equal(module.weight[:, :2], torch.zeros(2, 2))
    assert torch.equal(module.square[:, :2], torch.zeros(2, 2))
    assert one.said.evidence[0].argmax() == 2
    # A value where training samples had none moves no score.
    images = torch.from_numpy(one.images.astype(np.float32))[:, None, None, :]
    changed = images.clone()
    changed[..., :2] += 100.0
    with torch.no_grad():
        assert torch.equal(module(images), module(changed))


def test_square_of_a_pixel_of_two_values_has_no_weight():
    """Each in half of the training samples: the standardised pixel is -1 or 1 up to rounding, its square 1."""
    one = problem(change=lambda images, labels: (np.where(images > 0, 3.7, 0.1), labels))
    images = one.images.copy()
    images[one.train, 5] = np.where(np.arange(len(one.train)) % 2, 0.3, 7.1)
    other = Problem(images, one.labels, one.train, one.held_out, 2)
    assert torch.equal(other.module.square[:, 5], torch.zeros(2))
    assert (other.module.weight[:, 5] != 0).all()


def test_pixels_without_any_spread_are_solved_all_the_same():
    one = problem(change=lambda images, labels: (np.ones_like(images), labels))
    assert torch.isfinite(one.solution.outputs).all()
    assert torch.equal(one.said.evidence, torch.zeros(1, 30))


def test_values_beyond_the_clip_count_as_the_clip():
    one = problem()
    far = one.images.copy()
    held = one.held_out[0]
    far[held, 3] = 1e6
    other = Problem(far, one.labels, one.train, one.held_out, 2)
    assert other.pixels.z[held, 3] == CLIP
    close(other.solution.outputs[0], reference(far, one.train, one.held_out, one.labels[0], 2).scores)
    # As large as it may be, and no larger: twice as far changes nothing.
    far[held, 3] = 2e6
    again = Problem(far, one.labels, one.train, one.held_out, 2)
    assert torch.equal(other.solution.outputs, again.solution.outputs)
    with torch.no_grad():
        images = torch.from_numpy(far.astype(np.float32))[:, None, None, :]
        close(again.module(images), again.solution.outputs[0])


def test_training_samples_alone_standardise():
    one = problem()
    changed = one.images.copy()
    changed[one.held_out] *= 1.5
    other = Problem(changed, one.labels, one.train, one.held_out, 2)
    for name in ("center", "scale", "square_center", "square_scale"):
        assert torch.equal(getattr(one.pixels, name), getattr(other.pixels, name))
    assert torch.equal(one.solution.dual, other.solution.dual)
    z = one.pixels.z[one.at]
    close(z.mean(0), np.zeros(30) + 1e-6, 5)
    close(z.std(0, correction=0), np.ones(30), 1e-5)


def test_columns_are_taken_in_steps(monkeypatch):
    whole = problem(p=50, n_labellings=3)
    monkeypatch.setattr(pixels, "_COLUMNS", 7)
    steps = problem(p=50, n_labellings=3)
    close(steps.solution.outputs, whole.solution.outputs, 1e-5)
    close(steps.said.evidence, whole.said.evidence, 1e-5)
    close(steps.module.weight.detach(), whole.module.weight.detach(), 1e-5)


def test_quantity():
    """One output, the standardised quantity; scored by its correlation."""
    one = problem(p=20)
    rng = np.random.default_rng(3)
    y = one.images[:, 3] + 0.3 * rng.standard_normal(48)
    y = (y - y.mean()) / y.std()
    targets = Targets(torch.from_numpy(np.stack([y, rng.permutation(y)])).float()[..., None], None)
    solution = solver.solve(one.pixels, one.at, targets)
    z, q, _ = standardised(one.images, one.train)
    features = np.hstack([z, np.sqrt(SQUARES) * q]) / np.sqrt(20)
    x = features[one.train] - features[one.train].mean(0)
    ridge = RIDGE * (x**2).sum() / len(one.train)
    weights = np.linalg.solve(x.T @ x + ridge * np.eye(40), x.T @ (y[one.train] - y[one.train].mean()))
    f = (features - features[one.train].mean(0)) @ weights
    close(solution.outputs[0, :, 0], f)
    module = solver.network(one.pixels, one.at, solution, (1, 4, 5))
    with torch.no_grad():
        close(module(torch.from_numpy(one.images.astype(np.float32)).reshape(48, 1, 4, 5))[:, 0], f)
    found = solver.scores(one.held, targets, solution)
    assert found[0].item() == pytest.approx(np.corrcoef(y[one.held_out], f[one.held_out])[0, 1], abs=1e-4)
    said = solver.evidence(one.pixels, one.at, one.held, targets, solution)
    held = one.held_out
    of_square = 2 * np.sqrt(SQUARES / 20) * weights[20:]
    # The mean square is taken off: it would say only how far the mean of the held-out quantity is from 0.
    expected = (y[held, None] * (z[held] * weights[:20] / np.sqrt(20) + q[held] * of_square)).mean(0)
    close(said.evidence[0], expected)
    assert said.evidence[0].argmax() == 3


class Batches:
    """Held-out images in batches of seven."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels, self.n_samples = images, labels, len(images)

    def __len__(self) -> int:
        return -(-self.n_samples // 7)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for rows in torch.arange(self.n_samples).split(7):
            yield self.images[rows], self.labels[rows], rows


@pytest.mark.parametrize(
    ("layout", "n_classes"),
    [
        (Layout.natural(30), 2),
        (Layout.shuffled(23, seed=4), 3),
        (Layout.natural(30, channels=3), 2),
        (Layout.stacked([Layout.natural(7), Layout.natural(7), Layout.natural(4)]), 3),
    ],
    ids=["one channel", "padding", "channels", "stacked"],
)
def test_evidence_is_what_attribution_of_the_network_gives(layout, n_classes):
    """The exported network, differentiated by autograd and added up by the accumulator, sample by sample."""
    n, p = 60, layout.n_features
    made = problem(n=n, p=p, n_classes=n_classes)
    # Within the clip, where the network has a slope; standardised, so that a pixel is what the sums take.
    values = standardised(np.clip(made.images, -4, 4), made.train)[0]
    pixel = np.array(layout.pixel_of_feature)
    images = np.zeros((n, layout.n_pixels))
    images[:, pixel] = values
    one = Problem(images, made.labels, made.train, made.held_out, n_classes)
    assert one.pixels.z.abs().max() < CLIP
    module = solver.network(one.pixels, one.at, one.solution, layout.shape)
    folded = torch.from_numpy(images.astype(np.float32)).reshape(n, *layout.shape)[one.held]
    batches = Batches(folded, torch.from_numpy(one.labels[0])[one.held])
    evidence, gradients = (AttributionAccumulator(layout, n_classes) for _ in range(2))
    used = attribute_evidence(module, batches, evidence, gradients, options=CPU)
    assert used == len(one.held_out)
    found = evidence.result()
    close(one.said.evidence[0][pixel], found.mean.sum(0))
    close(one.said.class_mean[:, pixel], found.mean)
    close(one.said.class_mean_abs[:, pixel], found.mean_abs)
    # Mean over samples, whichever their class.
    count = gradients.result().count
    close(one.said.saliency[pixel], (gradients.result().mean_abs * count[:, None]).sum(0) / count.sum())
    # The general way to attribute, with the samples that are rightly classified alone.
    right = AttributionAccumulator(layout, n_classes)
    used = attribute(module, batches, right, method="input_x_gradient", options=CPU).n_used
    assert used == count.sum() <= len(one.held_out)
    empty = np.setdiff1d(np.arange(layout.n_pixels), pixel)
    assert torch.equal(one.said.evidence[:, empty], torch.zeros(1, len(empty)))
