"""A run whose styles are made in the loop and attacked there: nothing on disk, and no painting that is held out."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from experiment_cases import coloured_squares, models, quick_style, quiet, tiny

from robustaug.data import Mix, load_data
from robustaug.errors import RobustAugError
from robustaug.experiment import run_experiment
from robustaug.experiment.config import StyleSection, parse_config
from robustaug.experiment.variants import paintings_of, style_in_loop
from robustaug.files import read_json
from robustaug.models import load_checkpoint
from robustaug.style import AdaIN

ARM: dict[str, Any] = {
    "style__source": "loop",
    "style__variants": 0,
    "arms__mixed__stylised": 0.25,
    "arms__mixed__adversarial": 0.5,
    "arms__mixed__attacked_style": 0.5,
    "training__augmentation": "trivialaugment",
}


def test_styles_in_the_loop(squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick_style(monkeypatch)
    used: list[str] = []
    true = AdaIN.run

    def spy(self: AdaIN, content: Any, styles: Any, **options: Any) -> Any:
        used.extend(painting.sha256 for painting in styles)
        assert options["strength"].tolist() == pytest.approx([0.3] * len(content))  # AdaIN's own at 16 px
        return true(self, content, styles, **options)

    monkeypatch.setattr(AdaIN, "run", spy)
    config = tiny(squares, **ARM)
    run_experiment(config, tmp_path / "run", console=quiet())
    training, held_out = (
        {painting.sha256 for painting in bank.paintings} for bank in paintings_of(config.style, config.seed)
    )
    steps, styled = 4, 4  # two stylised rows of eight, and two under attack
    assert len(used) == steps * styled
    assert set(used) <= training
    assert not set(used) & held_out
    assert not (tmp_path / "run" / "variants" / "train").exists()
    report = read_json(tmp_path / "run" / "report.json")
    assert (report["style"]["source"], report["style"]["variants"]) == ("loop", 0)
    arm = report["arms"]["mixed"]
    assert arm["description"] == "25% original, 25% stylised, 50% adversarial (50% of them on stylised images)"
    checkpoint = load_checkpoint(tmp_path / "run" / "arms" / "mixed" / "model.safetensors")
    assert set(checkpoint.extra["paintings"]) == training  # so that no later evaluation calls them unseen
    run_experiment(config, tmp_path / "again", console=quiet())
    assert models(tmp_path / "again") == models(tmp_path / "run")


def test_what_styles_in_the_loop_are_told(tmp_path: Path) -> None:
    originals = load_data(str(coloured_squares(tmp_path / "squares", 4, (64, 64))), seed=0).train
    bank, _ = paintings_of(StyleSection(), 0)
    for given, strength, color in (
        ({}, 1.0, "painting"),
        ({"loop_strength": 0.25, "preserve_color": True}, 0.25, "luminance"),
    ):
        style = style_in_loop(originals, bank, StyleSection.model_validate({"source": "loop", **given}))
        assert style.describe()["strength"] == [strength, strength]
        assert style.describe()["method"]["color"] == color
        assert style.describe()["paintings"] == [painting.sha256 for painting in bank.paintings]
    small = load_data(str(coloured_squares(tmp_path / "small", 4, (12, 12))), seed=0).train
    with pytest.raises(RobustAugError, match="style transfer needs 16 px, images are 12x12"):
        style_in_loop(small, bank, StyleSection.model_validate({"source": "loop"}))


def test_an_arms_mix() -> None:
    config = parse_config(
        {"data": {"source": "x"}, "arms": {"a": {"adversarial": 0.75, "attacked_style": 0.5}}}, "x.toml"
    )
    assert config.arms["a"].mix() == Mix(0.25, 0.0, 0.75, attacked_style=0.5)
    assert config.needs_variants


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"arms": {"a": {"attacked_style": 0.5}}},
            "x.toml: arms.a: mix: attacked_style is 0.5 of the adversarial rows, b",
        ),
        (
            {"arms": {"a": {"adversarial": 1, "attacked_style": 2}}},
            "arms.a: mix: the attacked_style share is 2; it must",
        ),
        (
            {"arms": {"a": {"adversarial": 0.25, "attacked_style": 0.1}}, "training": {"batch_size": 8}},
            "arms.a: mix: the 2 adversarial rows in a batch of 8 cannot be split by an attacked_style of 0.1",
        ),
        (
            {"arms": {"a": {"adversarial": 1, "attacked_style": 0.5}}, "style": {"variants": 0}},
            "style.variants is 0 but an arm has a stylised share; set style.variants, the share, or style.source",
        ),
        ({"style": {"loop_strength": 0.5}}, "style.loop_strength is of styles made in the loop; set style.source"),
        ({"style": {"source": "memory"}}, "'style.source' = 'memory': .*'disk' or 'loop'"),
        ({"style": {"source": "loop", "loop_strength": 1.5}}, "'style.loop_strength' = 1.5: "),
        (
            {"training": {"augmentation": ["flip"]}},
            r"x.toml: training.augmentation\[1\]: there is no technique 'flip'; use one of crop, ",
        ),
        ({"training": {"padding": "reflect"}}, "'training.padding' = 'reflect': .*'edge' or 'zeros'"),
    ],
)
def test_mixes_that_cannot_be(content: dict[str, Any], message: str) -> None:
    with pytest.raises(RobustAugError, match=message) as caught:
        parse_config({"data": {"source": "x"}, **content}, "x.toml")
    assert "\n" not in str(caught.value)


def test_techniques_survive_the_resolved_configuration() -> None:
    """What is written into a run folder says the same as what was given; a lone name stays one."""
    mixed = ["hue", {"name": "mixup", "probability": 0.25, "alpha": 0.2}]
    for given, names in (("trivialaugment", ["trivialaugment"]), (mixed, ["hue", "mixup"])):
        config = parse_config({"data": {"source": "x"}, "training": {"augmentation": given}}, "x.toml")
        again = parse_config(tomllib.loads(config.to_toml()), "again.toml")
        assert again == config
        assert [technique.name for technique in again.training.techniques] == names
        assert again.training.techniques == config.training.techniques
    assert [technique.name for technique in config.training.mixing] == ["mixup"]
    assert config.training.augmenter.name == "hue"
