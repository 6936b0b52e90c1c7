"""Run by `make wheel-check` in an environment that holds the wheel and NumPy, and nothing else."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import numpy as np

import pixfold as pf

for absent in ("torch", "scipy", "pandas"):
    assert importlib.util.find_spec(absent) is None, f"{absent} is installed: this checks nothing"

x = np.random.default_rng(0).random((7, 18_225), dtype=np.float32)
layout = pf.Layout.natural(x.shape[1])
images = pf.fold(x, layout, pf.Normalizer("log1p-minmax").fit(x))
assert images.shape == (7, 1, 135, 135)
assert 0 <= images.min() < images.max() <= 1
assert np.array_equal(pf.unfold(pf.fold(x, layout), layout), x)
assert pf.top_k(np.arange(30.0), 2).tolist() == [29, 28]

try:
    pf.DeepMapperClassifier  # noqa: B018 (the import is what is tried)
    message = "imported"
except ImportError as error:
    message = str(error)
assert 'pip install "pixfold[train]"' in message, message
command = subprocess.run([sys.executable, "-m", "pixfold", "info"], capture_output=True, text=True)
assert command.returncode == 1, command
assert command.stderr.count("\n") == 1, command.stderr
assert 'pip install "pixfold[train]"' in command.stderr, command.stderr
print("the wheel works with NumPy alone:", pf.build_config())
