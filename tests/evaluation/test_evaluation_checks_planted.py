"""Evaluations with a planted fault: each is flagged, by name, where the whole list of checks is asked."""

import dataclasses
import io

import numpy as np
import pytest
import torch
from evaluation_cases import Linear, image_set, labelled_by
from PIL import Image
from torch import nn

from robustaug.attacks import PGD, ThreatModel
from robustaug.data.imageset import ImageSet
from robustaug.evaluation import Protocol, check_arm, checks, evaluate_arm

EPS = 0.05
LINF = ThreatModel("linf", EPS)
PROTOCOL = Protocol(samples=60, pgd_steps=10, pgd_restarts=2, noise_draws=3, curve_samples=20, curve_steps=10)

GRADIENTS = "input gradients are informative"
DIFFERENCES = "input gradients agree with finite differences"
EFFORT = "twice the steps and another start change little"
SETTLED = "the loss has stopped rising at the last step"
LARGER = "what breaks at eps breaks at twice eps"
SQUARE = "Square breaks no sample that gradient attacks cannot"
TRANSFER = "a transferred attack breaks no sample that gradient attacks cannot"


def failed(model: nn.Module, test: ImageSet, evaluation) -> dict[str, str]:
    return {row.name: row.detail for row in check_arm("a", model, test, evaluation) if not row.passed}


def measured(model: nn.Module, n: int = 60, threat: ThreatModel = LINF, **grid):
    test = labelled_by(model, image_set(n, **grid))
    return test, evaluate_arm(model, test, threat=threat, protocol=PROTOCOL)


class Levels(Linear):
    """Rounds its input to eight levels; autograd sees a gradient of 0."""

    def forward(self, images):
        return super().forward((images * 7).round() / 7)


class StraightThrough(Linear):
    """Rounds its input to eight levels, under the gradient of an input that is not rounded."""

    def forward(self, images):
        return super().forward(images + ((images * 7).round() / 7 - images).detach())


class ThroughNumpy(Linear):
    def forward(self, images):
        return super().forward(torch.from_numpy(images.detach().cpu().numpy()))


class HalfThroughNumpy(Linear):
    """The right half of each image takes a detour that no gradient knows."""

    def forward(self, images):
        half = images.shape[3] // 2
        detour = torch.from_numpy(images[..., half:].detach().cpu().numpy())
        return super().forward(torch.cat([0.02 * images[..., :half], detour], 3))


class ThroughJpeg(Linear):
    """Saves its input as JPEG, under the gradient of an input that is not."""

    def forward(self, images):
        saved = []
        for image in (images.detach() * 255).round().byte():
            file = io.BytesIO()
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=50)
            saved.append(torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1) / 255)
        return super().forward(images + (torch.stack(saved) - images).detach())


def test_rounding_to_eight_levels():
    model = Levels()
    found = failed(model, *measured(model))
    assert found.keys() >= {GRADIENTS, DIFFERENCES, SQUARE, "accuracy falls to chance as eps grows"}
    assert found[GRADIENTS].startswith("60 of 60 samples with a zero gradient")
    assert found[DIFFERENCES].startswith("0 of 32 samples agree")


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (StraightThrough((3, 16, 16)), 16),
        (HalfThroughNumpy((3, 8, 8)), 8),
    ],
    ids=["rounding, straight through", "half of it through NumPy"],
)
def test_gradients_that_are_another_function_s(model, shape):
    test, evaluation = measured(model, n=20, size=shape)
    assert DIFFERENCES in failed(model, test, evaluation)
    assert GRADIENTS not in failed(model, test, evaluation)


def test_images_that_are_saved_as_jpeg_on_the_way():
    samples = image_set(20, size=8)
    row = checks.gradients_match_differences(
        "a", ThroughJpeg((3, 8, 8)), samples.float_images(), samples.labels, torch.arange(20)
    )
    assert (row.name, row.passed) == (DIFFERENCES, False)


def test_gradients_that_never_reach_the_images():
    model, honest = ThroughNumpy(), Linear()
    samples = image_set(40)
    images, labels, seeds = samples.float_images(), samples.labels, torch.arange(40)
    for check in (
        checks.gradients_not_zero("a", model, images, labels),
        checks.gradients_match_differences("a", model, images, labels, seeds),
    ):
        assert not check.passed
        assert "gives no gradient with respect to its input" in check.detail
        assert "\n" not in check.detail
    assert checks.gradients_match_differences("a", honest, images, labels, seeds).passed


def test_differences_of_images_in_other_bounds():
    class Bytes(Linear):
        def forward(self, images):
            assert images.min() >= 0
            assert images.max() <= 255
            return super().forward(images / 255)

    samples = image_set(20)
    seeds = torch.arange(20)
    row = checks.gradients_match_differences(
        "a", Bytes(), 255 * samples.float_images(), samples.labels, seeds, (0.0, 255.0)
    )
    assert (row.passed, row.detail) == (True, "20 of 20 samples agree (cosine at least 0.5), median 1.000")


class Scaled(Linear):
    """Logits far beyond what a softmax in float32 can tell apart."""

    factor = 1e4

    def forward(self, images):
        return self.factor * super().forward(images)


@pytest.mark.parametrize(("factor", "part"), [(1e4, "with a zero gradient"), (40.0, "with none above 1e-30")])
def test_float32_saturation(factor, part):
    model = Scaled()
    model.factor = factor
    found = failed(model, *measured(model))
    assert part in found[GRADIENTS]
    assert DIFFERENCES not in found  # the margin does not saturate


def with_pgd(evaluation, test: ImageSet, model: nn.Module, attack: PGD, **verdicts: torch.Tensor):
    """The evaluation as it would be with another PGD, and with other verdicts."""
    subject = test.select(evaluation.attacked)
    result = attack(model, subject.float_images(), subject.labels)
    return dataclasses.replace(
        evaluation,
        verdicts=dict(evaluation.verdicts) | {"pgd": ~result.success, "pgd_8bit": ~result.success} | verdicts,
        attacks=dict(evaluation.attacks) | {"pgd": attack.parameters()},
    )


def test_steps_that_are_too_short():
    model = Linear()
    test, honest = measured(model)
    short = PGD(LINF, steps=10, step_size=EPS / 50, random_start=False)
    weak = with_pgd(honest, test, model, short)
    assert weak.verdicts["pgd"].sum() > honest.verdicts["pgd"].sum() + 5
    found = failed(model, test, weak)
    assert found.keys() == {"PGD is at least as strong as FGSM", SETTLED, LARGER}
    # On a linear model each short step adds the same; from a random start, values at the ball's edge stay.
    assert 15 <= float(found[SETTLED].split("%")[0]) <= 25
    without_fgsm = with_pgd(honest, test, model, short, fgsm=weak.verdicts["pgd"])
    assert failed(model, test, without_fgsm).keys() == {EFFORT, SETTLED, SQUARE, LARGER}
    assert failed(model, test, honest) == {}


def test_more_effort_by_hand():
    """Wilson's interval of 3/10 begins at 0.108: what the survivors weigh decides whether that is 2 points."""
    model = Linear()
    test = labelled_by(model, image_set(40))
    pgd = PGD(LINF, steps=5)
    margins = model.margin(test, EPS)
    falls, stands = (margins < 0).nonzero().squeeze(1), (margins > 0).nonzero().squeeze(1)
    mixed = test.select(torch.cat([falls[:3], stands[:7]]))
    for share, passed in ((0.18, True), (0.19, False)):
        row = checks.more_effort_changes_little("a", model, mixed, share, pgd)
        assert (row.passed, row.detail) == (
            passed,
            f"3 of 10 survivors broken, which would take {100 * share * 0.3:.1f} points off the accuracy",
        )
    for check in (
        checks.more_effort_changes_little("a", model, test.select([]), 0.0, pgd),
        checks.loss_has_settled("a", model, test.select([]), pgd),
    ):
        assert (check.passed, check.detail) == (True, "no sample survives")


class Alarmed(Linear):
    """Gives class 1 where the first value, 0.5 in every image, has moved by more than 1.5 eps."""

    def forward(self, images):
        logits = super().forward(images)
        moved = (images[:, 0, 0, 0] - 0.5).abs() > 1.5 * EPS
        return torch.where(moved[:, None], torch.tensor([-5.0, 5.0]), logits)


def test_a_larger_radius_that_breaks_less():
    model = Alarmed()
    samples = image_set(120)
    samples.images[:, 0, 0, 0] = 128
    test = labelled_by(model, samples)
    test = test.select((test.labels == 1).nonzero().squeeze(1))
    evaluation = evaluate_arm(model, test, threat=LINF, protocol=PROTOCOL)
    found = failed(model, test, evaluation)
    assert "broken samples stand at eps 0.1" in found[LARGER]
    row = checks.larger_eps_not_weaker("a", model, test.select([]), PGD(LINF))
    assert (row.passed, row.detail) == (True, "no sample was broken")


def test_square_that_the_protocol_measured_is_not_run_again():
    model = Linear()
    test, evaluation = measured(model)
    stand = checks.white_box_survivors(evaluation)
    square = stand.clone()
    square[stand.nonzero()[:2]] = False
    parameters = {**evaluation.attacks["noise"], "attack": "Square", "queries": 1000}
    recorded = dataclasses.replace(
        evaluation,
        verdicts=dict(evaluation.verdicts) | {"square": square},
        attacks=dict(evaluation.attacks) | {"square": parameters},
        excess=dict(evaluation.excess) | {"square": torch.zeros(60)},
    )
    detail = f"2 of {int(stand.sum())} survivors broken by Square with 1,000 queries, 2 of them out of PGD's reach"
    assert failed(model, test, recorded) == {SQUARE: detail}
    elsewhere = {**parameters, "norm": "l2"}  # of another ball: nothing to hold it against
    other = dataclasses.replace(recorded, attacks=dict(evaluation.attacks) | {"square": elsewhere})
    assert failed(model, test, other) == {}


def test_survivors_are_those_of_all_white_box_attacks_in_the_same_ball():
    _, evaluation = measured(Linear())
    pgd = evaluation.verdicts["pgd"]
    first = pgd[:30].clone()
    first[:10] = False
    parameters = {**evaluation.attacks["noise"], "attack": "AutoAttack"}
    changed = dataclasses.replace(
        evaluation,
        verdicts=dict(evaluation.verdicts) | {"autoattack": first, "autoattack_l2": torch.zeros(60, dtype=torch.bool)},
        attacks=dict(evaluation.attacks)
        | {"autoattack": parameters, "autoattack_l2": {**parameters, "norm": "l2", "eps": 0.5}},
        excess=dict(evaluation.excess) | {"autoattack": torch.zeros(30), "autoattack_l2": torch.zeros(60)},
    )
    expected = pgd & evaluation.verdicts["fgsm"]
    assert torch.equal(checks.white_box_survivors(evaluation), expected)
    expected[:10] = False
    assert torch.equal(checks.white_box_survivors(changed), expected)


def test_a_transferred_attack_that_is_stronger():
    model = Linear()
    test, evaluation = measured(model)
    stand = checks.white_box_survivors(evaluation)
    worse = stand[:40].clone()
    worse[stand[:40].nonzero()[:3]] = False
    transferred = {"transfer:clean": stand[:40].clone(), "transfer:style": worse, "transfer": worse}
    verdicts = dict(evaluation.verdicts) | transferred
    found = failed(model, test, dataclasses.replace(evaluation, verdicts=verdicts))
    detail = "3 of 40 samples broken only by images made on style, 3 of them out of PGD's reach"
    assert found == {TRANSFER: detail}
    verdicts |= {"transfer:style": stand[:40], "transfer": stand[:40]}
    assert failed(model, test, dataclasses.replace(evaluation, verdicts=verdicts)) == {}


def test_checks_repeat_and_leave_everything_as_it_was():
    model = Linear().train()
    test, evaluation = measured(model)
    state, verdicts = torch.get_rng_state(), {name: v.clone() for name, v in evaluation.verdicts.items()}
    first, second = (check_arm("a", model, test, evaluation) for _ in range(2))
    assert first == second
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(evaluation.verdicts[name], v) for name, v in verdicts.items())


def test_a_radius_of_nothing_is_no_fault():
    model = Linear()
    assert failed(model, *measured(model, threat=ThreatModel("linf", 0.0))) == {}


def test_what_is_broken_without_gradients_within_reach_of_pgd_is_no_masked_gradient():
    model, pgd = Linear(), PGD(LINF, steps=5)
    test = labelled_by(model, image_set(40))
    margins = model.margin(test, EPS)
    falls, stands = (margins < 0).nonzero().squeeze(1)[:3], (margins > 0).nonzero().squeeze(1)[:1]
    within = checks.square_not_stronger("a", model, test.select(falls), 30, 100, pgd)
    detail = "3 of 30 survivors broken by Square with 100 queries, 0 of them out of PGD's reach"
    assert (within.name, within.passed, within.detail) == (SQUARE, True, detail)
    both = test.select(torch.cat([falls, stands]))
    beyond = checks.square_not_stronger("a", model, both, 30, 100, pgd)
    assert (beyond.passed, beyond.detail.split(", ")[1]) == (False, "1 of them out of PGD's reach")
    transferred = checks.transfer_not_stronger("a", model, test.select(falls), 30, ["b", "c"], pgd)
    detail = "3 of 30 samples broken only by images made on b and c, 0 of them out of PGD's reach"
    assert (transferred.name, transferred.passed, transferred.detail) == (TRANSFER, True, detail)
    assert not checks.transfer_not_stronger("a", model, both, 30, ["b"], pgd).passed
    assert checks.transfer_not_stronger("a", model, test.select([]), 30, [], pgd).detail == (
        "0 of 30 samples broken only by images made on others"
    )
