"""Pictures of features at their pixels: one image per class, and the importance of every feature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from pixfold.report.figures.style import GREY, WIDTH, colour_map, elided, few_ticks, styled_figure, without_axes
from pixfold.report.pixel_images import Grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def class_images(
    images: NDArray[np.float32],
    codes: NDArray[np.int64],
    n_of: int,
    grid: Grid,
    class_names: Sequence[str],
    *,
    title: str,
    label: str,
) -> Figure:
    """Draw an image for each class, all on one colour scale.

    Parameters
    ----------
    images : float32[n_shown, height, width]
        NaN where there is no feature.
    codes : int64[n_shown]
        Their classes.
    n_of : int
        Classes that there are images of, shown or not.
    grid : Grid
        What the pixels stand for.
    class_names : sequence of str
        In code order.
    title, label : str
        Of the figure, and of its colours.
    """
    known = images[np.isfinite(images)]
    # The few most extreme values would otherwise leave the rest of the image in one colour.
    high = float(np.quantile(np.abs(known), 0.999)) or float(np.abs(known).max()) or 1.0
    signed = bool((known < 0.0).any())
    columns = min(len(images), 3)
    rows = -(-len(images) // columns)
    side = (WIDTH - 0.15 * columns) / max(columns, 2)
    ratio = float(np.clip(grid.height / grid.width, 0.5, 2.0))
    with styled_figure((min(side * ratio, 3.0) + 0.25) * rows + 0.9) as figure:
        cells = np.atleast_1d(figure.subplots(rows, columns)).ravel()
        for axes in cells[len(images) :]:
            axes.remove()
        for axes, image, code in zip(cells, images, codes, strict=False):
            drawn = axes.imshow(
                np.ma.masked_invalid(image),
                cmap=colour_map("RdBu_r" if signed else "viridis"),
                vmin=-high if signed else 0.0,
                vmax=high,
                aspect=_aspect(grid),
                interpolation="nearest",
            )
            without_axes(axes)
            axes.set_title(elided(class_names[int(code)], 60 // columns - 4), fontsize=9, fontweight="normal")
        bar = figure.colorbar(
            drawn,
            ax=list(cells[: len(images)]),
            location="bottom",
            fraction=0.04,
            pad=0.02,
            aspect=40,
            extend="both" if signed else "max",
        )
        bar.outline.set_visible(False)
        few_ticks(bar.ax.xaxis, 5)
        bar.set_label(label)
        if n_of > len(images):
            title += f" (first {len(images)} of {n_of})"
        figure.suptitle(title, x=0.01, ha="left", fontsize=10.5, fontweight="bold")
    return figure


def attribution_image(
    image: NDArray[np.float32], marked: NDArray[np.int64], features: Sequence[dict[str, Any]], grid: Grid
) -> Figure:
    """Draw importance folded back into the image, the best features ringed, and named below.

    Parameters
    ----------
    image : float32[height, width]
        Of the grid, NaN where there is no feature.
    marked : int64[n_marked, 2]
        Row and column of the best features in the layout, best first; -1 for one without a pixel.
    features : sequence of dict
        Their names, as in ``findings.json``.
    grid : Grid
        What the pixels stand for.
    """
    shown = [int(i) for i in np.flatnonzero(marked[:, 0] >= 0)]
    margin, below, above = 0.45, 0.82 + 0.19 * (-(-len(shown) // 2)), 0.45
    side = WIDTH - 2 * margin
    tall = side * (float(np.clip(grid.height / grid.width, 0.4, 1.5)) if grid.is_square else 0.6)
    high = tall + below + above
    # Placed by hand: the numbers to the left and right of the image need a margin that no automatic layout leaves.
    with styled_figure(high, layout="none") as figure:
        from matplotlib.colors import PowerNorm
        from matplotlib.ticker import MaxNLocator

        axes = figure.add_axes((margin / WIDTH, below / high, side / WIDTH, tall / high))
        factor = grid.factor
        drawn = axes.imshow(
            np.ma.masked_invalid(image),
            cmap=colour_map("magma"),
            # Square root: a few features hold most of the importance, and the rest should still be seen.
            norm=PowerNorm(0.5, vmin=0.0, vmax=float(np.nanmax(image)) or 1.0),
            extent=(-0.5, image.shape[1] * factor - 0.5, image.shape[0] * factor - 0.5, -0.5),
            aspect=_aspect(grid),
            interpolation="nearest",
        )
        axes.set_xlim(-0.5, grid.width - 0.5)
        axes.set_ylim(grid.height - 0.5, -0.5)
        without_axes(axes)
        ranks = [f"{features[i]['rank']:g}" for i in shown]
        _ring(axes, marked[shown], ranks, grid, pixel=72.0 * min(side / grid.width, tall / grid.height))
        bar_axes = figure.add_axes((margin / WIDTH, (below - 0.22) / high, side / WIDTH, 0.1 / high))
        bar = figure.colorbar(drawn, cax=bar_axes, orientation="horizontal", ticks=MaxNLocator(4))
        bar.outline.set_visible(False)
        bar.set_label("share of all evidence (square-root scale)")
        for number, (i, rank) in enumerate(zip(shown, ranks, strict=True)):
            column, row = divmod(number, -(-len(shown) // 2))
            figure.text(
                (0.12 + column * WIDTH / 2) / WIDTH,
                (0.10 + 0.19 * (-(-len(shown) // 2) - 1 - row)) / high,
                f"{rank}  {elided(features[i]['shown'], 26)}",
                fontsize=8.5,
            )
        figure.text(0.01, 1.0 - 0.24 / high, "Every feature, at its pixel", fontsize=10.5, fontweight="bold")
    return figure


def _ring(axes: Axes, places: NDArray[np.int64], ranks: Sequence[str], grid: Grid, *, pixel: float) -> None:
    """Ring features and write their ranks beside the image, in order of height so that few lines cross."""
    rows, columns = places[:, 0], places[:, 1]
    ring: dict[str, Any] = {"markerfacecolor": "none", "markeredgecolor": "#00E5C3", "markeredgewidth": 1.3}
    axes.plot(columns, rows, "s" if pixel > 9.0 else "o", markersize=max(9.0, pixel), clip_on=False, **ring)
    # By side of the image, but never more than half of them on one: that keeps the numbers apart.
    by_column = np.argsort(columns, kind="stable")
    left = set(by_column[: -(-len(ranks) // 2)].tolist())
    for side in ("left", "right"):
        own = [i for i in range(len(ranks)) if (i in left) == (side == "left")]
        own.sort(key=lambda i: (rows[i], columns[i] if side == "left" else -columns[i]))
        for i, level in zip(own, spread([(rows[i] + 0.5) / grid.height for i in own], 0.06), strict=True):
            axes.annotate(
                ranks[i],
                xy=(columns[i], rows[i]),
                xytext=(-0.03 if side == "left" else 1.03, 1.0 - level),
                textcoords="axes fraction",
                ha="right" if side == "left" else "left",
                va="center",
                fontsize=8.5,
                arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.7, "shrinkA": 1, "shrinkB": 5},
            )


def spread(levels: Sequence[float], gap: float) -> list[float]:
    """Push increasing levels in [0, 1] at least ``gap`` apart, moving each as little as that needs."""
    placed: list[float] = []
    for level in levels:
        placed.append(max(level, placed[-1] + gap) if placed else max(level, 0.0))
    ceiling = 1.0
    for i in reversed(range(len(placed))):
        placed[i] = min(placed[i], ceiling)
        ceiling = placed[i] - gap
    return placed


def _aspect(grid: Grid) -> Literal["equal", "auto"]:
    return "equal" if grid.is_square else "auto"
