"""Attacks by name are the classes, with their options checked."""

import pytest

from robustaug.attacks import APGD, FAB, FGSM, MIFGSM, PGD, RFGSM, AutoAttack, Square, ThreatModel, build_attack
from robustaug.attacks.named import ATTACKS
from robustaug.errors import RobustAugError

THREAT = ThreatModel("l2", 0.5)


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("fgsm", {"loss": "margin"}, FGSM(THREAT, loss="margin")),
        ("rfgsm", {"alpha_fraction": 0.3}, RFGSM(THREAT, alpha_fraction=0.3)),
        (
            "pgd",
            {"steps": 7, "step_size": 0.1, "early_exit": True},
            PGD(THREAT, steps=7, step_size=0.1, early_exit=True),
        ),
        ("pgd", {"step_size": "8/255"}, PGD(THREAT, step_size=8 / 255)),
        ("mifgsm", {"decay": 0.5}, MIFGSM(THREAT, decay=0.5)),
        ("apgd-ce", {}, APGD(THREAT)),
        ("apgd-dlr", {"eot_samples": 3}, APGD(THREAT, loss="dlr", eot_samples=3)),
        ("apgd-t", {}, APGD(THREAT, loss="dlr", targets_tried=9)),
        ("fab-t", {"steps": 20}, FAB(THREAT, steps=20)),
        ("square", {"queries": 100}, Square(THREAT, queries=100)),
        ("autoattack", {"version": "rand", "precision": "auto"}, AutoAttack(THREAT, "auto", version="rand")),
    ],
)
def test_a_name_is_its_class(name: str, options: dict[str, object], expected: object) -> None:
    assert build_attack(name, THREAT, options) == expected


def test_every_name_can_be_built() -> None:
    for name in ATTACKS:
        assert build_attack(name, THREAT, {}).threat == THREAT


def test_foolbox_by_class_name() -> None:
    attack = build_attack("foolbox:L2DeepFoolAttack", THREAT, {"steps": 3})
    assert attack.parameters()["attack"].endswith("L2DeepFoolAttack")
    assert attack.parameters()["steps"] == 3


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("pdg", {}, "attack 'pdg' is unknown; did you mean 'pgd'?"),
        ("xyzzy", {}, "use one of fgsm, rfgsm, pgd, .* or foolbox:CLASS"),
        ("fgsm", {"steps": 5}, "fgsm has no option 'steps'; it takes precision, loss, eot_samples, compiled"),
        ("pgd", {"steps": "many"}, "pgd: steps is 'many'; it must be like 40"),
        ("pgd", {"early_exit": 1}, "pgd: early_exit is 1; it must be like False"),
        ("pgd", {"steps": 0}, "steps is 0"),
        ("foolbox:L2DeepFolAttack", {}, "L2DeepFoolAttack"),
    ],
)
def test_bad_names_and_options_get_one_clear_line(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(RobustAugError, match=message) as caught:
        build_attack(name, THREAT, options)
    assert "\n" not in str(caught.value)
