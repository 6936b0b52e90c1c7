"""One competitor in a process of its own: ``python -m pixfold.benchmark.worker JSON`` prints one line of JSON."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import statistics
import sys
import time
import warnings
from pathlib import Path
from typing import Any

# As the command line of pixfold does, and before anything loads OpenMP.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

_REPEATS = 3


def measure(name: str, samples: int, features: int, seed: int, limit: float, folder: str) -> dict[str, Any]:
    """Convert once within `limit` seconds and check the result; then again as often as fits into them, 3 times at most.

    The first conversion may compile what the next ones use.
    """
    from pixfold.benchmark.competitors import COMPETITORS, data, sharing, side_of

    X = data(samples, features, seed)
    job = COMPETITORS[name].make(X, Path(folder))
    before = resident()
    # The default action of the signal ends the process even where a library does not return to Python.
    timer = getattr(signal, "setitimer", None)
    if timer is not None:
        timer(signal.ITIMER_REAL, limit)
    started = time.perf_counter()
    result = job.run()
    first = time.perf_counter() - started
    if timer is not None:
        timer(signal.ITIMER_REAL, 0)
    peak = peak_memory()
    side = side_of(features)
    found = {"first_s": first, "peak_bytes": peak, "added_bytes": max(peak - before, 0), "image": [side, side]}
    job.check(result)
    found["sharing"] = sharing(result.pixel_of_feature)
    again: list[float] = []
    while len(again) < _REPEATS and first + sum(again) + (again[-1] if again else first) < limit:
        del result
        gc.collect()
        started = time.perf_counter()
        result = job.run()
        again.append(time.perf_counter() - started)
    job.check(result)
    return found | {"again_s": statistics.median(again) if again else None}


def _status(key: str) -> int:
    """Bytes that Linux counts for this process alone; 0 elsewhere."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) * 1024
    return 0


def resident() -> int:
    """Bytes in memory now; 0 where the system does not say."""
    return _status("VmRSS")


def peak_memory() -> int:
    """Return the most bytes in memory so far: VmHWM, elsewhere ru_maxrss, in which the parent's may be counted."""
    peak = _status("VmHWM")
    if peak == 0:
        with contextlib.suppress(ImportError):
            import resource

            # Kilobytes, but bytes on macOS.
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return peak


def main() -> None:
    """Measure what the argument says; an error is part of the answer."""
    warnings.simplefilter("ignore")
    given = json.loads(sys.argv[1])
    with contextlib.redirect_stdout(sys.stderr):
        try:
            answer = measure(**given)
        except MemoryError:
            answer = {"failed": "memory"}
        except Exception as error:
            answer = {"failed": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
