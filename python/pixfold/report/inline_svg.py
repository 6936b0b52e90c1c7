"""SVG files of figures as parts of a page: in its colours, light or dark, and without names that two of them share."""

from __future__ import annotations

import html
import re

from pixfold.report.figures.style import GREY, INK, LIGHT, PALETTE, PAPER

_TAG = re.compile(r"<[^<>]*>")
_PROLOGUE = re.compile(r"<metadata>.*?</metadata>|<!--.*?-->|<defs>\s*<style[^>]*>[^<]*</style>\s*</defs>", re.DOTALL)
_ID = re.compile(r'\sid="([^"]*)"')
_REFERENCE = re.compile(r'(url\(#|href="#)([^)"]+)')
_SIZE = re.compile(r'\s(?:width|height|version)="[^"]*"')
_FONT = "'DejaVu Sans'"
# Colour of the figures -> that of the page.
_COLOURS = {
    INK: "var(--ink)",
    GREY: "var(--soft)",
    LIGHT: "var(--line)",
    PAPER: "none",
    **{colour: f"var(--c{number})" for number, colour in enumerate(PALETTE[:-1])},
}
_COLOUR = re.compile("|".join(map(re.escape, _COLOURS)), re.IGNORECASE)


def inlined(svg: bytes, name: str, caption: str) -> str:
    """Make a file of :func:`pixfold.report.figures.style.svg` part of a page.

    Parameters
    ----------
    svg : bytes
        The file.
    name : str
        Of the figure; no other on the page has it.
    caption : str
        What a screen reader says.

    Returns
    -------
    str
        An ``<svg>`` element.
    """
    text = svg.decode("utf-8")
    text = _PROLOGUE.sub("", text[text.index("<svg") :])
    used = {match[2] for match in _REFERENCE.finditer(text)}

    def changed(tag: re.Match[str]) -> str:
        # Tags alone: what a feature is called stands between them, or in quotes that have no such characters.
        found = _ID.sub(lambda match: f' id="{name}-{match[1]}"' if match[1] in used else "", tag[0])
        found = _REFERENCE.sub(lambda match: f"{match[1]}{name}-{match[2]}", found)
        found = _COLOUR.sub(lambda match: _COLOURS[match[0].upper()], found)
        return found.replace(_FONT, "var(--font)")

    first, rest = text.split(">", 1)
    first = f'{_SIZE.sub("", first)} role="img" aria-label="{html.escape(caption)}"'
    return _TAG.sub(changed, f"{first}>{rest}").strip()
