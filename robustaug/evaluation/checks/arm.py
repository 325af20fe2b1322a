"""All checks of one classifier."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from robustaug import randomness
from robustaug.attacks import ThreatModel
from robustaug.data.imageset import ImageSet
from robustaug.evaluation.bench import model_device
from robustaug.evaluation.checks import gradients, outputs, recorded, stronger
from robustaug.evaluation.checks.check import Check
from robustaug.evaluation.results import TRANSFER, ArmEvaluation
from robustaug.evaluation.search import search_of

_LIVE_SAMPLES = 64  # images that are sent through the model again
_DIFFERENCE_SAMPLES = 32  # of them, those whose gradients are held against differences


def check_arm(arm: str, model: nn.Module, test: ImageSet, evaluation: ArmEvaluation) -> list[Check]:
    """All checks of one classifier: those on the recorded evaluation, then those that run the model again.

    Checks of gradients, and of attacks that follow them, are asked where such attacks were measured. Beside a few
    hundred forward passes they cost, for T steps of the evaluation's PGD, at most 48 * 2T + 32 * T + 16 * T gradients
    and 3,200 forward passes of Square, which is not run again where the evaluation has it; and 10 T gradients for each
    sample that Square or a transferred attack breaks.

    Args:
        arm: its name, for the rows.
        model: the classifier; left as it was.
        test: the test split of the evaluation.
        evaluation: what ``evaluate_arm`` returned.
    """
    attacked = test.select(evaluation.attacked)
    live, device = attacked.first(_LIVE_SAMPLES), model_device(model)
    images = live.float_images(device)
    rows = _recorded(arm, evaluation)
    rows.append(outputs.outputs_are_logits(arm, model, images))
    rows.append(outputs.independent_of_batch(arm, model, images))
    rows.append(outputs.repeatable(arm, model, images))
    if "pgd" in evaluation.verdicts:
        rows.append(gradients.gradients_not_zero(arm, model, images, live.labels.to(device)))
        few = live.first(_DIFFERENCE_SAMPLES)
        seeds = randomness.sample_seeds(0, few.keys, "check differences").to(device)
        bounds = _threat(evaluation.attacks["pgd"]).bounds
        rows.append(
            gradients.gradients_match_differences(
                arm, model, few.float_images(device), few.labels.to(device), seeds, bounds
            )
        )
        rows += _attacked_again(arm, model, attacked, evaluation)
    return rows


def white_box_survivors(evaluation: ArmEvaluation) -> Tensor:
    """Attacked samples that are right under every measured attack that uses gradients at the stated eps, bool (A,)."""
    stand = evaluation.verdicts["clean"][evaluation.attacked]
    for name in evaluation.excess:
        if not _is_square(evaluation, name) and _comparable(evaluation, name):
            verdict = evaluation.verdicts[name]
            stand[: len(verdict)] &= verdict
    return stand


def _recorded(arm: str, evaluation: ArmEvaluation) -> list[Check]:
    verdicts = evaluation.verdicts
    right = verdicts["clean"][evaluation.attacked]
    rows = []
    if "pgd" in verdicts:
        rows.append(recorded.iterative_not_weaker(arm, verdicts["fgsm"], verdicts["pgd"]))
        rows.append(recorded.noise_not_stronger(arm, verdicts["noise"], verdicts["pgd"]))
    if evaluation.eps_curve:
        rows.append(recorded.curve_falls_to_chance(arm, evaluation.eps_curve, evaluation.chance))
    beyond = [excess / _scale(evaluation.attacks[name]) for name, excess in evaluation.excess.items()]
    rows.append(recorded.inside_ball(arm, torch.cat(beyond)))
    main = "pgd" if "pgd" in verdicts else next(iter(evaluation.excess))
    broken = right[: len(verdicts[main])] & ~verdicts[main]
    rows.append(recorded.survives_rounding(arm, broken, verdicts[f"{main}_8bit"]))
    return rows


def _attacked_again(arm: str, model: nn.Module, attacked: ImageSet, evaluation: ArmEvaluation) -> list[Check]:
    stand = white_box_survivors(evaluation)
    survivors = _where(attacked, stand)
    broken = _where(attacked, evaluation.verdicts["clean"][evaluation.attacked] & ~evaluation.verdicts["pgd"])
    pgd = search_of(evaluation.attacks["pgd"])
    share = len(survivors) / len(attacked)
    measured = [name for name in evaluation.excess if _is_square(evaluation, name) and _comparable(evaluation, name)]
    if measured:
        correct, queries = evaluation.verdicts[measured[0]], evaluation.attacks[measured[0]]["queries"]
        tried = stand[: len(correct)]
        by_square = _where(attacked, tried & ~correct), int(tried.sum()), queries
    else:
        by_square = *stronger.broken_by_square(model, survivors, pgd.threat), stronger.SQUARE_QUERIES
    rows = [
        stronger.more_effort_changes_little(arm, model, survivors, share, pgd),
        stronger.loss_has_settled(arm, model, survivors, pgd),
        stronger.larger_eps_not_weaker(arm, model, broken, pgd),
        stronger.square_not_stronger(arm, model, *by_square, pgd),
    ]
    if "transfer" in evaluation.verdicts:
        right = evaluation.verdicts["transfer"]
        missed = stand[: len(right)] & ~right
        made_on = [
            name.removeprefix(TRANSFER)
            for name, correct in evaluation.verdicts.items()
            if name.startswith(TRANSFER) and (missed & ~correct).any()
        ]
        by_transfer = _where(attacked, missed), len(right), made_on
        rows.append(stronger.transfer_not_stronger(arm, model, *by_transfer, pgd))
    return rows


def _is_square(evaluation: ArmEvaluation, name: str) -> bool:
    return bool(evaluation.attacks[name]["attack"] == "Square")


def _comparable(evaluation: ArmEvaluation, name: str) -> bool:
    """Whether an attack has the norm and eps of the evaluation's threat model."""
    ours, stated = evaluation.attacks[name], evaluation.attacks["noise"]
    return (ours["norm"], ours["eps"]) == (stated["norm"], stated["eps"])


def _threat(parameters: Mapping[str, Any]) -> ThreatModel:
    low, high = parameters["bounds"]
    return ThreatModel(parameters["norm"], parameters["eps"], bounds=(low, high))


def _scale(attack: Mapping[str, Any]) -> float:
    low, high = attack["bounds"]
    return float(max(1.0, attack["eps"], high - low))


def _where(samples: ImageSet, chosen: Tensor) -> ImageSet:
    return samples.select(chosen.nonzero().squeeze(1))
