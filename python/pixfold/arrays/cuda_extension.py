"""The CUDA extension, loaded on the first use of a CUDA array; and why it cannot be used where it cannot."""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache
from types import ModuleType
from typing import Any

from pixfold.errors import BackendError

OLDEST = (8, 0)


def is_built() -> bool:
    """Whether this build of pixfold holds the CUDA extension."""
    return importlib.util.find_spec("pixfold._cuda") is not None


def load() -> ModuleType:
    """Import the extension; ImportError where it is not built."""
    return importlib.import_module("pixfold._cuda")


def extension(op: str, argument: str, device: int) -> Any:
    """Give the extension to an op whose `argument` is on the CUDA device of that index.

    Raises
    ------
    BackendError
        When it is not built, or cannot run on that device: which of these it is, and what to do.
    """
    problem = _problem(device)
    if problem is not None:
        raise BackendError(f"{op}: {argument} is on cuda:{device}, {problem}; or pass {argument}.cpu()")
    return load()


def runs_on(device: int) -> bool:
    """Whether the extension is there and its kernels run on the CUDA device of that index."""
    return _problem(device) is None


@cache
def _problem(device: int) -> str | None:
    if not is_built():
        return (
            "and this build of pixfold has no CUDA kernels: install it from source where nvcc is on PATH "
            "(CMAKE_ARGS=-DPIXFOLD_CUDA=ON pip install --no-binary pixfold pixfold)"
        )
    cuda = load()
    driver = cuda.driver_version()
    if driver is None:
        return "and this machine has no NVIDIA driver: install one"
    if _major(driver) < _major(cuda.version):
        return (
            f"whose driver supports CUDA {driver}, and pixfold was built with CUDA {cuda.version}: update the driver, "
            f"or build pixfold with CUDA {_major(driver)}"
        )
    found = cuda.devices()
    if device >= len(found):
        return f"and there are {len(found)} CUDA devices here: look at CUDA_VISIBLE_DEVICES"
    name, capability = found[device].name, tuple(found[device].capability)
    if capability < OLDEST:
        return (
            f"a {name} of compute capability {_dotted(capability)}, and the kernels need {_dotted(OLDEST)} or newer: "
            "use another card"
        )
    if not _runs(cuda.archs, capability):
        return (
            f"a {name} of compute capability {_dotted(capability)}, and pixfold was built for {', '.join(cuda.archs)}: "
            f"build it with -DPIXFOLD_CUDA_ARCHS={capability[0]}{capability[1]}"
        )
    return None


def _runs(archs: list[str], capability: tuple[int, int]) -> bool:
    """Machine code runs on later cards of its generation, PTX on all later ones."""
    for arch in archs:
        kind, _, number = arch.partition("_")
        built = (int(number.rstrip("af")[:-1]), int(number.rstrip("af")[-1]))
        if built <= capability and (kind == "compute" or built[0] == capability[0]):
            return True
    return False


def _major(version: str) -> int:
    return int(version.partition(".")[0])


def _dotted(capability: tuple[int, int]) -> str:
    return f"{capability[0]}.{capability[1]}"


def described_devices() -> list[str]:
    """Say what CUDA devices there are, found without torch; empty without a driver or the extension."""
    if not is_built():
        return []
    return [
        f"{device.name} (compute capability {_dotted(device.capability)}, {device.memory / 2**30:.0f} GiB)"
        for device in load().devices()
    ]
