from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from pixfold.learn.consensus import Consensus
from pixfold.learn.results import summarise
from pixfold.learn.tables import findings_table
from pixfold.report import html
from pixfold.report.contents import Contents

SVG = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"></svg>'
EMPTY = {"meta", "img", "br", "input"}
NASTY = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'); alert(1); ('",
    "--><script>alert(1)</script>",
    "]]></style></svg><script>alert(1)</script>",
    'a, "b"; c\td',
    "{{ 7 * 7 }}",
    "遺伝子 \N{DNA DOUBLE HELIX} \N{RIGHT-TO-LEFT OVERRIDE}ENEG",
]


class Page(HTMLParser):
    """Elements in order, and the text of those that show some; fails on a tag that is closed in the wrong place."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("script", "style"):
            self.texts.append(data.strip())


def stored(results) -> Contents:
    """As it comes back from the folder."""
    contents = Contents.of(results)
    document = json.loads(json.dumps(contents.document))
    return Contents({**document, "files": {"tables": ["findings"], "parquet": True, "arrays": ""}}, contents.arrays)


def page_of(results, figures=None) -> str:
    return html.render(stored(results), figures or {})


def text_of(page: str) -> str:
    """What one reads, on one line."""
    return " ".join(" ".join(Page(page).texts).split())


def test_page_is_whole_and_needs_no_other_file(written):
    page = (written / "report.html").read_text(encoding="utf-8")
    parsed = Page(page)
    links = [value for name, value in parsed.attributes if name in ("src", "href", "xlink:href", "action", "data")]
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in links)
    assert parsed.tags.count("svg") == len(list((written / "figures").glob("*.svg")))
    ids = [value for name, value in parsed.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)


def test_its_policy_lets_the_one_script_run(written):
    page = (written / "report.html").read_text(encoding="utf-8")
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in page


def test_sections_stand_in_order(written):
    page = (written / "report.html").read_text(encoding="utf-8")
    places = [page.index(f'id="{name}"') for name in ("answer", "top", "good", "stable", "trained", "looked", "done")]
    assert places == sorted(places)
    said = text_of(page)
    for words in ("gene_3", "SYM3", "3 features are empty", "1 empty, left out (gene_x)", "options.epochs"):
        assert words in said


def test_a_table_of_all_that_is_known_of_the_best(make_results):
    results = make_results(n_runs=4)
    results.findings["rank_test"], results.findings["rank_l2"] = 7.0, 9.0
    results.findings.loc[3, ["q", "called", "direction"]] = [0.0123, True, "class <1>"]
    page = page_of(results)
    head = re.findall(
        r'<th class="[^"]*"[^>]*>(?:<button[^>]*>)?([^<]*)', page.split('id="features"')[1].split("</thead>")[0]
    )
    assert head == [
        *("rank", "feature", "", "evidence, %", "speaks for", "in class 0", "in class 1", "q", "in top 10"),
        *("mean rank", "by test", "by L2"),
    ]
    (row,) = re.findall(r'<tr data-text="gene_3 .*?</tr>', page, re.DOTALL)
    cells = [" ".join(re.sub(r"<[^>]*>", " ", cell).split()) for cell in re.findall(r"<td.*?</td>", row)]
    best = results.findings.loc[3]
    assert cells[:2] == ["1", "gene_3 SYM3"]
    assert cells[3].startswith(f"{100 * best['importance']:.1f} ± ")
    assert cells[4] == "class &lt;1&gt;"
    assert cells[5] == f"{results.class_means[0, 3]:+.2f}"
    assert cells[7:] == ["0.012", "100%", "1", "7", "9"]
    assert 'class="name called"' in row


def test_a_square_for_each_of_many_classes(make_results):
    results = make_results(n_classes=5)
    results.class_means[:, 3] = [1.0, -0.5, 0.0, 0.25, -1.0]
    page = page_of(results)
    (row,) = re.findall(r'<tr data-text="gene_3 .*?</tr>', page, re.DOTALL)
    squares = re.findall(r'<i title="([^"]*)" style="background:([^"]*)">', row)
    assert squares[0] == ("class 0: +1.00", "rgba(178,24,43,1.00)")
    assert squares[1] == ("class 1: -0.50", "rgba(33,102,172,0.50)")
    assert len(squares) == 5
    assert "<i title" not in page_of(make_results(n_classes=17))


def test_only_the_first_rows_are_seen_at_once(make_results):
    page = page_of(make_results(n_features=60))
    assert page.count("<tr data-text=") == 60
    assert page.count('class="more"') == 35


@pytest.mark.parametrize("kind", [{}, {"quantity": True}, {"n_classes": 0}, {"n_classes": 12}])
def test_names_are_text_wherever_they_stand(make_results, kind):
    results = make_results(names=[*NASTY, *(f"gene_{i}" for i in range(len(NASTY), 30))], **kind)
    results.findings.loc[2, "symbol"] = NASTY[0]
    results = replace(
        results,
        class_names=[NASTY[code] if code < len(NASTY) else name for code, name in enumerate(results.class_names)],
        messages=list(NASTY),
        dropped={"features": list(NASTY), "samples": []},
        config={"input": NASTY[0], "command": NASTY[1], NASTY[2]: {NASTY[3]: NASTY[4]}},
        metrics=results.metrics | {"versions": {NASTY[0]: NASTY[1]}},
    )
    plain, page = page_of(make_results(**kind)), page_of(results)
    # The same elements as without such names, but for those of longer lists.
    longer = ("li", "tr", "th", "td", "small", "code", "p", "strong")
    assert [tag for tag in Page(page).tags if tag not in longer] == [
        tag for tag in Page(plain).tags if tag not in longer
    ]
    assert page.count("<script") == 1
    assert "onerror" not in [name for name, _ in Page(page).attributes]
    assert NASTY[6] in Page(page).texts
    assert NASTY[0] in Page(page).texts


def test_names_in_figures_are_text(make_results):
    from pixfold.report import figures

    results = make_results(names=[*NASTY, *(f"gene_{i}" for i in range(len(NASTY), 30))])
    results = replace(results, class_names=NASTY[:2])
    contents = stored(results)
    drawn = {name: svg["svg"] for name, svg in figures.render(contents).items()}
    page = html.render(contents, drawn)
    assert Page(page).tags.count("script") == 1
    assert Page(page).tags.count("svg") == len(drawn)
    assert not {"img", "b"} & set(Page(page).tags[Page(page).tags.index("svg") :])


def test_self_supervised_page(make_results):
    said = text_of(page_of(make_results(n_classes=0)))
    assert "explained variance" in said
    assert "accuracy" not in said
    assert "how strongly the latent space reacts" in said
    assert "speaks for" not in said


def test_page_of_a_quantity(make_results):
    said = text_of(page_of(make_results(quantity=True)))
    for words in ("R\N{SUPERSCRIPT TWO} of held-out samples", "Spearman correlation", "higher"):
        assert words in said
    assert "confusion" not in said


def test_job_without_an_accepted_run_says_so(make_results):
    results = make_results()
    nothing = replace(
        results,
        findings=findings_table(Consensus(30).result(), [f"g{i}" for i in range(30)], results.class_names),
        metrics=summarise([{"accepted": False, "reason": "gate closed", "accuracy": 0.5, "chance_accuracy": 0.5}]),
    )
    said = text_of(page_of(nothing))
    assert "No feature has a rank: gate closed." in said
    assert "not above chance" in said
    assert "no: gate closed" in said
    assert "No run is used for a ranking" in said
    assert "nan" not in said.lower().replace("nanum", "")


def test_per_class_scores_are_those_of_the_confusion_matrix(make_results):
    results = make_results()
    results.metrics["confusion_matrix"] = [[30, 10], [5, 35]]
    results.metrics["class_auc"] = {"class 0": 0.9, "class 1": None}
    said = text_of(page_of(results))
    assert "class 0 20 0.750 0.857 0.800 0.900" in said
    assert "class 1 20 0.875 0.778 0.824" in said


def test_methods_on_the_same_splits(make_results):
    results = make_results(n_runs=3)
    model = {"name": "logistic regression (L2)", "balanced_accuracy": 0.5, "n_splits": 2}
    results.metrics["baselines"] = {"test": {"name": "Welch's t test", "n_called": 1234}, "l2": model}
    own = sum(run["balanced_accuracy"] for run in results.metrics["runs"][:2]) / 2
    said = text_of(page_of(results))
    assert f"this network (resnet18) {own:.3f} logistic regression (L2) 0.500" in said
    assert "Welch's t test, each feature by itself 1,234" in said
    assert "means over the splits of the first 2 runs" in said


def test_the_additive_network_says_what_was_solved(make_results):
    results = make_results()
    results.config["backbone"] = "additive"
    said = text_of(page_of(results))
    assert "has no epochs" in said
    assert "training accuracy" in said
    assert "gradient descent" not in said
