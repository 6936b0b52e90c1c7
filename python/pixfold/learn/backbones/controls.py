"""Controls without convolution: what a CNN has to be better than."""

from __future__ import annotations

from math import prod

from torch import nn

from pixfold.learn.backbones.registry import register

# Weights of the first layer at most: 10^6 pixels get 16 units, up to 131,072 get 128.
_MOST_WEIGHTS = 2**24
_DROPOUT = 0.3


@register("linear")
def linear(shape: tuple[int, int, int], n_outputs: int) -> nn.Module:
    """Build logistic regression, trained as the other networks are: one weight per pixel and class."""
    return nn.Sequential(nn.Flatten(), nn.Linear(prod(shape), n_outputs))


@register("mlp")
def mlp(shape: tuple[int, int, int], n_outputs: int) -> nn.Module:
    """Build a perceptron with one hidden layer of ReLU: 16 to 128 units, fewer for more pixels."""
    pixels = prod(shape)
    width = max(16, min(128, _MOST_WEIGHTS // pixels))
    return nn.Sequential(
        nn.Flatten(),
        nn.Dropout(_DROPOUT),
        nn.Linear(pixels, width),
        nn.ReLU(),
        nn.Dropout(_DROPOUT),
        nn.Linear(width, n_outputs),
    )
