"""Tables and a small file from what pytest-benchmark wrote: ``summary.py FROM.json... [--to TO.json]``.

The large file names the machine, its paths and every round; the small one keeps what a reader can use elsewhere. With
--readme the tables also replace those that stand between ``<!-- measured: SUITE -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
from pathlib import Path
from typing import Any


def pruned(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """Keep each row's figures, to three digits, and in a few words what they were measured on."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for report in reports:
        for b in report["benchmarks"]:
            if "ratio" in b["extra_info"]:
                suite = Path(b["fullname"].partition("::")[0]).stem.removeprefix("test_")
                rows.setdefault(b["fullname"], []).append({"suite": suite} | b["extra_info"])
    cpu = reports[0]["machine_info"].get("cpu", {})
    machine = {
        "cpu": cpu.get("brand_raw", platform.machine()),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        **versions("numpy", "scipy", "torch", "pydeepmapper", "pyDeepInsight"),
    }
    return {"machine": machine, "rows": [shortened(of_runs(same)) for same in rows.values()]}


def of_runs(same: list[dict[str, Any]]) -> dict[str, Any]:
    """One row for the same row of several runs: the median of their ratios, and the spread over all of them."""
    figures = ("ratio", "op_ms", "limit_ms")
    return (
        same[0]
        | {key: statistics.median(row[key] for row in same) for key in figures}
        | {"spread": [min(row["spread"][0] for row in same), max(row["spread"][1] for row in same)]}
        | {"also": {name: statistics.median(row["also"][name] for row in same) for name in same[0]["also"]}}
        | {"runs": len(same)}
    )


def shortened(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.3g}")
    if isinstance(value, list):
        return [shortened(v) for v in value]
    if isinstance(value, dict):
        return {key: shortened(v) for key, v in value.items()}
    return value


def versions(*names: str) -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def table(rows: list[dict[str, Any]]) -> str:
    lines = ["| work | held to | ms | ratio | of the rounds | wanted |", "|---|---|---|---|---|---|"]
    for row in rows:
        limits = " / ".join([row["limit"], *row["also"]])
        ratios = " / ".join(f"{ratio:.3g}" for ratio in (row["ratio"], *row["also"].values()))
        low, high = row["spread"]
        took = row["limit_ms"]
        lines.append(
            f"| {row['work']} | {limits} | {f'{took:,.0f}' if took >= 10 else f'{took:.2g}'} "
            f"| {ratios} | {low:.3g} to {high:.3g} | {'' if row['wanted'] is None else row['wanted']} |"
        )
    return "\n".join(lines)


def put_into(readme: Path, name: str, text: str) -> None:
    """Replace what stands between the marks of `name`; a file without them stays as it is."""
    marks = re.compile(rf"(<!-- measured: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    readme.write_text(marks.sub(lambda found: f"{found[1]}\n{text}\n\n{found[2]}", readme.read_text()))


def main() -> None:
    """Print the tables of the given reports and put them where they are wanted."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("reports", nargs="+", type=Path, help="what --benchmark-json wrote")
    arguments.add_argument("--to", type=Path, help="the small file")
    arguments.add_argument("--readme", type=Path, help="a text with marks where the tables belong")
    given = arguments.parse_args()
    summary = pruned([json.loads(path.read_text()) for path in given.reports])
    texts = {"machine": ", ".join(f"{key} {value}" for key, value in summary["machine"].items())}
    for row in summary["rows"]:
        texts.setdefault(row["suite"], table([r for r in summary["rows"] if r["suite"] == row["suite"]]))
    for name, text in texts.items():
        print(f"\n{name}\n\n{text}")
        if given.readme is not None:
            put_into(given.readme, name, text)
    if given.to is not None:
        given.to.write_text(json.dumps(summary, indent=1) + "\n")


if __name__ == "__main__":
    main()
