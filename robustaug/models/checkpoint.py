"""Classifiers on disk: safetensors, with everything that is needed to build them again in the metadata."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from robustaug.errors import RobustAugError
from robustaug.files import sha256, write_bytes
from robustaug.models.classifier import ImageClassifier
from robustaug.models.zoo import build_model

_KEY = "robustaug"  # one metadata key, so that the file's bytes do not depend on a hash map's order
_FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """A classifier that was read from disk, in eval mode on the CPU, with what it was made for.

    Attributes:
        model: the classifier.
        class_names: names of the classes, in the order of the logits.
        image_size: (H, W) that it was trained at.
        extra: what the writer stored beside it (threat, the data's fingerprint and split seed, ...), JSON values.
        path: the file.
    """

    model: ImageClassifier
    class_names: tuple[str, ...]
    image_size: tuple[int, int]
    extra: Mapping[str, Any]
    path: Path

    @property
    def sha256(self) -> str:
        """Of the file."""
        return sha256(self.path.read_bytes())

    def check_images(self, images: Tensor, class_names: Sequence[str] | None = None) -> None:
        """Refuse data that this checkpoint was not made for.

        Args:
            images: (N, 3, H, W).
            class_names: the data's classes; checked too where given.

        Raises:
            RobustAugError: another image size, number of channels, or other classes.
        """
        channels, (height, width) = self.model.mean.shape[1], self.image_size
        expected = (channels, height, width)
        if images.ndim != 4 or tuple(images.shape[1:]) != expected:
            shape = "x".join(map(str, images.shape[1:]))
            wanted = "x".join(map(str, expected))
            raise RobustAugError(
                f"{self.path} takes {wanted} images, these are {shape}; load the data at {height}x{width} px"
            )
        if class_names is None:
            return
        if len(class_names) != len(self.class_names):
            raise RobustAugError(
                f"{self.path} knows {len(self.class_names)} classes, the data has {len(class_names)}; "
                "give it the data set it was trained on"
            )
        for own, other in zip(self.class_names, class_names, strict=True):
            if own != other:
                raise RobustAugError(
                    f"{self.path} has class {own!r} where the data has {other!r}; give it the data it was trained on"
                )


def save_checkpoint(
    path: Path,
    model: ImageClassifier,
    *,
    class_names: Sequence[str],
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write a classifier atomically; the same model and texts give the same bytes.

    Args:
        path: the file, ``*.safetensors``.
        model: a classifier from ``build_model``, on any device.
        class_names: as many names as the model has logits.
        extra: JSON values to keep beside it.

    Raises:
        RobustAugError: the file cannot be written, the model did not come from ``build_model``, or the number of names
            is wrong.
    """
    spec = model.spec
    if spec is None:
        raise RobustAugError(f"cannot save {path}: only models from build_model can be built again; build it by name")
    if len(class_names) != spec.num_classes:
        raise RobustAugError(f"cannot save {path}: {len(class_names)} class names for {spec.num_classes} logits")
    metadata = {
        "format": _FORMAT,
        "model": asdict(spec),
        "mean": model.mean.flatten().tolist(),
        "std": model.std.flatten().tolist(),
        "class_names": list(class_names),
        "extra": dict(extra or {}),
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    text = json.dumps(metadata, sort_keys=True)
    write_bytes(Path(path), safetensors.torch.save(tensors, metadata={_KEY: text}))


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a classifier that ``save_checkpoint`` wrote.

    Raises:
        RobustAugError: missing file, not a safetensors file, not written by robustaug, weights that are NaN, infinite
            or do not fit the model.
    """
    path = Path(path)
    metadata, tensors = _read(path)
    try:
        spec = metadata["model"]
        height, width = spec["image_size"]
        model = build_model(
            spec["name"], spec["num_classes"], (height, width), metadata["mean"], metadata["std"], **spec["options"]
        )
        class_names = tuple(metadata["class_names"])
        extra = metadata["extra"]
    except (KeyError, TypeError, ValueError) as error:
        raise RobustAugError(f"{path}: the robustaug metadata is damaged ({error}); save the model again") from error
    except RobustAugError as error:
        raise RobustAugError(f"{path}: {error}") from error
    _fit(path, model, tensors)
    return Checkpoint(model.eval(), class_names, (height, width), extra, path)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not path.is_file():
        problem = "is a folder" if path.is_dir() else "does not exist"
        raise RobustAugError(f"checkpoint {path} {problem}; name a model.safetensors file that robustaug wrote")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(_KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except OSError as error:
        raise RobustAugError(f"cannot read {path}: {error.strerror or error}") from error
    except safetensors.SafetensorError as error:
        raise RobustAugError(f"{path} is not a whole safetensors file ({error}); copy it again") from error
    if text is None:
        raise RobustAugError(f"{path} holds no robustaug metadata; use a file that save_checkpoint wrote")
    try:
        metadata = json.loads(text)
        version = metadata["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise RobustAugError(f"{path}: the robustaug metadata is damaged ({error}); save the model again") from error
    if version != _FORMAT:
        raise RobustAugError(f"{path} has format {version}, this robustaug reads format {_FORMAT}; update robustaug")
    return metadata, tensors


def _fit(path: Path, model: ImageClassifier, tensors: Mapping[str, Tensor]) -> None:
    expected = model.state_dict()
    for name in sorted(expected.keys() ^ tensors.keys()):
        problem = "lacks" if name in expected else "holds the unknown"
        raise RobustAugError(f"{path} {problem} tensor {name}; the file does not fit its own metadata")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise RobustAugError(
                f"{path}: tensor {name} has shape {tuple(tensor.shape)}, the model needs {tuple(expected[name].shape)}"
            )
        if not tensor.isfinite().all():
            raise RobustAugError(
                f"{path}: tensor {name} holds NaN or infinite values; train again or take another file"
            )
    model.load_state_dict(dict(tensors))
