"""Every check passes an honest model and flags the fault it is there for."""

import pytest
import torch
from evaluation_cases import Linear, image_set, labelled_by
from torch import nn

from robustaug.attacks import ThreatModel
from robustaug.evaluation import Protocol, check_arm, checks, evaluate_arm
from robustaug.evaluation.results import CurvePoint
from robustaug.evaluation.statistics import accuracy_interval

PROTOCOL = Protocol(samples=60, pgd_steps=10, pgd_restarts=2, noise_draws=3, curve_samples=40, curve_steps=10)
IMAGES = image_set(40).float_images()


def bools(true, n):
    return torch.arange(n) < true


def curve(*values):
    return tuple(CurvePoint(eps / 10, accuracy_interval(bools(v, 100))) for eps, v in enumerate(values))


def test_an_honest_model_passes_all():
    model = Linear()
    test = labelled_by(model, image_set(80), wrong=4)
    evaluation = evaluate_arm(model, test, threat=ThreatModel("linf", 0.05), protocol=PROTOCOL)
    rows = check_arm("clean", model, test, evaluation)
    assert [row.to_dict() for row in rows if not row.passed] == []
    assert {row.arm for row in rows} == {"clean"}
    assert len({row.name for row in rows}) == len(rows) == 14
    rounding = next(row for row in rows if "rounding" in row.name)
    clean = evaluation.verdicts["clean"][evaluation.attacked]
    broken = int((clean & ~evaluation.verdicts["pgd"]).sum())  # what was wrong from the start is no success
    assert rounding.detail.split(" (")[0].endswith(f" of {broken} successes")


def test_pgd_weaker_than_fgsm():
    assert checks.iterative_not_weaker("a", bools(500, 1000), bools(510, 1000)).passed
    flagged = checks.iterative_not_weaker("a", bools(500, 1000), bools(511, 1000))
    assert not flagged.passed
    assert "51.1% under PGD, 50.0% under FGSM" in flagged.detail
    assert checks.iterative_not_weaker("a", bools(3, 20), bools(4, 20)).passed
    assert not checks.iterative_not_weaker("a", bools(3, 20), bools(5, 20)).passed


def test_noise_that_breaks_what_pgd_does_not():
    pgd = torch.tensor([True, True, False, False])
    assert checks.noise_not_stronger("a", torch.tensor([True, True, True, False]), pgd).passed
    flagged = checks.noise_not_stronger("a", torch.tensor([True, False, True, True]), pgd)
    assert (flagged.passed, flagged.detail) == (False, "1 of 4 samples broken by noise only")


def test_a_curve_that_rises_or_stays_above_chance():
    assert checks.curve_falls_to_chance("a", curve(90, 50, 50, 10), 0.1).passed
    assert checks.curve_falls_to_chance("a", curve(5), 0.1).passed
    rising = checks.curve_falls_to_chance("a", curve(90, 40, 50, 0), 0.1)
    assert (rising.passed, rising.detail) == (False, "rises at eps 0.2")
    high = checks.curve_falls_to_chance("a", curve(90, 50, 11), 0.1)
    assert (high.passed, high.detail) == (False, "accuracy 11.0% at eps 0.2, chance is 10.0%")


def test_images_outside_their_ball():
    assert checks.inside_ball("a", torch.tensor([0.0, 1e-7])).passed
    assert not checks.inside_ball("a", torch.tensor([0.0, 1e-5])).passed
    assert not checks.inside_ball("a", torch.tensor([0.0, float("nan")])).passed


def test_success_lost_to_rounding():
    broken = bools(20, 30)
    assert checks.survives_rounding("a", broken, ~bools(16, 30)).passed  # Wilson's interval of 16/20 ends at 0.919
    flagged = checks.survives_rounding("a", broken, ~bools(15, 30))  # that of 15/20 at 0.888
    assert (flagged.passed, flagged.detail) == (False, "15 of 20 successes (75.0%) remain")
    assert not checks.survives_rounding("a", bools(200, 300), ~bools(170, 300)).passed
    assert checks.survives_rounding("a", bools(200, 300), ~bools(175, 300)).passed
    assert checks.survives_rounding("a", bools(0, 30), bools(30, 30)).passed


def test_successes_below_half_a_grey_level_are_flagged_end_to_end():
    """Images on a decision plane between two grey levels: a tiny eps breaks all, and rounding undoes it."""
    model = Linear(scale=1.0)
    test = labelled_by(model, image_set(60, low=100, high=156))
    with torch.no_grad():  # steep enough that a change of 0.1 / 255 turns each sample
        score = model(test.float_images())[:, 1]
    nearest = int(score.abs().argmin())
    row = test.select([nearest])
    eps = 1.05 * 2 * float(score[nearest].abs()) / model.weight.abs().sum().item()
    assert eps < 0.45 / 255
    evaluation = evaluate_arm(model, row, threat=ThreatModel("linf", eps), protocol=PROTOCOL)
    assert evaluation.metrics["pgd"].value == 0
    failed = {check.name for check in check_arm("a", model, row, evaluation) if not check.passed}
    assert failed == {"success survives rounding to 8 bits"}


class WithSoftmax(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = Linear()

    def forward(self, images):
        return self.inner(images).softmax(1)


def test_probabilities_in_place_of_logits():
    assert checks.outputs_are_logits("a", Linear(), IMAGES).passed
    flagged = checks.outputs_are_logits("a", WithSoftmax(), IMAGES)
    assert not flagged.passed
    assert "remove the model's last softmax" in flagged.detail


class BatchStatistics(Linear):
    def forward(self, images):
        return super().forward(images - images.mean(dim=0, keepdim=True))


class NeedsBatch(Linear):
    def forward(self, images):
        if len(images) == 1:
            raise ValueError("Expected more than 1 value per channel")
        return super().forward(images)


def test_predictions_that_depend_on_the_batch():
    assert checks.independent_of_batch("a", Linear(), IMAGES).passed
    assert not checks.independent_of_batch("a", BatchStatistics(), IMAGES).passed
    flagged = checks.independent_of_batch("a", NeedsBatch(), IMAGES)
    assert (flagged.passed, flagged.detail) == (
        False,
        "fails on a single image: Expected more than 1 value per channel",
    )


class Noisy(Linear):
    def forward(self, images):
        return super().forward(images) + 0.01 * torch.randn(len(images), 2)


def test_random_outputs_are_flagged_and_the_random_state_stays():
    state = torch.get_rng_state()
    assert checks.repeatable("a", Linear(), IMAGES).passed
    assert not checks.repeatable("a", Noisy(), IMAGES).passed
    assert torch.equal(torch.get_rng_state(), state)


def test_dropout_in_training_mode_is_no_random_output():
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(48, 2)).train()
    assert checks.repeatable("a", model, IMAGES).passed
    assert model.training


class Rounded(Linear):
    def forward(self, images):
        return super().forward((images * 4).round() / 4)


class RootAtZero(Linear):
    def forward(self, images):
        return super().forward(images) + (images.sum((1, 2, 3)) * 0).sqrt()[:, None]


@pytest.mark.parametrize(
    ("model", "passed", "detail"),
    [
        (Linear(), True, "0 of 40 samples with a zero gradient, 0 with NaN"),
        (Rounded(), False, "40 of 40 samples with a zero gradient, 0 with NaN"),
        (RootAtZero(), False, "0 of 40 samples with a zero gradient, 40 with NaN"),
        (Linear(scale=1e5), False, "with a zero gradient, 0 with NaN"),
    ],
    ids=["honest", "rounded input", "NaN", "saturated loss"],
)
def test_gradients_that_tell_nothing(model, passed, detail):
    labels = labelled_by(model, image_set(40)).labels
    check = checks.gradients_not_zero("a", model, IMAGES, labels)
    assert check.passed is passed
    assert detail in check.detail


def test_the_room_for_rounding_grows_with_the_numbers() -> None:
    excess = torch.tensor([0.0, 5e-6])
    assert not checks.inside_ball("a", excess).passed
    assert checks.inside_ball("a", excess, scale=10.0).passed
    assert not checks.inside_ball("a", 3 * excess, scale=10.0).passed
