"""Pictures for the report: what the attack changed, and what the style transfer made."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from robustaug.attacks import ThreatModel
from robustaug.data import ImageSet, write_png
from robustaug.evaluation.results import ArmEvaluation
from robustaug.evaluation.shape_bias import CueConflicts
from robustaug.experiment.styled_test import Restyled
from robustaug.files import write_json

_PER_ARM = 3
_STYLISED = 6
_CONFLICTS = 2  # of each decision
_THUMBNAIL = 160


def write_adversarial_samples(
    folder: Path, test: ImageSet, threat: ThreatModel, arms: Mapping[str, ArmEvaluation]
) -> None:
    """Write ``adversarial.json`` and its PNG files: original, amplified perturbation, adversarial image.

    The same samples are shown for every arm, of different classes; and those of the smallest and the largest distance
    to an adversarial image, where distances were measured.
    """
    same = _to_show(test, list(arms.values()))
    extremes = {name: _extremes(arm) for name, arm in arms.items()}
    shown = {name: list(dict.fromkeys([*same, *extremes[name]])) for name in arms}
    largest = max(
        float((arm.adversarial[shown[name]] - test.select(arm.attacked[shown[name]]).float_images()).abs().max())
        for name, arm in arms.items()
    )
    amplification = max(1, int(0.5 / largest + 1e-3)) if largest > 0 else 1  # the largest change just fills the range
    rows = []
    for name, arm in arms.items():
        attack = "pgd" if "pgd" in arm.excess else next(iter(arm.excess))  # the one behind ``adversarial``
        for place in shown[name]:
            row = int(arm.attacked[place])
            original, adversarial = test.images[row] / 255, arm.adversarial[place]
            pictures = {
                "original": original,
                "perturbation": (0.5 + amplification * (adversarial - original)).clamp(0, 1),
                "adversarial": adversarial,
            }
            predictions = {
                "prediction_before": test.class_names[int(arm.predictions["clean"][row])],
                "prediction_after": test.class_names[int(arm.predictions[attack][place])],
            }
            about = {"arm": name, "key": test.keys[row], "label": test.class_names[int(test.labels[row])]}
            about |= extremes[name].get(place, {})
            rows.append(about | predictions | _write(folder, f"adversarial-{name}-{place}", pictures))
    content = {"norm": threat.norm, "eps": threat.eps, "amplification": amplification, "rows": rows}
    write_json(folder / "adversarial.json", content)


def write_stylised_samples(folder: Path, test: ImageSet, restyled: Restyled) -> None:
    """Write ``stylised.json`` and its PNG files: content, painting, stylised image, for a few classes."""
    content_of = {key: row for row, key in enumerate(test.keys)}
    painting_of = {painting.sha256: painting for painting in restyled.paintings}
    labels = restyled.images.labels
    chosen = [int((labels == label).nonzero()[0]) for label in sorted(set(labels.tolist()))][:_STYLISED]
    rows = []
    for place in chosen:
        key, painting = restyled.images.keys[place], painting_of[restyled.styles[place]]
        pictures = {
            "content": test.images[content_of[key]],
            "painting": _thumbnail(painting.image),
            "stylised": restyled.images.images[place],
        }
        about = {"key": key, "label": test.class_names[int(labels[place])], "style": painting.name.replace("_", " ")}
        rows.append(about | _write(folder, f"stylised-{place}", pictures))
    write_json(folder / "stylised.json", {"rows": rows})


def write_conflict_samples(
    folder: Path, test: ImageSet, conflicts: CueConflicts | None, arms: Mapping[str, ArmEvaluation]
) -> None:
    """Write ``conflicts.json`` and its PNG files: content, style source, conflict image, and each arm's prediction.

    A few of each decision (shape, texture, neither) of each arm, of those whose content and style source it has right.
    """
    if conflicts is None:
        return
    names = test.class_names
    shapes, textures = test.labels[conflicts.contents], test.labels[conflicts.styles]
    rows = []
    for name, arm in arms.items():
        predictions, right = arm.predictions["shape_bias"], arm.verdicts["clean"]
        counts = right[conflicts.contents] & right[conflicts.styles]
        by_shape, by_texture = predictions == shapes, predictions == textures
        decisions = {"shape": by_shape, "texture": by_texture, "neither": ~(by_shape | by_texture)}
        for decision, members in decisions.items():
            for place in (counts & members).nonzero().flatten()[:_CONFLICTS].tolist():
                content, style = int(conflicts.contents[place]), int(conflicts.styles[place])
                pictures = {
                    "content": test.images[content],
                    "texture": test.images[style],
                    "conflict": conflicts.images.images[place],
                }
                about = {"arm": name, "key": test.keys[content], "label": names[int(shapes[place])]}
                about |= {"texture_key": test.keys[style], "texture_label": names[int(textures[place])]}
                about |= {"prediction": names[int(predictions[place])], "decision": decision}
                rows.append(about | _write(folder, f"conflict-{place}", pictures))
    write_json(folder / "conflicts.json", {"rows": rows})


def _to_show(test: ImageSet, arms: Sequence[ArmEvaluation]) -> list[int]:
    """Places of a few attacked samples of different classes, first those that more arms classify correctly unattacked.

    Where an arm is wrong from the start there is nothing to attack and nothing to see.
    """
    rows = arms[0].attacked[: len(arms[0].adversarial)]
    right = torch.stack([arm.verdicts["clean"][rows] for arm in arms]).sum(0)
    of_class: dict[int, int] = {}
    for place in right.argsort(descending=True, stable=True).tolist():
        of_class.setdefault(int(test.labels[rows[place]]), place)
    chosen = sorted(of_class.values(), key=lambda place: -int(right[place]))[:_PER_ARM]
    return sorted(chosen, key=lambda place: int(test.labels[rows[place]]))


def _extremes(arm: ArmEvaluation) -> dict[int, dict[str, Any]]:
    """By place, what the report says of the least and the most robust of the samples whose pictures were kept.

    Only where a distance was looked for and the unattacked image is right; ``smallest_eps`` is absent where nothing
    broke the image.
    """
    distances = arm.distances[: len(arm.adversarial)]
    right = (distances > 0).nonzero().flatten()
    if len(right) < 2:
        return {}
    ends = {"least": int(right[distances[right].argmin()]), "most": int(right[distances[right].argmax()])}
    return {
        place: {"robustness": f"{end} robust of {len(right)}"}
        | ({"smallest_eps": float(distances[place])} if distances[place].isfinite() else {})
        for end, place in ends.items()
    }


def _write(folder: Path, prefix: str, pictures: Mapping[str, Tensor]) -> dict[str, Any]:
    for kind, picture in pictures.items():
        write_png(folder / f"{prefix}-{kind}.png", picture)
    return {kind: f"{prefix}-{kind}.png" for kind in pictures}


def _thumbnail(image: Tensor) -> Tensor:
    scale = min(1.0, _THUMBNAIL / max(image.shape[1:]))
    size = [max(1, round(scale * side)) for side in image.shape[1:]]
    return F.interpolate(image[None], size, mode="bilinear", antialias=True)[0]
