"""The command ``python -m benchmarks.compare``: every competitor at every size; tables are written after each size."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

from pixfold.benchmark.competitors import COMPETITORS
from pixfold.benchmark.conversions import compare
from pixfold.benchmark.report import write
from pixfold.errors import PixfoldError

FEATURES = (1_000, 19_319, 100_000, 1_000_000)


def main(arguments: list[str] | None = None) -> int:
    """Measure and write compare.md, compare.svg and compare.json."""
    parser = argparse.ArgumentParser(prog="benchmarks.compare", description=__doc__.partition(": ")[2])
    parser.add_argument("--features", type=int, nargs="+", default=FEATURES)
    parser.add_argument("--samples", type=int, help="default: 1,000, or fewer so that there are at most 10^8 values")
    parser.add_argument("--limit", type=float, default=60, help="seconds that one conversion may take (60)")
    parser.add_argument("--memory", type=float, default=8, help="GB that one process may use (8)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", default=list(COMPETITORS), metavar="NAME")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    given = parser.parse_args(arguments)
    rows: list[dict[str, Any]] = []
    said = list(sys.argv[1:] if arguments is None else arguments)
    if "--out" in said:  # of this machine alone
        del said[said.index("--out") : said.index("--out") + 2]
    command = shlex.join(["python", "-m", "benchmarks.compare", *said])
    for number in given.features:
        try:
            found = compare(
                [number],
                given.only,
                samples=given.samples,
                limit=given.limit,
                memory=given.memory,
                seed=given.seed,
                say=lambda line: print(line, flush=True),
            )
        except PixfoldError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        rows = sorted(rows + found["rows"], key=lambda row: row["features"])
        write(found | {"rows": rows, "command": command}, given.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
