"""Runs side by side: numbers are those of the reports, differences those of the verdicts where both measured alike."""

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console

from robustaug.errors import RobustAugError
from robustaug.evaluation.report.compare import (
    ComparedRun,
    against_first,
    compare_runs,
    comparison_json,
    comparison_markdown,
    comparison_table,
    corruption_lines,
    read_compared,
    signed_points,
)
from robustaug.evaluation.statistics import accuracy_interval, paired_difference

BEFORE = torch.arange(40) < 20
AFTER = (torch.arange(40) < 18) | (torch.arange(40) >= 35)


def run(name: str, verdicts: dict[str, dict[str, torch.Tensor]], samples: str = "same", **changes: Any) -> ComparedRun:
    """A run whose arms have these verdicts by metric; without ``samples`` none of them was kept."""
    arms = {
        arm: {"metrics": {metric: accuracy_interval(verdict).to_dict() for metric, verdict in found.items()}}
        for arm, found in verdicts.items()
    }
    evaluations = {
        arm: SimpleNamespace(metrics=found, verdicts=found, samples=dict.fromkeys(found, samples))
        for arm, found in verdicts.items()
        if samples
    }
    report = {
        "arms": arms,
        "data": {"name": "photos", "classes": ["a", "b"], "image_size": [8, 8]} | changes.get("data", {}),
        "threat": {"norm": "linf", "eps": 8 / 255, "bounds": [0, 1]} | changes.get("threat", {}),
        "style": {"held_out_paintings": changes.get("paintings", ["wave"])},
        "robustaug": "1",
        "seed": changes.get("seed", 0),
    }
    return ComparedRun(name, report, evaluations)


def test_a_difference_is_that_of_the_same_images() -> None:
    runs = [run("old", {"clean": {"pgd": BEFORE}}), run("new", {"clean": {"pgd": AFTER}})]
    (row,) = compare_runs(runs)
    assert (row.metric, row.arms) == ("pgd", ("clean", "clean"))
    assert [measured["value"] for measured in row.measured if measured] == [20 / 40, 23 / 40]
    assert row.differences == (paired_difference(BEFORE, AFTER),)
    assert row.differences[0] is not None
    assert row.differences[0].value == pytest.approx(3 / 40)


@pytest.mark.parametrize(
    ("metric", "changes", "fair"),
    [
        ("pgd", {}, True),
        ("pgd", {"samples": "others"}, False),
        ("pgd", {"samples": ""}, False),
        ("pgd", {"threat": {"eps": 0.1}}, False),
        ("pgd", {"threat": {"norm": "l2"}}, False),
        ("pgd", {"threat": {"eps": "8/255"}}, True),
        ("clean", {"threat": {"eps": 0.1}}, True),
        ("pgd", {"paintings": ["night"]}, True),
        ("unseen_style", {"paintings": ["night"]}, False),
        ("unseen_style", {"threat": {"eps": 0.1}}, True),
        ("clean", {"data": {"name": "/elsewhere/photos"}}, True),
        ("clean", {"data": {"name": "sketches"}}, False),
        ("clean", {"data": {"classes": ["b", "a"]}}, False),
        ("clean", {"data": {"image_size": [9, 9]}}, False),
        ("clean", {"data": {"split": "all"}}, False),
    ],
)
def test_only_what_was_measured_alike_has_a_difference(metric: str, changes: dict[str, Any], fair: bool) -> None:
    runs = [run("old", {"arm": {metric: BEFORE}}), run("new", {"arm": {metric: AFTER}}, **changes)]
    (row,) = compare_runs(runs)
    assert (row.differences[0] is not None) == fair
    assert all(row.measured)  # side by side all the same


def test_arms_are_found_by_name_and_the_only_one_as_the_only_one() -> None:
    one = run("one", {"first": {"pgd": BEFORE}})
    other = run("other", {"second": {"pgd": AFTER}})
    assert [row.arms for row in compare_runs([one, other])] == [("first", "second")]
    two = run("two", {"second": {"pgd": BEFORE}, "third": {"pgd": AFTER}})
    assert [row.arms for row in compare_runs([one, two])] == [("first", None), (None, "second"), (None, "third")]
    assert [row.arms for row in compare_runs([two, other])] == [("second", "second"), ("third", None)]
    # A third run is paired with the first alone, and an arm that the first lacks stands once.
    assert [row.arms for row in compare_runs([one, two, two])][1:] == [
        (None, "second", "second"),
        (None, "third", "third"),
    ]


def test_the_table_the_markdown_and_the_json_agree() -> None:
    runs = [run("old", {"clean": {"pgd": BEFORE}}), run("new|er", {"clean": {"pgd": AFTER, "clean": AFTER}})]
    rows = compare_runs(runs)
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(comparison_table(runs, rows))
    shown, markdown = console.export_text(), comparison_markdown(runs, rows)
    gained = paired_difference(BEFORE, AFTER)
    cell = f"+7.5 [{signed_points(gained.low)}, {signed_points(gained.high)}]"
    for text in (shown, markdown):
        assert cell in text
        assert "50.0 [35.2, 64.8]" in text  # Wilson's interval of 20 in 40
        assert "not measured" in text  # clean, in the old run
    assert markdown.splitlines()[0] == "| Metric | Arm | old | new\\|er | new\\|er minus old |"
    content = json.loads(json.dumps(comparison_json(runs, rows)))
    assert content["runs"] == ["old", "new|er"]
    by_metric = {row["metric"]: row for row in content["rows"]}
    assert by_metric["pgd"]["differences"] == {"new|er": gained._asdict()}
    assert by_metric["pgd"]["values"]["old"] == {"arm": "clean", **accuracy_interval(BEFORE).to_dict()}
    assert list(by_metric["clean"]["values"]) == ["new|er"]
    assert by_metric["clean"]["differences"] == {}


def corrupted(fog: list[float], snow: list[float]) -> dict[str, list[dict[str, float]]]:
    return {
        name: [{"severity": place + 1, "value": value} for place, value in enumerate(values)]
        for name, values in (("fog", fog), ("snow", snow))
    }


def test_the_mean_corruption_error_is_against_the_first_run() -> None:
    runs = [run(name, {"clean": {"clean": BEFORE}}) for name in ("old", "new", "other data", "fewer", "without")]
    tables = [corrupted([0.8, 0.6], [0.5, 0.5]), corrupted([0.9, 0.8], [0.25, 0.25])]
    for each, table in zip(runs, [*tables, tables[1], corrupted([0.9], [0.8])], strict=False):
        each.report["arms"]["clean"]["corruptions"] = table  # type: ignore[index]
    runs[2].report["data"]["name"] = "sketches"
    (row,) = against_first(runs)
    assert row.pop("corruption_error") == pytest.approx((0.5 + 1.5) / 2)  # 0.3 of 0.6 errors in fog, 1.5 of 1 in snow
    assert row == {"run": "new", "arm": "clean", "baseline_run": "old", "baseline_arm": "clean"}
    text = "mCE of clean in new against clean in old: 1.000"
    assert corruption_lines(runs) == [text]
    assert text in comparison_markdown(runs, compare_runs(runs)).splitlines()
    assert comparison_json(runs, [])["against_first"] == against_first(runs)


def test_runs_that_differ_in_their_seed_alone_have_mean_and_spread() -> None:
    runs = [run(f"s{seed}", {"clean": {"pgd": each}}, seed=seed) for seed, each in enumerate((BEFORE, AFTER))]
    deviation = statistics.stdev([20 / 40, 23 / 40])
    rows = compare_runs(runs)
    assert comparison_json(runs, rows)["rows"][0]["spread"] == {
        "mean": 21.5 / 40, "deviation": pytest.approx(deviation), "low": 20 / 40, "high": 23 / 40, "n": 40, "seeds": 2
    }  # fmt: skip
    lines = comparison_markdown(runs, rows).splitlines()
    assert lines[0].endswith("| s1 minus s0 | mean ± deviation of 2 seeds |")
    assert lines[2].endswith(f"| 53.8 ± {100 * deviation:.1f} |")
    others = [runs[0], run("other", {"clean": {"pgd": AFTER}}, seed=1, threat={"eps": 0.1})]
    assert "spread" not in comparison_json(others, compare_runs(others))["rows"][0]
    assert "seeds" not in comparison_markdown(others, compare_runs(others))


def test_long_names_are_folded_and_not_cut() -> None:
    names = [f"photographs_of_adversarial_arms_{seed}" for seed in range(3)]
    runs = [run(name, {"adversarial+style": {"pgd": BEFORE}}) for name in names]
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(comparison_table(runs, compare_runs(runs)))
    assert "…" not in console.export_text()


@pytest.mark.parametrize(("value", "text"), [(0.0123, "+1.2"), (-0.004, "-0.4"), (0.0, "0.0"), (-0.0001, "0.0")])
def test_points(value: float, text: str) -> None:
    assert signed_points(value) == text


def test_runs_are_read_from_folders_and_files(write_run: Callable[..., Path], tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a" / "demo")
    baseline = tmp_path / "BASELINE.json"
    baseline.write_bytes((folder / "report.json").read_bytes())
    by_folder, by_file = read_compared([folder, baseline])
    assert (by_folder.name, by_file.name) == ("demo", "BASELINE.json")
    assert by_folder.report == by_file.report
    same_name = write_run(tmp_path / "b" / "demo")
    assert [each.name for each in read_compared([folder, same_name])] == [str(folder), str(same_name)]
    with pytest.raises(RobustAugError, match="is given twice"):
        read_compared([folder, folder])
    (tmp_path / "notes.json").write_text('{"a": 1}')
    with pytest.raises(RobustAugError, match=r"notes\.json is not a robustaug report"):
        read_compared([folder, tmp_path / "notes.json"])
    (tmp_path / "newer.json").write_text('{"schema_version": 99}')
    with pytest.raises(
        RobustAugError, match=r"newer\.json has schema version 99, this robustaug reads up to \d; update"
    ):
        read_compared([folder, tmp_path / "newer.json"])
    with pytest.raises(RobustAugError, match="is not a folder; name the run folder"):
        read_compared([folder, tmp_path / "nowhere"])


def test_a_copy_of_a_report_has_no_verdicts(write_run: Callable[..., Path], tmp_path: Path) -> None:
    folder = write_run(tmp_path / "demo")
    broken = folder / "arms" / "clean" / "evaluation.safetensors"
    broken.parent.mkdir(parents=True)
    broken.write_text("not one")
    (folder / "BASELINE.json").write_bytes((folder / "report.json").read_bytes())
    assert read_compared([folder / "BASELINE.json"])[0].evaluations == {}  # what lies beside it is not its own
    for own in (folder, folder / "report.json"):
        with pytest.raises(RobustAugError, match="no whole evaluation"):
            read_compared([own])
