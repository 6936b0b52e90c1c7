"""The additive network's weights in closed form, for the true labels and for permuted ones at once.

With n samples and p >> n pixels, ridge regression is solved among the n samples (its dual form): with the kernel
``A = (Z Z' + c Q Q') / p`` of standardised pixels Z and standardised squares Q,

    alpha = (H A H + lambda I)^-1 H T,    f(x) = sum_t k(x, t) alpha_t - mean over the training samples,

where H centres and ``lambda`` is a share of the mean eigenvalue of ``H A H``. Where samples have weights W, H takes the
weighted mean, and ``alpha = W^1/2 (W^1/2 H A H' W^1/2 + lambda I)^-1 W^1/2 H T``: the squares of the fit are weighted.
T holds one column per class (0 or 1), or
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

from dataclasses import dataclass

import torch
from torch import Tensor

from pixfold.learn.additive.pixels import Pixels
from pixfold.learn.additive.thresholds import or_one, thresholds
from pixfold.learn.backbones.additive import AdditiveNetwork

# Share of the mean eigenvalue that is added to all of them, for the evidence and for naming classes; and
# the weight of squares beside the pixels themselves. Measured on real and semi-synthetic expression data
# (benchmarks/list_bars): a list that finds planted effects better than an F test does and replicates as well, and
# accuracy as of logistic regression. All change little within a factor of two.
RIDGE, RIDGE_OF_PREDICTIONS = 0.4, 0.1
SQUARES = 0.1
# Shares of which a quantity is predicted with the one that suits best; none serves all of them.
_RIDGES = tuple(10.0 ** (power / 2) for power in range(-6, 9))


@dataclass(frozen=True)
class Targets:
    """What is learned: the true labels first, permuted ones after them.

    Attributes
    ----------
    values : float32 (P, n, D)
        Class membership as 0 and 1 (D classes), or the standardised quantity (D = 1).
    classes : int64 (P, n) or None
        The classes' codes; None for a quantity.
    weights : float64 (n,) or None
        How much each sample counts, above 0; all alike without it.
    """

    values: Tensor
    classes: Tensor | None
    weights: Tensor | None = None

    def of(self, samples: Tensor) -> Tensor | None:
        """Weights of some samples, ``(len(samples),)``."""
        return None if self.weights is None else self.weights[samples]


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
    weights = targets.of(train)
    kernel = _kernel(pixels, train)
    own = kernel[train]
    centred = own - _mean(own, weights)
    centred = centred - _mean(centred.T, weights)[:, None]
    if weights is not None:
        centred = weights.sqrt()[:, None] * centred * weights.sqrt()
    values, vectors = torch.linalg.eigh((centred + centred.T) / 2)
    values = values.clamp(min=0)
    total = len(train) if weights is None else float(weights.sum())
    mean = (values.sum() / total).clamp(min=1e-12)
    wanted = targets.values[:, train].double()
    wanted = wanted - _mean(wanted.transpose(0, 1), weights)[:, None]
    fitted = _Fitted(kernel, train, vectors, weights)
    if targets.classes is None:
        predicting = None
        if folds is not None:
            shrunk = values + _ridge(vectors, values, mean, wanted[0], folds, weights)
            predicting = _of_quantity(*fitted(shrunk, wanted[:1]))
        return _of_quantity(*fitted(values + RIDGE * mean, wanted), predicting)
    members = targets.values[:, train].double()
    if weights is not None:
        members = members * weights[:, None]

    def of_classes(ridge: float, n: int, predicting: Solution | None = None) -> Solution:
        shrunk = values + ridge * mean
        dual, found, level = fitted(shrunk, wanted[:n])
        # Diagonal of the inverse, without the constant that centring takes out.
        constant = 1.0 / total if weights is None else weights / total
        own = vectors.square() @ (1 / shrunk) - constant / (ridge * mean)
        own = own if weights is None else own * weights
        left_out = wanted[:n] - dual / own[:, None]
        return _of_classes(dual, found, level, train, members[:n], left_out, predicting)

    return of_classes(RIDGE, len(wanted), of_classes(RIDGE_OF_PREDICTIONS, 1))


def _mean(values: Tensor, weights: Tensor | None) -> Tensor:
    """Mean over the first axis, of samples."""
    return values.mean(0) if weights is None else torch.tensordot(weights / weights.sum(), values, 1)


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
    centroids = torch.einsum("ptk,ptd->pkd", members, found[:, train]) / or_one(sizes)[..., None]
    # The mean over classes changes no comparison between them.
    contrast = centroids - centroids.mean(1, keepdim=True)
    half = thresholds(left_out, members, centroids)
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


@dataclass(frozen=True)
class _Fitted:
    """Solves for any ridge, from the decomposition that is made once."""

    kernel: Tensor
    train: Tensor
    vectors: Tensor
    weights: Tensor | None

    def __call__(self, shrunk: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Weights in dual form, what they say of all samples, centred on the training samples, and the centre."""
        root = None if self.weights is None else self.weights.sqrt()[:, None]
        scaled = wanted if root is None else root * wanted
        dual = self.vectors @ ((self.vectors.T @ scaled) / shrunk[:, None])
        dual = dual if root is None else root * dual
        found = self.kernel @ dual
        level = _mean(found[:, self.train].transpose(0, 1), self.weights)[:, None]
        return dual, found - level, level


def _of_quantity(dual: Tensor, found: Tensor, level: Tensor, predicting: Solution | None = None) -> Solution:
    return Solution(dual.float(), found.float(), -level[:, 0].float(), predicting)


def _ridge(
    vectors: Tensor, values: Tensor, mean: Tensor, wanted: Tensor, folds: Tensor, weights: Tensor | None
) -> Tensor:
    """Choose the ridge that predicts each fold best from the others.

    What a fit without some samples B says of them follows from the fit H to all of them: they are missed by
    ``(I - H_BB)^-1 (y_B - (H y)_B)``. H holds the mean, too, which is fitted anew. With weights it holds for
    ``W^1/2 y`` and ``W^1/2 H W^-1/2``, whose squares are the weighted ones.
    """
    share_of_mean = torch.full_like(wanted[:, 0], 1.0 / len(wanted)) if weights is None else weights / weights.sum()
    constant = share_of_mean.sqrt()
    wanted = wanted if weights is None else weights.sqrt()[:, None] * wanted
    spectrum = vectors.T @ wanted
    members = [torch.nonzero(folds == fold)[:, 0] for fold in torch.unique(folds)]
    losses = []
    for share in _RIDGES:
        weight = values / (values + share * mean)
        missed = wanted - vectors @ (weight[:, None] * spectrum)
        loss = 0.0
        for fold in members:
            own = vectors[fold]
            system = torch.eye(len(fold), dtype=own.dtype, device=own.device) - (own * weight) @ own.T
            system -= torch.outer(constant[fold], constant[fold])
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
    length : float32 (P,)
        Of the coefficients that held-out samples are added up with. Weights of samples that go with the labels make it
        differ between labellings; a pixel that has nothing to do with them has evidence in proportion to it.
    of_products : float32 (p,) or None
        What products add to the evidence of the true labels: the mean product x weight, to each of its two pixels.
        Permuted labels have no pairs of their own, so this takes no part in p-values.
    """

    evidence: Tensor
    class_mean: Tensor
    class_mean_abs: Tensor
    class_gradient: Tensor
    saliency: Tensor
    length: Tensor
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
    judged, weights = targets.values[:, held_out], targets.of(held_out)  # (P, h, K)
    if weights is not None:
        judged = judged * weights.float()[:, None]
    if targets.classes is None:
        judged = judged / (len(held_out) if weights is None else weights.sum().float())
        groups = [(torch.arange(len(held_out), device=judged.device), 0)]
        right = torch.ones(len(held_out), dtype=torch.bool, device=judged.device)
    else:
        judged = judged / or_one(judged.sum(1, keepdim=True))
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
            shares = None if weights is None else weights[members].float()
            class_mean[k, part] = _mean(own * gradient, shares)
            class_abs[k, part] = _mean((own * gradient).abs(), shares)
            class_gradient[k, part] = _mean(gradient, shares)
            named = gradient[right[members]].abs()
            saliency[part] += named.sum(0) if shares is None else shares[right[members]] @ named
    of_products = None
    if (extra := pixels.products) is not None:
        of_pairs = extra.weight * (extra.values[train].T @ dual[0]) / p  # (k, K)
        each = ((extra.values[held_out].T @ judged[0]) * of_pairs).sum(1)
        of_products = torch.zeros(p, device=dual.device).index_add_(0, extra.pairs.T.reshape(-1), each.repeat(2))
    n_right = right.sum().clamp(min=1) if weights is None else or_one(weights[right].sum().float())
    length = judged.square().sum((1, 2)).sqrt()
    return Evidence(found / p, class_mean, class_abs, class_gradient, saliency / n_right, length, of_products)


def scores(held_out: Tensor, targets: Targets, solution: Solution) -> Tensor:
    """Score every labelling on held-out samples, ``float64 (P,)``.

    Of classes the balanced accuracy over those that occur, of a quantity its correlation with the output (Pearson);
    samples count by their weights.
    """
    given, outputs = targets.values[:, held_out].double(), solution.outputs[:, held_out].double()
    weights = targets.of(held_out)
    if targets.classes is None:
        a, b = (values[..., 0] - _mean(values[..., 0].T, weights)[:, None] for values in (given, outputs))
        if weights is not None:
            a, b = a * weights.sqrt(), b * weights.sqrt()
        return (a * b).sum(1) / (a.square().sum(1) * b.square().sum(1)).sqrt().clamp(min=1e-30)
    if weights is not None:
        given = given * weights[:, None]
    right = outputs.argmax(2) == targets.classes[:, held_out]
    sizes = given.sum(1)
    recall = (given * right[..., None]).sum(1) / or_one(sizes)
    return recall.sum(1) / (sizes > 0).sum(1)
