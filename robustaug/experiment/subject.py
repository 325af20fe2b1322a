"""What is measured: a checkpoint or somebody's model, and on which images, in the size that it takes."""

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from robustaug.attacks import Norm, ThreatModel
from robustaug.attacks.threat import parse_number
from robustaug.data import ImageSet, Skipped, load_images
from robustaug.data.named import NAMED_SETS
from robustaug.data.sources import Part, read_labels_for
from robustaug.data.splits import fingerprint
from robustaug.errors import RobustAugError
from robustaug.evaluation.checks import Check, no_test_image_in_training
from robustaug.models import Checkpoint, ForeignClassifier, forward_only, load_checkpoint, load_foreign

Subject = Checkpoint | ForeignClassifier


def open_subject(source: str) -> Subject:
    """A checkpoint of our own (``*.safetensors``), or somebody's model: see ``load_foreign``.

    Raises:
        RobustAugError: as ``load_checkpoint`` and ``load_foreign``.
    """
    return load_checkpoint(Path(source)) if Path(source).suffix == ".safetensors" else load_foreign(source)


def limits_of(subject: Subject) -> str | None:
    """What cannot be measured on a subject whose images have been checked, in a sentence; None where everything can."""
    reason = forward_only(subject.model)
    if reason is None:
        return None
    return (
        f"{reason}: nothing that needs gradients can be measured on it (FGSM, PGD and its relatives, FAB, AutoAttack, "
        "accuracy against eps, smallest distances), and accuracy under black-box attacks is only a loose upper "
        "bound"
    )


def about(subject: Subject) -> dict[str, str]:
    """What a report says of an arm that is somebody's model: ``{"description": ...}``; empty for our own."""
    if isinstance(subject, Checkpoint):
        return {}
    limits = limits_of(subject)
    return {"description": f"{subject.kind} {subject.path.name}" + ("" if limits is None else f"; {limits}")}


def load_subject(
    checkpoint: Subject,
    source: str,
    *,
    labels: Path | None = None,
    split: Part | None = None,
    root: Path | None = None,
    limit: int | None = None,
    size: int | None = None,
) -> tuple[ImageSet, tuple[Skipped, ...], str]:
    """Load the images that a classifier is to be measured on.

    Args:
        checkpoint: The classifier.
        source: A named set or an image folder.
        labels: Of an image folder; see ``load_data``.
        split: Which part; None takes the test part where there is one: of a named set, of a folder with ``test/`` or a
            table that says so, and of the very data that the checkpoint was trained on, cut as it was then. Any other
            folder is taken whole.
        root: Where named sets are kept.
        limit: At most so many images of a class, before the part is cut.
        size: Side of the square images in px; None takes what the classifier was made for, else the data's own.

    Returns:
        The images, the files that could not be used, and the part's name.

    Raises:
        RobustAugError: unusable data, or data of another size or with other classes than the checkpoint's.
    """
    trained_on = checkpoint.extra.get("data", {})
    height, width = checkpoint.image_size or (None, None)
    size = size or trained_on.get("size") or (height if height == width else None)
    cut = {key: trained_on[key] for key in ("seed", "validation_share", "test_share") if key in trained_on}
    if split is None:
        split = "test" if _brings_test_part(source, labels) else "all"
        if split == "all" and "fingerprint" in trained_on:
            # A limit keeps the cut: what was for training under the one of then is never a test image now.
            whole, _ = load_images(source, labels=labels, root=root, size=size, limit=trained_on.get("limit"), **cut)
            if fingerprint(whole.identities, whole.sha256) == trained_on["fingerprint"]:
                split = "test"
            elif Path(source).resolve() == Path(trained_on["name"]).resolve():
                raise RobustAugError(
                    f"the files or labels of {source} have changed since {checkpoint.path} was trained on them, so "
                    "its test part is not known; name other images, or --split all for every one, training images too"
                )
    images, skipped = load_images(source, labels=labels, root=root, size=size, split=split, limit=limit, **cut)
    if len(images) == 0:
        raise RobustAugError(f"{source} has no images in its {split} part; name another --split")
    checkpoint.check_images(images.images, images.class_names)
    return images, skipped, split


def _brings_test_part(source: str, labels: Path | None) -> bool:
    table = read_labels_for(source, labels)
    if table is not None:
        return "test" in table.part_of.values()
    return source in NAMED_SETS or (Path(source) / "test").is_dir()


def open_surrogates(sources: Sequence[str], images: ImageSet) -> dict[str, nn.Module]:
    """Classifiers whose adversarial images are tried on another one, by name.

    Raises:
        RobustAugError: as ``open_subject``; a classifier for other images or classes, without gradients, or two of one
            name.
    """
    surrogates: dict[str, nn.Module] = {}
    for source in sources:
        other = open_subject(source)
        other.check_images(images.images, images.class_names)
        if (limits := limits_of(other)) is not None:
            raise RobustAugError(f"--surrogate {source} cannot be attacked: {limits.partition(':')[0]}; name another")
        name = arm_name(other)
        if name in surrogates:
            raise RobustAugError(f"two surrogates are called {name}; rename one of the files")
        surrogates[name] = other.model
    return surrogates


def arm_name(subject: Subject) -> str:
    """What a report calls it: the arm that it was trained as, else its file; never a way out of a folder."""
    return Path(str(subject.extra.get("arm", ""))).name or subject.path.stem


def threat_of(checkpoint: Subject, norm: Norm | None, eps: str | None) -> ThreatModel:
    """The threat model that a user names; what is left out is as the checkpoint was trained for.

    Raises:
        RobustAugError: an impossible one, or another norm than the checkpoint's without an eps.
    """
    trained_for = checkpoint.extra.get("threat", {"norm": "linf", "eps": 8 / 255})
    if eps is None and norm not in (None, trained_for["norm"]):
        known = (
            f"{checkpoint.path} was trained for {trained_for['norm']}"
            if "threat" in checkpoint.extra
            else "only linf has a default"
        )
        raise RobustAugError(f"--norm {norm} needs an --eps: {known}")
    return ThreatModel(norm or trained_for["norm"], trained_for["eps"] if eps is None else parse_number(eps, "eps"))


def check_subject(checkpoint: Subject, images: ImageSet) -> list[Check]:
    """Whether images that a classifier is measured on were trained on, where it tells; and whether it gives gradients.

    Without gradients the strongest attacks cannot be run: what is left makes any model look robust.
    """
    known = checkpoint.extra.get("data", {}).get("training_images")
    rows = [] if known is None else [no_test_image_in_training(set(known), images)]
    if (limits := limits_of(checkpoint)) is not None:
        rows.append(Check("input gradients are informative", arm_name(checkpoint), False, limits))
    return rows
