"""Pictures of features at their pixels: mean pseudo-images of classes, and the importance of every feature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from pixfold.report.figures.style import GREY, colour_map, elided, styled_figure, without_axes

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pixfold.layout import Layout

_MARKED, _MOST_CLASSES = 10, 12
# A single pixel must survive on paper: images with longer sides are pooled down to at most this many pixels.
_LONGEST_SIDE = 280


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
    with styled_figure(2.45 * columns + 0.9, (2.35 * ratio + 0.4) * rows + 0.5) as figure:
        grid = np.atleast_1d(figure.subplots(rows, columns)).ravel()
        for axes in grid[len(shown) :]:
            axes.remove()
        for axes, code in zip(grid, shown, strict=False):
            image = axes.imshow(
                np.ma.masked_invalid(_pooled(_image(means[code], layout))),
                cmap=colour_map("RdBu_r" if signed else "viridis"),
                vmin=-high if signed else 0.0,
                vmax=high,
                aspect=_aspect(layout),
                interpolation="nearest",
            )
            without_axes(axes)
            axes.set_title(elided(class_names[code], 24), fontsize=9)
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
    # What speaks against the truth is no evidence.
    image = _pooled(_image(np.maximum(importance, 0.0), layout))
    factor = _factor(layout.shape[1], layout.shape[2])
    marked = [int(feature) for feature in ranked.index if layout.pixel_of_feature[int(feature)] >= 0][:_MARKED]
    _, height, width = layout.shape
    # Placed by hand: the names to the left and right of the image need a margin that no automatic layout
    # leaves.
    side = 4.8
    tall, margin = (side * (float(np.clip(height / width, 0.4, 1.5)) if _aspect(layout) == "equal" else 0.6), 2.1)
    total = (side + 2 * margin, tall + 1.25)
    with styled_figure(*total, layout="none") as figure:
        from matplotlib.colors import PowerNorm
        from matplotlib.ticker import MaxNLocator

        axes = figure.add_axes((margin / total[0], 0.85 / total[1], side / total[0], tall / total[1]))
        drawn = axes.imshow(
            np.ma.masked_invalid(image),
            cmap=colour_map("magma"),
            # Square root: a few features hold most of the importance, and the rest should still be seen.
            norm=PowerNorm(0.5, vmin=0.0, vmax=float(np.nanmax(image))),
            extent=(-0.5, image.shape[1] * factor - 0.5, image.shape[0] * factor - 0.5, -0.5),
            aspect=_aspect(layout),
            interpolation="nearest",
        )
        axes.set_xlim(-0.5, width - 0.5)
        axes.set_ylim(height - 0.5, -0.5)
        without_axes(axes)
        _mark(axes, findings, marked, layout, pixel=72.0 * min(side / width, tall / height))
        below = figure.add_axes((margin / total[0], 0.6 / total[1], side / total[0], 0.12 / total[1]))
        bar = figure.colorbar(drawn, cax=below, orientation="horizontal", ticks=MaxNLocator(4))
        bar.outline.set_visible(False)
        bar.set_label("share of a run's total (square-root scale)")
        axes.set_title("Every feature, in its place in the image")
    return figure


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
                f"{rank:g}  {elided(name, 22)}",
                xy=(columns[i], rows[i]),
                xytext=(-0.03 if side == "left" else 1.03, 1.0 - level),
                textcoords="axes fraction",
                ha="right" if side == "left" else "left",
                va="center",
                fontsize=8,
                arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.7, "shrinkA": 1, "shrinkB": 5},
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
    """Return the side of the blocks that :func:`_pooled` shrinks to one pixel."""
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
