"""The numbers for other tools are those of the report, in the layouts that they read."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from robustaug.evaluation.report import build_report
from robustaug.evaluation.report.exports import results_csv, robustbench_entry

# What RobustBench reads from model_info/cifar10/Linf/*.json: text, percentages with two decimals.
THEIRS = {"dataset", "eps", "clean_acc", "autoattack_acc", "unreliable", "architecture"}


def test_every_number_stands_in_the_csv(content: dict[str, Any]) -> None:
    rows = list(csv.DictReader(io.StringIO(results_csv(content | {"name": 'a "run", of mine'}))))
    found = {(row["arm"], row["metric"]): [float(row[key]) for key in ("value", "low", "high", "n")] for row in rows}
    assert found == {
        (arm, metric): [measured[key] for key in ("value", "low", "high", "n")]
        for arm, entry in content["arms"].items()
        for metric, measured in (*entry["metrics"].items(), ("shape_bias", entry["shape_bias"]["bias"]))
    }
    assert {row["run"] for row in rows} == {'a "run", of mine'}


def with_autoattack(content: dict[str, Any], **changes: Any) -> dict[str, Any]:
    arms = json.loads(json.dumps(content["arms"]))
    arms["adversarial"]["metrics"]["autoattack"] = {"value": 0.5106, "low": 0.4, "high": 0.6, "n": 200}
    arms["adversarial"]["metrics"]["clean"] |= {"value": 0.80236}
    return content | {"arms": arms, "threat": {"norm": "linf", "eps": 8 / 255, "bounds": [0, 1]}} | changes


def test_the_entry_is_as_robustbench_writes_it(content: dict[str, Any]) -> None:
    entry = robustbench_entry(with_autoattack(content, config={"model": {"name": "preact_resnet18"}}), "adversarial")
    assert entry is not None
    assert {key: entry[key] for key in THEIRS} == {
        "dataset": "mnist5k",
        "eps": "8/255",
        "clean_acc": "80.24",
        "autoattack_acc": "51.06",
        "unreliable": False,
        "architecture": "preact_resnet18",
    }
    assert {key: entry[key] for key in entry.keys() - THEIRS} == {
        "norm": "Linf",
        "clean_n_examples": 1000,
        "autoattack_n_examples": 200,
    }


def test_only_what_is_known_is_said(content: dict[str, Any]) -> None:
    report = with_autoattack(content)
    assert robustbench_entry(report, "clean") is None  # no AutoAttack
    assert "architecture" not in (robustbench_entry(report, "adversarial") or {})
    quick = report | {"attacks": report["attacks"] | {"autoattack": {"version": "rand"}}}
    assert robustbench_entry(quick, "adversarial") is None


@pytest.mark.parametrize(("arm", "doubtful"), [("adversarial", True), (None, True), ("clean", False)])
def test_a_failed_check_makes_it_unreliable(content: dict[str, Any], arm: str | None, doubtful: bool) -> None:
    check = {"name": "gradients", "arm": arm, "passed": False, "detail": "none"}
    entry = robustbench_entry(with_autoattack(content, checks=[check]), "adversarial")
    assert (entry or {})["unreliable"] is doubtful


def test_they_are_written_with_the_page(write_run: Callable[..., Path], tmp_path: Path) -> None:
    def change(report: dict[str, Any]) -> None:
        report["arms"]["style"]["metrics"]["autoattack"] = report["arms"]["style"]["metrics"]["pgd"]
        report["arms"]["../../out"] = report["arms"]["style"]

    folder = write_run(tmp_path / "runs" / "demo", change)
    build_report(folder)
    report = json.loads((folder / "report.json").read_text())
    assert (folder / "results.csv").read_text() == results_csv(report)
    written = folder / "arms" / "style" / "robustbench.json"
    assert json.loads(written.read_text()) == robustbench_entry(report, "style")
    assert list(tmp_path.rglob("robustbench.json")) == [written]  # an arm's name leads nowhere else
