"""What every bar is given: settings, the estimator, and a journal of what is measured already."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.list_bars.machine import product
from benchmarks.list_bars.methods import Ours
from benchmarks.list_bars.settings import Settings


class Journal:
    """Units that were measured, one line of JSON each; of one state of the product and one set of options.

    A line holds a key and what was measured. The first line says what it was measured with, and a run with something
    else refuses the file.
    """

    def __init__(self, path: Path | None, fingerprint: str) -> None:
        self.path, self.known = path, {}
        if path is None:
            return
        head = {"product": product(), "with": fingerprint}
        if not path.exists():
            path.write_text(json.dumps(head) + "\n")
            return
        lines = path.read_text().splitlines()
        if not lines or json.loads(lines[0]) != head:
            sys.exit(
                f"{path}: measured with something else, {lines[0] if lines else 'unknown'}, not with {json.dumps(head)}"
            )
        for line in lines[1:]:
            try:
                key, value = json.loads(line)
            except ValueError:  # a run was ended while it wrote
                continue
            self.known[json.dumps(key)] = value

    known: dict[str, Any]

    def add(self, key: tuple[Any, ...], value: Any) -> None:
        self.known[json.dumps(key)] = value
        if self.path is not None:
            with self.path.open("a") as file:
                file.write(json.dumps([key, value]) + "\n")


@dataclass(frozen=True)
class Bench:
    settings: Settings
    ours: Ours
    journal: Journal

    def unit(self, key: tuple[Any, ...], measure: Callable[..., Any], *arguments: Any) -> Any:
        """Measure something small enough to be lost, or take it from the journal; its value is plain JSON."""
        text = json.dumps(key)
        if text not in self.journal.known:
            started = time.perf_counter()
            self.journal.add(key, measure(*arguments))
            print(f"{time.perf_counter() - started:7.1f} s  {' '.join(map(str, key))}", file=sys.stderr, flush=True)
        return self.journal.known[text]
