"""From the name of a backbone, a module or a callable to a fresh module."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn

from pixfold.errors import InputError
from pixfold.learn.backbones import timm_models, torchvision_models
from pixfold.learn.backbones.code import imported, is_code
from pixfold.learn.backbones.geometry import probe
from pixfold.util.text import must_be, short_repr

Builder = Callable[..., nn.Module]
_BUILDERS: dict[str, Builder] = {}


def register(name: str) -> Callable[[Builder], Builder]:
    """Register a builder, called as ``builder(shape=(C, H, W), n_outputs=K)``, under ``name``.

    Raises
    ------
    InputError
        When the name is taken by another builder.
    """

    def decorate(builder: Builder) -> Builder:
        if _BUILDERS.get(name, builder) is not builder:
            raise InputError(must_be("backbones.register", "name", "one that no other builder has", name))
        _BUILDERS[name] = builder
        return builder

    return decorate


def names() -> list[str]:
    """Names that :func:`build` knows: the registered ones first, then torchvision's classifiers."""
    return [*_BUILDERS, *(name for name in torchvision_models.classifier_names() if name not in _BUILDERS)]


def build(
    backbone: str | nn.Module | Callable[..., nn.Module],
    *,
    shape: tuple[int, int, int],
    n_outputs: int,
    seed: int | None = None,
) -> nn.Module:
    """Build a fresh, untrained network from images to one output per class.

    Parameters
    ----------
    backbone : str, Module or callable
        A name of :func:`names`; ``"timm:NAME"``; ``"package.module:callable"``, which is imported; a module, of which
        a deep copy is taken, so that runs share nothing; or a callable that is called as
        ``backbone(shape=(C, H, W), n_outputs=K)`` and returns a module.
    shape : tuple of int
        Image shape ``(C, H, W)``.
    n_outputs : int
        Number of outputs (classes) ``K``.
    seed : int, optional
        Seeds the initial weights; torch's global generator is left as it was. Without it that one is used.

    Returns
    -------
    Module
        ``(B, C, H, W) float32 -> (B, K)`` class scores before softmax.

    Raises
    ------
    InputError
        Unknown name, wrong type, or a module that does not turn such images into ``(B, K)``.
    """
    c, h, w = (int(side) for side in shape)
    if min(c, h, w, n_outputs) < 1:
        raise InputError(f"backbones.build: shape and n_outputs must be 1 or more, got {shape} and {n_outputs}")
    check("backbones.build", "backbone", backbone)
    with nullcontext() if seed is None else torch.random.fork_rng():
        if seed is not None:
            torch.manual_seed(seed)
        return _build(backbone, (c, h, w), n_outputs)


def check(op: str, name: str, backbone: Any, *others: str) -> None:
    """Raise InputError unless :func:`build` takes a value as a backbone, or it is one of other names."""
    if isinstance(backbone, str):
        if backbone in (*others, *_BUILDERS) or backbone in torchvision_models.classifier_names():
            return
        if backbone.startswith(timm_models.PREFIX):
            return timm_models.check(op, name, backbone)
        if is_code(backbone):
            return
        close = difflib.get_close_matches(backbone, names(), n=3)
        known = f"{', '.join((*others, *_BUILDERS))}, a torchvision classifier's name (resnet50, ...), timm:NAME"
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise InputError(
            f"{op}: {name} must be one of {known} or package.module:callable, got {short_repr(backbone)}{hint}"
        )
    if not isinstance(backbone, nn.Module) and not callable(backbone):
        raise InputError(must_be(op, name, "a name, a torch module or a callable that builds one", backbone))


def _build(
    backbone: str | nn.Module | Callable[..., nn.Module], shape: tuple[int, int, int], n_outputs: int
) -> nn.Module:
    if isinstance(backbone, str):
        if backbone in _BUILDERS:
            return _BUILDERS[backbone](shape=shape, n_outputs=n_outputs)
        if not is_code(backbone) and not backbone.startswith(timm_models.PREFIX):
            return torchvision_models.classifier(backbone, shape, n_outputs)
        if is_code(backbone):
            return _build(imported(backbone), shape, n_outputs)
        module = timm_models.model(backbone, shape, n_outputs)
    elif isinstance(backbone, nn.Module):
        module = copy.deepcopy(backbone)
    else:
        module = backbone(shape=shape, n_outputs=n_outputs)
        if not isinstance(module, nn.Module):
            raise InputError(must_be("backbones.build", "what the callable returns", "a torch module", module))
    _try(module, shape, n_outputs, backbone if isinstance(backbone, str) else type(module).__name__)
    return module


def _try(module: nn.Module, shape: tuple[int, int, int], n_outputs: int, name: str) -> None:
    """Run two images through a module that was given, so that a misfit shows before the training."""
    kind = f"backbone {name}"
    try:
        output = probe(module, shape)
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        raise InputError(f"backbones.build: {kind} does not accept images of shape {shape}: {error}") from error
    found = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
    if found != (2, n_outputs):
        raise InputError(
            f"backbones.build: {kind} must turn 2 images into a tensor of shape (2, {n_outputs}), got {found}"
        )
