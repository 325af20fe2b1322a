"""What an evaluation found, on disk and side by side with other arms."""

import json
import math
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
from robustaug.evaluation.shape_bias import ShapeBias
from robustaug.evaluation.statistics import Accuracy, accuracy_interval, holm, mcnemar
from robustaug.files import write_bytes

COMPARED_METRICS = ("clean", "pgd", "autoattack", "unseen_style")
TRANSFER = "transfer:"  # before a surrogate's name
_KEY = "robustaug_evaluation"
_GROUPS = ("verdicts", "predictions", "excess", "broken_by", "confusion")
_TENSORS = ("attacked", "adversarial", "distances")
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_CONFUSION_CLASSES = 100  # more make a matrix that no report can hold; the evaluation has it


@dataclass(frozen=True)
class CurvePoint:
    """Accuracy under attack at one radius."""

    eps: float
    accuracy: Accuracy

    def to_dict(self) -> dict[str, float]:
        """``{"eps", "value", "low", "high", "n"}``, as reports have it."""
        return {"eps": self.eps, **self.accuracy.to_dict()}


@dataclass(frozen=True)
class StrengthPoint:
    """Accuracy on test images restyled at one strength, in styles that training never saw."""

    strength: float
    accuracy: Accuracy

    def to_dict(self) -> dict[str, float]:
        """``{"strength", "value", "low", "high", "n"}``, as reports have it."""
        return {"strength": self.strength, **self.accuracy.to_dict()}


@dataclass(frozen=True)
class ArmEvaluation:
    """All that was measured of one classifier; every tensor is on the CPU.

    A protocol's further attacks stand beside ``pgd`` under the names of their metrics, such as ``autoattack``; each is
    on all attacked samples or the first of them.

    Attributes:
        metrics: accuracy by metric: ``clean``, ``fgsm``, ``pgd``, ``noise``, the protocol's further attacks; where they
            were measured, ``transfer`` (the worst surrogate's images count), ``unseen_style`` and ``corruptions``, the
            mean over corruptions and severities. Attacked samples count as correct only if they are also correct
            unattacked.
        per_class: accuracy by class name, for ``clean`` and each attack but FGSM; without classes that have no sample.
        eps_curve: accuracy against eps, from 0 to where it reaches chance.
        verdicts: bool by metric, whether each sample is correct: (T,) for the T test images under ``clean``, (S,) for
            the S stylised ones under ``unseen_style``, (A,) for the A attacked ones (or fewer: the first) under the
            others. ``NAME_8bit`` is the verdict on an attack's images after rounding to 8 bits, ``transfer:NAME`` that
            on one surrogate's. ``corruptions`` is (C, 15, V) for C images, the corruptions in the order of
            ``CORRUPTIONS`` and V severities; ``eps_curve`` is (P, Q) for P radii and Q images, ``style_strength``
            likewise for strengths.
        predictions: int64, the predicted classes behind ``clean``, ``unseen_style``, ``shape_bias`` and each attack.
        attacked: int64 (A,), positions of the attacked samples in the test split.
        excess: float32 by attack, how far each adversarial image is outside its ball or the bounds; 0 inside.
        adversarial: float32 (P, 3, H, W), the images of the first P attacked samples under PGD, or the first attack
            where that was not measured, for pictures. Where the unattacked image was already wrong it is that image.
        samples: for each verdict, a hash of the samples' keys in order: equal hashes, same samples.
        attacks: the parameters behind each attacked metric and the curve.
        chance: accuracy of guessing, 1 / K.
        forward_passes: images sent through the model in total.
        seconds: wall-clock time.
        stages: accuracy after each stage of each AutoAttack, the first of which is ``clean``.
        broken_by: int64 by AutoAttack, the stage that broke each sample: 0 wrong from the start, -1 none.
        confusion: int64 (K, K) by attack: how many attacked samples of each class (row) were given each class (column).
        distances: float32 (M,), the smallest eps that broke each of the first M attacked samples: 0 where the
            unattacked image was already wrong, infinite where nothing broke it. Empty if that was not measured.
        not_measured: why the protocol's other metrics are absent; under ``per_class``, the classes without test image.
        style_strength: accuracy against the strength of unseen styles, from 0 (clean) to 1; empty if not measured.
        shape_bias: what it decided where shape and texture contradict each other; None if not measured.
    """

    metrics: Mapping[str, Accuracy]
    per_class: Mapping[str, Mapping[str, Accuracy]]
    eps_curve: tuple[CurvePoint, ...]
    verdicts: Mapping[str, Tensor]
    predictions: Mapping[str, Tensor]
    attacked: Tensor
    excess: Mapping[str, Tensor]
    adversarial: Tensor
    samples: Mapping[str, str]
    attacks: Mapping[str, Mapping[str, Any]]
    chance: float
    forward_passes: int
    seconds: float
    stages: Mapping[str, Mapping[str, Accuracy]]
    broken_by: Mapping[str, Tensor]
    confusion: Mapping[str, Tensor]
    distances: Tensor
    not_measured: Mapping[str, str]
    style_strength: tuple[StrengthPoint, ...] = ()
    shape_bias: ShapeBias | None = None

    @property
    def pgd_excess(self) -> Tensor:
        """How far each PGD image is outside its ball or the bounds."""
        return self.excess["pgd"]

    def to_dict(self) -> dict[str, Any]:
        """An arm's results in ``report.json``; what was not measured is left out.

        ``metrics``, ``per_class``, ``worst_class``, ``confusion``, ``stages``, ``eps_curve``, ``transfer``,
        ``distances``, ``corruptions``, ``style_strength``, ``shape_bias``, ``not_measured``.
        """
        entry: dict[str, Any] = {
            "metrics": _plain(self.metrics),
            "per_class": {metric: _plain(classes) for metric, classes in self.per_class.items()},
            "worst_class": {metric: _worst(classes) for metric, classes in self.per_class.items()},
            "eps_curve": [point.to_dict() for point in self.eps_curve],
        }
        surrogates = {name.removeprefix(TRANSFER): v for name, v in self.verdicts.items() if name.startswith(TRANSFER)}
        optional = {
            "confusion": {
                metric: counts.tolist()
                for metric, counts in self.confusion.items()
                if len(counts) <= _CONFUSION_CLASSES
            },
            "stages": {metric: _plain(stages) for metric, stages in self.stages.items()},
            "transfer": {name: accuracy_interval(verdict).to_dict() for name, verdict in surrogates.items()},
            "distances": _distances(self.distances) if len(self.distances) else {},
            "corruptions": self._by_corruption() if "corruptions" in self.verdicts else {},
            "style_strength": [point.to_dict() for point in self.style_strength],
            "shape_bias": self.shape_bias.to_dict() if self.shape_bias else {},
            "not_measured": dict(self.not_measured),
        }
        return entry | {name: value for name, value in optional.items() if value}

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


def _plain(accuracies: Mapping[str, Accuracy]) -> dict[str, dict[str, float]]:
    return {name: accuracy.to_dict() for name, accuracy in accuracies.items()}


def _worst(classes: Mapping[str, Accuracy]) -> dict[str, Any]:
    """The class of the lowest accuracy, the first of several: ``{"class", "value", "low", "high", "n"}``."""
    name = min(classes, key=lambda each: classes[each].value)
    return {"class": name, **classes[name].to_dict()}


def _distances(eps: Tensor) -> dict[str, Any]:
    """``{"n", "unbroken", "quantiles": {SHARE: eps or None}, "eps": [...]}``: ascending, without the infinite ones.

    Accuracy at a radius is the share of the n whose distance is larger. A quantile is the smallest distance that at
    least such a share of the samples does not exceed.
    """
    ascending = eps.double().sort().values.tolist()
    n, finite = len(ascending), [float(f"{value:.6g}") for value in ascending if math.isfinite(value)]
    places = {share: max(0, math.ceil(share * n) - 1) for share in _QUANTILES}
    quantiles = {f"{share:g}": finite[place] if place < len(finite) else None for share, place in places.items()}
    return {"n": n, "unbroken": n - len(finite), "quantiles": quantiles, "eps": finite}


def save_evaluation(path: Path, evaluation: ArmEvaluation) -> None:
    """Write everything into one safetensors file, atomically.

    Raises:
        RobustAugError: the file cannot be written.
    """
    tensors = {name: getattr(evaluation, name) for name in _TENSORS}
    for group in _GROUPS:
        tensors |= {f"{group}.{name}": tensor for name, tensor in getattr(evaluation, group).items()}
    plain = {
        "metrics": _plain(evaluation.metrics),
        "per_class": {metric: _plain(classes) for metric, classes in evaluation.per_class.items()},
        "stages": {metric: _plain(stages) for metric, stages in evaluation.stages.items()},
        "eps_curve": [point.to_dict() for point in evaluation.eps_curve],
        "style_strength": [point.to_dict() for point in evaluation.style_strength],
        "shape_bias": evaluation.shape_bias.to_dict() if evaluation.shape_bias else None,
        "samples": dict(evaluation.samples),
        "attacks": {name: dict(parameters) for name, parameters in evaluation.attacks.items()},
        "not_measured": dict(evaluation.not_measured),
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
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        groups: dict[str, Any] = {
            group: {name.partition(".")[2]: tensors[name] for name in tensors if name.startswith(f"{group}.")}
            for group in _GROUPS
        }
        return ArmEvaluation(
            metrics=_accuracies(plain.pop("metrics")),
            per_class={metric: _accuracies(classes) for metric, classes in plain.pop("per_class").items()},
            stages={metric: _accuracies(stages) for metric, stages in plain.pop("stages").items()},
            eps_curve=tuple(CurvePoint(point.pop("eps"), Accuracy(**point)) for point in plain.pop("eps_curve")),
            style_strength=tuple(
                StrengthPoint(point.pop("strength"), Accuracy(**point)) for point in plain.pop("style_strength", [])
            ),
            shape_bias=ShapeBias.from_dict(bias) if (bias := plain.pop("shape_bias", None)) else None,
            **{name: tensors[name] for name in _TENSORS},
            **(groups | plain),
        )
    except (OSError, safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise RobustAugError(f"{path} is no whole evaluation ({error}); delete it and evaluate again") from error


def _accuracies(entries: Mapping[str, Any]) -> dict[str, Accuracy]:
    return {name: Accuracy(**entry) for name, entry in entries.items()}


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
