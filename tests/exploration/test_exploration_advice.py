"""Advice follows from numbers: each rule on both sides of its threshold; and the recipe is a configuration."""

import copy
from pathlib import Path
from typing import Any

import pytest

from robustaug.experiment.config import ExperimentConfig, load_config
from robustaug.exploration import Advice, advise, explore, facts_of, recipe_of

QUANTILES = {"least": 32.0, "low": 32.0, "median": 32.0, "high": 32.0, "most": 32.0}
SAFE = {"before": 0.8, "after": 0.79, "low": -0.01, "high": 0.03, "n": 1000, "verdict": "keeps"}
RISKY = {"before": 0.8, "after": 0.4, "low": 0.37, "high": 0.43, "n": 1000, "verdict": "changes"}
PHOTOS: dict[str, Any] = {
    "data": {"name": "photos", "classes": ["cat", "dog"], "images": 1200, "listed": 1200, "parts": {"train": 1000}},
    "counts": {"largest": "cat", "smallest": "dog", "imbalance": 1.0, "per_class": 500.0, "missing": []},
    "files": {"different_sizes": 1, "width": QUANTILES, "height": QUANTILES, "shorter_side": QUANTILES},
    "looks": {"grey": 0.5, "brightness": {"low": 0.3, "high": 0.7}, "black_or_white": 0.05},
    "findings": {"counts": {"unreadable": 0}},
    "duplicates": {"straddling": 0, "contradicting": 0},
    "labels": {"examined": 1200, "accuracy": {"value": 0.8}, "noise": 0.0, "listed": []},
    "shortcuts": [],
    "invariances": {"mirrored": SAFE, "upside down": RISKY, "turned by 15 degrees": SAFE, "grey": SAFE},
}


def changed(**places: Any) -> dict[str, Any]:
    """The photos' facts with other values at ``section__key``, or whole sections."""
    facts = copy.deepcopy(PHOTOS)
    for place, value in places.items():
        section, _, key = place.partition("__")
        if key:
            facts[section][key] = value
        else:
            facts[section] = value
    return facts


def titled(facts: dict[str, Any], start: str) -> Advice | None:
    return next((each for each in advise(facts) if each.title.startswith(start)), None)


def config_of(facts: dict[str, Any], folder: Path) -> ExperimentConfig:
    path = folder / "recipe.toml"
    path.write_text(recipe_of(facts, advise(facts)), encoding="utf-8")
    return load_config(path)


def test_photos_are_mirrored_and_drawings_are_not(tmp_path: Path) -> None:
    assert config_of(PHOTOS, tmp_path).training.flip
    facts = changed(invariances__mirrored=RISKY)
    assert not config_of(facts, tmp_path).training.flip
    advice = titled(facts, "No mirroring")
    assert advice is not None
    assert not advice.do
    assert "40.0% right, 80.0% on the same 1,000 unchanged (a loss of 40.0 points [37.0, 43.0])" in advice.why


@pytest.mark.parametrize("verdict", ["changes", "unsure"])
def test_only_what_keeps_the_class_is_advised(verdict: str, tmp_path: Path) -> None:
    assert not config_of(changed(invariances__mirrored={**RISKY, "verdict": verdict}), tmp_path).training.flip


def test_without_a_measurement_there_is_no_mirroring(tmp_path: Path) -> None:
    config = config_of(changed(invariances={}, labels=None), tmp_path)
    assert not config.training.flip
    assert config.training.augmentation is None


@pytest.mark.parametrize(("imbalance", "balance"), [(1.4, None), (1.6, 0.62), (4.0, 0.5), (50.0, 0.5)])
def test_imbalance_suggests_balance(imbalance: float, balance: float | None, tmp_path: Path) -> None:
    facts = changed(counts__imbalance=imbalance)
    assert {arm.balance for arm in config_of(facts, tmp_path).arms.values()} == {balance}
    advice = titled(facts, "Balance" if balance else "No balancing")
    assert advice is not None
    assert f"cat has {imbalance:g} times as many training images as dog" in advice.why


@pytest.mark.parametrize(
    ("side", "sizes", "expected"),
    [(32, 1, (None, 4)), (100, 1, (None, 12)), (40, 7, (32, 4)), (500, 7, (64, 8)), (500, 1, (64, 8))],
)
def test_the_shift_is_an_eighth_of_the_working_size(
    side: int, sizes: int, expected: tuple[int | None, int], tmp_path: Path
) -> None:
    same = {name: float(side) for name in QUANTILES}
    files = {"different_sizes": sizes, "width": same, "height": same, "shorter_side": same}
    config = config_of(changed(files=files), tmp_path)
    assert (config.data.size, config.training.shift) == expected
    assert config.threat.eps == ("8/255" if min(side, config.data.size or side) <= 48 else "4/255")


def test_colour_is_left_where_it_tells_classes_apart(tmp_path: Path) -> None:
    assert config_of(PHOTOS, tmp_path).training.augmentation == ("brightness", "contrast", "saturation", "hue")
    assert not config_of(PHOTOS, tmp_path).style.preserve_color
    coloured = config_of(changed(invariances__grey=RISKY), tmp_path)
    assert coloured.training.augmentation == ("brightness", "contrast")
    assert coloured.style.preserve_color


def test_grey_images_have_no_hue_to_change(tmp_path: Path) -> None:
    assert config_of(changed(looks__grey=1.0), tmp_path).training.augmentation == ("brightness", "contrast")


def test_drawings_get_no_colour_changes_and_a_larger_eps(tmp_path: Path) -> None:
    config = config_of(changed(looks__black_or_white=0.8), tmp_path)
    assert (config.training.augmentation, config.threat.eps) == (None, 0.2)


def test_what_is_symmetric_may_stand_on_its_head(tmp_path: Path) -> None:
    techniques = config_of(changed(**{"invariances__upside down": SAFE}), tmp_path).training.augmentation
    assert techniques is not None
    assert techniques[0] == "vertical_flip"


def test_a_strong_shortcut_of_the_border_comes_first_and_asks_for_erasing_and_more_style(tmp_path: Path) -> None:
    accuracy = {"value": 0.9, "low": 0.88, "high": 0.92, "n": 1200}
    shortcut = {
        "name": "border colour",
        "accuracy": accuracy,
        "majority": 0.5,
        "level": "strong",
        "gives_away": {"cat": (1, 1)},
    }
    facts = changed(shortcuts=[shortcut])
    advice = titled(facts, "Break the link between class and border colour")
    assert advice is not None
    assert advice.first
    assert "90.0% [88.0%, 92.0%] of the images; the largest class is 50.0%. It gives away cat." in advice.why
    config = config_of(facts, tmp_path)
    assert "erasing" in (config.training.augmentation or ())
    assert config.arms["adversarial+style"].stylised == 0.5
    assert config_of(PHOTOS, tmp_path).arms["adversarial+style"].stylised == 0.25


@pytest.mark.parametrize(
    ("place", "value", "title"),
    [
        ("findings__counts", {"unreadable": 3}, "Repair or remove the broken files"),
        ("duplicates__straddling", 2, "Take duplicates out of the test part"),
        ("duplicates__contradicting", 2, "Settle the labels of duplicates"),
        ("counts__missing", [{"class": "dog", "part": "test"}], "Give every part every class"),
        ("labels__listed", [{}] * 12, "Look through the doubted labels"),
    ],
)
def test_faults_come_first_and_only_where_they_are(place: str, value: Any, title: str) -> None:
    assert titled(PHOTOS, title) is None
    advice = advise(changed(**{place: value}))[0]
    assert (advice.title, advice.first) == (title, True)


def test_every_piece_of_advice_rests_on_a_number() -> None:
    for facts in (PHOTOS, changed(invariances__grey=RISKY, looks__black_or_white=0.8, counts__imbalance=3.0)):
        for advice in advise(facts):
            assert any(letter.isdigit() for letter in advice.why) or "same number" in advice.why, advice.title


def test_digits_are_not_told_to_flip(tmp_path: Path) -> None:
    facts = facts_of(explore("mnist5k", limit=10))
    assert facts["invariances"]["mirrored"]["verdict"] == "changes"
    config = config_of(facts, tmp_path)
    assert not config.training.flip
    assert config.training.shift == 4
    assert config.data.source == "mnist5k"


@pytest.mark.parametrize(("side", "size"), [(8.0, 32), (15.0, 32), (16.0, None), (128.0, None), (129.0, 64)])
def test_the_recipe_works_at_a_size_that_style_transfer_takes(tmp_path: Path, side: float, size: int | None) -> None:
    alike = dict.fromkeys(QUANTILES, side)
    files = {"different_sizes": 1, "width": alike, "height": alike, "shorter_side": alike}
    assert config_of(changed(files=files), tmp_path).data.size == size


def test_names_with_quotes_and_line_breaks_stay_names(tmp_path: Path) -> None:
    folder = tmp_path / 'a "b"\n[arms]'
    folder.mkdir()
    facts = changed(data__name=str(folder), counts__imbalance=3.0, counts__largest="x\n[data]\nsource = 1")
    assert config_of(facts, tmp_path).data.source == str(folder)
