"""How long ``pixfold run`` takes with its defaults, from the start of the process on, with AVX2 and nothing newer."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from benchmarks.list_bars.bench import Bench
from benchmarks.list_bars.machine import cores
from benchmarks.list_bars.results import Row, skipped

import pixfold

AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "PIXFOLD_ISA": "avx2"}
TABLE_SECONDS = 60
HAYSTACK_SECONDS = 90
INFORMATIVE = 50


class JobError(Exception):
    """A job did not end well."""


def rows(bench: Bench) -> list[Row]:
    settings = bench.settings
    table = (settings.table_samples, settings.table_features)
    full = (settings.haystack_samples, settings.haystack_features)
    kinds: tuple[tuple[str, tuple[int, int], str, int, Callable[[Path, int, int], None]], ...] = (
        ("table", table, ".h5ad", TABLE_SECONDS, write_table),
        ("table", table, ".csv", TABLE_SECONDS, write_table),
        ("needle in a haystack", full, ".h5ad", HAYSTACK_SECONDS, write_haystack),
    )
    made = []
    for name, size, ending, limit, write in kinds:
        what = f"{name} of {size[0]:,} x {size[1]:,}, {ending}"
        key = ("time", what, settings.rounds, settings.cores)
        wanted = f"at most {limit} s"
        try:
            took = bench.unit(key, jobs, write, size, ending, bench)
        except JobError as error:
            made.append(Row(what, f"the job failed: {error}", wanted, False))
            continue
        seconds = statistics.median(took["seconds"])
        text = (
            f"{seconds:.1f} s ({', '.join(f'{each:.1f}' for each in took['seconds'])}), imports {took['imports']:.1f} s"
        )
        text += f"; load {took['load']:.1f} before, {took['cores']} cores{threads()}"
        if took["cores"] != settings.cores:
            made.append(skipped(what, f"on {took['cores']} of {settings.cores} cores, {text}", wanted))
        else:
            made.append(Row(what, text, wanted, seconds <= limit))
    return made


def threads() -> str:
    return f", OMP_NUM_THREADS={os.environ['OMP_NUM_THREADS']}" if "OMP_NUM_THREADS" in os.environ else ""


def jobs(
    write: Callable[[Path, int, int], None], size: tuple[int, int], ending: str, bench: Bench
) -> dict[str, object]:
    settings = bench.settings
    with tempfile.TemporaryDirectory() as folder, few_cores(settings.cores) as used:
        small, data = Path(folder, f"small{ending}"), Path(folder, f"data{ending}")
        write(small, min(40, size[0]), min(INFORMATIVE, size[1]))
        write(data, *size)
        # A small job loads the same modules, and has them in the file cache for the others.
        imports = imported(run(small, Path(folder, "out"), settings.command_options, "-X", "importtime")[1])
        load = os.getloadavg()[0]
        seconds = [run(data, Path(folder, f"out{i}"), settings.command_options)[0] for i in range(settings.rounds)]
    return {"seconds": seconds, "imports": imports, "load": load, "cores": used}


@contextmanager
def few_cores(number: int) -> Iterator[int]:
    """Leave processes that are started here so many cores, or those that there are; yields how many."""
    if not hasattr(os, "sched_setaffinity"):
        yield cores()
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:number])
    try:
        yield cores()
    finally:
        os.sched_setaffinity(0, before)


def run(data: Path, out: Path, options: tuple[str, ...], *interpreter: str) -> tuple[float, str]:
    """Seconds, and what went to stderr."""
    command = [
        sys.executable,
        *interpreter,
        "-m",
        "pixfold",
        "run",
        str(data),
        "--label",
        "label",
        "--out",
        str(out),
        "--quiet",
        "--force",
    ]
    # The package that runs here, installed or not, is the one that is timed.
    package = str(Path(pixfold.__file__).resolve().parents[1])
    python = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
    environment = os.environ | AVX2 | {"PYTHONPATH": python}
    started = time.perf_counter()
    done = subprocess.run([*command, *options], env=environment, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise JobError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"status {done.returncode}")
    return seconds, done.stderr


def imported(said: str) -> float:
    """Seconds that Python counted for all imports."""
    return sum(int(own) for own in re.findall(r"^import time:\s+(\d+) \|", said, re.MULTILINE)) / 1e6


def write_table(path: Path, samples: int, features: int) -> None:
    """Log-normal values in two classes, which differ by 1 sd in 50 features."""
    import pandas as pd

    rng = np.random.default_rng(0)
    y = np.arange(samples) % 2
    values = rng.normal(5, 1, (samples, features))
    values[:, :INFORMATIVE] += y[:, None]
    X = np.exp(values).astype(np.float32)
    names = [f"sample_{i}" for i in range(samples)]
    labels = np.where(y == 1, "case", "control")
    if path.suffix == ".csv":
        table = pd.DataFrame(X, index=pd.Index(names, name="sample"), columns=[f"gene_{j}" for j in range(features)])
        table.insert(0, "label", labels)
        table.to_csv(path)
        return
    import anndata

    var = pd.DataFrame(index=[f"gene_{j}" for j in range(features)])
    anndata.AnnData(X, obs=pd.DataFrame({"label": pd.Categorical(labels)}, index=names), var=var).write_h5ad(path)


def write_haystack(path: Path, samples: int, features: int) -> None:
    from pixfold.examples.synthetic import write_nihs

    write_nihs(path, samples, features)
