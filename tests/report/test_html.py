from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

from pixfold.learn.consensus import Consensus
from pixfold.learn.results import summarise
from pixfold.learn.tables import findings_table
from pixfold.report import html

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8) + (1500).to_bytes(4, "big") + bytes(20)
EMPTY = {"meta", "img", "br"}


class Balance(HTMLParser):
    """Fails on a tag that is closed in the wrong place."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_page_is_whole_and_needs_no_other_file(make_results):
    results = make_results()
    page = html.render(results, {"top_features": PNG})
    parser = Balance()
    parser.feed(page)
    assert parser.open == []
    assert re.findall(r'(?:src|href)="(?!data:)', page) == []
    assert page.count("data:image/png;base64,") == 1
    assert 'width="1000"' in page
    assert f"{results.metrics['test_accuracy']:.3f}" in page
    assert "3 features are empty" in page
    assert "gene_3" in page
    assert "options.epochs" in page
    assert "1 features: gene_x" in page


def test_names_are_escaped(make_results):
    results = make_results()
    results.findings.loc[3, "feature"] = "<script>alert(1)</script>"
    results.messages.append('"<img src=x>" & co')
    page = html.render(results, {})
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<img" not in page


def test_self_supervised_page(make_results):
    page = html.render(make_results(n_classes=0), {})
    assert "explained variance" in page
    assert "accuracy" not in page
    assert "latent space" in page


def test_job_without_an_accepted_run_says_so(make_results):
    results = make_results()
    nothing = replace(
        results,
        findings=findings_table(Consensus(30).result(), [f"g{i}" for i in range(30)], results.class_names),
        metrics=summarise([{"accepted": False, "reason": "gate closed", "accuracy": 0.5, "chance_accuracy": 0.5}]),
    )
    page = html.render(nothing, {})
    assert "No run was accepted" in page
    assert "not above chance" in page
    assert "no: gate closed" in page
    assert "nan" not in page.lower().replace("nanum", "")
