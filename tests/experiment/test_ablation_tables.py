"""Tables, sentences, figure and page of an ablation whose verdicts are planted: every number by hand."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from robustaug.data import ImageSet
from robustaug.errors import RobustAugError
from robustaug.evaluation.harness import stratified_choice
from robustaug.evaluation.protocol import Protocol
from robustaug.evaluation.results import ArmEvaluation
from robustaug.evaluation.statistics import accuracy_interval, mean_interval
from robustaug.experiment.ablation.page import build_page, findings
from robustaug.experiment.ablation.results import Measured, ablation_content
from robustaug.experiment.ablation.tables import ablation_markdown, curve_rows, markdown_table, technique_rows
from robustaug.experiment.ablation.techniques import cells_of, techniques_of
from robustaug.experiment.config import parse_config
from robustaug.files import sha256, write_jsonl

N = 100
CONFIG = parse_config(
    {"name": "<b>planted</b>", "data": {"source": "photos"}, "training": {"flip": True, "shift": 2}, "arms": {"a": {}}},
    "",
)
PROTOCOL = Protocol(samples=N, corruption_samples=10, corruption_severities=(3,), unseen_style_samples=4)
CELLS = cells_of(CONFIG, "a", (0.5,))
RIGHT = {  # of 100 images, under seed 0 and seed 1
    "full": (80, 84), "without-flip": (60, 64), "without-shift": (80, 83), "bare": (50, 52),
    "full-at-0.5": (70, 70), "bare-at-0.5": (40, 44),
}  # fmt: skip


def images_of_test() -> ImageSet:
    keys = tuple(f"test/{number:03d}.png" for number in range(N))
    return ImageSet(torch.zeros(N, 3, 1, 1, dtype=torch.uint8), torch.arange(N) % 2, keys, keys, ("<i>cat</i>", "dog"))


def planted(cell: str, seed: int, folder: Path, *, corrupted: bool = True) -> Measured:
    """A cell in which the first images are right; half of those under PGD, in the seed's own order."""
    test, right = images_of_test(), RIGHT[cell][seed]
    clean = torch.arange(N) < right
    attacked = stratified_choice(test.labels, N, seed)
    pgd = (torch.arange(N) < right // 2)[attacked]
    chosen = stratified_choice(test.labels, 10, seed)
    verdicts = {"clean": clean, "pgd": pgd, "unseen_style": torch.tensor([True, False, True, False])}
    keys = {
        "clean": test.keys,
        "pgd": tuple(test.keys[place] for place in attacked),
        "unseen_style": tuple(test.keys[place] for place in (3, 1, 2, 0)),
    }
    metrics = {name: accuracy_interval(verdict) for name, verdict in verdicts.items()}
    if corrupted:
        verdicts["corruptions"] = torch.ones(10, 15, 1, dtype=torch.bool)
        keys["corruptions"] = tuple(test.keys[place] for place in chosen)
        metrics["corruptions"] = mean_interval(torch.ones(10))
    write_jsonl(
        folder / "test" / "manifest.jsonl",
        [{"path": f"{number}.png", "source": key} for number, key in enumerate(keys["unseen_style"])],
    )
    evaluation = ArmEvaluation(
        metrics=metrics, per_class={}, eps_curve=(), verdicts=verdicts, predictions={}, attacked=attacked, excess={},
        adversarial=torch.zeros(0), attacks={}, chance=0.5, forward_passes=0, seconds=0.0, stages={}, broken_by={},
        confusion={}, distances=torch.zeros(0), not_measured={},
        samples={name: sha256("\n".join(of).encode())[:16] for name, of in keys.items()},
    )  # fmt: skip
    report = {
        "data": {"name": "photos", "classes": list(test.class_names), "image_size": [1, 1], "test": N, "validation": 9,
                 "train": 21 if "0.5" in cell else 42},
        "threat": {"norm": "linf", "eps": 8 / 255, "bounds": [0.0, 1.0]},
        "protocol": PROTOCOL.to_dict(), "attacks": {"pgd": {"steps": 40, "restarts": 1}}, "chance": 0.5,
        "checks": [{"name": "planted", "passed": cell != "bare", "arm": "a", "detail": ""}],
        "seconds": {"total": 1.5},
    }  # fmt: skip
    return Measured(cell, seed, report, evaluation, test, PROTOCOL, folder / "test")


def content(folder: Path, *, seeds: int = 2, corrupted: bool = True) -> dict[str, Any]:
    measured = [planted(cell.name, seed, folder, corrupted=corrupted) for seed in range(seeds) for cell in CELLS]
    return ablation_content(
        CONFIG, "a", techniques_of(CONFIG, "a"), CELLS, measured, created="2026-11-23T08:00:00+00:00"
    )


def test_the_numbers_by_hand(tmp_path: Path) -> None:
    found = content(tmp_path)
    cells = found["cells"]
    assert cells["full"]["metrics"]["clean"]["mean"] == pytest.approx(0.82)
    assert cells["full"]["metrics"]["clean"]["deviation"] == pytest.approx(0.04 / 2**0.5)
    gained = {name: cells[name]["differences"]["clean"]["value"] for name in cells if name != "full"}
    assert gained == pytest.approx(
        {"without-flip": -0.2, "without-shift": -0.005, "bare": -0.31, "full-at-0.5": -0.12, "bare-at-0.5": -0.4}
    )
    assert cells["without-flip"]["differences"]["pgd"]["value"] == pytest.approx((30 - 40 + 32 - 42) / 200)
    assert cells["without-flip"]["differences"]["pgd"]["n"] == N  # the seeds' orders differ, the images do not
    assert 10 <= cells["without-flip"]["differences"]["corruptions"]["n"] <= 20
    assert cells["without-flip"]["differences"]["unseen_style"]["value"] == 0
    assert [point["gained"]["clean"]["value"] for point in found["curve"]] == pytest.approx([0.28, 0.31])
    assert [point["train"] for point in found["curve"]] == [[21, 21], [42, 42]]
    assert cells["bare"]["failed_checks"] == ["planted"]
    assert found["seconds"] == 12 * 1.5


def test_rows(tmp_path: Path) -> None:
    found = content(tmp_path)
    rows = technique_rows(found)
    assert [row[0] for row in rows] == ["full", "without flip", "without shift", "no technique"]
    assert rows[0][1:] == ["82.0 ± 2.8", "41.0 ± 1.4", "100.0 ± 0.0", "50.0 ± 0.0"]
    assert re.fullmatch(r"62\.0 ± 2\.8 \(-20\.0 \[-\d+\.\d, -\d+\.\d\]\*\)", rows[1][1])  # told from chance
    assert re.fullmatch(r"81\.5 ± 2\.1 \(-0\.5 \[-\d+\.\d, \+\d+\.\d\]\)", rows[2][1])  # not told
    curve = curve_rows(found)
    assert [row[:2] for row in curve] == [
        ["50% (21)", "no technique"], ["50% (21)", "full"], ["100% (42)", "no technique"], ["100% (42)", "full"],
    ]  # fmt: skip
    assert curve[0][2] == "42.0 ± 2.8"
    assert curve[1][2].startswith("70.0 ± 0.0 (+28.0 [+")
    sentences = findings(found)
    assert len(sentences) == 2
    assert re.fullmatch(r"Without flip: Clean -20\.0 \[.*\], PGD -10\.0 \[.*\] points\.", sentences[0])
    assert sentences[1] == "Not told apart from the full configuration on any metric: without shift."


def test_markdown(tmp_path: Path) -> None:
    text = ablation_markdown(content(tmp_path))
    assert "mean ± standard deviation over 2 seeds (0, 1)" in text
    assert "Clean on 100, PGD on 100, Corruptions on 10, Unseen style on 4" in text
    assert "L-infinity eps 8/255; PGD: 40 steps, 1 restart." in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines[:6]}) == 1  # the columns stand below each other
    assert len(lines) == (2 + 4) + (2 + 4)
    assert markdown_table(["a", "b|c"], [["long", "1"]]) == "| a    | b\\|c |\n| ---- | ---: |\n| long |    1 |"


def test_what_is_not_measured_is_said(tmp_path: Path) -> None:
    text = ablation_markdown(content(tmp_path, seeds=1, corrupted=False))
    assert "Corruptions: not measured, as the protocol has no samples for it." in text
    assert text.count("not measured") == 4 + 4 + 1
    assert "±" not in text.split("\n\n")[2]  # of one seed there is no spread
    assert "Accuracy in percent, of seed 0 alone, whose luck is not in the intervals." in text


def test_page_and_figure(tmp_path: Path) -> None:
    found = content(tmp_path)
    page = build_page(found, tmp_path)
    text = page.read_text(encoding="utf-8")
    assert "<b>planted</b>" not in text
    assert "&lt;b&gt;planted&lt;/b&gt;" in text
    assert not re.search(r'(src|href)="(https?:)?//', text)
    assert text.count("<svg") == 1
    assert "-20.0 [" in text
    assert "Checks that failed in no technique: planted." in text
    for tag in ("table", "section", "div", "tr"):
        assert text.count(f"<{tag}") == text.count(f"</{tag}>"), tag
    svg = (tmp_path / "figures" / "data_efficiency.svg").read_text(encoding="utf-8")
    for label in ("Clean", "PGD", "Corruptions", "Unseen style", "training originals", "21", "42", "no technique"):
        assert f">{label}<" in svg
    assert (tmp_path / "figures" / "data_efficiency.png").stat().st_size > 1000
    before = page.read_bytes(), svg
    build_page(found, tmp_path)
    assert (page.read_bytes(), (tmp_path / "figures" / "data_efficiency.svg").read_text(encoding="utf-8")) == before


def test_other_images_are_refused(tmp_path: Path) -> None:
    measured = planted("full", 0, tmp_path)
    assert measured.verdicts("pgd")[0] == [measured.test.keys[place] for place in measured.evaluation.attacked]
    write_jsonl(tmp_path / "test" / "manifest.jsonl", [{"path": "0.png", "source": "test/000.png"}])
    with pytest.raises(RobustAugError, match="cell full of seed 0 was measured on other images under unseen_style"):
        measured.verdicts("unseen_style")
