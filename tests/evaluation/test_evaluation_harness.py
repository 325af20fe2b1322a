"""The harness against linear models, whose robust accuracy is known in closed form."""

from dataclasses import replace

import pytest
import torch
from evaluation_cases import Linear, image_set, labelled_by
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from robustaug.attacks import PGD, ThreatModel
from robustaug.data.imageset import ImageSet
from robustaug.errors import RobustAugError
from robustaug.evaluation import Protocol, check_arm, evaluate_arm, evaluation_work, stratified_choice
from robustaug.evaluation.bench import KEPT_IMAGES, excess_distance, random_perturbation

PROTOCOL = Protocol(
    samples=150, pgd_steps=10, pgd_restarts=2, noise_draws=4, curve_samples=100, curve_steps=10, batch_size=64
)
LINF = ThreatModel("linf", 0.05)


@pytest.fixture(scope="module")
def model():
    return Linear()


@pytest.fixture(scope="module")
def test_split(model):
    return labelled_by(model, image_set(200), wrong=10)


@pytest.fixture(scope="module")
def stylised(model):
    return labelled_by(model, image_set(70, seed=9), wrong=20)


@pytest.fixture(scope="module")
def evaluation(model, test_split, stylised):
    return evaluate_arm(model, test_split, threat=LINF, protocol=PROTOCOL, stylised=stylised, seed=3)


def test_linf_robust_accuracy_in_closed_form(model, test_split, evaluation):
    robust = model.margin(test_split, LINF.eps) > 0
    assert 0.2 < robust.float().mean() < 0.8
    subject = robust[evaluation.attacked]
    assert evaluation.not_measured == {}
    assert torch.equal(evaluation.verdicts["clean"], model.margin(test_split, 0) > 0)
    assert torch.equal(evaluation.verdicts["fgsm"], subject)
    assert torch.equal(evaluation.verdicts["pgd"], subject)
    for name, n in (("clean", 200), ("fgsm", 150), ("pgd", 150), ("noise", 150), ("unseen_style", 70)):
        metric = evaluation.metrics[name]
        assert (metric.n, metric.value) == (n, int(evaluation.verdicts[name].sum()) / n)
    assert evaluation.metrics["clean"].value == 190 / 200
    assert evaluation.metrics["unseen_style"].value == 50 / 70
    assert set(evaluation.metrics) == {"clean", "fgsm", "pgd", "noise", "unseen_style"}


def test_l2_robust_accuracy_in_closed_form(model):
    samples = labelled_by(model, image_set(200, low=100, high=156))  # the bounds are out of reach
    eps = 0.04
    slack = model.margin(samples, 0) - eps * model.weight.norm().item()
    # From a random start, PGD turns towards the gradient by a share of the angle a step: it ends just short of it.
    clear = samples.select((slack.abs() > 0.01).nonzero().squeeze(1))
    found = evaluate_arm(
        model, clear, threat=ThreatModel("l2", eps), protocol=replace(PROTOCOL, samples=200, pgd_steps=30)
    )
    expected = (model.margin(clear, 0) > eps * model.weight.norm())[found.attacked]
    assert 0.2 < expected.float().mean() < 0.8
    assert torch.equal(found.verdicts["fgsm"], expected)
    assert torch.equal(found.verdicts["pgd"], expected)


def test_the_curve_in_closed_form(model, test_split, evaluation):
    subject = test_split.select(evaluation.attacked[:100])
    assert len(evaluation.eps_curve) > 3
    for point in evaluation.eps_curve:
        expected = (model.margin(subject, point.eps) > 0).float().mean().item()
        assert (point.accuracy.value, point.accuracy.n) == (pytest.approx(expected), 100)
    values = [point.accuracy.value for point in evaluation.eps_curve]
    assert values[-1] <= evaluation.chance == 0.5 < values[-2]


def test_a_sample_broken_in_a_small_ball_stays_broken(model, test_split, monkeypatch):
    """Planted: attacks that fail at every eps but one."""
    original = PGD.__call__

    def only_at_one_eps(self, model, images, labels, **kwargs):
        result = original(self, model, images, labels, **kwargs)
        if self.threat.eps == 0.0125:
            return result
        return replace(result, success=torch.zeros_like(result.success))

    monkeypatch.setattr(PGD, "__call__", only_at_one_eps)
    found = evaluate_arm(model, test_split, threat=LINF, protocol=PROTOCOL)
    values = [point.accuracy.value for point in found.eps_curve]
    assert values[0] > values[1] == values[2] == values[-1] > 0.5
    assert found.eps_curve[-1].eps == 1.0
    assert found.metrics["pgd"].value > found.metrics["fgsm"].value
    right = found.verdicts["clean"][found.attacked][test_split.labels[found.attacked] == 0]
    assert found.per_class["pgd"]["class 0"].value == pytest.approx(right.float().mean().item())
    failed = [check.name for check in check_arm("a", model, test_split, found) if not check.passed]
    assert failed[0] == "PGD is at least as strong as FGSM"


def test_per_class_accuracies_add_up(evaluation, test_split):
    for metric, labels in (("clean", test_split.labels), ("pgd", test_split.labels[evaluation.attacked])):
        verdict = evaluation.verdicts[metric]
        for label, name in enumerate(test_split.class_names):
            accuracy = evaluation.per_class[metric][name]
            assert accuracy.n == int((labels == label).sum())
            assert accuracy.value == pytest.approx(verdict[labels == label].float().mean().item())


def test_a_class_without_a_sample_is_left_out(model):
    samples = labelled_by(model, image_set(40))
    only = samples.select((samples.labels == 1).nonzero().squeeze(1))
    found = evaluate_arm(model, only, threat=LINF, protocol=PROTOCOL)
    assert list(found.per_class["clean"]) == list(found.per_class["pgd"]) == ["class 1"]
    assert found.to_dict()["not_measured"] == {"per_class": "no test image of class class 0"}
    names = tuple("abcdefghi")
    many = ImageSet(only.images, only.labels, only.keys, only.sha256, names)
    found = evaluate_arm(nn.Sequential(nn.Flatten(), nn.Linear(48, 9)), many, threat=LINF, protocol=PROTOCOL)
    assert found.not_measured == {"per_class": "no test image of class a, c, d, e, f and 3 more"}
    assert len(found.confusion["pgd"]) == 9


def test_pictures_are_inside_the_ball_and_show_the_verdict(model, test_split, evaluation):
    first = test_split.select(evaluation.attacked[:KEPT_IMAGES])
    originals, pictures = first.float_images(), evaluation.adversarial
    assert pictures.shape == originals.shape
    assert excess_distance(originals, pictures, LINF).max() <= 1e-6
    assert evaluation.pgd_excess.shape == (150,)
    assert evaluation.pgd_excess.max() <= 1e-6
    with torch.no_grad():
        predictions = model(pictures).argmax(1)
    assert torch.equal(predictions, evaluation.predictions["pgd"][:KEPT_IMAGES])
    assert torch.equal(predictions == first.labels, evaluation.verdicts["pgd"][:KEPT_IMAGES])
    wrong = ~evaluation.verdicts["clean"][evaluation.attacked[:KEPT_IMAGES]]
    assert wrong.any()
    assert torch.equal(pictures[wrong], originals[wrong])


def test_predictions_belong_to_the_verdicts(evaluation, test_split, stylised):
    sets = {"clean": test_split, "unseen_style": stylised}
    for metric in ("clean", "fgsm", "pgd", "unseen_style"):
        labels = sets.get(metric, test_split.select(evaluation.attacked)).labels
        assert torch.equal(evaluation.predictions[metric] == labels, evaluation.verdicts[metric])


@pytest.mark.parametrize("threat", [LINF, ThreatModel("l2", 0.2)], ids=str)  # in l2, the start shows in the images
def test_no_result_depends_on_the_batch_size(model, test_split, stylised, threat):
    first, *others = (
        evaluate_arm(
            model,
            test_split,
            threat=threat,
            protocol=replace(PROTOCOL, batch_size=batch_size),
            stylised=stylised,
            seed=3,
        )
        for batch_size in (64, 1, 17, 1000)
    )
    for other in others:
        assert all(torch.equal(verdict, other.verdicts[name]) for name, verdict in first.verdicts.items())
        assert torch.equal(first.adversarial, other.adversarial)
        assert first.to_dict() == other.to_dict()


def test_the_attacks_are_those_of_the_protocol(model, test_split, evaluation, monkeypatch):
    used = []
    original = PGD.__call__

    def noted(self, *args, **kwargs):
        used.append((self.threat.eps, self.steps, self.restarts))
        return original(self, *args, **kwargs)

    monkeypatch.setattr(PGD, "__call__", noted)
    protocol = replace(PROTOCOL, batch_size=500, pgd_steps=7, pgd_restarts=3, curve_steps=5)
    found = evaluate_arm(model, test_split, threat=LINF, protocol=protocol)
    radii = [point.eps for point in found.eps_curve[1:]]
    assert used == [(0.05, 7, 3), *((eps, 5, 1) for eps in radii)]
    assert found.attacks["pgd"] == {
        "attack": "PGD",
        "norm": "linf",
        "eps": 0.05,
        "bounds": [0.0, 1.0],
        "precision": "float32",
        "loss": "cross_entropy",
        "eot_samples": 1,
        "compiled": False,
        "steps": 7,
        "step_size": None,
        "restarts": 3,
        "random_start": True,
        "early_exit": False,
        "stacked": False,
        "samples": 150,
    }
    assert (found.attacks["eps_curve"]["steps"], found.attacks["eps_curve"]["samples"]) == (5, 100)
    assert found.attacks["noise"] == {
        "norm": "linf",
        "eps": 0.05,
        "bounds": [0.0, 1.0],
        "draws": 4,
        "samples": 150,
    }
    assert evaluation.attacks["unseen_style"] == {"samples": 70}


def test_samples_that_are_wrong_from_the_start_are_not_attacked(model):
    samples = labelled_by(model, image_set(50), wrong=50)
    found = evaluate_arm(model, samples, threat=LINF, protocol=PROTOCOL)
    assert found.forward_passes == 50
    assert {name: metric.value for name, metric in found.metrics.items()} == dict.fromkeys(found.metrics, 0.0)
    assert [point.eps for point in found.eps_curve] == [0.0]


def test_forward_passes_are_those_that_the_model_ran(test_split):
    class Counting(Linear):
        passes = 0

        def forward(self, images):
            Counting.passes += len(images)
            return super().forward(images)

    found = evaluate_arm(Counting(), test_split, threat=LINF, protocol=replace(PROTOCOL, batch_size=16))
    # Batches of fewer than 16 are filled up for the kernels' sake; those rows are not counted.
    assert Counting.passes * 0.8 < found.forward_passes <= Counting.passes


@pytest.mark.parametrize("with_style", [True, False])
def test_progress_reaches_its_total(model, test_split, stylised, with_style):
    counts = []
    chosen = stylised if with_style else None
    evaluate_arm(
        model,
        test_split,
        threat=LINF,
        protocol=PROTOCOL,
        stylised=chosen,
        progress=lambda count=1, note=None: counts.append(count),
    )
    assert sum(counts) == evaluation_work(test_split, chosen, LINF, PROTOCOL)


def test_the_model_and_the_random_state_stay_as_they_were(test_split):
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(48), nn.Linear(48, 2)).train()
    model[2].eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    evaluate_arm(model, test_split, threat=LINF, protocol=PROTOCOL)
    assert torch.equal(torch.get_rng_state(), state)
    assert (model.training, model[1].training, model[2].training) == (True, True, False)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_noise_has_the_size_of_the_threat(norm):
    images = image_set(30, low=100, high=156, size=16).float_images()
    threat = ThreatModel(norm, 0.1)
    change = random_perturbation(images, threat, torch.arange(30)) - images
    if norm == "l2":
        assert torch.allclose(change.flatten(1).norm(dim=1), torch.full((30,), 0.1), atol=1e-5)
        assert abs(change.mean()) < 1e-3
    else:
        assert change.abs().max() <= 0.1 + 1e-7
        # Uniform in [-eps, eps]: mean 0, standard deviation eps / sqrt(3).
        assert abs(change.mean()) < 1e-3
        assert change.std() == pytest.approx(0.1 / 3**0.5, rel=0.02)


def test_noise_counts_the_worst_draw_and_more_draws_only_break_more(model):
    samples = labelled_by(model, image_set(150, low=100, high=156))
    threat = ThreatModel("linf", 0.3)
    verdicts = [
        evaluate_arm(
            model, samples, threat=threat, protocol=replace(PROTOCOL, noise_draws=draws, curve_samples=1)
        ).verdicts["noise"]
        for draws in (1, 2, 12)
    ]
    assert 0 < verdicts[0].sum() < 150
    assert verdicts[0].sum() > verdicts[1].sum() > verdicts[2].sum()
    assert not (verdicts[1] & ~verdicts[0]).any()
    assert not (verdicts[2] & ~verdicts[1]).any()


def test_excess_distance_by_hand():
    images = torch.full((4, 3, 2, 2), 0.5)
    adversarial = images.clone()
    adversarial[1, 0, 0, 0] = 0.75
    adversarial[2, 0, 0, 0] = 1.5
    adversarial[3, 0, 0, 0] = float("nan")
    linf = excess_distance(images, adversarial, ThreatModel("linf", 0.2))
    assert linf[:3].tolist() == pytest.approx([0, 0.05, 0.8])
    assert linf[3].isnan()
    assert excess_distance(images, adversarial, ThreatModel("linf", 1.0))[2] == 0.5  # beyond the bounds alone
    assert excess_distance(images, adversarial, ThreatModel("l2", 0.3))[:3].tolist() == pytest.approx([0, 0, 0.7])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=80), st.integers(1, 90), st.integers(0, 3))
def test_the_choice_is_stratified_and_nested(labels, n, seed):
    labels = torch.tensor(labels)
    chosen = stratified_choice(labels, n, seed)
    assert len(chosen) == len(set(chosen.tolist())) == min(n, len(labels))
    for label in labels.unique():
        fair = len(chosen) * (labels == label).sum() / len(labels)
        assert (
            abs((labels[chosen] == label).sum() - fair) <= 3
        )  # its own rounding, and its share of the five classes' roundings
    assert torch.equal(stratified_choice(labels, n + 5, seed)[: len(chosen)], chosen)


def test_a_rare_class_is_chosen_in_its_share():
    labels = torch.tensor([0] * 90 + [1] * 10)
    assert torch.bincount(labels[stratified_choice(labels, 20, 0)]).tolist() == [18, 2]


def test_the_choice_follows_the_seed():
    labels = torch.arange(100) % 5
    assert torch.equal(stratified_choice(labels, 30, 1), stratified_choice(labels, 30, 1))
    assert not torch.equal(stratified_choice(labels, 30, 1), stratified_choice(labels, 30, 2))
    assert torch.bincount(labels[stratified_choice(labels, 30, 1)]).tolist() == [6] * 5


class Fixed(nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.outputs = outputs

    def forward(self, images):
        return self.outputs.expand(len(images), *self.outputs.shape)


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (torch.zeros(3), "returns 3 logits but the data has 2 classes"),
        (torch.tensor([0.0, float("nan")]), "logits are NaN or infinite"),
        (torch.zeros(2, 2), r"must return logits of shape \(\d+, classes\)"),
    ],
)
def test_outputs_that_are_no_logits_of_these_classes(test_split, outputs, message):
    with pytest.raises(RobustAugError, match=message) as caught:
        evaluate_arm(Fixed(outputs), test_split, threat=LINF, protocol=PROTOCOL)
    assert "\n" not in str(caught.value)


def test_data_that_cannot_be_evaluated(model, test_split, stylised):
    other = ImageSet(stylised.images, stylised.labels, stylised.keys, stylised.sha256, ("x", "y"))
    for arguments, message in (
        ({"test": test_split.select([])}, "the test split is empty"),
        ({"stylised": other}, "other classes than the test split"),
        ({"threat": ThreatModel("linf", (0.1, 0.2))}, "one eps for all samples"),
        ({"threat": ThreatModel("linf", 0.1, bounds=(0.2, 0.8))}, "outside the bounds"),
    ):
        settings = {"test": test_split, "threat": LINF, "protocol": PROTOCOL} | arguments
        with pytest.raises(RobustAugError, match=message):
            evaluate_arm(model, **settings)


def test_the_search_in_l1_is_auto_pgd_and_finds_the_closed_form():
    """For a linear model FGSM is exact in l1: the steepest values to their bounds."""
    model = Linear((3, 8, 8))
    test = labelled_by(model, image_set(60, size=8))
    protocol = Protocol(samples=60, pgd_steps=10, pgd_restarts=1, noise_draws=1, curve_samples=10, curve_steps=5)
    evaluation = evaluate_arm(model, test, threat=ThreatModel("l1", 1.0), protocol=protocol)
    fgsm, pgd = (evaluation.verdicts[name] for name in ("fgsm", "pgd"))
    assert 10 < fgsm.sum() < 50
    assert int(pgd.sum()) <= int(fgsm.sum()) + 1
    assert evaluation.attacks["pgd"]["attack"] == evaluation.attacks["eps_curve"]["attack"] == "APGD"
    assert evaluation.attacks["pgd"]["steps"] == 25  # ten of them in the ball itself
