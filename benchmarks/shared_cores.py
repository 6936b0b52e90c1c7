"""Two ``pixfold run`` at once against one alone: how much a job loses beside another on the same cores.

Run it with a data file, or without one for a needle in a haystack of 2,000 samples x 4,000 features. Options that it
does not know go to ``pixfold run``::

    python benchmarks/shared_cores.py --data ../shared/data/golub.csv.gz --label label --runs 1

It ends with 1 where two at once take more than 2.5 times one alone: twice the work, and a quarter for the caches and
the clock that they share. Jobs alone and in pairs take turns, and each kind counts by its median, so that other
processes on the machine weigh on both.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMIT = 2.5


def seconds(jobs: int, command: list[str]) -> tuple[float, float]:
    """Wall time of so many jobs at once, and the CPU time that they took together."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        running = [
            subprocess.Popen([*command, "--out", f"{folder}/{job}"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            for job in range(jobs)
        ]
        for job in running:
            _, said = job.communicate()
            if job.returncode:
                sys.exit(said.decode())
    wall = time.perf_counter() - start
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, now.ru_utime + now.ru_stime - spent.ru_utime - spent.ru_stime


def main() -> int:
    """Measure, print a table, and compare with the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="a file that pixfold reads")
    parser.add_argument("--label", default="label")
    parser.add_argument("--backbone", default="patchnet")
    parser.add_argument("--repeats", type=int, default=3)
    given, options = parser.parse_known_args()  # options of pixfold run among them
    with tempfile.TemporaryDirectory() as folder:
        data = given.data or str(Path(folder) / "haystack.h5ad")
        pixfold = [sys.executable, "-m", "pixfold"]
        if given.data is None:
            subprocess.run([*pixfold, "nihs", data, "--samples", "2000", "--features", "4000"], check=True)
        run = [*pixfold, "run", data, "--label", given.label, "--backbone", given.backbone, "--quiet", *options]
        pairs = [(seconds(1, run), seconds(2, run)) for _ in range(given.repeats)]
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {data}")
    print("          wall, s  CPU, s")
    medians = [[statistics.median(pair[kind][what] for pair in pairs) for what in (0, 1)] for kind in (0, 1)]
    for name, (wall, spent) in zip(("one alone", "two at once"), medians, strict=True):
        print(f"{name:11} {wall:6.1f} {spent:7.1f}")
    ratio = medians[1][0] / medians[0][0]
    print(f"ratio {ratio:.2f}, limit {LIMIT}")
    return int(ratio > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
