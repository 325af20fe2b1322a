"""Which variants of a folder may join the training part, and why the others may not."""

import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from robustaug.data import DataSplits, Skipped
from robustaug.data.decisions import Decision, Decisions, read_decisions
from robustaug.data.decode import fit, parallel
from robustaug.data.images import decode_image
from robustaug.data.jobs import JOB, MANIFEST
from robustaug.data.manifest import read_manifest
from robustaug.errors import RobustAugError
from robustaug.evaluation.checks import pixel_hashes
from robustaug.experiment.compose.originals import File, below_class, parts_of
from robustaug.files import read_json, sha256

VARIANT_KINDS = ("stylised", "classical", "adversarial")


@dataclass(frozen=True)
class Origin:
    """A folder of variants, and what became of them.

    Attributes:
        path: as the user named it.
        number: marks its variants in the composed data set: they lie in folders KIND-NUMBER of their classes.
        job: what its ``job.json`` says of how they were made.
        manifest_sha256: of its manifest.
        added: how many joined.
        left_out: reason to how many did not.
        decided: decision of the review to how many.
    """

    path: Path
    number: int
    job: Mapping[str, Any]
    manifest_sha256: str
    added: int
    left_out: Mapping[str, int]
    decided: Mapping[str, int]


@dataclass
class Originals:
    """The originals of a data set, to be asked for what variants may come of them.

    Attributes:
        data: the parts.
        folders: class to its folder.
        place: key to part and index.
        held_out: hashes of the pixels of validation and test images.
        twins: training images that equal one of those.
    """

    data: DataSplits
    folders: Mapping[str, str]
    place: dict[str, tuple[str, int]] = field(init=False)
    held_out: frozenset[str] = field(init=False)
    twins: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        parts = parts_of(self.data)
        self.place = {key: (part, i) for part, images in parts.items() for i, key in enumerate(images.keys)}
        self.held_out = frozenset({*pixel_hashes(self.data.validation), *pixel_hashes(self.data.test)})
        train = zip(self.data.train.keys, pixel_hashes(self.data.train), strict=True)
        self.twins = frozenset(key for key, digest in train if digest in self.held_out)

    def source_of(self, row: Mapping[str, Any], manifest: Path) -> str:
        """The key of a variant's original, which has the hash and the class that its line says.

        A variant made of the folder ``train`` of the data set names its source without that folder.

        Raises:
            RobustAugError: there is none.
        """
        path, key = row["path"], row["source"]
        key = key if key in self.place else f"train/{key}"
        if key not in self.place:
            raise RobustAugError(
                f"{manifest}: the source {row['source']} of {path} is no image of {self.data.name}; "
                "name the data set that the variants were made of"
            )
        part, index = self.place[key]
        images = parts_of(self.data)[part]
        if row["source_sha256"] != images.sha256[index]:
            raise RobustAugError(
                f"{manifest}: {key} of {self.data.name} is not the image that {path} was made of (its SHA-256 "
                "differs); name the data set that the variants were made of, or make them again"
            )
        label = images.class_names[int(images.labels[index])]
        if row["label"] != label:
            raise RobustAugError(
                f"{manifest}: {path} has label '{row['label']}', its source {key} has '{label}'; a variant keeps its "
                "source's label: make the variants with the same labels"
            )
        return key


def variant_files(folder: Path, number: int, originals: Originals) -> tuple[Origin, list[File], list[Skipped]]:
    """The variants of a folder that join the training part, and what became of all.

    A variant joins if its source is a training image that equals no validation or test image, if it equals none
    itself, and if the review does not speak against it.

    Raises:
        RobustAugError: no manifest, or a line that is not of this data set or leads out of the folder; decisions of
            another manifest.
    """
    manifest = folder / MANIFEST
    rows, decisions = read_manifest(folder), read_decisions(folder)
    left_out, decided = Counter[str](), Counter[str]()
    todo: list[tuple[dict[str, Any], str]] = []
    for path, row in rows.items():
        if row["kind"] not in VARIANT_KINDS:
            raise RobustAugError(
                f"{manifest}: {path} is of kind '{row['kind']}'; variants are {', '.join(VARIANT_KINDS)}"
            )
        source = originals.source_of(row, manifest)
        decision = decisions.decision(path)
        decided["undecided" if decision is None else decision.verdict] += 1
        if reason := _against(path, source, decisions, originals):
            left_out[reason] += 1
        else:
            todo.append((row, source))
    look = partial(_look, folder, decisions, originals)
    files, skipped = [], []
    for (row, source), found in zip(todo, parallel(look, [row for row, _ in todo], "Reading variants"), strict=True):
        if isinstance(found, Skipped):
            skipped.append(found)
            left_out["its file cannot be used"] += 1
        elif found.reason:
            left_out[found.reason] += 1
        else:
            files.append(_file(folder, number, row, source, found.sha256, decisions.decision(row["path"]), originals))
    job = read_json(folder / JOB) if (folder / JOB).exists() else {}
    origin = Origin(folder, number, job, sha256(manifest.read_bytes()), len(files), left_out, decided)
    return origin, files, skipped


@dataclass(frozen=True)
class _Seen:
    sha256: str
    reason: str = ""


def _against(path: str, source: str, decisions: Decisions, originals: Originals) -> str:
    """Why a variant does not join, as far as the manifest and the review tell."""
    decision = decisions.decision(path)
    part = originals.place[source][0]
    if path in decisions.excluded:
        rejected = decision is not None and decision.verdict == "reject"
        return "rejected in the review" if rejected else "marked for relabelling without a new label"
    label = decisions.relabelled.get(path)
    if label is not None and label not in originals.folders:
        raise RobustAugError(
            f"the review gives {path} the label '{label}', which is no class of {originals.data.name}; it has "
            f"{', '.join(originals.folders)}"
        )
    if part != "train":
        return f"its source is a {part} image"
    return "its source equals a validation or test image" if source in originals.twins else ""


def _look(folder: Path, decisions: Decisions, originals: Originals, row: Mapping[str, Any]) -> _Seen | Skipped:
    """Its hash; and why it does not join, as far as its file tells."""
    path = folder / row["path"]
    decision = decisions.decision(row["path"])
    try:
        content = path.read_bytes()
        image = fit(decode_image(content, min_side=1), originals.data.image_size)
    except OSError as error:
        return Skipped(str(path), f"cannot be read: {error.strerror or error}")
    except RobustAugError as error:
        return Skipped(str(path), str(error))
    digest = sha256(content)
    if decision is not None and decision.sha256 not in ("", digest):
        return _Seen(digest, "its file has changed since the review")
    is_held_out = sha256(image.numpy().tobytes())[:12] in originals.held_out
    return _Seen(digest, "it equals a validation or test image" if is_held_out else "")


def _file(
    folder: Path, number: int, row: Mapping[str, Any], source: str, digest: str, decision: Decision | None,
    originals: Originals,
) -> File:  # fmt: skip
    old, new = row["label"], (decision and decision.label) or row["label"]
    label = originals.folders[new]
    # A relabelled variant keeps its whole path, so that it never takes the place of another one of its new class.
    below = (
        f"relabelled-{number}/{row['path']}"
        if new != old
        else f"{row['kind']}-{number}/{below_class(row['path'], old)}"
    )
    ours = {
        "path": f"train/{label}/{below}",
        "part": "train",
        "label": label,
        "kind": row["kind"],
        "source": source,
        "source_sha256": row["source_sha256"],
        "sha256": digest,
        "variants": folder.resolve().name,
        "variant_path": row["path"],
        "decision": None if decision is None else decision.verdict,
        **({"label_before": originals.folders[old]} if new != old else {}),
    }
    return File(
        {**ours, **{name: value for name, value in row.items() if name not in ours}}, (folder / row["path"]).read_bytes
    )


def first_number(paths: Collection[str]) -> int:
    """The number of the first folder of variants: above those that an already composed data set has."""
    kinds = "|".join((*VARIANT_KINDS, "relabelled"))
    found = (re.match(rf"train/[^/]+/(?:{kinds})-(\d+)/", path) for path in paths)
    return max((int(match[1]) for match in found if match), default=0) + 1
