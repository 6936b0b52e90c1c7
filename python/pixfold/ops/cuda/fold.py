"""The ops for tensors on CUDA devices: torch's memory, the current stream, and no waiting for the device.

:func:`pixfold.fold` and :func:`pixfold.unfold` come here by themselves. Of the folds of one layout and normaliser the
first one copies them to the device and waits for that; all later ones only queue kernels, and can be captured into a
CUDA graph.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from pixfold.arrays import cuda as on_device
from pixfold.arrays.dense import is_torch
from pixfold.errors import InputError
from pixfold.image_pool import ImagePool
from pixfold.ops.cuda.placed import (
    DeviceLayout,
    address,
    counters,
    device_counts,
    device_layout,
    device_parameters,
    keep,
    to_device,
)
from pixfold.ops.cuda.stats import row_scale_on_device
from pixfold.util.text import counted

if TYPE_CHECKING:
    from pixfold.formula import Fitted, Formula
    from pixfold.layout import Layout


def fold_tensor(X: Any, layout: Layout, formula: Formula | None, dtype: str, out: Any) -> Any:
    """:func:`pixfold.fold` of a dense or sparse CSR tensor on a CUDA device.

    It never waits for the device, and so cannot raise for values that the normaliser refuses. Under
    ``missing="error"`` missing values come out as NaN; of negative values that a logarithm is not to see, those below
    -1 do. :func:`check_folds` raises for both.
    """
    x = on_device.usable("fold", "X", X)
    if x.dim() != 2:
        raise InputError(f"fold: X must be two-dimensional (n_samples, n_features), got shape {tuple(x.shape)}")
    if x.shape[1] != layout.n_features:
        raise InputError(
            f"fold: X must have the layout's {layout.n_features} features, got {x.shape[1]} (shape {tuple(x.shape)})"
        )
    queue = on_device.queue_of("fold", "X", x)
    images, channels_last = images_memory(X, x, layout, dtype, out)
    placed = device_layout(queue.cuda, layout, x.device, channels_last)
    sparse = on_device.is_csr(x)
    name = on_device.type_name((x.values() if sparse else x).dtype)
    parameters = row_scale = counts = None
    if formula is not None:
        parameters = device_parameters(
            queue.cuda, formula, placed, x.device, on_device.computes_in_double(name)
        ).parameters
        counts = device_counts(formula, x.device)
        row_scale = row_scale_on_device(x, formula, queue)
    if sparse:
        if formula is not None and row_scale is not None and formula.offset.any():
            raise InputError(
                "fold: a library size and an offset cannot be combined for sparse X: a zero would differ per sample"
            )
        rows = on_device.csr_rows(queue.cuda, x, name)
        background = background_image(queue, placed, parameters, formula, name, dtype)
        queue.cuda.fold_csr(
            rows.view,
            placed.slots,
            address(placed.slot_of_feature),
            address(placed.pixel_of_feature),
            parameters,
            address(row_scale),
            address(background),
            address(images),
            dtype,
            address(counts),
            queue.ordinal,
            queue.stream,
        )
    else:
        queue.cuda.fold_dense(
            on_device.dense_view(queue.cuda, x),
            placed.slots,
            parameters,
            address(row_scale),
            address(images),
            dtype,
            address(counts),
            queue.ordinal,
            queue.stream,
        )
    return images


def fold_packed_rows(
    bits: Any,
    n_features: int,
    layout: Layout,
    formula: Formula | None = None,
    *,
    values: Any,
    dtype: str = "float32",
    out: Any = None,
    samples: Any = None,
) -> Any:
    """Fold packed genotypes on a CUDA device.

    Parameters
    ----------
    bits : uint8 CUDA tensor (n_samples, ceil(n_features / 4))
        Rows as in :class:`pixfold.PackedGenotypes`.
    n_features : int
        Number of genotypes of a row.
    layout : Layout
        As for :func:`pixfold.fold`.
    formula : Formula, optional
        Without a library size.
    values : float32 array of four
        What the codes stand for: ``PackedGenotypes.code_values()``.
    dtype : {"float32", "float16", "bfloat16"}
        Element type of the images.
    out : CUDA tensor, optional
        As for :func:`pixfold.fold`.
    samples : int64 CUDA tensor (n_samples,), optional
        Numbers of the rows to fold, in any order and repeated as one likes; they are not copied first. Default: all, in
        order. Nobody looks whether there are such rows.

    Returns
    -------
    images : CUDA tensor (n_samples, channels, height, width)
    """
    import torch

    queue = on_device.queue_of("fold", "bits", bits)
    width = -(-n_features // 4)
    if bits.dtype != torch.uint8 or bits.dim() != 2 or bits.shape[1] != width or (bits.stride(1) != 1 and width > 1):
        raise InputError(
            f"fold: bits must be uint8 rows of {width} contiguous bytes, got {on_device.type_name(bits.dtype)} of "
            f"shape {tuple(bits.shape)}"
        )
    if layout.n_features != n_features:
        raise InputError(f"fold: layout must have {n_features} features, got {layout.n_features}")
    wanted = bits if samples is None else samples
    images, channels_last = images_memory(bits, wanted, layout, dtype, out)
    placed = device_layout(queue.cuda, layout, bits.device, channels_last)
    parameters = None
    if formula is not None:
        if formula.library_size is not None:
            raise InputError("fold: packed genotypes cannot be scaled to a library size")
        parameters = device_parameters(queue.cuda, formula, placed, bits.device, False).parameters
    codes = np.asarray(values, dtype=np.float32)
    rows = queue.cuda.PackedRows(bits.data_ptr(), wanted.shape[0], n_features, bits.stride(0))
    scratch = None
    if placed.feature is not None or not placed.one_to_one:
        scratch = torch.empty(rows.scratch, dtype=torch.int32, device=bits.device)
    where = (address(scratch), queue.ordinal, queue.stream, address(samples))
    if placed.one_to_one:
        planes = _planes(queue, placed, parameters, formula, codes, dtype)
        queue.cuda.fold_packed(rows, placed.slots, address(planes), images.element_size(), address(images), *where)
    else:
        planes = _planes(queue, placed, parameters, formula, codes, "float32")
        queue.cuda.fold_packed_means(rows, placed.slots, address(planes), address(images), dtype, *where)
    return images


def unfold_tensor(images: Any, layout: Layout) -> Any:
    """:func:`pixfold.unfold` of a tensor on a CUDA device."""
    import torch

    x = on_device.usable("unfold", "images", images)
    if x.dim() != 4 or tuple(x.shape[1:]) != layout.shape:
        raise InputError(
            f"unfold: images must have shape (n_samples, {', '.join(map(str, layout.shape))}), got {tuple(x.shape)}"
        )
    queue = on_device.queue_of("unfold", "images", x)
    channels_last = not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
    if not channels_last:
        x = x.contiguous()
    placed = device_layout(queue.cuda, layout, x.device, channels_last)
    features = torch.empty((x.shape[0], layout.n_features), dtype=x.dtype, device=x.device)
    queue.cuda.unfold(
        address(x),
        address(features),
        x.element_size(),
        x.shape[0],
        layout.n_features,
        layout.n_pixels,
        address(placed.pixel_of_feature),
        queue.ordinal,
        queue.stream,
    )
    return features


def check_folds(normalizer: Fitted) -> None:
    """Wait for the device and look at what folds with this normaliser have met since the last look.

    Raises
    ------
    InputError
        For missing or negative values that the normaliser refuses, and for sparse indices out of range. Both come to
        one error for all folds; :meth:`pixfold.Normalizer.check` says of one array which features they are in.
    """
    formula = normalizer.parameters()
    totals = np.zeros(3, dtype=np.int64)
    for counts in counters(formula):
        totals += counts.cpu().numpy()
        counts.zero_()
    missing, negative, outside = (int(total) for total in totals)
    if outside > 0:
        raise InputError(f"fold: indices of sparse X must be below its number of features, got {outside} that are not")
    if missing > 0 and formula.accepted.refuses(missing, 0):
        raise InputError(
            f"fold: X must have no missing values, got {missing} NaN; missing='mean' or missing='zero' handles them"
        )
    if negative > 0 and formula.accepted.refuses(0, negative):
        raise InputError(
            f"fold: X must not be negative where a logarithm is taken, got {counted(negative, 'negative value')}; "
            "negative='shift' handles them"
        )


def images_memory(given: Any, x: Any, layout: Layout, dtype: str, out: Any) -> tuple[Any, bool]:
    """Memory for the images, and whether it is channels-last."""
    import torch

    shape = (x.shape[0], *layout.shape)
    kind = getattr(torch, dtype)
    if out is None or isinstance(out, ImagePool):  # torch has a pool of its own
        return torch.empty(shape, dtype=kind, device=x.device), False
    if not is_torch(out):
        raise TypeError(f"fold: out must be a tensor on {x.device} for such X, got {type(out).__name__}")
    dense = out.layout == torch.strided and not out.requires_grad
    channels_last = dense and not out.is_contiguous() and out.is_contiguous(memory_format=torch.channels_last)
    if tuple(out.shape) != shape or out.dtype != kind or out.device != x.device or not dense:
        raise InputError(
            f"fold: out must be a {dtype} tensor of shape {shape} on {x.device}, got "
            f"{on_device.type_name(out.dtype)} of shape {tuple(out.shape)} on {out.device}"
        )
    if not out.is_contiguous() and not channels_last:
        raise InputError(f"fold: out must be contiguous, or so in channels_last format, got strides {out.stride()}")
    if any(_overlap(out, part) for part in _memory_of(given)):
        raise InputError("fold: out must not overlap X in memory")
    return out, channels_last


def _memory_of(x: Any) -> list[Any]:
    return [x.values(), x.col_indices(), x.crow_indices()] if on_device.is_csr(x) else [x]


def _overlap(a: Any, b: Any) -> bool:
    first, end = _span(a)
    other, other_end = _span(b)
    return first < other_end and other < end


def _span(x: Any) -> tuple[int, int]:
    """Addresses from a tensor's first element to behind its last one."""
    if x.numel() == 0:
        return 0, 0
    last = sum((n - 1) * stride for n, stride in zip(x.shape, x.stride(), strict=True))
    return x.data_ptr(), x.data_ptr() + (last + 1) * x.element_size()


def background_image(
    queue: on_device.Queue, placed: DeviceLayout, parameters: Any, formula: Formula | None, name: str, dtype: str
) -> Any:
    """The image of an all-zero sample: one zero, seen everywhere."""
    import torch

    def make() -> Any:
        zero = torch.zeros(8, dtype=torch.uint8, device=queue.device)
        image = torch.empty(placed.n_pixels, dtype=getattr(torch, dtype), device=queue.device)
        sample = queue.cuda.Samples(zero.data_ptr(), name, 1, placed.n_features, 0, 0)
        queue.cuda.fold_dense(
            sample, placed.slots, parameters, 0, address(image), dtype, 0, queue.ordinal, queue.stream
        )
        return image

    return _kept_with(placed, formula, ("background", name, dtype), make)


def _planes(
    queue: on_device.Queue,
    placed: DeviceLayout,
    parameters: Any,
    formula: Formula | None,
    values: Any,
    dtype: str,
) -> Any:
    """What each code becomes at each pixel: images of four samples, each of one code at every feature.

    At each slot where several are on a pixel, as if it were a pixel of its own.
    """
    import torch

    def make() -> Any:
        codes = to_device(values, queue.device)
        slots, n_pixels = placed.slots, placed.n_pixels
        if not placed.one_to_one:
            n_pixels = placed.n_slots
            slots = queue.cuda.Slots(address(placed.feature), 0, n_pixels, n_pixels, True)
        images = torch.empty((4, n_pixels), dtype=getattr(torch, dtype), device=queue.device)
        samples = queue.cuda.Samples(codes.data_ptr(), "float32", 4, placed.n_features, 4, 0)
        queue.cuda.fold_dense(samples, slots, parameters, 0, address(images), dtype, 0, queue.ordinal, queue.stream)
        return images

    return _kept_with(placed, formula, ("planes", values.tobytes(), dtype), make)


def _kept_with(placed: DeviceLayout, formula: Formula | None, key: Any, make: Callable[[], Any]) -> Any:
    """Keep what kernels made of a layout and a normaliser, as long as these are the ones in use."""
    if formula is None:
        return keep(placed, key, make)
    # Holding the layout, whose number stands for it.
    return keep(formula, (id(placed), *key), lambda: (placed, make()))[1]
