"""Variants of training images, made once and kept on disk with a manifest."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from robustaug.data.decisions import REVIEW, read_decisions
from robustaug.data.decode import check_memory, parallel
from robustaug.data.images import read_image
from robustaug.data.imageset import ImageSet
from robustaug.data.jobs import MANIFEST
from robustaug.data.manifest import read_manifest
from robustaug.errors import RobustAugError


@dataclass(frozen=True)
class VariantSet:
    """Variants in memory, each under its source's label.

    Attributes:
        images: uint8, shape (M, 3, H, W).
        labels: int64, shape (M,).
        sources: key of each variant's original.
        parameters: what made each variant: style, its hash, method, strength, ...
        left_out: how many variants of the folder are not here, because a person rejected them or gave them a new label.
        review: a hash of those decisions; "" where there are none.
    """

    images: Tensor
    labels: Tensor
    sources: tuple[str, ...]
    parameters: tuple[Mapping[str, Any], ...]
    left_out: int = 0
    review: str = ""

    def __len__(self) -> int:
        return len(self.images)


def load_variants(folder: Path, originals: ImageSet, kinds: Collection[str] = ("stylised",)) -> VariantSet:
    """Read the variants that ``manifest.jsonl`` in ``folder`` lists, in the order of their paths.

    Every line is checked against its original before an image is read: this keeps test images and stale variants out.
    What ``review.jsonl`` says is obeyed: what was rejected, or shows another label than its source, is left out.

    Args:
        folder: holds the manifest; paths in it are relative to the folder.
        originals: what the variants were made from.
        kinds: those that may be listed.

    Raises:
        RobustAugError: no variants, none left after review, decisions about another manifest, or a line whose source,
            hash, label, kind, path or image is wrong.
    """
    folder = Path(folder)
    listed, decisions = read_manifest(folder), read_decisions(folder)
    unused = decisions.excluded | decisions.relabelled.keys()
    rows = [row for path, row in listed.items() if path not in unused]
    if not rows:
        raise RobustAugError(
            f"none of the {len(listed)} variants in {folder} is left after review; accept some with robustaug review, "
            f"or delete {REVIEW}"
        )
    index_of = {key: index for index, key in enumerate(originals.keys)}
    indices = [_check_row(folder, row, originals, index_of, kinds) for row in rows]
    shape = (originals.images.shape[2], originals.images.shape[3])
    check_memory(len(rows), shape)
    images = torch.empty(len(rows), 3, *shape, dtype=torch.uint8)

    def read(number: int) -> None:
        path = folder / rows[number]["path"]
        image = read_image(path, min_side=1)
        if tuple(image.shape[1:]) != shape:
            raise RobustAugError(
                f"variant {path} has {image.shape[1]}x{image.shape[2]} px, the originals have {shape[0]}x{shape[1]}; "
                "make the variants again at this size"
            )
        images[number] = image

    for _ in parallel(read, range(len(rows)), "Reading variants"):
        pass
    return VariantSet(
        images,
        originals.labels[torch.tensor(indices)],
        tuple(originals.keys[index] for index in indices),
        tuple({name: value for name, value in row.items() if name not in ("source", "label", "kind")} for row in rows),
        left_out=len(listed) - len(rows),
        review=decisions.fingerprint,
    )


def check_variants(variants: VariantSet, originals: ImageSet) -> None:
    """Refuse variants that are not of these originals.

    Raises:
        RobustAugError: a source that is not among the originals, another label than its source's, or another size.
    """
    if not len(variants.images) == len(variants.labels) == len(variants.sources) == len(variants.parameters):
        raise RobustAugError("a variant set needs one label, source and mapping of parameters for each image")
    if variants.images.shape[1:] != originals.images.shape[1:]:
        raise RobustAugError(
            f"the variants have shape {tuple(variants.images.shape[1:])}, the originals "
            f"{tuple(originals.images.shape[1:])}; make the variants again at the originals' size"
        )
    label_of: Mapping[str, int] = dict(zip(originals.keys, originals.labels.tolist(), strict=True))
    labels: Sequence[int] = variants.labels.tolist()
    for source, label in zip(variants.sources, labels, strict=True):
        if source not in label_of:
            raise RobustAugError(_stranger(source))
        if label != label_of[source]:
            raise RobustAugError(
                f"a variant of {source} has label {label}, its source has {label_of[source]}; "
                "a variant keeps its source's label"
            )


def _check_row(
    folder: Path, row: Mapping[str, Any], originals: ImageSet, index_of: Mapping[str, int], kinds: Collection[str]
) -> int:
    """The index of a manifest line's original."""
    manifest = folder / MANIFEST
    path, source = row["path"], row["source"]
    if row["kind"] not in kinds:
        raise RobustAugError(
            f"{manifest}: {path} is of kind '{row['kind']}'; only {' and '.join(kinds)} variants are read from disk, "
            "adversarial ones are made in the training loop"
        )
    if source not in index_of:
        raise RobustAugError(f"{manifest}: {_stranger(source)}")
    index = index_of[source]
    if row["source_sha256"] != originals.sha256[index]:
        raise RobustAugError(
            f"{manifest}: {source} has changed since its variant {path} was made; make the variants again"
        )
    label = originals.class_names[int(originals.labels[index])]
    if row["label"] != label:
        raise RobustAugError(
            f"{manifest}: {path} has label '{row['label']}', its source {source} has '{label}'; "
            "a variant keeps its source's label"
        )
    if not (folder / path).is_file():
        raise RobustAugError(f"{manifest}: {path} is missing from {folder}; restore it or make the variants again")
    return index


def _stranger(source: str) -> str:
    return (
        f"a variant's source {source} is not among the training images (is it of the test part, or of another split "
        "seed?); make the variants from the training part"
    )
