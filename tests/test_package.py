"""What ``import pixfold`` loads, and what works without anything but NumPy."""

from __future__ import annotations

import subprocess
import sys

import pytest

import pixfold

# Refuses every package that is not NumPy, pixfold or part of Python, as where nothing else is installed.
NUMPY_ALONE = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in ("numpy", "pixfold") and top not in sys.stdlib_module_names:
            if not top.startswith("_"):
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None
sys.meta_path.insert(0, Refuse())
"""


def said(code: str) -> str:
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("module", ["pixfold", "pixfold.cli.app"])
def test_import_is_light(module):
    heavy = ("torch", "sklearn", "pandas", "scipy", "matplotlib", "anndata", "h5py", "captum")
    assert said(f"import sys, {module}; print([m for m in {heavy} if m in sys.modules])") == "[]"


def test_drop_ins_come_when_asked_for():
    assert (
        said("import sys, pixfold; pixfold.fold; print([m for m in sys.modules if m.startswith('pixfold.compat')])")
        == "[]"
    )


def test_core_works_with_numpy_alone(tmp_path):
    code = f"""{NUMPY_ALONE}
import numpy as np, pixfold as pf
X = np.arange(24, dtype=np.float32).reshape(4, 6)
layout = pf.Layout.shuffled(6, seed=0)
norm = pf.Normalizer("log1p-minmax").fit(X)
images = pf.fold(X, layout, norm)
assert images.shape == (4, 1, 3, 3)
assert np.array_equal(pf.unfold(images, layout), norm.transform(X))
assert pf.column_stats(X).max.tolist() == X[-1].tolist()
assert pf.rank(np.array([1.0, 3.0, 2.0])).tolist() == [3, 1, 2]
assert pf.top_k(np.array([1.0, 3.0, 2.0]), 2).tolist() == [1, 2]
acc = pf.AttributionAccumulator(layout, n_classes=2)
acc.update(images, np.array([0, 1, 0, 1]), keep=np.ones(4, dtype=bool))
assert acc.result().count.tolist() == [2, 2]
norm.save({str(tmp_path / "n.npz")!r})
assert np.array_equal(pf.Normalizer.load({str(tmp_path / "n.npz")!r}).transform(X), norm.transform(X))
assert pf.open_source(X).n_features == 6
print(pf.__version__)
"""
    assert said(code) == pixfold.__version__


@pytest.mark.parametrize("name", ["DeepMapperClassifier", "DeepMapperAutoencoder", "Fold", "FoldLoader", "load"])
def test_names_that_need_more_are_import_errors(name):
    code = f"""{NUMPY_ALONE}
import pixfold
try:
    pixfold.{name}
except ImportError as error:
    print(error)
"""
    assert 'pip install "pixfold[train]"' in said(code)


def test_every_public_name_is_there():
    for name in pixfold.__all__:
        assert getattr(pixfold, name) is not None
    assert set(pixfold.__all__) <= set(dir(pixfold))
    assert len(set(pixfold.__all__)) == len(pixfold.__all__)


def test_unknown_name():
    with pytest.raises(AttributeError, match="module 'pixfold' has no attribute 'folds'"):
        _ = pixfold.folds
