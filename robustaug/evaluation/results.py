"""What an evaluation found, on disk and side by side with other arms."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from robustaug.errors import RobustAugError
from robustaug.evaluation.corruptions import CORRUPTIONS
from robustaug.evaluation.statistics import Accuracy, accuracy_interval, holm, mcnemar
from robustaug.files import write_bytes

COMPARED_METRICS = ("clean", "pgd", "unseen_style")
_KEY = "robustaug_evaluation"


@dataclass(frozen=True)
class CurvePoint:
    """Accuracy under attack at one radius."""

    eps: float
    accuracy: Accuracy

    def to_dict(self) -> dict[str, float]:
        """``{"eps", "value", "low", "high", "n"}``, as reports have it."""
        return {"eps": self.eps, **self.accuracy.to_dict()}


@dataclass(frozen=True)
class ArmEvaluation:
    """All that was measured of one classifier; every tensor is on the CPU.

    Attributes:
        metrics: accuracy by metric: ``clean``, ``fgsm``, ``pgd``, ``noise`` and, where stylised images were given,
            ``unseen_style``; with ``corruption_samples``, ``corruptions``, the mean over corruptions and severities.
            Attacked samples count as correct only if they are also correct unattacked.
        per_class: for ``clean`` and ``pgd``: accuracy by class name; classes without a sample are left out.
        eps_curve: accuracy against eps, from 0 to where it reaches chance.
        verdicts: bool by metric, whether each sample is correct: (T,) for the T test images under ``clean``, (S,) for
            the S stylised ones under ``unseen_style``, (A,) for the A attacked ones under the others. ``pgd_8bit`` is
            the verdict on PGD's images after rounding to 8 bits. ``corruptions`` is (C, 15, V) for C images, the
            corruptions in the order of ``CORRUPTIONS`` and V severities.
        predictions: int64, the predicted classes behind ``clean``, ``fgsm``, ``pgd`` and ``unseen_style``.
        attacked: int64 (A,), positions of the attacked samples in the test split.
        pgd_excess: float32 (A,), how far each PGD image is outside its ball or the bounds; 0 inside.
        adversarial: float32 (P, 3, H, W), the PGD images of the first P attacked samples, for pictures. Where the
            unattacked image was already wrong it is that image.
        samples: for each verdict, a hash of the samples' keys in order: equal hashes, same samples.
        attacks: the parameters behind each attacked metric and the curve.
        chance: accuracy of guessing, 1 / K.
        forward_passes: images sent through the model in total.
        seconds: wall-clock time.
    """

    metrics: Mapping[str, Accuracy]
    per_class: Mapping[str, Mapping[str, Accuracy]]
    eps_curve: tuple[CurvePoint, ...]
    verdicts: Mapping[str, Tensor]
    predictions: Mapping[str, Tensor]
    attacked: Tensor
    pgd_excess: Tensor
    adversarial: Tensor
    samples: Mapping[str, str]
    attacks: Mapping[str, Mapping[str, Any]]
    chance: float
    forward_passes: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Parts of an arm's entry in ``report.json``: ``metrics``, ``per_class``, ``eps_curve``, ``corruptions``."""
        entry: dict[str, Any] = {
            "metrics": {name: accuracy.to_dict() for name, accuracy in self.metrics.items()},
            "per_class": {
                metric: {name: accuracy.to_dict() for name, accuracy in classes.items()}
                for metric, classes in self.per_class.items()
            },
            "eps_curve": [point.to_dict() for point in self.eps_curve],
        }
        if "corruptions" in self.verdicts:
            entry["corruptions"] = self._by_corruption()
        return entry

    def _by_corruption(self) -> dict[str, list[dict[str, float]]]:
        """By corruption: ``{"severity", "value", "low", "high", "n"}`` at each severity."""
        severities = self.attacks["corruptions"]["severities"]
        by_corruption = self.verdicts["corruptions"].permute(1, 2, 0)
        return {
            name: [
                {"severity": severity, **accuracy_interval(correct).to_dict()}
                for severity, correct in zip(severities, verdicts, strict=True)
            ]
            for name, verdicts in zip(CORRUPTIONS, by_corruption, strict=True)
        }


def save_evaluation(path: Path, evaluation: ArmEvaluation) -> None:
    """Write everything into one safetensors file, atomically.

    Raises:
        RobustAugError: the file cannot be written.
    """
    tensors = {
        "attacked": evaluation.attacked,
        "pgd_excess": evaluation.pgd_excess,
        "adversarial": evaluation.adversarial,
        **{f"verdicts.{name}": tensor for name, tensor in evaluation.verdicts.items()},
        **{f"predictions.{name}": tensor for name, tensor in evaluation.predictions.items()},
    }
    plain = evaluation.to_dict() | {
        "samples": dict(evaluation.samples),
        "attacks": {name: dict(parameters) for name, parameters in evaluation.attacks.items()},
        "chance": evaluation.chance,
        "forward_passes": evaluation.forward_passes,
        "seconds": evaluation.seconds,
    }
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    write_bytes(Path(path), safetensors.torch.save(contiguous, metadata={_KEY: json.dumps(plain)}))


def load_evaluation(path: Path) -> ArmEvaluation:
    """Read what ``save_evaluation`` wrote.

    Raises:
        RobustAugError: the file is missing, damaged, or something else.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            plain = json.loads((file.metadata() or {})[_KEY])
            plain.pop("corruptions", None)  # counted again from the verdicts
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        verdicts, predictions = (
            {name.removeprefix(group): tensors[name] for name in tensors if name.startswith(group)}
            for group in ("verdicts.", "predictions.")
        )
        return ArmEvaluation(
            metrics={name: Accuracy(**entry) for name, entry in plain.pop("metrics").items()},
            per_class={
                metric: {name: Accuracy(**entry) for name, entry in classes.items()}
                for metric, classes in plain.pop("per_class").items()
            },
            eps_curve=tuple(CurvePoint(point.pop("eps"), Accuracy(**point)) for point in plain.pop("eps_curve")),
            verdicts=verdicts,
            predictions=predictions,
            attacked=tensors["attacked"],
            pgd_excess=tensors["pgd_excess"],
            adversarial=tensors["adversarial"],
            **plain,
        )
    except (OSError, safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise RobustAugError(f"{path} is no whole evaluation ({error}); delete it and evaluate again") from error


def compare_arms(evaluations: Mapping[str, ArmEvaluation]) -> list[dict[str, Any]]:
    """McNemar's test of every pair of arms on every compared metric that both have, Holm-corrected over all rows.

    Returns:
        Rows of ``{"metric", "arm_a", "arm_b", "only_a", "only_b", "n", "p_value", "p_value_holm"}``.

    Raises:
        RobustAugError: two arms were evaluated on different samples.
    """
    rows: list[dict[str, Any]] = []
    for metric in COMPARED_METRICS:
        for (arm_a, a), (arm_b, b) in combinations(evaluations.items(), 2):
            if metric not in a.metrics or metric not in b.metrics:
                continue
            if a.samples[metric] != b.samples[metric]:
                raise RobustAugError(
                    f"arms {arm_a} and {arm_b} were evaluated on different samples for {metric}; evaluate both again "
                    "with one seed, protocol and test split"
                )
            test = mcnemar(a.verdicts[metric], b.verdicts[metric])
            row = {"metric": metric, "arm_a": arm_a, "arm_b": arm_b, "n": a.metrics[metric].n}
            rows.append(row | test._asdict())
    for row, adjusted in zip(rows, holm([row["p_value"] for row in rows]), strict=True):
        row["p_value_holm"] = adjusted
    return rows
