"""A protocol's further attacks, transfer, smallest distances, confusions: against linear models in closed form."""

from dataclasses import replace

import pytest
import torch
from evaluation_cases import Linear, image_set, labelled_by
from torch import nn

from robustaug.attacks import PGD, AutoAttack, ThreatModel
from robustaug.data.imageset import ImageSet
from robustaug.errors import RobustAugError
from robustaug.evaluation import Protocol, ProtocolAttack, evaluate_arm, evaluation_work
from robustaug.evaluation.harness import _work
from robustaug.evaluation.results import TRANSFER
from robustaug.evaluation.transfer import Surrogate

LINF = ThreatModel("linf", 0.05)
BARE = Protocol(samples=60, pgd_steps=4, pgd_restarts=1, noise_draws=1, curve_samples=2, curve_steps=4, batch_size=32)
QUICK_SQUARE = {"queries": 30}


class Wells(nn.Module):
    """K classes; logit k is a linear score, so that several classes can be the nearest."""

    def __init__(self, classes=4, shape=(3, 4, 4)):
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.layer = nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], classes))
        with torch.no_grad():
            self.layer[1].weight.copy_(torch.randn(self.layer[1].weight.shape, generator=generator))
            self.layer[1].bias.copy_(-0.5 * self.layer[1].weight.sum(1))

    def forward(self, images):
        return self.layer(images)


@pytest.fixture(scope="module")
def model():
    return Linear()


@pytest.fixture(scope="module")
def test_split(model):
    return labelled_by(model, image_set(80), wrong=6)


@pytest.fixture(scope="module")
def wells():
    return Wells()


@pytest.fixture(scope="module")
def four_classes(wells):
    return labelled_by(wells, image_set(80, classes=4), wrong=6)


@pytest.fixture(scope="module")
def with_autoattack(wells, four_classes):
    attacks = (ProtocolAttack("autoattack", samples=24), ProtocolAttack("apgd-ce", norm="other", samples=40))
    return evaluate_arm(wells, four_classes, threat=LINF, protocol=replace(BARE, attacks=attacks), seed=3)


def test_autoattack_is_ours_on_the_same_images(wells, four_classes, with_autoattack):
    found = with_autoattack
    first = four_classes.select(found.attacked[:24])
    direct = AutoAttack(LINF)(wells, first.float_images(), first.labels)
    assert torch.equal(found.verdicts["autoattack"], ~direct.success)  # linear: no luck in it
    assert 0.1 < found.metrics["autoattack"].value < 0.9
    assert found.metrics["autoattack"].n == 24
    assert not (found.verdicts["autoattack"] & ~found.verdicts["pgd"][:24]).any()
    stated = found.attacks["autoattack"]
    assert (stated["attack"], stated["version"], stated["eps"], stated["samples"]) == (
        "AutoAttack",
        "standard",
        0.05,
        24,
    )


def test_accuracy_after_each_stage(with_autoattack):
    stages, broken_by = with_autoattack.stages["autoattack"], with_autoattack.broken_by["autoattack"]
    assert list(stages) == ["clean", "apgd-ce", "apgd-t", "fab-t", "square"]
    for number, accuracy in enumerate(stages.values()):
        assert accuracy.value == int(((broken_by < 0) | (broken_by > number)).sum()) / 24
    values = [accuracy.value for accuracy in stages.values()]
    assert values == sorted(values, reverse=True)
    right = with_autoattack.verdicts["clean"][with_autoattack.attacked[:24]]
    assert values[0] == right.double().mean()
    assert torch.equal(broken_by == 0, ~right)
    assert values[-1] == with_autoattack.metrics["autoattack"].value
    entry = with_autoattack.to_dict()
    assert [stage["value"] for stage in entry["stages"]["autoattack"].values()] == values


def test_an_attack_at_another_norm(wells, four_classes, with_autoattack):
    found = with_autoattack
    assert found.attacks["apgd-ce_l2"]["norm"] == "l2"
    eps = found.attacks["apgd-ce_l2"]["eps"]
    assert eps == pytest.approx(0.05 * 16 * (48 / 3072) ** 0.5)
    assert found.metrics["apgd-ce_l2"].n == 40
    assert found.excess["apgd-ce_l2"].max() <= 1e-6
    subject = four_classes.select(found.attacked[:40])
    with torch.no_grad():
        logits = wells(subject.float_images())
    weight = wells.layer[1].weight.detach()
    # The distance to each boundary bounds what any attack of this radius can do, and the bounds only help the model.
    gaps = logits.gather(1, subject.labels[:, None]) - logits
    lengths = (weight[subject.labels][:, None] - weight[None]).norm(dim=2)
    reach = (gaps / lengths).masked_fill(lengths == 0, torch.inf).amin(1)
    assert not (found.verdicts["apgd-ce_l2"] & (reach < 0)).any()
    assert found.verdicts["apgd-ce_l2"][reach > eps].all()
    assert 0.1 < found.metrics["apgd-ce_l2"].value < 1


def test_confusion_counts_what_became_of_each_class(four_classes, with_autoattack):
    found = with_autoattack
    for name, n in (("pgd", 60), ("autoattack", 24), ("apgd-ce_l2", 40)):
        labels = four_classes.labels[found.attacked[:n]]
        expected = torch.zeros(4, 4, dtype=torch.int64)
        for true, given in zip(labels.tolist(), found.predictions[name].tolist(), strict=True):
            expected[true, given] += 1
        assert torch.equal(found.confusion[name], expected)
        assert expected.sum() == n
        assert int(expected.diagonal().sum()) == int(found.verdicts[name].sum())
        assert torch.equal(found.predictions[name] == labels, found.verdicts[name])
        assert found.to_dict()["confusion"][name] == expected.tolist()
    assert "fgsm" not in found.confusion


def test_confusion_of_many_classes_stays_out_of_the_report(with_autoattack):
    many = replace(with_autoattack, confusion={"pgd": torch.zeros(101, 101, dtype=torch.int64)})
    assert "confusion" not in many.to_dict()
    many = replace(with_autoattack, confusion={"pgd": torch.zeros(100, 100, dtype=torch.int64)})
    assert len(many.to_dict()["confusion"]["pgd"]) == 100


def test_the_worst_class_is_named(with_autoattack):
    entry = with_autoattack.to_dict()
    assert set(entry["worst_class"]) == {"clean", "pgd", "autoattack", "apgd-ce_l2"}
    for metric, worst in entry["worst_class"].items():
        classes = entry["per_class"][metric]
        assert worst["value"] == min(accuracy["value"] for accuracy in classes.values())
        assert {key: worst[key] for key in ("value", "low", "high", "n")} == classes[worst["class"]]


def test_per_class_of_an_attack_on_fewer_samples(four_classes, with_autoattack):
    labels = four_classes.labels[with_autoattack.attacked[:24]]
    assert sum(accuracy.n for accuracy in with_autoattack.per_class["autoattack"].values()) == 24
    for label, name in enumerate(four_classes.class_names):
        verdicts = with_autoattack.verdicts["autoattack"][labels == label]
        assert with_autoattack.per_class["autoattack"][name].value == pytest.approx(verdicts.double().mean().item())


def test_transfer_is_the_worst_of_the_surrogates(model, test_split):
    others = {"near": Linear(seed=0, scale=2.0), "far": Linear(seed=5)}
    protocol = replace(BARE, transfer_samples=40, noise_draws=1)
    surrogates = {name: Surrogate(other) for name, other in others.items()}
    found = evaluate_arm(model, test_split, threat=LINF, protocol=protocol, surrogates=surrogates, seed=3)
    subject = test_split.select(found.attacked[:40])
    right = found.verdicts["clean"][found.attacked[:40]]
    # The near one has the model's own boundary: its adversarial images are the model's worst.
    near = found.verdicts[f"{TRANSFER}near"]
    assert torch.equal(near, model.margin(subject, LINF.eps) > 0)
    # The far one pushes every image against its own weight's signs.
    sign = (2 * subject.labels - 1).float().view(-1, 1, 1, 1)
    images = (subject.float_images() - LINF.eps * others["far"].weight.sign() * sign).clamp(0, 1)
    with torch.no_grad():
        far = right & (model(images).argmax(1) == subject.labels)
    assert torch.equal(found.verdicts[f"{TRANSFER}far"], far)
    assert near.sum() < far.sum()
    assert torch.equal(found.verdicts["transfer"], near & far)
    entry = found.to_dict()
    assert entry["metrics"]["transfer"]["n"] == 40
    assert entry["transfer"]["far"]["value"] == pytest.approx(far.double().mean().item())
    alone = evaluate_arm(model, test_split, threat=LINF, protocol=protocol)
    assert "transfer" not in alone.metrics
    assert alone.not_measured == {"transfer": "no other classifier was given to make images on"}


def test_a_surrogate_is_attacked_once_for_all(model, test_split, monkeypatch):
    calls = []
    original = PGD.__call__
    other = Linear(seed=5)

    def noted(self, attacked, *args, **kwargs):
        calls.append(attacked)
        return original(self, attacked, *args, **kwargs)

    monkeypatch.setattr(PGD, "__call__", noted)
    surrogate = Surrogate(other)
    protocol = replace(BARE, transfer_samples=40, batch_size=100)
    results = [
        evaluate_arm(model, test_split, threat=LINF, protocol=protocol, surrogates={"o": surrogate}) for _ in "ab"
    ]
    assert sum(call is other for call in calls) == 1
    assert results[0].to_dict() == results[1].to_dict()
    asked = [(PGD(LINF), test_split, 0), (PGD(LINF), test_split, 1), (PGD(LINF, steps=3), test_split, 1)]
    asked += [(PGD(LINF), test_split.select(range(9)), 1)]
    del calls[:]
    made = [surrogate.attacked(*each, 100, lambda *_: None) for each in asked]
    assert len(calls) == 4
    assert all(surrogate.attacked(*each, 100, lambda *_: None) is made[i] for i, each in enumerate(asked))
    assert len(calls) == 4


def test_a_surrogate_for_other_classes(model, test_split):
    surrogates = {"wells": Surrogate(Wells(classes=5))}
    with pytest.raises(RobustAugError, match="returns 5 logits but the data has 2 classes"):
        evaluate_arm(model, test_split, threat=LINF, protocol=replace(BARE, transfer_samples=4), surrogates=surrogates)


def test_smallest_distances_in_closed_form(model):
    samples = labelled_by(model, image_set(40, low=60, high=196), wrong=4)  # the bounds are out of reach
    found = evaluate_arm(model, samples, threat=LINF, protocol=replace(BARE, minimal_samples=30, curve_steps=8))
    subject = samples.select(found.attacked[:30])
    exact = (model.margin(subject, 0) / model.weight.abs().sum()).clamp_min(0)
    exact[~found.verdicts["clean"][found.attacked[:30]]] = 0
    assert found.distances.shape == (30,)
    assert torch.equal(found.distances == 0, exact == 0)
    # An attack finds no nearer image than there is, and bisection ends 2% of the radius (or of eps) above.
    assert (found.distances >= exact.detach() - 1e-6).all()
    assert (found.distances <= exact.detach() + 0.021 * found.distances.clamp_min(LINF.eps)).all()
    entry = found.to_dict()["distances"]
    ascending = found.distances.sort().values
    assert entry["eps"] == pytest.approx(ascending.tolist(), rel=1e-5)
    assert (entry["n"], entry["unbroken"]) == (30, 0)
    assert entry["quantiles"]["0.5"] == entry["eps"][14]  # half of the 30 do not exceed it
    assert entry["quantiles"]["0.05"] == entry["eps"][1]
    assert entry["quantiles"]["0.95"] == entry["eps"][28]
    assert found.attacks["minimal"]["samples"] == 30


def test_distances_that_nothing_reaches(with_autoattack):
    few = replace(with_autoattack, distances=torch.tensor([torch.inf, 0.5, 0.0, torch.inf]))
    assert few.to_dict()["distances"] == {
        "n": 4,
        "unbroken": 2,
        "quantiles": {"0.05": 0.0, "0.25": 0.0, "0.5": 0.5, "0.75": None, "0.95": None},
        "eps": [0.0, 0.5],
    }
    assert "distances" not in with_autoattack.to_dict()


def test_every_attack_is_independent_of_the_batch_size(wells, four_classes):
    attacks = (ProtocolAttack("autoattack", samples=6), ProtocolAttack("square", options=QUICK_SQUARE))
    protocol = replace(BARE, attacks=attacks, minimal_samples=9, transfer_samples=9)
    first, second = (
        evaluate_arm(
            wells,
            four_classes,
            threat=LINF,
            protocol=replace(protocol, batch_size=batch_size),
            surrogates={"other": Surrogate(Wells(classes=4))},
            seed=3,
        )
        for batch_size in (64, 5)
    )
    assert first.to_dict() == second.to_dict()
    assert all(torch.equal(verdict, second.verdicts[name]) for name, verdict in first.verdicts.items())
    assert torch.equal(first.broken_by["autoattack"], second.broken_by["autoattack"])


@pytest.mark.parametrize("stylised", [None, 7])
def test_progress_reaches_its_total(wells, four_classes, stylised):
    counts = []
    attacks = (ProtocolAttack("autoattack", samples=6), ProtocolAttack("square", options=QUICK_SQUARE))
    protocol = replace(BARE, attacks=attacks, minimal_samples=9, transfer_samples=9)
    restyled = None if stylised is None else four_classes.select(range(stylised))
    surrogates = {"one": Surrogate(Wells()), "two": Surrogate(Wells())}
    evaluate_arm(
        wells,
        four_classes,
        threat=LINF,
        protocol=protocol,
        stylised=restyled,
        surrogates=surrogates,
        progress=lambda count=1, note=None: counts.append(count),
    )
    assert sum(counts) == evaluation_work(four_classes, restyled, LINF, protocol, surrogates)
    assert min(counts) >= 0


def test_a_randomised_model_gets_the_version_for_those(four_classes):
    class Noisy(Wells):
        def forward(self, images):
            return super().forward(images) + 0.1 * torch.randn(len(images), 4)

    protocol = replace(BARE, samples=3, pgd_steps=1, attacks=(ProtocolAttack("autoattack"),))
    found = evaluate_arm(Noisy(), four_classes, threat=LINF, protocol=protocol)
    assert found.attacks["autoattack"]["version"] == "rand"
    assert list(found.stages["autoattack"]) == ["clean", "apgd-ce", "apgd-dlr"]


class ForwardOnly(Linear):
    forward_only = "this file gives no gradients"

    def forward(self, images):
        return super().forward(images).detach()


def test_a_model_without_gradients_is_attacked_by_square_alone(test_split):
    protocol = replace(BARE, samples=20, attacks=(ProtocolAttack("autoattack"),), minimal_samples=5)
    found = evaluate_arm(ForwardOnly(), test_split, threat=LINF, protocol=protocol)
    assert set(found.metrics) == {"clean", "square", "noise"}
    assert found.attacks["square"]["queries"] == 1000
    assert dict(found.not_measured) == dict.fromkeys(
        ("fgsm", "pgd", "autoattack", "eps_curve", "minimal"), "this file gives no gradients"
    )
    assert found.to_dict()["not_measured"] == dict(found.not_measured)
    assert found.eps_curve == ()
    robust = ForwardOnly().margin(test_split.select(found.attacked), LINF.eps) > 0
    assert found.verdicts["square"][robust].all()
    assert found.metrics["square"].value < found.metrics["clean"].value
    with torch.no_grad():
        assert torch.equal(ForwardOnly()(found.adversarial).argmax(1), found.predictions["square"])


def test_squares_own_settings_hold_without_gradients(test_split):
    counts = []
    protocol = replace(BARE, attacks=(ProtocolAttack("square", samples=10, options=QUICK_SQUARE),))
    found = evaluate_arm(
        ForwardOnly(),
        test_split,
        threat=LINF,
        protocol=protocol,
        progress=lambda count=1, note=None: counts.append(count),
    )
    assert (found.attacks["square"]["queries"], found.metrics["square"].n) == (30, 10)
    assert sum(counts) == evaluation_work(test_split, None, LINF, protocol)


class Fragile(Linear):
    """Fails on batches of some sizes, or of no rows."""

    def __init__(self, sizes, error):
        super().__init__()
        self.sizes, self.error = sizes, error

    def forward(self, images):
        if len(images) in self.sizes:
            raise self.error
        return super().forward(images)


@pytest.mark.parametrize(
    ("sizes", "error", "message"),
    [
        ({16}, RuntimeError("shape '[32, 48]' is invalid\nfor input"), "shape '[32, 48]' is invalid; it must take any"),
        ({32}, AssertionError(), "a batch of 32 images of 3x4x4: AssertionError"),
        ({32}, KeyError("size"), "'size'"),
        ({32}, torch.OutOfMemoryError("CUDA out of memory"), "memory ran out on a batch of 32 images of 3x4x4; set a"),
    ],
)
def test_a_model_that_fails_on_some_batch_size(test_split, sizes, error, message):
    with pytest.raises(RobustAugError) as caught:
        evaluate_arm(Fragile(sizes, error), test_split, threat=LINF, protocol=BARE)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_logits_that_stop_being_finite_under_attack(test_split):
    class Overflowing(Linear):
        def forward(self, images):
            return super().forward(images) / (images.flatten(1).amin(1, keepdim=True) > 0)

    images = test_split.images.clamp(min=1)
    samples = ImageSet(images, test_split.labels, test_split.keys, test_split.sha256, test_split.class_names)
    with pytest.raises(RobustAugError, match="NaN or infinite") as caught:
        evaluate_arm(Overflowing(), samples, threat=LINF, protocol=BARE)
    assert "\n" not in str(caught.value)


def test_work_is_told_by_part(test_split):
    protocol = replace(BARE, attacks=(ProtocolAttack("square", options=QUICK_SQUARE, samples=5),))
    work = _work(test_split, {}, LINF, protocol, {})
    assert (work["clean"], work["square"], work["pgd"], work["transfer"]) == (80, 150, 240, 0)
