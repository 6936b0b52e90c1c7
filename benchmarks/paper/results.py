"""What the commands share: options, a journal, intervals over seeds, and results as text, figure and JSON."""

from __future__ import annotations

import argparse
import json
import math
import re
import shlex
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.list_bars.bench import Journal
from benchmarks.list_bars.machine import ROOT, machine, product
from benchmarks.list_bars.settings import at_least

from pixfold.errors import PixfoldError

SHARED = ROOT.parent / "shared" / "data"


def parser(name: str, description: str | None, *, seeds: int, seconds: float) -> argparse.ArgumentParser:
    """Options of every command."""
    made = argparse.ArgumentParser(prog=f"benchmarks.paper.{name}", description=description, allow_abbrev=False)
    made.add_argument("--seeds", type=at_least(1), default=seeds, help=f"how often with another seed ({seeds})")
    made.add_argument("--time", type=float, default=seconds, help="begin no further seed after so many seconds")
    made.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    made.add_argument("--data-folder", type=Path, default=SHARED, help="where the real sets are")
    made.add_argument(
        "--journal", type=Path, help="keep what is measured in this file, and do not measure it again in a later run"
    )
    return made


def run_command(main: Callable[[], int]) -> None:
    """Run a command; what is wrong with its input is said in one line."""
    try:
        sys.exit(main())
    except PixfoldError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def within(seeds: int, seconds: float) -> Iterator[int]:
    """Seeds 0, 1, ... until they or the seconds are used up; the first always."""
    started = time.monotonic()
    for seed in range(seeds):
        if seed and time.monotonic() - started > seconds:
            print(f"time is up: {seed} of {seeds} seeds", file=sys.stderr)
            return
        yield seed


class Units:
    """What is measured one by one, and kept in the journal where there is one.

    A journal holds for one state of the product and one set of options; a further run refuses it otherwise. How many
    seeds, how long and where results go may change.
    """

    def __init__(self, given: argparse.Namespace) -> None:
        free = {"seeds", "time", "out", "data_folder", "journal"}
        self._options = {name: value for name, value in vars(given).items() if name not in free}
        if given.journal is not None and not given.journal.parent.is_dir():
            sys.exit(f"error: --journal: there is no folder {given.journal.parent}")
        self._journal = Journal(given.journal, json.dumps(self._options, default=str, sort_keys=True))

    def __call__(self, key: tuple[Any, ...], measure: Callable[[], Any]) -> Any:
        """What the journal has under this key, or else what `measure` returns: plain JSON."""
        text = json.dumps(key)
        if text not in self._journal.known:
            self._journal.add(key, measure())
            print(*key, textwrap.shorten(str(self._journal.known[text]), 160), flush=True)
        return self._journal.known[text]


def half_width(values: Sequence[float], shared: float = 0.0) -> float:
    """Half of the 95 % interval of the mean, by Student's t; NaN for one value.

    Parameters
    ----------
    values
        One per seed.
    shared
        Held-out samples per training sample, where the seeds are splits of one set. Such splits share samples, and the
        variance of their mean is ``1 / n + shared`` times that of a value (Nadeau and Bengio, 2003) rather than
        ``1 / n``.
    """
    if len(values) < 2:
        return math.nan
    from scipy.stats import t

    n = len(values)
    return float(t.ppf(0.975, n - 1) * np.std(values, ddof=1) * math.sqrt(1 / n + shared))


def interval(values: Sequence[float], digits: int = 3, shared: float = 0.0) -> str:
    """Mean, and half of its 95 % interval where there are several values."""
    mean = f"{float(np.mean(values)):.{digits}f}"
    return mean + (f" ± {half_width(values, shared):.{digits}f}" if len(values) > 1 else "")


def counted(seeds: int, wanted: int, what: str = "seed") -> str:
    """'5 seeds', and how many were wanted where they are fewer."""
    words = f"{seeds} {what}" + ("" if seeds == 1 else "s")
    return words + (f" of {wanted} that were wanted" if seeds < wanted else "")


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows])


def save(out: Path, name: str, text: str, values: Any, draw: Callable[[Any], None] | None, arguments: Any) -> None:
    """Write NAME.md, NAME.png and NAME.json."""
    out.mkdir(parents=True, exist_ok=True)
    command = shlex.join(["python", "-m", f"benchmarks.paper.{name}", *_for_anyone(arguments)])
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
    lines = json.dumps({"command": command, "measured": values}, indent=1)
    # A list of numbers on a line of its own.
    lines = re.sub(r"\[[\d\s.,eE+-]+\]", lambda found: " ".join(found[0].split()), lines)
    (out / f"{name}.json").write_text(lines + "\n")


def _for_anyone(arguments: Sequence[str] | None) -> list[str]:
    """The words of the command without places of this machine."""
    words = iter(sys.argv[1:] if arguments is None else arguments)
    kept = []
    for word in words:
        name, equals, _ = word.partition("=")
        if name not in ("--out", "--data-folder", "--journal"):
            kept.append(word)
        elif not equals:
            next(words, None)
    return kept
