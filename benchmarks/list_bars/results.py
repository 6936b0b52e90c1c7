"""Rows, and the table: what each bar measured last is kept in results.json, and RESULTS.md is made from it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.list_bars.machine import machine, product

HEAD = """# Can the list be trusted: the bars

Made by `python -m benchmarks.list_bars` (`make bars`); what is measured and how: the modules beside
this file. ± is a standard error.
"""


@dataclass(frozen=True)
class Row:
    """One line of the table. Without `wanted` it is there to compare with; with it and no `passed`, not measured."""

    what: str
    measured: str
    wanted: str = ""
    passed: bool | None = None

    @property
    def verdict(self) -> str:
        if not self.wanted:
            return ""
        return {True: "pass", False: "**fail**", None: "not measured"}[self.passed]


def skipped(what: str, reason: str, wanted: str) -> Row:
    return Row(what, f"not measured: {reason}", wanted)


def save(folder: Path, bar: str, rows: Sequence[Row], order: Sequence[str], settings: str) -> None:
    """Replace what is known of one bar, and write the table again."""
    folder.mkdir(exist_ok=True)
    path = folder / "results.json"
    known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    known[bar] = {
        "date": date.today().isoformat(),
        "machine": machine(),
        "product": product(),
        "settings": settings,
        "rows": [asdict(row) for row in rows],
    }
    known = {name: known[name] for name in order if name in known}
    path.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n")
    (folder / "RESULTS.md").write_text(markdown(known, order))


def markdown(known: dict[str, Any], order: Sequence[str]) -> str:
    sections = [HEAD]
    counts = {"pass": 0, "**fail**": 0, "not measured": 0}
    for bar in order:
        lines = [f"## {bar}\n"]
        if bar not in known:
            sections.append("\n".join([*lines, "Not measured yet.\n"]))
            continue
        of = known[bar]
        changed = f" Not the defaults: {of['settings']}." if of["settings"] else ""
        lines += [f"{of['date']}, {of['product']}. {of['machine']}.{changed}\n"]
        lines += ["| what | measured | wanted | |", "|---|---|---|---|"]
        for row in (Row(**values) for values in of["rows"]):
            lines.append("| " + " | ".join(map(cell, (row.what, row.measured, row.wanted, row.verdict))) + " |")
            if row.wanted:
                counts[row.verdict] += 1
        sections.append("\n".join(lines) + "\n")
    total = f"{counts['pass']} rows pass, {counts['**fail**']} fail, {counts['not measured']} were not measured.\n"
    return "\n".join([HEAD, total, *sections[1:]])


def cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
