"""The cells of an ablation differ from the full configuration in what is off, and in nothing else."""

import tomllib
from typing import Any

import pytest

from robustaug.errors import RobustAugError
from robustaug.experiment import ExperimentConfig
from robustaug.experiment.ablation.techniques import Cell, arm_to_ablate, cells_of, techniques_of
from robustaug.experiment.config import parse_config


def config(arm: dict[str, Any], **training: Any) -> ExperimentConfig:
    return parse_config(
        {"name": "photos", "data": {"source": "photos"}, "training": training, "arms": {"clean": {}, "a+b": arm}}, ""
    )


def flat(settings: ExperimentConfig) -> dict[str, Any]:
    def leaves(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in content.items():
            found |= leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
        return found

    return leaves(tomllib.loads(settings.to_toml()))


def changes(cells: tuple[Cell, ...], name: str) -> dict[str, Any]:
    """Dotted key to value, where a cell is another one than the full configuration; None is a key that is gone."""
    by_name = {cell.name: flat(cell.config) for cell in cells}
    full, other = by_name["full"], by_name[name]
    assert other.pop("name") == f"photos: {name}"
    return {key: other.get(key) for key in full | other if key != "name" and full.get(key) != other.get(key)}


EVERYTHING = {"stylised": 0.25, "adversarial": 0.5, "attacked_style": 0.5}


def test_each_cell_differs_in_its_technique_alone() -> None:
    settings = config(
        EVERYTHING, flip=True, shift=4, augmentation=["gaussian_blur", {"name": "gaussian_noise", "probability": 0.2}]
    )
    cells = cells_of(settings, "a+b", (0.1, 0.5, 1.0))
    assert [cell.name for cell in cells] == [
        "full", "without-stylised", "without-attacked_style", "without-adversarial", "without-gaussian_blur",
        "without-gaussian_noise", "without-flip", "without-shift", "bare", "full-at-0.1", "bare-at-0.1", "full-at-0.5",
        "bare-at-0.5",
    ]  # fmt: skip
    noise = {"name": "gaussian_noise", "probability": 0.2}
    assert changes(cells, "without-stylised") == {"arms.a+b.stylised": 0.0}
    assert changes(cells, "without-attacked_style") == {"arms.a+b.attacked_style": 0.0}
    assert changes(cells, "without-adversarial") == {"arms.a+b.adversarial": 0.0, "arms.a+b.attacked_style": 0.0}
    assert changes(cells, "without-gaussian_blur") == {"training.augmentation": [noise]}
    assert changes(cells, "without-gaussian_noise") == {"training.augmentation": ["gaussian_blur"]}
    assert changes(cells, "without-flip") == {"training.flip": False}
    assert changes(cells, "without-shift") == {"training.shift": 0}
    bare = {
        "arms.a+b.stylised": 0.0, "arms.a+b.adversarial": 0.0, "arms.a+b.attacked_style": 0.0,
        "training.augmentation": None, "training.flip": False, "training.shift": 0,
    }  # fmt: skip
    assert changes(cells, "bare") == bare
    assert changes(cells, "full-at-0.1") == {"data.train_share": 0.1}
    assert changes(cells, "bare-at-0.5") == bare | {"data.train_share": 0.5}
    for cell in cells:
        assert list(cell.config.arms) == ["a+b"]
        assert cell.config.training.steps == settings.training.steps
    assert {cell.share for cell in cells} == {0.1, 0.5, 1.0}


@pytest.mark.parametrize("original", [None, 0.25])
def test_a_share_that_is_off_goes_to_the_originals(original: float | None) -> None:
    arm = {"stylised": 0.25, "adversarial": 0.5} | ({} if original is None else {"original": original})
    cells = {cell.name: cell.config.arms["a+b"].mix() for cell in cells_of(config(arm), "a+b", (1.0,))}
    assert cells["full"].shares() == {"original": 0.25, "stylised": 0.25, "adversarial": 0.5}
    assert cells["without-stylised"].shares() == {"original": 0.5, "stylised": 0.0, "adversarial": 0.5}
    assert cells["without-adversarial"].shares() == {"original": 0.75, "stylised": 0.25, "adversarial": 0.0}
    assert cells["bare"].shares() == {"original": 1.0, "stylised": 0.0, "adversarial": 0.0}


def test_the_objective_goes_with_the_adversarial_share() -> None:
    settings = config({"adversarial": 1.0}, objective="trades", beta=4.0, awp=0.01, flip=True)
    cells = cells_of(settings, "a+b", (1.0,))
    assert changes(cells, "without-adversarial") == {
        "arms.a+b.adversarial": 0.0, "training.objective": "pgd", "training.beta": None, "training.awp": 0.0,
    }  # fmt: skip
    (training,) = (cell.config.training for cell in cells if cell.name == "without-adversarial")
    assert training == type(training)(**(settings.training.standard().to_dict()))


def test_balance() -> None:
    cells = cells_of(config({"balance": 0.5}, flip=True), "a+b", (0.5,))
    assert changes(cells, "without-balance") == {"arms.a+b.balance": None}
    assert changes(cells, "bare-at-0.5") == {
        "arms.a+b.balance": None, "training.flip": False, "data.train_share": 0.5,
    }  # fmt: skip


def test_the_only_technique_off_is_bare() -> None:
    cells = cells_of(config({}, flip=True), "a+b", (0.5,))
    assert [cell.name for cell in cells] == ["full", "without-flip", "full-at-0.5", "bare-at-0.5"]


def test_one_technique_by_a_bare_name_and_two_of_a_name() -> None:
    names = [each.name for each in techniques_of(config({}, augmentation="trivialaugment"), "a+b")]
    assert names == ["trivialaugment"]
    twice = techniques_of(
        config({}, augmentation=["gaussian_blur", {"name": "gaussian_blur", "probability": 0.5}]), "a+b"
    )
    assert [each.name for each in twice] == ["gaussian_blur", "gaussian_blur-2"]
    assert twice[1].off == {"training.augmentation": ["gaussian_blur"]}


def test_shares_of_a_share() -> None:
    settings = config({}, flip=True).model_copy(update={})
    settings = parse_config({**tomllib.loads(settings.to_toml()), "data": {"source": "photos", "train_share": 0.5}}, "")
    shares = {cell.name: cell.config.data.train_share for cell in cells_of(settings, "a+b", (0.1,))}
    assert shares == {"full": 0.5, "without-flip": 0.5, "full-at-0.1": 0.05, "bare-at-0.1": 0.05}


def test_which_arm() -> None:
    settings = config({"stylised": 0.5}, flip=True)
    assert arm_to_ablate(settings) == "a+b"
    assert arm_to_ablate(settings, "clean") == "clean"
    with pytest.raises(RobustAugError, match=r"there is no arm 'b' in the configuration; choose one of clean, a[+]b"):
        arm_to_ablate(settings, "b")
    with pytest.raises(RobustAugError, match="arm clean uses no technique that could be off; give it"):
        arm_to_ablate(config({"stylised": 0.5}), "clean")


@pytest.mark.parametrize("fraction", [0.0, -0.5, 1.5, 10.0])
def test_fractions_out_of_range(fraction: float) -> None:
    with pytest.raises(RobustAugError, match=f"a fraction of {fraction:g} is no share of the originals"):
        cells_of(config({}, flip=True), "a+b", (fraction,))
