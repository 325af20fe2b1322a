"""The page's sections: tables that say what report.json says, and the command that measures again."""

import copy
import re
import shlex
from typing import Any

import pytest
import typer.main
from hypothesis import given
from hypothesis import strategies as st

from robustaug.cli import app
from robustaug.evaluation.report import sections as s


def luminance(colour: str) -> float:
    """WCAG 2's relative luminance of ``#rgb`` or ``#rrggbb``."""
    digits = colour.removeprefix("#")
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    levels = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in levels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def background(style: str) -> float:
    return luminance(re.findall("#[0-9a-f]+", style)[0])


@given(st.floats(0, 1), st.sampled_from(["YlGnBu_r", "Oranges"]))
def test_text_on_heat_can_be_read(share: float, palette: str) -> None:
    paper, ink = (luminance(colour) for colour in re.findall("#[0-9a-f]+", s.heat(share, palette)))
    assert (max(paper, ink) + 0.05) / (min(paper, ink) + 0.05) >= 4.5  # WCAG 2, level AA


def test_heat_keeps_its_order_in_grey() -> None:
    greys = [background(s.heat(share / 20)) for share in range(21)]
    assert greys == sorted(greys)
    assert s.heat(-1) == s.heat(0)
    assert s.heat(2) == s.heat(1)


def test_corruptions_are_those_of_the_report_with_their_means() -> None:
    levels = [{"severity": 1, "value": 0.9}, {"severity": 3, "value": 0.5}]
    report = {"arms": {"a": {"corruptions": {"fog": levels, "snow": levels[1:]}}, "b": {"corruptions": {}}, "c": {}}}
    ((arm, severities, rows),) = s.corruptions(report)
    assert (arm, severities) == ("a", [1, 3])
    values = {name: [cell and cell.value for cell in cells] for name, cells in rows}
    assert values == {"fog": [0.9, 0.5, 0.7], "snow": [None, 0.5, 0.5]}


def confusion_report(counts: list[list[int]]) -> dict[str, Any]:
    names = [f"c{i}" for i in range(len(counts))]
    return {"data": {"classes": names}, "arms": {"a": {"confusion": {"square": counts, "pgd": counts}}, "b": {}}}


def test_confusions_are_listed_by_size_with_the_classes_own_total() -> None:
    (attack, ((arm, pairs, matrix),)), (second, _) = s.confusions(confusion_report([[5, 2, 0], [7, 1, 3], [0, 2, 9]]))
    assert (attack, second, arm) == ("pgd", "square", "a")
    assert pairs == [("c1", "c0", 7, 11), ("c1", "c2", 3, 11), ("c0", "c1", 2, 7), ("c2", "c1", 2, 11)]
    assert [[cell.value for cell in row] for row in matrix] == [[5, 2, 0], [7, 1, 3], [0, 2, 9]]
    assert [bool(cell.style) for cell in matrix[0]] == [True, True, False]


def test_confusions_of_many_classes_are_listed_without_a_matrix() -> None:
    counts = [[int(column == (row + 1) % 21) * row for column in range(21)] for row in range(21)]
    ((_, ((_, pairs, matrix),)), _) = s.confusions(confusion_report(counts))
    assert matrix == []
    assert [pair.images for pair in pairs] == [20, 19, 18, 17, 16]
    assert pairs[0].taken_for == "c0"


def test_a_confusion_that_does_not_fit_the_classes_is_left_out() -> None:
    report = confusion_report([[1, 0], [0, 1]])
    report["data"]["classes"] = ["a", "b", "c"]
    assert s.confusions(report) == []


def test_stages_are_in_order_for_arms_with_different_ones() -> None:
    report = {"arms": {"a": {"stages": {"autoattack": {"clean": 1, "square": 2}}}, "b": {}}}
    assert s.stages(report) == [("autoattack", ["clean", "square"], {"a": {"clean": 1, "square": 2}})]


def test_arms_with_the_same_reason_stand_together() -> None:
    arms = {"a": {"not_measured": {"pgd": "no gradients"}}, "b": {"not_measured": {"pgd": "no gradients", "x": "y"}}}
    assert s.not_measured({"arms": arms}) == [("pgd", "no gradients", ["a", "b"]), ("x", "y", ["b"])]


def test_worst_class_is_named_by_metric(content: dict[str, Any]) -> None:
    rows = s.worst_classes(content)
    assert [row[:2] for row in rows] == [(kind, arm) for kind in ("clean", "pgd") for arm in content["arms"]]
    for kind, arm, worst in rows:
        classes = content["arms"][arm]["per_class"][kind]
        assert worst["value"] == min(entry["value"] for entry in classes.values())
        assert classes[worst["class"]]["value"] == worst["value"]


@pytest.mark.parametrize(
    ("eps", "stated", "text"),
    [(0.0123456, 0.2, "0.0123"), (0.01, "8/255", "2.55/255"), (0.0, "8/255", "0"), (1.0, 8 / 255, "255/255")],
)
def test_radius(eps: float, stated: float | str, text: str) -> None:
    assert s.radius(eps, stated) == text


def test_a_run_is_reproduced_from_its_configuration(content: dict[str, Any]) -> None:
    assert s.reproduce(content) == "robustaug run config.toml --out repeated"
    assert s.reproduce({**content, "config": None}) == "robustaug run config.toml --out repeated"


@pytest.mark.parametrize("protocol", ["standard", "ours"])
def test_an_evaluation_is_reproduced_by_a_command_that_parses(content: dict[str, Any], protocol: str) -> None:
    report = copy.deepcopy(content)
    report["config"] = {"checkpoint": "/elsewhere/my model.safetensors"}
    report["threat"]["eps"] = 8 / 255
    report["data"] |= {"split": "validation", "name": "; rm -r photos"}
    report["protocol"] = {"name": protocol}
    words = shlex.split(s.reproduce(report))
    assert words[:2] == ["robustaug", "evaluate"]
    command = typer.main.get_command(app).commands["evaluate"]  # type: ignore[attr-defined]
    options = command.make_context("evaluate", words[2:]).params
    assert options["model"] == "my model.safetensors"
    assert options["data"] == "; rm -r photos"
    assert options["protocol"] == ("standard" if protocol == "standard" else "ours.toml")
    assert (options["norm"], options["eps"], options["split"], options["seed"]) == ("linf", "8/255", "validation", 7)


def test_an_evaluation_is_reproduced_with_the_options_that_were_given(content: dict[str, Any]) -> None:
    report = copy.deepcopy(content)
    given = {
        "model": "nets/my model.pt", "data": "photos/2020", "--protocol": "deep/ours.toml", "--size": 48,
        "--styles": "my paintings", "--root": None, "--surrogate": ["a.pt", "models:b"], "--attributes": "sites.csv",
    }  # fmt: skip
    report["config"] = {"checkpoint": "/elsewhere/my model.pt", "given": given}
    report["protocol"] = {"name": "ours"}
    command = typer.main.get_command(app).commands["evaluate"]  # type: ignore[attr-defined]
    options = command.make_context("evaluate", shlex.split(s.reproduce(report))[2:]).params
    names = {name.removeprefix("--"): value for name, value in given.items()}
    assert {name: options[name] for name in ("model", "data", "protocol", "size", "surrogate")} == {
        name: names[name] for name in ("model", "data", "protocol", "size", "surrogate")
    }
    assert (str(options["styles"]), str(options["attributes"])) == ("my paintings", "sites.csv")
    assert options["root"] is None
    assert (options["eps"], options["seed"], str(options["out"])) == ("0.2", 7, "repeated")
