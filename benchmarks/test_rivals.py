"""The same images from other tools, on 6,216 x 19,319 float32: pixfold's time as a share of theirs, in one process.

Results are compared before anything is timed (with t-SNE, which takes minutes, after its only run). "new" rows give
both sides new memory for the images, "reused" rows the memory of the last round. A rival that is not installed is
skipped with the line that installs it: pip install ".[bench]".
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pixfold as pf
from pixfold import _core

Versus = Callable[..., None]
memories = pytest.mark.parametrize("memory", ["new", "reused"])

# Rivals' own warnings are theirs; the suite's rule that a warning is an error is for pixfold.
pytestmark = pytest.mark.filterwarnings("ignore")


def rival(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        pytest.skip(f'{module} is not here ({error}): pip install ".[bench]"')


@pytest.fixture
def torch() -> Any:
    module = rival("torch")
    module.set_num_threads(_core.default_threads())
    return module


@pytest.fixture
def layout(samples: np.ndarray) -> pf.Layout:
    return pf.Layout.natural(samples.shape[1])


def ours(samples: Any, layout: pf.Layout, normalizer: pf.Normalizer | None, memory: str) -> Callable[[], Any]:
    out = pf.ImagePool() if memory == "reused" else None
    return lambda: pf.fold(samples, layout, normalizer, out=out)


def same_images(found: Any, expected: Any) -> None:
    """Float arithmetic in another order: a few ulp of values in [0, 1]."""
    np.testing.assert_allclose(np.asarray(found).ravel(), np.asarray(expected).ravel(), rtol=0, atol=2e-6)


@memories
def test_numpy(versus: Versus, samples: np.ndarray, normalizer: pf.Normalizer, layout: pf.Layout, memory: str) -> None:
    p = normalizer.parameters()
    shift, scale = p.shift.astype(np.float32), p.scale.astype(np.float32)
    n = layout.n_features
    kept = np.zeros((len(samples), layout.n_pixels), dtype=np.float32)

    def new() -> np.ndarray:
        images = np.zeros((len(samples), layout.n_pixels), dtype=np.float32)
        images[:, :n] = np.clip((np.log1p(samples) - shift) * scale, 0, 1)
        return images.reshape(-1, *layout.shape)

    def reused() -> np.ndarray:
        # A slice of rows at a time, so that the four passes find them in the cache: the best that NumPy can do.
        for first in range(0, len(samples), 8):
            y = kept[first : first + 8, :n]
            np.log1p(samples[first : first + 8], out=y)
            np.subtract(y, shift, out=y)
            np.multiply(y, scale, out=y)
            np.clip(y, 0, 1, out=y)
        return kept.reshape(-1, *layout.shape)

    other = {"new": new, "reused": reused}[memory]
    op = ours(samples, layout, normalizer, memory)
    same_images(op(), other())
    versus(op, {"NumPy": other}, work=f"log1p-minmax + fold, natural, {memory} memory", rounds=5)


def torch_steps(torch: Any, normalizer: pf.Normalizer, layout: pf.Layout, memory: str) -> Callable[..., Any]:
    p = normalizer.parameters()
    shift, scale = torch.from_numpy(p.shift).float(), torch.from_numpy(p.scale).float()
    n = layout.n_features

    def new(x: Any) -> Any:
        y = ((torch.log1p(x) - shift) * scale).clamp(0, 1)
        return torch.nn.functional.pad(y, (0, layout.n_pixels - n)).view(-1, *layout.shape)

    def reused(x: Any, kept: Any) -> Any:
        kept[:, :n] = ((torch.log1p(x) - shift) * scale).clamp(0, 1)
        return kept

    return {"new": new, "reused": reused}[memory]


@memories
@pytest.mark.parametrize("mode", ["eager", "compile"])
def test_torch(
    versus: Versus,
    torch: Any,
    samples: np.ndarray,
    normalizer: pf.Normalizer,
    layout: pf.Layout,
    mode: str,
    memory: str,
) -> None:
    x = torch.from_numpy(samples)
    steps = torch_steps(torch, normalizer, layout, memory)
    if mode == "compile":
        steps = torch.compile(steps, dynamic=False)
    kept = () if memory == "new" else (torch.zeros(len(samples), layout.n_pixels),)
    op = ours(x, layout, normalizer, memory)
    try:
        found = steps(x, *kept)
    except Exception as error:
        pytest.skip(f"torch.compile does not work here: {str(error).splitlines()[0]}")
    same_images(op(), found)
    del found
    versus(
        op,
        {f"torch {mode}": lambda: steps(x, *kept)},
        work=f"log1p-minmax + fold, natural, {memory} memory",
        rounds=5,
    )


@pytest.mark.parametrize("arrangement", ["natural", "shuffled"])
def test_pydeepmapper(versus: Versus, samples: np.ndarray, arrangement: str) -> None:
    """Its to_images: no normaliser, new memory."""
    transform = rival("pydeepmapper.transform")
    n = samples.shape[1]
    order = transform.permutation(0, n) if arrangement == "shuffled" else None
    # Its order is the feature of each pixel; ours the pixel of each feature.
    layout = pf.Layout.natural(n) if order is None else pf.Layout.from_index(np.argsort(order), (139, 139))

    def op() -> Any:
        return pf.fold(samples, layout)

    def other() -> Any:
        return transform.to_images(samples, perm=order)

    np.testing.assert_array_equal(op().ravel(), other().ravel())
    versus(op, {"pydeepmapper": other}, work=f"fold without normaliser, {arrangement}, new memory", rounds=5)


def reducer(name: str) -> Any:
    if name == "PCA":
        return rival("sklearn.decomposition").PCA(n_components=2, random_state=0)
    return rival("sklearn.manifold").TSNE(n_components=2, metric="cosine", random_state=0)


@pytest.mark.parametrize(("reduction", "memory"), [("PCA", "new"), ("PCA", "reused"), ("t-SNE", "new")])
def test_pydeepinsight(
    versus: Versus, samples: np.ndarray, reduction: str, memory: str, request: pytest.FixtureRequest
) -> None:
    """The whole conversion of both: fit the normaliser (DeepInsight's norm-2) and the layout, then make the images."""
    if reduction == "t-SNE" and not request.config.getoption("--tsne"):
        pytest.skip("takes some 3 minutes: pytest benchmarks --tsne")
    transformer = rival("pyDeepInsight").ImageTransformer
    scaler = rival("pyDeepInsight.utils").Norm2Scaler
    side = 139
    made: list[Any] = []

    def other() -> None:
        made.clear()
        scaled = scaler().fit_transform(samples)
        it = transformer(reducer(reduction), pixels=side)
        made[:] = [it, it.fit_transform(scaled, img_format="scalar")]

    pool = pf.ImagePool() if memory == "reused" else None

    def op() -> Any:
        layout = pf.Layout.natural(samples.shape[1])
        return pf.fold(samples, layout, pf.Normalizer("norm2").fit(samples), out=pool)

    def check() -> None:
        """On its own pixels pixfold makes its images: the same work, but for how features are given their places."""
        it, images = made
        row, column = it.coords().T
        placed = pf.Layout.from_coordinates(row, column, (side, side))
        same_images(pf.fold(samples, placed, pf.Normalizer("norm2").fit(samples)), images)

    once = reduction == "t-SNE"
    if not once:
        other()
        check()
    op()
    versus(
        op,
        {f"pyDeepInsight, {reduction}": other},
        work=f"norm2 fitted + layout + fold, {memory} memory",
        wanted=1 / 2000 if once else 1 / 100,
        rounds=1 if once else 3,
        warm_up=False,
    )
    check()


def test_pydeepinsight_images_alone(versus: Versus, samples: np.ndarray) -> None:
    """Both on pyDeepInsight's pixels (several features on one: their mean), everything fitted before."""
    it = rival("pyDeepInsight").ImageTransformer(reducer("PCA"), pixels=139)
    scaled = rival("pyDeepInsight.utils").Norm2Scaler().fit_transform(samples)
    it.fit(scaled)
    row, column = it.coords().T
    layout = pf.Layout.from_coordinates(row, column, (139, 139))

    def other() -> Any:
        return it.transform(scaled, img_format="scalar")

    def op() -> Any:
        return pf.fold(scaled, layout)

    same_images(op(), other())
    versus(op, {"pyDeepInsight's transform": other}, work="fold on pyDeepInsight's pixels, normalised before", rounds=3)
