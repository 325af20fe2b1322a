"""The parts of an evaluation, put together: from predictions and verdicts to accuracies, classes and confusions."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from robustaug.data.imageset import ImageSet
from robustaug.evaluation.parts import Part
from robustaug.evaluation.results import TRANSFER, ArmEvaluation, CurvePoint, StrengthPoint
from robustaug.evaluation.shape_bias import CueConflicts, ShapeBias, decided
from robustaug.evaluation.statistics import Accuracy, accuracy_interval, mean_interval
from robustaug.files import sha256

_NAMED = 5  # classes in a message


def assembled(
    found: Mapping[str, Part],
    test: ImageSet,
    attacked: Tensor,
    stylised: ImageSet | None,
    conflicts: CueConflicts | None,
    attacks: Sequence[str],
    not_measured: Mapping[str, str],
) -> ArmEvaluation:
    """An evaluation out of its parts.

    Args:
        found: the parts by name, in the order of measurement.
        test: the test split.
        attacked: int64 (A,), positions of the attacked samples in it.
        stylised: the restyled images behind ``unseen_style``.
        conflicts: the images behind ``shape_bias``.
        attacks: names of the parts that are attacks, at least one.
        not_measured: reasons by metric.
    """
    subject = test.select(attacked)
    clean = found["clean"]["predictions"]
    predictions, verdicts = {"clean": clean}, {"clean": clean == test.labels}
    sets = {"clean": test}
    unattacked, right = clean[attacked], verdicts["clean"][attacked]
    for name in attacks:
        part = found[name]
        n = len(part["correct"])
        predictions[name] = torch.where(right[:n], part["predictions"], unattacked[:n])
        verdicts |= {name: part["correct"], f"{name}_8bit": part["correct_8bit"]}
    verdicts["noise"] = found["noise"]["correct"]
    surrogates = found["transfer"].tensors if "transfer" in found else {}
    if surrogates:
        verdicts["transfer"] = torch.stack(list(surrogates.values())).all(0)
    if stylised is not None:
        sets["unseen_style"], predictions["unseen_style"] = stylised, found["unseen_style"]["predictions"]
        verdicts["unseen_style"] = predictions["unseen_style"] == stylised.labels
    metrics = {name: accuracy_interval(v) for name, v in verdicts.items() if not name.endswith("_8bit")}
    if "corruptions" in found:
        sets["corruptions"] = test.select(found["corruptions"]["chosen"])
        verdicts["corruptions"] = found["corruptions"]["correct"]
        metrics["corruptions"] = mean_interval(verdicts["corruptions"].double().mean((1, 2)))
    verdicts |= {f"{TRANSFER}{name}": verdict for name, verdict in surrogates.items()}
    curve: tuple[CurvePoint, ...] = ()
    if "eps_curve" in found:
        verdicts["eps_curve"] = found["eps_curve"]["correct"]
        radii = found["eps_curve"]["eps"].tolist()
        curve = tuple(
            CurvePoint(eps, accuracy_interval(correct))
            for eps, correct in zip(radii, verdicts["eps_curve"], strict=True)
        )
    strengths: tuple[StrengthPoint, ...] = ()
    if "style_strength" in found:
        part = found["style_strength"]
        verdicts["style_strength"] = part["correct"]
        strengths = tuple(
            StrengthPoint(strength, accuracy_interval(correct))
            for strength, correct in zip(part.facts["parameters"]["strengths"], part["correct"], strict=True)
        )
    bias: ShapeBias | str = ""
    if conflicts is not None:
        predictions["shape_bias"] = found["shape_bias"]["predictions"]
        bias = decided(predictions["shape_bias"], conflicts, test, verdicts["clean"])
    searched = [name for name in attacks if name != "fgsm"]
    staged = {name: found[name] for name in attacks if "broken_by" in found[name].tensors}
    counts = {name: len(verdict) for name, verdict in verdicts.items()} | {
        "eps_curve": verdicts["eps_curve"].shape[1] if curve else 0,
        "minimal": len(found["minimal"]["eps"]) if "minimal" in found else 0,
        "style_strength": verdicts["style_strength"].shape[1] if strengths else 0,
        "shape_bias": 0 if conflicts is None else len(conflicts.images),
    }
    return ArmEvaluation(
        metrics=metrics,
        per_class={name: _per_class(verdicts[name], sets.get(name, subject)) for name in ("clean", *searched)},
        eps_curve=curve,
        verdicts=verdicts,
        predictions=predictions,
        attacked=attacked,
        excess={name: found[name]["excess"] for name in attacks},
        adversarial=found["pgd" if "pgd" in attacks else attacks[0]]["images"],
        samples={name: _fingerprint(sets.get(name, subject), counts[name]) for name in verdicts},
        attacks={
            name: {**part.facts.get("parameters", {}), "samples": counts[name]}
            for name, part in found.items()
            if name != "clean"
        },
        chance=1 / len(test.class_names),
        forward_passes=sum(part.forward_passes for part in found.values()),
        seconds=sum(part.seconds for part in found.values()),
        stages={name: _stages(part) for name, part in staged.items()},
        broken_by={name: part["broken_by"] for name, part in staged.items()},
        confusion={name: _confusion(predictions[name], subject) for name in searched},
        distances=found["minimal"]["eps"] if "minimal" in found else torch.zeros(0),
        not_measured={**not_measured, **({"shape_bias": bias} if bias and isinstance(bias, str) else {})}
        | _missing_classes(test),
        style_strength=strengths,
        shape_bias=bias if isinstance(bias, ShapeBias) else None,
    )


def _missing_classes(test: ImageSet) -> dict[str, str]:
    counts = torch.bincount(test.labels, minlength=len(test.class_names)).tolist()
    missing = [name for name, count in zip(test.class_names, counts, strict=True) if not count]
    if not missing:
        return {}
    more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    return {"per_class": f"no test image of class {', '.join(missing[:_NAMED])}{more}"}


def _per_class(correct: Tensor, samples: ImageSet) -> dict[str, Accuracy]:
    """Accuracy by class, of the first samples if there are more of them than verdicts."""
    labels = samples.labels[: len(correct)]
    members = {name: labels == label for label, name in enumerate(samples.class_names)}
    return {name: accuracy_interval(correct[rows]) for name, rows in members.items() if rows.any()}


def _stages(part: Part) -> dict[str, Accuracy]:
    broken_by = part["broken_by"]
    names = part.facts["stages"]
    return {name: accuracy_interval((broken_by < 0) | (broken_by > stage)) for stage, name in enumerate(names)}


def _confusion(predictions: Tensor, samples: ImageSet) -> Tensor:
    """How many of the first samples of each class (row) were given each class (column), int64 (K, K)."""
    classes = len(samples.class_names)
    pairs = samples.labels[: len(predictions)] * classes + predictions
    return torch.bincount(pairs, minlength=classes**2).view(classes, classes)


def _fingerprint(samples: ImageSet, count: int) -> str:
    return sha256("\n".join(samples.keys[:count]).encode())[:16]
