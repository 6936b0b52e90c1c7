"""The page in a real browser: it renders, its table sorts and searches, and nothing leaves it.

``PIXFOLD_CHROMIUM`` names the browser where it is not on the path.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from pixfold.report import write_results

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = os.environ.get("PIXFOLD_CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
if CHROMIUM is None:
    pytest.skip("no Chromium on the path: apt-get install chromium, or PIXFOLD_CHROMIUM", allow_module_level=True)

NASTY = "<script>window.pwned = 1</script>"
IMAGE = "\"><img src='https://example.org/x.png' onerror='window.pwned = 1'>"


@pytest.fixture(scope="module")
def page_file(make_results, tmp_path_factory) -> Path:
    names = [f"gene_{i}" for i in range(60)]
    names[3], names[5] = NASTY, IMAGE
    results = make_results(names=names, n_features=60, n_runs=4)
    results.messages.append(NASTY)
    results.findings.loc[results.findings.index[1], "called"] = True
    folder = tmp_path_factory.mktemp("page")
    write_results(results, folder)
    return Path(folder / "report.html")


@pytest.fixture(scope="module")
def browser():
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


class Opened:
    """A page, and what it asked for and complained of."""

    def __init__(self, browser, file: Path, **how) -> None:
        self.context = browser.new_context(**how)
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(file.as_uri())

    def column(self, number: int) -> list[str]:
        """The cells of a column that are seen."""
        cells = self.page.locator(f"#features tbody tr:visible td:nth-child({number})")
        return [text.strip() for text in cells.all_inner_texts()]


@pytest.fixture
def opened(browser, page_file):
    made = []

    def open_it(**how) -> Opened:
        made.append(Opened(browser, page_file, **how))
        return made[-1]

    yield open_it
    for one in made:
        one.context.close()


def test_it_renders_and_nothing_leaves_it(opened, page_file):
    one = opened()
    assert one.requests == [page_file.as_uri()]
    assert one.complaints == []
    assert one.page.title() == "pixfold: Features that tell class 0 from class 1"
    pictures = one.page.locator("figure svg")
    assert pictures.count() == len(list((page_file.parent / "figures").glob("*.svg")))
    boxes = [picture.bounding_box() for picture in pictures.all()]
    assert len({round(box["width"]) for box in boxes}) == 1  # they share one width
    assert min(box["height"] for box in boxes) > 100


def test_names_do_nothing(opened):
    one = opened()
    assert one.page.evaluate("window.pwned") is None
    assert one.page.locator("main img, main script").count() == 0
    assert NASTY in one.page.locator("#features td.name").first.inner_text()
    assert NASTY in one.page.locator("#warnings").inner_text()


def test_what_is_injected_all_the_same_does_not_run(opened):
    """The policy of the page holds even where escaping did not."""
    one = opened()
    one.page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.pwned = 1\">')")
    one.page.evaluate(
        "() => { const made = document.createElement('script'); made.textContent = 'window.pwned = 1';"
        " document.body.append(made); return new Promise(done => setTimeout(done, 100)); }"
    )
    assert one.page.evaluate("window.pwned") is None


def test_the_table_sorts(opened):
    one = opened()
    assert one.column(1)[:3] == ["1", "2", "3"]
    assert len(one.column(1)) == 25
    rank, evidence, name = (one.page.locator(f"#features th:nth-child({number}) button") for number in (1, 4, 2))
    rank.click()
    rank.click()
    assert one.column(1)[:3] == ["60", "59", "58"]  # of all rows, not of those that were seen
    assert one.page.locator("#features th").first.get_attribute("aria-sort") == "descending"
    evidence.click()
    assert one.column(1)[:3] == ["1", "2", "3"]  # the most evidence first
    evidence.click()
    assert one.column(1)[0] == "60"
    name.click()
    assert one.column(2)[0].startswith('"><img')


def test_the_table_searches(opened):
    one = opened()
    one.page.fill("#search", "GENE_4")
    found = one.column(2)
    assert len(found) == 11  # 4, 40 to 49
    assert all(text.startswith("gene_4") for text in found)
    assert one.page.inner_text("#count") == "11 of 60 match"
    one.page.fill("#search", "SYM17")  # by its annotation
    assert [text.split()[0] for text in one.column(2)] == ["gene_17"]
    one.page.fill("#search", "no such gene")
    assert one.column(2) == []
    one.page.fill("#search", "")
    assert len(one.column(2)) == 25
    one.page.click("#all")
    assert len(one.column(2)) == 60
    one.page.click("#all")
    assert len(one.column(2)) == 25


@pytest.mark.parametrize("width", [390, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_phones_and_follows_the_scheme(opened, width, scheme):
    one = opened(viewport={"width": width, "height": 800}, color_scheme=scheme)
    assert one.page.evaluate("document.documentElement.scrollWidth") == width
    colour = one.page.evaluate("getComputedStyle(document.body).color")
    brightness = sum(int(part) for part in colour.strip("rgb()").split(",")) / 3
    assert (brightness > 128) is (scheme == "dark")
    heights = one.page.locator("figure text").evaluate_all("all => all.map(one => one.getBoundingClientRect().height)")
    assert min(height for height in heights if height) >= 9.0  # letters that one can read
    assert one.page.locator("details[open]").count() == 0  # settings are folded away


def test_print_is_light_and_has_no_buttons(opened):
    one = opened(color_scheme="dark")
    one.page.emulate_media(media="print", color_scheme="dark")
    assert one.page.evaluate("getComputedStyle(document.body).color") == "rgb(34, 38, 43)"
    assert not one.page.locator("#tools").is_visible()
    assert len(one.column(1)) == 25


def test_without_scripts_all_rows_are_there(opened):
    one = opened(java_script_enabled=False)
    assert one.page.locator("#features tbody tr").count() == 60
    assert one.page.locator("#features tbody tr").last.is_visible()
    assert not one.page.locator("#tools").is_visible()
