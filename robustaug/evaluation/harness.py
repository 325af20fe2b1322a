"""Measure one classifier: clean, attacked, under noise, restyled, corrupted; every verdict kept sample by sample."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

import robustaug
from robustaug import randomness
from robustaug.attacks import FGSM, PGD, Attack, AutoAttack, Square, ThreatModel
from robustaug.attacks.autoattack_state import identity_of
from robustaug.attacks.oracle import undisturbed
from robustaug.data.imageset import ImageSet
from robustaug.errors import RobustAugError
from robustaug.evaluation.assembly import assembled
from robustaug.evaluation.bench import Bench
from robustaug.evaluation.corruptions import CORRUPTIONS, parameters_for
from robustaug.evaluation.parts import Part, Parts
from robustaug.evaluation.protocol import Protocol, single_eps
from robustaug.evaluation.results import ArmEvaluation
from robustaug.evaluation.transfer import Surrogate
from robustaug.files import sha256
from robustaug.models import forward_only
from robustaug.progress import Advance

_TOLERANCE = 0.02  # of the smallest distances, as a share
_BISECTIONS = 8  # or so, until they are as near


def evaluate_arm(
    model: nn.Module,
    test: ImageSet,
    *,
    threat: ThreatModel,
    protocol: Protocol,
    stylised: ImageSet | None = None,
    surrogates: Mapping[str, Surrogate] | None = None,
    seed: int = 0,
    folder: Path | None = None,
    progress: Advance | None = None,
) -> ArmEvaluation:
    """Measure one classifier on the test split, on whatever device the model is.

    Samples and random starts depend on ``seed`` and the samples' keys alone, so every arm meets the same ones. A model
    whose attribute ``forward_only`` says why it gives no gradients is attacked by Square alone.

    Args:
        model: from images to logits (N, K), K the number of class names; left exactly as it was.
        test: the test split.
        threat: norm, one eps, bounds.
        protocol: samples, steps, restarts, attacks.
        stylised: test images (or some of them) restyled with paintings that training never saw, under their labels.
        surrogates: other classifiers by name, whose adversarial images are tried on this one.
        seed: chooses the attacked samples and all random starts.
        folder: where each finished metric is kept at once, and AutoAttack's state; a call with the same arguments goes
            on from there, to the same numbers. Delete it when it is no longer needed.
        progress: told of ``evaluation_work`` units in total.

    Raises:
        RobustAugError: the model fails, or its outputs are not K finite logits; the data is empty or does not fit; an
            attack of the protocol does not; a file of ``folder`` is damaged.
    """
    single_eps(threat)
    if len(test) == 0:
        raise RobustAugError("the test split is empty; give the data set more images or a larger test share")
    if stylised is not None and stylised.class_names != test.class_names:
        raise RobustAugError("the stylised test images have other classes than the test split; make them again")
    surrogates = surrogates if surrogates and protocol.transfer_samples else {}
    work = _work(test, stylised, threat, protocol, surrogates)
    done = progress or _silent
    bench = Bench(model, len(test.class_names), protocol.batch_size, seed, done)
    identity = "" if folder is None else _identity(model, test, stylised, threat, protocol, surrogates, seed)
    parts = Parts(folder, identity, lambda: bench.forward_passes, lambda name: done(work.get(name, 0)))
    attacks, not_measured = _attacks(model, threat, protocol, test)
    if protocol.transfer_samples and not surrogates:
        not_measured["transfer"] = "no other classifier was given to make images on"
    for name in not_measured:
        done(work[name])

    found: dict[str, Part] = {}
    with undisturbed(model):
        found["clean"] = parts.get("clean", lambda: Part({"predictions": bench.predict(test)}))
        attacked = stratified_choice(test.labels, protocol.samples, seed)
        subject = test.select(attacked)
        right = (found["clean"]["predictions"] == test.labels)[attacked]
        for name, attack in attacks.items():
            n = _samples(name, threat, protocol, len(subject))
            first, state = subject.first(n), parts.state(name)
            cost = _cost(attack) if name in work else 0
            attacking = partial(bench.attack, attack, first, right[:n], name, cost, state)
            found[name] = parts.get(name, attacking)
        found["noise"] = parts.get("noise", partial(_noise, bench, threat, protocol, subject, right))
        if "eps_curve" not in not_measured:
            found["eps_curve"] = parts.get("eps_curve", partial(_eps_curve, bench, threat, protocol, subject, right))
        if surrogates:
            tried = partial(_transfer, bench, threat, protocol, subject, right, surrogates)
            found["transfer"] = parts.get("transfer", tried)
        if protocol.minimal_samples and "minimal" not in not_measured:
            found["minimal"] = parts.get("minimal", partial(_minimal, bench, threat, protocol, subject))
        if stylised is not None:
            found["unseen_style"] = parts.get("unseen_style", lambda: Part({"predictions": bench.predict(stylised)}))
        if protocol.corruption_samples:
            found["corruptions"] = parts.get("corruptions", partial(_corruptions, bench, protocol, test))
    return assembled(found, test, attacked, stylised, list(attacks), not_measured)


def evaluation_work(
    test: ImageSet,
    stylised: ImageSet | None,
    threat: ThreatModel,
    protocol: Protocol,
    surrogates: Mapping[str, Surrogate] | None = None,
) -> int:
    """Units that ``evaluate_arm`` reports to its progress bar: about one for each image sent through the model."""
    return sum(_work(test, stylised, threat, protocol, surrogates or {}).values())


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


def _work(
    test: ImageSet,
    stylised: ImageSet | None,
    threat: ThreatModel,
    protocol: Protocol,
    surrogates: Mapping[str, Surrogate],
) -> dict[str, int]:
    """Units by part."""
    shape = tuple(test.images.shape[1:])
    attacked = min(protocol.samples, len(test))
    radii = len(protocol.eps_grid(threat, shape)) - 1  # 0 is not attacked
    attacks = _white_box(threat, protocol) | protocol.further_attacks(threat, shape)
    work = {name: _samples(name, threat, protocol, attacked) * _cost(attack) for name, attack in attacks.items()}
    transferred, minimal = min(protocol.transfer_samples, attacked), min(protocol.minimal_samples, attacked)
    corrupted = min(protocol.corruption_samples, len(test))
    return work | {
        "clean": len(test),
        "noise": attacked * protocol.noise_draws,
        "eps_curve": min(protocol.curve_samples, attacked) * radii * protocol.curve_steps,
        "transfer": transferred * len(surrogates) * 2,
        "minimal": minimal * protocol.curve_steps * _BISECTIONS,
        "unseen_style": 0 if stylised is None else len(stylised),
        "corruptions": corrupted * len(CORRUPTIONS) * len(protocol.corruption_severities),
    }


def _white_box(threat: ThreatModel, protocol: Protocol) -> dict[str, Attack]:
    """The attacks of every protocol."""
    pgd = PGD(threat, precision=protocol.precision, steps=protocol.pgd_steps, restarts=protocol.pgd_restarts)
    return {"fgsm": FGSM(threat, precision=protocol.precision), "pgd": pgd}


def _attacks(
    model: nn.Module, threat: ThreatModel, protocol: Protocol, test: ImageSet
) -> tuple[dict[str, Attack], dict[str, str]]:
    """The attacks by metric, and what is not measured of the model, with the reason."""
    attacks = _white_box(threat, protocol) | protocol.further_attacks(threat, tuple(test.images.shape[1:]))
    reason = forward_only(model)
    if reason is None:
        return attacks, {}
    kept: dict[str, Attack] = {name: attack for name, attack in attacks.items() if isinstance(attack, Square)}
    needed = [name for name in attacks if name not in kept] + ["eps_curve"]
    needed += ["minimal"] if protocol.minimal_samples else []
    return kept or {"square": Square(threat, queries=1000)}, dict.fromkeys(needed, reason)


def _samples(metric: str, threat: ThreatModel, protocol: Protocol, attacked: int) -> int:
    """How many of the attacked samples an attack is given."""
    own = {entry.metric(threat): entry.samples for entry in protocol.attacks}.get(metric)
    return min(own or attacked, attacked)


def _cost(attack: Attack) -> int:
    """What an attacked sample counts for in the progress: about its passes."""
    if isinstance(attack, FGSM):
        return 2
    if isinstance(attack, AutoAttack):
        return 2000
    steps: int = getattr(attack, "steps", getattr(attack, "queries", 100))
    return steps * int(getattr(attack, "restarts", 1))


def _noise(bench: Bench, threat: ThreatModel, protocol: Protocol, subject: ImageSet, right: Tensor) -> Part:
    correct = bench.noise(threat, subject, right, protocol.noise_draws)
    return Part({"correct": correct}, {"parameters": _threat(threat) | {"draws": protocol.noise_draws}})


def _eps_curve(bench: Bench, threat: ThreatModel, protocol: Protocol, subject: ImageSet, right: Tensor) -> Part:
    """Accuracy at growing eps, until it is at chance.

    A sample that is broken inside a small ball is broken inside every larger one, so it is not attacked again.
    """
    subject = subject.first(protocol.curve_samples)
    standing = right[: len(subject)]
    grid = protocol.eps_grid(threat, tuple(subject.images.shape[1:]))
    verdicts: list[Tensor] = []
    for eps in grid:
        if eps > 0:
            attack = PGD(replace(threat, eps=eps), precision=protocol.precision, steps=protocol.curve_steps)
            standing = bench.attack(attack, subject, standing, "eps curve", protocol.curve_steps)["correct"]
        verdicts.append(standing)
        if standing.double().mean() <= 1 / bench.classes:
            break
    bench.done((len(grid) - len(verdicts)) * protocol.curve_steps * len(subject))
    radii = torch.tensor(grid[: len(verdicts)], dtype=torch.float64)
    parameters = _threat(threat) | {"attack": "PGD", "steps": protocol.curve_steps, "restarts": 1}
    return Part({"eps": radii, "correct": torch.stack(verdicts)}, {"parameters": parameters})


def _transfer(
    bench: Bench,
    threat: ThreatModel,
    protocol: Protocol,
    subject: ImageSet,
    right: Tensor,
    surrogates: Mapping[str, Surrogate],
) -> Part:
    """PGD's images for each surrogate, tried on this model."""
    subject = subject.first(protocol.transfer_samples)
    right = right[: len(subject)]
    attack = _white_box(threat, protocol)["pgd"]
    verdicts = {}
    for name, surrogate in surrogates.items():
        images = surrogate.attacked(attack, subject, bench.seed, bench.batch_size, bench.done)
        verdicts[name] = right & bench.are_right(images, subject.labels)
        bench.done(len(subject))
    return Part(verdicts, {"parameters": attack.parameters() | {"surrogates": list(surrogates)}})


def _minimal(bench: Bench, threat: ThreatModel, protocol: Protocol, subject: ImageSet) -> Part:
    subject = subject.first(protocol.minimal_samples)
    attack = PGD(threat, precision=protocol.precision, steps=protocol.curve_steps, early_exit=True)
    eps = bench.smallest_distances(attack, subject, _TOLERANCE, protocol.curve_steps * _BISECTIONS)
    return Part({"eps": eps}, {"parameters": attack.parameters() | {"tolerance": _TOLERANCE}})


def _corruptions(bench: Bench, protocol: Protocol, test: ImageSet) -> Part:
    chosen = stratified_choice(test.labels, protocol.corruption_samples, bench.seed)
    correct = bench.corruptions(test.select(chosen), protocol.corruption_severities)
    parameters = {
        "severities": list(protocol.corruption_severities),
        "parameters": parameters_for(*test.images.shape[2:]),
        "frost": "drawn, not photographed: not comparable with published numbers",
    }
    return Part({"correct": correct, "chosen": chosen}, {"parameters": parameters})


def _threat(threat: ThreatModel) -> dict[str, object]:
    return {"norm": threat.norm, "eps": threat.eps, "bounds": list(threat.bounds)}


def _identity(
    model: nn.Module,
    test: ImageSet,
    stylised: ImageSet | None,
    threat: ThreatModel,
    protocol: Protocol,
    surrogates: Mapping[str, Surrogate],
    seed: int,
) -> str:
    """Sixteen digits that change with everything that a result depends on."""
    settings = {
        "robustaug": robustaug.__version__,
        "threat": asdict(threat),
        "protocol": protocol.to_dict(),
        "seed": seed,
        "keys": [test.keys, () if stylised is None else stylised.keys],
        "surrogates": {name: identity_of(other.model, {}, {}) for name, other in surrogates.items()},
    }
    tensors = {"images": test.images, "labels": test.labels}
    if stylised is not None:
        tensors |= {"stylised": stylised.images, "stylised labels": stylised.labels}
    return sha256(json.dumps(identity_of(model, settings, tensors), sort_keys=True).encode())[:16]


def _silent(count: int = 1, note: str | None = None) -> None:
    """No progress bar."""
