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
    assert "No feature has a rank: gate closed." in page
    assert "not above chance" in page
    assert "no: gate closed" in page
    assert "nan" not in page.lower().replace("nanum", "")


def test_what_is_called_stands_on_top(make_results):
    results = make_results()
    tested = {
        "test_p": 0.012,
        "n_called": 1,
        "n_features_used": 30,
        "p_values_from": "permuted labels",
        "n_permutations": 99,
    }
    results.metrics.update(tested, agreement_in_words="both halves agree")
    results.config["fdr"] = 0.2
    results.findings["q"] = 0.5
    results.findings.loc[3, "q"], results.findings.loc[3, "called"] = 0.0123, True
    results.findings.loc[3, "direction"] = "class <1>"
    page = html.render(results, {})
    assert "1 feature of 30 is called, at a false discovery rate of 0.2." in page
    assert "The labels can be told from chance (p = 0.012, tested against 99 permutations of the labels)." in page
    assert "2 runs of the network; both halves agree." in page
    assert "<b>gene_3</b>" in page
    assert "<b>gene_4</b>" not in page
    assert "0.012" in page
    assert "class &lt;1&gt;" in page


def test_a_list_that_was_tested_is_not_distrusted(make_results):
    """One strong feature among thousands is found, although the network predicts no better than chance."""
    results = make_results()
    results.metrics.update(test_accuracy=0.5, chance_accuracy=0.5)
    assert "not above chance" in html.render(results, {})
    results.metrics.update(test_p=0.01, n_called=1, n_features_used=30, p_values_from="permuted labels")
    assert "distrust its ranking" not in html.render(results, {})
