"""A comparison as text: Markdown, an SVG chart, JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pixfold.benchmark.conversions import best
from pixfold.util.files import staged
from pixfold.util.optional import require

_HEAD = (
    "| | work | time | first call | against pixfold | peak memory, of it new | image | features sharing a pixel |\n"
    "|---|---|---|---|---|---|---|---|"
)


def machine_line(found: dict[str, Any]) -> str:
    """What it ran on, in one sentence."""
    of, settings = found["machine"], found["settings"]
    packages = ", ".join(f"{name} {number}" for name, number in of["versions"].items())
    load = "" if of["load"] is None else f" Load of the machine when it ended: {of['load']}."
    return (
        f"{of['cpu']}, {of['threads']} threads, {of['instruction set']}; GPU: {of['gpu']}; {of['system']}; {packages}. "
        f"Seed {settings['seed']}; limits: {settings['limit_s']:g} s a conversion, {settings['memory_gb']:g} GB a "
        f"process.{load}"
    )


def seconds(value: float | None) -> str:
    """In the unit that reads best."""
    if value is None:
        return "-"
    return f"{value * 1e3:.3g} ms" if value < 1 else f"{value:,.3g} s"


def markdown(found: dict[str, Any]) -> str:
    """Return one table per number of features."""
    parts = [f"Measured with `{found['command']}`."] if "command" in found else []
    parts.append(machine_line(found))
    for number in dict.fromkeys(row["features"] for row in found["rows"]):
        rows = [row for row in found["rows"] if row["features"] == number]
        ours = next((best(row) for row in rows if row["name"] == "pixfold" and "failed" not in row), None)
        lines = [f"### {rows[0]['samples']:,} samples x {number:,} features\n", _HEAD]
        for row in rows:
            start = f"| {row['name']} | {row['work']} "
            if "failed" in row:
                lines.append(f"{start}| {row['failed'].replace('|', '/')} | | | | | |")
                continue
            ratio = "" if ours is None else f"{best(row) / ours:,.3g} x"
            memory = f"{row['peak_bytes'] / 1e9:.2f} GB, {row['added_bytes'] / 1e9:.2f}"
            image = " x ".join(map(str, row["image"]))
            lines.append(
                f"{start}| {seconds(best(row))} | {seconds(row['first_s'])} | {ratio} | {memory} | {image} "
                f"| {row['sharing']:,} |"
            )
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def chart(found: dict[str, Any], path: Path) -> None:
    """Time and memory against the number of features; a cross where a competitor did not finish."""
    matplotlib = require("matplotlib", "train", "drawing a chart")
    matplotlib.use("Agg")
    plt = require("matplotlib.pyplot", "train", "drawing a chart")
    matplotlib.rcParams["svg.hashsalt"] = "pixfold"
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    names = list(dict.fromkeys(row["name"] for row in found["rows"]))
    limit = found["settings"]["limit_s"]
    for place, name in enumerate(names):
        rows = [row for row in found["rows"] if row["name"] == name]
        done = [row for row in rows if "failed" not in row]
        late = [row for row in rows if row.get("failed", "").startswith("not within")]
        if not done and not late:
            continue
        # Ten strong colours, and then their pale ones.
        color = matplotlib.colormaps["tab20"].colors[(2 * place + place // 10) % 20]
        look = {"color": color, "marker": "os^vD"[place % 5], "lw": 3 if name == "pixfold" else 1.3, "ms": 4}
        line = "--" if place >= 6 else "-"
        axes[0].plot([r["features"] for r in done], [best(r) for r in done], line, label=name, **look)
        axes[1].plot([r["features"] for r in done], [r["peak_bytes"] / 1e9 for r in done], line, **look)
        axes[0].plot([r["features"] for r in late], [limit] * len(late), "x", color=look["color"], ms=9, mew=2)
    axes[0].axhline(limit, color="0.6", lw=0.8, ls=":")
    for axis, text in zip(axes, ("seconds of a conversion (x: not finished)", "peak memory, GB"), strict=True):
        axis.set(xscale="log", yscale="log", xlabel="features", ylabel=text)
        axis.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize=8)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=110)
    plt.close(figure)


def write(found: dict[str, Any], folder: Path, name: str = "compare") -> list[Path]:
    """Write NAME.md, NAME.svg and NAME.json, all or none of them."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{ending}" for ending in ("md", "svg", "json")]
    with staged(*paths) as (text, picture, values):
        text.write_text(f"# Conversions compared\n\n{markdown(found)}\n![time and memory]({name}.svg)\n")
        chart(found, picture)
        values.write_text(json.dumps(found, indent=1) + "\n")
    return paths
