"""The rule by which Captum's LRP goes through a fold: a feature gets the relevance of its pixel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from captum.attr._utils.lrp_rules import IdentityRule
from torch import Tensor

from pixfold.layout import Layout
from pixfold.ops.unfold import unfold


class FoldRule(IdentityRule):  # type: ignore[misc]  # captum is not typed
    """Relevance of pixels -> relevance of features, with the sum of every pixel kept.

    A fold moves each value to a pixel of its own, so that LRP's rule for layers with one output per input holds: the
    input gets its output's relevance whatever the formula between them is. Features that share a pixel share its
    relevance in equal parts.
    """

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self._layout = layout
        share = np.zeros(layout.n_features, np.float32)
        share[layout.slot_feature] = 1 / layout.features_per_pixel[layout.slot_pixel]
        self._share = torch.from_numpy(share)

    def _create_backward_hook_input(self, inputs: Tensor) -> Callable[[Any], Tensor]:
        def hook(grad: Tensor) -> Tensor:
            relevance: Tensor = unfold(self.relevance_output[grad.device], self._layout)
            return (relevance * self._share.to(relevance.device)).to(grad.dtype)

        return hook
