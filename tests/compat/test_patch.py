"""patch(): pydeepmapper's own run, on these functions, gives the same numbers; unpatch leaves nothing behind."""

from __future__ import annotations

import importlib
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from pixfold.compat import pydeepmapper as ours
from pixfold.errors import InputError, MissingDependencyError


@pytest.fixture
def package():
    pytest.importorskip("pydeepmapper", reason="patch changes an installed pydeepmapper: pip install pydeepmapper")
    modules = ("transform", "accumulate", "attribution", "runner", "evaluate")
    yield SimpleNamespace(**{name: importlib.import_module(f"pydeepmapper.{name}") for name in modules})
    ours.unpatch()


def held(package):
    """All functions that the package's modules hold, by their places."""
    return {
        (home, name): value
        for home, module in vars(package).items()
        for name, value in vars(module).items()
        if callable(value)
    }


def test_functions_are_swapped_wherever_they_are_held_and_restored(package):
    before = held(package)
    patched = ours.patch()
    assert set(patched.names) >= {"to_images", "pixels_to_features", "ranks_from_importances", "top_k_set"}
    assert package.transform.to_images is package.runner.to_images is package.evaluate.to_images is ours.to_images
    assert package.attribution.pixels_to_features is ours.pixels_to_features
    assert package.runner.acc.top_k_set is ours.top_k_set
    after = held(package)
    assert {name for (_, name), value in after.items() if value is not before[_, name]} == set(patched.names)
    ours.unpatch()
    assert held(package) == before
    ours.unpatch()
    assert held(package) == before


def test_a_context_ends_what_it_began(package):
    before = held(package)
    with ours.patch():
        with ours.patch():
            assert package.runner.to_images is ours.to_images
        assert package.runner.to_images is ours.to_images
    assert held(package) == before
    with pytest.raises(RuntimeError, match="inside"), ours.patch():
        raise RuntimeError("inside")
    assert held(package) == before


def test_modules_imported_in_between_are_restored_too(package, monkeypatch):
    import pydeepmapper

    monkeypatch.setattr(pydeepmapper, "evaluate", pydeepmapper.evaluate)
    monkeypatch.delitem(sys.modules, "pydeepmapper.evaluate")
    with ours.patch():
        late = importlib.import_module("pydeepmapper.evaluate")
        assert late is not package.evaluate
        assert late.to_images is ours.to_images
    assert late.to_images is package.transform.to_images is not ours.to_images


def test_another_version_is_refused_whole(package, monkeypatch):
    before = held(package)
    monkeypatch.setattr(package.accumulate, "mean_rank", lambda ranks, weights: ranks)
    with pytest.raises(InputError, match=r"pydeepmapper.accumulate.mean_rank must take \(rank_lists\), got \['ranks'"):
        ours.patch()
    monkeypatch.delattr(package.accumulate, "mean_rank")
    with pytest.raises(InputError, match="got nothing of that name"):
        ours.patch()
    monkeypatch.undo()
    assert held(package) == before


def test_without_pydeepmapper(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydeepmapper", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "pixfold\[compare\]"'):
        ours.patch()


@pytest.mark.parametrize("index_features", [False, True])
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_its_run_gives_the_same_numbers(package, index_features):
    torch = pytest.importorskip("torch", reason="pydeepmapper trains with torch")
    pytest.importorskip("captum", reason="pydeepmapper attributes with Captum")
    from pydeepmapper import DeepMapperConfig

    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    X = rng.random((60, 50)).astype(np.float32)
    X[:, 7] += y
    config = DeepMapperConfig(
        n_passes=3, epochs=3, early_stop=False, top_k=5, attribution="saliency", index_features=index_features
    )

    def findings():
        torch.manual_seed(0)
        return package.runner.run(X, y, config)

    plain = findings()
    with ours.patch():
        patched = findings()
    assert patched == plain
    assert plain.n_accepted == 3
    assert any(share > 0 for share in plain.selection_frequency)
