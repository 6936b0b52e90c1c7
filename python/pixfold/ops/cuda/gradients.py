"""The adjoints of fold and unfold on CUDA devices, which :mod:`pixfold.ops.gradients` comes to by itself.

Nothing waits for the device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pixfold.arrays import cuda as on_device
from pixfold.errors import InputError
from pixfold.ops.cuda.placed import address, device_layout, device_parameters
from pixfold.ops.cuda.stats import row_scale_on_device

if TYPE_CHECKING:
    from pixfold.formula import Formula
    from pixfold.layout import Layout

_IMAGES = ("float32", "float16", "bfloat16")
_SAMPLES = (*_IMAGES, "float64")


def fold_gradient_tensor(gradient: Any, X: Any, layout: Layout, formula: Formula | None) -> Any:
    """:func:`pixfold.ops.gradients.fold_gradient` of tensors on a CUDA device."""
    import torch

    op = "fold_gradient"
    x = _floats(op, "X", X, _SAMPLES)
    if x.dim() != 2 or x.shape[1] != layout.n_features:
        raise InputError(f"{op}: X must have shape (n_samples, {layout.n_features}), got {tuple(x.shape)}")
    images = _floats(op, "gradient", gradient, _IMAGES)
    if tuple(images.shape) != (x.shape[0], *layout.shape) or images.device != x.device:
        raise InputError(
            f"{op}: gradient must have shape {(x.shape[0], *layout.shape)} on {x.device}, got {tuple(images.shape)} "
            f"on {images.device}"
        )
    queue = on_device.queue_of(op, "X", x)
    scales_rows = formula is not None and formula.library_size is not None
    channels_last = not images.is_contiguous() and images.is_contiguous(memory_format=torch.channels_last)
    if scales_rows or not channels_last:
        # A sample's sum goes by the pixels as they lie: it has the same bits in every memory format.
        images, channels_last = images.contiguous(), False
    placed = device_layout(queue.cuda, layout, x.device, channels_last)
    parameters = row_scale = workspace = None
    library_size = 0.0
    if formula is not None:
        in_double = x.dtype == torch.float64
        parameters = device_parameters(queue.cuda, formula, placed, x.device, in_double).parameters
        row_scale = row_scale_on_device(x, formula, queue)
        library_size = formula.library_size or 0.0
    if row_scale is not None:
        size = queue.cuda.fold_gradient_workspace(x.shape[0], placed.n_slots)
        workspace = torch.empty(size, dtype=torch.float64, device=x.device)
    out = torch.empty(tuple(x.shape), dtype=x.dtype, device=x.device)
    queue.cuda.fold_gradient(
        on_device.dense_view(queue.cuda, x),
        placed.slots,
        address(placed.slot_of_feature),
        address(placed.pixel_of_feature),
        parameters,
        address(row_scale),
        library_size,
        address(images),
        on_device.type_name(images.dtype),
        address(out),
        address(workspace),
        queue.ordinal,
        queue.stream,
    )
    return out


def unfold_gradient_tensor(gradient: Any, layout: Layout) -> Any:
    """:func:`pixfold.ops.gradients.unfold_gradient` of a tensor on a CUDA device."""
    import torch

    op = "unfold_gradient"
    features = _floats(op, "gradient", gradient, _SAMPLES)
    if features.dim() != 2 or features.shape[1] != layout.n_features:
        raise InputError(
            f"{op}: gradient must have shape (n_samples, {layout.n_features}), got {tuple(features.shape)}"
        )
    queue = on_device.queue_of(op, "gradient", features)
    features = features.contiguous()
    placed = device_layout(queue.cuda, layout, features.device, False)
    images = torch.empty((features.shape[0], *layout.shape), dtype=features.dtype, device=features.device)
    queue.cuda.unfold_gradient(
        address(features),
        on_device.type_name(features.dtype),
        *features.shape,
        placed.slots,
        address(images),
        queue.ordinal,
        queue.stream,
    )
    return images


def _floats(op: str, argument: str, x: Any, names: tuple[str, ...]) -> Any:
    """Give a dense tensor of one of the element types."""
    found = on_device.usable(op, argument, x)
    if on_device.is_csr(found):
        raise InputError(f"{op}: {argument} must be a dense tensor, got layout {found.layout}")
    name = on_device.type_name(found.dtype)
    if name not in names:
        raise InputError(f"{op}: {argument} must be {', '.join(names[:-1])} or {names[-1]}, got {name}")
    return found
