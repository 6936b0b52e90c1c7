"""The additive network's weights in closed form, for the true labels and for permuted ones at once.

With n samples and p >> n pixels, ridge regression is solved among the n samples (its dual form): with the kernel
``A = (Z Z' + c Q Q') / p`` of standardised pixels Z and standardised squares Q,

    alpha = (H A H + lambda I)^-1 H T,    f(x) = sum_t k(x, t) alpha_t - mean over the training samples,

where H centres and ``lambda`` is a share of the mean eigenvalue of ``H A H``. T holds one column per class (0 or 1), or
the standardised quantity of a regression. The decomposition of A serves every labelling, which is what makes a hundred
permutations of the labels affordable. Scores of classes are those of the nearest class centroid in the space of f, all
classes as likely: ``f . m_k - h_k``, which is linear in f and therefore additive over pixels again. Where two classes
meet, the outputs for left-out training samples decide.

The evidence of a pixel is, for each class, the mean over the held-out samples of the class of pixel x gradient of the
class's score, summed over the classes; of a quantity, the mean of pixel x gradient x standardised quantity. Training
samples choose the weight and other samples judge it, so the expectation for a pixel that has nothing to do with the
labels is zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pixfold.learn.backbones.additive import CLIP, AdditiveNetwork, products

# Share of the mean eigenvalue that is added to all of them, for the evidence and for naming classes; and
# the weight of squares beside the pixels themselves. Measured on real and semi-synthetic expression data
# (benchmarks/list_bars): a list that finds planted effects better than an F test does and replicates as well, and
# accuracy as of logistic regression. All change little within a factor of two.
RIDGE, RIDGE_OF_PREDICTIONS = 0.4, 0.1
SQUARES = 0.1
# Squared standard errors by which a threshold must move to move at all.
_CAUTION = 9.0
# Shares of which a quantity is predicted with the one that suits best; none serves all of them.
_RIDGES = tuple(10.0 ** (power / 2) for power in range(-6, 9))
# Columns of one step: their samples stay in the cache.
_COLUMNS = 4096


@dataclass(frozen=True)
class Targets:
    """What is learned: the true labels first, permuted ones after them.

    Attributes
    ----------
    values : float32 (P, n, D)
        Class membership as 0 and 1 (D classes), or the standardised quantity (D = 1).
    classes : int64 (P, n) or None
        The classes' codes; None for a quantity.
    """

    values: Tensor
    classes: Tensor | None


@dataclass(frozen=True)
class Products:
    """Standardised products of pairs of pixels.

    Attributes
    ----------
    pairs : int64 (k, 2)
        The pixels.
    factor_center : float32 (k, 2)
        Their medians over the training samples.
    values : float32 (n, k)
        Of all samples, standardised by ``center`` and ``scale`` (k,), the moments of the training samples.
    weight : float
        In the kernel. A pixel has weight 1, which among p >> n others would leave a single product unheard.
    """

    pairs: Tensor
    factor_center: Tensor
    values: Tensor
    center: Tensor
    scale: Tensor
    weight: float


@dataclass(frozen=True)
class Pixels:
    """Standardised pixels ``z`` (n, p) of all samples, and what standardised them on the training samples."""

    z: Tensor
    center: Tensor
    scale: Tensor
    square_center: Tensor
    square_scale: Tensor
    products: Products | None = None

    @classmethod
    def standardise(cls, images: Tensor, train: Tensor) -> Pixels:
        """Standardise images ``(n, p)`` in place, by the mean and standard deviation of the training samples."""
        kept = [torch.empty(images.shape[1], device=images.device) for _ in range(4)]
        for part in _columns(images.shape[1]):
            center, scale = _moments(images[train, part])
            z = images[:, part].sub_(center).mul_(scale).clamp_(-CLIP, CLIP)
            for whole, some in zip(kept, (center, scale, *_moments(z[train].square())), strict=True):
                whole[part] = some
        return cls(images, kept[0], kept[1], kept[2], kept[3])

    def with_products(self, pairs: Tensor, train: Tensor) -> Pixels:
        """Add the products of pairs of pixels ``(k, 2)``, standardised on the training samples."""
        middle = self.z[train][:, pairs].median(0).values
        values = products(self.z, pairs, middle)
        center, scale = _moments(values[train])
        weight = 2.0 * (self.z.shape[1] / len(train)) ** 0.5 / len(pairs) ** 0.5
        return replace(self, products=Products(pairs, middle, (values - center) * scale, center, scale, weight))

    def parts(self) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Yield columns, with the pixels and the standardised squares of all samples there."""
        for part in _columns(self.z.shape[1]):
            z = self.z[:, part]
            yield part, z, z.square().sub_(self.square_center[part]).mul_(self.square_scale[part])


def _columns(n: int) -> Iterator[slice]:
    return (slice(begin, min(begin + _COLUMNS, n)) for begin in range(0, n, _COLUMNS))


def _moments(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean, and 1 over the standard deviation, 0 for a column that is constant up to rounding."""
    mean = values.mean(0)
    spread = (values - mean).square().mean(0).sqrt()
    constant = spread <= 1e-6 * mean.abs().clamp(min=1e-30)
    return mean, torch.where(constant, torch.zeros_like(spread), 1 / spread)


@dataclass(frozen=True)
class Solution:
    """Weights in dual form, of every labelling.

    Attributes
    ----------
    dual : float32 (P, n_train, K)
        Of the outputs' weights; over classes they sum to zero.
    outputs : float32 (P, n, K)
        Scores of all samples.
    bias : float32 (P, K)
        The constant in them.
    predicting : Solution or None
        Of the true labels, with the ridge that predicts: of classes a smaller one than evidence has, of a quantity the
        one that predicts left-out training samples best, where folds were given.
    """

    dual: Tensor
    outputs: Tensor
    bias: Tensor
    predicting: Solution | None = None


def solve(pixels: Pixels, train: Tensor, targets: Targets, folds: Tensor | None = None) -> Solution:
    """Fit every labelling on the training samples.

    Parameters
    ----------
    pixels : Pixels
        Standardised on the training samples.
    train : int64 (n_train,)
        Training samples.
    targets : Targets
        Labellings.
    folds : int64 (n_train,), optional
        Of a quantity: which training samples are left out together to choose the ridge of ``predicting``, which is not
        made without it.

    Returns
    -------
    Solution
    """
    kernel = _kernel(pixels, train)
    own = kernel[train]
    centred = own - own.mean(0)
    centred = centred - centred.mean(1, keepdim=True)
    values, vectors = torch.linalg.eigh((centred + centred.T) / 2)
    values = values.clamp(min=0)
    mean = values.mean().clamp(min=1e-12)
    wanted = targets.values[:, train].double()
    wanted = wanted - wanted.mean(1, keepdim=True)
    if targets.classes is None:
        predicting = None
        if folds is not None:
            shrunk = values + _ridge(vectors, values, wanted[0], folds)
            predicting = _of_quantity(*_fitted(kernel, train, vectors, shrunk, wanted[:1]))
        return _of_quantity(*_fitted(kernel, train, vectors, values + RIDGE * mean, wanted), predicting)
    members = targets.values[:, train].double()

    def of_classes(ridge: float, n: int, predicting: Solution | None = None) -> Solution:
        shrunk = values + ridge * mean
        dual, found, level = _fitted(kernel, train, vectors, shrunk, wanted[:n])
        # Diagonal of the inverse, without the constant that centring takes out.
        own = vectors.square() @ (1 / shrunk) - 1 / (len(train) * ridge * mean)
        left_out = wanted[:n] - dual / own[:, None]
        return _of_classes(dual, found, level, train, members[:n], left_out, predicting)

    return of_classes(RIDGE, len(wanted), of_classes(RIDGE_OF_PREDICTIONS, 1))


def _kernel(pixels: Pixels, train: Tensor) -> Tensor:
    """Multiply pixels, squares and products of all samples with those of the training samples."""
    n, p = pixels.z.shape
    kernel = torch.zeros(n, len(train), dtype=torch.float64, device=pixels.z.device)
    for _, z, squares in pixels.parts():
        kernel += z @ z[train].T
        kernel += SQUARES * (squares @ squares[train].T)
    if pixels.products is not None:
        found = pixels.products.values
        kernel += pixels.products.weight * (found @ found[train].T)
    return kernel / p


def _of_classes(
    dual: Tensor,
    found: Tensor,
    level: Tensor,
    train: Tensor,
    members: Tensor,
    left_out: Tensor,
    predicting: Solution | None,
) -> Solution:
    """Scores of the nearest centroid, in the space of what was fitted; ``left_out`` decides where classes meet."""
    sizes = members.sum(1)
    centroids = torch.einsum("ptk,ptd->pkd", members, found[:, train]) / sizes.clamp(min=1)[..., None]
    # The mean over classes changes no comparison between them.
    contrast = centroids - centroids.mean(1, keepdim=True)
    half = _thresholds(left_out, members, centroids)
    scores = torch.einsum("pid,pkd->pik", found, contrast) - half[:, None]
    # A class without a training sample cannot be named.
    unseen = sizes == 0
    scores = torch.where(unseen[:, None], torch.full_like(scores, -torch.inf), scores)
    bias = -(torch.einsum("pod,pkd->pk", level, contrast) + half)
    return Solution(
        torch.einsum("ptd,pkd->ptk", dual, contrast).float(),
        scores.float(),
        torch.where(unseen, torch.full_like(bias, -torch.inf), bias).float(),
        predicting,
    )


def _thresholds(left_out: Tensor, members: Tensor, centroids: Tensor) -> Tensor:
    """What is taken off each class's score, so that two classes meet half-way between samples that are not learned.

    Outputs of training samples are too good, and the fewer a class has the more so: a threshold between their centroids
    would leave hardly any new sample to a rare class. What the network says of a sample when it is left out of the
    training comes without another fit (Allen's PRESS). Of each two classes the threshold is half-way between the means
    of such outputs, along the line between the centroids; over all pairs that is solved by least squares, which is
    exact for two classes.

    Among few samples these means are uncertain. So the threshold moves away from the one between the centroids by as
    much as the move exceeds its own standard error: the factor of James and Stein, ``1 - 9 error^2 / move^2`` and at
    least 0. A rare class moves its threshold by many standard errors, and keeps it. (9 was chosen among 0, 1, 4 and 9
    on four real sets and on simulated classes of 3 to 50 %.)
    """
    sizes = members.sum(1)
    means = torch.einsum("ptk,ptd->pkd", members, left_out) / sizes.clamp(min=1)[..., None]
    along = means @ centroids.transpose(1, 2)  # (P, K, K): mean of one class, centroid of another
    trained = _halves(centroids @ centroids.transpose(1, 2))
    move = _halves(along) - trained
    share = 1 - _CAUTION * _squared_errors(left_out, members, centroids, along) / move.square().clamp(min=1e-30)
    between = trained + share.clamp(min=0) * move
    seen = (sizes > 0).double()
    half = (between * seen[:, None, :]).sum(2) / seen.sum(1, keepdim=True)
    return half - half.mean(1, keepdim=True)


def _halves(along: Tensor) -> Tensor:
    """Place half-way between each two classes' means, along the line between their centroids."""
    at_own = torch.diagonal(along, dim1=1, dim2=2)
    return (at_own[:, :, None] - along + along.transpose(1, 2) - at_own[:, None, :]) / 2


def _squared_errors(left_out: Tensor, members: Tensor, centroids: Tensor, along: Tensor) -> Tensor:
    """Squared standard errors of these places, with one spread for all classes: of some too few samples are there."""
    sizes = members.sum(1)
    rest = left_out @ centroids.transpose(1, 2) - members @ along  # (P, n, K)
    spread = rest.transpose(1, 2) @ rest / (sizes.sum(1) - (sizes > 0).sum(1)).clamp(min=1)[:, None, None]
    own = torch.diagonal(spread, dim1=1, dim2=2)
    of_line = own[:, :, None] + own[:, None, :] - 2 * spread
    each = 1 / sizes.clamp(min=1)
    return of_line * (each[:, :, None] + each[:, None, :]) / 4


def _fitted(
    kernel: Tensor, train: Tensor, vectors: Tensor, shrunk: Tensor, wanted: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Weights in dual form, what they say of all samples, centred on the training samples, and the centre."""
    dual = vectors @ ((vectors.T @ wanted) / shrunk[:, None])
    found = kernel @ dual
    level = found[:, train].mean(1, keepdim=True)
    return dual, found - level, level


def _of_quantity(dual: Tensor, found: Tensor, level: Tensor, predicting: Solution | None = None) -> Solution:
    return Solution(dual.float(), found.float(), -level[:, 0].float(), predicting)


def _ridge(vectors: Tensor, values: Tensor, wanted: Tensor, folds: Tensor) -> Tensor:
    """Choose the ridge that predicts each fold best from the others.

    What a fit without some samples B says of them follows from the fit H to all of them: they are missed by
    ``(I - H_BB)^-1 (y_B - (H y)_B)``. H holds the mean, too, which is fitted anew.
    """
    mean = values.mean().clamp(min=1e-12)
    spectrum = vectors.T @ wanted
    members = [torch.nonzero(folds == fold)[:, 0] for fold in torch.unique(folds)]
    losses = []
    for share in _RIDGES:
        weight = values / (values + share * mean)
        missed = wanted - vectors @ (weight[:, None] * spectrum)
        loss = 0.0
        for fold in members:
            own = vectors[fold]
            system = (
                torch.eye(len(fold), dtype=own.dtype, device=own.device) - (own * weight) @ own.T - 1.0 / len(wanted)
            )
            loss += float(torch.linalg.lstsq(system, missed[fold]).solution.square().sum())
        losses.append(loss)
    # Next to no ridge may leave a system without a solution: NaN, or very much.
    best = min(range(len(losses)), key=lambda i: losses[i] if losses[i] == losses[i] else float("inf"))
    chosen: Tensor = mean * _RIDGES[best]
    return chosen


def network(pixels: Pixels, train: Tensor, solution: Solution, shape: tuple[int, int, int]) -> AdditiveNetwork:
    """Build the network of the true labels from a solution."""
    p, dual = pixels.z.shape[1], solution.dual[0].T
    module = AdditiveNetwork(shape, dual.shape[0])
    with torch.no_grad():
        for part, z, squares in pixels.parts():
            module.weight[:, part] = dual @ z[train] / p
            module.square[:, part] = SQUARES * (dual @ squares[train]) / p
        module.bias.copy_(solution.bias[0])
        if (extra := pixels.products) is not None:
            module.set_pairs(len(extra.pairs))
            module.product.copy_(extra.weight * (dual @ extra.values[train]) / p)
    for name in ("center", "scale", "square_center", "square_scale"):
        getattr(module, name).copy_(getattr(pixels, name))
    if (extra := pixels.products) is not None:
        module.pairs.copy_(extra.pairs)
        module.factor_center.copy_(extra.factor_center)
        module.product_center.copy_(extra.center)
        module.product_scale.copy_(extra.scale)
    return module.eval()


@dataclass(frozen=True)
class Evidence:
    """What the held-out samples of one run say of every pixel.

    Attributes
    ----------
    evidence : float32 (P, p)
        Of every labelling, signed.
    class_mean, class_mean_abs : float32 (K, p)
        Of the true labels: mean and mean absolute pixel x gradient over the held-out samples of each class.
    class_gradient : float32 (K, p)
        Mean gradient of the class's score over the same samples.
    saliency : float32 (p,)
        Mean absolute gradient over the held-out samples that are rightly classified.
    of_products : float32 (p,) or None
        What products add to the evidence of the true labels: the mean product x weight, to each of its two pixels.
        Permuted labels have no pairs of their own, so this takes no part in p-values.
    """

    evidence: Tensor
    class_mean: Tensor
    class_mean_abs: Tensor
    class_gradient: Tensor
    saliency: Tensor
    of_products: Tensor | None = None


def evidence(pixels: Pixels, train: Tensor, held_out: Tensor, targets: Targets, solution: Solution) -> Evidence:
    """Judge the weights of every labelling on held-out samples.

    Parameters
    ----------
    pixels, train, targets, solution
        As :func:`solve` had and gave them.
    held_out : int64 (n_held_out,)
        Samples that had no part in the solution.

    Returns
    -------
    Evidence
    """
    p = pixels.z.shape[1]
    judged = targets.values[:, held_out]  # (P, h, K)
    if targets.classes is None:
        judged = judged / len(held_out)
        groups = [(torch.arange(len(held_out), device=judged.device), 0)]
        right = torch.ones(len(held_out), dtype=torch.bool, device=judged.device)
    else:
        judged = judged / judged.sum(1, keepdim=True).clamp(min=1)
        codes = targets.classes[0, held_out]
        groups = [(torch.nonzero(codes == k)[:, 0], k) for k in range(judged.shape[2])]
        right = solution.outputs[0, held_out].argmax(1) == codes
    dual = solution.dual
    two = targets.classes is not None and dual.shape[2] == 2
    if two:  # weights of two classes are each other's negative
        judged, dual = judged[:, :, 1:] - judged[:, :, :1], dual[:, :, 1:]
    found = torch.zeros(len(dual), p, device=dual.device)
    k_of_true = solution.dual.shape[2]
    class_mean, class_abs, class_gradient = (torch.zeros(k_of_true, p, device=dual.device) for _ in range(3))
    saliency = torch.zeros(p, device=dual.device)
    for part, z, squares in pixels.parts():
        for values, share in ((z, 1.0), (squares, 2.0 * SQUARES)):
            held, trained = values[held_out], values[train]
            for k in range(dual.shape[2]):
                found[:, part] += share * (judged[:, :, k] @ held) * (dual[:, :, k] @ trained)
        weight = solution.dual[0].T @ z[train] / p
        slope = 2.0 * SQUARES * (solution.dual[0].T @ squares[train]) / p * pixels.square_scale[part]
        for members, k in groups:
            if not len(members):
                continue
            own = z[held_out[members]]
            gradient = weight[k] + slope[k] * own
            class_mean[k, part] = (own * gradient).mean(0)
            class_abs[k, part] = (own * gradient).abs().mean(0)
            class_gradient[k, part] = gradient.mean(0)
            saliency[part] += gradient[right[members]].abs().sum(0)
    of_products = None
    if (extra := pixels.products) is not None:
        weights = extra.weight * (extra.values[train].T @ dual[0]) / p  # (k, K)
        each = ((extra.values[held_out].T @ judged[0]) * weights).sum(1)
        of_products = torch.zeros(p, device=dual.device).index_add_(0, extra.pairs.T.reshape(-1), each.repeat(2))
    return Evidence(found / p, class_mean, class_abs, class_gradient, saliency / right.sum().clamp(min=1), of_products)


def scores(held_out: Tensor, targets: Targets, solution: Solution) -> Tensor:
    """Score every labelling on held-out samples, ``float64 (P,)``.

    Of classes the balanced accuracy over those that occur, of a quantity its correlation with the output (Pearson).
    """
    given, outputs = targets.values[:, held_out].double(), solution.outputs[:, held_out].double()
    if targets.classes is None:
        a, b = (
            given[..., 0] - given[..., 0].mean(1, keepdim=True),
            outputs[..., 0] - outputs[..., 0].mean(1, keepdim=True),
        )
        return (a * b).sum(1) / (a.square().sum(1) * b.square().sum(1)).sqrt().clamp(min=1e-30)
    right = outputs.argmax(2) == targets.classes[:, held_out]
    sizes = given.sum(1)
    recall = (given * right[..., None]).sum(1) / sizes.clamp(min=1)
    return recall.sum(1) / (sizes > 0).sum(1)
