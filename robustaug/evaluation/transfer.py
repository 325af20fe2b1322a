"""Adversarial images that are made on one classifier and tried on another."""

import torch
from torch import Tensor, nn

from robustaug import randomness
from robustaug.attacks import Attack
from robustaug.attacks.oracle import undisturbed
from robustaug.data.imageset import ImageSet
from robustaug.evaluation.bench import Bench, running
from robustaug.progress import Advance


class Surrogate:
    """A classifier that adversarial images are made on, once for all that they are tried on.

    Args:
        model: from images to logits, one for each class of the data; left as it is.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._made: dict[tuple[Attack, int, tuple[str, ...]], Tensor] = {}

    def attacked(self, attack: Attack, samples: ImageSet, seed: int, batch_size: int, done: Advance) -> Tensor:
        """Adversarial images for this classifier, float32 (N, 3, H, W), on the CPU.

        Samples that it gets wrong are attacked as well: they go further from their class.

        Args:
            attack: what makes them.
            samples: the originals.
            seed: of the random starts, together with the samples' keys.
            batch_size: images at a time; no result depends on it.
            done: told of each sample.

        Raises:
            RobustAugError: as the attack, or logits that are not one for each class.
        """
        key = (attack, seed, samples.keys)
        if key not in self._made:
            bench, made = Bench(self.model, len(samples.class_names), batch_size, seed, done), []
            with undisturbed(self.model):
                bench.logits(samples.select([0]).float_images(bench.device))
                for rows in bench.batches(torch.arange(len(samples))):
                    batch = samples.select(rows)
                    seeds = randomness.sample_seeds(seed, batch.keys, "transfer").to(bench.device)
                    images, labels = batch.float_images(bench.device), batch.labels.to(bench.device)
                    with running(images):
                        made.append(attack(self.model, images, labels, seeds=seeds).images.cpu())
                    done(len(rows))
            self._made[key] = torch.cat(made)
        else:
            done(len(samples))
        return self._made[key]
