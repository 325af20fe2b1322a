"""Classical augmentation by name: torchvision's transforms, each image's randomness from its own seed."""

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor
from torchvision.transforms import v2

from robustaug.errors import RobustAugError

AugmentationName = Literal["augmix", "trivialaugment", "randaugment"]
AUGMENTATIONS: dict[AugmentationName, Callable[[], v2.Transform]] = {
    # Hendrycks et al. 2020, section 3: without the operations that are corruptions in the benchmarks of robustness.
    "augmix": partial(v2.AugMix, all_ops=False),
    "trivialaugment": v2.TrivialAugmentWide,  # Mueller and Hutter 2021
    "randaugment": v2.RandAugment,  # Cubuk et al. 2020, two operations of magnitude 9 of 30
}


def augment(images: Tensor, seeds: Tensor, name: AugmentationName) -> Tensor:
    """Augment each image as torchvision does after ``torch.manual_seed`` of the image's own seed.

    torchvision draws from the global generator of the CPU, and one draw serves a whole batch: the images therefore go
    through one by one, on the CPU, whatever device they lie on. The global random state is left as it was.

    Args:
        images: uint8, shape (N, 3, H, W).
        seeds: int64, shape (N,).
        name: one of ``AUGMENTATIONS``.

    Returns:
        New images, alike in type, shape and device.

    Raises:
        RobustAugError: an unknown name, or images of another type or shape.
    """
    if name not in AUGMENTATIONS:
        raise RobustAugError(f"there is no augmentation {name!r}; use one of {', '.join(AUGMENTATIONS)}")
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise RobustAugError(
            f"{name} takes uint8 images of shape (N, 3, H, W), got {images.dtype} of shape {tuple(images.shape)}; "
            "convert them with to_uint8"
        )
    transform = AUGMENTATIONS[name]()
    result = torch.empty_like(images, device="cpu")
    with torch.random.fork_rng(devices=[]), torch.inference_mode():  # a fifth faster than without
        for row, (image, seed) in enumerate(zip(images.cpu(), seeds.tolist(), strict=True)):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed also asks for every accelerator: 0.2 ms
            result[row] = transform(image)
    return result.to(images.device)
