"""Charts of the ranking: the best features, how often runs select them, how far runs agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pixfold.report.figures.style import GREY, INK, PALETTE, elided, few_ticks, styled_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TOP, _FEWEST_RUNS = 20, 3
# What the criterion of convergence asks for, and below which the runs disagree.
_CONVERGED, _DISAGREE = 0.9, 0.4


def top_features(features: Sequence[dict[str, Any]], class_names: Sequence[str] = ()) -> Figure | None:
    """Draw the 20 features with the best ranks: evidence and its standard error over runs.

    A bar's colour says what a high value of the feature speaks for.

    Parameters
    ----------
    features : sequence of dict
        As in ``findings.json``, best first.
    class_names : sequence of str
        In code order.

    Returns
    -------
    Figure or None
        None when no feature has a rank.
    """
    top = features[:_TOP]
    if not top:
        return None
    colours, legend = _class_colours([str(feature["direction"]) for feature in top], class_names)
    places = np.arange(len(top))
    importance = np.array([feature["importance"] for feature in top], dtype=float)
    spread = np.array([feature["importance_se"] or 0.0 for feature in top], dtype=float)
    with styled_figure(1.2 + 0.225 * len(top) + (0.5 if legend else 0.0)) as figure:
        axes = figure.subplots()
        axes.barh(places, importance, color=colours, height=0.68)
        if spread.any():
            # Only positive evidence has a rank: the axis begins at 0.
            reach = np.vstack([np.minimum(spread, importance), spread])
            axes.errorbar(
                importance, places, xerr=reach, fmt="none", ecolor=INK, elinewidth=0.9, capsize=2.2, capthick=0.9
            )
        axes.set_yticks(places, [elided(feature["shown"], 22) for feature in top])
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(top) - 0.4, -0.6)
        axes.set_xlim(0.0, 1.04 * float((importance + spread).max()))
        few_ticks(axes.xaxis, 5)
        axes.set_xlabel("share of all evidence" + (" (mean ± standard error)" if spread.any() else ""))
        axes.grid(axis="x")
        axes.set_title(f"Top {len(top)} features" if len(top) > 1 else "The only feature with a rank")
        if legend:
            handles = [axes.barh([0], [0], color=colour)[0] for colour in legend.values()]
            entries = [elided(name, 22) for name in legend]
            figure.legend(
                handles,
                entries,
                loc="outside lower center",
                # A line holds about 60 characters.
                ncols=max(1, min(len(entries), 60 // (max(len(entry) for entry in entries) + 6))),
                title="a high value speaks for",
                title_fontsize=8.5,
            )
    return figure


def rank_frequency(
    frequency: NDArray[np.float32], mean_rank: NDArray[np.float32], k: int, n_runs: int
) -> Figure | None:
    """Draw how often the runs have the features of each rank in their top ``k``, and their mean ranks in the runs.

    Parameters
    ----------
    frequency, mean_rank : float32[n_shown]
        Of the features in rank order.
    k : int
        Size of the top.
    n_runs : int
        Runs that were ranked.

    Returns
    -------
    Figure or None
        None below two runs.
    """
    if n_runs < 2 or not len(frequency):
        return None
    rank = np.arange(1, len(frequency) + 1)
    many = len(rank) > 400
    with styled_figure(4.6) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True)
        steady = frequency >= 0.5
        for part, colour, label in ((steady, PALETTE[0], "half of the runs or more"), (~steady, PALETTE[1], "fewer")):
            if part.any():
                upper.plot(rank[part], frequency[part], "o", color=colour, markersize=3.2, label=label, rasterized=many)
        upper.axvline(k + 0.5, color=GREY, linestyle=":", linewidth=1.2)
        upper.text(
            k + 0.5, 0.93, f" k = {k}", transform=upper.get_xaxis_transform(), color=GREY, va="top", fontsize=8.5
        )
        upper.set_ylim(-0.04, 1.06)
        upper.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        upper.set_ylabel(f"in the top {k} of\nso many runs")
        upper.set_title(f"Do {n_runs} runs bear the ranks out?")
        upper.grid(axis="y")
        upper.legend(loc="best")
        lower.plot(rank, mean_rank, "o", color=PALETTE[0], markersize=3.2, rasterized=many)
        lower.plot(rank, rank, color=INK, linestyle="--", linewidth=1.1, label="the same rank in every run")
        lower.set_xscale("log")
        lower.set_yscale("log")
        lower.set_ylabel("mean rank\nin the runs")
        lower.set_xlabel("rank")
        lower.grid()
        lower.legend(loc="lower right")
        _plain_ticks(lower.xaxis, lower.yaxis)
    return figure


def agreement_curve(agreement: Sequence[float | None]) -> Figure | None:
    """Draw the agreement of two halves of the first 2, 3, ... runs.

    Returns
    -------
    Figure or None
        None below three runs: one point is no curve.
    """
    values = np.array([np.nan if value is None else value for value in agreement], dtype=float)
    if np.isfinite(values).sum() < _FEWEST_RUNS - 1:
        return None
    runs = np.arange(1, len(values) + 1)
    known = np.isfinite(values)
    with styled_figure(3.0) as figure:
        axes = figure.subplots()
        axes.axhspan(-0.02, _DISAGREE, color=PALETTE[1], alpha=0.10, linewidth=0)
        axes.text(0.99, 0.02, "the runs disagree", transform=axes.transAxes, color=GREY, ha="right", fontsize=8.5)
        axes.axhline(_CONVERGED, color=INK, linestyle=":", linewidth=1.2, label=f"converged from {_CONVERGED:g}")
        axes.plot(runs[known], values[known], "o-", color=PALETTE[0], markersize=3.6, linewidth=1.4)
        axes.set_ylim(-0.02, 1.04)
        axes.set_xlabel("runs so far")
        axes.set_ylabel("agreement of two halves")
        few_ticks(axes.xaxis, whole=True)
        axes.set_title(f"Agreement of the runs: {values[known][-1]:.2f} in the end")
        axes.grid(axis="y")
        axes.legend(loc="center right")
    return figure


def _plain_ticks(*scales: Any) -> None:
    """Write the powers of ten of a logarithmic axis as people do: 1, 10, 100, 1,000."""
    for scale in scales:
        scale.set_major_formatter(lambda value, _: f"{value:,.0f}")
        scale.set_minor_formatter(lambda *_: "")


def _class_colours(said: Sequence[str], class_names: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Return a colour for each direction, and the legend (direction -> colour), which is empty without directions."""
    if not any(said):
        return [PALETTE[0]] * len(said), {}
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
