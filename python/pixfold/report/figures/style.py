"""How the figures look: one width, colours, fonts, names cut to length.

No figure is known to pyplot: the settings, the windows and the backend of the caller stay as they are. Colours are
Okabe and Ito's palette, which the common kinds of colour blindness keep apart.
"""

from __future__ import annotations

import io
import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pixfold.util.optional import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Inches, of every figure: two stand side by side on a page, and one fills a phone, where its text can still be read.
WIDTH = 5.0
_DPI = 150
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#B8A800", "#22262B")
GREY, LIGHT, INK, PAPER = "#6B717B", "#E1E4E8", "#22262B", "#FFFFFF"
# Of text on dark cells, which stays white on a dark page: not the colour of the paper.
WHITE = "#FEFEFE"

_STYLE: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": GREY,
    "axes.facecolor": "none",
    "axes.grid": False,
    "axes.labelcolor": INK,
    "axes.labelsize": 9.5,
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
    "figure.facecolor": PAPER,
    "font.family": ["DejaVu Sans"],
    "font.size": 9.5,
    "grid.color": LIGHT,
    "grid.linewidth": 0.8,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "savefig.bbox": None,
    "savefig.facecolor": PAPER,
    "svg.fonttype": "none",  # text stays text: any script is shown, found and copied
    "text.color": INK,
    "text.parse_math": False,  # a feature may be called "$x$"
    "text.usetex": False,
    "xtick.color": INK,
    "xtick.labelsize": 8.5,
    "ytick.color": INK,
    "ytick.labelsize": 8.5,
}


@contextmanager
def styled_figure(height: float, *, layout: str = "constrained") -> Iterator[Figure]:
    """Make a figure of that height in inches; what the block draws on it gets the style of the report."""
    matplotlib = require("matplotlib", "train", "drawing figures")
    with matplotlib.rc_context(_STYLE):
        yield require("matplotlib.figure", "train", "drawing figures").Figure(
            figsize=(WIDTH, height), dpi=_DPI, layout=layout
        )


def png(figure: Figure) -> bytes:
    """Return a figure as a PNG file."""
    return _saved(figure, "png", name="")


def svg(figure: Figure, name: str) -> bytes:
    """Return a figure as an SVG file, the same bytes for the same figure and name."""
    return _saved(figure, "svg", name=name)


def both(figure: Figure, name: str) -> dict[str, bytes]:
    """Return a figure as both kinds of files, arranged once: that takes longer than to draw it."""
    first = svg(figure, name)
    figure.set_layout_engine("none")
    return {"svg": first, "png": png(figure)}


def _saved(figure: Figure, kind: str, *, name: str) -> bytes:
    matplotlib = require("matplotlib", "train", "drawing figures")
    target = io.BytesIO()
    # Ticks are made when the figure is drawn, so the style holds here too. Names of clips come from the salt: those of
    # two figures on one page must differ.
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": f"pixfold {name}"}), warnings.catch_warnings():
        # A name may have letters that the font lacks: a box stands for them in the PNG, and the SVG has the text.
        warnings.filterwarnings("ignore", message="Glyph ", category=UserWarning)
        figure.savefig(target, format=kind, dpi=_DPI, metadata={"Date": None} if kind == "svg" else None)
    return target.getvalue()


def colour_map(name: str) -> Any:
    """Return a colour map that shows padding in light grey."""
    return require("matplotlib", "train", "drawing figures").colormaps[name].with_extremes(bad=LIGHT)


def without_axes(axes: Axes) -> None:
    """Take away ticks and frame."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def few_ticks(axis: Any, n: int = 6, *, whole: bool = False) -> None:
    """Give an axis, or a colour bar's, at most about so many ticks; at whole numbers where asked."""
    ticker = require("matplotlib.ticker", "train", "drawing figures")
    axis.set_major_locator(ticker.MaxNLocator(nbins=n, integer=whole))


def elided(name: object, length: int) -> str:
    """Keep the start and the end of a long name, and one line of it; wide letters count twice."""
    text = " ".join(str(name).split())
    if _width(text) <= length:
        return text
    start, end, tail = text, "", (length - 1) // 3
    while end != text and _width(text[len(text) - len(end) - 1 :]) <= tail:
        end = text[len(text) - len(end) - 1 :]
    while _width(start) > length - 1 - tail:
        start = start[:-1]
    return f"{start}…{end}"


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)
