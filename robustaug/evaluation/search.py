"""The gradient attack behind ``pgd``, the curve, the smallest distances and the checks: PGD, and in l1 Auto-PGD.

In l1 PGD's sparse steps of one size are a weak search (Croce and Hein 2021, "Mind the box"). Of four small networks
trained for it, AutoAttack left 28% to 41%; PGD with 20 steps left 73% to 89%, where a single step left 76% to 80%;
Auto-PGD as below left 33% to 46%, and 29% to 43% with a second start.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from robustaug.attacks import APGD, PGD, ThreatModel
from robustaug.hardware import Precision

Search = PGD | APGD


def search(
    threat: ThreatModel, steps: int, restarts: int = 1, *, precision: Precision = "float32", early_exit: bool = False
) -> Search:
    """The search of a norm.

    Args:
        threat: norm, eps, bounds.
        steps: gradient steps. Auto-PGD gets 5 for 2, since in l1 it spends 3 of 5 in larger balls.
        restarts: random starts; a sample keeps its worst.
        precision: of the gradients.
        early_exit: a sample leaves with the first iterate that breaks it, as Auto-PGD's always do.
    """
    if threat.norm == "l1":
        return APGD(threat, precision=precision, steps=5 * steps // 2, restarts=restarts)
    return PGD(threat, precision=precision, steps=steps, restarts=restarts, early_exit=early_exit)


def search_of(parameters: Mapping[str, Any]) -> Search:
    """One run of the search that an evaluation states."""
    low, high = parameters["bounds"]
    threat = ThreatModel(parameters["norm"], parameters["eps"], bounds=(low, high))
    if parameters["attack"] == "APGD":
        return APGD(threat, precision=parameters["precision"], steps=parameters["steps"])
    kept = {key: parameters[key] for key in ("precision", "steps", "step_size") if key in parameters}
    return PGD(threat, **kept)


def longer(attack: Search, **changes: Any) -> Search:
    """Twice the steps, with other changes; a sample leaves with the first iterate that breaks it."""
    if isinstance(attack, PGD):
        return replace(attack, steps=2 * attack.steps, early_exit=True, **changes)
    return replace(attack, steps=2 * attack.steps, **changes)


def larger(attack: Search) -> Search:
    """Twice the radius, and steps of twice the size where it is stated."""
    assert not isinstance(attack.threat.eps, tuple)  # an evaluation is at one eps
    threat = replace(attack.threat, eps=2 * attack.threat.eps)
    if isinstance(attack, PGD) and attack.step_size is not None:
        return replace(attack, threat=threat, step_size=2 * attack.step_size)
    return replace(attack, threat=threat)
