"""Every mistake in a configuration is one line that names the file, the key and the nearest known one."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from robustaug.attacks import ThreatModel
from robustaug.data import Mix
from robustaug.errors import RobustAugError
from robustaug.experiment import ExperimentConfig, load_config, load_preset
from robustaug.experiment.config import parse_config

MINIMAL = '[data]\nsource = "images"\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "job.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        # an unknown key at every level
        ('nmae = "x"\n' + MINIMAL, "unknown key 'nmae'; the nearest known one is 'name'"),
        (MINIMAL + "sise = 32", "unknown key 'data.sise'; the nearest known one is 'data.size'"),
        (MINIMAL + "[training]\nstesp = 3", "unknown key 'training.stesp'; the nearest known one is 'training.steps'"),
        (MINIMAL + "[training]\nattack_step = 3", "the nearest known one is 'training.attack_steps'"),
        (MINIMAL + "[evaluation]\npgdsteps = 3", "the nearest known one is 'evaluation.pgd_steps'"),
        (MINIMAL + "[threat]\nepsilon = 0.1", "unknown key 'threat.epsilon'; the nearest known one is 'threat.eps'"),
        (MINIMAL + "[model]\nnames = 'a'", "the nearest known one is 'model.name'"),
        (MINIMAL + "[style]\nheldout = 2", "the nearest known one is 'style.held_out'"),
        (MINIMAL + "[arms.mine]\nadverserial = 1.0", "the nearest known one is 'arms.mine.adversarial'"),
        (MINIMAL + '[arms."a+b"]\nstyle = 1.0', "unknown key 'arms.a[+]b.style'; the nearest known one is 'arms.a[+]b"),
        (MINIMAL + "[evalution]\nsamples = 3", "unknown key 'evalution'; the nearest known one is 'evaluation'"),
        # missing
        ("", "'data' is missing; name a data set or a folder under .data. source"),
        ("[data]\nsize = 32", "'data.source' is missing; name a data set or a folder under .data. source"),
        # wrong type
        (MINIMAL + "[training]\nsteps = 'many'", "'training.steps' = 'many': .*valid integer"),
        (MINIMAL + "[training]\nsteps = 2.5", "'training.steps' = 2.5: "),
        (MINIMAL + "[training]\nflip = 'perhaps'", "'training.flip' = 'perhaps': "),
        (MINIMAL + "[training]\noptimizer = 'adamw'", "'training.optimizer' = 'adamw': .*'adam' or 'sgd'"),
        (MINIMAL + "[threat]\nnorm = 'l7'", "'threat.norm' = 'l7': .*'linf', 'l2' or 'l1'"),
        (MINIMAL + "[threat]\neps = [1]", r"'threat.eps' = \[1\]: "),
        (MINIMAL + "[arms.mine]\nadversarial = 'all'", "'arms.mine.adversarial' = 'all': "),
        ("data = 'images'", "'data' = 'images': "),
        ("arms = 3\n" + MINIMAL, "'arms' = 3: "),
        (MINIMAL + "[style]\nstrength = 2", "'style.strength' = 2: .*less than or equal to 1"),
        (MINIMAL + "[style]\nheld_out = 0", "'style.held_out' = 0: "),
        # out of range
        (MINIMAL + "[training]\nsteps = 0", "training.steps is 0; it must be at least 1"),
        (MINIMAL + "[training]\nattack_steps = 0", "steps is 0; it must be a whole number, at least 1"),
        (MINIMAL + "[evaluation]\nsamples = 0", "samples is 0; it must be at least 1"),
        (MINIMAL + "[evaluation]\ncurve_multiples = [1, 2]", "must ascend from 0"),
        (MINIMAL + "[threat]\neps = '-1/255'", "eps is -0.00392157; it must be 0 or larger"),
        (MINIMAL + "[threat]\neps = 8", "eps is 8 but image values span only 1; did you mean 8/255?"),
        (MINIMAL + "[threat]\neps = '8/0'", "eps is '8/0'; write a number"),
        (MINIMAL + "[threat]\neps = 'much'", "eps is 'much'; write a number such as 0.03 or a fraction such as 8/255"),
        # not a number
        (MINIMAL + "[training]\nlearning_rate = nan", "'training.learning_rate' = nan: .*finite"),
        (MINIMAL + "[training]\nlearning_rate = inf", "'training.learning_rate' = inf: .*finite"),
        (MINIMAL + "[data2]\n", "unknown key 'data2'; the nearest known one is 'data'"),
        (MINIMAL + "[threat]\neps = nan", "'threat.eps' = nan: .*finite"),
        (MINIMAL + "[style]\nstrength = nan", "'style.strength' = nan: "),
        (MINIMAL + "[arms.a]\nadversarial = nan", "'arms.a.adversarial' = nan: "),
        (MINIMAL + "test_share = inf", "'data.test_share' = inf: "),
        # arms
        (MINIMAL + "[arms]", "there is no arm to train; add for example .arms.clean."),
        (MINIMAL + "[arms.'../up']", "arm name '../up' cannot name a folder; use letters, digits"),
        (MINIMAL + "[arms.'']", "arm name '' cannot name a folder"),
        (MINIMAL + "[arms.a]\noriginal = 0.5\nadversarial = 0.25", "arms.a: mix: the shares .* sum to 0.75, not to 1"),
        (MINIMAL + "[arms.a]\nadversarial = 0.75\nstylised = 0.5", "arms.a: mix: the shares .* sum to 1.25, not to 1"),
        (MINIMAL + "[arms.a]\nadversarial = -0.5", "arms.a: mix: the adversarial share is -0.5"),
        (MINIMAL + "[arms.a]\nstylised = 1.2", "arms.a: mix: the stylised share is 1.2; it must lie between 0 and 1"),
        (MINIMAL + "[arms.a]\nadversarial = 0.01\n[training]\nbatch_size = 8", "arms.a: .*no row for the adversarial"),
        (MINIMAL + "[style]\nvariants = 0", "style.variants is 0 but an arm has a stylised share"),
        # no TOML
        ("data = [", "job.toml is not valid TOML: "),
        ("data.source = 'a'\ndata.source = 'b'", "job.toml is not valid TOML: "),
    ],
)  # fmt: skip
def test_mistakes(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(RobustAugError, match=message) as caught:
        load_config(path)
    line = str(caught.value)
    assert line.startswith(str(path))
    assert "\n" not in line
    assert "(1 more)" not in line  # one mistake is one mistake


def test_several_mistakes_are_counted(tmp_path: Path) -> None:
    path = written(tmp_path, MINIMAL + "[training]\nsteps = 'a'\nbatch_size = 'b'\nshift = 'c'")
    with pytest.raises(RobustAugError, match=r"'training.steps' = 'a': .* \(2 more\)"):
        load_config(path)


def test_unreadable_files(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b"name = '\xff'")
    for path, message in (
        (tmp_path / "none.toml", "No such file or directory"),
        (tmp_path, "Is a directory"),
        (tmp_path / "latin.toml", "is not valid TOML"),
    ):
        with pytest.raises(RobustAugError, match=message) as caught:
            load_config(path)
        assert str(path) in str(caught.value)


def test_overrides(tmp_path: Path) -> None:
    path = written(tmp_path, MINIMAL + "[training]\nsteps = 10")
    config = load_config(
        path,
        [
            "training.steps=20", "training.steps = 30", "threat.eps=8/255", "threat.norm=l2", "name=a b", "seed=7",
            "data.source=/some/where", "model.options.width=4", "training.flip=true", "arms.only.adversarial=0.5",
            "evaluation.curve_multiples=[0, 2]", 'data.root="x=y"',
        ],
    )  # fmt: skip
    assert config.training.steps == 30  # the last one counts
    assert (config.threat.eps, config.threat.norm, config.name, config.seed) == ("8/255", "l2", "a b", 7)
    assert (config.data.source, config.data.root) == ("/some/where", "x=y")
    assert config.model.options == {"width": 4}
    assert config.training.flip is True
    assert list(config.arms) == ["only"]
    assert config.evaluation.curve_multiples == (0, 2)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.steps", "--set 'training.steps' is not KEY=VALUE; write for example --set training.steps=500"),
        ("=5", "--set '=5' is not KEY=VALUE"),
        ("", "--set '' is not KEY=VALUE"),
        ("training.steps.more=5", "--set training.steps.more: steps is a value, not a section"),
        ("training.stesp=5", "job.toml: unknown key 'training.stesp'; the nearest known one is 'training.steps'"),
        ("training.steps=", "job.toml: 'training.steps' = ''"),
    ],
)
def test_bad_overrides(tmp_path: Path, override: str, message: str) -> None:
    path = written(tmp_path, MINIMAL + "[training]\nsteps = 10")
    with pytest.raises(RobustAugError, match=message) as caught:
        load_config(path, [override])
    assert "\n" not in str(caught.value)


def test_fractions_and_defaults() -> None:
    config = parse_config({"data": {"source": "x"}, "threat": {"eps": "8/255"}}, "x")
    assert config.threat.model() == ThreatModel("linf", 8 / 255)
    assert list(config.arms) == ["clean", "adversarial", "style", "adversarial+style"]
    assert config.arms["adversarial+style"].mix() == Mix(0.0, 0.25, 0.75)
    assert config.arms["clean"].mix() == Mix(1.0, 0.0, 0.0)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"name": 'with "quotes" and ☃', "seed": 5},
        {"threat": {"eps": "8/255", "norm": "l2"}, "arms": {"a+b": {"adversarial": 0.3, "stylised": 0.2}}},
        {"training": {"attack_step_size": "2/255"}, "model": {"name": "small_cnn", "options": {"width": 4}}},
        {"data": {"source": "C:\\images", "size": 32, "limit": 5, "root": "/data"}},
        {"evaluation": {"curve_multiples": [0, 0.5, 3]}},
    ],
)
def test_toml_round_trip(changes: dict[str, Any]) -> None:
    config = parse_config({"data": {"source": "images"}, **changes}, "x")
    again = parse_config(tomllib.loads(config.to_toml()), "again")
    assert again == config
    assert again.to_toml() == config.to_toml()


@pytest.mark.parametrize("name", ["demo", "demo-quick"])
def test_presets(name: Any) -> None:
    config = load_preset(name, ["training.steps=3"])
    assert isinstance(config, ExperimentConfig)
    assert (config.name, config.data.source, config.training.steps) == (name, "mnist5k", 3)
    assert parse_config(tomllib.loads(config.to_toml()), "x") == config
