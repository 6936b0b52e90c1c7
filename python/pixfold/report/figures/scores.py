"""Charts of how good the model is, and of how it trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pixfold.report.figures.style import GREY, INK, PALETTE, WHITE, WIDTH, elided, few_ticks, styled_figure
from pixfold.report.words import first_runs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_COUNTS = 20
_FEWEST_RUNS = 5


def run_scores(metrics: Mapping[str, Any], *, n_classes: int = 0) -> Figure | None:
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
                (f"{model['name']} {model[key]:.3f}, {first_runs(model['n_splits'])}", model[key], colour, "--")
            )
    chance = 1.0 / n_classes if n_classes else 0.0
    lines.append((f"chance {chance:.3f}" if n_classes else "no better than the mean", chance, INK, ":"))
    with styled_figure(2.6 + 0.18 * len(lines)) as figure:
        axes = figure.subplots()
        axes.plot(np.arange(1, len(scores) + 1), scores, "o", color=PALETTE[0], alpha=0.55, markersize=4.5, linewidth=0)
        for label, value, colour, style in lines:
            axes.axhline(value, color=colour, linestyle=style, linewidth=1.3, label=label)
        if n_classes:
            axes.set_ylim(max(0.0, min(chance, float(scores.min())) - 0.06), 1.03)
        axes.set_xlabel("run")
        few_ticks(axes.xaxis, whole=True)
        axes.set_ylabel(name)
        axes.set_title(f"Held-out samples of each of {len(scores)} runs")
        axes.grid(axis="y")
        figure.legend(loc="outside lower center", ncols=1)
    return figure


def confusion_matrix(counts: NDArray[np.int64], class_names: Sequence[str]) -> Figure:
    """Draw true against predicted classes: rows coloured by their shares, counts printed up to 20 classes.

    Parameters
    ----------
    counts : int64[n_classes, n_classes]
        Row: true class; column: predicted class.
    class_names : sequence of str
        In code order.
    """
    n = len(counts)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = [elided(name, 14 if n > 3 else 18) for name in class_names]
    margin = 0.072 * max(len(name) for name in names)
    side = float(np.clip(WIDTH - margin - 1.35, 2.0, 0.95 * n + 0.4))
    with styled_figure(side + (margin if n > 3 else 0.3) + 0.9) as figure:
        axes = figure.subplots()
        image = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
        if n <= _MOST_COUNTS:
            cell = 72.0 * side / n  # in points; a digit is about 0.62 of the font size wide
            size = min(11.0, 0.45 * cell, 0.85 * cell / (0.62 * len(str(int(counts.max())))))
            for row, column in np.ndindex(n, n):
                if counts[row, column]:
                    dark = shares[row, column] > 0.55
                    axes.text(
                        column,
                        row,
                        str(int(counts[row, column])),
                        ha="center",
                        va="center",
                        # On the cell, which has its colour on a dark page too.
                        color=WHITE if dark else "#22262C",
                        fontsize=size,
                    )
        small = 8.5 if n <= 16 else max(4.0, 130.0 / n)
        axes.set_xticks(range(n), names, rotation=90 if n > 3 else 0, fontsize=small)
        axes.set_yticks(range(n), names, fontsize=small)
        axes.tick_params(length=0)
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class")
        axes.set_title("Held-out samples, all runs")
        axes.spines[:].set_visible(False)
        bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03, ticks=[0.0, 0.5, 1.0])
        bar.outline.set_visible(False)
        bar.set_label("share of the true class")
    return figure


def predicted_values(
    target: NDArray[np.float64], predicted: NDArray[np.float64], r2: float | None, spearman: float | None
) -> Figure | None:
    """Draw the predicted against the true quantity of held-out samples.

    Returns
    -------
    Figure or None
        None without samples.
    """
    if not len(target):
        return None
    with styled_figure(4.4) as figure:
        axes = figure.subplots()
        axes.plot(
            target,
            predicted,
            "o",
            color=PALETTE[0],
            markersize=float(np.clip(70.0 / np.sqrt(len(target)), 1.5, 5.0)),
            alpha=0.5,
            markeredgewidth=0,
            rasterized=len(target) > 400,
        )
        ends = [float(min(target.min(), predicted.min())), float(max(target.max(), predicted.max()))]
        axes.plot(ends, ends, color=INK, linestyle="--", linewidth=1.1, label="as it is")
        axes.set_xlabel("quantity")
        axes.set_ylabel("as predicted by a run that did not see the sample")
        said = [
            f"{name} {value:.2f}"
            for name, value in (("R\N{SUPERSCRIPT TWO}", r2), ("Spearman", spearman))
            if value is not None
        ]
        axes.set_title("Held-out samples" + (f": {', '.join(said)}" if said else ""))
        axes.grid()
        axes.legend(loc="upper left")
    return figure


def training_curves(history: Mapping[str, NDArray[np.float64]], metrics: Mapping[str, Any]) -> Figure | None:
    """Draw loss, and accuracy where there is one, per epoch and run.

    Parameters
    ----------
    history : dict of str to float64[n]
        ``run``, ``epoch``, ``train_loss``, ``validation_loss`` and, when classes are learned, ``train_accuracy`` and
        ``validation_accuracy``.
    metrics : dict
        ``test_accuracy`` and ``chance_accuracy`` are drawn as lines where they are there.

    Returns
    -------
    Figure or None
        None when there is no epoch, or no run has more than one: that is no curve.
    """
    if "epoch" not in history or not (history["epoch"] > 1).any():
        return None
    panels = [
        (what, [(part, history[f"{part}_{what}"]) for part in ("train", "validation") if f"{part}_{what}" in history])
        for what in ("loss", "accuracy")
    ]
    panels = [(what, parts) for what, parts in panels if any(np.isfinite(values).any() for _, values in parts)]
    if not panels:
        return None
    with styled_figure(0.3 + 2.5 * len(panels)) as figure:
        rows = np.atleast_1d(figure.subplots(len(panels), 1, sharex=True))
        for axes, (what, parts) in zip(rows, panels, strict=True):
            _curves(axes, what, parts, history, metrics)
        rows[-1].set_xlabel("epoch")
    return figure


def _curves(
    axes: Axes,
    what: str,
    parts: Sequence[tuple[str, NDArray[np.float64]]],
    history: Mapping[str, NDArray[np.float64]],
    metrics: Mapping[str, Any],
) -> None:
    run_of = history.get("run", np.ones_like(history["epoch"]))
    runs = np.unique(run_of)
    for part, values in parts:
        for run in runs:
            own = (run_of == run) & np.isfinite(values)
            axes.plot(
                history["epoch"][own],
                values[own],
                color=PALETTE[0] if part == "validation" else GREY,
                alpha=max(0.35, 0.9 - 0.08 * len(runs)) if len(runs) > 1 else 1.0,
                linewidth=1.5 if part == "validation" else 1.1,
                marker="o" if own.sum() == 1 else None,
                markersize=4,
                label=part if run == runs[0] else None,
            )
    if what == "accuracy":
        for key, label, style in (("test_accuracy", "test", "-"), ("chance_accuracy", "chance", ":")):
            value = metrics.get(key)
            if value is not None:
                colour = PALETTE[1] if key == "test_accuracy" else INK
                axes.axhline(
                    value, color=colour, linestyle=style, linewidth=1.2, label=f"{label} {value:.3f}", zorder=1
                )
        axes.set_ylim(-0.02, 1.04)
    elif min(float(np.nanmin(values)) for _, values in parts if np.isfinite(values).any()) >= 0.0:
        axes.set_ylim(bottom=0.0)
    axes.set_title(what.capitalize() + (f" of {len(runs)} runs" if len(runs) > 1 else ""))
    few_ticks(axes.xaxis, whole=True)
    axes.grid(axis="y")
    legend = axes.legend(loc="best" if what == "loss" else "lower right")
    for line in legend.get_lines():
        line.set_alpha(1.0)
