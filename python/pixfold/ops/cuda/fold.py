"""fold and unfold on CUDA devices: torch's memory, the current stream, and no waiting for the device.

Of the folds of one layout and normaliser the first one copies them to the device and waits for that; all later ones
only queue kernels, and can be captured into a CUDA graph.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pixfold.arrays.cuda import CsrOnCuda, OnCuda, Queue, queue_of, wait_for
from pixfold.arrays.dense import computes_in_double, type_name
from pixfold.arrays.interop import TORCH
from pixfold.errors import InputError
from pixfold.image_pool import ImagePool
from pixfold.ops.arguments import formula_of
from pixfold.ops.cuda.fold_plan import remember
from pixfold.ops.cuda.placed import (
    DeviceLayout,
    counters,
    device_counts,
    device_layout,
    device_parameters,
    keep,
    to_device,
)
from pixfold.ops.cuda.stats import row_sums_on_cuda
from pixfold.util.optional import is_torch
from pixfold.util.text import counted

if TYPE_CHECKING:
    from pixfold.formula import Fitted, Formula
    from pixfold.layout import Layout


def fold_on_cuda(x: OnCuda | CsrOnCuda, layout: Layout, formula: Formula | None, dtype: str, out: Any) -> Any:
    """:func:`pixfold.fold` of samples of the layout's features; `out` is a tensor, or what stands for new memory.

    It never waits for the device, and so cannot raise for values that the normaliser refuses. Under
    ``missing="error"`` missing values come out as NaN; of negative values that a logarithm is not to see, those below
    -1 do. :func:`check_folds` raises for both.
    """
    queue = x.queue
    t = x.tensor
    sources = [t] if isinstance(x, OnCuda) else [t.values(), t.col_indices(), t.crow_indices()]
    images = images_memory(queue, sources, (x.shape[0], *layout.shape), dtype, out)
    placed = device_layout(queue, layout, images.channels_last)
    parameters = row_scale = counts = None
    if formula is not None:
        parameters = device_parameters(queue, formula, placed, computes_in_double(x.dtype))
        counts = device_counts(queue, formula)
        if isinstance(x, OnCuda) and formula.library_size is not None:
            size = formula.library_size
            if queue.kernels.fold_dense_library(t, placed.slots, parameters, size, images.memory, counts, queue.stream):
                return images.tensor
        row_scale = row_scale_on_cuda(x, formula)
    if isinstance(x, OnCuda):
        queue.kernels.fold_dense(t, placed.slots, parameters, row_scale, images.memory, counts, queue.stream)
        if row_scale is None and not images.channels_last and x.library is TORCH:
            remember(queue, t, layout, formula, dtype, (placed.slots, parameters, images.memory, counts))
        return images.tensor
    if formula is not None and row_scale is not None and formula.offset.any():
        raise InputError(
            "fold: a library size and an offset cannot be combined for sparse X: a zero would differ per sample"
        )
    background = background_image(queue, placed, parameters, formula, x.values.dtype, dtype)
    queue.kernels.fold_csr(x.rows, placed.slots, parameters, row_scale, images.memory, background, counts, queue.stream)
    return images.tensor


def row_scale_on_cuda(x: OnCuda | CsrOnCuda, formula: Formula) -> Any:
    """library_size over each sample's sum (0 for a sum that is not positive), None without one; nothing waits."""
    import torch

    size = formula.library_size
    if size is None:
        return None
    sums = row_sums_on_cuda(x)
    # A number over a tensor would be its reciprocal times the number, rounded twice.
    return torch.where(sums > 0, torch.tensor(size, dtype=torch.float64) / sums, 0.0)


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
    by_slot: bool = False,
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
    by_slot : bool
        Genotype k of a row is feature ``layout.slot_feature[k]``: those that have a pixel, in the order of the pixels.

    Returns
    -------
    images : CUDA tensor (n_samples, channels, height, width)
    """
    import torch

    queue = queue_of("fold", "bits", bits.device)
    width = -(-n_features // 4)
    if bits.dtype != torch.uint8 or bits.dim() != 2 or bits.shape[1] != width or (bits.stride(1) != 1 and width > 1):
        raise InputError(
            f"fold: bits must be uint8 rows of {width} contiguous bytes, got {type_name(bits.dtype)} of "
            f"shape {tuple(bits.shape)}"
        )
    expected = layout.slot_feature.size if by_slot else layout.n_features
    if expected != n_features:
        raise InputError(f"fold: layout must have {n_features} features, got {expected}")
    n_samples = bits.shape[0] if samples is None else samples.numel()
    images = images_memory(queue, [bits], (n_samples, *layout.shape), dtype, out)
    placed = device_layout(queue, layout, images.channels_last, by_slot)
    parameters = None
    if formula is not None:
        if formula.library_size is not None:
            raise InputError("fold: normalizer must have no library size for packed genotypes, got one")
        parameters = device_parameters(queue, formula, placed, False)
    codes = np.asarray(values, dtype=np.float32)
    if placed.slots.one_to_one:
        planes = _planes(queue, placed, parameters, formula, codes, dtype)
        queue.kernels.fold_packed(bits, placed.slots, planes, images.memory, queue.stream, samples)
    else:
        planes = _planes(queue, placed, parameters, formula, codes, "float32")
        queue.kernels.fold_packed_means(bits, placed.slots, planes, images.memory, queue.stream, samples)
    return images.tensor


def unfold_on_cuda(x: OnCuda, layout: Layout) -> Any:
    """:func:`pixfold.unfold` of images of the layout's shape."""
    import torch

    images = x.tensor
    channels_last = not images.is_contiguous() and images.is_contiguous(memory_format=torch.channels_last)
    if not channels_last:
        images = images.contiguous()
    placed = device_layout(x.queue, layout, channels_last)
    features = torch.empty((images.shape[0], layout.n_features), dtype=images.dtype, device=images.device)
    x.queue.kernels.unfold(as_it_lies(images, channels_last), placed.slots, features, x.queue.stream)
    return features


def check_folds(normalizer: Fitted) -> None:
    """Wait for all devices on which there were folds with this normaliser, and look at what these have met.

    All streams are waited for. What was raised, or seen, once is not raised again.

    Raises
    ------
    InputError
        For missing or negative values that the normaliser refuses, and for sparse indices out of range. All folds since
        the last look come to one error; :meth:`pixfold.Normalizer.check` says of one array which features they are in.
    """
    formula = formula_of("check_folds", normalizer)
    if formula is None:
        return
    totals = np.zeros(3, dtype=np.int64)
    for counter in counters(formula):
        wait_for(counter.counts.device)
        totals += counter.new()
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


class ImagesMemory(NamedTuple):
    """Where images go: the caller's tensor, the same memory in the order in which it lies, and which order that is."""

    tensor: Any
    memory: Any
    channels_last: bool


def as_it_lies(images: Any, channels_last: bool) -> Any:
    """Images in the order in which they lie in memory."""
    return images.permute(0, 2, 3, 1) if channels_last else images


def images_memory(queue: Queue, sources: list[Any], shape: tuple[int, ...], dtype: str, out: Any) -> ImagesMemory:
    """Find or make the memory of images that are folded from `sources`."""
    import torch

    kind = getattr(torch, dtype)
    if out is None or isinstance(out, ImagePool):  # torch has a pool of its own
        images = torch.empty(shape, dtype=kind, device=queue.device)
        return ImagesMemory(images, images, False)
    if not is_torch(out):
        raise TypeError(f"fold: out must be a tensor on {queue.device} for such X, got {type(out).__name__}")
    dense = out.layout == torch.strided and not out.requires_grad
    channels_last = dense and not out.is_contiguous() and out.is_contiguous(memory_format=torch.channels_last)
    if tuple(out.shape) != shape or out.dtype != kind or out.device != queue.device or not dense:
        raise InputError(
            f"fold: out must be a {dtype} tensor of shape {shape} on {queue.device}, got "
            f"{type_name(out.dtype)} of shape {tuple(out.shape)} on {out.device}"
        )
    if not out.is_contiguous() and not channels_last:
        raise InputError(f"fold: out must be contiguous, or so in channels_last format, got strides {out.stride()}")
    if any(_overlap(out, source) for source in sources):
        raise InputError("fold: out must not overlap X in memory, got one that does")
    return ImagesMemory(out, as_it_lies(out, channels_last), channels_last)


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
    queue: Queue, placed: DeviceLayout, parameters: Any, formula: Formula | None, values_type: Any, dtype: str
) -> Any:
    """The image of an all-zero sample: one zero, seen everywhere. None where it is 0."""
    import torch

    def make() -> Any:
        zero = torch.zeros(8, dtype=torch.uint8, device=queue.device).view(values_type)[:1]
        zeros = zero.expand(1, placed.slots.n_features)
        image = torch.empty((1, placed.slots.n_pixels), dtype=getattr(torch, dtype), device=queue.device)
        queue.kernels.fold_dense(zeros, placed.slots, parameters, None, image, None, queue.stream)
        bits = image.view(torch.int32 if image.element_size() == 4 else torch.int16)  # -0 is not 0
        return image if bool(bits.any()) else None

    return _kept_with(queue, placed, formula, ("background", values_type, dtype), make)


def _planes(
    queue: Queue, placed: DeviceLayout, parameters: Any, formula: Formula | None, values: Any, dtype: str
) -> Any:
    """What each code becomes at each pixel: images of four samples, each of one code at every feature.

    At each slot where several are on a pixel, as if it were a pixel of its own.
    """
    import torch

    def make() -> Any:
        codes = to_device(values, queue.device)[:, None].expand(4, placed.slots.n_features)
        slots = placed.slots if placed.slots.one_to_one else placed.slots.apart()
        images = torch.empty((4, slots.n_pixels), dtype=getattr(torch, dtype), device=queue.device)
        queue.kernels.fold_dense(codes, slots, parameters, None, images, None, queue.stream)
        return images

    return _kept_with(queue, placed, formula, ("planes", values.tobytes(), dtype), make)


def _kept_with(queue: Queue, placed: DeviceLayout, formula: Formula | None, key: Any, make: Callable[[], Any]) -> Any:
    """Keep an image that kernels made of a layout and a normaliser, as long as these are the ones in use."""

    def made() -> tuple[Any, list[Any]]:
        image = make()
        kept = image if formula is None else (image, placed)  # holding the layout, whose number stands for it
        return (kept,), [] if image is None else [image]

    if formula is None:
        return keep(queue, placed, key, made)[0]
    return keep(queue, formula, (id(placed), *key), made)[0][0]
