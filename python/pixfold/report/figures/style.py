"""How the figures look: sizes, colours, fonts, names cut to length.

No figure is known to pyplot: the settings, the windows and the backend of the caller stay as they are. Colours are
Okabe and Ito's palette, which the common kinds of colour blindness keep apart.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pixfold.util.optional import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DPI = 150
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
GREY, LIGHT, INK = "#8A8F98", "#E6E8EB", "#22262B"

_STYLE: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": GREY,
    "axes.facecolor": "white",
    "axes.grid": False,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.linewidth": 0.8,
    "axes.spines.left": True,
    "axes.spines.bottom": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.unicode_minus": True,
    "figure.facecolor": "white",
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "grid.color": LIGHT,
    "grid.linewidth": 0.8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "savefig.bbox": None,
    "savefig.facecolor": "white",
    "text.color": INK,
    "text.parse_math": False,  # a feature may be called "$x$"
    "text.usetex": False,
    "xtick.color": INK,
    "xtick.labelsize": 8,
    "ytick.color": INK,
    "ytick.labelsize": 8,
}


@contextmanager
def styled_figure(width: float, height: float, *, layout: str = "constrained") -> Iterator[Figure]:
    """Make a figure of that size in inches; what the block draws on it gets the style of the report."""
    matplotlib = require("matplotlib", "train", "drawing figures")
    with matplotlib.rc_context(_STYLE):
        yield require("matplotlib.figure", "train", "drawing figures").Figure(
            figsize=(width, height), dpi=_DPI, layout=layout
        )


def png(figure: Figure) -> bytes:
    """Return a figure as a PNG file."""
    matplotlib = require("matplotlib", "train", "drawing figures")
    target = io.BytesIO()
    # Ticks are made when the figure is drawn, so the style holds here too.
    with matplotlib.rc_context(_STYLE):
        figure.savefig(target, format="png", dpi=_DPI)
    return target.getvalue()


def colour_map(name: str) -> Any:
    """Return a colour map that shows padding in light grey."""
    return require("matplotlib", "train", "drawing figures").colormaps[name].with_extremes(bad=LIGHT)


def without_axes(axes: Axes) -> None:
    """Take away ticks and frame."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def elided(name: object, length: int) -> str:
    """Keep the start and the end of a long name, and one line of it."""
    text = " ".join(str(name).split())
    if len(text) <= length:
        return text
    tail = (length - 1) // 3
    return f"{text[: length - 1 - tail]}…{text[-tail:]}"
