"""Charts of samples: values of the best features by class or quantity, and the latent space."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pixfold.report.figures.style import GREY, INK, PALETTE, elided, few_ticks, styled_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS, _CLASSES = 3, 12
# Features that are shown, and where there are many classes.
_FEATURES, _FEATURES_OF_MANY = 9, 6
# Points per class beyond which a box alone is drawn: they would be a smear.
_MOST_POINTS = 150


def feature_values(
    values: NDArray[np.float32],
    names: Sequence[str],
    labels: NDArray[Any] | None,
    class_names: Sequence[str],
) -> Figure | None:
    """Draw how the values of the best features are distributed in each class, go with a quantity, or are spread.

    Parameters
    ----------
    values : float32[n_samples, n_shown]
        Normalised.
    names : sequence of str
        Of the features, best first.
    labels : int64[n_samples] or float64[n_samples] or None
        Classes, a quantity, or neither.
    class_names : sequence of str
        In code order; empty without classes.

    Returns
    -------
    Figure or None
        None without features or samples.
    """
    if not values.size:
        return None
    few = len(class_names) <= 3
    n = min(values.shape[1], _FEATURES if few else _FEATURES_OF_MANY)
    columns = min(n, _COLUMNS if few else 2)
    rows = -(-n // columns)
    shown = list(range(min(len(class_names), _CLASSES)))
    tall = 1.5 if len(shown) <= 4 else 0.5 + 0.24 * len(shown)
    with styled_figure(tall * rows + 0.7) as figure:
        cells = np.atleast_1d(figure.subplots(rows, columns)).ravel()
        for axes in cells[n:]:
            axes.remove()
        for number, (axes, name) in enumerate(zip(cells, names, strict=False)):
            own = values[:, number].astype(np.float64)
            if class_names:
                assert labels is not None  # classes have labels
                _by_class(axes, own, labels, shown, class_names, named=number % columns == 0)
            elif labels is not None:
                axes.plot(
                    labels, own, "o", color=PALETTE[0], markersize=2.5, alpha=0.5, markeredgewidth=0, rasterized=True
                )
            else:
                axes.hist(own, bins=24, color=PALETTE[0])
            axes.set_title(elided(name, 60 // columns - 4), fontsize=9, fontweight="normal")
            axes.tick_params(labelsize=8)
            few_ticks(axes.xaxis, 3 if columns > 2 else 5)
        figure.supxlabel(_axis(class_names, labels), fontsize=9.5)
        if not class_names and labels is not None:
            figure.supylabel("normalised value", fontsize=9.5)
        title = "Values of the best features" + (" by class" if class_names else "")
        if len(class_names) > len(shown):
            title += f" (first {len(shown)} of {len(class_names)})"
        figure.suptitle(title, x=0.01, ha="left", fontsize=10.5, fontweight="bold")
    return figure


def _axis(class_names: Sequence[str], labels: NDArray[Any] | None) -> str:
    if class_names or labels is None:
        return "normalised value" + ("" if class_names else " (heights: samples)")
    return "quantity"


def _by_class(
    axes: Axes,
    values: NDArray[np.float64],
    labels: NDArray[Any],
    shown: Sequence[int],
    class_names: Sequence[str],
    *,
    named: bool,
) -> None:
    """Draw a box for each class, and the samples where they are few."""
    draw = np.random.default_rng(0)
    parts = [values[labels == code] for code in shown]
    axes.boxplot(
        parts,
        orientation="horizontal",
        widths=0.62,
        showfliers=max(map(len, parts)) > _MOST_POINTS,
        flierprops={"marker": ".", "markersize": 2, "markeredgecolor": GREY},
        medianprops={"color": INK, "linewidth": 1.4},
        boxprops={"color": GREY},
        whiskerprops={"color": GREY},
        capprops={"color": GREY},
    )
    for code, part in zip(shown, parts, strict=True):
        if len(part) <= _MOST_POINTS:
            colour = PALETTE[code] if len(class_names) <= 7 else PALETTE[0]
            height = code + 1 + draw.uniform(-0.18, 0.18, len(part))
            axes.plot(part, height, "o", color=colour, markersize=2.4, alpha=0.65, markeredgewidth=0)
    axes.set_ylim(len(shown) + 0.6, 0.4)
    axes.set_yticks(
        range(1, len(shown) + 1), [elided(class_names[code], 14) for code in shown] if named else [""] * len(shown)
    )
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")


def latent(
    places: NDArray[np.float32],
    shares: NDArray[np.float64],
    shape: Sequence[int],
    clusters: NDArray[np.int64] | None = None,
) -> Figure:
    """Draw samples along the first two principal directions of the latent space.

    Parameters
    ----------
    places : float32[n_shown, 1] or float32[n_shown, 2]
        Samples along the directions.
    shares : float64[1] or float64[2]
        Of the variance, that the directions have.
    shape : (int, int)
        Samples and dimensions of the latent space.
    clusters : int64[n_shown], optional
        Cluster of each sample; those that have no colour of their own share the last.
    """
    n, dimensions = int(shape[0]), int(shape[1])
    two = places.shape[1] > 1
    with styled_figure(4.4 if two else 3.0) as figure:
        axes = figure.subplots()
        if two:
            for rows, colour, name in _clusters(clusters, len(places)):
                axes.plot(
                    places[rows, 0],
                    places[rows, 1],
                    "o",
                    color=colour,
                    label=name,
                    markersize=float(np.clip(70.0 / np.sqrt(len(places)), 1.5, 5.0)),
                    alpha=0.55,
                    markeredgewidth=0,
                    rasterized=len(places) > 400,
                )
            if clusters is not None:
                figure.legend(loc="outside lower center", ncols=4, markerscale=1.5)
            axes.set_ylabel(f"direction 2 ({shares[1]:.0%} of the variance)")
            axes.grid()
        else:
            axes.hist(places[:, 0], bins=min(40, max(5, len(places) // 5)), color=PALETTE[0])
            axes.set_ylabel("samples")
            axes.grid(axis="y")
        axes.set_xlabel(f"direction 1 ({shares[0]:.0%} of the variance)")
        axes.set_title(f"{n:,} samples in {dimensions} latent dimensions")
    return figure


def _clusters(of_sample: NDArray[np.int64] | None, n: int) -> Iterator[tuple[NDArray[np.bool_], str, str | None]]:
    """Samples that are drawn alike: which they are, in which colour and under which name."""
    if of_sample is None:
        yield np.ones(n, dtype=bool), PALETTE[0], None
        return
    last = len(PALETTE) - 1
    for number in np.unique(np.minimum(of_sample, last)):
        others = number == last and int(of_sample.max()) > last
        name = "other clusters" if others else f"cluster {number}"
        yield np.minimum(of_sample, last) == number, PALETTE[number], name
