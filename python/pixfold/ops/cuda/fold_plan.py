"""Folds like one before: of one layout, normaliser and types, they are found at once and are one call of C++.

The first fold of its kind goes the way of all (:mod:`pixfold.ops.cuda.fold`), which checks everything and then puts a
plan down here. Whatever is unusual finds no plan, and goes that way, too: there it is refused, or done. So nothing here
raises for an argument.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from pixfold.arrays import cuda
from pixfold.formula import Fitted
from pixfold.layout import Layout
from pixfold.ops.arguments import IMAGE_TYPES, formula_of

if TYPE_CHECKING:
    from collections.abc import Hashable

    from pixfold.formula import Formula

MOST = 64


class Plans:
    """The newest plans, each for as long as the layout and the formula live that it was made of."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._plans: dict[Hashable, tuple[Any, tuple[weakref.ref[Any], ...]]] = {}

    def __len__(self) -> int:
        return len(self._plans)

    def find(self, key: Hashable, *owners: object) -> Any:
        """Give the plan of a key that has the owners' numbers in it, None where there is none."""
        found = self._plans.get(key)
        # A number may be that of another object by now.
        if found is None or any(ref() is not owner for ref, owner in zip(found[1], owners, strict=True)):
            return None
        return found[0]

    def put(self, key: Hashable, plan: object, *owners: object) -> None:
        """Keep a plan."""
        forget = lambda _: self._plans.pop(key, None)  # noqa: E731
        self._plans[key] = (plan, tuple(weakref.ref(owner, forget) for owner in owners))
        while len(self._plans) > self._most:
            # Of several threads, each removes one at most.
            self._plans.pop(next(iter(self._plans), None), None)


_plans = Plans()


def owners_of(layout: Layout, formula: Formula | None) -> tuple[object, ...]:
    """What a plan lives as long as."""
    return (layout,) if formula is None else (layout, formula)


def plan_key(x: Any, layout: Layout, formula: Formula | None, dtype: str, stream: int) -> Hashable:
    """What a plan is found by: all that its call does not say.

    The stream is in it because a plan is for streams that the memory of its parameters was handed out to.
    """
    return id(layout), id(formula), x.dtype, dtype, x.get_device(), stream


def usual_samples(x: Any, layout: Layout) -> bool:
    """Whether a tensor is one that a plan takes: torch's own, dense, of the layout's features, and plain memory."""
    import torch

    return (
        type(x) is torch.Tensor
        and x.layout is torch.strided
        and not x.requires_grad
        and x.dim() == 2
        and x.shape[1] == layout.n_features
        and not x.is_neg()
        and not torch.compiler.is_compiling()
    )


def usual_images(out: Any, x: Any, shape: tuple[int, ...], kind: Any) -> bool:
    """Whether a tensor is one that a plan writes to; whether it overlaps the samples, the plan looks itself."""
    import torch

    return (
        type(out) is torch.Tensor
        and out.dtype is kind
        and out.shape == shape
        and out.get_device() == x.get_device()
        and out.layout is torch.strided
        and out.is_contiguous()
        and not out.requires_grad
    )


def usual_dtype(dtype: Any) -> str | None:
    """Name of an element type of images that is given as a name, or as torch's; None for others."""
    if type(dtype) is str:
        return dtype if dtype in IMAGE_TYPES else None
    import torch

    return {torch.float32: "float32", torch.float16: "float16", torch.bfloat16: "bfloat16"}.get(dtype)


def current_stream(x: Any) -> int:
    """Handle of the stream that is current on a tensor's device."""
    import torch

    index = x.get_device()
    if index < 0:
        return 0  # kernels that run on the host
    raw = getattr(torch._C, "_cuda_getCurrentRawStream", None)
    return int(raw(index) if raw is not None else torch.cuda.current_stream(index).cuda_stream)


def planned_fold(X: Any, layout: Any, normalizer: Any, dtype: Any, out: Any, threads: Any) -> Any:
    """The images of a fold like one before, queued; None where there was none, or something is unusual."""
    if threads is not None or not isinstance(layout, Layout) or not cuda.is_on_cuda(X):
        return None
    if normalizer is not None and not isinstance(normalizer, Fitted):
        return None
    name = usual_dtype(dtype)
    if name is None or not usual_samples(X, layout):
        return None
    formula = formula_of("fold", normalizer)
    stream = current_stream(X)
    plan = _plans.find(plan_key(X, layout, formula, name, stream), *owners_of(layout, formula))
    if plan is None:
        return None
    import torch

    n_samples = X.shape[0]
    shape, kind = (n_samples, *layout.shape), getattr(torch, name)
    images = torch.empty(shape, dtype=kind, device=X.device) if out is None else out
    if out is not None and not usual_images(out, X, shape, kind):
        return None
    return images if plan(X.data_ptr(), n_samples, *X.stride(), images.data_ptr(), stream) else None


def remember(
    queue: cuda.Queue,
    x: Any,
    layout: Layout,
    formula: Formula | None,
    dtype: str,
    made: tuple[Any, Any, Any, Any],
) -> None:
    """Put a plan down after a fold of dense samples without a row scale: slots, parameters, images, counts."""
    slots, parameters, images, counts = made
    plan = queue.kernels.FoldPlan(x, slots, parameters, images, counts)
    _plans.put(plan_key(x, layout, formula, dtype, queue.stream), plan, *owners_of(layout, formula))
