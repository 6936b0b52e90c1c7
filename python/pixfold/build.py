"""What this build of pixfold holds."""

from __future__ import annotations

from typing import Any

from pixfold import _core
from pixfold.arrays import cuda_extension as _cuda_extension
from pixfold.errors import BackendError


def build_config() -> dict[str, Any]:
    """Say what this build holds and uses.

    Returns
    -------
    dict
        ``version``; ``compiler``; ``isa``, the instruction set of the CPU kernels in use (PIXFOLD_ISA chooses), and
        ``isas``, those that are built in and run on this machine; ``openmp``; ``threads``, what ``threads=None``
        stands for; ``cuda``, whether the CUDA extension is built, with ``cuda_version``, that of its toolkit (None
        without), and ``cuda_archs``, what it is compiled for; ``cuda_driver``, the CUDA version that this machine's
        driver supports (None without a driver or the extension); ``cuda_devices``, a line for each device, or
        for what keeps CUDA from listing them.
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
