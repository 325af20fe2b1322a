"""The page in a browser: no error, no request, tables sort, the layout holds, axe-core finds no serious barrier."""

import importlib.resources
import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

WIDTHS = (390, 1440)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """The system's Chromium, else the one that Playwright brought."""
    with sync_api.sync_playwright() as playwright:
        own = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        path = own or playwright.chromium.executable_path
        if not Path(path).is_file():
            pytest.skip("no Chromium: install the system's package chromium")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


class Opened:
    """A page, and what it said and asked for while it was open."""

    def __init__(self, browser: Any, path: Path, width: int = 1440, scheme: str = "light") -> None:
        self.page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.troubles: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.troubles.append(message.text))
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.troubles.append(dialog.message), dialog.dismiss()))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())

    def unfold(self) -> None:
        self.page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")


@pytest.fixture
def opened(browser: Any) -> Iterator[Any]:
    """``opened(path, width, scheme)``: a page that is closed after the test."""
    pages: list[Opened] = []

    def open_page(*arguments: Any) -> Opened:
        pages.append(Opened(browser, *arguments))
        return pages[-1]

    yield open_page
    for each in pages:
        each.page.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_layout_holds_and_nothing_leaves_the_file(opened: Any, built_run: Path, hostile_run: Path, width: int) -> None:
    for run in (built_run, hostile_run):
        shown = opened(run / "report.html", width)
        shown.unfold()
        assert shown.page.evaluate("document.documentElement.scrollWidth") == width
        assert shown.page.evaluate("document.body.scrollWidth") == width
        # What is wider than the screen stands in a box that scrolls by itself.
        beyond = """[...document.querySelectorAll("main *")].filter((each) => !each.closest(".scroll, pre, .skip")
            && each.getBoundingClientRect().right > innerWidth + 1).map((each) => each.outerHTML.slice(0, 80))"""
        assert shown.page.evaluate(beyond) == []
        assert shown.troubles == []
        assert [url for url in shown.requests if not url.startswith("data:")] == [(run / "report.html").as_uri()]
        assert shown.page.evaluate("performance.getEntriesByType('resource').map((e) => e.name)") == []


def test_all_metrics_of_standard_fit_side_by_side(opened: Any, standard_run: Path) -> None:
    page = opened(standard_run / "report.html", 1440).page
    assert page.locator("#results thead th").count() == 11
    assert page.locator("#results .scroll.wide").count() == 0
    cells = page.locator("#results table :is(th, td)")
    assert cells.evaluate_all("(cells) => cells.filter((each) => each.scrollWidth > each.clientWidth + 1).length") == 0
    names = page.locator("#results tbody th")
    assert names.evaluate_all("(cells) => cells.map((each) => each.getClientRects().length)") == [1] * 4
    labels = page.locator("#results svg text").evaluate_all(
        """(all) => all.map((each) => [each.textContent, each.getBoundingClientRect()])
            .filter(([text]) => /^[A-Z]/.test(text)).map(([text, box]) => [text, box.left, box.right, box.top])"""
    )
    assert {"AutoAttack", "Corruptions", "Transfer"} <= {text for text, *_ in labels}
    for text, left, right, top in labels:
        for other, start, end, other_top in labels:
            if (text, left) != (other, start) and abs(top - other_top) < 3:
                assert right < start or end < left, (text, other)


def test_hostile_names_run_nothing(opened: Any, hostile_run: Path) -> None:
    shown = opened(hostile_run / "report.html")
    assert shown.page.locator("script").count() == 1
    assert shown.page.locator("[onerror]").count() == 0
    assert "<script>alert(1)</script>" in shown.page.locator("h1").inner_text()
    assert "49" not in shown.page.title()  # of {{ 7 * 7 }}
    assert shown.troubles == []


COLUMN = """(table, column) => [...table.tBodies[0].rows].map((row) => row.cells[column].dataset.value ?? null)"""


def test_tables_sort_by_click_and_by_keyboard(opened: Any, built_run: Path, content: dict[str, Any]) -> None:
    page = opened(built_run / "report.html").page
    table = page.locator("#results table")
    heading = table.locator("thead th").nth(4)  # PGD
    accuracies = [entry["metrics"]["pgd"]["value"] for entry in content["arms"].values()]

    def shown() -> list[float]:
        return [float(value) for value in table.evaluate(COLUMN, 4)]

    assert shown() == accuracies
    heading.locator("button").click()
    assert shown() == sorted(accuracies, reverse=True)
    assert heading.get_attribute("aria-sort") == "descending"
    heading.locator("button").focus()
    page.keyboard.press("Enter")
    assert shown() == sorted(accuracies)
    assert heading.get_attribute("aria-sort") == "ascending"
    page.keyboard.press("Space")
    assert shown() == sorted(accuracies, reverse=True)
    table.locator("thead th").nth(0).locator("button").click()
    assert table.evaluate(COLUMN, 0) == sorted(content["arms"], reverse=True)
    assert heading.get_attribute("aria-sort") is None
    table.locator("thead th").nth(5).locator("button").click()  # unseen style, which one arm lacks
    assert table.evaluate(COLUMN, 5)[-1] is None


SORT_ALL = """() => [...document.querySelectorAll("table.sortable")].flatMap((table) =>
    [...table.querySelectorAll("thead button")].map((button, column) => {
        button.click();
        return [...table.tBodies[0].rows].map((row) => row.cells[column].dataset.value ?? null);
    }))"""


def test_every_sortable_table_sorts_every_column(opened: Any, built_run: Path) -> None:
    shown = opened(built_run / "report.html")
    columns = [[value for value in column if value is not None] for column in shown.page.evaluate(SORT_ALL)]
    assert len(columns) > 50
    for values in columns:
        assert values
        try:
            numbers = [float(value) for value in values]
        except ValueError:
            continue
        assert numbers == sorted(numbers, reverse=True)
    assert shown.troubles == []


def test_paper_shows_what_is_folded(opened: Any, built_run: Path) -> None:
    page = opened(built_run / "report.html").page
    folded = "document.querySelectorAll('details:not([open])').length"
    before = page.evaluate(folded)
    assert before > 3
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(folded) == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate(folded) == before


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1440, "light")])
def test_axe_finds_no_serious_problem(opened: Any, built_run: Path, width: int, scheme: str) -> None:
    if importlib.util.find_spec("axe_playwright_python") is None:
        pytest.skip("axe-playwright-python, which brings axe-core, is not installed")
    axe = importlib.resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    shown = opened(built_run / "report.html", width, scheme)
    shown.unfold()
    shown.page.evaluate(axe)
    found = shown.page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    assert len(found["passes"]) > 20
    problems = [
        (each["id"], each["nodes"][0]["html"][:200], each["nodes"][0]["failureSummary"])
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
    ]
    assert problems == []
