"""Classifiers that others made: a TorchScript, ``torch.export`` or ONNX file, or the user's own ``module:function``.

By contract each takes float32 images (N, 3, H, W) in [0, 1], normalises inside, and returns logits (N, K).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robustaug.errors import RobustAugError
from robustaug.hardware import default_device, is_out_of_memory
from robustaug.models.foreign_files import READERS, Read, first_line
from robustaug.models.foreign_function import call_function

_PROBED = (1, 2, 16)  # the batches that an evaluation sends: one image alone, a last few, and no fewer than 16 on a CPU


class ForeignModel(nn.Module):
    """Somebody's model behind one face: a fixed batch size is worked around, a failure is one line.

    Args:
        model: from images to logits.
        source: what messages call it.
        batches: the smallest and the largest batch that it takes; None is no limit. Larger ones are cut up, smaller
            ones are filled with copies of their last image, whose logits are dropped.
        forward_only: why it gives no gradients; None where it may.
    """

    place: Tensor

    def __init__(
        self,
        model: nn.Module,
        source: str,
        batches: tuple[int, int | None] = (1, None),
        forward_only: str | None = None,
    ) -> None:
        super().__init__()
        self.model, self.source, self.batches, self.forward_only = model, source, batches, forward_only
        # Says where images go: a frozen TorchScript module and an ONNX session have no tensors that could.
        self.register_buffer("place", torch.zeros(0), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K) of images (N, 3, H, W).

        Raises:
            RobustAugError: the model cannot be run on this batch.
        """
        least, most = self.batches
        try:
            if least == 1 and most is None:
                return self._logits(images)
            return torch.cat([self._filled(part, least) for part in torch.split(images, most or max(1, len(images)))])
        except Exception as error:  # whatever somebody's code raises, the user gets one line
            if isinstance(error, RobustAugError) or (isinstance(error, RuntimeError) and is_out_of_memory(error)):
                raise
            shape = "x".join(map(str, images.shape[1:]))
            raise RobustAugError(
                f"{self.source} cannot be run on a batch of {len(images)} images of {shape}: {first_line(error)}; "
                "make it take float32 images (N, 3, H, W) in batches of any size"
            ) from error

    def _filled(self, images: Tensor, least: int) -> Tensor:
        missing = least - len(images)
        if missing > 0:
            images = torch.cat([images, images[-1:].expand(missing, *images.shape[1:])])
        return self._logits(images)[: len(images) - max(0, missing)]

    def _logits(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images)
        return logits


def forward_only(model: nn.Module) -> str | None:
    """Why a model gives no gradients, so that no white-box attack can be run on it; None where it may give them."""
    reason: str | None = getattr(model, "forward_only", None)
    return reason


@dataclass(frozen=True)
class ForeignClassifier:
    """Somebody's classifier on the default device, in eval mode where it knows one; what ``Checkpoint`` is for our own.

    Attributes:
        model: the classifier.
        path: where it came from, for messages.
        kind: what it is in words: ``TorchScript file``, ``torch.export file``, ``ONNX file`` or ``function``.
        image_size: (H, W) that it was made for; None takes the data's.
        sha256: of the file, or of the function's module and the model's weights.
        extra: ``{"arm": NAME}``: nothing is known of its training.
    """

    model: ForeignModel
    path: Path
    kind: str
    image_size: tuple[int, int] | None
    sha256: str
    extra: Mapping[str, Any] = field(default_factory=dict)

    def check_images(self, images: Tensor, class_names: Sequence[str] | None = None) -> None:
        """Run the model on a few images: what it cannot do is said here, not in the middle of an evaluation.

        Whether it gives gradients is found out too.

        Args:
            images: uint8 or float (N, 3, H, W).
            class_names: the data's classes; their number is checked where given.

        Raises:
            RobustAugError: another image size, a batch size that it cannot run, no finite logits (N, K), or another
                number of classes.
        """
        height, width = images.shape[2:]
        if self.image_size is not None and self.image_size != (height, width):
            wanted = "x".join(map(str, self.image_size))
            raise RobustAugError(
                f"{self.path} takes {wanted} px images, these are {height}x{width}; use another --size"
            )
        few = images[torch.arange(max(_PROBED)) % len(images)].to(self.model.place.device)
        few = few.float() / 255 if images.dtype == torch.uint8 else few.float()
        with torch.no_grad():
            for n in _PROBED:
                self._check_logits(self.model(few[:n]), n, class_names)
        if self.model.forward_only is None:
            self.model.forward_only = _no_gradient(self.model, few[:2])

    def _check_logits(self, logits: Tensor, n: int, class_names: Sequence[str] | None) -> None:
        if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != n or not logits.is_floating_point():
            found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise RobustAugError(f"{self.path} returned {found} for {n} images; it must return logits ({n}, classes)")
        if class_names is not None and logits.shape[1] != len(class_names):
            raise RobustAugError(
                f"{self.path} returns {logits.shape[1]} logits, the data has {len(class_names)} classes; "
                "give it the data that it was trained for"
            )
        if not logits.isfinite().all():
            raise RobustAugError(f"{self.path} returns NaN or infinite logits; check its weights and its normalisation")


def load_foreign(source: str) -> ForeignClassifier:
    """Open somebody's classifier.

    Args:
        source: a file: ``*.pt`` or ``*.ts`` (TorchScript), ``*.pt2`` (``torch.export``) or ``*.onnx``; or
            ``module:function``, importable from the working directory: **this runs the user's code**.

    Raises:
        RobustAugError: no such file, not what its name says, a kind that nobody knows; a module that cannot be
            imported, a function that fails or returns no ``nn.Module``.
    """
    path = Path(source)
    if path.suffix in READERS:
        if not path.is_file():
            raise RobustAugError(f"model {source} {'is a folder' if path.is_dir() else 'does not exist'}; name a file")
        read, name = READERS[path.suffix](path), path.stem
    elif ":" in source and not path.exists():
        read, name = call_function(source), source.rpartition(":")[2]
    else:
        raise RobustAugError(
            f"model {source} is of no known kind; give a .safetensors file that robustaug wrote, a TorchScript (.pt, "
            ".ts), torch.export (.pt2) or ONNX (.onnx) file, or module:function"
        )
    return _classifier(source, name, read)


def _classifier(source: str, name: str, read: Read) -> ForeignClassifier:
    for module in read.model.modules():
        module.training = False  # not eval(): exported modules refuse it, and need it no more than this
    model = ForeignModel(read.model, source, read.batches, read.forward_only).to(default_device())
    return ForeignClassifier(model, Path(source), read.kind, read.image_size, read.sha256, {"arm": name})


def _no_gradient(model: nn.Module, images: Tensor) -> str | None:
    """Why the model's loss has no gradient with respect to the images; None where it has one."""
    points = images.clone().requires_grad_()
    try:
        torch.autograd.grad(model(points).sum(), points)
    except (RuntimeError, RobustAugError) as error:
        said = first_line(error)
        is_cut_off = "does not require grad" in said or "not have been used" in said
        return "it gives no gradient with respect to its images" + ("" if is_cut_off else f" ({said})")
    return None
