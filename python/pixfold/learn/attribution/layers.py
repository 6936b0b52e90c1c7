"""What methods ask of a network's layers: which there are, and each of them used once."""

from __future__ import annotations

import copy
import operator
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
# Functions that stand for layers, which methods can only see as layers.
_RELUS = (torch.relu, torch.relu_, nn.functional.relu)
_SUMS = (operator.add, operator.iadd, torch.add)


class _Tracer(fx.Tracer):
    """Sees our own layers, and attention, as one thing each."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return (m.__module__.startswith("pixfold.learn.backbones") and not any(m.children())) or bool(
            super().is_leaf_module(m, module_qualified_name)
        )


class Sum(nn.Module):
    """An addition as a layer."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """``a + b``."""
        return a + b


def separated(network: nn.Module, addition: Callable[[], nn.Module] | None = None) -> nn.Module:
    """Copy a network so that every use of a layer is a layer of its own, and nothing is changed in place.

    DeepLIFT, LRP and guided backpropagation replace gradients of layers. They refuse a layer that is used twice (the
    ReLU of a residual block), and do not see functions (``torch.relu``).

    Parameters
    ----------
    network : Module
        In evaluation mode. One that torch.fx cannot trace is copied as it is.
    addition : callable, optional
        Makes the layer that additions become; without it they stay functions.

    Returns
    -------
    Module
        Shares its parameters with ``network``.
    """
    try:
        graph = _Tracer().trace(network)
    except Exception:  # torch.fx raises whatever the network's own code raises on a proxy
        return _without_in_place(_alias(network))
    traced = fx.GraphModule(network, graph)
    seen: set[str] = set()
    for number, node in enumerate(list(graph.nodes)):
        made: nn.Module | None = None
        if node.op == "call_module":
            if node.target in seen:
                made = _alias(traced.get_submodule(node.target))
            seen.add(node.target)
        elif node.op == "call_function" and node.target in _RELUS:
            made, node.args, node.kwargs = nn.ReLU(), node.args[:1], {}
        elif node.op == "call_method" and node.target in ("relu", "relu_"):
            made, node.op, node.kwargs = nn.ReLU(), "call_module", {}
        elif node.op == "call_function" and node.target is nn.functional.adaptive_avg_pool2d:
            made = nn.AdaptiveAvgPool2d(node.args[1] if len(node.args) > 1 else node.kwargs["output_size"])
            node.args, node.kwargs = node.args[:1], {}
        elif addition is not None and node.target in _SUMS and _are_tensors(node.args):
            made, node.kwargs = addition(), {}
        if made is not None:
            name = f"separated_{number}"
            traced.add_submodule(name, made)
            node.op, node.target = "call_module", name
    graph.lint()
    traced.recompile()
    return _without_in_place(traced).eval()


def _alias(layer: nn.Module) -> nn.Module:
    """Make a layer with the same parameters, and hooks of its own."""
    fresh = copy.copy(layer)
    for name, value in vars(layer).items():
        if name.endswith("_hooks") or name.endswith("_hooks_with_kwargs"):
            fresh.__dict__[name] = OrderedDict()
        elif name in ("_modules", "_parameters", "_buffers"):
            fresh.__dict__[name] = dict(value)
    return fresh


def _are_tensors(arguments: tuple[Any, ...]) -> bool:
    return len(arguments) == 2 and all(isinstance(value, fx.Node) for value in arguments)


def _without_in_place(network: nn.Module) -> nn.Module:
    """Exchange layers that change their input in place for copies that do not."""
    for name, part in list(network.named_children()):
        if getattr(part, "inplace", False):
            fresh: Any = _alias(part)
            fresh.inplace = False
            network._modules[name] = fresh
        elif any(getattr(inner, "inplace", False) for inner in part.modules()):
            network._modules[name] = _without_in_place(_alias(part))
    return network


def leaves(network: nn.Module) -> list[nn.Module]:
    """Layers without layers of their own."""
    return [part for part in network.modules() if not any(part.children())]


def kinds(parts: list[nn.Module]) -> str:
    """Names of the types of layers, for a message."""
    return ", ".join(dict.fromkeys(type(part).__name__ for part in parts))


def has_attention(network: nn.Module) -> bool:
    """Whether a network attends: by torch's attention or one that is named so."""
    return any("Attention" in type(part).__name__ for part in network.modules())


def functions(network: nn.Module) -> set[Any]:
    """Functions and methods of tensors that a traced network calls; none where it is not traced."""
    if not isinstance(network, fx.GraphModule):
        return set()
    return {node.target for node in network.graph.nodes if node.op in ("call_function", "call_method")}


def needs_relu(name: str) -> Callable[[nn.Module], str | None]:
    """Refuse networks without ReLU, for a method that replaces its gradient."""

    def refuses(network: nn.Module) -> str | None:
        parts = leaves(separated(network))
        if any(isinstance(part, nn.ReLU) for part in parts):
            return None
        others = [part for part in parts if type(part).__module__ == "torch.nn.modules.activation"]
        return f"one with ReLU, whose gradient {name} replaces, got one with {kinds(others) or 'no activation'}"

    return refuses


def needs_convolution(network: nn.Module) -> str | None:
    """Refuse networks without convolution, for a method that looks at its maps."""
    if any(isinstance(part, nn.Conv2d) for part in network.modules()):
        return None
    return "one with two-dimensional convolutions, got one without"
