"""The adjoints of fold and unfold on CUDA devices. Nothing waits for the device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pixfold.arrays.cuda import OnCuda
from pixfold.arrays.dense import computes_in_double
from pixfold.errors import InputError
from pixfold.ops.cuda.fold import as_it_lies, row_scale_on_cuda
from pixfold.ops.cuda.placed import device_layout, device_parameters

if TYPE_CHECKING:
    from pixfold.formula import Formula
    from pixfold.layout import Layout


def fold_gradient_on_cuda(gradient: OnCuda, x: OnCuda, layout: Layout, formula: Formula | None) -> Any:
    """:func:`pixfold.ops.gradients.fold_gradient` of tensors of the shapes that it asks for."""
    import torch

    queue, images = x.queue, gradient.tensor
    if images.device != queue.device:
        raise InputError(f"fold_gradient: gradient must be on {queue.device}, got {images.device}")
    scales_rows = formula is not None and formula.library_size is not None
    channels_last = not images.is_contiguous() and images.is_contiguous(memory_format=torch.channels_last)
    if scales_rows or not channels_last:
        # A sample's sum goes by the pixels as they lie: it has the same bits in every memory format.
        images, channels_last = images.contiguous(), False
    placed = device_layout(queue, layout, channels_last)
    parameters = row_scale = None
    library_size = 0.0
    out = torch.empty(x.shape, dtype=x.tensor.dtype, device=queue.device)
    if formula is not None:
        parameters = device_parameters(queue, formula, placed, computes_in_double(x.dtype))
        if formula.library_size is not None:
            library_size = formula.library_size
            of_library = queue.kernels.fold_gradient_library
            if of_library(x.tensor, placed.slots, parameters, library_size, images, out, queue.stream):
                return out
        row_scale = row_scale_on_cuda(x, formula)
    queue.kernels.fold_gradient(
        x.tensor,
        placed.slots,
        parameters,
        row_scale,
        library_size,
        as_it_lies(images, channels_last),
        out,
        queue.stream,
    )
    return out


def unfold_gradient_on_cuda(gradient: OnCuda, layout: Layout) -> Any:
    """:func:`pixfold.ops.gradients.unfold_gradient` of a tensor of the shape that it asks for."""
    import torch

    queue, features = gradient.queue, gradient.tensor.contiguous()
    placed = device_layout(queue, layout, False)
    images = torch.empty((features.shape[0], *layout.shape), dtype=features.dtype, device=queue.device)
    queue.kernels.unfold_gradient(features, placed.slots, images, queue.stream)
    return images
