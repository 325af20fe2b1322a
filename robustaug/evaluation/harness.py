"""Measure one classifier: clean, attacked, under noise, restyled, corrupted; every verdict kept sample by sample."""

import time
from dataclasses import replace

import torch
from torch import Tensor, nn

from robustaug import randomness
from robustaug.attacks import FGSM, PGD, ThreatModel
from robustaug.attacks.oracle import undisturbed
from robustaug.data.imageset import ImageSet
from robustaug.errors import RobustAugError
from robustaug.evaluation.bench import Bench
from robustaug.evaluation.corruptions import CORRUPTIONS, parameters_for
from robustaug.evaluation.protocol import Protocol, single_eps
from robustaug.evaluation.results import ArmEvaluation, CurvePoint
from robustaug.evaluation.statistics import Accuracy, accuracy_interval, mean_interval
from robustaug.files import sha256
from robustaug.progress import Advance

_FGSM_COST = 2  # passes for each sample


def evaluate_arm(
    model: nn.Module,
    test: ImageSet,
    *,
    threat: ThreatModel,
    protocol: Protocol,
    stylised: ImageSet | None = None,
    seed: int = 0,
    progress: Advance | None = None,
) -> ArmEvaluation:
    """Measure one classifier on the test split, on whatever device the model is.

    Samples and random starts depend on ``seed`` and the samples' keys alone, so every arm meets the same ones.

    Args:
        model: from images to logits (N, K), K the number of class names; left exactly as it was.
        test: the test split.
        threat: norm, one eps, bounds.
        protocol: samples, steps, restarts.
        stylised: test images (or some of them) restyled with paintings that training never saw, under their labels.
        seed: chooses the attacked samples and all random starts.
        progress: told of ``evaluation_work`` units in total.

    Raises:
        RobustAugError: the model's outputs are not K finite logits, or the data is empty or does not fit.
    """
    began = time.monotonic()
    single_eps(threat)
    if len(test) == 0:
        raise RobustAugError("the test split is empty; give the data set more images or a larger test share")
    if stylised is not None and stylised.class_names != test.class_names:
        raise RobustAugError("the stylised test images have other classes than the test split; make them again")
    bench = Bench(model, len(test.class_names), protocol.batch_size, seed, progress or _silent)
    with undisturbed(model):
        predictions = {"clean": bench.predict(test)}
        verdicts = {"clean": predictions["clean"] == test.labels}
        attacked = stratified_choice(test.labels, protocol.samples, seed)
        subject, right = test.select(attacked), verdicts["clean"][attacked]

        fgsm = FGSM(threat, precision=protocol.precision)
        pgd = PGD(threat, precision=protocol.precision, steps=protocol.pgd_steps, restarts=protocol.pgd_restarts)
        by_fgsm = bench.attack(fgsm, subject, right, "fgsm", _FGSM_COST)
        by_pgd = bench.attack(pgd, subject, right, "pgd", protocol.pgd_steps * protocol.pgd_restarts)
        verdicts |= {"fgsm": by_fgsm.correct, "pgd": by_pgd.correct, "pgd_8bit": by_pgd.correct_8bit}
        unattacked = predictions["clean"][attacked]
        predictions["fgsm"] = torch.where(right, by_fgsm.predictions, unattacked)
        predictions["pgd"] = torch.where(right, by_pgd.predictions, unattacked)
        verdicts["noise"] = bench.noise(threat, subject, right, protocol.noise_draws)
        curve = _eps_curve(bench, threat, protocol, subject, right)
        if stylised is not None:
            predictions["unseen_style"] = bench.predict(stylised)
            verdicts["unseen_style"] = predictions["unseen_style"] == stylised.labels
        metrics = {name: accuracy_interval(v) for name, v in verdicts.items() if name != "pgd_8bit"}
        sets = {"clean": test, "unseen_style": stylised}
        if protocol.corruption_samples:
            corrupted = test.select(stratified_choice(test.labels, protocol.corruption_samples, seed))
            verdicts["corruptions"] = bench.corruptions(corrupted, protocol.corruption_severities)
            metrics["corruptions"] = mean_interval(verdicts["corruptions"].double().mean((1, 2)))
            sets["corruptions"] = corrupted

    n = len(subject)
    parameters = {
        "fgsm": fgsm.parameters() | {"samples": n},
        "pgd": pgd.parameters() | {"samples": n},
        "noise": {**_threat_parameters(threat), "draws": protocol.noise_draws, "samples": n},
        "eps_curve": {
            **_threat_parameters(threat),
            "attack": "PGD",
            "steps": protocol.curve_steps,
            "restarts": 1,
            "samples": curve[0].accuracy.n,
        },
    }
    if stylised is not None:
        parameters["unseen_style"] = {"samples": len(stylised)}
    if "corruptions" in verdicts:
        parameters["corruptions"] = {
            "samples": len(verdicts["corruptions"]),
            "severities": list(protocol.corruption_severities),
            "parameters": parameters_for(*test.images.shape[2:]),
            "frost": "drawn, not photographed: not comparable with published numbers",
        }
    return ArmEvaluation(
        metrics=metrics,
        per_class={
            "clean": _per_class(verdicts["clean"], test),
            "pgd": _per_class(verdicts["pgd"], subject),
        },
        eps_curve=curve,
        verdicts=verdicts,
        predictions=predictions,
        attacked=attacked,
        pgd_excess=by_pgd.excess,
        adversarial=by_pgd.images,
        samples={name: _fingerprint(sets.get(name) or subject) for name in verdicts},
        attacks=parameters,
        chance=1 / len(test.class_names),
        forward_passes=bench.forward_passes,
        seconds=time.monotonic() - began,
    )


def evaluation_work(test: ImageSet, stylised: ImageSet | None, threat: ThreatModel, protocol: Protocol) -> int:
    """Units that ``evaluate_arm`` reports to its progress bar: about one for each image sent through the model."""
    attacked = min(protocol.samples, len(test))
    radii = len(protocol.eps_grid(threat, tuple(test.images.shape[1:]))) - 1  # 0 is not attacked
    curve = min(protocol.curve_samples, attacked) * radii * protocol.curve_steps
    each = _FGSM_COST + protocol.pgd_steps * protocol.pgd_restarts + protocol.noise_draws
    corrupted = min(protocol.corruption_samples, len(test)) * len(CORRUPTIONS) * len(protocol.corruption_severities)
    return len(test) + attacked * each + curve + (0 if stylised is None else len(stylised)) + corrupted


def stratified_choice(labels: Tensor, n: int, seed: int) -> Tensor:
    """Positions of ``n`` samples (all, if there are fewer), each class in its share, int64.

    A smaller choice is the beginning of a larger one with the same seed.
    """
    place = torch.empty(len(labels), dtype=torch.float64)
    for label in sorted(set(labels.tolist())):
        members = (labels == label).nonzero().squeeze(1)
        rank = randomness.permutation(len(members), seed, "stratified choice", label)
        place[members] = (rank.double() + 0.5) / len(members)
    return place.argsort(stable=True)[:n]


def _eps_curve(
    bench: Bench, threat: ThreatModel, protocol: Protocol, subject: ImageSet, right: Tensor
) -> tuple[CurvePoint, ...]:
    """Accuracy at growing eps, until it is at chance.

    A sample that is broken inside a small ball is broken inside every larger one, so it is not attacked again.
    """
    first = torch.arange(min(protocol.curve_samples, len(subject)))
    subject, standing = subject.select(first), right[first]
    grid = protocol.eps_grid(threat, tuple(subject.images.shape[1:]))
    points: list[CurvePoint] = []
    for eps in grid:
        if eps > 0:
            attack = PGD(replace(threat, eps=eps), precision=protocol.precision, steps=protocol.curve_steps)
            standing = bench.attack(attack, subject, standing, "eps curve", protocol.curve_steps).correct
        points.append(CurvePoint(eps, accuracy_interval(standing)))
        if points[-1].accuracy.value <= 1 / bench.classes:
            break
    bench.done((len(grid) - len(points)) * protocol.curve_steps * len(first))
    return tuple(points)


def _per_class(correct: Tensor, samples: ImageSet) -> dict[str, Accuracy]:
    members = {name: samples.labels == label for label, name in enumerate(samples.class_names)}
    return {name: accuracy_interval(correct[rows]) for name, rows in members.items() if rows.any()}


def _threat_parameters(threat: ThreatModel) -> dict[str, object]:
    return {"norm": threat.norm, "eps": threat.eps, "bounds": list(threat.bounds)}


def _fingerprint(samples: ImageSet) -> str:
    return sha256("\n".join(samples.keys).encode())[:16]


def _silent(count: int = 1, note: str | None = None) -> None:
    """No progress bar."""
