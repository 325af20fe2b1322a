"""The numbers of a run, in the form of ``report.json``."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from torch import nn

import robustaug
from robustaug.attacks import ThreatModel
from robustaug.data import ImageSet, Skipped
from robustaug.errors import RobustAugError
from robustaug.evaluation.checks import Check, check_arm
from robustaug.evaluation.corruptions import corruption_errors, mean_corruption_error
from robustaug.evaluation.protocol import Protocol
from robustaug.evaluation.report.verdict import reference_arm
from robustaug.evaluation.results import ArmEvaluation, compare_arms
from robustaug.hardware import describe_hardware, describe_versions

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Arm:
    """One classifier, what was measured of it, and what is known of its training.

    Attributes:
        model: The classifier.
        evaluation: What was measured.
        about: ``description``, ``mix``, ``training`` and ``training_curve`` of its entry in the report, as far as they
            are known.
    """

    model: nn.Module
    evaluation: ArmEvaluation
    about: Mapping[str, Any] = field(default_factory=dict)


def report_content(
    *,
    name: str,
    seed: int,
    data: Mapping[str, Any],
    threat: ThreatModel,
    protocol: Protocol,
    test: ImageSet,
    arms: Mapping[str, Arm],
    style: Mapping[str, Any] | None,
    checks: Sequence[Check] = (),
    attacks: Mapping[str, Any] | None = None,
    groups: Sequence[Mapping[str, Any]] = (),
    balance: Mapping[str, Any] | None = None,
    seconds: Mapping[str, float],
    energy: Mapping[str, Any] | None = None,
    config: Mapping[str, Any],
    created: str | None = None,
) -> dict[str, Any]:
    """What ``report.json`` holds: only what was measured or set.

    Args:
        name: Of the run.
        seed: Of everything random.
        data: The data part; see ``describe_data``.
        threat: The threat model of every attack that states no other.
        protocol: How much was measured.
        test: The test split, for the checks that run the models again.
        arms: The classifiers by name, at least one.
        style: The style part; None if no stylised images were used.
        checks: Of the data.
        attacks: Further attacks beside those of the evaluation, by name.
        groups: Accuracies by class and attribute; see ``experiment.bias``.
        balance: What the balance of the arms did; see there.
        seconds: Wall-clock time by stage.
        energy: What ``EnergyLedger.total`` gives.
        config: The resolved configuration.
        created: When the numbers were measured, ISO 8601; None is now.
    """
    evaluations = {arm_name: arm.evaluation for arm_name, arm in arms.items()}
    first = next(iter(evaluations.values()))
    all_checks = [*checks]
    for arm_name, arm in arms.items():
        all_checks += check_arm(arm_name, arm.model, test, arm.evaluation)
    return {
        "schema_version": SCHEMA_VERSION,
        "name": name,
        "created": created or datetime.now(UTC).isoformat(timespec="seconds"),
        "robustaug": robustaug.__version__,
        "seed": seed,
        "data": dict(data),
        "threat": {"norm": threat.norm, "eps": threat.eps, "bounds": list(threat.bounds)},
        "protocol": {**protocol.to_dict(), "hash": protocol.hash},
        "attacks": {key: dict(parameters) for key, parameters in first.attacks.items()} | dict(attacks or {}),
        "style": style,
        "arms": _against_baseline(
            {
                arm_name: {**arm.about, **arm.evaluation.to_dict(), **_doubts(arm_name, all_checks)}
                for arm_name, arm in arms.items()
            }
        ),
        **{
            name: value for name, value in (("groups", list(groups)), ("balance", balance), ("energy", energy)) if value
        },
        "comparisons": compare_arms(evaluations) if len(evaluations) > 1 else [],
        "checks": [check.to_dict() for check in all_checks],
        "chance": first.chance,
        "versions": describe_versions(),
        "hardware": describe_hardware(),
        "seconds": {**seconds, "total": round(sum(seconds.values()), 3)},
        "config": dict(config),
    }


def _doubts(arm: str, checks: Sequence[Check]) -> dict[str, list[str]]:
    """``failed_checks``: the names of an arm's failed checks and the data's; nothing if all passed."""
    failed = [check.name for check in checks if not check.passed and check.arm in (arm, None)]
    return {"failed_checks": failed} if failed else {}


def _against_baseline(entries: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The arms' entries, with ``corruption_error`` (mCE) against the one that the others are held against."""
    baseline = reference_arm({"arms": entries})
    errors = {arm: corruption_errors(entry["corruptions"]) for arm, entry in entries.items() if "corruptions" in entry}
    for arm in errors.keys() - {baseline} if baseline in errors else ():
        try:
            value = mean_corruption_error(errors[arm], errors[baseline])
            entries[arm]["corruption_error"] = {"value": value, "baseline": baseline}
        except RobustAugError as error:
            entries[arm]["not_measured"] = {**entries[arm].get("not_measured", {}), "corruption_error": str(error)}
    return entries


def training_curve(history: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """The rows of a training history as a report keeps them: every finite number, under its name."""
    return [
        {name: value for name, value in row.items() if isinstance(value, int | float) and math.isfinite(value)}
        for row in history
    ]


def describe_data(
    name: str,
    test: ImageSet,
    skipped: Sequence[Skipped],
    *,
    split: str = "test",
    fingerprint: str | None = None,
    **counts: int,
) -> dict[str, Any]:
    """The data part of a report: ``split`` is what ``test`` really is, ``counts`` are the sizes of the other splits."""
    described = {
        "name": name,
        "classes": list(test.class_names),
        "image_size": list(test.images.shape[2:]),
        **counts,
        "split": split,
        "test": len(test),
        "skipped": [{"path": item.path, "reason": item.reason} for item in skipped],
    }
    return described if fingerprint is None else described | {"fingerprint": fingerprint}
