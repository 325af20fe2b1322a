"""The parts of an evaluation beside its attacks: noise, the eps curve, transfer, distances, styles, corruptions."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from robustaug.attacks import Attack, ThreatModel
from robustaug.data.imageset import ImageSet
from robustaug.errors import RobustAugError
from robustaug.evaluation.bench import Bench
from robustaug.evaluation.corruptions import parameters_for
from robustaug.evaluation.parts import Part
from robustaug.evaluation.protocol import Protocol
from robustaug.evaluation.search import search
from robustaug.evaluation.shape_bias import CueConflicts
from robustaug.evaluation.transfer import Surrogate

_TOLERANCE = 0.02  # of the smallest distances, as a share


def noise(bench: Bench, threat: ThreatModel, protocol: Protocol, subject: ImageSet, right: Tensor) -> Part:
    """``correct``, bool (N,): under all random perturbations."""
    correct = bench.noise(threat, subject, right, protocol.noise_draws)
    return Part({"correct": correct}, {"parameters": _threat(threat) | {"draws": protocol.noise_draws}})


def eps_curve(bench: Bench, threat: ThreatModel, protocol: Protocol, subject: ImageSet, right: Tensor) -> Part:
    """``eps``, float64 (P,), and ``correct``, bool (P, Q): accuracy at growing eps, until it is at chance.

    A sample that is broken inside a small ball is broken inside every larger one, so it is not attacked again.
    """
    subject = subject.first(protocol.curve_samples)
    standing = right[: len(subject)]
    grid = protocol.eps_grid(threat, tuple(subject.images.shape[1:]))
    attack = search(threat, protocol.curve_steps, precision=protocol.precision)
    verdicts: list[Tensor] = []
    for eps in grid:
        if eps > 0:
            here = replace(attack, threat=replace(threat, eps=eps))
            standing = bench.attack(here, subject, standing, "eps curve", protocol.curve_steps)["correct"]
        verdicts.append(standing)
        if standing.double().mean() <= 1 / bench.classes:
            break
    bench.done((len(grid) - len(verdicts)) * protocol.curve_steps * len(subject))
    radii = torch.tensor(grid[: len(verdicts)], dtype=torch.float64)
    parameters = _threat(threat) | {"attack": type(attack).__name__, "steps": attack.steps, "restarts": 1}
    return Part({"eps": radii, "correct": torch.stack(verdicts)}, {"parameters": parameters})


def transfer(
    bench: Bench,
    attack: Attack,
    protocol: Protocol,
    subject: ImageSet,
    right: Tensor,
    surrogates: Mapping[str, Surrogate],
) -> Part:
    """By surrogate, bool (N,): right also on the attack's images for that one."""
    subject = subject.first(protocol.transfer_samples)
    right = right[: len(subject)]
    verdicts = {}
    for name, surrogate in surrogates.items():
        images = surrogate.attacked(attack, subject, bench.seed, bench.batch_size, bench.done)
        verdicts[name] = right & bench.are_right(images, subject.labels)
        bench.done(len(subject))
    return Part(verdicts, {"parameters": attack.parameters() | {"surrogates": list(surrogates)}})


def minimal(bench: Bench, threat: ThreatModel, protocol: Protocol, subject: ImageSet, cost: int) -> Part:
    """``eps``, float32 (N,): the smallest that breaks each sample."""
    subject = subject.first(protocol.minimal_samples)
    attack = search(threat, protocol.curve_steps, precision=protocol.precision, early_exit=True)
    eps = bench.smallest_distances(attack, subject, _TOLERANCE, cost)
    return Part({"eps": eps}, {"parameters": attack.parameters() | {"tolerance": _TOLERANCE}})


def style_strength(bench: Bench, test: ImageSet, clean: Part, by_strength: Mapping[float, ImageSet]) -> Part:
    """``correct``, bool (S, N): of N test images, each as it is (strength 0) and restyled at growing strengths."""
    first, *others = by_strength.values()
    row_of = {key: row for row, key in enumerate(test.keys)}
    if any(other.keys != first.keys for other in others) or not set(first.keys) <= set(row_of):
        raise RobustAugError("the images restyled at growing strengths are not the same test images; make them again")
    rows = torch.tensor([row_of[key] for key in first.keys])
    strengths = sorted(by_strength)
    correct = [clean["predictions"][rows] == test.labels[rows]]
    correct += [bench.predict(by_strength[strength]) == first.labels for strength in strengths]
    return Part({"correct": torch.stack(correct)}, {"parameters": {"strengths": [0.0, *strengths]}})


def shape_bias(bench: Bench, conflicts: CueConflicts) -> Part:
    """``predictions``, int64 (N,), on images with the content of one class and the style of another."""
    return Part({"predictions": bench.predict(conflicts.images)}, {"parameters": conflicts.parameters()})


def corruptions(bench: Bench, protocol: Protocol, test: ImageSet, chosen: Tensor) -> Part:
    """``correct``, bool (C, 15, V), of the ``chosen`` test images, int64 (C,)."""
    correct = bench.corruptions(test.select(chosen), protocol.corruption_severities)
    parameters = {
        "severities": list(protocol.corruption_severities),
        "parameters": parameters_for(*test.images.shape[2:]),
        "frost": "drawn, not photographed: not comparable with published numbers",
    }
    return Part({"correct": correct, "chosen": chosen}, {"parameters": parameters})


def _threat(threat: ThreatModel) -> dict[str, object]:
    return {"norm": threat.norm, "eps": threat.eps, "bounds": list(threat.bounds)}
