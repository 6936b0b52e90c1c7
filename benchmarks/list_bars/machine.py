"""What a measurement ran on, in words."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def machine() -> str:
    import torch

    parts = [f"{cores()} cores of {processor()}"]
    with contextlib.suppress(ValueError, OSError, AttributeError):
        parts.append(f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB")
    parts.append(torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU")
    names = ("numpy", "scipy", "scikit-learn", "torch")
    versions = ", ".join(f"{name} {found(name)}" for name in names)
    system = f"{platform.system()} {platform.release().split('-')[0]}"
    return f"{', '.join(parts)}; {system}, Python {platform.python_version()}, {versions}"


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def found(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"


def product() -> str:
    """Version and commit of pixfold, and whether its source is changed since."""
    import pixfold

    words = f"pixfold {pixfold.__version__}"
    commit = git("rev-parse", "--short=7", "HEAD")
    if commit:
        words += f" at {commit}"
        words += " with changes" if git("status", "--porcelain", "--", "python", "csrc", "cuda") else ""
    return words


def git(*words: str) -> str:
    try:
        return subprocess.run(
            ["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
