"""The protocol: its hash, its grid, its limits, its attacks, its files."""

import tomllib
from dataclasses import fields, replace

import pytest

from robustaug.attacks import PGD, AutoAttack, Square, ThreatModel
from robustaug.errors import RobustAugError
from robustaug.evaluation import PROTOCOLS, Protocol, ProtocolAttack, load_protocol, protocol_of
from robustaug.evaluation.protocol_attack import comparable_eps
from robustaug.experiment.config import parse_config


def test_the_hash_changes_with_every_setting():
    base = Protocol()
    others = {
        "name": "mine",
        "attacks": (ProtocolAttack("square"),),
        "curve_multiples": (0.0, 1.0),
        "precision": "bfloat16",
        "corruption_severities": (1, 5),
        "conflict_method": "adain",
    }
    changed = [replace(base, **{f.name: others.get(f.name, 7)}) for f in fields(Protocol)]
    assert len({base.hash, *(protocol.hash for protocol in changed)}) == len(changed) + 1
    assert base.hash == Protocol().hash
    attacks = [
        ProtocolAttack("square"),
        ProtocolAttack("square", norm="l2"),
        ProtocolAttack("square", eps=0.1),
        ProtocolAttack("square", samples=3),
        ProtocolAttack("square", options={"queries": 3}),
        ProtocolAttack("square", name="mine"),
        ProtocolAttack("fgsm"),
    ]
    assert len({replace(base, attacks=(attack,)).hash for attack in attacks}) == len(attacks)


def test_quick_does_less_of_everything():
    quick, standard = PROTOCOLS["quick"], PROTOCOLS["standard"]
    for name in ("samples", "pgd_steps", "pgd_restarts", "noise_draws", "curve_samples", "curve_steps"):
        assert getattr(quick, name) < getattr(standard, name)


@pytest.mark.parametrize(
    ("threat", "shape", "last"),
    [
        (ThreatModel("linf", 0.2), (3, 8, 8), 1.0),
        (ThreatModel("linf", "8/255"), (3, 8, 8), 1.0),
        (ThreatModel("linf", 3, bounds=(0, 255)), (3, 8, 8), 255.0),
        (ThreatModel("l2", 1.5), (3, 4, 4), 48**0.5),
        (ThreatModel("linf", 0.0), (3, 8, 8), 1.0),
        (ThreatModel("linf", 1.0), (3, 8, 8), 1.0),
    ],
)
def test_the_grid_climbs_from_nothing_to_the_width_of_the_bounds(threat, shape, last):
    grid = Protocol().eps_grid(threat, shape)
    assert grid[0] == 0
    assert grid[-1] == last
    assert grid == sorted(set(grid))
    if threat.eps:
        assert threat.eps in grid


def test_the_grid_by_hand():
    protocol = Protocol(curve_multiples=(0, 0.5, 1, 4, 6))
    assert protocol.eps_grid(ThreatModel("linf", 0.2), (3, 8, 8)) == [0, 0.1, 0.2, 0.8, 1.0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"samples": 0}, "samples is 0; it must be at least 1"),
        ({"pgd_restarts": -1}, "pgd_restarts is -1"),
        ({"curve_multiples": (0.5, 1.0)}, "must ascend from 0"),
        ({"curve_multiples": (0.0, 1.0, 1.0)}, "must ascend from 0"),
        ({"curve_multiples": ()}, "must ascend from 0"),
        ({"corruption_samples": -1}, "corruption_samples is -1; it must be at least 0"),
        ({"corruption_severities": ()}, "must be some of 1 to 5, ascending"),
        ({"corruption_severities": (1, 6)}, "must be some of 1 to 5, ascending"),
        ({"corruption_severities": (3, 1)}, "must be some of 1 to 5, ascending"),
        ({"corruption_severities": (3, 3)}, "must be some of 1 to 5, ascending"),
    ],
)
def test_impossible_settings(settings, message):
    with pytest.raises(RobustAugError, match=message):
        Protocol(**settings)


def test_one_eps_per_sample_has_no_curve():
    with pytest.raises(RobustAugError, match="one eps for all samples"):
        Protocol().eps_grid(ThreatModel("linf", (0.1, 0.2)), (3, 8, 8))


THREAT = ThreatModel("linf", "8/255")


@pytest.mark.parametrize(
    ("threat", "norm", "shape", "expected"),
    [
        (THREAT, "l2", (3, 32, 32), 128 / 255),
        (THREAT, "l1", (3, 32, 32), 12.0),
        (ThreatModel("l2", "128/255"), "linf", (3, 32, 32), 8 / 255),
        (ThreatModel("linf", "4/255"), "l2", (3, 224, 224), 64 / 255 * 7),  # seven times the side
        (ThreatModel("l2", 0.5), "l1", (3, 64, 64), 0.5 / (128 / 255) * 12 * 2),  # l1 grows by 4, l2 by 2
        (ThreatModel("linf", 0.5), "linf", (3, 9, 9), 0.5),
        (ThreatModel("l2", 5.0), "linf", (3, 4, 4), 1.0),  # images are no farther apart
        (ThreatModel("linf", 0.0), "l2", (3, 4, 4), 0.0),
    ],
)
def test_radii_that_go_together(threat, norm, shape, expected):
    attack = ProtocolAttack("square", norm=norm)
    found = attack.threat(threat, shape)
    assert (found.norm, found.eps, found.bounds) == (norm, pytest.approx(expected), threat.bounds)
    c, h, w = shape
    assert comparable_eps(threat, norm, c * h * w) == pytest.approx(expected)


def test_standard_is_autoattack_at_two_norms_and_square():
    standard = PROTOCOLS["standard"]
    linf, l2 = THREAT, ThreatModel("l2", 128 / 255)
    assert standard.further_attacks(linf, (3, 32, 32)) == {
        "autoattack": AutoAttack(linf, "auto"),
        "autoattack_l2": AutoAttack(l2, "auto"),
        "square": Square(linf, "auto", queries=1000),
    }
    assert list(standard.further_attacks(l2, (3, 32, 32))) == ["autoattack", "autoattack_linf", "square"]
    assert standard.further_attacks(l2, (3, 32, 32))["autoattack_linf"].threat.norm == "linf"
    assert PROTOCOLS["quick"].further_attacks(linf, (3, 32, 32)) == {}


def test_two_metrics_of_one_name():
    twice = Protocol(attacks=(ProtocolAttack("square"), ProtocolAttack("square", norm="linf")))
    with pytest.raises(RobustAugError, match="two metrics are named 'square'; give this attack another name"):
        twice.further_attacks(THREAT, (3, 8, 8))
    assert list(twice.further_attacks(ThreatModel("l2", 1), (3, 8, 8))) == ["square", "square_linf"]
    with pytest.raises(RobustAugError, match="two metrics are named 'pgd'"):
        Protocol(attacks=(ProtocolAttack("pgd"),)).further_attacks(THREAT, (3, 8, 8))


def test_the_precision_is_the_protocols():
    attacks = (ProtocolAttack("apgd-ce"), ProtocolAttack("fab-t", options={"precision": "float32"}))
    built = Protocol(precision="bfloat16", attacks=attacks).further_attacks(THREAT, (3, 8, 8))
    assert [attack.precision for attack in built.values()] == ["bfloat16", "float32"]


FILE = """
base = "quick"
samples = 500

[[attacks]]
attack = "autoattack"
norm = "l2"
eps = "128/255"

[[attacks]]
attack = "pgd"
name = "pgd-200"
samples = 100
options = {steps = 200, loss = "margin"}
"""


def test_a_protocol_from_a_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(FILE)
    attacks = (
        ProtocolAttack("autoattack", "l2", "128/255"),
        ProtocolAttack("pgd", samples=100, options={"steps": 200, "loss": "margin"}, name="pgd-200"),
    )
    expected = replace(PROTOCOLS["quick"], name="mine", version=1, samples=500, attacks=attacks)
    assert load_protocol(path) == protocol_of(path) == protocol_of(str(path)) == expected
    assert type(load_protocol(path)) is Protocol
    assert load_protocol(path).hash == expected.hash != PROTOCOLS["quick"].hash
    built = expected.further_attacks(THREAT, (3, 32, 32))
    assert built["pgd-200"] == PGD(THREAT, steps=200, loss="margin")
    assert built["autoattack_l2"].threat == ThreatModel("l2", 128 / 255)
    path.write_text("")
    assert load_protocol(path) == Protocol(name="mine")
    path.write_text("base = 'standard'")
    assert load_protocol(path) == replace(PROTOCOLS["standard"], name="mine")


def test_a_preset_by_name():
    assert protocol_of("quick") is PROTOCOLS["quick"]
    assert protocol_of("standard") is PROTOCOLS["standard"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("samles = 3", "unknown key 'samles'; the nearest known one is 'samples'"),
        ("bas = 'quick'", "unknown key 'bas'; the nearest known one is 'base'"),
        ("base = 'qick'", "'base' = 'qick': use quick or standard"),
        ("base = ['quick']", "'base' = ['quick']: use quick or standard"),
        ("samples = 'many'", "'samples' = 'many': Input should be a valid integer"),
        ("samples = 1.5", "'samples' = 1.5: Input should be a valid integer"),
        ("samples = 0", "samples is 0; it must be at least 1"),
        ("curve_multiples = [0, nan]", "'curve_multiples.1' = nan"),
        ("precision = 'float8'", "'precision' = 'float8'"),
        ("attacks = 'autoattack'", "'attacks' = 'autoattack'"),
        ("[[attacks]]\nattack = 'autoatack'", "attack 'autoatack' is unknown; did you mean 'autoattack'?"),
        ("[[attacks]]\natack = 'square'", "unknown key 'attacks.0.atack'; the nearest known one is 'attack'"),
        ("[[attacks]]\nnorm = 'l2'", "'attacks.0.attack' is missing"),
        ("[[attacks]]\nattack = 'pgd'\nnorm = 'l3'", "'attacks.0.norm' = 'l3'"),
        ("[[attacks]]\nattack = 'pgd'\neps = 'big'", "eps is 'big'; write a number"),
        ("[[attacks]]\nattack = 'pgd'\neps = -1", "eps is -1; it must be 0 or larger"),
        ("[[attacks]]\nattack = 'pgd'\nsamples = 0", "samples is 0; it must be at least 1"),
        ("[[attacks]]\nattack = 'pgd'\noptions = {stps = 3}", "pgd has no option 'stps'"),
        ("[[attacks]]\nattack = 'pgd'\nname = '../x'", "name '../x' must be of letters"),
        ("samples =", "is not valid TOML"),
    ],
)
def test_bad_files_get_one_line(tmp_path, text, message):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(RobustAugError) as caught:
        load_protocol(path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("standrd", "protocol 'standrd' is unknown; did you mean 'standard'?"),
        ("thorough", "use quick, standard, or a file that ends in .toml"),
        ("no/such.toml", "cannot read the protocol no/such.toml: No such file"),
    ],
)
def test_no_such_protocol(name, message):
    with pytest.raises(RobustAugError, match="protocol") as caught:
        protocol_of(name)
    assert message in str(caught.value)


def test_attacks_in_a_run_configuration_come_back_from_its_file():
    content = {"data": {"source": "x"}, "evaluation": {"attacks": [{"attack": "square", "options": {"queries": 9}}]}}
    config = parse_config(content, "run.toml")
    assert config.evaluation.attacks == (ProtocolAttack("square", options={"queries": 9}),)
    assert parse_config(tomllib.loads(config.to_toml()), "again") == config


def test_a_run_on_a_preset():
    def evaluation(**settings):
        return parse_config({"data": {"source": "x"}, "evaluation": settings}, "run.toml")

    same = evaluation(base="standard")
    assert same.evaluation.to_dict() == PROTOCOLS["standard"].to_dict()
    assert same.evaluation.hash == PROTOCOLS["standard"].hash
    assert parse_config(tomllib.loads(same.to_toml()), "again") == same
    less = evaluation(base="standard", samples=50).evaluation
    assert less.to_dict() == replace(PROTOCOLS["standard"], name="custom", version=1, samples=50).to_dict()
    with pytest.raises(RobustAugError, match=r"run.toml: 'base' = 'std': use quick or standard"):
        evaluation(base="std")
    with pytest.raises(
        RobustAugError, match=r"unknown key 'evaluation.samles'; the nearest known one is 'evaluation.s"
    ):
        evaluation(base="quick", samles=3)
