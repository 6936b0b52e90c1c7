"""What made a result: the versions of the packages, and the machine."""

from __future__ import annotations

import os
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


def hardware() -> dict[str, str]:
    """Return the processor, its logical cores, the memory in GiB and the system, where they can be told."""
    found = {"processor": _processor(), "cores": str(os.cpu_count() or ""), "system": platform.platform(terse=True)}
    try:
        n_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        found["memory"] = f"{n_bytes / 2**30:.0f} GiB"
    except (AttributeError, OSError, ValueError):  # Windows
        pass
    return {name: value for name, value in found.items() if value}


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
