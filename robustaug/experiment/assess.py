"""Measure one classifier, ours or anybody's, and report on it."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from robustaug.attacks import ThreatModel
from robustaug.attacks.autoattack_state import identity_of
from robustaug.data import ImageSet, Skipped
from robustaug.data.attributes import Attributes
from robustaug.data.jobs import JobFolder
from robustaug.data.splits import fingerprint
from robustaug.evaluation.groups import describe_groups
from robustaug.evaluation.protocol import Protocol
from robustaug.evaluation.report import build_report
from robustaug.evaluation.transfer import Surrogate
from robustaug.experiment.config import StyleSection
from robustaug.experiment.energy import EnergyLedger
from robustaug.experiment.measure import measured
from robustaug.experiment.outcome import Arm, describe_data, report_content
from robustaug.experiment.samples import write_adversarial_samples, write_conflict_samples, write_stylised_samples
from robustaug.experiment.styled_test import styled_test
from robustaug.experiment.subject import Subject, about, arm_name, check_subject
from robustaug.files import write_json
from robustaug.hardware import default_device
from robustaug.style.bank import StyleBank


def assess(
    checkpoint: Subject,
    test: ImageSet,
    *,
    name: str,
    split: str,
    skipped: tuple[Skipped, ...],
    threat: ThreatModel,
    protocol: Protocol,
    bank: StyleBank,
    out: Path,
    surrogates: Mapping[str, nn.Module] | None = None,
    attributes: Attributes | None = None,
    seed: int = 0,
    given: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Evaluate a classifier and write ``report.json`` and ``report.html``; finished stages are not done again.

    Unseen style is measured with those paintings of the bank that the checkpoint was not trained with.

    Args:
        checkpoint: The classifier; its images have been checked (``load_subject``).
        test: What to measure on.
        name: Of the data.
        split: Which part of it these images are.
        skipped: Files of the data that could not be used.
        threat: The threat model.
        protocol: How much is measured.
        bank: Paintings to choose unseen ones from.
        out: A new or empty folder, or one of this same evaluation.
        surrogates: Other classifiers by name, whose adversarial images are tried on this one where the protocol has
            ``transfer_samples``.
        attributes: Of the images, for accuracies by group.
        seed: Of everything random.
        given: Options of the command line by name (``--styles``), for the command that measures the same again; they
            change nothing.

    Returns:
        The report's content.

    Raises:
        RobustAugError: attributes that do not fit the images, a folder of something else, no painting that is unseen, a
            broken model.
    """
    arm = arm_name(checkpoint)
    unseen = bank.without(checkpoint.extra.get("paintings", ()))
    config: dict[str, Any] = {
        "checkpoint": str(checkpoint.path.resolve()),
        "checkpoint_sha256": checkpoint.sha256,
        "data": name,
        "split": split,
        "fingerprint": fingerprint(test.identities, test.sha256),
        "image_size": list(test.images.shape[2:]),
        "paintings": [painting.sha256 for painting in unseen.paintings],
        "seed": seed,
        "threat": asdict(threat),
        "evaluation": protocol.to_dict(),
        "surrogates": {name: identity_of(model, {}, {})["the model"] for name, model in (surrogates or {}).items()},
    }
    if attributes is not None:
        attributes.check(test.keys)
        config["attributes"] = attributes.sha256
    JobFolder(out, config)  # claims the folder, or refuses one of something else
    with EnergyLedger(out / "energy.json") as energy:
        styled = styled_test(out / "variants", test, protocol, unseen, StyleSection(), seed)
        evaluation = measured(
            out / "arms" / arm,
            checkpoint.model,
            test,
            threat=threat,
            protocol=protocol,
            styled=styled,
            surrogates={name: Surrogate(model.to(default_device())) for name, model in (surrogates or {}).items()},
            seed=seed,
        )
    write_adversarial_samples(out / "samples", test, threat, {arm: evaluation})
    write_stylised_samples(out / "samples", test, styled.unseen)
    write_conflict_samples(out / "samples", test, styled.conflicts, {arm: evaluation})
    content = report_content(
        name=f"{arm} on {name}",
        seed=seed,
        data=describe_data(name, test, skipped, split=split, fingerprint=config["fingerprint"]),
        threat=threat,
        protocol=protocol,
        test=test,
        arms={arm: Arm(checkpoint.model, evaluation, about(checkpoint))},
        style={
            "held_out_paintings": [painting.name for painting in unseen.paintings],
            "test_variants": len(styled.unseen.images),
        },
        checks=check_subject(checkpoint, test),
        groups=describe_groups({arm: evaluation}, test, {} if attributes is None else attributes.of(test), None),
        energy=energy.total(),
        seconds={"evaluation": round(evaluation.seconds, 3)},
        config=config | ({"given": dict(given)} if given else {}),
    )
    write_json(out / "report.json", content)
    build_report(out)
    return content
