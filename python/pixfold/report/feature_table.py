"""The table of the best features on the page: its columns, and a cell for each feature."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# p-values below it are not told apart.
_SMALLEST = 1e-99
# Rows that are seen before one asks for all.
SHOWN = 25
# Classes that get a column each with their means, or else a square each, and what is told of a feature below its name.
_MOST_CLASSES, _MOST_SQUARES, _MOST_NOTES = 3, 16, 3


@dataclass(frozen=True)
class Column:
    """A column: its title, what it says, the class of its cells, and whether large values come first."""

    title: str
    about: str
    css: str = "n"
    falling: bool = False


@dataclass(frozen=True)
class Cell:
    """What a cell shows, what it is sorted by, and what is drawn or written in small beside it."""

    text: str
    value: str
    css: str = "n"
    notes: Sequence[str] = ()
    bar: tuple[str, str, str] | None = None
    flag: bool = False
    squares: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Row:
    """A feature; `more` is for those that are seen when one asks for all."""

    cells: Sequence[Cell]
    text: str
    more: bool


def feature_table(document: Mapping[str, Any]) -> tuple[list[Column], list[Row]]:
    """Make the table of a document; no column where no feature has a rank."""
    features = document["features"]
    if not features:
        return [], []
    supervised = document["task"] != "self-supervised"
    several = any(feature["importance_se"] is not None for feature in features)
    names = document["classes"] if "class_means" in features[0] else []
    classes = names if len(names) <= _MOST_CLASSES else []
    squares = names if _MOST_CLASSES < len(names) <= _MOST_SQUARES else []
    others = [key for key in ("rank_test", "rank_l1", "rank_l2") if any(key in feature for feature in features)]
    columns = [
        Column("rank", "1 has the most evidence"),
        Column("feature", "its name, and what the input says of it", "name"),
        Column("", "evidence and its standard error over the runs", "bar"),
        Column(
            "evidence, %" if supervised else "importance, %",
            "share of a run's total, mean over the runs" + (" ± standard error" if several else ""),
            falling=True,
        ),
    ]
    if supervised:
        columns.append(Column("speaks for", "what a high value speaks for", "t"))
        columns += [
            Column(f"in {name}", f"mean normalised value of {name}: above 0 it is higher than on average", falling=True)
            for name in classes
        ]
        if squares:
            about = f"mean normalised value in {', '.join(squares)}: red is above 0, blue below"
            columns.append(Column("by class", about, "squares"))
        columns.append(Column("q", "share of false features to expect down to this one"))
    if several:
        k = document["metrics"].get("top_k")
        columns.append(
            Column("in top k" if k is None else f"in top {k}", "share of the runs that have it there", falling=True)
        )
        columns.append(Column("mean rank", "mean of its ranks in the runs"))
    titles = _titles_of(document)
    columns += [Column(*titles[key]) for key in others]
    reach = max(feature["importance"] + (feature["importance_se"] or 0.0) for feature in features)
    rows = []
    for number, feature in enumerate(features):
        cells = [_rank(feature), _name(feature), *_evidence(feature, reach)]
        if supervised:
            cells.append(Cell(feature["direction"], feature["direction"], "t"))
            cells += [_number(feature["class_means"][name], "{:+.2f}") for name in classes]
            if squares:
                cells.append(_squares(feature["class_means"], squares))
            cells.append(_number(feature["q"], text=p_value(feature["q"])))
        if several:
            cells += [_number(feature["selection_frequency"], "{:.0%}"), _number(feature["mean_rank"], "{:,.0f}")]
        cells += [_number(feature.get(key), "{:,g}") for key in others]
        notes = " ".join(_notes(feature))
        rows.append(
            Row(cells, f"{feature['feature']} {feature['shown']} {notes} {feature['direction']}", number >= SHOWN)
        )
    return columns, rows


def p_value(p: float | None) -> str:
    """Write a p- or q-value; nothing where there is none."""
    return "" if p is None else f"{p:.2g}" if p >= _SMALLEST else f"< {_SMALLEST:g}"


def _titles_of(document: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    models = document["metrics"].get("baselines", {})

    def named(key: str, otherwise: str) -> str:
        return str(models.get(key, {}).get("name", otherwise))

    return {
        "rank_test": ("by test", f"rank by {named('test', 'a test of each feature by itself')}"),
        "rank_l1": ("by L1", f"rank by {named('l1', 'a linear model, L1')}; none for a weight of 0"),
        "rank_l2": ("by L2", f"rank by {named('l2', 'a linear model, L2')}"),
    }


def _rank(feature: Mapping[str, Any]) -> Cell:
    return Cell(f"{feature['rank']:,g}", repr(feature["rank"]), flag=feature["unsteady"])


def _name(feature: Mapping[str, Any]) -> Cell:
    notes = _notes(feature)
    css = "name called" if feature["called"] else "name"
    return Cell(feature["shown"], feature["shown"], css, notes)


def _notes(feature: Mapping[str, Any]) -> list[str]:
    """What else is known of a feature: its name where another one is shown, then its annotation."""
    notes = [] if feature["feature"] == feature["shown"] else [feature["feature"]]
    for column, value in feature.get("annotation", {}).items():
        # A number or a yes says nothing without the name of its column.
        text = "" if value is None else value if isinstance(value, str) else f"{column}: {value}"
        if text and text not in (feature["shown"], *notes):
            notes.append(text)
    return notes[:_MOST_NOTES]


def _evidence(feature: Mapping[str, Any], reach: float) -> list[Cell]:
    importance, error = feature["importance"], feature["importance_se"]
    spread = error or 0.0
    low, width = max(0.0, importance - spread), min(2 * spread, importance + spread)
    bar = tuple(f"{value / reach:.4f}" for value in (importance, low, width))
    text = _percent(importance) if error is None else f"{_percent(importance)} ± {_percent(error, 1)}"
    return [
        Cell("", repr(importance), "bar", bar=(bar[0], bar[1], bar[2] if spread else "")),
        Cell(text, repr(importance)),
    ]


def _squares(means: Mapping[str, float | None], names: Sequence[str]) -> Cell:
    """Draw a square for each class, red where the feature is higher than on average and blue where it is lower."""
    reach = max((abs(means[name] or 0.0) for name in names), default=0.0) or 1.0
    drawn = []
    for name in names:
        mean = means[name] or 0.0
        tone = "178,24,43" if mean > 0 else "33,102,172"
        drawn.append((f"{name}: {mean:+.2f}", f"rgba({tone},{abs(mean) / reach:.2f})"))
    return Cell("", "", "squares", squares=drawn)


def _percent(share: float, figures: int = 3) -> str:
    """Write a share in percent with so many significant figures, never as a power of ten."""
    percent = 100.0 * share
    if percent <= 0.0:
        return "0"
    return f"{percent:.{max(0, figures - 1 - math.floor(math.log10(percent)))}f}"


def _number(value: float | None, form: str = "", *, text: str | None = None) -> Cell:
    if value is None or not math.isfinite(value):
        return Cell("", "")
    return Cell(form.format(value) if text is None else text, repr(value))
