"""Labels kept by strength, measured with the user's classifier or a small one that is trained on the originals."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustaug.data import CompositeDataset, DataSplits, ImageSet, Mix, Skipped, load_data
from robustaug.data.jobs import JobFolder
from robustaug.errors import RobustAugError
from robustaug.evaluation.checks import Check, pixel_hashes
from robustaug.evaluation.harness import stratified_choice
from robustaug.experiment.preservation import (
    Preservation,
    check_share,
    draw_preservation,
    kept_unchanged,
    measure_preservation,
)
from robustaug.experiment.subject import check_subject, load_subject
from robustaug.files import sha256, write_json
from robustaug.hardware import default_device
from robustaug.models import Checkpoint, build_model, load_checkpoint, save_checkpoint
from robustaug.progress import progress_bar
from robustaug.style.bank import StyleBank
from robustaug.style.method import StyleTransfer
from robustaug.training import TrainingSettings, train

# Of the classifier where the user has none. No mirroring: digits and letters would become others.
TRAINING = TrainingSettings(steps=1000, batch_size=64, shift=2, precision="auto")


@dataclass(frozen=True)
class PreserveOutcome:
    """The measurement, on which part of the data, checks of that, and the files that could not be used."""

    preservation: Preservation
    images: int
    part: str
    checks: list[Check]
    skipped: tuple[Skipped, ...]


def preserve(
    source: str,
    out: Path,
    bank: StyleBank,
    style: StyleTransfer,
    *,
    checkpoint: Path | None = None,
    samples: int = 200,
    share: float = 0.9,
    size: int | None = None,
    labels: Path | None = None,
    root: Path | None = None,
    seed: int = 0,
) -> PreserveOutcome:
    """Measure label preservation on images that the classifier was not trained on, and write it down.

    Writes ``preservation.json``, ``preservation.svg``, ``variants/STRENGTH/`` and, where it is trained here,
    ``classifier/``. A call that was killed and is made again goes on where it stopped.

    Args:
        source: An image folder or a named set.
        out: A new or empty folder, or one of this same measurement.
        bank: Which paintings to choose from.
        style: The transfer.
        checkpoint: The classifier; measured on the part that ``load_subject`` takes. None trains one on the training
            part, with the weights that the validation part likes best, and measures on the test part.
        samples: At most so many images, every class in its share.
        share: Of the labels kept at strength 0, that a recommended strength must keep.
        size: Side of the images in px where the classifier is trained here; see ``load_data``.
        labels: Of an image folder; see ``load_data``.
        root: Where named sets are kept.
        seed: Of everything random.

    Raises:
        RobustAugError: unusable data or classifier, a size beside a checkpoint, a folder of something else.
    """
    if samples < 1:
        raise RobustAugError(f"{samples} samples leave nothing to measure; take at least 1")
    check_share(share)
    if checkpoint is not None and size is not None:
        raise RobustAugError(f"the size of the images is that of {checkpoint}; give a size or a checkpoint, not both")
    job: dict[str, Any] = {"job": "preserve", "source": Path(source).name, "samples": samples, "seed": seed}
    if checkpoint is not None:
        classifier = load_checkpoint(checkpoint)
        images, skipped, part = load_subject(classifier, source, labels=labels, root=root)
        images = _drawn(images, samples, seed)
        kept_unchanged(classifier, images)  # a bad judge is refused before the folder is claimed
        JobFolder(out, job | {"checkpoint": sha256(checkpoint.read_bytes()), "part": part})
    else:
        data = load_data(source, labels=labels, root=root, size=size, seed=seed)
        images, skipped, part = _drawn(data.test, samples, seed), data.skipped, "test"
        JobFolder(out, job | {"data": data.fingerprint, "size": data.image_size[0]})
        classifier = train_classifier(data, out / "classifier", TRAINING, seed=seed)
    preservation = measure_preservation(classifier, images, bank, style, out / "variants", share=share, seed=seed)
    content = preservation.to_dict() | {
        "data": Path(source).name,
        "part": part,
        "images": len(images),
        "size": list(images.images.shape[2:]),
        "checkpoint_sha256": sha256(classifier.path.read_bytes()),
        "style": style.describe(),
        "paintings": {painting.name: painting.sha256 for painting in bank.paintings},
        "seed": seed,
    }
    write_json(out / "preservation.json", content)
    draw_preservation(preservation, out / "preservation.svg")
    return PreserveOutcome(preservation, len(images), part, check_subject(classifier, images), skipped)


def _drawn(images: ImageSet, samples: int, seed: int) -> ImageSet:
    return images.select(stratified_choice(images.labels, samples, seed).sort().values)


def train_classifier(
    data: DataSplits,
    folder: Path,
    settings: TrainingSettings,
    *,
    model: str = "small_cnn",
    seed: int = 0,
    **options: Any,
) -> Checkpoint:
    """Train a classifier on the originals of the training part, or find it trained in the folder.

    Args:
        data: Its validation part chooses the weights; its test part is never looked at.
        folder: For ``model.safetensors`` and the resumable state, of this training alone.
        settings: Of the training.
        model: A name for ``build_model``.
        seed: Of everything random.
        **options: Of the model.

    Raises:
        RobustAugError: an unknown model, a state of another training.
    """
    path = folder / "model.safetensors"
    if path.exists():
        return load_checkpoint(path)
    folder.mkdir(parents=True, exist_ok=True)
    classifier = build_model(model, len(data.class_names), data.image_size, seed=seed, **options).to(default_device())
    originals = CompositeDataset(data.train, None, Mix(), seed)
    with progress_bar("Training a classifier", settings.steps) as progress:
        train(classifier, originals, data.validation, attack=None, settings=settings, folder=folder, seed=seed,
              progress=progress)  # fmt: skip
    about = {
        "name": data.name,
        "fingerprint": data.fingerprint,
        "seed": seed,
        "size": data.image_size[0],
        "training_images": pixel_hashes(data.train),  # so that nobody measures on them unawares
    }
    save_checkpoint(path, classifier.cpu(), class_names=data.class_names, extra={"data": about})
    return load_checkpoint(path)
