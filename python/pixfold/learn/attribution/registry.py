"""What an attribution method is, and the table from its name to it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pixfold.learn.attribution.baselines import Baselines
from pixfold.learn.attribution.groups import PixelGroups
from pixfold.util.optional import require

# The output of each image that is attributed, or one for all.
Target = Tensor | int


@dataclass(frozen=True)
class Attributed:
    """Attributions of a batch.

    Attributes
    ----------
    values : tensor (B, C, H, W)
        Signed attribution of every pixel.
    delta : tensor (B,) or None
        Of methods that are complete: the sum of an image's attributions, less the change of the output from the
        baseline to the image. 0 where the method keeps what it promises.
    groups : tensor (B, n_groups) or None
        Of ablation by groups: how far the output falls when the group is set to the baseline.
    """

    values: Tensor
    delta: Tensor | None = None
    groups: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a method is given beside the network.

    Parameters
    ----------
    baselines : Baselines
        Where the way to an image begins, and what an ablated pixel is set to.
    rows : int
        Images that go through the network in one pass at most.
    n_steps : int
        Points of an integral, or of a sample of one.
    groups : PixelGroups, optional
        Pixels that are ablated together.
    """

    baselines: Baselines
    rows: int
    n_steps: int = 32
    groups: PixelGroups | None = None


# images, output of each, class of each (that baselines of other classes differ from) -> attributions
Bound = Callable[[Tensor, Target, Tensor | None], Attributed]


@dataclass(frozen=True, kw_only=True)
class Method:
    """An attribution method.

    Attributes
    ----------
    name : str
        As users call it.
    bind : callable
        Network and setting -> function of a batch.
    refuses : callable
        Why the method does not serve a network, in words that go on "..., got"; None where it does.
    unit : str
        What one attribution belongs to: "pixel", or the coarser thing that its pixels share.
    baseline : str
        The baseline that it takes when none is asked for; "none" where it takes none.
    of_samples : bool
        Whether attributions differ between samples; those of the gate's weights do not.
    """

    name: str
    bind: Callable[[nn.Module, Setting], Bound]
    refuses: Callable[[nn.Module], str | None]
    unit: str = "pixel"
    baseline: str = "none"
    of_samples: bool = True


_METHODS: dict[str, Method] = {}


def _serves_all(network: nn.Module) -> None:
    return None


def method(
    name: str,
    *,
    refuses: Callable[[nn.Module], str | None] = _serves_all,
    unit: str = "pixel",
    baseline: str = "none",
    of_samples: bool = True,
) -> Callable[[Callable[[nn.Module, Setting], Bound]], Callable[[nn.Module, Setting], Bound]]:
    """Register a function that binds a method under its name; see :class:`Method` for the rest."""

    def decorate(bind: Callable[[nn.Module, Setting], Bound]) -> Callable[[nn.Module, Setting], Bound]:
        _METHODS[name] = Method(
            name=name, bind=bind, refuses=refuses, unit=unit, baseline=baseline, of_samples=of_samples
        )
        return bind

    return decorate


def known(name: str) -> Method:
    """Return the method of a name that is in the table."""
    return _METHODS[name]


def names() -> tuple[str, ...]:
    """Names of all methods."""
    return tuple(_METHODS)


def captum() -> Any:
    """Captum's attribution methods."""
    return require("captum.attr", "train", "attribution")


@torch.no_grad()
def missed(network: nn.Module, values: Tensor, images: Tensor, baselines: Tensor, target: Target) -> Tensor:
    """Sum of each image's attributions, less the change of its output from the mean of its baselines' outputs.

    Parameters
    ----------
    network : Module
        ``(B, C, H, W) -> (B, K)``.
    values, images : tensor (B, C, H, W)
        Attributions, and what was attributed.
    baselines : tensor (B or 1, C, H, W), or (n, C, H, W) for one image
        Of the images, in their order; or of all; or of the one image.
    target : int64 tensor (B,) or int
        Outputs.

    Returns
    -------
    tensor (B,)
    """
    after, before = network(images), network(baselines)
    aim = torch.full((len(images),), target, device=images.device) if isinstance(target, int) else target
    if len(images) == 1 or len(baselines) == 1:
        before = before.mean(0, keepdim=True).expand(len(images), -1)
    change: Tensor = (after - before).gather(1, aim[:, None])[:, 0]
    return values.detach().flatten(1).sum(1) - change


@contextmanager
def hooked() -> Iterator[None]:
    """Leave out Captum's warnings that it sets hooks on layers, which it takes off again."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Setting (forward, )?backward.*hooks", category=UserWarning)
        yield


def parts(rows: int, images: Tensor, target: Target, classes: Tensor | None) -> Iterator[tuple[Tensor, Target, Any]]:
    """Cut a batch into parts of at most ``rows`` images, with their targets and classes."""
    for begin in range(0, len(images), rows):
        here = slice(begin, begin + rows)
        own = None if classes is None else classes[here]
        yield images[here], target if isinstance(target, int) else target[here], own


def joined(found: list[Attributed]) -> Attributed:
    """Put the parts of a batch together."""
    deltas = [part.delta for part in found if part.delta is not None]
    groups = [part.groups for part in found if part.groups is not None]
    return Attributed(
        torch.cat([part.values for part in found]),
        torch.cat(deltas) if deltas else None,
        torch.cat(groups) if groups else None,
    )
