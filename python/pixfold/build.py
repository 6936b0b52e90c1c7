"""What this build of pixfold holds."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from pixfold import _core


def build_config() -> dict[str, Any]:
    """Say what this build holds and uses.

    Returns
    -------
    dict
        ``version``; ``compiler``; ``isa``, the instruction set of the CPU kernels in use (PIXFOLD_ISA chooses), and
        ``isas``, those that are built in and run on this machine; ``openmp``; ``threads``, what ``threads=None``
        stands for; ``cuda``, whether the CUDA extension is built, with ``cuda_version`` (None without) and
        ``cuda_archs``.
    """
    cuda: Any = None
    if importlib.util.find_spec("pixfold._cuda") is not None:
        cuda = importlib.import_module("pixfold._cuda")
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
    }
