"""Each loss against its equation, worked out by hand or by the reference."""

import pytest
import torch
from attack_cases import Linear
from pyautoattack.autopgd_base import APGDAttack_targeted
from torch import Tensor, nn

from robustaug.attacks import MIFGSM, PGD, RFGSM, ThreatModel
from robustaug.attacks.goal import Goal
from robustaug.attacks.losses import cross_entropy, dlr, margin
from robustaug.errors import RobustAugError

LOGITS = torch.tensor([[3.0, 1.0, -1.0, 0.0], [3.0, 1.0, -1.0, 0.0], [0.0, 0.0, 4.0, 2.0]])
LABELS = torch.tensor([0, 1, 3])
TARGETS = torch.tensor([2, 3, 0])


def test_by_hand() -> None:
    away, towards = Goal(LABELS), Goal(LABELS, TARGETS)
    assert margin(LOGITS, away).tolist() == [1 - 3, 3 - 1, 4 - 2]
    assert margin(LOGITS, towards).tolist() == [-1 - 3, 0 - 3, 0 - 4]
    # (best other - own) / (first - third); (target - own) / (first - (third + fourth) / 2)
    torch.testing.assert_close(dlr(LOGITS, away), torch.tensor([-2 / 3, 2 / 3, 2 / 4]))
    torch.testing.assert_close(dlr(LOGITS, towards), torch.tensor([-4 / 3.5, -1 / 3.5, -2 / 4]))
    probabilities = LOGITS.softmax(1)
    rows = torch.arange(3)
    torch.testing.assert_close(cross_entropy(LOGITS, away), -probabilities[rows, LABELS].log())
    torch.testing.assert_close(cross_entropy(LOGITS, towards), probabilities[rows, TARGETS].log())


def test_dlr_equals_the_reference() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(50, 10, generator=generator), torch.randint(10, (50,), generator=generator)
    targets = (labels + 1 + torch.randint(9, (50,), generator=generator)) % 10
    reference = APGDAttack_targeted(None, eps=0.1)
    reference.y_target = targets
    torch.testing.assert_close(dlr(logits, Goal(labels)), reference.dlr_loss(logits, labels))
    torch.testing.assert_close(dlr(logits, Goal(labels, targets)), reference.dlr_loss_targeted(logits, labels))


@pytest.mark.parametrize("classes", [2, 3])
def test_dlr_has_a_gradient_with_fewer_classes_than_its_equation(classes: int) -> None:
    logits = torch.tensor([[2.0, -1.0, 0.5][:classes]], requires_grad=True)
    for targets in (None, torch.tensor([1])):
        value = dlr(logits, Goal(torch.tensor([0]), targets))
        (gradient,) = torch.autograd.grad(value.sum(), logits)
        assert gradient.isfinite().all()
        assert gradient[0, 0] < 0 < gradient[0].max()  # away from the label, towards another


@pytest.mark.parametrize("loss", ["cross_entropy", "margin", "dlr"])
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_every_loss_leads_to_the_same_optimum_of_a_linear_model(loss: str, norm: str) -> None:
    weight = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(2))
    model = Linear(weight, bias=0.1)
    images, labels = torch.full((5, 3, 4, 4), 0.5), torch.tensor([0, 1, 0, 1, 0])
    eps = 0.1 if norm == "linf" else 0.4
    attack = PGD(ThreatModel(norm, eps), steps=40, step_size=eps / 4, loss=loss, random_start=False)
    dual = {"linf": weight.abs().sum(), "l2": weight.norm(), "l1": weight.abs().max()}[norm]
    with torch.no_grad():
        expected = model(images)[:, 1] + torch.where(labels == 1, -1, 1) * eps * dual
        found = model(attack(model, images, labels).images)[:, 1]
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=1e-4)


def test_rfgsm_spends_what_the_random_step_left() -> None:
    """On a linear model: alpha along the signs of the noise, then eps - alpha along the signs of the weights."""
    weight = torch.randn(3, 6, 6, generator=torch.Generator().manual_seed(0))
    model = Linear(weight)
    images, labels = torch.full((40, 3, 6, 6), 0.5), torch.zeros(40, dtype=torch.int64)
    result = RFGSM(ThreatModel("linf", 0.1), alpha_fraction=0.4)(model, images, labels)
    change = (result.images - images) * weight.sign()
    assert (((change - 0.1).abs() < 1e-6) | ((change - 0.02).abs() < 1e-6)).all()  # 0.06 + 0.04 or 0.06 - 0.04
    assert 0.45 < (change > 0.06).float().mean() < 0.55
    all_random = RFGSM(ThreatModel("linf", 0.1), alpha_fraction=1)(model, images, labels)
    assert abs(((all_random.images - images) * weight.sign()).mean()) < 0.01


def test_mifgsm_equals_torchattacks(network: nn.Module, samples: tuple[Tensor, Tensor]) -> None:
    import torchattacks  # noqa: PLC0415

    images, labels = samples
    reference = torchattacks.MIFGSM(network, eps=0.03, alpha=0.005, steps=6, decay=0.8)(images, labels)
    ours = MIFGSM(ThreatModel("linf", 0.03), steps=6, step_size=0.005, decay=0.8)(network, images, labels).images
    # Theirs divides by the mean of absolute values, ours by their sum: the sign is the same.
    assert ((ours - reference).abs() > 2e-6).float().mean() < 1e-3


def test_momentum_carries_over_a_gradient_that_turns() -> None:
    class Ramp(nn.Module):
        """The gradient turns against the first steps beyond 0.55: a sum of gradients goes on, PGD turns back."""

        def forward(self, images: Tensor) -> Tensor:
            x = images.flatten(1).sum(1)
            score = torch.where(x < 0.55, x, 0.55 - 0.1 * (x - 0.55))
            return torch.stack([torch.zeros_like(score), score], 1)

    images, labels = torch.full((1, 1, 1, 1), 0.5), torch.tensor([0])
    threat = ThreatModel("linf", 0.2)
    ended = [
        float(attack(Ramp(), images, labels).images)
        for attack in (
            MIFGSM(threat, steps=3, step_size=0.04),
            MIFGSM(threat, steps=3, step_size=0.04, decay=0),
            PGD(threat, steps=3, step_size=0.04, random_start=False),
        )
    ]
    # All: 0.54, 0.58; then the third gradient points back. Each is brought to norm 1, so the sum of two outweighs it.
    assert ended == pytest.approx([0.62, 0.54, 0.54], abs=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PGD(ThreatModel(), loss="hinge"), "loss 'hinge' is unknown; use one of cross_entropy, margin, dlr"),
        (lambda: PGD(ThreatModel(), eot_samples=0), "eot_samples is 0"),
        (lambda: RFGSM(ThreatModel(), alpha_fraction=1.5), "alpha_fraction is 1.5; it must be between 0 and 1"),
        (lambda: MIFGSM(ThreatModel(), decay=-1), "decay is -1; it must be 0 or larger"),
        (lambda: PGD(ThreatModel(), steps=2.5), "steps is 2.5; it must be a whole number"),
    ],
)
def test_bad_parameters_get_one_clear_line(make: object, message: str) -> None:
    with pytest.raises(RobustAugError, match=message):
        make()  # type: ignore[operator]
