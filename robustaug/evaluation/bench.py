"""A classifier on the bench: predictions, attacks, noise and corruptions in batches, verdicts sample by sample."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robustaug import randomness
from robustaug.attacks import Attack, AttackResult, AutoAttack, AutoAttackResult, ThreatModel, minimal_eps
from robustaug.attacks.autoattack import Progress
from robustaug.attacks.ball import BALLS, Ball, column
from robustaug.attacks.oracle import Oracle
from robustaug.data.imageset import ImageSet
from robustaug.errors import RobustAugError
from robustaug.evaluation.corruptions import CORRUPTIONS, corrupt
from robustaug.evaluation.parts import Part
from robustaug.hardware import is_out_of_memory
from robustaug.progress import Advance

KEPT_IMAGES = 64
# What somebody's model may raise on a batch that it cannot take.
_MODEL_ERRORS = (RuntimeError, ValueError, TypeError, LookupError, ArithmeticError, AssertionError, AttributeError)


@contextmanager
def running(images: Tensor) -> Iterator[None]:
    """What goes wrong in a model on these images is one line that names the batch.

    Raises:
        RobustAugError: for any error of the model; for its own, that one.
    """
    try:
        yield
    except RobustAugError:
        raise
    except _MODEL_ERRORS as error:
        shape = "x".join(map(str, images.shape[1:]))
        what = f"a batch of {len(images)} images of {shape}"
        if isinstance(error, RuntimeError) and is_out_of_memory(error):
            raise RobustAugError(f"memory ran out on {what}; set a smaller batch_size in the protocol") from error
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise RobustAugError(
            f"the model fails on {what}: {reason}; it must take any number of images, one alone as well"
        ) from error


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
        with running(images):
            logits = self.oracle.logits(images)
        if logits.shape[1] != self.classes:
            raise RobustAugError(
                f"the model returns {logits.shape[1]} logits but the data has {self.classes} classes; "
                "build it for this data set"
            )
        return logits

    def batches(self, rows: Tensor, size: int | None = None) -> Iterator[Tensor]:
        """The rows, so many at a time: ``batch_size`` unless told otherwise."""
        size = size or self.batch_size
        for start in range(0, len(rows), size):
            yield rows[start : start + size]

    def predict(self, samples: ImageSet) -> Tensor:
        """The class of each sample, int64 (N,)."""
        predictions = torch.empty(len(samples), dtype=torch.int64)
        for rows in self.batches(torch.arange(len(samples))):
            predictions[rows] = self.logits(samples.select(rows).float_images(self.device)).argmax(1).cpu()
            self.done(len(rows))
        return predictions

    def attack(
        self, attack: Attack, samples: ImageSet, standing: Tensor, purpose: str, cost: int, state: Path | None = None
    ) -> Part:
        """Attack the samples that still stand; the others stay as they are, and wrong.

        AutoAttack is given all at once, since it packs what its stages leave standing into full batches.

        Args:
            attack: which.
            samples: the originals.
            standing: bool (N,).
            purpose: what the random starts are for.
            cost: what a sample counts for in the progress.
            state: where AutoAttack keeps how far it is.

        Returns:
            ``correct`` and ``correct_8bit`` (after rounding to 8 bits), bool (N,); ``predictions``, int64 (N,), -1
            where nothing was attacked; ``excess``, float32 (N,), see ``excess_distance``; ``images`` of the first
            samples, float32; of AutoAttack also ``broken_by``, int64 (N,), the stage that broke each sample (0: wrong
            from the start, -1: none did), and their names as the fact ``stages``.
        """
        found = {
            "correct": standing.clone(),
            "correct_8bit": standing.clone(),
            "predictions": torch.full((len(samples),), -1),
            "excess": torch.zeros(len(samples)),
            "images": samples.first(KEPT_IMAGES).float_images(),
        }
        facts: dict[str, Any] = {}
        size = self.batch_size
        if isinstance(attack, AutoAttack):
            size, attack = len(samples), self._fitting(attack, samples)
            found["broken_by"], facts["stages"] = torch.zeros(len(samples), dtype=torch.int64), ["clean"]
        self.done(int((~standing).sum()) * cost)
        for rows in self.batches(standing.nonzero().squeeze(1), size):
            batch = samples.select(rows)
            images, labels = batch.float_images(self.device), batch.labels.to(self.device)
            seeds = randomness.sample_seeds(self.seed, batch.keys, purpose).to(self.device)
            result: AttackResult
            with running(images[: self.batch_size]):
                if isinstance(attack, AutoAttack):
                    result = self._autoattack(attack, images, labels, seeds, cost, state)
                else:
                    result = attack(self.model, images, labels, seeds=seeds)
                    self.done(len(rows) * cost)
            if isinstance(result, AutoAttackResult):
                found["broken_by"][rows], facts["stages"] = result.broken_by.cpu(), list(result.stages)
            self.attack_passes += result.forward_passes
            found["correct"][rows] = ~result.success.cpu()
            found["predictions"][rows] = result.predictions.cpu()
            found["excess"][rows] = excess_distance(images, result.images, attack.threat).cpu()
            found["correct_8bit"][rows] = self.are_right((result.images * 255).round() / 255, batch.labels)
            kept = rows < KEPT_IMAGES
            found["images"][rows[kept]] = result.images[kept.to(self.device)].cpu()
        return Part(found, facts | {"parameters": attack.parameters()})

    def _fitting(self, attack: AutoAttack, samples: ImageSet) -> AutoAttack:
        """The version for randomised models where the model is one."""
        oracle, few = Oracle(self.model), samples.first(4).float_images(self.device)
        with running(few):
            oracle.probe(few)
            is_randomised = oracle.is_randomised
        self.attack_passes += oracle.forward_passes
        return replace(attack, version="rand") if is_randomised else attack

    def _autoattack(
        self, attack: AutoAttack, images: Tensor, labels: Tensor, seeds: Tensor, cost: int, state: Path | None
    ) -> AutoAttackResult:
        names, told = list(attack.stages()), 0

        def tell(progress: Progress) -> None:
            nonlocal told
            if progress.stage in names:
                share = (names.index(progress.stage) + progress.attacked / max(1, progress.of)) / len(names)
                now = int(share * cost * len(images))
                self.done(max(0, now - told), f"{progress.stage}: {progress.robust_accuracy:.1%} stand")
                told = max(told, now)

        result = attack(self.model, images, labels, seeds=seeds, batch_size=self.batch_size, state=state, progress=tell)
        self.done(cost * len(images) - told, "")
        return result

    def are_right(self, images: Tensor, labels: Tensor) -> Tensor:
        """Whether the model gives images (N, C, H, W), on any device, their labels, on the CPU; bool (N,)."""
        correct = torch.empty(len(images), dtype=torch.bool)
        for rows in self.batches(torch.arange(len(images))):
            correct[rows] = self.logits(images[rows.to(images.device)].to(self.device)).argmax(1).cpu() == labels[rows]
        return correct

    def smallest_distances(self, attack: Attack, samples: ImageSet, tolerance: float, cost: int) -> Tensor:
        """The smallest radius at which the attack breaks each sample, float32 (N,); see ``attacks.minimal_eps``."""
        eps = torch.empty(len(samples))
        for rows in self.batches(torch.arange(len(samples))):
            batch = samples.select(rows)
            images, labels = batch.float_images(self.device), batch.labels.to(self.device)
            seeds = randomness.sample_seeds(self.seed, batch.keys, "minimal")
            with running(images):
                result = minimal_eps(attack, self.model, images, labels, seeds=seeds, tolerance=tolerance)
            self.attack_passes += result.forward_passes
            eps[rows] = result.eps.cpu()
            self.done(len(rows) * cost)
        return eps

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
