"""Which samples a report shows: different classes, and where there was something to attack."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from robustaug.attacks import ThreatModel
from robustaug.data import ImageSet, read_image
from robustaug.evaluation.harness import evaluate_arm
from robustaug.evaluation.protocol import Protocol
from robustaug.evaluation.shape_bias import CueConflicts
from robustaug.experiment.samples import write_adversarial_samples, write_conflict_samples
from robustaug.files import read_json


@pytest.fixture
def images() -> ImageSet:
    pixels = torch.randint(0, 256, (40, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    keys = tuple(f"{i:02}" for i in range(40))
    return ImageSet(pixels, torch.arange(40) % 4, keys, keys, ("a", "b", "c", "d"))


def test_shows_samples_that_every_arm_has_right_before_the_attack(images: ImageSet, tmp_path: Path) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 4))
    protocol = Protocol(samples=40, pgd_steps=1, pgd_restarts=1, noise_draws=1, curve_samples=4, curve_steps=1)
    measured = evaluate_arm(model, images, threat=ThreatModel("linf", 0.1), protocol=protocol)
    right = torch.zeros(40, dtype=torch.bool)
    right[[9, 22, 35]] = True  # one of each of three classes
    others = right.clone()
    others[:9] = True  # right for the second arm only
    verdicts = dict(measured.verdicts)
    arms = {
        "first": replace(measured, verdicts=verdicts | {"clean": right}),
        "second": replace(measured, verdicts=verdicts | {"clean": others}),
    }
    write_adversarial_samples(tmp_path, images, ThreatModel("linf", 0.1), arms)
    rows = read_json(tmp_path / "adversarial.json")["rows"]
    assert [(row["arm"], row["key"], row["label"]) for row in rows] == [
        (arm, key, label) for arm in ("first", "second") for key, label in (("09", "b"), ("22", "c"), ("35", "d"))
    ]


def test_least_and_most_robust_samples_are_shown_and_named(images: ImageSet, tmp_path: Path) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 4))
    protocol = Protocol(samples=40, pgd_steps=1, pgd_restarts=1, noise_draws=1, curve_samples=4, curve_steps=1)
    measured = evaluate_arm(model, images, threat=ThreatModel("linf", 0.1), protocol=protocol)
    kept = len(measured.adversarial)
    assert kept > 8
    distances = torch.linspace(0.2, 0.3, 40)
    distances[3], distances[5], distances[7] = 0.0, 0.125, torch.inf  # wrong unattacked; the least; never broken
    if kept < 40:
        distances[kept] = 0.1  # smaller still, but no picture was kept
    write_adversarial_samples(tmp_path, images, ThreatModel("linf", 0.1), {"a": replace(measured, distances=distances)})
    marked = {
        row["key"]: (row["robustness"], row.get("smallest_eps"))
        for row in read_json(tmp_path / "adversarial.json")["rows"]
        if "robustness" in row
    }
    keys = [images.keys[int(measured.attacked[place])] for place in (5, 7)]
    assert marked == {
        keys[0]: (f"least robust of {kept - 1}", 0.125),
        keys[1]: (f"most robust of {kept - 1}", None),
    }


def test_examples_of_each_decision_are_shown_of_those_that_count(images: ImageSet, tmp_path: Path) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 4))
    protocol = Protocol(samples=4, pgd_steps=1, pgd_restarts=1, noise_draws=1, curve_samples=4, curve_steps=1)
    contents, styles = torch.arange(8), torch.arange(8) + 9  # of the next class
    made = images.select(contents + 20)
    conflicts = CueConflicts(
        ImageSet(made.images, images.labels[contents], images.keys[:8], made.sha256, images.class_names),
        contents, styles, "gatys",
    )  # fmt: skip
    measured = evaluate_arm(model, images, threat=ThreatModel("linf", 0.1), protocol=protocol, conflicts=conflicts)
    right = torch.ones(40, dtype=torch.bool)
    right[[0, 10]] = False  # the first content, and the second one's style source
    shapes, textures = images.labels[contents], images.labels[styles]
    predictions = torch.stack(
        [shapes, shapes, shapes, textures, textures, textures, (shapes + 2) % 4, shapes]
    ).diagonal()
    arm = replace(
        measured,
        verdicts={**measured.verdicts, "clean": right},
        predictions={**measured.predictions, "shape_bias": predictions},
    )
    write_conflict_samples(tmp_path, images, conflicts, {"a": arm})
    rows = read_json(tmp_path / "conflicts.json")["rows"]
    assert [(row["key"], row["texture_key"], row["decision"]) for row in rows] == [
        ("02", "11", "shape"), ("07", "16", "shape"), ("03", "12", "texture"), ("04", "13", "texture"),
        ("06", "15", "neither"),
    ]  # fmt: skip
    first = rows[0]
    assert (first["label"], first["texture_label"], first["prediction"]) == ("c", "d", "c")
    pictures = {"content": images.images[2], "texture": images.images[11], "conflict": made.images[2]}
    for part, expected in pictures.items():
        assert torch.equal(read_image(tmp_path / first[part]), expected)
    write_conflict_samples(tmp_path / "none", images, None, {"a": arm})
    assert not (tmp_path / "none").exists()
