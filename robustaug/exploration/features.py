"""A small feature model: the embedded VGG's channels, averaged over coarse places."""

import torch
from torch import Tensor
from torch.nn import functional as F

from robustaug.hardware import autocast, default_device, resolve_precision, to_device
from robustaug.progress import progress_bar
from robustaug.style.vgg import VGGEncoder, load_encoder

# Layer to the side of the grid of places that it is averaged over. On 6,000 photos of CIFAR-10 a ridge classifier on
# conv4_1 alone, over the whole image, is right for 71.8%, with conv3_3 beside it for 73.6%, on 2 x 2 places for 74.4%.
_PLACES = {"conv4_1": 2, "conv3_3": 1}
_BATCH_PIXELS = 64 * 32 * 32  # larger batches leave the cache: 256 images at once take half as long again
MOST_PIXELS = 61_000 * 32 * 32  # of all images together: about 30 seconds on two cores with fast bfloat16


class FeatureModel:
    """Features of small images, in the precision that the device is fast in."""

    def __init__(self) -> None:
        self.device = default_device()
        self.encoder: VGGEncoder = load_encoder().to(self.device)
        self.dtype = resolve_precision("auto", self.device)

    def __call__(self, images: Tensor, title: str = "Features") -> Tensor:
        """Float32 (N, 2304) of uint8 images (N, 3, H, W), on the CPU."""
        size = max(1, _BATCH_PIXELS // images[0, 0].numel())
        found = []
        with torch.inference_mode(), progress_bar(title, total=len(images)) as advance:
            for part in torch.split(images, size):
                found.append(self._features(part).cpu())
                advance(len(part))
        return torch.cat(found)

    def _features(self, images: Tensor) -> Tensor:
        with autocast(self.dtype, self.device):
            layers = self.encoder(to_device(images, self.device).float() / 255, _PLACES)
        pooled = [F.adaptive_avg_pool2d(layers[name].float(), side).flatten(1) for name, side in _PLACES.items()]
        return torch.cat(pooled, 1)
