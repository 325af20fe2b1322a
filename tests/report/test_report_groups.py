"""Groups, bias and balance: the page and the summary say what report.json says, and warn where a gap is wider."""

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from robustaug.evaluation.report import groups as g
from robustaug.evaluation.report.figures import DRAWINGS
from robustaug.evaluation.report.page import render
from robustaug.evaluation.report.run_folder import read_run
from robustaug.evaluation.report.schema import SCHEMA
from robustaug.evaluation.report.table import summary

WRITE = Callable[..., Path]


def page_of(run: Path) -> str:
    """The page with empty charts, which take no time."""
    (run / "figures").mkdir(exist_ok=True)
    for drawing in DRAWINGS:
        (run / "figures" / f"{drawing.name}.svg").write_text("<svg></svg>")
    return render(read_run(run))


def text_of(run: Path, section: str) -> str:
    """The words of a section of the page."""
    found = re.search(rf'<section id="{section}">(.*?)</section>', page_of(run), re.DOTALL)
    assert found is not None
    return " ".join(re.sub(r"<[^>]+>", " ", found[1]).replace("\u00a0", " ").split())


def test_the_schema_knows_groups_and_balance_and_reports_without_them(content: dict[str, Any]) -> None:
    jsonschema.validate(content, SCHEMA)
    jsonschema.validate({name: value for name, value in content.items() if name not in ("groups", "balance")}, SCHEMA)


@pytest.fixture
def run(tmp_path: Path, write_run: WRITE) -> Path:
    return write_run(tmp_path / "fixture")


def test_a_wider_gap_is_an_alarm(run: Path, content: dict[str, Any]) -> None:
    told = text_of(run, "groups")
    assert "Augmentation widened 1 gap by more than the sample can explain" in told
    sentence = (
        "Clean: arm style has 48.2 points between the groups of site north and south, +20.0 [+13.0, +27.0] against "
        "arm clean."
    )
    assert sentence in told
    assert sentence in summary(content)
    assert told.count("widened") == 2  # the alarm, and the mark in the arm's row
    assert "Too small to tell, Clean: east." in told
    assert "fewer than 30 test images" in told


def test_the_tables_have_every_number(run: Path) -> None:
    told = text_of(run, "groups")
    assert "Accuracy by group: Clean" in told
    assert "north 98.7 [97.4, 99.3] n 600" in told
    assert "Before After, style not known 7 97 90 stylised east 20 110 90 stylised north 3,000 3,090" in told
    balanced = text_of(run, "balance")
    assert "by classical variants of these images (affine)" in balanced
    assert "a made-up warning" in balanced
    assert "at least 100% of the largest class\u2019s training images. Without: arm clean." in balanced
    assert "3 40 → 380 95.0 → 94.0 +11.0 [+3.1, +18.7] n 100" in balanced  # the accuracies are those of per_class
    assert "2 380 not measured" in balanced


def test_without_a_wider_gap_there_is_no_alarm(content: dict[str, Any], tmp_path: Path, write_run: WRITE) -> None:
    def calm(report: dict[str, Any]) -> None:
        report["groups"][0]["arms"]["style"]["clean"]["widening"]["low"] = -0.01

    run = write_run(tmp_path / "run", calm)
    assert "by more than the sample can explain" not in text_of(run, "groups")
    line = g.groups_line(content | {"groups": [_calm(content["groups"][0])]})
    assert line is not None
    assert line.endswith("the sample does not show that augmentation widened any of 3 gaps compared.")


def _calm(row: dict[str, Any]) -> dict[str, Any]:
    row = copy.deepcopy(row)
    row["arms"]["style"]["clean"]["widening"]["low"] = 0.0  # the interval holds 0
    return row


@pytest.mark.parametrize(
    ("change", "ending"),
    [
        (lambda arms: arms.pop("style"), "widened any of 2 gaps compared."),
        (lambda arms: [arms.pop(name) for name in ("style", "adversarial")], "the one gap that was compared."),
        (lambda arms: [arms.pop(name) for name in list(arms) if name != "clean"], "groups of site north and south."),
    ],
)
def test_the_summarys_line(content: dict[str, Any], change: Callable[[dict[str, Any]], Any], ending: str) -> None:
    report = copy.deepcopy(content)
    change(report["groups"][0]["arms"])
    line = g.groups_line(report)
    assert line is not None
    assert line.endswith(ending)
    assert line in summary(report)


def test_reports_without_groups_have_no_section(content: dict[str, Any], tmp_path: Path, write_run: WRITE) -> None:
    run = write_run(tmp_path / "run", lambda report: [report.pop("groups"), report.pop("balance")])
    page = page_of(run)
    assert 'id="groups"' not in page
    assert 'id="balance"' not in page
    assert g.groups_line({**content, "groups": []}) is None


def test_a_balance_without_its_counterpart_says_so(tmp_path: Path, write_run: WRITE) -> None:
    def alone(report: dict[str, Any]) -> None:
        arm = report["balance"]["arms"]["style"]
        arm["against"] = None
        for row in arm["classes"]:
            row["difference"] = {}

    run = write_run(tmp_path / "run", alone)
    told = text_of(run, "balance")
    assert "There is no arm of the same mix without balance" in told
    assert "not measured" not in told


def test_groups_too_few_for_a_gap(tmp_path: Path, write_run: WRITE) -> None:
    def small(report: dict[str, Any]) -> None:
        for metrics in report["groups"][0]["arms"].values():
            metrics["clean"]["too_small"] = ["north", "south", "east"]
            del metrics["clean"]["gap"]
            metrics["clean"].pop("widening", None)

    run = write_run(tmp_path / "run", small)
    assert "no gap can be told" in text_of(run, "groups")
    assert g.groups_line(read_run(run).report) is None
