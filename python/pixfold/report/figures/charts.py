"""Charts: training curves, the scores of runs, the confusion matrix, the best features, the latent space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pixfold.report.figures.style import GREY, INK, PALETTE, elided, styled_figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_TOP, _MOST_COUNTS = 20, 30
_FEWEST_RUNS = 5


def training_curves(history: pd.DataFrame, metrics: dict[str, Any]) -> Figure | None:
    """Draw loss, and accuracy where there is one, per epoch and run.

    Parameters
    ----------
    history : pandas.DataFrame
        Columns ``run``, ``epoch``, ``train_loss``, ``validation_loss`` and, when classes are learned,
        ``train_accuracy`` and ``validation_accuracy``.
    metrics : dict
        ``test_accuracy`` and ``chance_accuracy`` are drawn as lines where they are there.

    Returns
    -------
    Figure or None
        None when there is no epoch, or no run has more than one: that is no curve.
    """
    if "epoch" in history and not (history["epoch"] > 1).any():
        return None
    panels = [
        (what, [(part, f"{part}_{what}") for part in ("train", "validation") if f"{part}_{what}" in history])
        for what in ("loss", "accuracy")
    ]
    panels = [
        (what, parts) for what, parts in panels if parts and history[[c for _, c in parts]].notna().any(axis=None)
    ]
    if not panels:
        return None
    runs = list(history.groupby("run", sort=True)) if "run" in history else [(1, history)]
    with styled_figure(4.6 * len(panels), 3.5) as figure:
        for axes, (what, parts) in zip(np.atleast_1d(figure.subplots(1, len(panels))), panels, strict=True):
            for part, column in parts:
                colour = PALETTE[0] if part == "validation" else GREY
                for number, (_, rows) in enumerate(runs):
                    drawn = rows[rows[column].notna()]
                    axes.plot(
                        drawn["epoch"],
                        drawn[column],
                        color=colour,
                        alpha=max(0.35, 0.9 - 0.08 * len(runs)) if len(runs) > 1 else 1.0,
                        linewidth=1.5 if part == "validation" else 1.1,
                        marker="o" if len(drawn) == 1 else None,
                        markersize=4,
                        label=part if number == 0 else None,
                    )
            if what == "accuracy":
                for key, label, style in (("test_accuracy", "test", "-"), ("chance_accuracy", "chance", ":")):
                    value = metrics.get(key)
                    if value is not None and np.isfinite(value):
                        colour = PALETTE[1] if key == "test_accuracy" else INK
                        axes.axhline(
                            value, color=colour, linestyle=style, linewidth=1.2, label=f"{label} {value:.3f}", zorder=1
                        )
                axes.set_ylim(-0.02, 1.04)
            elif float(np.nanmin(history[[c for _, c in parts]].to_numpy(dtype=float))) >= 0.0:
                axes.set_ylim(bottom=0.0)
            axes.set_title(what.capitalize() + (f" of {len(runs)} runs" if len(runs) > 1 else ""))
            axes.set_xlabel("epoch")
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.grid(axis="y")
            legend = axes.legend(loc="upper right" if what == "loss" else "lower right", frameon=True, framealpha=0.85)
            legend.get_frame().set_linewidth(0.0)
            for line in legend.get_lines():
                line.set_alpha(1.0)
    return figure


def run_scores(metrics: dict[str, Any], *, n_classes: int = 0) -> Figure | None:
    """Draw the held-out score of every run, with chance, the mean, and the linear models where there are any.

    Parameters
    ----------
    metrics : dict
        ``runs``, each with ``balanced_accuracy``, or ``r2`` of a quantity; ``baselines``.
    n_classes : int
        Chance is one in so many.

    Returns
    -------
    Figure or None
        None below five runs: their numbers are in a table.
    """
    runs = metrics.get("runs", ())
    key, name = ("balanced_accuracy", "balanced accuracy") if n_classes else ("r2", "R\N{SUPERSCRIPT TWO}")
    scores = np.array([run[key] for run in runs if run.get(key) is not None], dtype=float)
    if len(scores) < _FEWEST_RUNS:
        return None
    lines = [(f"mean {scores.mean():.3f}", float(scores.mean()), PALETTE[0], "-")]
    for short, colour in (("l2", PALETTE[1]), ("l1", PALETTE[2])):
        model = metrics.get("baselines", {}).get(short, {})
        if model.get(key) is not None:
            lines.append(
                (f"{model['name']} {model[key]:.3f}, first {model['n_splits']} runs", model[key], colour, "--")
            )
    chance = 1.0 / n_classes if n_classes else 0.0
    lines.append((f"chance {chance:.3f}" if n_classes else "no better than the mean", chance, INK, ":"))
    with styled_figure(7.2, 3.0) as figure:
        axes = figure.subplots()
        axes.plot(np.arange(1, len(scores) + 1), scores, "o", color=PALETTE[0], alpha=0.55, markersize=5, linewidth=0)
        for label, value, colour, style in lines:
            axes.axhline(value, color=colour, linestyle=style, linewidth=1.3, label=label)
        if n_classes:
            axes.set_ylim(min(0.0, float(scores.min())) - 0.02, 1.04)
        axes.set_xlabel("run")
        axes.set_ylabel(name)
        axes.set_title(f"{name[0].upper()}{name[1:]} on held-out samples, {len(scores)} runs")
        axes.grid(axis="y")
        figure.legend(loc="outside lower center", ncols=2)
    return figure


def confusion_matrix(counts: NDArray[np.int64], class_names: Sequence[str]) -> Figure:
    """Draw true against predicted classes: rows coloured by their shares, counts printed up to 30 classes.

    Parameters
    ----------
    counts : int64[n_classes, n_classes]
        Row: true class; column: predicted class.
    class_names : sequence of str
        In code order.
    """
    n = len(counts)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = [elided(name, 18 if n > 12 else 24) for name in class_names]
    side = float(np.clip(0.42 * n, 2.4, 9.0))
    margin = 0.075 * max(len(name) for name in names)
    with styled_figure(side + margin + 1.6, side + (margin if n > 3 else 0.3) + 0.9) as figure:
        axes = figure.subplots()
        image = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
        if n <= _MOST_COUNTS:
            cell = 72.0 * side / n  # in points; a digit is about 0.62 of the font size wide
            size = min(10.0, 0.45 * cell, 0.85 * cell / (0.62 * len(str(int(counts.max())))))
            for row, column in np.ndindex(n, n):
                if counts[row, column]:
                    colour = "white" if shares[row, column] > 0.55 else INK
                    axes.text(
                        column,
                        row,
                        str(int(counts[row, column])),
                        ha="center",
                        va="center",
                        color=colour,
                        fontsize=size,
                    )
        small = 8 if n <= 20 else 6.5
        axes.set_xticks(range(n), names, rotation=90 if n > 3 else 0, fontsize=small)
        axes.set_yticks(range(n), names, fontsize=small)
        axes.tick_params(length=0)
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class")
        axes.set_title("Held-out samples")
        axes.spines[:].set_visible(False)
        bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03)
        bar.outline.set_visible(False)
        bar.set_label("share of the true class")
    return figure


def top_features(findings: pd.DataFrame, class_names: Sequence[str] = ()) -> Figure | None:
    """Draw the 20 features with the best ranks: evidence, its standard error over runs, selection.

    A bar's colour says what a high value of the feature speaks for.

    Returns
    -------
    Figure or None
        None when no feature has a rank.
    """
    top = findings[findings["rank"].notna()].iloc[:_TOP]
    if top.empty:
        return None
    colours, legend = _class_colours(top, class_names)
    names = [elided(name, 30) for name in top["feature"]]
    places = np.arange(len(top))
    importance = top["importance"].to_numpy(dtype=float)
    several = bool(top["importance_se"].notna().any())  # runs
    spread = np.nan_to_num(top["importance_se"].to_numpy(dtype=float))
    with styled_figure(7.2, 1.3 + 0.235 * len(top) + (0.3 if legend else 0.0)) as figure:
        axes = figure.subplots()
        axes.barh(places, importance, color=colours, height=0.68)
        if spread.any():
            # Only positive evidence has a rank: the axis begins at 0.
            reach = np.vstack([np.minimum(spread, importance), spread])
            axes.errorbar(
                importance, places, xerr=reach, fmt="none", ecolor=INK, elinewidth=0.9, capsize=2.2, capthick=0.9
            )
        axes.set_yticks(places, names)
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(top) - 0.4, -0.6)
        axes.set_xlim(0.0, 1.04 * float((importance + spread).max()))
        axes.set_xlabel(
            "share of each run's total, mean ± standard error over runs" if several else "share of the run's total"
        )
        axes.grid(axis="x")
        axes.set_title(f"Top {len(top)} features" if len(top) > 1 else "The only feature with a rank")
        if several:
            right = axes.get_yaxis_transform()
            axes.text(1.02, -0.75, "in top k", transform=right, fontsize=7.5, color=GREY, va="bottom")
            for place, frequency in zip(places.tolist(), top["selection_frequency"], strict=True):
                axes.text(1.02, place, f"{frequency:.0%}", transform=right, fontsize=7.5, color=GREY, va="center")
        if legend:
            handles = [axes.barh([0], [0], color=colour)[0] for colour in legend.values()]
            entries = [elided(name, 26) for name in legend]
            figure.legend(
                handles,
                entries,
                loc="outside lower center",
                # A line holds about 90 characters.
                ncols=max(1, min(len(entries), 90 // (max(len(entry) for entry in entries) + 7))),
                title="a high value speaks for",
                title_fontsize=8,
            )
    return figure


def latent(table: pd.DataFrame) -> Figure | None:
    """Draw samples along the first two principal directions of the latent space.

    Parameters
    ----------
    table : pandas.DataFrame
        Samples x latent dimensions.

    Returns
    -------
    Figure or None
        None when there are fewer than two samples or the latent values are all the same.
    """
    values = table.to_numpy(dtype=float)
    values = values - values.mean(axis=0) if len(values) else values
    if len(values) < 2 or not values.any():
        return None
    _, strength, directions = np.linalg.svd(values, full_matrices=False)
    shares = strength**2 / (strength**2).sum()
    places = values @ directions[:2].T
    with styled_figure(5.6, 4.8 if places.shape[1] > 1 else 3.4) as figure:
        axes = figure.subplots()
        if places.shape[1] > 1:
            size = float(np.clip(4000.0 / len(places), 2.0, 26.0))
            axes.scatter(
                places[:, 0],
                places[:, 1],
                s=size,
                color=PALETTE[0],
                alpha=0.6 if len(places) < 2000 else 0.35,
                linewidth=0,
            )
            axes.set_ylabel(f"direction 2 ({shares[1]:.0%} of the variance)")
            axes.grid()
        else:
            axes.hist(places[:, 0], bins=min(40, max(5, len(places) // 5)), color=PALETTE[0])
            axes.set_ylabel("samples")
            axes.grid(axis="y")
        axes.set_xlabel(f"direction 1 ({shares[0]:.0%} of the variance)")
        axes.set_title(f"{len(places):,} samples in the latent space ({values.shape[1]} dimensions)")
    return figure


def _class_colours(top: pd.DataFrame, class_names: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Return a colour for each feature, and the legend (direction -> colour), which is empty without directions."""
    said = [str(direction) for direction in top["direction"]]
    if not any(said):
        return [PALETTE[0]] * len(top), {}
    names = list(class_names) or sorted(set(said) - {""})
    # Directions beyond the palette's seven share one grey; the commonest among the shown features come first.
    commonest = sorted(
        {name for name in said if name in names}, key=lambda name: (-said.count(name), names.index(name))
    )
    kept = sorted(commonest[:7], key=names.index)
    colour_of = {name: PALETTE[names.index(name) if len(names) <= 7 else i] for i, name in enumerate(kept)}
    legend = dict(colour_of)
    if any(name not in colour_of for name in said):
        legend["other or unknown"] = GREY
    return [colour_of.get(name, GREY) for name in said], legend
