"""The schema against a full validator, and the library's own small one against both."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from robustaug.errors import RobustAugError
from robustaug.evaluation.report import load_report
from robustaug.evaluation.report.schema import SCHEMA, first_problem

WriteRun = Callable[..., Path]
Fault = Callable[[dict[str, Any]], Any]

FAULTS: dict[str, Fault] = {
    "no name": lambda r: r.pop("name"),
    "empty name": lambda r: r.update(name=""),
    "created no date": lambda r: r.update(created="yesterday"),
    "seed text": lambda r: r.update(seed="7"),
    "seed boolean": lambda r: r.update(seed=True),
    "no arms": lambda r: r.update(arms={}),
    "arm without metrics": lambda r: r["arms"]["clean"].pop("metrics"),
    "percent for fraction": lambda r: r["arms"]["clean"]["metrics"]["pgd"].update(value=85.1),
    "negative low": lambda r: r["arms"]["clean"]["metrics"]["pgd"].update(low=-0.1),
    "no n": lambda r: r["arms"]["clean"]["metrics"]["pgd"].pop("n"),
    "n zero": lambda r: r["arms"]["clean"]["metrics"]["pgd"].update(n=0),
    "n fractional": lambda r: r["arms"]["clean"]["metrics"]["pgd"].update(n=10.5),
    "metric null": lambda r: r["arms"]["clean"]["metrics"].update(pgd=None),
    "unknown norm": lambda r: r["threat"].update(norm="l7"),
    "eps words": lambda r: r["threat"].update(eps="large"),
    "eps negative": lambda r: r["threat"].update(eps=-0.1),
    "one bound": lambda r: r["threat"].update(bounds=[0.0]),
    "repeated class": lambda r: r["data"].update(classes=["a", "a"]),
    "no classes": lambda r: r["data"].update(classes=[]),
    "skipped without reason": lambda r: r["data"].update(skipped=[{"path": "x"}]),
    "check without verdict": lambda r: r["checks"][0].pop("passed"),
    "check passed as text": lambda r: r["checks"][0].update(passed="yes"),
    "p above one": lambda r: r["comparisons"][0].update(p_value=1.5),
    "curve point without eps": lambda r: r["arms"]["clean"]["eps_curve"][0].pop("eps"),
    "look without step": lambda r: r["arms"]["clean"]["training_curve"][0].pop("step"),
    "look with words": lambda r: r["arms"]["clean"]["training_curve"][0].update(validation_clean_ema="high"),
    "class interval broken": lambda r: r["arms"]["clean"]["per_class"]["pgd"].update({"3": {"value": 0.5}}),
    "style a list": lambda r: r.update(style=[]),
    "version of torch a number": lambda r: r["versions"].update(torch=2.11),
    "schema version zero": lambda r: r.update(schema_version=0),
}


def test_schema_is_valid_and_accepts_the_format(content: dict[str, Any]) -> None:
    Draft202012Validator.check_schema(SCHEMA)
    Draft202012Validator(SCHEMA).validate(content)
    assert first_problem(content) is None


@pytest.mark.parametrize("name", FAULTS)
def test_planted_faults_are_found_by_both(name: str, content: dict[str, Any]) -> None:
    report = copy.deepcopy(content)
    FAULTS[name](report)
    assert not Draft202012Validator(SCHEMA).is_valid(report)
    assert first_problem(report) is not None


@pytest.mark.parametrize(
    "change", [{"style": None}, {"comparisons": []}, {"chance": 0.0}, {"config": {"a": [1, None]}}]
)
def test_variations_that_are_right_are_accepted_by_both(change: dict[str, Any], content: dict[str, Any]) -> None:
    report = content | change | {"threat": {"norm": "l2", "eps": "8/255", "bounds": [0, 1]}}
    assert Draft202012Validator(SCHEMA).is_valid(report)
    assert first_problem(report) is None


def test_unknown_fields_fail_the_schema_but_not_the_reader(content: dict[str, Any]) -> None:
    report = content | {"mood": "good"}
    assert not Draft202012Validator(SCHEMA).is_valid(report)
    assert first_problem(report) is None


def test_problem_says_where(content: dict[str, Any]) -> None:
    report = copy.deepcopy(content)
    report["arms"]["style"]["metrics"]["fgsm"]["high"] = 18.7
    assert first_problem(report) == "report.arms.style.metrics.fgsm.high is out of range"


def refusal(folder: Path) -> str:
    with pytest.raises(RobustAugError) as caught:
        load_report(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert str(folder) in message
    return message


def test_folders_that_are_no_run_are_refused(tmp_path: Path) -> None:
    assert "is not a folder" in refusal(tmp_path / "nothing")
    assert "holds no report.json" in refusal(tmp_path)
    for text, expected in {
        "{": "not valid JSON",
        "[]": "not a robustaug report",
        '{"a": 1}': "not a robustaug report",
        '{"schema_version": true}': "not a robustaug report",
        '{"schema_version": 2}': "schema version 2",
        '{"schema_version": 1}': "damaged",
    }.items():
        (tmp_path / "report.json").write_text(text)
        assert expected in refusal(tmp_path)


def test_newer_schema_is_refused_before_anything_is_written(tmp_path: Path, write_run: WriteRun) -> None:
    run = write_run(tmp_path / "run", lambda report: report.update(schema_version=2))
    assert "update robustaug" in refusal(run)
    assert not (run / "report.html").exists()


def test_report_reads_back_unchanged(built_run: Path, content: dict[str, Any]) -> None:
    assert load_report(built_run) == content == json.loads((built_run / "report.json").read_text())
