"""The command: ``python -m benchmarks.list_bars [BAR...]``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

# As the command line of pixfold does, and before anything loads OpenMP.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from benchmarks.list_bars import (
    accuracy,
    haystack,
    nulls,
    planted,
    reference,
    replication,
    speed,
    structure,
    two_features,
)
from benchmarks.list_bars.bench import Bench, Journal
from benchmarks.list_bars.methods import Ours
from benchmarks.list_bars.results import Row, save
from benchmarks.list_bars.settings import parse

# In the order of the table.
BARS: dict[str, Callable[[Bench], list[Row]]] = {
    "replication": replication.rows,
    "planted": planted.rows,
    "reference": reference.rows,
    "nulls": nulls.rows,
    "two-features": two_features.rows,
    "accuracy": accuracy.rows,
    "haystack": haystack.rows,
    "structure": structure.rows,
    "time": speed.rows,
}


def main(arguments: Sequence[str] | None = None, estimator: Any = None) -> int:
    """Measure the bars that are named, or all; 1 where one of them is not met."""
    bars, settings = parse(arguments, list(BARS))
    ours = Ours(estimator, settings.options)
    bench = Bench(settings, ours, Journal(settings.journal, settings.fingerprint(ours.name)))
    failed = missing = 0
    for bar in bars:
        rows = BARS[bar](bench)
        save(settings.out, bar, rows, list(BARS), settings.given)
        for row in rows:
            print(f"{bar}: {row.what}: {row.measured}; wanted {row.wanted or '-'}: {row.verdict or '-'}", flush=True)
        failed += sum(row.passed is False for row in rows)
        missing += sum(row.verdict == "not measured" for row in rows)
    print(f"{failed} rows fail, {missing} were not measured: {settings.out / 'RESULTS.md'}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
