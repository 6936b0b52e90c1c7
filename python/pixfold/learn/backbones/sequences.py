"""cnn1d and cnn2d: small CNNs for one-hot sequences, whose first filters are as long as a motif."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pixfold.learn.backbones.geometry import ceil_div
from pixfold.learn.backbones.registry import register

# Letters that a filter of the first layer sees at once, the length of a transcription factor's motif.
KMER = 11
_FILTERS = 64
_WIDTH = 64
_DROPOUT = 0.3


class ToSequence(nn.Module):
    """Images as sequences, row after row: ``(B, C, H, W) -> (B, C, H * W)``, the order of the natural layout."""

    def forward(self, images: Tensor) -> Tensor:
        """Return the sequences."""
        return images.flatten(2)


class OverChannels(nn.Module):
    """Place for convolutions over channels and positions: ``(B, C, H, W) -> (B, 1, C, H * W)``."""

    def forward(self, images: Tensor) -> Tensor:
        """Return one image for each sequence, a row for each channel."""
        return images.flatten(2).unsqueeze(1)


class Strongest(nn.Module):
    """Largest value of each filter over all places: ``(B, F, ...) -> (B, F)``."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the largest values."""
        return torch.amax(x.flatten(2), dim=2)


def _k(length: int) -> int:
    """Length of the first filters, odd, so that padding keeps the places."""
    return KMER if length >= KMER else length - (length + 1) % 2


@register("cnn1d")
def cnn1d(shape: tuple[int, int, int], n_outputs: int) -> nn.Module:
    """Build a CNN over sequences with a channel per letter, after DeepBind (Alipanahi et al., 2015).

    Filters of 11 letters, a second layer over pools of 4 places, and the largest response of each filter wherever it
    is: a motif counts at any place. The network reads an image row after row, which is the sequence in the natural
    arrangement.
    """
    channels, length = shape[0], shape[1] * shape[2]
    k, pool = _k(length), min(4, length)
    return nn.Sequential(
        ToSequence(),
        nn.Conv1d(channels, _FILTERS, k, padding=k // 2),
        nn.ReLU(),
        nn.MaxPool1d(pool, ceil_mode=True),
        nn.Conv1d(_FILTERS, _WIDTH, min(3, ceil_div(length, pool) | 1), padding="same"),
        nn.ReLU(),
        Strongest(),
        nn.Dropout(_DROPOUT),
        nn.Linear(_WIDTH, n_outputs),
    )


@register("cnn2d")
def cnn2d(shape: tuple[int, int, int], n_outputs: int) -> nn.Module:
    """Build the same with two-dimensional convolutions, over an image with a row per letter and a column per place.

    Filters of all letters x 11 places. Grad-CAM and what else looks at two-dimensional maps works with it.
    """
    channels, length = shape[0], shape[1] * shape[2]
    k, pool = _k(length), min(4, length)
    return nn.Sequential(
        OverChannels(),
        nn.Conv2d(1, _FILTERS, (channels, k), padding=(0, k // 2)),
        nn.ReLU(),
        nn.MaxPool2d((1, pool), ceil_mode=True),
        nn.Conv2d(_FILTERS, _WIDTH, (1, min(3, ceil_div(length, pool) | 1)), padding="same"),
        nn.ReLU(),
        Strongest(),
        nn.Dropout(_DROPOUT),
        nn.Linear(_WIDTH, n_outputs),
    )
