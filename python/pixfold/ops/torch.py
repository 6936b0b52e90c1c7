"""fold, unfold and aggregate as ops of torch: ``torch.ops.pixfold``, with gradients, for torch.compile and export.

Importing this module registers them; :func:`pixfold.fold` and :func:`pixfold.unfold` do so when they first meet a
tensor that needs them, and are the way to use them. What the ops take in place of a layout and a normaliser is the
name of the two (:mod:`pixfold.ops.named_folds`).

================================================================ ====================================================
fold(Tensor x, str name, ScalarType dtype, int threads)          images (n, C, H, W); differentiable
fold_gradient(Tensor gradient, Tensor x, str name, int threads)  its adjoint, (n, F); not differentiable again
unfold(Tensor images, str name, int threads)                     features (n, F); differentiable, any number of times
unfold_gradient(Tensor gradient, str name, int threads)          its adjoint, (n, C, H, W)
aggregate_(Tensor(a!) count, Tensor(b!) moments, ...)            adds a batch of attributions to running moments
================================================================ ====================================================

`threads` is 0 for the default; CUDA devices, which all of them run on, have no use for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pixfold.arrays.cuda import OnCuda
from pixfold.arrays.dense import check_device
from pixfold.errors import InputError
from pixfold.formula import Fitted
from pixfold.ops import gradients
from pixfold.ops.aggregate import advanced, attributions_of, labels_and_marks
from pixfold.ops.arguments import dtype_name
from pixfold.ops.cuda.aggregate import aggregated_in_place
from pixfold.ops.fold_samples import fold_into_fresh, unfold_images
from pixfold.ops.named_folds import fold_named, named_fold
from pixfold.util.arguments import threads_argument

if TYPE_CHECKING:
    from pixfold.layout import Layout


@torch.library.custom_op("pixfold::fold", mutates_args=(), device_types=("cpu", "cuda"))
def fold_op(x: Tensor, name: str, dtype: torch.dtype, threads: int = 0) -> Tensor:
    """Fold `x` with the layout and the normaliser of that name."""
    named = fold_named("fold", name)
    images: Tensor = fold_into_fresh(
        x.detach(), named.layout, named.formula, dtype=dtype, out=None, threads=threads or None
    )
    return images


@fold_op.register_fake
def _(x: Tensor, name: str, dtype: torch.dtype, threads: int = 0) -> Tensor:
    layout = fold_named("fold", name).layout
    _check("fold", "X", x, (None, layout.n_features))
    return x.new_empty((x.shape[0], *layout.shape), dtype=dtype)


@torch.library.custom_op("pixfold::fold_gradient", mutates_args=(), device_types=("cpu", "cuda"))
def fold_gradient_op(gradient: Tensor, x: Tensor, name: str, threads: int = 0) -> Tensor:
    """Bring a gradient of images back to the samples."""
    named = fold_named("fold_gradient", name)
    found: Tensor = gradients.fold_gradient(
        gradient.detach(), x.detach(), named.layout, named.formula, threads=threads or None
    )
    return found


@fold_gradient_op.register_fake
def _(gradient: Tensor, x: Tensor, name: str, threads: int = 0) -> Tensor:
    layout = fold_named("fold_gradient", name).layout
    _check("fold_gradient", "X", x, (None, layout.n_features))
    _check("fold_gradient", "gradient", gradient, (x.shape[0], *layout.shape))
    return x.new_empty(x.shape)


@torch.library.custom_op("pixfold::unfold", mutates_args=(), device_types=("cpu", "cuda"))
def unfold_op(images: Tensor, name: str, threads: int = 0) -> Tensor:
    """Read each feature's pixel."""
    features: Tensor = unfold_images(images.detach(), fold_named("unfold", name).layout, threads)
    return features


@unfold_op.register_fake
def _(images: Tensor, name: str, threads: int = 0) -> Tensor:
    layout = fold_named("unfold", name).layout
    _check("unfold", "images", images, (None, *layout.shape))
    return images.new_empty((images.shape[0], layout.n_features))


@torch.library.custom_op("pixfold::unfold_gradient", mutates_args=(), device_types=("cpu", "cuda"))
def unfold_gradient_op(gradient: Tensor, name: str, threads: int = 0) -> Tensor:
    """Bring a gradient of features back to the pixels."""
    layout = fold_named("unfold_gradient", name).layout
    found: Tensor = gradients.unfold_gradient(gradient.detach(), layout, threads=threads or None)
    return found


@unfold_gradient_op.register_fake
def _(gradient: Tensor, name: str, threads: int = 0) -> Tensor:
    layout = fold_named("unfold_gradient", name).layout
    _check("unfold_gradient", "gradient", gradient, (None, layout.n_features))
    return gradient.new_empty((gradient.shape[0], *layout.shape))


@torch.library.custom_op("pixfold::aggregate_", mutates_args=("count", "moments"), device_types=("cpu", "cuda"))
def aggregate_op(
    count: Tensor,
    moments: Tensor,
    attributions: Tensor,
    labels: Tensor,
    keep: Tensor | None = None,
    threads: int = 0,
) -> None:
    """Add a batch to running moments in place; a batch that is refused changes nothing.

    Parameters
    ----------
    count : int64 tensor (n_classes,)
        Samples of each class so far; changed. Beside moments on a CUDA device it may be on the CPU, where looking at it
        waits for nothing.
    moments : float64 tensor (n_classes, 3, n_pixels)
        Mean, sum of squared differences from it and mean absolute value of each pixel; changed. Not read for a class
        without samples.
    attributions : tensor (n_samples, channels, height, width)
        float16, bfloat16, float32 or float64, where `moments` are. Channels are summed where moments have the pixels
        of one.
    labels : integer tensor (n_samples,)
        Class of each sample.
    keep : bool tensor (n_samples,), optional
        Samples that count; the others are not read.
    threads : int
        The result's bits do not depend on it.

    Raises
    ------
    InputError
        As :meth:`pixfold.AttributionAccumulator.update`, which has the same semantics.
    """
    n_summed = _check_moments(count, moments, attributions)
    for name, tensor in (("count", count), ("moments", moments)):
        if not tensor.is_contiguous():
            raise InputError(f"aggregate_: {name} must be contiguous, got strides {tensor.stride()}")
    images = attributions_of(attributions.detach())
    if isinstance(images, OnCuda):
        there = labels_and_marks(images.queue, labels, keep, images.shape[0], count.shape[0])
        aggregated_in_place(images, n_summed == images.shape[1], *there, count, moments)
        return
    classes, added, after = advanced(
        images, n_summed, moments.shape[2], labels, keep, count.numpy(), moments.numpy(), [], threads
    )
    for k, found in zip(classes, after, strict=True):
        moments[int(k)].copy_(torch.from_numpy(found))
    count += torch.from_numpy(added)


@aggregate_op.register_fake
def _(
    count: Tensor,
    moments: Tensor,
    attributions: Tensor,
    labels: Tensor,
    keep: Tensor | None = None,
    threads: int = 0,
) -> None:
    _check_moments(count, moments, attributions)


def _check_moments(count: Tensor, moments: Tensor, attributions: Tensor) -> int:
    """Check what state and batch must have in common; return how many channels become one."""
    if count.dim() != 1 or count.dtype != torch.int64:
        raise InputError(f"aggregate_: count must be int64 of shape (n_classes,), got {_described(count)}")
    if moments.dim() != 3 or moments.dtype != torch.float64 or moments.shape[:2] != (count.shape[0], 3):
        raise InputError(
            f"aggregate_: moments must be float64 of shape ({count.shape[0]}, 3, n_pixels), got {_described(moments)}"
        )
    if attributions.dim() != 4 or attributions.shape[1] < 1:
        raise InputError(
            "aggregate_: attributions must have shape (n_samples, channels, height, width), "
            f"got {_described(attributions)}"
        )
    if attributions.device != moments.device or count.device not in (moments.device, torch.device("cpu")):
        raise InputError(
            f"aggregate_: attributions and count must be where moments are, got {attributions.device} and "
            f"{count.device} beside {moments.device}"
        )
    channels, height, width = attributions.shape[1:]
    if moments.shape[2] == channels * height * width:
        return 1
    if moments.shape[2] == height * width:
        return int(channels)
    raise InputError(
        f"aggregate_: attributions must have the moments' {moments.shape[2]} pixels, got {_described(attributions)}"
    )


def _check(op: str, argument: str, x: Tensor, sizes: tuple[int | None, ...]) -> None:
    if x.dim() != len(sizes) or any(n is not None and m != n for m, n in zip(x.shape, sizes, strict=True)):
        shape = ", ".join("n_samples" if n is None else str(n) for n in sizes)
        raise InputError(f"{op}: {argument} must have shape ({shape}), got {_described(x)}")


def _described(x: Tensor) -> str:
    return f"{str(x.dtype).removeprefix('torch.')} of shape {tuple(x.shape)}"


def _keep_for_fold(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, ctx.name, _, ctx.threads = inputs
    ctx.named = fold_named("fold", ctx.name)  # keeps it alive until the gradient was taken
    ctx.save_for_backward(x)


def _backward_of_fold(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
    (x,) = ctx.saved_tensors
    return fold_gradient_op(gradient, x, ctx.name, ctx.threads), None, None, None


def _backward_of_fold_gradient(ctx: Any, gradient: Tensor) -> Any:
    raise InputError(
        "fold: its gradient must not be differentiated again, got a second derivative (create_graph=True): "
        "pass X.detach(), or normalise with torch's own functions"
    )


def _keep_for_unfold(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, ctx.name, ctx.threads = inputs
    ctx.named = fold_named("unfold", ctx.name)


def _backward_of_unfold(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
    return unfold_gradient_op(gradient, ctx.name, ctx.threads), None, None


def _backward_of_unfold_gradient(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
    return unfold_op(gradient, ctx.name, ctx.threads), None, None


fold_op.register_autograd(_backward_of_fold, setup_context=_keep_for_fold)
fold_gradient_op.register_autograd(_backward_of_fold_gradient)
unfold_op.register_autograd(_backward_of_unfold, setup_context=_keep_for_unfold)
unfold_gradient_op.register_autograd(_backward_of_unfold_gradient, setup_context=_keep_for_unfold)


# What pixfold.fold and pixfold.unfold call.


def _usable(op: str, argument: str, x: Tensor) -> None:
    if not x.is_cuda:
        check_device(op, argument, x)


def fold_tensor(
    X: Tensor, layout: Layout, normalizer: Fitted | None, dtype: Any, out: Any, threads: int | None
) -> Tensor:
    """:func:`pixfold.fold` of a dense tensor through the dispatcher: differentiable, and a node of compiled graphs."""
    if out is not None:
        raise InputError(f"fold: out must be None where X requires a gradient or is compiled, got {type(out).__name__}")
    _usable("fold", "X", X)
    learned = normalizer.learned if isinstance(normalizer, Fitted) else None
    name, torch_dtype, n_threads = _fold_arguments(layout, normalizer, learned, dtype, threads)
    images: Tensor = fold_op(X, name, torch_dtype, n_threads)
    return images


def unfold_tensor(images: Tensor, layout: Layout, threads: int | None) -> Tensor:
    """:func:`pixfold.unfold` of a tensor through the dispatcher."""
    _usable("unfold", "images", images)
    name, n_threads = _unfold_arguments(layout, threads)
    features: Tensor = unfold_op(images, name, n_threads)
    return features


def _fold_arguments(
    layout: Layout, normalizer: Fitted | None, learned: object, dtype: Any, threads: int | None
) -> tuple[str, torch.dtype, int]:
    """Turn the arguments of a fold into those of its op; what the normaliser learned is there to be guarded."""
    name = dtype_name(dtype)
    return named_fold(layout, normalizer).name, getattr(torch, name), threads_argument("fold", threads)


def _unfold_arguments(layout: Layout, threads: int | None) -> tuple[str, int]:
    return named_fold(layout).name, threads_argument("unfold", threads)


# torch.compile calls these while it traces, takes what they give as constants and guards the identity of what they were
# given: with another layout, or a normaliser that was fitted again, it compiles again.
torch.compiler.assume_constant_result(_fold_arguments)  # type: ignore[no-untyped-call]
torch.compiler.assume_constant_result(_unfold_arguments)  # type: ignore[no-untyped-call]
