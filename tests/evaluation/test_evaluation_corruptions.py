"""The metric ``corruptions``: which images, which noise, which number, which interval."""

from dataclasses import replace

import pytest
import torch
from evaluation_cases import Linear, image_set, labelled_by
from torch import nn

from robustaug import randomness
from robustaug.attacks import ThreatModel
from robustaug.errors import RobustAugError
from robustaug.evaluation import Protocol, evaluate_arm, evaluation_work, stratified_choice
from robustaug.evaluation.corruptions import CORRUPTIONS, corrupt
from robustaug.evaluation.statistics import mean_interval

THREAT = ThreatModel("linf", 0.05)
PROTOCOL = Protocol(
    samples=5,
    pgd_steps=1,
    pgd_restarts=1,
    noise_draws=1,
    curve_samples=1,
    curve_steps=1,
    batch_size=7,
    corruption_samples=20,
    corruption_severities=(1, 5),
)


@pytest.fixture(scope="module")
def model():
    return Linear((3, 8, 8))


@pytest.fixture(scope="module")
def test_split(model):
    return labelled_by(model, image_set(30, size=8), wrong=4)


@pytest.fixture(scope="module")
def evaluation(model, test_split):
    return evaluate_arm(model, test_split, threat=THREAT, protocol=PROTOCOL, seed=3)


def test_every_verdict_by_hand(model, test_split, evaluation):
    chosen = test_split.select(stratified_choice(test_split.labels, 20, 3))
    found = evaluation.verdicts["corruptions"]
    assert found.shape == (20, 15, 2)
    for c, name in enumerate(CORRUPTIONS):
        for v, severity in enumerate((1, 5)):
            seeds = randomness.sample_seeds(3, chosen.keys, name, severity)
            with torch.no_grad():
                right = model(corrupt(chosen.float_images(), name, severity, seeds)).argmax(1) == chosen.labels
            assert torch.equal(found[:, c, v], right), name
    assert 0.3 < found.float().mean() < 0.95


def test_the_number_is_the_mean_over_all_and_n_counts_images(evaluation):
    found = evaluation.verdicts["corruptions"]
    metric = evaluation.metrics["corruptions"]
    assert (metric.n, metric.value) == (20, pytest.approx(found.double().mean().item()))
    assert metric == mean_interval(found.double().mean((1, 2)))
    table = evaluation.to_dict()["corruptions"]
    assert list(table) == list(CORRUPTIONS)
    values = [level["value"] for levels in table.values() for level in levels]
    assert sum(values) / 30 == pytest.approx(metric.value)
    assert table["fog"][1] | {"severity": 5, "n": 20, "value": found[:, 9, 1].double().mean().item()} == table["fog"][1]


def test_what_was_done_is_stated(evaluation):
    stated = evaluation.attacks["corruptions"]
    assert (stated["samples"], stated["severities"], stated["parameters"]) == (20, [1, 5], "cifar")
    assert "not comparable" in stated["frost"]


def test_no_verdict_depends_on_the_batch_size(model, test_split, evaluation):
    other = evaluate_arm(model, test_split, threat=THREAT, protocol=replace(PROTOCOL, batch_size=1), seed=3)
    assert torch.equal(other.verdicts["corruptions"], evaluation.verdicts["corruptions"])


def test_progress_reaches_its_total(model, test_split):
    counts = []
    evaluate_arm(
        model, test_split, threat=THREAT, protocol=PROTOCOL, progress=lambda count=1, note=None: counts.append(count)
    )
    assert sum(counts) == evaluation_work(test_split, None, THREAT, PROTOCOL)


def test_without_samples_nothing_is_corrupted(model, test_split, evaluation):
    without = evaluate_arm(model, test_split, threat=THREAT, protocol=replace(PROTOCOL, corruption_samples=0), seed=3)
    assert set(evaluation.metrics) - set(without.metrics) == {"corruptions"}
    assert "corruptions" not in without.to_dict()
    assert evaluation.forward_passes - without.forward_passes == 20 * 15 * 2
    for name, verdict in without.verdicts.items():
        assert torch.equal(verdict, evaluation.verdicts[name])


def test_images_too_small_to_corrupt():
    samples = image_set(4, size=4)
    with pytest.raises(RobustAugError, match="sides of at least 8 px"):
        evaluate_arm(nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), samples, threat=THREAT, protocol=PROTOCOL)


def test_the_interval_of_a_mean_by_hand():
    found = mean_interval(torch.tensor([0.2, 0.4, 0.6, 0.8]))
    half = 1.959964 * (0.2 / 3) ** 0.5 / 2  # the sample variance is 0.2 / 3
    assert (found.value, found.low, found.high, found.n) == (
        pytest.approx(0.5),
        pytest.approx(0.5 - half, abs=1e-6),
        pytest.approx(0.5 + half, abs=1e-6),
        4,
    )
    wide = mean_interval(torch.tensor([0.0, 1.0, 1.0]))
    assert (wide.low, wide.high) == (pytest.approx(2 / 3 - 1.959964 / 3, abs=1e-6), 1.0)
    alone = mean_interval(torch.tensor([0.7]))
    assert (alone.low, alone.high, alone.n) == (0.0, 1.0, 1)
    with pytest.raises(RobustAugError, match="at least one sample"):
        mean_interval(torch.tensor([]))


def test_the_interval_covers_the_truth_as_often_as_it_says():
    """Trials of one image are alike, as a Beta-binomial has them; counted one by one they would be covered far less."""
    generator = torch.Generator().manual_seed(0)
    covered = 0
    for _ in range(600):
        ease = torch.rand(200, 1, generator=generator)  # each image's own accuracy, uniform: mean 0.5
        shares = (torch.rand(200, 75, generator=generator) < ease).double().mean(1)
        found = mean_interval(shares)
        covered += found.low <= 0.5 <= found.high
    assert 0.92 < covered / 600 < 0.98
