"""The ops for tensors on CUDA devices: torch's memory, the current stream, and no waiting for the device.

:func:`pixfold.fold` and :func:`pixfold.unfold` come here by themselves. Of the folds of one layout and normaliser the
first one copies them to the device and waits for that; all later ones only queue kernels, and can be captured into a
CUDA graph.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pixfold._cuda_extension import extension
from pixfold._words import counted
from pixfold.errors import InputError
from pixfold.memory import ImagePool
from pixfold.ops._arrays import is_torch
from pixfold.ops._cuda_plans import (
    DeviceLayout,
    address,
    counters,
    device_counts,
    device_layout,
    device_parameters,
    keep,
    to_device,
)

if TYPE_CHECKING:
    from pixfold.layout import Layout
    from pixfold.normalize import Normalizer

_IN_DOUBLE = ("float64", "int32", "uint32", "int64", "uint64")


class _Queue(NamedTuple):
    """Where kernels are queued: the extension, the tensor's device and the stream that is current on it."""

    cuda: Any
    device: Any
    ordinal: int
    stream: int


def _queue(op: str, argument: str, x: Any) -> _Queue:
    import torch

    index = x.device.index or 0
    cuda = extension(op, argument, index)
    return _Queue(cuda, x.device, index, torch.cuda.current_stream(x.device).cuda_stream)


def fold_tensor(X: Any, layout: Layout, normalizer: Normalizer | None, dtype: str, out: Any) -> Any:
    """:func:`pixfold.fold` of a dense or sparse CSR tensor on a CUDA device.

    It never waits for the device, and so cannot raise for values that the normaliser refuses. Under
    ``missing="error"`` missing values come out as NaN; of negative values that a logarithm is not to see, those below
    -1 do. :func:`check_folds` raises for both.
    """
    x = _usable("fold", "X", X)
    if x.dim() != 2:
        raise InputError(f"fold: X must be two-dimensional (n_samples, n_features), got shape {tuple(x.shape)}")
    if x.shape[1] != layout.n_features:
        raise InputError(
            f"fold: X must have the layout's {layout.n_features} features, got {x.shape[1]} (shape {tuple(x.shape)})"
        )
    queue = _queue("fold", "X", x)
    images, channels_last = _images(X, x, layout, dtype, out)
    placed = device_layout(queue.cuda, layout, x.device, channels_last)
    sparse = _is_csr(x)
    name = _name((x.values() if sparse else x).dtype)
    parameters = row_scale = counts = None
    if normalizer is not None:
        parameters = device_parameters(queue.cuda, normalizer, placed, x.device, name in _IN_DOUBLE).parameters
        counts = device_counts(normalizer, x.device)
        row_scale = _row_scale(x, normalizer)
    if sparse:
        if normalizer is not None and row_scale is not None and normalizer.parameters().offset.any():
            raise InputError(
                "fold: a library size and an offset cannot be combined for sparse X: a zero would differ per sample"
            )
        rows = _rows(queue.cuda, x, name)
        background = _background(queue, placed, parameters, normalizer, name, dtype)
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
        size = x.element_size()
        samples = queue.cuda.Samples(x.data_ptr(), name, *x.shape, x.stride(0) * size, x.stride(1) * size)
        queue.cuda.fold_dense(
            samples,
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
    normalizer: Normalizer | None = None,
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
        With one feature per pixel.
    normalizer : Normalizer, optional
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

    queue = _queue("fold", "bits", bits)
    width = -(-n_features // 4)
    if bits.dtype != torch.uint8 or bits.dim() != 2 or bits.shape[1] != width or (bits.stride(1) != 1 and width > 1):
        raise InputError(
            f"fold: bits must be uint8 rows of {width} contiguous bytes, got {_name(bits.dtype)} of shape "
            f"{tuple(bits.shape)}"
        )
    if layout.n_features != n_features or not layout.is_one_to_one:
        raise InputError(
            f"fold: layout must have one feature per pixel and {n_features} features, got {layout.n_features} features"
        )
    wanted = bits if samples is None else samples
    images, channels_last = _images(bits, wanted, layout, dtype, out)
    placed = device_layout(queue.cuda, layout, bits.device, channels_last)
    parameters = None
    if normalizer is not None:
        if normalizer.parts.library_size is not None:
            raise InputError("fold: packed genotypes cannot be scaled to a library size")
        parameters = device_parameters(queue.cuda, normalizer, placed, bits.device, False).parameters
    planes = _planes(queue, placed, parameters, normalizer, np.asarray(values, dtype=np.float32), dtype)
    rows = queue.cuda.PackedRows(bits.data_ptr(), wanted.shape[0], n_features, bits.stride(0))
    scratch = None
    if placed.feature is not None:
        scratch = torch.empty(rows.scratch, dtype=torch.int32, device=bits.device)
    queue.cuda.fold_packed(
        rows,
        placed.slots,
        address(planes),
        images.element_size(),
        address(images),
        address(scratch),
        queue.ordinal,
        queue.stream,
        address(samples),
    )
    return images


def unfold_tensor(images: Any, layout: Layout) -> Any:
    """:func:`pixfold.unfold` of a tensor on a CUDA device."""
    import torch

    x = _usable("unfold", "images", images)
    if x.dim() != 4 or tuple(x.shape[1:]) != layout.shape:
        raise InputError(
            f"unfold: images must have shape (n_samples, {', '.join(map(str, layout.shape))}), got {tuple(x.shape)}"
        )
    queue = _queue("unfold", "images", x)
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


def check_folds(normalizer: Normalizer) -> None:
    """Wait for the device and look at what folds with this normaliser have met since the last look.

    Raises
    ------
    InputError
        For missing or negative values that the normaliser refuses, and for sparse indices out of range. Both come to
        one error for all folds; :meth:`pixfold.Normalizer.check` says of one array which features they are in.
    """
    totals = np.zeros(3, dtype=np.int64)
    for counts in counters(normalizer):
        totals += counts.cpu().numpy()
        counts.zero_()
    missing, negative, outside = (int(total) for total in totals)
    if outside > 0:
        raise InputError(f"fold: indices of sparse X must be below its number of features, got {outside} that are not")
    if missing > 0 and normalizer.refuses(missing, 0):
        raise InputError(
            f"fold: X must have no missing values, got {missing} NaN; missing='mean' or missing='zero' handles them"
        )
    if negative > 0 and normalizer.refuses(0, negative):
        raise InputError(
            f"fold: X must not be negative where a logarithm is taken, got {counted(negative, 'negative value')}; "
            "negative='shift' handles them"
        )


def _usable(op: str, argument: str, x: Any) -> Any:
    import torch

    if x.requires_grad and torch.is_grad_enabled():
        raise InputError(
            f"{op}: {argument} requires a gradient, which this op does not propagate: pass {argument}.detach()"
        )
    if x.layout != torch.strided and not _is_csr(x):
        raise InputError(f"{op}: {argument} must be a dense or sparse CSR tensor, got layout {x.layout}")
    if x.dtype.is_complex or x.is_quantized:
        raise TypeError(f"{op}: {argument} must be of a real dtype, got {x.dtype}")
    x = x.detach()
    if x.layout != torch.strided:
        return x
    if x.data_ptr() % x.element_size() != 0:
        raise InputError(f"{op}: {argument} must be aligned to its elements, got address {x.data_ptr():#x}")
    return x.resolve_neg()


def _is_csr(x: Any) -> bool:
    import torch

    return bool(x.layout == torch.sparse_csr)


def _name(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")


def _images(given: Any, x: Any, layout: Layout, dtype: str, out: Any) -> tuple[Any, bool]:
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
            f"fold: out must be a {dtype} tensor of shape {shape} on {x.device}, got {_name(out.dtype)} of shape "
            f"{tuple(out.shape)} on {out.device}"
        )
    if not out.is_contiguous() and not channels_last:
        raise InputError(f"fold: out must be contiguous, or so in channels_last format, got strides {out.stride()}")
    if any(_overlap(out, part) for part in _memory_of(given)):
        raise InputError("fold: out must not overlap X in memory")
    return out, channels_last


def _memory_of(x: Any) -> list[Any]:
    return [x.values(), x.col_indices(), x.crow_indices()] if _is_csr(x) else [x]


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


def _row_scale(x: Any, normalizer: Normalizer) -> Any:
    """library_size over each sample's sum (0 for a sum that is not positive), None without a library size."""
    import torch

    size = normalizer.parts.library_size
    if size is None:
        return None
    if _is_csr(x):
        values = x.values().double()
        sums = torch.segment_reduce(
            torch.where(values.isnan(), 0.0, values), "sum", offsets=x.crow_indices().long(), initial=0.0
        )
    else:
        # Of torch's unsigned integers, only the smallest can be added up.
        x = x.double() if _name(x.dtype) in ("uint16", "uint32", "uint64") else x
        sums = torch.nansum(x, dim=1, dtype=torch.float64)
    return torch.where(sums > 0, size / sums, 0.0)


class _Rows(NamedTuple):
    """Sparse rows for the kernels, and the memory that they are in."""

    view: Any
    parts: tuple[Any, ...]


def _rows(cuda: Any, x: Any, name: str) -> _Rows:
    values, indices, starts = x.values().contiguous(), x.col_indices().contiguous(), x.crow_indices().long()
    if os.environ.get("PIXFOLD_CHECK") == "1":
        _check_rows(indices, starts, x.shape[1])
    wide = indices.element_size() == 8
    view = cuda.CsrRows(address(values), name, address(indices), wide, address(starts), *x.shape)
    return _Rows(view, (values, indices, starts))


def _check_rows(indices: Any, starts: Any, n_features: int) -> None:
    """Look at every index, as the CPU's kernels always do; this waits for the device."""
    import torch

    row = torch.repeat_interleave(torch.arange(starts.numel() - 1, device=starts.device), starts.diff())
    in_range = (indices >= 0) & (indices < n_features)
    rising = (indices[1:] > indices[:-1]) | (row[1:] != row[:-1])
    if not bool(in_range.all()) or not bool(rising.all()):
        raise InputError(f"fold: indices of each row of sparse X must rise within [0, {n_features}), got others")


def _background(
    queue: _Queue, placed: DeviceLayout, parameters: Any, normalizer: Normalizer | None, name: str, dtype: str
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

    return _kept_with(placed, normalizer, ("background", name, dtype), make)


def _planes(
    queue: _Queue, placed: DeviceLayout, parameters: Any, normalizer: Normalizer | None, values: Any, dtype: str
) -> Any:
    """What each code becomes at each pixel: images of four samples, each of one code at every feature."""
    import torch

    def make() -> Any:
        codes = to_device(values, queue.device)
        images = torch.empty((4, placed.n_pixels), dtype=getattr(torch, dtype), device=queue.device)
        samples = queue.cuda.Samples(codes.data_ptr(), "float32", 4, placed.n_features, 4, 0)
        queue.cuda.fold_dense(
            samples, placed.slots, parameters, 0, address(images), dtype, 0, queue.ordinal, queue.stream
        )
        return images

    return _kept_with(placed, normalizer, ("planes", values.tobytes(), dtype), make)


def _kept_with(placed: DeviceLayout, normalizer: Normalizer | None, key: Any, make: Callable[[], Any]) -> Any:
    """Keep what kernels made of a layout and a normaliser, as long as these are the ones in use."""
    if normalizer is None:
        return keep(placed, key, make)
    # Holding the layout, whose number stands for it.
    return keep(normalizer.parameters(), (id(placed), *key), lambda: (placed, make()))[1]
