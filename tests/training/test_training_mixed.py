"""MixUp and CutMix in the loop: which rows, whose labels, and the loss of both labels in their shares."""

from pathlib import Path
from typing import Any

import pytest
import torch
from objective_cases import linear, shifted, task
from torch import nn
from torch.nn import functional as F
from training_cases import THREAT, Planted, composite, run

from robustaug.data import Mix
from robustaug.data.augmentation.mixing import CutMix, MixUp
from robustaug.randomness import fold, sample_seeds
from robustaug.training import TrainingSettings
from robustaug.training.augment import mixed
from robustaug.training.objectives import AdversarialTraining, Learner, MixedLabels, Task, WeightPerturbation


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
@pytest.mark.parametrize("adversarial", [0, 3])
@pytest.mark.parametrize("awp", [False, True])
def test_the_loss_is_cross_entropy_with_soft_labels(label_smoothing: float, adversarial: int, awp: bool) -> None:
    plain, share = task(adversarial=adversarial), torch.linspace(0.1, 1, 8)
    share[8 - adversarial :] = 1
    others = plain.labels.roll(1)
    given = Task(plain.images, plain.labels, plain.rows, plain.attack, plain.seeds, 0, MixedLabels(others, share))
    images = given.among(given.images, shifted(given)) if adversarial else given.images
    model = linear()
    classes = model[1].out_features  # type: ignore[index]
    soft = share[:, None] * F.one_hot(given.labels, classes) + (1 - share[:, None]) * F.one_hot(others, classes)
    expected = F.cross_entropy(model(images), soft, label_smoothing=label_smoothing)
    objective = AdversarialTraining(label_smoothing=label_smoothing)
    learner, moved = Learner(model), shifted(given) if adversarial else given.images[:0]
    if awp:  # the perturbed weights' loss is larger, and asks the same of the labels
        wrapped = WeightPerturbation(objective, 0.01)
        assert wrapped.takes_mixed_labels
        assert wrapped.gradients(learner, given, moved).loss > expected
    else:
        torch.testing.assert_close(objective.terms(learner, given, moved).loss, expected)


def test_rows_that_are_not_attacked_are_mixed_with_the_row_before(tmp_path: Path) -> None:
    batch = composite(Mix(0.5, 0.25, 0.25), n=64).batch(0, 48)
    settings = TrainingSettings(augmentation=({"name": "mixup", "probability": 0.5, "alpha": 0.4}, "cutmix"))
    images, shared = mixed(batch.images, batch, settings, 3)
    assert shared is not None
    plain = [row for row in range(48) if not batch.adversarial[row]]
    seeds, seen = sample_seeds(3, batch.keys, "mix"), {"mixup": 0, "cutmix": 0, "neither": 0}
    for row in range(48):
        expected, share, other = batch.images[row], 1.0, row
        if row in plain:
            before = plain[plain.index(row) - 1]
            for position, technique in enumerate((MixUp(probability=0.5, alpha=0.4), CutMix())):
                chosen, drawn = technique.draw(fold(seeds[row : row + 1], position))
                if chosen:
                    pair = batch.images[row : row + 1], batch.images[before : before + 1]
                    found, kept = technique.mix(*pair, drawn)
                    expected, share, other = found[0], float(kept), before
                    seen[technique.name] += 1
                    break
            else:
                seen["neither"] += 1
        assert torch.equal(images[row], expected)
        assert float(shared.share[row]) == share
        assert shared.others[row] == batch.labels[other]
    assert min(seen.values()) > 3


def test_without_two_rows_to_mix_nothing_is_mixed() -> None:
    settings = TrainingSettings(augmentation="mixup")
    batch = composite(Mix(0.125, 0, 0.875)).batch(0, 8)
    assert mixed(batch.images, batch, settings, 0) == (batch.images, None)
    batch = composite(Mix()).batch(0, 8)
    assert mixed(batch.images, batch, TrainingSettings(augmentation="hue"), 0) == (batch.images, None)


def test_the_model_learns_from_the_mixed_images(tmp_path: Path) -> None:
    seen: list[torch.Tensor] = []

    class Recorder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3 * 8 * 8, 2)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            if self.training:
                seen.append(images.detach().clone())
            logits: torch.Tensor = self.linear(images.flatten(1))
            return logits

    data, options = composite(Mix(0.5, 0, 0.5)), {"augmentation": ({"name": "mixup", "probability": 1.0},)}
    keep: Any = Planted(THREAT, make=lambda images, labels: 1 - images)
    run(tmp_path, Recorder(), data.mix, data=data, steps=1, validate_every=1, attack=keep, seed=2, **options)
    batch = data.batch(0, 8)
    expected, _ = mixed(batch.images, batch, TrainingSettings(**options), 2)  # type: ignore[arg-type]
    assert torch.equal(seen[0][:4], expected[:4])
    assert not torch.equal(expected[:4], batch.images[:4])
    assert torch.equal(seen[0][4:], 1 - batch.images[4:])  # attacked as they are
