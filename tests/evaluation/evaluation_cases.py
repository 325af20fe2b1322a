"""Models and images whose robust accuracy is known in closed form."""

import torch
from torch import Tensor, nn

from robustaug.data.imageset import ImageSet


class Linear(nn.Module):
    """A two-class classifier: class 1 where w . x + b is positive. Its worst case in a ball is known exactly."""

    def __init__(self, shape: tuple[int, int, int] = (3, 4, 4), seed: int = 0, scale: float = 1.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        weight = torch.randn(shape, generator=generator) * scale
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(-0.5 * weight.sum())

    def forward(self, images: Tensor) -> Tensor:
        score = (images * self.weight).flatten(1).sum(1) + self.bias
        return torch.stack([-score / 2, score / 2], 1)

    def margin(self, samples: ImageSet, eps: float) -> Tensor:
        """The smallest margin of the true class in the l-infinity ball cut with [0, 1], shape (N,)."""
        images = samples.float_images()
        with torch.no_grad():
            logits = self(images)
            sign = (2 * samples.labels - 1).float()
            clean = (logits[:, 1] - logits[:, 0]) * sign
            downhill = -self.weight.sign() * sign.view(-1, 1, 1, 1)
            room = torch.where(downhill > 0, 1 - images, images).clamp_max(eps)
            return clean - (self.weight.abs() * room).flatten(1).sum(1)


def image_set(n: int, *, classes: int = 2, size: int = 4, seed: int = 0, low: int = 0, high: int = 256) -> ImageSet:
    """Random images under random labels; keys ``SEED/number``."""
    generator = torch.Generator().manual_seed(seed)
    names = tuple(f"class {k}" for k in range(classes))
    images = torch.randint(low, high, (n, 3, size, size), generator=generator, dtype=torch.uint8)
    labels = torch.randint(classes, (n,), generator=generator)
    return ImageSet(images, labels, tuple(f"{seed}/{i}" for i in range(n)), ("",) * n, names)


def labelled_by(model: nn.Module, samples: ImageSet, wrong: int = 0) -> ImageSet:
    """The images under the model's own predictions, apart from the first ``wrong`` ones."""
    with torch.no_grad():
        labels = model(samples.float_images()).argmax(1)
    labels[:wrong] = (labels[:wrong] + 1) % len(samples.class_names)
    return ImageSet(samples.images, labels, samples.keys, samples.sha256, samples.class_names)
