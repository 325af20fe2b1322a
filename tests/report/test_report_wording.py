"""Numbers as words, the verdict, and the terminal and Markdown tables."""

import copy
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from robustaug.evaluation.report import markdown_table, results_table
from robustaug.evaluation.report import wording as w
from robustaug.evaluation.report.table import summary
from robustaug.evaluation.report.verdict import undecided, verdict


@pytest.mark.parametrize(
    ("eps", "text", "number"),
    [
        (0.2, "0.2", 0.2),
        (8 / 255, "8/255", 8 / 255),
        ("8/255", "8/255", 8 / 255),
        (0.0, "0", 0.0),
        (0.0317, "0.0317", 0.0317),
    ],
)
def test_eps_is_written_as_people_write_it(eps: float | str, text: str, number: float) -> None:
    assert w.eps_text(eps) == text
    assert w.eps_number(eps) == pytest.approx(number, abs=1e-12)


@given(st.integers(0, 255))
def test_eps_text_loses_no_level(level: int) -> None:
    assert w.eps_number(w.eps_text(level / 255)) == pytest.approx(level / 255, abs=1e-9)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1.21, "1.2 s"), (48.3, "48 s"), (59.6, "1 min 0 s"), (317.9, "5 min 18 s"), (7500, "2 h 5 min")],
)
def test_duration(seconds: float, text: str) -> None:
    assert w.duration(seconds) == text


def test_small_words() -> None:
    assert w.accuracy({"value": 0.974, "low": 0.9622, "high": 0.9821, "n": 1000}) == "97.4 [96.2, 98.2]"
    assert w.accuracy(None) == "not measured"
    assert [w.p_value(p) for p in (0.0009, 0.001, 0.0341, 1.0)] == ["p < 0.001", "p = 0.001", "p = 0.034", "p = 1.000"]
    assert [w.plain(value) for value in (None, True, 0.1, [], [1, "a"])] == ["none", "yes", "0.1", "none", "1, a"]
    assert w.shortened("a\nb" * 20, 5) == "a ba…"


def test_arms_keep_their_colour_and_new_ones_get_their_own() -> None:
    every = w.arm_looks(["clean", "mine", "adversarial", "yours"])
    assert w.arm_looks(["adversarial"])["adversarial"] == every["adversarial"]
    assert len({look.colour for look in every.values()}) == len(every)


def test_verdict_states_the_measured_numbers(content: dict[str, Any]) -> None:
    assert verdict(content) == [
        "Under PGD with 40 steps, 5 restarts at L-infinity eps 0.2, the arm “adversarial” classifies "
        "85.1% [82.8, 87.2] of 1,000 test images correctly; this sample cannot tell it from “adversarial+style” "
        "with 84.3%; “clean” keeps 0.3% [0.1, 0.9].",
        "On unchanged images “adversarial” scores 97.4% [96.2, 98.2], 1.2 points less than “clean” with "
        "98.6% [97.7, 99.2], a difference that this sample cannot tell from chance (Holm p = 0.086).",
        "On 1,000 test images restyled with paintings that training never saw, “style” scores highest with "
        "86.8% [84.6, 88.8]; “clean” reaches 40.2% [37.2, 43.3].",
    ]
    assert undecided(content) == (
        "1 of the 3 tested differences between arms is beyond chance (McNemar, Holm-corrected); not told apart: "
        "Clean, “adversarial” and “clean” (p = 0.086); PGD, “adversarial” and “adversarial+style” (p = 1.000). "
        "If the differences are as large as they look, so many test images would tell them apart (power 80%): "
        "Clean, “adversarial” and “clean” 2,179; PGD, “adversarial” and “adversarial+style” 18,319."
    )


def test_verdict_says_what_puts_its_number_in_doubt(content: dict[str, Any]) -> None:
    failed = [
        {"name": f"fault {i}", "arm": arm, "passed": False, "detail": ""}
        for i, arm in enumerate(("adversarial", "clean", None, "adversarial"))
    ]
    said = verdict(content | {"checks": failed})
    assert len(said) == 3
    assert said[0] == verdict(content)[0] + (
        " That number of “adversarial” is in doubt, for 3 checks failed: fault 0; fault 2; fault 3."
    )
    assert verdict(content | {"checks": failed[:1]})[0].endswith("for 1 check failed: fault 0.")
    assert verdict(content | {"checks": failed[1:2]}) == verdict(content | {"checks": []})
    many = [failed[0] | {"name": f"fault {i}"} for i in range(6)]
    assert verdict(content | {"checks": many})[0].endswith("fault 3; and 2 more.")
    rows = markdown_table(content | {"checks": failed[1:2]}).splitlines()
    assert [line for line in rows if "†" in line] == [rows[2], rows[-1]]
    assert "| 0.3 [0.1, 0.9] † |" in rows[2]
    assert rows[-1].endswith(". †: a check failed, so the number is in doubt.")
    assert markdown_table(content | {"checks": failed[2:3]}).count("†") == 5  # all four arms, and what it means


def test_no_number_of_images_tells_equal_arms_apart(content: dict[str, Any]) -> None:
    rows = [row | {"p_value_holm": 1.0, "only_a": 5, "only_b": 5} for row in content["comparisons"]]
    assert "would tell them apart" not in undecided(content | {"comparisons": rows})
    rows = [row | {"only_b": 5 + i} for i, row in enumerate(rows * 2)]
    assert undecided(content | {"comparisons": rows}).endswith("; and 1 pair with more.")


def test_verdict_takes_the_strongest_attack(content: dict[str, Any]) -> None:
    report = copy.deepcopy(content)
    report["arms"]["adversarial"]["metrics"]["autoattack"] = {"value": 0.8, "low": 0.7, "high": 0.9, "n": 50}
    assert verdict(report)[0] == (
        "Under AutoAttack at L-infinity eps 0.2, the arm “adversarial” classifies 80.0% [70.0, 90.0] "
        "of 50 test images correctly."
    )


def test_verdict_claims_nothing_without_an_attack(content: dict[str, Any]) -> None:
    report = copy.deepcopy(content)
    report["arms"] = {"clean": {"metrics": {"clean": content["arms"]["clean"]["metrics"]["clean"]}}}
    assert verdict(report) == [
        "No arm was measured under attack: this report says nothing about adversarial robustness.",
        "On unchanged images “clean” scores 98.6% [97.7, 99.2].",
    ]


def test_verdict_when_training_did_not_help(content: dict[str, Any]) -> None:
    report = copy.deepcopy(content)
    report["arms"]["clean"]["metrics"]["pgd"] = {"value": 0.9, "low": 0.88, "high": 0.92, "n": 1000}
    assert "no other arm does better, and “adversarial” comes next with 85.1%" in verdict(report)[0]


def test_verdict_when_every_difference_holds(content: dict[str, Any]) -> None:
    report = copy.deepcopy(content)
    for row in report["comparisons"]:
        row["p_value_holm"] = 0.049
    assert not any("cannot tell" in sentence for sentence in verdict(report))
    assert undecided(report).startswith("All 3 tested differences between arms are beyond chance")
    report["comparisons"] = []
    assert "not compared sample by sample" in undecided(report)


def scored(content: dict[str, Any], metric: str, *values: float) -> dict[str, Any]:
    """The report with the first arms at these values of a metric, the others without it."""
    report = copy.deepcopy(content)
    for number, entry in enumerate(report["arms"].values()):
        entry["metrics"].pop(metric, None)
        if number < len(values):
            entry["metrics"][metric] = {"value": values[number], "low": 0.8, "high": 1.0, "n": 90}
    return report


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((0.944,) * 4, "all 4 arms tie: each classifies 94.4% [80.0, 100.0] of 90 test images correctly."),
        ((0.944, 0.944), "both arms tie: each classifies 94.4%"),
        ((0.9, 0.944, 0.944), "the arms “adversarial” and “style” tie: each classifies 94.4% [80.0, 100.0] of 90 test "
         "images correctly; “clean” keeps 90.0%"),
        ((0.944, 0.944, 0.9, 0.9), "the arms “clean” and “adversarial” tie: each classifies 94.4% [80.0, 100.0] of 90 "
         "test images correctly; no other arm does better, and “style” and “adversarial+style” come next with 90.0%"),
        ((0.944,), "the arm “clean” classifies 94.4% [80.0, 100.0] of 90 test images correctly."),
    ],
)  # fmt: skip
def test_verdict_under_attack_says_who_ties(content: dict[str, Any], values: tuple[float, ...], said: str) -> None:
    assert said in verdict(scored(content, "pgd", *values))[0]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((1.0, 1.0, 1.0, 1.0), "all 4 arms tie with 100.0%"),
        ((1.0, 0.9), "“clean” scores highest with 100.0% [80.0, 100.0]."),
        ((0.5, 0.9, 0.9, 0.8), "“adversarial” and “style” tie for the highest with 90.0% [80.0, 100.0]; “clean”"),
        ((0.9,), "“clean” scores 90.0% [80.0, 100.0]."),
    ],
)  # fmt: skip
def test_verdict_on_style_says_who_ties(content: dict[str, Any], values: tuple[float, ...], said: str) -> None:
    assert said in verdict(scored(content, "unseen_style", *values))[2]


def test_verdict_on_clean_images_names_every_tied_arm(content: dict[str, Any]) -> None:
    report = scored(content, "pgd", 0.944, 0.944)
    assert verdict(report)[1] == (
        "On unchanged images “clean” scores 98.6% [97.7, 99.2] and “adversarial” scores 97.4% [96.2, 98.2]."
    )
    report["arms"]["adversarial"]["metrics"]["clean"] = report["arms"]["clean"]["metrics"]["clean"]
    assert verdict(report)[1] == "On unchanged images “clean” and “adversarial” tie with 98.6% [97.7, 99.2]."


def test_verdict_counts_the_differences_that_hold(content: dict[str, Any]) -> None:
    row = content["comparisons"][0]
    rows = [row | {"p_value_holm": p} for p in (0.5,) * 6 + (0.01,) * 12]
    said = undecided(content | {"comparisons": rows})
    assert said.startswith("12 of the 18 tested differences between arms are beyond chance")
    assert "; and 2 more pairs. If the" in said
    assert "below" not in summary(content | {"comparisons": rows})
    assert undecided(content | {"comparisons": rows[:6]}).startswith(
        "None of the 6 tested differences between arms can be told from chance"
    )
    assert undecided(content | {"comparisons": rows[:1]}).startswith("The one tested difference between arms cannot")


@pytest.mark.parametrize(
    ("split", "word"),
    [(None, "test images"), ("test", "test images"), ("train", "training images"), ("validation", "validation images"),
     ("all", "images")],
)  # fmt: skip
def test_images_are_called_after_the_part_that_was_measured(
    content: dict[str, Any], split: str | None, word: str
) -> None:
    report = content | {"data": content["data"] | ({} if split is None else {"split": split})}
    text = summary(report)
    assert f"of 1,000 {word} correctly" in text
    assert f"On 1,000 {word} restyled" in text
    assert f"; n {word}. " in text
    assert ("test image" in text) == (word == "test images")


def expected_rows(report: dict[str, Any]) -> list[list[str]]:
    rows = []
    for arm, entry in report["arms"].items():
        cells = [arm]
        for metric in ("clean", "noise", "fgsm", "pgd", "unseen_style"):
            m = entry["metrics"].get(metric)
            numbers = [f"{100 * m[key]:.1f}" for key in ("value", "low", "high")] if m else []
            doubted = " †" if (arm, metric) == ("style", "pgd") else ""  # the one failed check is of that arm
            cells.append("{} [{}, {}]".format(*numbers) + doubted if m else "not measured")
        rows.append(cells)
    return rows


def test_terminal_table_has_the_reports_numbers(content: dict[str, Any]) -> None:
    table = results_table(content)
    columns = [[str(cell) for cell in column.cells] for column in table.columns]
    assert [list(row) for row in zip(*columns, strict=True)] == expected_rows(content)


def test_terminal_table_shows_brackets_in_names(content: dict[str, Any]) -> None:
    report = content | {"arms": {"[red]x[/red]": content["arms"]["clean"]}}
    console = Console(file=io.StringIO(), width=160)
    console.print(results_table(report))
    assert "[red]x[/red]" in console.file.getvalue()  # type: ignore[attr-defined]


def test_markdown_table_has_the_reports_numbers(content: dict[str, Any]) -> None:
    lines = markdown_table(content).splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    assert rows[0] == [
        "Arm",
        *(f"{name}, n 1,000" for name in ("Clean", "Random noise", "FGSM", "PGD", "Unseen style")),
    ]
    assert rows[2:] == expected_rows(content)


def test_many_metrics_go_down_and_the_arms_across(standard_run: Path) -> None:
    report = json.loads((standard_run / "report.json").read_text())
    lines = markdown_table(report).splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    assert rows[0] == ["Metric", *report["arms"]]
    assert [row[0] for row in rows[2:8]] == [
        *(f"{name}, n 1,000" for name in ("Clean", "Random noise", "FGSM", "PGD", "AutoAttack", "AutoAttack L2"))
    ]
    assert rows[5][1:3] == ["0.3 [0.1, 0.9]", "85.1 [82.8, 87.2]"]
    assert len({len(row) for row in rows}) == 1
    columns = [[str(cell) for cell in column.cells] for column in results_table(report).columns]
    assert [list(row) for row in zip(*columns, strict=True)] == rows[2:]


def test_norm_eps_and_queries_of_each_attack_are_told(standard_run: Path) -> None:
    text = (standard_run / "summary.md").read_text()
    assert "L-infinity eps 0.2; PGD: 40 steps, 5 restarts; AutoAttack L2: L2 eps 2.8; Square: 1,000 queries; " in text
    assert (
        w.own_radius(
            {"threat": {"norm": "linf", "eps": "8/255"}, "attacks": {"a": {"norm": "linf", "eps": 8 / 255}}}, "a"
        )
        == ""
    )
    auto = {"attacks": {"pgd": {"attack": "APGD"}}}
    assert w.meaning(auto, "pgd") == "many steps of Auto-PGD, the worst restart"
    assert w.meaning({"attacks": {}}, "pgd") == "many gradient steps, the worst restart"


def test_the_leader_on_style_names_who_cannot_be_told_from_it(content: dict[str, Any]) -> None:
    row = content["comparisons"][2] | {"metric": "unseen_style", "arm_a": "style", "arm_b": "adversarial"}
    said = verdict(content | {"comparisons": [row]})[2]
    assert "86.8% [84.6, 88.8]; this sample cannot tell it from “adversarial” with 53.3%; “clean” reaches" in said
    assert "cannot tell" not in verdict(content | {"comparisons": [row | {"p_value_holm": 0.04}]})[2]


def test_differing_sample_sizes_stand_in_each_cell(content: dict[str, Any]) -> None:
    report = copy.deepcopy(content)
    report["arms"]["style"]["metrics"]["pgd"]["n"] = 50
    text = markdown_table(report)
    assert "0.9 [0.5, 1.7] (n 50)" in text
    assert "85.1 [82.8, 87.2] (n 1,000)" in text
    assert "| PGD |" in text


def test_summary_escapes_and_names_failed_checks(content: dict[str, Any]) -> None:
    report = copy.deepcopy(content)
    report["arms"]["<b>|x"] = report["arms"].pop("style")
    text = summary(report)
    assert "<b>" not in text
    assert "&lt;b&gt;\\|x" in text
    assert re.search(r"1 of 3.*\n\n- large eps reaches zero \(style\): still 4.1 percent", text)


@pytest.mark.parametrize(
    ("score", "text"),
    [
        ("validation_robust", "validation accuracy under attack"),
        ("validation_clean_ema", "clean validation accuracy, EMA weights"),
        ("validation_robust_swa", "validation accuracy under attack, SWA weights"),
        ("some_other", "some other"),
        (None, "none"),
    ],
)
def test_the_score_that_chose_is_put_in_words(score: str | None, text: str) -> None:
    assert w.fact("chosen_by", score) == text


def test_the_summary_has_the_shape_bias_where_it_was_measured(content: dict[str, Any]) -> None:
    text = summary(content)
    assert "clean 50.0 [41.2, 58.8] (n 120, neither 20.0); adversarial 58.3 [" in text
    arms = {name: {"metrics": entry["metrics"]} for name, entry in content["arms"].items()}
    assert "Shape bias" not in summary(content | {"arms": arms})
