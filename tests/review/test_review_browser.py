"""The page in a browser: 1,000 variants by keyboard, a killed server, hostile names, filters, undo, the sample, axe."""

import importlib.resources
import importlib.util
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from review_cases import Serve, Served

from robustaug.data.decisions import read_decisions
from robustaug.files import read_jsonl, write_jsonl

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

Open = Callable[..., Any]


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


@pytest.fixture
def open_page(browser: Any) -> Iterator[Open]:
    """``open_page(served, width, scheme)``: a page in a browser of its own; what goes wrong is in ``page.troubles``."""
    contexts = []

    def start(served: Served, width: int = 1440, scheme: str = "light") -> Any:
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme))
        page = contexts[-1].new_page()
        page.troubles = []
        page.asked = []
        page.on("console", lambda message: page.troubles.append(message.text))
        page.on("pageerror", lambda error: page.troubles.append(str(error)))
        page.on("dialog", lambda dialog: (page.troubles.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(served.address)
        page.wait_for_selector(".card")
        return page

    yield start
    for context in contexts:
        context.close()


def saved(page: Any) -> None:
    sync_api.expect(page.locator("#saved")).to_have_text("All saved", timeout=60_000)


def press(page: Any, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


HOLD = """([key, times]) => { for (let time = 0; time < times; time++)
    document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, repeat: time > 0 })); }"""


def test_a_thousand_variants_by_keyboard(
    serve: Serve, open_page: Open, make_variants: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_variants(tmp_path, 1000)
    page = open_page(serve(folder, tmp_path / "data"))
    press(page, "a", "r", "a", "l")
    press(page, *"fish", "Enter")
    press(page, "l", "Enter", "g")  # and now one by one
    press(page, "a", "r", "ArrowRight", "a", "ArrowLeft", "ArrowLeft", "r")
    assert page.locator("#where").inner_text() == "9 of 1,000"
    assert page.locator("#single .verdict").inner_text() == "Accepted"
    press(page, "ArrowRight")
    assert page.locator("#single .verdict").inner_text() == "Undecided"
    press(page, "ArrowLeft")
    press(page, "r", "r", "g", "r")
    page.evaluate(HOLD, ["a", 989])  # a key held down, at the pace of the page
    saved(page)
    assert page.locator("[data-name=open] .count").inner_text() == "0"
    made = read_decisions(folder)
    rows = read_jsonl(folder / "review.jsonl")[1:]
    listed = sorted(row["path"] for row in read_jsonl(folder / "manifest.jsonl"))
    assert len(made) == 1000
    assert {row["path"] for row in rows} == set(listed)
    verdicts = [decision.verdict for decision in map(made.decision, listed) if decision is not None]
    first = ["accept", "reject", "accept", "relabel", "relabel", "accept", "reject", "reject", "reject", "reject"]
    assert verdicts[:11] == [*first, "reject"]
    assert verdicts[11:] == ["accept"] * 989
    assert made.relabelled == {listed[3]: "fish"}
    assert page.troubles == []


def test_a_killed_server_loses_nothing(serve: Serve, open_page: Open, variants: Path, tmp_path: Path) -> None:
    """What was decided is on disk; what the page could not send waits, and goes on when the server is back."""
    served = serve(variants, tmp_path / "data")
    page = open_page(served)
    press(page, "a", "r")
    saved(page)
    served.stop()
    press(page, "r", "a")
    sync_api.expect(page.locator("#trouble")).to_have_text(
        "2 decisions are not saved yet: the server does not answer. Start the review again, on this port. "
        "This page then goes on by itself."
    )
    assert page.locator("#saved").inner_text() == "2 not saved yet"
    assert len(read_decisions(variants)) == 2
    again = serve(variants, tmp_path / "data", port=served.port, token="another-token")
    sync_api.expect(page.locator("#trouble")).to_contain_text("Open the address that it printed, in this browser.")
    assert again.written() == served.written()
    page.context.new_page().goto(again.address)
    saved(page)
    assert page.locator("#trouble").is_hidden()
    assert [row["decision"] for row in served.written()] == ["accept", "reject", "reject", "accept"]
    page.reload()
    page.wait_for_selector(".card")
    states = page.locator(".card").evaluate_all("(cards) => cards.slice(0, 5).map((card) => card.dataset.state)")
    assert states == ["accept", "reject", "reject", "accept", "open"]
    assert page.locator(".card").nth(4).get_attribute("aria-current") == "true"  # where to go on


HOSTILE = "<script>alert(1)</script>"
HOSTILE_FILE = "<img src=x onerror=alert(1)>' onload=alert(1) \".png"


def test_names_that_are_script_stay_text(serve: Serve, open_page: Open, variants: Path, tmp_path: Path) -> None:
    rows = read_jsonl(variants / "manifest.jsonl")
    content = (variants / rows[0]["path"]).read_bytes()
    folder = variants / "<img src=x onerror=alert(1)>"
    folder.mkdir()
    (folder / HOSTILE_FILE.replace("/", "")).write_bytes(content)
    path = f"{folder.name}/{HOSTILE_FILE}"
    hostile = {"path": path, "label": HOSTILE, "style": HOSTILE_FILE, "kind": HOSTILE, "source": HOSTILE_FILE}
    write_jsonl(variants / "manifest.jsonl", [{**rows[0], **hostile, HOSTILE: HOSTILE}, *rows[1:]])
    page = open_page(serve(variants))
    card = page.locator(".card").first
    assert card.locator("strong").inner_text() == HOSTILE
    card.locator(".pictures").click()
    facts = page.locator("#single .facts").inner_text()
    assert path in facts
    assert HOSTILE in facts
    press(page, "ArrowRight", "l")
    page.locator(".classes button", has_text="alert").click()
    saved(page)
    assert page.locator("script").count() == 1  # the page's own
    assert page.locator("[onerror], [onload]").count() == 0
    assert page.locator("option", has_text="onerror").count() == 1
    assert HOSTILE in read_decisions(variants).relabelled.values()
    assert page.troubles == []


def test_inline_script_cannot_run(serve: Serve, open_page: Open, variants: Path) -> None:
    """Were a name ever to become an element: the policy keeps its script from running."""
    page = open_page(serve(variants))
    with page.expect_response("**/variants/999"):
        page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=variants/999 onerror=alert(1)>')")
    page.wait_for_timeout(100)
    assert any("Content Security Policy" in trouble for trouble in page.troubles)
    assert "1" not in page.troubles


def test_the_token_leaves_the_address_and_scripts_cannot_read_it(serve: Serve, open_page: Open, variants: Path) -> None:
    served = serve(variants)
    page = open_page(served)
    assert page.url == f"{served.origin}/"
    assert page.evaluate("document.cookie") == ""
    assert all(url.startswith(served.origin) for url in page.asked)
    (cookie,) = page.context.cookies()
    assert (cookie["sameSite"], cookie["httpOnly"]) == ("Strict", True)
    stranger = page.context.browser.new_page()
    assert stranger.goto(f"{served.origin}/variants/0").status == 403
    stranger.close()


def test_mouse_and_undo(serve: Serve, open_page: Open, variants: Path, tmp_path: Path) -> None:
    page = open_page(serve(variants, tmp_path / "data"))
    cards = page.locator(".card")
    cards.nth(2).get_by_role("button", name="Reject").click()
    cards.nth(5).get_by_role("button", name="Relabel").click()
    page.get_by_role("button", name="fish").click()
    cards.nth(2).get_by_role("button", name="Accept").click()
    saved(page)
    listed = sorted(row["path"] for row in read_jsonl(variants / "manifest.jsonl"))
    made = read_decisions(variants)
    assert made.relabelled == {listed[5]: "fish"}
    assert made.excluded == frozenset()
    assert cards.nth(5).locator(".verdict").inner_text() == "→ fish"
    press(page, "u")
    page.wait_for_selector(".card:nth-child(3)[data-state=reject][aria-current]")
    press(page, "u")
    page.wait_for_selector(".card:nth-child(6)[data-state=open]")
    page.get_by_role("button", name="Undo").click()
    page.wait_for_selector(".card:nth-child(3)[data-state=open]")
    assert len(read_decisions(variants)) == 0


def test_source_beside_variant(serve: Serve, open_page: Open, variants: Path, tmp_path: Path) -> None:
    page = open_page(serve(variants, tmp_path / "data"))
    colours = """(images) => Promise.all(images.map(async (image) => {
        await image.decode();
        const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d");
        canvas.drawImage(image, 0, 0, 1, 1);
        return canvas.getImageData(0, 0, 1, 1).data[0];
    }))"""
    assert page.locator(".card").nth(1).locator("img").evaluate_all(colours) == [3, 252]
    page.locator(".card").nth(1).locator(".pictures").click()
    assert page.locator("#single img").evaluate_all(colours) == [3, 252]
    assert page.locator("#note").is_hidden()
    assert page.locator("#single figcaption").all_inner_texts() == ["Original", "Variant"]


def test_without_sources_the_page_says_so(serve: Serve, open_page: Open, variants: Path) -> None:
    page = open_page(serve(variants))
    assert page.locator("#note").inner_text() == (
        "The originals are not shown: name the folder that the variants were made from with --data."
    )
    assert page.locator(".card").first.locator("img").count() == 1


def shown(page: Any) -> list[str]:
    """Paths, one by one, of what the filters let through."""
    addresses = page.locator(".card img[alt^=Variant]").evaluate_all("(images) => images.map((image) => image.alt)")
    return [address.removeprefix("Variant ") for address in addresses]


def test_filters(serve: Serve, open_page: Open, variants: Path) -> None:
    rows = sorted(read_jsonl(variants / "manifest.jsonl"), key=lambda row: str(row["path"]))
    page = open_page(serve(variants))

    def names(keep: Callable[[dict[str, Any]], bool]) -> list[str]:
        return [row["path"].rpartition("/")[2] for row in rows if keep(row)]

    page.get_by_label("Class", exact=True).select_option(label="dog (4)")
    assert shown(page) == names(lambda row: row["label"] == "dog")
    page.get_by_role("button", name="Show all again").click()
    assert len(shown(page)) == 12
    page.get_by_label("Kind").select_option(label="classical (3)")
    assert shown(page) == names(lambda row: row["kind"] == "classical")
    page.get_by_role("button", name="Show all again").click()
    page.get_by_label("Technique").select_option(label="painting 1 (3)")
    assert shown(page) == names(lambda row: row.get("style") == "painting_1")
    assert page.get_by_label("Technique").locator("option").all_inner_texts() == [
        "all", "blur (3)", "painting 0 (3)", "painting 1 (3)", "pgd (3)", "rotation (3)"
    ]  # fmt: skip
    page.get_by_label("Technique").select_option(label="blur (3)")
    assert shown(page) == names(lambda row: row["kind"] == "classical")
    assert page.locator(".card .technique").first.inner_text() == "rotation + blur"
    page.locator(".card .pictures").first.click()
    assert page.locator("dd", has_text="blur (sigma 0.5)").is_visible()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Show all again").click()
    page.get_by_label("Strength from").fill("0.2")
    page.get_by_label("Strength to").fill("0.8")
    assert shown(page) == names(lambda row: 0.2 <= row.get("strength", 9) <= 0.8)
    page.get_by_role("button", name="Show all again").click()
    page.get_by_label("Probability of its label to").fill("0.5")
    assert shown(page) == names(lambda row: row["label_probability"] <= 0.5)
    page.get_by_label("Order").select_option(label="Least certain label first")
    assert shown(page) == sorted(names(lambda row: row["label_probability"] <= 0.5), reverse=True)
    page.get_by_label("Probability of its label from").fill("0.9")
    assert page.locator("#empty").is_visible()
    press(page, "Escape", "a", "r", "l", "g", "ArrowRight")  # nothing there to decide on


def test_filter_by_decision(serve: Serve, open_page: Open, variants: Path) -> None:
    page = open_page(serve(variants))
    press(page, "a", "r", "a", "l", "Enter")
    counts = [" ".join(text.split()) for text in page.locator("#states button").all_inner_texts()]
    assert counts == ["All 12", "Undecided 8", "Accepted 2", "Rejected 1", "To relabel 1"]
    for name, count in (("Undecided", 8), ("Accepted", 2), ("Rejected", 1), ("To relabel", 1)):
        page.locator("#states button", has_text=name).click()
        assert len(shown(page)) == count
    page.locator("#states button", has_text="Undecided").click()
    press(page, "r")
    assert len(shown(page)) == 8  # what was just decided stays where it is
    assert page.locator(".card").nth(1).get_attribute("aria-current") == "true"


def test_a_random_sample(serve: Serve, open_page: Open, variants: Path) -> None:
    page = open_page(serve(variants, sample=6))
    page.get_by_role("button", name="Review", exact=True).click()
    assert page.locator("#where").inner_text() == "1 of 6"
    assert page.locator("#statement").inner_text().startswith("0 of 6 decided")
    press(page, "a", "a", "r", "a", "a", "a")
    sync_api.expect(page.locator("#statement")).to_contain_text("1 of 6 are bad, 16.7%")
    paths = [row["path"] for row in read_jsonl(variants / "review.jsonl")[1:]]
    assert len(set(paths)) == 6
    assert paths != sorted(paths)
    page.get_by_label("Random sample of").fill("8")
    page.get_by_label("Random sample of").press("Enter")
    sync_api.expect(page.locator("#statement")).to_contain_text("6 of 8 decided, 1 bad so far")
    assert page.locator("#where").inner_text() == "7 of 8"  # the larger sample begins with the smaller


def test_keys_in_fields_are_letters(serve: Serve, open_page: Open, variants: Path) -> None:
    served = serve(variants)
    page = open_page(served)
    page.get_by_label("Class", exact=True).focus()
    press(page, "a", "r")
    page.get_by_label("Strength from").focus()
    press(page, "u")
    press(page, "Control+a")
    assert served.written() == []


# What reaches out of the screen, or out of the column of filters.
BEYOND = """[...document.querySelectorAll("main *, aside *")]
    .filter((each) => !each.closest(".states, .wide, .hidden, [hidden]"))
    .filter((each) => each.getBoundingClientRect().right >
        (each.closest("main, aside").getBoundingClientRect().right || innerWidth) + 1)
    .map((each) => each.outerHTML.slice(0, 80))"""


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1440, "light")])
def test_layout_holds_and_axe_finds_no_serious_problem(
    serve: Serve, open_page: Open, variants: Path, tmp_path: Path, width: int, scheme: str
) -> None:
    if importlib.util.find_spec("axe_playwright_python") is None:
        pytest.skip("axe-playwright-python, which brings axe-core, is not installed")
    axe = importlib.resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    page = open_page(serve(variants, tmp_path / "data"), width, scheme)
    page.evaluate(axe)
    press(page, "a", "r", "l", "Enter")
    page.evaluate("document.getElementById('filters').open = true")
    for key in ("", "g", "l"):
        if key:
            press(page, key)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.evaluate(BEYOND) == []
        found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
        assert len(found["passes"]) > 15
        problems = [
            (each["id"], each["nodes"][0]["html"][:200], each["nodes"][0]["failureSummary"])
            for each in found["violations"]
            if each["impact"] in ("serious", "critical")
        ]
        assert problems == []
    assert page.troubles == []
