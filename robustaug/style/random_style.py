"""Style transfer as a training augmentation, called as torchvision's transforms are."""

import copy
import dataclasses
import math
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from robustaug import randomness
from robustaug.data.images import to_uint8
from robustaug.errors import RobustAugError
from robustaug.style.bank import StyleBank
from robustaug.style.method import StyleTransfer, TargetCache


class RandomStyle(v2.Transform):  # type: ignore[misc]  # torchvision has no types
    """Give each image, with probability ``p``, the style of a random painting of a bank, in a random strength.

    Called like any transform of torchvision v2: with an image (3, H, W) or a batch (..., 3, H, W), uint8 or float in
    [0, 1], alone or among labels, boxes and masks, which pass through untouched; type, dtype and device are kept, and
    the input is never written to. Only the images that are drawn go through the network. It is far faster on a batch
    in the training loop than image by image in a data loader's workers, which works as well.

    The random numbers are torch's global ones, drawn on the CPU: three an image, whatever they decide.

    Args:
        bank: what to draw from, each painting alike. Among the data set's own images, one may draw itself.
        p: probability that an image is changed.
        strength: least and greatest strength; drawn uniformly between them, for each image.
        method: how; None takes AdaIN with the embedded decoders. It follows the images to their device.
        generator: draws in place of the global one; a CPU generator, and not for a data loader's workers, each of which
            would draw the same.

    Raises:
        RobustAugError: a probability or strength outside [0, 1], or a bank of styles of other classes, since the
            transform does not know the classes. When called: images that the method cannot take, or none.
    """

    _transformed_types = (v2.functional.is_pure_tensor, tv_tensors.Image)

    def __init__(
        self,
        bank: StyleBank,
        p: float = 0.3,
        strength: tuple[float, float] = (0.3, 1.0),
        *,
        method: StyleTransfer | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        low, high = strength
        if not 0 <= p <= 1:
            raise RobustAugError(f"p is {p}; it is the probability that an image is changed, 0 to 1")
        if not 0 <= low <= high <= 1:
            raise RobustAugError(f"strength {strength} is no range inside [0, 1]; give for example (0.3, 1.0)")
        if bank.other_class:
            raise RobustAugError("RandomStyle does not know an image's class; make the bank without other_class")
        if method is None:
            from robustaug.style.adain import AdaIN  # noqa: PLC0415 - its decoders are read when it is made

            method = AdaIN()
        self.bank, self.p, self.strength, self.generator = bank, p, (low, high), generator
        self._method, self._cache = method, TargetCache()

    def check_inputs(self, flat_inputs: list[Any]) -> None:
        """Refuse what has no image, one that is no tensor yet, or one that is not RGB: drawn or not."""
        wanted = self._needs_transform_list(flat_inputs)
        if not any(wanted):
            raise RobustAugError("RandomStyle found no image tensor; put v2.ToImage() before it")
        for images in (value for value, is_image in zip(flat_inputs, wanted, strict=True) if is_image):
            is_pixels = images.dtype == torch.uint8 or images.is_floating_point()
            if images.ndim < 3 or images.shape[-3] != 3 or not is_pixels:
                raise RobustAugError(
                    f"RandomStyle takes images (..., 3, H, W), uint8 or float, got {images.dtype} of shape "
                    f"{tuple(images.shape)}; put the images first, as RGB"
                )

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """For each image of the call: whether it is changed, the painting's number and the strength."""
        count = math.prod(flat_inputs[0].shape[:-3])
        if any(math.prod(images.shape[:-3]) != count for images in flat_inputs):
            raise RobustAugError("RandomStyle got batches of different length in one call; call it for each of them")
        changed, painting, strength = torch.rand(3, count, generator=self.generator).unbind()
        return {"rows": (changed < self.p).nonzero().squeeze(1)} | self._choices(painting, strength)

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        """Stylise the drawn rows."""
        rows: Tensor = params["rows"]
        if not len(rows):
            return inpt
        images = inpt.as_subclass(torch.Tensor)
        result = images.reshape(-1, *images.shape[-3:]).clone()
        index = rows.to(images.device)
        content = result[index].detach()
        content = content.float() / 255 if content.dtype == torch.uint8 else content.float()
        paintings = [self.bank.paintings[number] for number in params["paintings"][rows].tolist()]
        strength = params["strengths"][rows].to(images.device)
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):  # the method chooses its precision
            stylised = self._on(images.device).run(content, paintings, strength=strength, cache=self._cache).images
        result[index] = to_uint8(stylised) if images.dtype == torch.uint8 else stylised.to(images.dtype)
        wrapped: Tensor = tv_tensors.wrap(result.reshape(images.shape), like=inpt)
        return wrapped

    def restyle(self, images: Tensor, seeds: Tensor) -> Tensor:
        """Give every image a style, whatever ``p`` is, each drawn from its own seed: no result depends on the batch.

        Args:
            images: (N, 3, H, W), uint8 or float in [0, 1].
            seeds: int64 (N,), see ``randomness.sample_seeds``; no other random number is used.

        Raises:
            RobustAugError: images that the method cannot take.
        """
        draws = randomness.uniform(seeds.cpu(), (2,))
        return self.transform(images, {"rows": torch.arange(len(images))} | self._choices(draws[:, 0], draws[:, 1]))

    def drawn(self, seed: int) -> dict[str, Any]:
        """What :meth:`restyle` gives an image with this seed: the painting, its hash, the strength, the method."""
        chosen = self._choices(*randomness.uniform(torch.tensor([seed]), (2,)).T)
        painting = self.bank.paintings[int(chosen["paintings"])]
        return {
            "style": painting.name,
            "style_sha256": painting.sha256,
            "strength": float(chosen["strengths"]),
            "method": self._method.name,
        }

    def describe(self) -> dict[str, Any]:
        """Everything that a result of :meth:`restyle` depends on but image and seed, as JSON values."""
        paintings = [painting.sha256 for painting in self.bank.paintings]
        return {"paintings": paintings, "strength": list(self.strength), "method": self._method.describe()}

    def _choices(self, painting: Tensor, strength: Tensor) -> dict[str, Tensor]:
        """From uniform numbers in [0, 1), (N,) each."""
        low, high = self.strength
        return {"paintings": (painting * len(self.bank)).long(), "strengths": low + (high - low) * strength}

    def extra_repr(self) -> str:
        """What is printed between the brackets."""
        return f"{len(self.bank)} paintings, p={self.p}, strength={self.strength}, method={self._method.name}"

    def _on(self, device: torch.device) -> StyleTransfer:
        """The method on a device; the caller's own stays where it is."""
        if self._method.device != device:
            encoder = copy.deepcopy(self._method.encoder).to(device)
            self._method = dataclasses.replace(self._method, encoder=encoder)
        return self._method
