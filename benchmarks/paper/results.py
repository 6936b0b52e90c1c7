"""What the commands share: options, intervals over seeds, and results as text, figure and JSON."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.list_bars.machine import ROOT, machine, product

SHARED = ROOT.parent / "shared" / "data"


def parser(name: str, description: str | None, *, seeds: int, seconds: float) -> argparse.ArgumentParser:
    """Options of every command."""
    made = argparse.ArgumentParser(prog=f"benchmarks.paper.{name}", description=description)
    made.add_argument("--seeds", type=int, default=seeds, help=f"how often with another seed ({seeds})")
    made.add_argument("--time", type=float, default=seconds, help="begin no further seed after so many seconds")
    made.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    made.add_argument("--data-folder", type=Path, default=SHARED, help="where the real sets are")
    return made


def within(seeds: int, seconds: float) -> Any:
    """Seeds 0, 1, ... until they or the seconds are used up; the first always."""
    started = time.monotonic()
    for seed in range(seeds):
        if seed and time.monotonic() - started > seconds:
            print(f"time is up: {seed} of {seeds} seeds", file=sys.stderr)
            return
        yield seed


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Mean, and from the lowest to the highest where there are several."""
    low, mean, high = min(values), float(np.mean(values)), max(values)
    return f"{mean:.{digits}f}" + (f" ({low:.{digits}f} to {high:.{digits}f})" if len(values) > 1 else "")


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows])


def save(out: Path, name: str, text: str, values: Any, draw: Callable[[Any], None] | None, arguments: Any) -> None:
    """Write NAME.md, NAME.png and NAME.json."""
    out.mkdir(parents=True, exist_ok=True)
    given = list(arguments if arguments is not None else sys.argv[1:])
    for place in ("--out", "--data-folder"):  # of this machine alone
        if place in given:
            del given[given.index(place) : given.index(place) + 2]
    command = shlex.join(["python", "-m", f"benchmarks.paper.{name}", *given])
    end = f"Measured with `{command}`; {product()}. {machine()}. Other work ran on the machine: times are rough."
    picture = ""
    if draw is not None:
        import matplotlib as mpl

        mpl.use("Agg")
        from matplotlib import pyplot as plt

        figure = plt.figure(figsize=(9, 3.8), layout="constrained")
        draw(figure)
        figure.savefig(out / f"{name}.png", dpi=90)
        plt.close(figure)
        picture = f"\n![figure]({name}.png)\n"
    (out / f"{name}.md").write_text(f"{text.strip()}\n{picture}\n{end}\n")
    (out / f"{name}.json").write_text(json.dumps({"command": command, "measured": values}, indent=1) + "\n")
