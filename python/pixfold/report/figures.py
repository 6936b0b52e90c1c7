"""The figures of the report.

Every function returns a :class:`matplotlib.figure.Figure` that pyplot does not know: the settings, the
windows and the backend of the caller stay as they are. Colours are Okabe and Ito's palette, which the common
kinds of colour blindness keep apart.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from pixfold.learn.results import Results
from pixfold.util.optional import require

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pixfold.layout import Layout

NAMES = ("training_curves", "confusion_matrix", "top_features", "class_means", "attribution_image", "latent")

_DPI = 150
_PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
_GREY, _LIGHT, _INK = "#8A8F98", "#E6E8EB", "#22262B"
_TOP, _MARKED, _MOST_CLASSES, _MOST_COUNTS = 20, 10, 12, 30
# A single pixel must survive on paper: images with longer sides are pooled down to at most this many pixels.
_LONGEST_SIDE = 280

_STYLE: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": _GREY,
    "axes.facecolor": "white",
    "axes.grid": False,
    "axes.labelcolor": _INK,
    "axes.labelsize": 9,
    "axes.linewidth": 0.8,
    "axes.spines.left": True,
    "axes.spines.bottom": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": _INK,
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.unicode_minus": True,
    "figure.facecolor": "white",
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "grid.color": _LIGHT,
    "grid.linewidth": 0.8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "savefig.bbox": None,
    "savefig.facecolor": "white",
    "text.color": _INK,
    "text.parse_math": False,  # a feature may be called "$x$"
    "text.usetex": False,
    "xtick.color": _INK,
    "xtick.labelsize": 8,
    "ytick.color": _INK,
    "ytick.labelsize": 8,
}


def render(results: Results) -> dict[str, bytes]:
    """Draw every figure that applies to the results: name (one of ``NAMES``) -> PNG file at 150 dpi."""
    figures: dict[str, Figure | None] = {
        "training_curves": training_curves(results.history, results.metrics),
        "confusion_matrix": _confusion(results),
        "top_features": top_features(results.findings, results.class_names),
        "class_means": None
        if results.class_means is None
        else class_means(results.class_means, results.layout, results.class_names),
        "attribution_image": attribution_image(results.findings, results.layout),
        "latent": None if results.latent is None else latent(results.latent),
    }
    return {name: _png(figure) for name, figure in figures.items() if figure is not None}


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
        None when there is no epoch.
    """
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
    with _figure(4.6 * len(panels), 3.5) as figure:
        for axes, (what, parts) in zip(np.atleast_1d(figure.subplots(1, len(panels))), panels, strict=True):
            for part, column in parts:
                colour = _PALETTE[0] if part == "validation" else _GREY
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
                        colour = _PALETTE[1] if key == "test_accuracy" else _INK
                        axes.axhline(
                            value,
                            color=colour,
                            linestyle=style,
                            linewidth=1.2,
                            label=f"{label} {value:.3f}",
                            zorder=1,
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
    names = [_elided(name, 18 if n > 12 else 24) for name in class_names]
    side = float(np.clip(0.42 * n, 2.4, 9.0))
    margin = 0.075 * max(len(name) for name in names)
    with _figure(side + margin + 1.6, side + (margin if n > 3 else 0.3) + 0.9) as figure:
        axes = figure.subplots()
        image = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
        if n <= _MOST_COUNTS:
            cell = 72.0 * side / n  # in points; a digit is about 0.62 of the font size wide
            size = min(10.0, 0.45 * cell, 0.85 * cell / (0.62 * len(str(int(counts.max())))))
            for row, column in np.ndindex(n, n):
                if counts[row, column]:
                    colour = "white" if shares[row, column] > 0.55 else _INK
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
    """Draw the 20 features with the best ranks: mean importance, standard deviation over runs, selection.

    A bar's colour is the class whose mean signed attribution is the largest.

    Returns
    -------
    Figure or None
        None when no feature has a rank.
    """
    top = findings[findings["rank"].notna()].iloc[:_TOP]
    if top.empty:
        return None
    colours, legend = _class_colours(top, class_names)
    names = [_elided(name, 30) for name in top["feature"]]
    places = np.arange(len(top))
    importance = top["importance"].to_numpy(dtype=float)
    spread = np.nan_to_num(top["importance_std"].to_numpy(dtype=float))
    with _figure(7.2, 1.3 + 0.235 * len(top) + (0.3 if legend else 0.0)) as figure:
        axes = figure.subplots()
        axes.barh(places, importance, color=colours, height=0.68)
        if spread.any():
            # A share of importance is not negative, so neither is what the error bar reaches.
            reach = np.vstack([np.minimum(spread, importance), spread])
            axes.errorbar(
                importance,
                places,
                xerr=reach,
                fmt="none",
                ecolor=_INK,
                elinewidth=0.9,
                capsize=2.2,
                capthick=0.9,
            )
        axes.set_yticks(places, names)
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(top) - 0.4, -0.6)
        axes.set_xlim(0.0, 1.04 * float((importance + spread).max()))
        axes.set_xlabel(
            "importance: share of the run's total" + (", mean ± standard deviation" if spread.any() else "")
        )
        axes.grid(axis="x")
        axes.set_title(f"Top {len(top)} features" if len(top) > 1 else "The only feature with a rank")
        right = axes.get_yaxis_transform()
        axes.text(1.02, -0.75, "in top k", transform=right, fontsize=7.5, color=_GREY, va="bottom")
        for place, frequency in zip(places.tolist(), top["selection_frequency"], strict=True):
            axes.text(1.02, place, f"{frequency:.0%}", transform=right, fontsize=7.5, color=_GREY, va="center")
        if legend:
            handles = [axes.barh([0], [0], color=colour)[0] for colour in legend.values()]
            entries = [_elided(name, 26) for name in legend]
            figure.legend(
                handles,
                entries,
                loc="outside lower center",
                # A line holds about 90 characters.
                ncols=max(1, min(len(entries), 90 // (max(len(entry) for entry in entries) + 7))),
                title="class it speaks for most",
                title_fontsize=8,
            )
    return figure


def class_means(means: NDArray[np.float64], layout: Layout, class_names: Sequence[str]) -> Figure | None:
    """Draw the mean pseudo-image of each class on one colour scale; the first 12 classes when there are more.

    Parameters
    ----------
    means : float64[n_classes, n_features]
        Mean normalised value per class, in feature order; a class of NaN is left out.
    layout : Layout
        Feature -> pixel.
    class_names : sequence of str
        In code order.

    Returns
    -------
    Figure or None
        None when no class has a mean.
    """
    present = [code for code in range(len(means)) if np.isfinite(means[code]).any()]
    shown = present[:_MOST_CLASSES]
    if not shown:
        return None
    values = means[shown][np.isfinite(means[shown])]
    # The few most extreme values would otherwise leave the rest of the image in one colour.
    high = float(np.quantile(np.abs(values), 0.999)) or float(np.abs(values).max()) or 1.0
    signed = bool((values < 0.0).any())
    columns = min(len(shown), 4 if len(shown) > 6 else 3)
    rows = -(-len(shown) // columns)
    ratio = float(np.clip(layout.shape[1] / layout.shape[2], 0.75, 2.0))
    with _figure(2.45 * columns + 0.9, (2.35 * ratio + 0.4) * rows + 0.5) as figure:
        grid = np.atleast_1d(figure.subplots(rows, columns)).ravel()
        for axes in grid[len(shown) :]:
            axes.remove()
        for axes, code in zip(grid, shown, strict=False):
            image = axes.imshow(
                np.ma.masked_invalid(_pooled(_image(means[code], layout))),
                cmap=_map("RdBu_r" if signed else "viridis"),
                vmin=-high if signed else 0.0,
                vmax=high,
                aspect=_aspect(layout),
                interpolation="nearest",
            )
            _bare(axes)
            axes.set_title(_elided(class_names[code], 24), fontsize=9)
        bar = figure.colorbar(
            image, ax=list(grid[: len(shown)]), fraction=0.035, pad=0.02, extend="both" if signed else "max"
        )
        bar.outline.set_visible(False)
        bar.set_label("mean normalised value")
        title = "Mean pseudo-image per class"
        if len(present) > len(shown):
            title += f" (first {len(shown)} of {len(present)})"
        figure.suptitle(title, x=0.01, ha="left", fontsize=10.5, fontweight="bold")
    return figure


def attribution_image(findings: pd.DataFrame, layout: Layout) -> Figure | None:
    """Draw importance folded back into the image, the 10 best features ringed and named.

    Parameters
    ----------
    findings : pandas.DataFrame
        Its index is the position of the feature in the data.
    layout : Layout
        Feature -> pixel.

    Returns
    -------
    Figure or None
        None when no feature has a rank.
    """
    ranked = findings[findings["rank"].notna()]
    if ranked.empty:
        return None
    importance = findings["importance"].sort_index().to_numpy(dtype=float)
    image = _pooled(_image(importance, layout))
    factor = _factor(layout.shape[1], layout.shape[2])
    marked = [int(feature) for feature in ranked.index if layout.pixel_of_feature[int(feature)] >= 0][:_MARKED]
    _, height, width = layout.shape
    # Placed by hand: the names to the left and right of the image need a margin that no automatic layout
    # leaves.
    side = 4.8
    tall, margin = (
        side * (float(np.clip(height / width, 0.4, 1.5)) if _aspect(layout) == "equal" else 0.6),
        2.1,
    )
    total = (side + 2 * margin, tall + 1.25)
    with _figure(*total, layout="none") as figure:
        from matplotlib.colors import PowerNorm
        from matplotlib.ticker import MaxNLocator

        axes = figure.add_axes((margin / total[0], 0.85 / total[1], side / total[0], tall / total[1]))
        drawn = axes.imshow(
            np.ma.masked_invalid(image),
            cmap=_map("magma"),
            # Square root: a few features hold most of the importance, and the rest should still be seen.
            norm=PowerNorm(0.5, vmin=0.0, vmax=float(np.nanmax(image))),
            extent=(-0.5, image.shape[1] * factor - 0.5, image.shape[0] * factor - 0.5, -0.5),
            aspect=_aspect(layout),
            interpolation="nearest",
        )
        axes.set_xlim(-0.5, width - 0.5)
        axes.set_ylim(height - 0.5, -0.5)
        _bare(axes)
        _mark(axes, findings, marked, layout, pixel=72.0 * min(side / width, tall / height))
        below = figure.add_axes((margin / total[0], 0.6 / total[1], side / total[0], 0.12 / total[1]))
        bar = figure.colorbar(drawn, cax=below, orientation="horizontal", ticks=MaxNLocator(4))
        bar.outline.set_visible(False)
        bar.set_label("importance: share of the run's total (square-root scale)")
        axes.set_title("Importance of every feature, in its place in the image")
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
    with _figure(5.6, 4.8 if places.shape[1] > 1 else 3.4) as figure:
        axes = figure.subplots()
        if places.shape[1] > 1:
            size = float(np.clip(4000.0 / len(places), 2.0, 26.0))
            axes.scatter(
                places[:, 0],
                places[:, 1],
                s=size,
                color=_PALETTE[0],
                alpha=0.6 if len(places) < 2000 else 0.35,
                linewidth=0,
            )
            axes.set_ylabel(f"direction 2 ({shares[1]:.0%} of the variance)")
            axes.grid()
        else:
            axes.hist(places[:, 0], bins=min(40, max(5, len(places) // 5)), color=_PALETTE[0])
            axes.set_ylabel("samples")
            axes.grid(axis="y")
        axes.set_xlabel(f"direction 1 ({shares[0]:.0%} of the variance)")
        axes.set_title(f"{len(places):,} samples in the latent space ({values.shape[1]} dimensions)")
    return figure


def _confusion(results: Results) -> Figure | None:
    counts = results.metrics.get("confusion_matrix")
    if counts is None or len(results.class_names) < 2:
        return None
    return confusion_matrix(np.asarray(counts, dtype=np.int64), results.class_names)


def _mark(axes: Axes, findings: pd.DataFrame, marked: Sequence[int], layout: Layout, *, pixel: float) -> None:
    """Ring features and write their names beside the image, in order of height so that few lines cross."""
    _, height, width = layout.shape
    place = layout.pixel_of_feature[np.asarray(marked, dtype=np.int64)] % (height * width)
    rows, columns = place // width, place % width
    ring: dict[str, Any] = {"markerfacecolor": "none", "markeredgecolor": "#00E5C3", "markeredgewidth": 1.3}
    axes.plot(columns, rows, "s" if pixel > 9.0 else "o", markersize=max(9.0, pixel), clip_on=False, **ring)
    # By side of the image, but never more than half of them on one: that keeps the names apart.
    by_column = np.argsort(columns, kind="stable")
    half = -(-len(marked) // 2)
    left = set(by_column[:half].tolist())
    for side in ("left", "right"):
        own = [i for i in range(len(marked)) if (i in left) == (side == "left")]
        own.sort(key=lambda i: (rows[i], columns[i] if side == "left" else -columns[i]))
        for i, level in zip(own, _spread([(rows[i] + 0.5) / height for i in own], 0.055), strict=True):
            name, rank = findings.loc[marked[i], "feature"], findings.loc[marked[i], "rank"]
            axes.annotate(
                f"{rank:g}  {_elided(name, 22)}",
                xy=(columns[i], rows[i]),
                xytext=(-0.03 if side == "left" else 1.03, 1.0 - level),
                textcoords="axes fraction",
                ha="right" if side == "left" else "left",
                va="center",
                fontsize=8,
                arrowprops={"arrowstyle": "-", "color": _GREY, "linewidth": 0.7, "shrinkA": 1, "shrinkB": 5},
            )


def _spread(levels: Sequence[float], gap: float) -> list[float]:
    """Push increasing levels in [0, 1] at least ``gap`` apart, moving each as little as that needs."""
    placed: list[float] = []
    for level in levels:
        placed.append(max(level, placed[-1] + gap) if placed else max(level, 0.0))
    ceiling = 1.0
    for i in reversed(range(len(placed))):
        placed[i] = min(placed[i], ceiling)
        ceiling = placed[i] - gap
    return placed


def _class_colours(top: pd.DataFrame, class_names: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Give one colour per feature, and the legend (class -> colour); no legend without classes."""
    names = [name for name in class_names if f"mean_{name}" in top]
    signed = top[[f"mean_{name}" for name in names]].to_numpy(dtype=float) if names else np.empty((len(top), 0))
    if not names or not np.isfinite(signed).any(axis=1).all():
        return [_PALETTE[0]] * len(top), {}
    best = np.nanargmax(signed, axis=1)
    # Classes beyond the palette's seven share one grey; the commonest among the shown features come first.
    codes, counts = np.unique(best, return_counts=True)
    kept = sorted(codes[np.argsort(-counts, kind="stable")][:7].tolist())
    if len(names) <= 7:
        colour_of = {code: _PALETTE[code] for code in kept}
    else:
        colour_of = {code: _PALETTE[i] for i, code in enumerate(kept)}
    legend = {names[code]: colour_of[code] for code in kept}
    if len(codes) > len(kept):
        legend["other classes"] = _GREY
    return [colour_of.get(int(code), _GREY) for code in best], legend


def _image(values: NDArray[np.float64], layout: Layout) -> NDArray[np.float64]:
    """Fold features into (height, width): the mean over channels and features of a pixel, or NaN."""
    _, height, width = layout.shape
    placed = layout.pixel_of_feature >= 0
    place = layout.pixel_of_feature[placed] % (height * width)
    own = np.nan_to_num(values[placed])
    count = np.bincount(place, minlength=height * width)
    total = np.bincount(place, weights=own, minlength=height * width)
    with np.errstate(invalid="ignore"):
        return (total / np.where(count > 0, count, np.nan)).reshape(height, width)


def _factor(height: int, width: int) -> int:
    """Give the side of the blocks that :func:`_pooled` shrinks to one pixel."""
    return -(-max(height, width) // _LONGEST_SIDE)


def _pooled(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shrink a large image by keeping the most extreme value of each block."""
    height, width = image.shape
    factor = _factor(height, width)
    if factor == 1:
        return image
    padded = np.full((-(-height // factor) * factor, -(-width // factor) * factor), np.nan)
    padded[:height, :width] = image
    blocks = padded.reshape(padded.shape[0] // factor, factor, padded.shape[1] // factor, factor).swapaxes(1, 2)
    flat = blocks.reshape(*blocks.shape[:2], factor * factor)
    extreme = np.argmax(np.nan_to_num(np.abs(flat), nan=-1.0), axis=2)
    pooled: NDArray[np.float64] = np.take_along_axis(flat, extreme[..., None], axis=2)[..., 0]
    return pooled


def _aspect(layout: Layout) -> Literal["equal", "auto"]:
    _, height, width = layout.shape
    return "equal" if 1 / 3 <= height / width <= 3 else "auto"


def _map(name: str) -> Any:
    """Get a colour map that shows padding in light grey."""
    return require("matplotlib", "train", "drawing figures").colormaps[name].with_extremes(bad=_LIGHT)


def _bare(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def _elided(name: object, length: int) -> str:
    """Keep the start and the end of a long name, and one line of it."""
    text = " ".join(str(name).split())
    if len(text) <= length:
        return text
    tail = (length - 1) // 3
    return f"{text[: length - 1 - tail]}…{text[-tail:]}"


@contextmanager
def _figure(width: float, height: float, *, layout: str = "constrained") -> Iterator[Figure]:
    """Make a figure of so many inches; what is drawn inside the block gets the style of the report."""
    matplotlib = require("matplotlib", "train", "drawing figures")
    with matplotlib.rc_context(_STYLE):
        yield require("matplotlib.figure", "train", "drawing figures").Figure(
            figsize=(width, height), dpi=_DPI, layout=layout
        )


def _png(figure: Figure) -> bytes:
    matplotlib = require("matplotlib", "train", "drawing figures")
    target = io.BytesIO()
    # Ticks are made when the figure is drawn, so the style holds here too.
    with matplotlib.rc_context(_STYLE):
        figure.savefig(target, format="png", dpi=_DPI)
    return target.getvalue()
