"""Ready-made mixtures of operations: AugMix, TrivialAugment, RandAugment, as torchvision has them."""

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torchvision.transforms import v2

from robustaug.data.augmentation.technique import Parameters, Technique
from robustaug.data.images import to_uint8


class _Automatic(Technique):
    """What torchvision makes of each image, as bytes, after ``torch.manual_seed`` of the image's own seed.

    torchvision draws from the global generator of the CPU, and one draw serves a whole batch: the images therefore go
    through one by one, on the CPU, whatever device they lie on. The global random state is left as it was.
    """

    on_cpu: ClassVar[bool] = True

    def apply(self, images: Tensor, parameters: Parameters, seeds: Tensor) -> Tensor:  # noqa: ARG002
        """One by one."""
        transform, content = self.transform(), to_uint8(images).cpu()
        result = torch.empty_like(content)
        with torch.random.fork_rng(devices=[]), torch.inference_mode():  # a fifth faster than without
            for row, (image, seed) in enumerate(zip(content, seeds.tolist(), strict=True)):
                torch.default_generator.manual_seed(seed)  # torch.manual_seed also asks every accelerator: 0.2 ms
                result[row] = transform(image)
        return result.to(images.device) / 255

    def transform(self) -> v2.Transform:
        """torchvision's."""
        raise NotImplementedError


class AugMix(_Automatic):
    """Chains of operations, mixed (``v2.AugMix``; Hendrycks et al. 2020).

    Without the operations that are corruptions in the benchmarks of robustness: section 3 of the paper.

    Attributes:
        severity: Of the operations, 1 to 10.
        mixture_width: Chains.
        alpha: Of the Dirichlet and Beta distributions of their shares.
    """

    name: ClassVar[str] = "augmix"
    severity: Annotated[int, Field(ge=1, le=10)] = 3
    mixture_width: Annotated[int, Field(ge=1, le=10)] = 3
    alpha: Annotated[float, Field(gt=0)] = 1.0

    def transform(self) -> v2.Transform:
        """Chains of one to three operations."""
        return v2.AugMix(severity=self.severity, mixture_width=self.mixture_width, alpha=self.alpha, all_ops=False)


class TrivialAugment(_Automatic):
    """One operation of any strength (``v2.TrivialAugmentWide``; Mueller and Hutter 2021)."""

    name: ClassVar[str] = "trivialaugment"

    def transform(self) -> v2.Transform:
        """The wide ranges."""
        return v2.TrivialAugmentWide()


class RandAugment(_Automatic):
    """Some operations of one strength (``v2.RandAugment``; Cubuk et al. 2020).

    Attributes:
        operations: How many.
        magnitude: Of 30.
    """

    name: ClassVar[str] = "randaugment"
    operations: Annotated[int, Field(ge=1, le=10)] = 2
    magnitude: Annotated[int, Field(ge=0, le=30)] = 9

    def transform(self) -> v2.Transform:
        """torchvision's 31 magnitudes."""
        return v2.RandAugment(num_ops=self.operations, magnitude=self.magnitude)
