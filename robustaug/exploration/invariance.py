"""Which changes leave the class of an image as it is: the feature model's accuracy on changed held-out images."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from scipy.stats import norm
from torch import Tensor
from torchvision.transforms.v2 import functional

from robustaug.exploration.features import FeatureModel
from robustaug.exploration.prediction import RidgeFolds
from robustaug.randomness import sample_seeds

MOST = 1000  # images that are changed
FEWEST = 100  # with fewer, no statement
_TURN = 15.0  # degrees
KEEPS, CHANGES = 0.05, 0.05  # loss of accuracy: up to this it keeps the class, from this on it changes it


@dataclass(frozen=True)
class Invariance:
    """What a change costs the feature model.

    Attributes:
        before: accuracy on the images as they are.
        after: accuracy on the same images, changed.
        low: lower end of the 95% interval of the loss, which is before less after.
        high: its upper end.
        n: images.
    """

    before: float
    after: float
    low: float
    high: float
    n: int

    @property
    def verdict(self) -> str:
        """``"keeps"`` or ``"changes"`` the class, or ``"unsure"`` where the interval does not say."""
        if self.low >= CHANGES:
            return "changes"
        return "keeps" if self.before - self.after <= KEEPS else "unsure"


def _turned(images: Tensor) -> Tensor:
    margin = images.shape[-1] // 4
    padded = functional.pad(images, [margin] * 4, padding_mode="reflect")
    turned = functional.rotate(padded, _TURN, interpolation=functional.InterpolationMode.BILINEAR)
    return functional.center_crop(turned, list(images.shape[-2:]))  # type: ignore[no-any-return]


CHANGED: Mapping[str, Callable[[Tensor], Tensor]] = {
    "mirrored": lambda images: images.flip(3),
    "upside down": lambda images: images.flip(2),
    "turned by 15 degrees": _turned,
    "grey": lambda images: functional.rgb_to_grayscale(images, num_output_channels=3),
}


def measure_invariances(
    model: FeatureModel, ridge: RidgeFolds, images: Tensor, labels: Tensor, keys: tuple[str, ...], folds: Tensor
) -> dict[str, Invariance]:
    """Loss of accuracy under each change of ``CHANGED``, on images that the classifier at hand was not fitted on.

    A class that survives a change may still lose accuracy, because the model never saw such images: a large loss says
    that the change is a risk, not that the label is gone. No loss says that the change is safe.

    Args:
        model: the features that ``ridge`` was fitted on.
        ridge: of these images.
        images: uint8 (N, 3, S, S).
        labels: int64 (N,).
        keys: names of the images: at most 1,000 are chosen by them.
        folds: of the images, as ``ridge`` was fitted.

    Returns:
        Nothing for fewer than 100 images.
    """
    if len(labels) < FEWEST:
        return {}
    chosen = sample_seeds(0, keys, "invariance").argsort()[:MOST]
    before = ridge.scores[chosen].argmax(1) == labels[chosen]
    measured = {}
    for name, change in CHANGED.items():
        features = model(change(images[chosen]), f"Images {name}")
        after = ridge.predict(features, folds[chosen]) == labels[chosen]
        loss = before.double() - after.double()
        spread = float(norm.ppf(0.975) * loss.std() / len(loss) ** 0.5)
        value = float(loss.mean())
        measured[name] = Invariance(
            float(before.double().mean()), float(after.double().mean()), value - spread, value + spread, len(loss)
        )
    return measured
