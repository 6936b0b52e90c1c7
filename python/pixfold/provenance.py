"""Versions of what a result was made with."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = (
    *("pixfold", "numpy", "scipy", "pandas", "scikit-learn", "torch", "torchvision", "captum", "lightning-fabric"),
    *("safetensors", "anndata", "h5py", "matplotlib", "jinja2"),
)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that are installed, found without importing them."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
