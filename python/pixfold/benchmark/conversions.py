"""Run competitors one after the other, each in a process of its own, within limits of time and memory."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pixfold.benchmark.competitors import COMPETITORS
from pixfold.errors import InputError
from pixfold.util.provenance import versions

_RIVALS = ("pydeepmapper", "pyDeepInsight", "umap-learn", "TINTOlib")
_START = 180.0  # seconds for imports and data, which are not timed
_VALUES = 100_000_000


def samples_for(features: int, samples: int | None = None) -> int:
    """As asked; else 1,000, or fewer so that there are at most 10^8 values."""
    return samples or max(10, min(1000, _VALUES // features))


def compare(
    features: Sequence[int],
    names: Sequence[str],
    *,
    samples: int | None = None,
    limit: float = 60.0,
    memory: float = 8.0,
    seed: int = 0,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Measure every competitor at every number of features.

    Parameters
    ----------
    features : sequence of int
        Numbers of features.
    names : sequence of str
        Keys of ``COMPETITORS``.
    samples : int, optional
        Default: 1,000, or as many as make 10^8 values.
    limit : float
        Seconds that one conversion may take.
    memory : float
        GB that one process may use, its Python and its data included (watched on Linux).
    seed : int
        Of the data.
    say : callable
        Gets a line after each measurement.

    Returns
    -------
    dict
        ``machine``, ``settings`` and ``rows``; a row has ``failed`` where the competitor did not finish.

    Raises
    ------
    InputError
        When an argument is out of its range.
    """
    unknown = [name for name in names if name not in COMPETITORS]
    if unknown:
        raise InputError(f"bench: competitors must be among {', '.join(COMPETITORS)}, got {', '.join(unknown)}")
    for what, value, least in [
        *(("features", number, 4) for number in features),
        ("samples", 10 if samples is None else samples, 10),
        ("seed", seed, 0),
    ]:
        if value < least:
            raise InputError(f"bench: {what} must be at least {least}, got {value}")
    for what, amount in (("limit", limit), ("memory", memory)):
        if not amount > 0:
            raise InputError(f"bench: {what} must be above 0, got {amount:g}")
    rows = []
    for number in features:
        for name in names:
            job = {"name": name, "samples": samples_for(number, samples), "features": number, "seed": seed}
            row = job | {"work": COMPETITORS[name].work} | _alone(job, limit, memory)
            rows.append(row)
            took = row.get("failed") or f"{best(row) * 1e3:,.1f} ms"
            say(f"{number:>9,} features  {name:<22} {took}")
    settings = {"limit_s": limit, "memory_gb": memory, "seed": seed}
    return {"machine": machine(), "settings": settings, "rows": rows}


def best(row: dict[str, Any]) -> float:
    """Seconds: of a repeated conversion where there was time for one, else of the first."""
    seconds = row["first_s"] if row["again_s"] is None else row["again_s"]
    return float(seconds)


def _alone(job: dict[str, Any], limit: float, memory: float) -> dict[str, Any]:
    name = job["name"]
    package = COMPETITORS[name].package
    if not _installed(package):
        return {"failed": f"{package} is not installed"}
    if "GPU" in name and not _has_gpu():
        return {"failed": "no GPU here"}
    too_slow, too_big = f"not within {limit:g} s", f"not within {memory:g} GB"
    with tempfile.TemporaryDirectory(prefix="pixfold-bench-") as folder:
        given = json.dumps(job | {"limit": limit, "folder": folder})
        command = [sys.executable, "-m", "pixfold.benchmark.worker", given]
        out, err = Path(folder) / "out", Path(folder) / "err"
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(command, stdout=stdout, stderr=stderr, env=os.environ | {"TMPDIR": folder})
            end = time.monotonic() + limit * 2 + _START
            try:
                while process.poll() is None:
                    if _resident(process.pid) > memory * 1e9:
                        return {"failed": too_big}
                    if time.monotonic() > end:
                        return {"failed": too_slow}
                    time.sleep(0.02)
            finally:
                process.kill()
                process.wait()
        if process.returncode == -getattr(signal, "SIGALRM", -1):
            return {"failed": too_slow}
        lines = out.read_text().splitlines()
        if process.returncode or not lines:
            last = (err.read_text(errors="replace").strip().splitlines() or ["no message"])[-1]
            return {"failed": f"ended with {process.returncode}: {last[:200]}"}
        answer: dict[str, Any] = json.loads(lines[-1])
        return {"failed": too_big} if answer.get("failed") == "memory" else answer


def _installed(package: str) -> bool:
    try:
        return bool(version(package))
    except PackageNotFoundError:
        return False


def _has_gpu() -> bool:
    from pixfold.build import build_config

    return bool(build_config()["cuda_devices"])


def _resident(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def machine() -> dict[str, Any]:
    """Hardware, system and versions; `load` says how busy the machine was."""
    from pixfold.build import build_config

    config = build_config()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "cpu": _processor(),
        "threads": config["threads"],
        "instruction set": config["isa"],
        "gpu": "; ".join(config["cuda_devices"]) or "none",
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "load": None if load is None else round(load, 1),
        "versions": {name: found for name, found in versions().items() if name in _SHOWN}
        | {name: version(name) for name in _RIVALS if _installed(name)},
    }


_SHOWN = ("pixfold", "python", "numpy", "scipy", "scikit-learn", "torch")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
