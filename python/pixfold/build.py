"""What this build of pixfold contains."""

from __future__ import annotations

from typing import Any

from pixfold import _core
from pixfold.arrays import cuda_extension as _cuda_extension
from pixfold.errors import BackendError


def build_config() -> dict[str, Any]:
    """Return what this build contains, and what it uses on this machine.

    Returns
    -------
    dict
        - ``version``, ``compiler``, ``openmp``
        - ``isa``: the instruction set of the CPU kernels in use (PIXFOLD_ISA chooses); ``isas``: those that this build
          contains and this machine runs
        - ``threads``: the number that ``threads=None`` stands for
        - ``cuda``: whether the CUDA extension is built; ``cuda_version``: of its toolkit (None without);
          ``cuda_archs``: what it is compiled for
        - ``cuda_driver``: the CUDA version that the driver supports (None without a driver or the extension)
        - ``cuda_devices``: a line for each device, or for what keeps CUDA from listing them
    """
    cuda: Any = _cuda_extension.load() if _cuda_extension.is_built() else None
    return {
        "version": _core.__version__,
        "compiler": _core.compiler,
        "isa": _core.isa(),
        "isas": _core.isas(),
        "openmp": _core.openmp,
        "threads": _core.default_threads(),
        "cuda": cuda is not None,
        "cuda_version": None if cuda is None else cuda.version,
        "cuda_archs": [] if cuda is None else list(cuda.archs),
        "cuda_driver": None if cuda is None else cuda.driver_version(),
        "cuda_devices": _devices(),
    }


def _devices() -> list[str]:
    try:
        return _cuda_extension.described_devices()
    except BackendError as error:
        return [f"none that can be used: {error}"]
