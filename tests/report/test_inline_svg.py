"""Figures of one page share no names, and follow its colours."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from pixfold.report.inline_svg import inlined


def test_names_of_two_figures_differ_and_lead_to_something(written):
    ids: list[str] = []
    for path in sorted((written / "figures").glob("*.svg")):
        text = inlined(path.read_bytes(), path.stem, "a caption")
        ET.fromstring(text)
        own = re.findall(r'\bid="([^"]*)"', text)
        used = {match[1] for match in re.findall(r'(url\(#|href="#)([^)"]+)', text)}
        assert used == set(own)
        ids += own
    assert ids
    assert len(ids) == len(set(ids))


def test_colours_are_those_of_the_page_and_texts_stay():
    svg = (
        b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9pt" height="9pt" viewBox="0 0 9 9">'
        b"<metadata>of nobody</metadata><!-- <script> -->"
        b'<g id="axes_1" style="fill: #22262b; stroke: #0072B2"/><text style="font: 8px \'DejaVu Sans\'">#22262b id="x"'
        b"</text></svg>"
    )
    assert inlined(svg, "one", 'a "caption"') == (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9" role="img" aria-label="a &quot;caption&quot;">'
        '<g style="fill: var(--ink); stroke: var(--c0)"/><text style="font: 8px var(--font)">#22262b id="x"'
        "</text></svg>"
    )
