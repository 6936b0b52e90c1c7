"""Layers that look at a whole batch, of which each of several processes has a part."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from pixfold.learn.peers import Peers

# Their output is the input times a random factor.
_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
_BatchNorm = nn.modules.batchnorm._BatchNorm


class SharedLayers:
    """Batch normalisation and dropout as one process has them, in processes that have a part of each batch.

    Batch normalisation takes its statistics of all parts. (torch's SyncBatchNorm does so on cards alone.) Dropout draws
    the factors of the whole batch in every process, which keeps their generators alike, and takes those of its part.
    Layers that draw elsewhere (attention dropout, stochastic depth) draw for the part alone.

    Parameters
    ----------
    module : Module
        The network.
    peers : Peers
        The processes.
    """

    def __init__(self, module: nn.Module, peers: Peers) -> None:
        self._module, self._peers = module, peers
        # Whether processes wait for each other within the network.
        self.wait = peers.size > 1 and any(isinstance(layer, _BatchNorm) for layer in module.modules())
        self._rows, self._size = torch.empty(0, dtype=torch.int64), 0

    def batch(self, rows: Tensor, size: int) -> None:
        """Say where the samples that come next stand in their whole batch, and of how many it is."""
        self._rows, self._size = rows, size

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Put these layers into the place of the module's own; put those back at the end."""
        changed: list[nn.Module] = []
        if self._peers.size > 1:
            for layer in self._module.modules():
                if isinstance(layer, _BatchNorm):
                    changed.append(layer)
                    layer.forward = partial(self._batch_norm, layer, layer.forward)  # type: ignore[method-assign]
                elif isinstance(layer, _DROPOUTS):
                    changed.append(layer)
                    layer.forward = partial(self._dropout, layer, layer.forward)  # type: ignore[method-assign]
        try:
            yield
        finally:
            for layer in changed:
                del layer.forward

    def _dropout(self, layer: nn.Module, own: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        if not layer.training or cast(Any, layer).p == 0:
            return own(x)
        whole = torch.empty((self._size, *x.shape[1:]), dtype=x.dtype, device=x.device, memory_format=_format(x)).fill_(
            1.0
        )
        return x * own(whole)[self._rows.to(x.device)]

    def _batch_norm(self, layer: _BatchNorm, own: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        if not layer.training:
            return own(x)
        others = [axis for axis in range(x.ndim) if axis != 1]
        shape = [1, -1] + [1] * (x.ndim - 2)
        values = x.float()
        one = values.new_tensor([float(values.numel() // max(x.shape[1], 1))])
        sums = cast(Tensor, _Sum.apply(torch.cat([one, values.sum(others)]), self._peers))
        n = sums[0].detach()
        mean = sums[1:] / n
        centred = values - mean.view(shape)
        variance = cast(Tensor, _Sum.apply(centred.square().sum(others), self._peers)) / n
        _follow(layer, mean.detach(), variance.detach() * (n / (n - 1).clamp(min=1)))
        found = centred * torch.rsqrt(variance + layer.eps).view(shape)
        if layer.affine:
            found = found * layer.weight.view(shape) + layer.bias.view(shape)
        return found.to(x.dtype)


class _Sum(torch.autograd.Function):
    """Sum over processes; each gets the sum of what all make of it."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, peers: Peers) -> Tensor:
        ctx.peers = peers
        return peers.added(own.clone())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.peers.added(gradients[0].clone()), None


@torch.no_grad()
def _follow(layer: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    """Move the running statistics, as the layer itself does."""
    if layer.running_mean is None or layer.running_var is None or layer.num_batches_tracked is None:
        return
    layer.num_batches_tracked.add_(1)
    share = 1.0 / float(layer.num_batches_tracked) if layer.momentum is None else layer.momentum
    layer.running_mean.lerp_(mean.to(layer.running_mean.dtype), share)
    layer.running_var.lerp_(variance.to(layer.running_var.dtype), share)


def _format(x: Tensor) -> torch.memory_format:
    """Layout in memory of images: dropout draws its factors in the order of memory."""
    if x.ndim == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return torch.contiguous_format
