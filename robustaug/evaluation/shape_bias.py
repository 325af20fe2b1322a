"""Shape or texture: which of the two a classifier goes by where they contradict each other.

Geirhos, Rubisch, Michaelis, Bethge, Wichmann and Brendel, "ImageNet-trained CNNs are biased towards texture; increasing
shape bias improves accuracy and robustness", ICLR 2019: an image with the content of one class in the style of another,
made by style transfer (section 2.1), is given the class of its shape, that of its texture, or neither; the shape bias
is the share of shape decisions among those for either (section 3, figure 4).

Deviations: the style is taken from a test image of the other class, not from a picture that a texture fills; classes
are the data set's own, not 16 that sum up ImageNet's; both sources must be right for the classifier under test, not for
four networks at once, so that arms may be judged on different images, whose numbers stand beside the bias.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from robustaug.data.imageset import ImageSet
from robustaug.evaluation.statistics import Accuracy, accuracy_interval


@dataclass(frozen=True)
class CueConflicts:
    """Images whose shape says one class and whose texture says another; the same for every classifier.

    Attributes:
        images: under the keys and labels of their contents: the class of the shape.
        contents: int64 (N,), positions of the contents in the test split.
        styles: int64 (N,), positions of the images that gave the style there, each of another class.
        method: the style transfer's name.
    """

    images: ImageSet
    contents: Tensor
    styles: Tensor
    method: str

    def parameters(self) -> dict[str, Any]:
        """What a report says of how they were made."""
        return {"method": self.method, "strength": 1.0, "style": "a test image of another class"}


@dataclass(frozen=True)
class ShapeBias:
    """What a classifier decided on cue-conflict images whose content and style source it both gets right.

    Attributes:
        bias: shape decisions over shape and texture decisions, with Wilson's interval.
        neither: share of the images that were given a third class, with Wilson's interval.
        shape: images that were given the class of their content.
        texture: images that were given the class of their style source.
        images: how many count: content and style source right.
        made: how many there are in all.
        per_class: the bias by class of the shape, where there was a decision.
    """

    bias: Accuracy
    neither: Accuracy
    shape: int
    texture: int
    images: int
    made: int
    per_class: Mapping[str, Accuracy]

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values, as reports have it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "ShapeBias":
        """What ``to_dict`` gave."""
        intervals = {name: Accuracy(**content[name]) for name in ("bias", "neither")}
        per_class = {name: Accuracy(**entry) for name, entry in content["per_class"].items()}
        return cls(**(dict(content) | intervals | {"per_class": per_class}))


def decided(predictions: Tensor, conflicts: CueConflicts, test: ImageSet, right: Tensor) -> ShapeBias | str:
    """Count a classifier's decisions.

    Args:
        predictions: int64 (N,), on the conflict images.
        conflicts: these images.
        test: the test split.
        right: bool (T,), whether the classifier is right on each image of it.

    Returns:
        The shape bias, or why there is none: no image counts, or none was given either class.
    """
    shapes, textures = test.labels[conflicts.contents], test.labels[conflicts.styles]
    counts = right[conflicts.contents] & right[conflicts.styles]
    by_shape, by_texture = counts & (predictions == shapes), counts & (predictions == textures)
    either = by_shape | by_texture
    if not counts.any():
        return "no cue-conflict image whose content and style source are both right"
    if not either.any():
        return f"none of {int(counts.sum())} cue-conflict images was given the class of its shape or of its texture"
    members = {name: either & (shapes == label) for label, name in enumerate(test.class_names)}
    return ShapeBias(
        bias=accuracy_interval(by_shape[either]),
        neither=accuracy_interval(~either[counts]),
        shape=int(by_shape.sum()),
        texture=int(by_texture.sum()),
        images=int(counts.sum()),
        made=len(predictions),
        per_class={name: accuracy_interval(by_shape[rows]) for name, rows in members.items() if rows.any()},
    )
