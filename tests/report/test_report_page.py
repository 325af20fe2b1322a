"""The page: well-formed, self-contained, true to report.json, safe with hostile names, repeatable."""

import base64
import hashlib
import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from robustaug.errors import RobustAugError
from robustaug.evaluation.report import build_report
from robustaug.evaluation.report.figures import classes_shown
from robustaug.evaluation.report.sections import TITLES

WriteRun = Callable[..., Path]
VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """Collects elements, checks nesting, and keeps the text of each table cell of the results."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.cells: dict[tuple[str, str], tuple[dict[str, str | None], str]] = {}
        self.text = ""
        self._open: list[str] = []
        self._cell: tuple[str, str] | None = None
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "td" and "data-metric" in attributes:
            self._cell = (str(attributes["data-arm"]), str(attributes["data-metric"]))
            self.cells[self._cell] = (attributes, "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        if tag == "td":
            self._cell = None

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._cell is not None:
            attributes, text = self.cells[self._cell]
            self.cells[self._cell] = (attributes, text + data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="session")
def html(built_run: Path) -> str:
    return (built_run / "report.html").read_text()


@pytest.fixture(scope="session")
def page(html: str) -> Page:
    return Page(html)


def test_results_table_equals_report_json(page: Page, content: dict[str, Any]) -> None:
    metrics = ("clean", "noise", "fgsm", "pgd", "unseen_style")
    assert set(page.cells) == {(arm, metric) for arm in content["arms"] for metric in metrics}
    for (arm, metric), (attributes, text) in page.cells.items():
        m = content["arms"][arm]["metrics"].get(metric)
        if m is None:
            assert text.split() == ["not", "measured"]
            assert "data-value" not in attributes
            continue
        assert float(str(attributes["data-value"])) == m["value"]
        percent = [f"{100 * m[key]:.1f}" for key in ("value", "low", "high")]
        assert text.split() == [percent[0], f"[{percent[1]},", f"{percent[2]}]", "n", f"{m['n']:,}"]


def test_nothing_is_loaded_from_elsewhere(page: Page, html: str) -> None:
    for _, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "action", "data", "poster", "srcset"):
            assert str(attributes.get(name) or "#").startswith(("#", "data:image/png;base64,"))
    assert set(re.findall(r"url\(\s*['\"]?(.)", html)) <= {"#"}
    assert "@import" not in html
    assert not page.all("link")


def test_policy_allows_this_script_alone(page: Page, html: str) -> None:
    policy = next(str(m["content"]) for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    scripts = re.findall(r"<script>(.*?)</script>", html, flags=re.DOTALL)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert f"script-src 'sha256-{digest}';" in policy


def test_page_is_accessible(page: Page) -> None:
    assert all(image.get("alt") for image in page.all("img"))
    drawings = page.all("svg")
    assert len(drawings) == 6
    assert all(drawing["role"] == "img" and drawing["aria-label"] for drawing in drawings)
    identifiers = [attributes["id"] for _, attributes in page.elements if attributes.get("id")]
    assert len(identifiers) == len(set(identifiers))
    targets = {str(a["href"])[1:] for a in page.all("a")}
    assert targets <= set(identifiers)
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_internal_references_of_charts_resolve(page: Page, html: str) -> None:
    identifiers = {attributes["id"] for _, attributes in page.elements if attributes.get("id")}
    used = set(re.findall(r"url\(#([^)]+)\)", html)) | {str(u["xlink:href"])[1:] for u in page.all("use")}
    assert used
    assert used <= identifiers


def test_failed_checks_stand_beside_the_headline(page: Page) -> None:
    before_results = page.text.split("Accuracy in percent")[0]
    assert "1 of 3 checks failed" in before_results
    assert "still 4.1 percent at eps 0.5" in before_results
    assert sum(a.get("class") == "mark" for a in page.all("a")) == 1


def test_contents_lead_to_every_section(page: Page) -> None:
    named = [str(attributes["id"]) for attributes in page.all("section")]
    assert named == list(TITLES)
    linked = [str(a["href"])[1:] for a in page.all("a") if "class" not in a]
    assert linked[: len(named)] == named


def test_everything_that_was_used_is_stated(page: Page) -> None:
    for text in (
        *("step size", "0.0125", "amplified 2.5 times", "starry-night", "optimizer: learning rate"),
        *("3/broken.png", "truncated image", "9f2c" * 16),
        *("12,346 J (3.43 Wh)", "not known: no GPU is used"),
        *("Example CPU", "2.11.0", "3 min 16 s", 'name = "mnist5k demo"', "robustaug run config.toml"),
    ):
        assert text in page.text


def test_the_threat_section_names_every_norm_and_every_attacker(standard_run: Path, built_run: Path) -> None:
    threats = [
        (run / "report.html").read_text().split('<section id="threat">')[1].split("</section>")[0]
        for run in (standard_run, built_run)
    ]
    assert "Square and Transfer stand for an attacker who does not know the weights." in threats[0]
    assert "AutoAttack L2 was measured at L2 eps 2.8." in threats[0]
    assert "further norms, larger eps" in threats[0]
    assert "stand for an attacker" not in threats[1]
    assert "other norms, larger eps" in threats[1]


def test_the_mean_corruption_error_names_its_baseline(html: str, built_run: Path) -> None:
    assert [f"mCE {value} against “clean”" in html for value in ("0.800", "0.900", "1.000")] == [True] * 3
    line = "Mean corruption error (mCE; 1 is as good, less is better): adversarial 0.800 against clean; style 0.900"
    assert line in (built_run / "summary.md").read_text()


def test_the_hash_of_an_evaluated_model_is_stated(tmp_path: Path, write_run: WriteRun) -> None:
    config = {"checkpoint": "model.pt", "checkpoint_sha256": "3fa9" * 16}
    page = build_report(write_run(tmp_path / "run", lambda report: report.update(config=config))).read_text()
    assert "3fa9" * 16 in page.split('<section id="provenance">')[1].split("</section>")[0]


def test_shape_bias_and_strength_are_stated_with_their_numbers(html: str, content: dict[str, Any]) -> None:
    shape = html.split('<section id="shape">')[1].split("</section>", maxsplit=1)[0]
    text = " ".join(Page(shape.replace("</t", " </t")).text.split())
    for arm, entry in content["arms"].items():
        found = entry["shape_bias"]
        bias, neither = (
            f"{100 * each['value']:.1f} [{100 * each['low']:.1f}, {100 * each['high']:.1f}]"
            for each in (found["bias"], found["neither"])
        )
        assert f"{arm} {bias} n 120 {found['shape']} {found['texture']} {neither} 150 of 200" in text
    assert text.count("no decision") == 4  # class 9, each arm
    for prediction, decision in (("3", "shape"), ("4", "texture"), ("5", "neither")):
        assert text.count(f"predicts {prediction} ({decision})") == 4
    strength = html.split('<section id="strength">')[1].split("</section>", maxsplit=1)[0]
    for point in content["arms"]["clean"]["style_strength"]:
        assert f'data-value="{point["value"]}"' in strength
    assert [float(value) for value in re.findall(r'<th scope="row" data-value="([^"]+)"', strength)] == [
        0,
        0.25,
        0.5,
        0.75,
        1,
    ]


def test_files_are_written_and_charts_are_svg_text(built_run: Path) -> None:
    names = {path.name for path in (built_run / "figures").iterdir()}
    charts = {"accuracy.svg", "eps.svg", "distances.svg", "strength.svg", "classes.svg", "training.svg"}
    assert names == charts | {"accuracy.png", "adversarial.png", "stylised.png"}
    assert {path.name for path in built_run.iterdir()} == {
        "config.toml", "figures", "report.html", "report.json", "results.csv", "samples", "summary.md",
    }  # fmt: skip
    for name in charts:
        text = (built_run / "figures" / name).read_text()
        words = {element.text for element in ET.fromstring(text).iter("{http://www.w3.org/2000/svg}text")}
        assert "adversarial+style" in words
        assert "<dc:date>" not in text


def test_chart_labels_are_the_measured_values(built_run: Path, content: dict[str, Any]) -> None:
    root = ET.parse(built_run / "figures" / "accuracy.svg").getroot()
    words = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    for entry in content["arms"].values():
        for metric in entry["metrics"].values():
            assert f"{100 * metric['value']:.1f}" in words


def test_two_builds_give_the_same_bytes(built_run: Path, tmp_path: Path, write_run: WriteRun) -> None:
    again = write_run(tmp_path / "again")
    build_report(again)
    for path in [built_run / "report.html", built_run / "summary.md", *(built_run / "figures").iterdir()]:
        assert path.read_bytes() == (again / path.relative_to(built_run)).read_bytes(), path.name


def test_embedded_pictures_are_the_samples(built_run: Path, page: Page) -> None:
    first = next(str(image["src"]) for image in page.all("img") if str(image["alt"]).startswith("original"))
    with Image.open(io.BytesIO(base64.b64decode(first.split(",", 1)[1]))) as shown:
        expected = Image.open(built_run / "samples" / "clean-0-original.png")
        assert np.array_equal(np.asarray(shown), np.asarray(expected))


def test_hostile_names_are_text(hostile_run: Path) -> None:
    page = Page((hostile_run / "report.html").read_text())
    assert len(page.all("script")) == 1
    assert not any("onerror" in attributes for _, attributes in page.elements)
    assert page.text.count("<script>alert(1)</script>") >= 20
    assert page.text.count("picture missing") == 2
    assert "<script" not in (hostile_run / "summary.md").read_text()


def test_missing_parts_still_give_a_page(tmp_path: Path, write_run: WriteRun) -> None:
    def change(report: dict[str, Any]) -> None:
        for key in ("style", "comparisons", "chance", "config", "groups", "balance", "energy"):
            del report[key]
        report |= {"attacks": {}, "checks": []}
        report["arms"]["clean"]["metrics"]["fgsm"] = {"value": 0.0, "low": 1e-17, "high": 0.004, "n": 1000}  # rounding
        report["arms"] = {"mine": {"metrics": {"fgsm": report["arms"]["clean"]["metrics"]["fgsm"]}}}
        for key in ("train", "validation", "fingerprint", "skipped"):
            del report["data"][key]

    run = write_run(tmp_path / "run", change)
    build_report(run)  # with samples, so that their grids are there and must go
    (run / "samples" / "adversarial.json").unlink()
    (run / "samples" / "stylised.json").unlink()
    (run / "samples" / "conflicts.json").unlink()
    page = Page(build_report(run).read_text())
    assert {path.name for path in (run / "figures").iterdir()} == {"accuracy.svg", "accuracy.png"}
    assert set(page.cells) == {("mine", "fgsm")}
    assert "No checks were run." in page.text
    named = [str(attributes["id"]) for attributes in page.all("section")]
    assert named == ["verdict", "threat", "results", "checks", "data", "provenance", "reproduce"]
    assert [str(a["href"]) for a in page.all("a") if a.get("href") != "#verdict"] == [f"#{name}" for name in named[1:]]


def test_page_stays_below_five_megabytes(tmp_path: Path, write_run: WriteRun) -> None:
    def change(report: dict[str, Any]) -> None:
        names = [f"class {number:03d} with a rather long name $x^2$" for number in range(120)]
        report["data"]["classes"] = names
        for entry in report["arms"].values():
            for kind, table in entry["per_class"].items():
                entry["per_class"][kind] = {name: table[str(i % 10)] for i, name in enumerate(names)}

    run = write_run(tmp_path / "run", change, side=160, per_arm=8)
    path = build_report(run)
    assert path.stat().st_size < 5_000_000
    shown = re.findall(r"(\d+) of (32|8) samples", path.read_text())
    assert 4 <= int(shown[0][0]) < 32
    assert all(f"class {number:03d}" in path.read_text() for number in range(120))
    assert "50 of 120 classes with the lowest accuracy" in path.read_text()


def test_chart_of_many_classes_keeps_the_worst(content: dict[str, Any]) -> None:
    names = [f"c{number}" for number in range(80)]
    table = {name: {"value": (number * 37 % 80) / 80} for number, name in enumerate(names)}
    report = {"data": {"classes": names}, "arms": {"a": {"per_class": {"clean": table}}}}
    shown = classes_shown(report)
    assert len(shown) == 50
    assert shown == [name for name in names if table[name]["value"] < 50 / 80]


def test_damaged_samples_are_one_clear_line(tmp_path: Path, write_run: WriteRun) -> None:
    run = write_run(tmp_path / "run")
    (run / "samples" / "stylised.json").write_text('{"rows": 3}')
    with pytest.raises(RobustAugError, match=r"stylised\.json is damaged"):
        build_report(run)
    assert not (run / "report.html").exists()


def test_an_unwritable_folder_is_one_clear_line(tmp_path: Path, write_run: WriteRun) -> None:
    run = write_run(tmp_path / "run")
    (run / "figures").write_text("a file where the folder belongs")
    with pytest.raises(RobustAugError, match="cannot write"):
        build_report(run)
