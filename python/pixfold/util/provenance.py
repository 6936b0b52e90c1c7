"""The versions of the packages that made a result."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from pixfold._core import __version__

PACKAGES = (
    *("numpy", "scipy", "pandas", "scikit-learn", "torch", "torchvision", "captum"),
    *("safetensors", "anndata", "h5py", "zarr", "zarrs", "pyarrow", "dnaio", "dask", "matplotlib", "jinja2"),
)


def versions() -> dict[str, str]:
    """Return the versions of pixfold, Python and the installed packages, without importing them."""
    found = {"pixfold": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
