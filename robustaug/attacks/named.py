"""Attacks by name, for the command line and for configurations."""

import difflib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from robustaug.attacks.apgd import APGD
from robustaug.attacks.attack import Attack
from robustaug.attacks.autoattack import AutoAttack
from robustaug.attacks.fab import FAB
from robustaug.attacks.fgsm import FGSM, RFGSM
from robustaug.attacks.foolbox_bridge import from_foolbox
from robustaug.attacks.mifgsm import MIFGSM
from robustaug.attacks.pgd import PGD
from robustaug.attacks.square import Square
from robustaug.attacks.threat import ThreatModel
from robustaug.errors import RobustAugError

ATTACKS: dict[str, tuple[type[Attack], dict[str, Any]]] = {
    "fgsm": (FGSM, {}),
    "rfgsm": (RFGSM, {}),
    "pgd": (PGD, {}),
    "mifgsm": (MIFGSM, {}),
    "apgd-ce": (APGD, {}),
    "apgd-dlr": (APGD, {"loss": "dlr"}),
    "apgd-t": (APGD, {"loss": "dlr", "targets_tried": 9}),
    "fab-t": (FAB, {}),
    "square": (Square, {}),
    "autoattack": (AutoAttack, {}),
}
_FOOLBOX = "foolbox:"


def build_attack(name: str, threat: ThreatModel, options: Mapping[str, Any]) -> Attack:
    """An attack by name: one of ``ATTACKS``, or ``foolbox:CLASS`` for any attack of Foolbox.

    Args:
        name: for example ``"pgd"``, ``"autoattack"`` or ``"foolbox:L2DeepFoolAttack"``.
        threat: what the attacker may do.
        options: the attack's own parameters by name, for example ``{"steps": 100}``.

    Raises:
        RobustAugError: an unknown name or option, or a value that the attack refuses.
    """
    if name.startswith(_FOOLBOX):
        return from_foolbox(name.removeprefix(_FOOLBOX), threat, **options)
    if name not in ATTACKS:
        near = difflib.get_close_matches(name, ATTACKS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(ATTACKS)}, or foolbox:CLASS"
        raise RobustAugError(f"attack {name!r} is unknown; {hint}")
    kind, preset = ATTACKS[name]
    known = [field.name for field in fields(kind) if field.name != "threat"]
    for option, value in options.items():
        if option not in known:
            raise RobustAugError(f"{name} has no option {option!r}; it takes {', '.join(known)}")
        default = next(field.default for field in fields(kind) if field.name == option)
        if isinstance(default, bool | int) and type(value) is not type(default):
            raise RobustAugError(f"{name}: {option} is {value!r}; it must be like {default!r}")
    return kind(threat, **{**preset, **options})
