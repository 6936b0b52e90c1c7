"""log1p-minmax and fold on a GPU against the same formula in torch's own words, eager and compiled, and in CuPy's.

Both write into new memory, or both into memory that is in use already. Clocks and dry runs: test_gpu.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import pixfold as pf

torch: Any = pytest.importorskip("torch")

DRY = os.environ.get("PIXFOLD_DRY_RUN") == "1"
DEVICE = "cpu" if DRY else "cuda"
N_SAMPLES = 60 if DRY else 6_216
SIZES = {"": 500 if DRY else 19_319, "aligned": 576 if DRY else 19_600}

pytestmark = [
    pytest.mark.skipif(not (DRY or torch.cuda.is_available()), reason="needs an NVIDIA GPU that torch can use"),
    pytest.mark.filterwarnings("ignore"),  # the rivals' own
]


class Case(NamedTuple):
    """A fold that both do."""

    preset: str
    arrangement: str
    shape: str = ""
    dtype: str = "float32"

    def __str__(self) -> str:
        return ", ".join(part for part in (self.preset, self.arrangement, self.shape, self.dtype) if part)


CASES = [
    Case("log1p-minmax", "natural"),
    Case("log1p-minmax", "shuffled"),
    Case("none", "natural"),
    Case("none", "shuffled"),
    Case("log1p", "natural"),
    Case("log1p-minmax", "natural", "aligned"),
    Case("log1p-minmax", "natural", dtype="bfloat16"),
]


@pytest.fixture(scope="module")
def made() -> Callable[[Case], tuple[Any, pf.Layout, pf.Normalizer | None]]:
    """Samples, a layout and a normaliser, made once for every case."""
    kept: dict[Any, Any] = {}

    def make(case: Case) -> tuple[Any, pf.Layout, pf.Normalizer | None]:
        n = SIZES[case.shape]
        if n not in kept:
            kept[n] = torch.rand(N_SAMPLES, n, generator=torch.Generator(DEVICE).manual_seed(0), device=DEVICE)
            kept[n][0] = 0
        if (n, case.preset) not in kept:
            kept[n, case.preset] = None if case.preset == "none" else pf.Normalizer(case.preset).fit(kept[n])
        return kept[n], getattr(pf.Layout, case.arrangement)(n), kept[n, case.preset]

    return make


def steps_of(layout: pf.Layout, normalizer: pf.Normalizer | None, dtype: str) -> Callable[[Any], Any]:
    """The formula and the fold in torch's own words, for the presets above: no step that changes nothing."""
    features = layout.feature_of_pixel[: layout.n_features]
    in_order = bool((features == np.arange(layout.n_features)).all())
    pixel_features = torch.from_numpy(features).to(DEVICE)
    kind = getattr(torch, dtype)
    p = None if normalizer is None else normalizer.parameters()
    scaled = p is not None and (p.shift.any() or bool((p.scale != 1).any()))
    if scaled:
        shift, scale = (torch.from_numpy(values).float().to(DEVICE) for values in (p.shift, p.scale))

    def steps(x: Any) -> Any:
        y = x if p is None else torch.log1p(x)
        y = ((y - shift) * scale).clamp(0, 1) if scaled else y
        y = y if in_order else y[:, pixel_features]
        return torch.nn.functional.pad(y, (0, layout.n_pixels - layout.n_features)).view(-1, *layout.shape).to(kind)

    return steps


def agree(found: Any, x: Any, layout: pf.Layout, normalizer: pf.Normalizer | None, dtype: str) -> None:
    """Both round the same number to `dtype`, which they know to 2e-6: they may fall on neighbours."""
    step = float(torch.finfo(getattr(torch, dtype)).eps)
    expected = pf.fold(x[:50], layout, normalizer, dtype=dtype).float().cpu()
    np.testing.assert_allclose(found[:50].float().cpu(), expected, rtol=0 if dtype == "float32" else step, atol=2e-6)


@pytest.mark.parametrize("memory", ["new", "in use"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_torch_compile(held: Callable[..., None], made: Any, case: Case, memory: str) -> None:
    x, layout, normalizer = made(case)
    steps = steps_of(layout, normalizer, case.dtype)
    out = pf.fold(x, layout, normalizer, dtype=case.dtype) if memory == "in use" else None
    theirs = torch.empty_like(out) if out is not None else None
    torch.compiler.reset()  # no case is compiled for the shapes of another
    rival = torch.compile(steps if theirs is None else lambda x: theirs.copy_(steps(x)), dynamic=False)
    agree(rival(x), x, layout, normalizer, case.dtype)
    held(
        lambda: pf.fold(x, layout, normalizer, dtype=case.dtype, out=out),
        {"torch.compile": lambda: rival(x)},
        work=f"{case}, memory {memory}, against torch.compile",
        wanted=1.0,
        wanted_call=1.0,
    )


@pytest.mark.parametrize("rival", ["torch, eager", "CuPy"])
@pytest.mark.parametrize("case", CASES[:2], ids=str)
def test_others(held: Callable[..., None], made: Any, case: Case, rival: str) -> None:
    x, layout, normalizer = made(case)
    steps = steps_of(layout, normalizer, case.dtype) if rival != "CuPy" else with_cupy(layout, normalizer)
    agree(torch.as_tensor(steps(x), device=DEVICE), x, layout, normalizer, case.dtype)
    held(
        lambda: pf.fold(x, layout, normalizer),
        {rival: lambda: steps(x)},
        work=f"{case}, memory new, against {rival}",
        wanted=1.0,
        wanted_call=1.0,
        rounds=5,
    )


def with_cupy(layout: pf.Layout, normalizer: pf.Normalizer) -> Callable[[Any], Any]:
    cupy = pytest.importorskip("cupy")
    p = normalizer.parameters()
    shift, scale = cupy.asarray(p.shift, cupy.float32), cupy.asarray(p.scale, cupy.float32)
    pixel_features = cupy.asarray(layout.feature_of_pixel[: layout.n_features])

    def steps(x: Any) -> Any:
        y = cupy.clip((cupy.log1p(cupy.asarray(x)) - shift) * scale, 0, 1)[:, pixel_features]
        return cupy.pad(y, ((0, 0), (0, layout.n_pixels - layout.n_features))).reshape(-1, *layout.shape)

    return steps
