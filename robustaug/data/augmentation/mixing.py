"""MixUp and CutMix: each image mixed with another of its batch, and its label alike.

The other one is the image before it, as torchvision has it, and so these two depend on the batch: they are for a
training loop alone.
"""

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from scipy.special import betaincinv
from torch import Tensor

from robustaug.data.augmentation.noise import inside
from robustaug.data.augmentation.technique import Parameters, Technique, as_column


class Mixing(Technique):
    """What both share: how much of an image stays is drawn from a Beta distribution, for each image.

    Deviation: torchvision, as the papers' code, draws one share for a whole batch.

    Attributes:
        alpha: Of Beta(alpha, alpha); 1 is uniform.
    """

    mixes: ClassVar[bool] = True
    draws: ClassVar[int] = 3
    probability: Annotated[float, Field(ge=0, le=1)] = 0.5
    alpha: Annotated[float, Field(gt=0)] = 1.0

    def parameters(self, numbers: Tensor) -> Parameters:
        """``share`` that stays, and ``x`` and ``y`` in shares of the sides: the middle of a box."""
        share = betaincinv(self.alpha, self.alpha, numbers[:, 0].double().numpy(force=True))
        kept = torch.as_tensor(share, dtype=torch.float32).to(numbers.device)
        return {"share": kept, "x": numbers[:, 1], "y": numbers[:, 2]}

    def mix(self, images: Tensor, others: Tensor, parameters: Parameters) -> tuple[Tensor, Tensor]:
        """The mixed images, and the share of each one's own label, (N,)."""
        raise NotImplementedError


class MixUp(Mixing):
    """The weighted mean of two images (``v2.MixUp``; Zhang et al. 2018)."""

    name: ClassVar[str] = "mixup"

    def mix(self, images: Tensor, others: Tensor, parameters: Parameters) -> tuple[Tensor, Tensor]:
        """Images and labels in the same shares."""
        share = as_column(parameters["share"])
        return images * share + others * (1 - share), parameters["share"]


class CutMix(Mixing):
    """A box of the other image in place of one's own pixels (``v2.CutMix``; Yun et al. 2019)."""

    name: ClassVar[str] = "cutmix"

    def mix(self, images: Tensor, others: Tensor, parameters: Parameters) -> tuple[Tensor, Tensor]:
        """Labels in the shares of the area, the box cut to the image."""
        height, width = images.shape[2:]
        edges = []
        for place, side in ((parameters["y"], height), (parameters["x"], width)):
            middle = (place * side).floor()
            half = (0.5 * (1 - parameters["share"]).sqrt() * side).floor()
            edges.append(((middle - half).clamp(min=0), (middle + half).clamp(max=side)))
        (top, bottom), (left, right) = edges
        area = (bottom - top) * (right - left)
        mixed = torch.where(inside(images, top, left, bottom, right), others, images)
        return mixed, 1 - area / (height * width)
