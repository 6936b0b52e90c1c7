"""Plans of folds on CUDA: when one is found, what falls through to the way of all, and that the bits are the same.

The decisions are plain functions of tensors, which need no card. See `device` in conftest.py for the others.
"""

from __future__ import annotations

import gc
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pixfold as pf
from pixfold.arrays import cuda
from pixfold.errors import InputError
from pixfold.ops.cuda import fold_plan
from pixfold.ops.cuda.fold_plan import Plans, plan_key, planned_fold, usual_dtype, usual_images, usual_samples

torch = pytest.importorskip("torch")


class Thing:
    """What a plan can belong to."""


def test_a_plan_is_found_as_long_as_its_owners_live():
    plans, layout, formula = Plans(), Thing(), Thing()
    key = (id(layout), id(formula))
    plans.put(key, "plan", layout, formula)
    assert plans.find(key, layout, formula) == "plan"
    assert plans.find((id(layout), 0), layout, formula) is None
    del formula
    gc.collect()
    assert len(plans) == 0


def test_a_number_that_another_object_has_by_now_finds_nothing():
    plans, layout, other = Plans(), Thing(), Thing()
    plans.put("key", "plan", layout)
    assert plans.find("key", other) is None
    assert plans.find("key", layout) == "plan"


def test_the_oldest_plans_go():
    plans, layout = Plans(most=2), Thing()
    for key in "abc":
        plans.put(key, key, layout)
    assert [plans.find(key, layout) for key in "abc"] == [None, "b", "c"]


def test_what_a_key_tells_apart():
    layout, other = pf.Layout.natural(4), pf.Layout.natural(4)
    x = torch.ones(2, 4)
    formula = pf.Normalizer("minmax").fit(x).parameters()
    keys = [
        plan_key(x, layout, None, "float32", 0),
        plan_key(x, other, None, "float32", 0),
        plan_key(x, layout, formula, "float32", 0),
        plan_key(x.double(), layout, None, "float32", 0),
        plan_key(x, layout, None, "float16", 0),
        plan_key(x, layout, None, "float32", 7),
    ]
    assert len(set(keys)) == len(keys)
    # What the call says is not in it.
    assert plan_key(torch.zeros(9, 8)[:, ::2], layout, None, "float32", 0) == keys[0]


@pytest.mark.parametrize(
    ("make", "usual"),
    [
        (lambda: torch.ones(3, 4), True),
        (lambda: torch.ones(0, 4), True),
        (lambda: torch.ones(3, 8)[:, ::2], True),
        (lambda: torch.ones(1, 4).expand(3, 4), True),
        (lambda: torch.ones(3, 4, dtype=torch.int8), True),
        (lambda: torch.ones(3, 5), False),
        (lambda: torch.ones(4), False),
        (lambda: torch.ones(3, 4, 1), False),
        (lambda: torch.ones(3, 4).to_sparse(), False),
        (lambda: torch.ones(3, 4, requires_grad=True), False),
        (lambda: torch.nn.Parameter(torch.ones(3, 4), requires_grad=False), False),
        (lambda: torch._neg_view(torch.ones(3, 4)), False),
    ],
)
def test_usual_samples(make: Callable[[], Any], usual: bool):
    assert usual_samples(make(), pf.Layout.natural(4)) is usual


@pytest.mark.parametrize(
    ("make", "usual"),
    [
        (lambda: torch.ones(3, 1, 2, 2), True),
        (lambda: torch.ones(5, 1, 2, 2)[1:4], True),
        (lambda: torch.ones(3, 1, 2, 2, dtype=torch.float16), False),
        (lambda: torch.ones(4, 1, 2, 2), False),
        (lambda: torch.ones(3, 2, 2), False),
        (lambda: torch.ones(3, 1, 2, 4)[..., ::2], False),
        (lambda: torch.ones(3, 1, 2, 2, requires_grad=True), False),
        (lambda: torch.ones(3, 1, 2, 2, device="meta"), True),  # without a card, all devices have the number -1
        (lambda: np.ones((3, 1, 2, 2), dtype=np.float32), False),
        (lambda: pf.ImagePool(), False),
    ],
)
def test_usual_images(make: Callable[[], Any], usual: bool):
    assert usual_images(make(), torch.ones(3, 4), (3, 1, 2, 2), torch.float32) is usual


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        ("float32", "float32"),
        (torch.bfloat16, "bfloat16"),
        (torch.float16, "float16"),
        ("float64", None),
        (torch.float64, None),
        (np.float32, None),
        (np.dtype("float16"), None),
        (None, None),
    ],
)
def test_usual_dtypes(dtype: Any, name: str | None):
    assert usual_dtype(dtype) == name


@pytest.fixture
def watched(device: str, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For every fold so far, whether it was planned; begins without a plan."""
    found: list[bool] = []

    def watch(*arguments: Any) -> Any:
        images = planned_fold(*arguments)
        found.append(images is not None)
        return images

    monkeypatch.setattr(fold_plan, "_plans", Plans())
    monkeypatch.setattr(importlib.import_module("pixfold.ops.fold"), "planned_fold", watch)
    return found


def random_samples(device: str, n: int = 5, n_features: int = 90) -> Any:
    return torch.rand(n, n_features, generator=torch.Generator().manual_seed(n)).to(device)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("kind", ["natural", "shuffled", "many", "channels", "keep"])
def test_the_bits_are_those_of_the_first_fold(
    device: str, watched: list[bool], make_layout: Callable[..., Any], kind: str, dtype: str
):
    layout = make_layout(kind, 90)
    x = random_samples(device)
    normalizers = None, pf.Normalizer("log1p-minmax", missing="mean").fit(x)
    for normalizer in normalizers:
        if normalizer is not None:
            x[1, 2] = torch.nan
        first = pf.fold(x, layout, normalizer, dtype=dtype)
        for given in (x, torch.stack([x, x], 2)[..., 1], torch.cat([x, x])[3:]):
            expected = torch.cat([first, first])[3:] if len(given) > len(x) else first
            assert torch.equal(pf.fold(given, layout, normalizer, dtype=dtype), expected)
            out = torch.full_like(expected, 7)
            assert pf.fold(given, layout, normalizer, dtype=getattr(torch, dtype), out=out) is out
            assert torch.equal(out, expected)
    assert watched == 2 * [False, *6 * [True]]


@pytest.mark.gpu
def test_what_goes_the_way_of_all(device: str, watched: list[bool]):
    layout, x = pf.Layout.shuffled(90, seed=0, channels=3), random_samples(device)
    size = pf.Normalizer("cp10k-log1p").fit(x)
    for _ in range(2):
        pf.fold(x, layout, size)  # sums of samples
    first = pf.fold(x, layout)
    assert watched == [False] * 3
    last = torch.empty_like(first, memory_format=torch.channels_last)
    assert torch.equal(pf.fold(x, layout, out=last), first)
    assert torch.equal(pf.fold(x, layout, threads=1), first)
    assert torch.equal(pf.fold(x, layout, dtype=np.float32), first)
    assert torch.equal(pf.fold(x.double(), layout), first)
    assert torch.equal(pf.fold(x.clone().requires_grad_(), layout), first)
    assert watched == [False] * 8
    assert torch.equal(pf.fold(x, layout), first)
    assert watched[-1]


@pytest.mark.gpu
def test_errors_are_those_of_the_way_of_all(device: str, watched: list[bool]):
    layout, x = pf.Layout.natural(90), random_samples(device)
    normalizer = pf.Normalizer("minmax").fit(x)
    images = pf.fold(x, layout, normalizer)
    with pytest.raises(InputError, match="fold: X must have the layout's 90 features, got 89"):
        pf.fold(x[:, 1:], layout, normalizer)
    with pytest.raises(InputError, match="fold: out must be a float32 tensor of shape"):
        pf.fold(x, layout, normalizer, out=images[1:])
    with pytest.raises(TypeError, match="fold: normalizer must be a Normalizer or None, got str"):
        pf.fold(x, layout, "minmax")
    with pytest.raises(InputError, match="fitted"):
        pf.fold(x, layout, pf.Normalizer("minmax"))
    memory = torch.zeros(2000, device=device)
    source = memory[: 5 * 90].view(5, 90)
    with pytest.raises(InputError, match="fold: out must not overlap X in memory"):
        pf.fold(source, layout, normalizer, out=memory[5 * 90 - 1 :][: images.numel()].view(images.shape))
    behind = memory[5 * 90 :][: images.numel()].view(images.shape)
    assert pf.fold(source, layout, normalizer, out=behind) is behind
    assert watched == [False] * 5 + [True]  # what is not fitted is refused at once


@pytest.mark.gpu
def test_a_normaliser_that_is_fitted_again_has_another_plan(device: str, watched: list[bool]):
    layout, x = pf.Layout.natural(90), random_samples(device)
    normalizer = pf.Normalizer("minmax").fit(x)
    pf.fold(x, layout, normalizer)
    normalizer.fit(3 * x)
    expected = pf.fold(x.cpu().numpy(), layout, normalizer)
    for _ in range(2):
        np.testing.assert_array_equal(pf.fold(x, layout, normalizer).cpu(), expected)
    assert watched[-2:] == [False, True]
    del layout
    gc.collect()
    assert len(fold_plan._plans) == 0


@pytest.mark.gpu
def test_counts_are_the_normalisers(device: str, watched: list[bool]):
    layout, x = pf.Layout.natural(90), random_samples(device)
    normalizer = pf.Normalizer("log1p-minmax").fit(x)
    pf.fold(x, layout, normalizer)
    pf.ops.cuda.check_folds(normalizer)
    x[2, 5] = torch.nan
    pf.fold(x, layout, normalizer)
    assert watched == [False, True]
    with pytest.raises(InputError, match="fold: X must have no missing values, got 1 NaN"):
        pf.ops.cuda.check_folds(normalizer)


@pytest.mark.gpu
def test_each_stream_has_its_own(device: str, watched: list[bool]):
    if device != "cuda":
        pytest.skip("needs streams")
    layout, x = pf.Layout.natural(90), random_samples(device)
    expected = pf.fold(x, layout)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        found = [pf.fold(x, layout) for _ in range(2)]
    stream.synchronize()
    assert all(torch.equal(images, expected) for images in found)
    assert watched == [False, False, True]


def test_arrays_of_the_cpu_have_no_plans():
    x, layout = np.ones((2, 4), dtype=np.float32), pf.Layout.natural(4)
    assert not cuda.is_on_cuda(x)
    assert planned_fold(x, layout, None, "float32", None, None) is None
    assert planned_fold(torch.from_numpy(x), layout, None, "float32", None, None) is None
