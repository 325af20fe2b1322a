"""Measure one classifier: clean, attacked, under noise, restyled, corrupted; every verdict kept sample by sample."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

import robustaug
from robustaug import randomness
from robustaug.attacks import FGSM, Attack, AutoAttack, Square, ThreatModel
from robustaug.attacks.autoattack_state import identity_of
from robustaug.attacks.oracle import undisturbed
from robustaug.data.imageset import ImageSet
from robustaug.errors import RobustAugError
from robustaug.evaluation.assembly import assembled
from robustaug.evaluation.bench import Bench
from robustaug.evaluation.corruptions import CORRUPTIONS
from robustaug.evaluation.measurements import (
    corruptions,
    eps_curve,
    minimal,
    noise,
    shape_bias,
    style_strength,
    transfer,
)
from robustaug.evaluation.parts import Part, Parts
from robustaug.evaluation.protocol import Protocol, single_eps
from robustaug.evaluation.results import ArmEvaluation
from robustaug.evaluation.search import search
from robustaug.evaluation.shape_bias import CueConflicts
from robustaug.evaluation.transfer import Surrogate
from robustaug.files import sha256
from robustaug.models import forward_only
from robustaug.progress import Advance, silent

_BISECTIONS = 8  # or so, until the smallest distances are near enough


def evaluate_arm(
    model: nn.Module,
    test: ImageSet,
    *,
    threat: ThreatModel,
    protocol: Protocol,
    stylised: ImageSet | None = None,
    by_strength: Mapping[float, ImageSet] | None = None,
    conflicts: CueConflicts | None = None,
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
        by_strength: the same test images at each strength in such styles, under their keys.
        conflicts: images with the content of one class and the style of another.
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
    restyled = _restyled(test, stylised, by_strength, conflicts)
    surrogates = surrogates if surrogates and protocol.transfer_samples else {}
    work = _work(test, restyled, threat, protocol, surrogates)
    done = progress or silent
    bench = Bench(model, len(test.class_names), protocol.batch_size, seed, done)
    identity = "" if folder is None else _identity(model, test, restyled, threat, protocol, surrogates, seed)
    parts = Parts(folder, identity, lambda: bench.forward_passes, lambda name: done(work.get(name, 0)))
    attacks, not_measured = _attacks(model, threat, protocol, test)
    not_measured |= _not_given(protocol, surrogates, restyled)
    for name in not_measured:
        done(work[name])
    pgd = _white_box(threat, protocol)["pgd"]

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
        found["noise"] = parts.get("noise", partial(noise, bench, threat, protocol, subject, right))
        if "eps_curve" not in not_measured:
            found["eps_curve"] = parts.get("eps_curve", partial(eps_curve, bench, threat, protocol, subject, right))
        if surrogates:
            tried = partial(transfer, bench, pgd, protocol, subject, right, surrogates)
            found["transfer"] = parts.get("transfer", tried)
        if protocol.minimal_samples and "minimal" not in not_measured:
            searching = partial(minimal, bench, threat, protocol, subject, protocol.curve_steps * _BISECTIONS)
            found["minimal"] = parts.get("minimal", searching)
        if stylised is not None:
            found["unseen_style"] = parts.get("unseen_style", lambda: Part({"predictions": bench.predict(stylised)}))
        if by_strength:
            of_strength = partial(style_strength, bench, test, found["clean"], by_strength)
            found["style_strength"] = parts.get("style_strength", of_strength)
        if conflicts is not None:
            found["shape_bias"] = parts.get("shape_bias", partial(shape_bias, bench, conflicts))
        if protocol.corruption_samples:
            chosen = stratified_choice(test.labels, protocol.corruption_samples, seed)
            found["corruptions"] = parts.get("corruptions", partial(corruptions, bench, protocol, test, chosen))
    return assembled(found, test, attacked, stylised, conflicts, list(attacks), not_measured)


def evaluation_work(
    test: ImageSet,
    stylised: ImageSet | None,
    threat: ThreatModel,
    protocol: Protocol,
    surrogates: Mapping[str, Surrogate] | None = None,
    by_strength: Mapping[float, ImageSet] | None = None,
    conflicts: CueConflicts | None = None,
) -> int:
    """Units that ``evaluate_arm`` reports to its progress bar: about one for each image sent through the model."""
    restyled = _restyled(test, stylised, by_strength, conflicts)
    return sum(_work(test, restyled, threat, protocol, surrogates or {}).values())


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


def _restyled(
    test: ImageSet,
    stylised: ImageSet | None,
    by_strength: Mapping[float, ImageSet] | None,
    conflicts: CueConflicts | None,
) -> dict[str, tuple[ImageSet, ...]]:
    """The restyled images by the part that they are for."""
    given = {
        "unseen_style": () if stylised is None else (stylised,),
        "style_strength": tuple((by_strength or {}).values()),
        "shape_bias": () if conflicts is None else (conflicts.images,),
    }
    if any(images.class_names != test.class_names for sets in given.values() for images in sets):
        raise RobustAugError("the stylised test images have other classes than the test split; make them again")
    return given


def _work(
    test: ImageSet,
    restyled: Mapping[str, tuple[ImageSet, ...]],
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
        **{name: sum(map(len, sets)) for name, sets in restyled.items()},
        "corruptions": corrupted * len(CORRUPTIONS) * len(protocol.corruption_severities),
    }


def _white_box(threat: ThreatModel, protocol: Protocol) -> dict[str, Attack]:
    """The attacks of every protocol."""
    pgd = search(threat, protocol.pgd_steps, protocol.pgd_restarts, precision=protocol.precision)
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


def _not_given(
    protocol: Protocol, surrogates: Mapping[str, Surrogate], restyled: Mapping[str, tuple[ImageSet, ...]]
) -> dict[str, str]:
    """What the protocol wants and the caller did not bring, with the reason."""
    reasons = {}
    if protocol.transfer_samples and not surrogates:
        reasons["transfer"] = "no other classifier was given to make images on"
    if protocol.style_strength_samples and not restyled["style_strength"]:
        reasons["style_strength"] = "no images restyled at growing strengths were given"
    if protocol.conflict_samples and not restyled["shape_bias"]:
        reasons["shape_bias"] = "no images of cues in conflict were given; they need test images of two classes"
    return reasons


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


def _identity(
    model: nn.Module,
    test: ImageSet,
    restyled: Mapping[str, tuple[ImageSet, ...]],
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
        "keys": [test.keys, {name: [images.keys for images in sets] for name, sets in restyled.items()}],
        "surrogates": {name: identity_of(other.model, {}, {}) for name, other in surrogates.items()},
    }
    tensors = {"images": test.images, "labels": test.labels}
    for name, sets in restyled.items():
        for number, images in enumerate(sets):
            tensors |= {f"{name} {number}": images.images, f"{name} {number} labels": images.labels}
    return sha256(json.dumps(identity_of(model, settings, tensors), sort_keys=True).encode())[:16]
