"""A classifier on the bench: predictions, attacks, noise and corruptions in batches, verdicts sample by sample."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor, nn

from robustaug import randomness
from robustaug.attacks import Attack, ThreatModel
from robustaug.attacks.ball import BALLS, Ball, column
from robustaug.attacks.oracle import Oracle
from robustaug.data.imageset import ImageSet
from robustaug.errors import RobustAugError
from robustaug.evaluation.corruptions import CORRUPTIONS, corrupt
from robustaug.progress import Advance

KEPT_IMAGES = 64


@dataclass(frozen=True)
class Attacked:
    """One attack on all samples; see ``ArmEvaluation`` for the fields."""

    correct: Tensor
    correct_8bit: Tensor
    predictions: Tensor
    excess: Tensor
    images: Tensor


class Bench:
    """The model under test, and what it has cost so far.

    Args:
        model: from images to logits; ``undisturbed`` while it is measured.
        classes: how many logits it must return.
        batch_size: images at a time.
        seed: of all random starts, noise and corruptions, together with the samples' keys.
        done: told of each image sent through the model.
    """

    def __init__(self, model: nn.Module, classes: int, batch_size: int, seed: int, done: Advance) -> None:
        self.device = model_device(model)
        self.model, self.classes, self.batch_size, self.seed, self.done = model, classes, batch_size, seed, done
        self.oracle = Oracle(model)
        self.attack_passes = 0

    @property
    def forward_passes(self) -> int:
        """Images sent through the model so far."""
        return self.oracle.forward_passes + self.attack_passes

    def logits(self, images: Tensor) -> Tensor:
        """The model's logits.

        Raises:
            RobustAugError: they are not finite, or not one for each class.
        """
        logits = self.oracle.logits(images)
        if logits.shape[1] != self.classes:
            raise RobustAugError(
                f"the model returns {logits.shape[1]} logits but the data has {self.classes} classes; "
                "build it for this data set"
            )
        return logits

    def batches(self, rows: Tensor) -> Iterator[Tensor]:
        """The rows, ``batch_size`` at a time."""
        for start in range(0, len(rows), self.batch_size):
            yield rows[start : start + self.batch_size]

    def predict(self, samples: ImageSet) -> Tensor:
        """The class of each sample, int64 (N,)."""
        predictions = torch.empty(len(samples), dtype=torch.int64)
        for rows in self.batches(torch.arange(len(samples))):
            predictions[rows] = self.logits(samples.select(rows).float_images(self.device)).argmax(1).cpu()
            self.done(len(rows))
        return predictions

    def attack(self, attack: Attack, samples: ImageSet, standing: Tensor, purpose: str, cost: int) -> Attacked:
        """Attack the samples that still stand; the others stay as they are, and wrong."""
        correct, correct_8bit = standing.clone(), standing.clone()
        predictions, excess = torch.full((len(samples),), -1), torch.zeros(len(samples))
        kept = samples.select(torch.arange(min(KEPT_IMAGES, len(samples)))).float_images()
        self.done(int((~standing).sum()) * cost)
        for rows in self.batches(standing.nonzero().squeeze(1)):
            batch = samples.select(rows)
            images, labels = batch.float_images(self.device), batch.labels.to(self.device)
            seeds = randomness.sample_seeds(self.seed, batch.keys, purpose)
            result = attack(self.model, images, labels, seeds=seeds.to(self.device))
            self.attack_passes += result.forward_passes
            correct[rows] = ~result.success.cpu()
            predictions[rows] = result.predictions.cpu()
            excess[rows] = excess_distance(images, result.images, attack.threat).cpu()
            rounded = (result.images * 255).round() / 255
            correct_8bit[rows] = (self.logits(rounded).argmax(1) == labels).cpu()
            kept[rows[rows < KEPT_IMAGES]] = result.images[(rows < KEPT_IMAGES).to(self.device)].cpu()
            self.done(len(rows) * cost)
        return Attacked(correct, correct_8bit, predictions, excess, kept)

    def noise(self, threat: ThreatModel, samples: ImageSet, standing: Tensor, draws: int) -> Tensor:
        """Whether each sample survives all of its random perturbations."""
        standing = standing.clone()
        for draw in range(draws):
            self.done(int((~standing).sum()))
            for rows in self.batches(standing.nonzero().squeeze(1)):
                batch = samples.select(rows)
                seeds = randomness.sample_seeds(self.seed, batch.keys, "noise", draw).to(self.device)
                noisy = random_perturbation(batch.float_images(self.device), threat, seeds)
                standing[rows] = self.logits(noisy).argmax(1).cpu() == batch.labels
                self.done(len(rows))
        return standing

    def corruptions(self, samples: ImageSet, severities: tuple[int, ...]) -> Tensor:
        """Whether each sample is right under each corruption at each severity, bool (N, 15, V)."""
        correct = torch.empty(len(samples), len(CORRUPTIONS), len(severities), dtype=torch.bool)
        for rows in self.batches(torch.arange(len(samples))):
            batch = samples.select(rows)
            images = batch.float_images(self.device)
            for c, name in enumerate(CORRUPTIONS):
                for s, severity in enumerate(severities):
                    seeds = randomness.sample_seeds(self.seed, batch.keys, name, severity)
                    corrupted = corrupt(images, name, severity, seeds)
                    correct[rows, c, s] = self.logits(corrupted).argmax(1).cpu() == batch.labels
                    self.done(len(rows))
        return correct


def model_device(model: nn.Module) -> torch.device:
    """Where the model is; the CPU for one without parameters and buffers."""
    first = next(chain(model.parameters(), model.buffers()), None)
    return torch.device("cpu") if first is None else first.device


def random_perturbation(images: Tensor, threat: ThreatModel, seeds: Tensor) -> Tensor:
    """Images with noise of the threat's size: uniform in the linf ball; for l2 and l1 Gaussian noise of length eps.

    Then clipped to the bounds. Images (N, C, H, W), seeds (N,).
    """
    ball = Ball.around(images, threat)
    if threat.norm == "linf":
        return ball.random_point(seeds)
    noise = randomness.normal(seeds, images.shape[1:])
    return ball.project(images + ball.eps * noise / column(ball.length(noise)))


def excess_distance(images: Tensor, adversarial: Tensor, threat: ThreatModel) -> Tensor:
    """How far each adversarial image is outside its ball or the bounds, shape (N,); 0 inside, NaN for NaN."""
    low, high = threat.bounds
    beyond_ball = BALLS[threat.norm].length(adversarial - images) - threat.eps_for(images).flatten()
    beyond_bounds = torch.maximum(low - adversarial, adversarial - high).flatten(1).amax(1)
    return torch.maximum(beyond_ball, beyond_bounds).clamp_min(0)
