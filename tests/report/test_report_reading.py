"""What a reader of the page sees: marks, axes, words, folded checks."""

import html
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from robustaug.evaluation.report import build_report

WriteRun = Callable[..., Path]


def text_of(page: Path) -> str:
    """The page's text without its elements."""
    return html.unescape(re.sub(r"<[^>]*>", "", page.read_text()))


def test_a_wrong_prediction_is_marked_before_and_after(tmp_path: Path, write_run: WriteRun) -> None:
    run = write_run(tmp_path / "run")
    samples = json.loads((run / "samples" / "adversarial.json").read_text())
    for row in samples["rows"]:
        row |= {"prediction_before": "0", "prediction_after": "0"}
    wrong, moved = samples["rows"][0], samples["rows"][1]
    wrong |= {"prediction_before": "7", "prediction_after": "7"}
    moved |= {"prediction_before": "7", "prediction_after": "8"}  # wrong before, and yet attacked
    still = samples["rows"][2]  # right before, and the attack changed nothing
    for row in (wrong, still):
        Image.new("RGB", (28, 28), (128, 128, 128)).save(run / "samples" / row["perturbation"])
    (run / "samples" / "adversarial.json").write_text(json.dumps(samples))
    source = build_report(run).read_text()
    assert re.findall(r'class="guess wrong">(\d)<', source) == ["7", "7", "7", "8"]
    assert source.count("wrong without attack") == 1
    assert source.count('<span class="part">change</span>') == len(samples["rows"]) - 1


def chart_words(path: Path) -> list[str | None]:
    return [element.text for element in ET.parse(path).getroot().iter("{http://www.w3.org/2000/svg}text")]


def test_eps_is_written_in_levels_where_it_is_given_in_levels(tmp_path: Path, write_run: WriteRun) -> None:
    def change(report: dict[str, Any]) -> None:
        report["threat"]["eps"] = 4 / 255
        report["attacks"]["pgd"] |= {"eps": 4 / 255, "step_size": 1 / 255}
        for entry in report["arms"].values():
            for level, point in enumerate(entry["eps_curve"]):
                point["eps"] = 3 * level / 255

    run = write_run(tmp_path / "run", change)
    text = text_of(build_report(run))
    words = chart_words(run / "figures" / "eps.svg")
    assert [word for word in words if word and word.endswith("/255") and "stated" not in word] == [
        f"{level}/255" for level in (4, 8, 12, 16, 20, 24)
    ]
    assert not any(word and word.startswith("0.") for word in words)
    assert "0.0156863" not in text
    assert re.search(r"step size\s*1/255", text)


def test_eps_stays_decimal_where_it_is_given_in_decimals(built_run: Path) -> None:
    words = chart_words(built_run / "figures" / "eps.svg")
    assert "0.2" in words
    assert not any("/255" in str(word) for word in words)


def test_passed_checks_fold_by_name_and_failed_ones_come_first(tmp_path: Path, write_run: WriteRun) -> None:
    def change(report: dict[str, Any]) -> None:
        rows = [("folds", arm, True, f"detail of {arm}") for arm in report["arms"]]
        rows += [("in part", "clean", True, "fine"), ("in part", "style", False, "not fine"), ("once", None, True, "x")]
        report["checks"] = [dict(zip(("name", "arm", "passed", "detail"), row, strict=True)) for row in rows]

    text = text_of(build_report(write_run(tmp_path / "run", change)))
    checks = " ".join(text.split("These checks look for that.")[1].split("Fingerprint")[0].split())
    assert checks.startswith("failedin part stylenot fine")
    for line in ("passedfolds (all 4 arms)", "passedin part (clean) clean: fine", "passedonce x"):
        assert checks.count(line) == 1
    assert "detail of adversarial+style" in checks


def test_keys_are_words_and_nothing_is_said_twice(tmp_path: Path, write_run: WriteRun) -> None:
    def change(report: dict[str, Any]) -> None:
        report["style"]["training_paintings"] = ["wheat_field_with_crows", "great_wave"]
        for entry in report["arms"].values():
            entry["mix"] = {"original": 0.5, "stylised": 0.0, "adversarial": 0.5}
            entry["description"] = "50% original, 50% adversarial"

    text = text_of(build_report(write_run(tmp_path / "run", change)))
    assert text.count("50% original, 50% adversarial") == 4
    for words in ("batch size", "validation accuracy under attack", "wheat field with crows, great wave"):
        assert words in text
    for key in ("batch_size", "chosen_by", "validation_robust", "wheat_field"):
        assert key not in text


def test_the_part_that_was_measured_is_named_on_the_page(tmp_path: Path, write_run: WriteRun) -> None:
    run = write_run(tmp_path / "run", lambda report: report["data"].update(split="train"))
    text = text_of(build_report(run))
    assert "1,000 training images measured" in text
    assert "test image" not in text.split("Checks")[1].split("A model can look")[0]
    assert "the number n of training images" in text
