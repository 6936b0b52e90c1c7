"""The noise tunnel: any method, averaged over noisy copies of an image."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pixfold.learn.attribution.registry import Attributed, Bound, Target, captum

# Standard deviation of the noise, in units of normalised values: a fifth of the spread of a standardised feature, or of
# the range of one between 0 and 1, which is what SmoothGrad takes.
NOISE = 0.2


def through_noise(bound: Bound, copies: int, rows: int) -> Bound:
    """Average a method's attributions over ``copies`` noisy copies of each image (SmoothGrad, Smilkov et al., 2017).

    Deltas are not kept: they belong to the copies.

    Parameters
    ----------
    bound : callable
        A method, bound to a network.
    copies : int
        Noisy copies of each image.
    rows : int
        Images that go through the network in one pass at most.
    """
    attr = captum()

    class _Tunnelled(attr.Attribution):  # type: ignore[misc,name-defined]  # captum is not typed
        def attribute(self, inputs: Any, target: Target, classes: Tensor | None) -> Any:
            # The tunnel repeats images and targets for their copies, and knows nothing of classes.
            if classes is not None:
                classes = classes.repeat_interleave(len(inputs) // len(classes))
            return bound(inputs.detach().requires_grad_(), target, classes).values.detach()

        # Captum takes the decorators of its own methods off.
        attribute.__wrapped__ = attribute  # type: ignore[attr-defined]

        def has_convergence_delta(self) -> bool:
            return False

    tunnel = attr.NoiseTunnel(_Tunnelled(bound))

    def attribute(images: Tensor, target: Target, classes: Tensor | None) -> Attributed:
        with torch.no_grad():  # methods that need gradients turn them on
            clean = images.detach()
        found = tunnel.attribute(
            clean.requires_grad_(),
            nt_type="smoothgrad",
            nt_samples=copies,
            nt_samples_batch_size=max(1, min(copies, rows // len(images))),
            stdevs=NOISE,
            target=target,
            classes=classes,
        )
        return Attributed(found.detach())

    return attribute
