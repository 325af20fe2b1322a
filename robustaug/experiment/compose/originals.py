"""The originals of a composed data set, and where they go: PART/CLASS/NAME."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from robustaug.data import DataSplits, ImageSet
from robustaug.data.decode import parallel
from robustaug.data.images import encode_png
from robustaug.data.jobs import JOB, MANIFEST
from robustaug.data.named import NAMED_SETS
from robustaug.data.names import above_class
from robustaug.data.rows import read_rows
from robustaug.errors import RobustAugError
from robustaug.files import read_json, sha256

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class File:
    """One file of the composed data set.

    Attributes:
        row: its line of the manifest.
        read: gives its bytes, from where they are now.
    """

    row: dict[str, Any]
    read: Callable[[], bytes]

    def content(self) -> bytes:
        """Its bytes.

        Raises:
            RobustAugError: they cannot be read, or are no longer those that were planned with.
        """
        try:
            content = self.read()
        except OSError as error:
            raise RobustAugError(f"cannot read {error.filename}: {error.strerror or error}") from error
        if sha256(content) != self.row["sha256"]:
            origin = self.row.get("variant_path") or self.row["source"]
            raise RobustAugError(f"{origin} has changed while it was copied; call the command again")
        return content


def parts_of(data: DataSplits) -> dict[str, ImageSet]:
    """The three parts by name."""
    return dict(zip(PARTS, (data.train, data.validation, data.test), strict=True))


def class_folders(names: Iterable[str]) -> dict[str, str]:
    """The folder of each class: its name, without what would make several folders of it or hide it.

    Raises:
        RobustAugError: two classes that differ only in case: on many file systems their folders would be one.
    """
    folders = {name: name.replace("/", "_").replace("\\", "_").lstrip(".") or "_" for name in names}
    for folder, uses in Counter(folder.casefold() for folder in folders.values()).items():
        if uses > 1:
            first, second, *_ = (name for name in folders if folders[name].casefold() == folder)
            raise RobustAugError(
                f"the classes '{first}' and '{second}' differ only in case or in signs that no folder can have; "
                "on many file systems their folders would be one: rename or merge them first"
            )
    return folders


def original_files(source: str, data: DataSplits, folders: Mapping[str, str]) -> list[File]:
    """Every original: of a folder the file itself, of a named set its image as PNG.

    Args:
        source: an image folder or a named set.
        data: the same, loaded and split.
        folders: class to folder.
    """
    files, earlier = list[File](), {} if source in NAMED_SETS else _made_earlier(Path(source).expanduser())
    for part, images in parts_of(data).items():
        names = [data.class_names[label] for label in images.labels.tolist()]
        reads: list[Callable[[], bytes]]
        if source in NAMED_SETS:
            reads = [partial(_encode, images, index) for index in range(len(images))]
            hashes = list(parallel(lambda read: sha256(read()), reads, "Encoding images"))
        else:
            reads = [(Path(source).expanduser() / key).read_bytes for key in images.keys]
            hashes = list(images.sha256)
        for index, key in enumerate(images.keys):
            below = f"{PurePosixPath(key).stem}.png" if source in NAMED_SETS else below_class(key, names[index])
            row = {
                "path": f"{part}/{folders[names[index]]}/{below}",
                "part": part,
                "label": folders[names[index]],
                "kind": "original",
                "source": key,
                "source_sha256": images.sha256[index],
                "sha256": hashes[index],
                **({"made": earlier[key]} if key in earlier else {}),
            }
            files.append(File(row, reads[index]))
    return files


def _made_earlier(folder: Path) -> dict[str, dict[str, Any]]:
    """Of a data set that was itself composed: path of each variant in it to the line that says what made it."""
    if not (folder / JOB).is_file() or read_json(folder / JOB).get("job") != "compose":
        return {}
    rows = {str(row.get("path")): row for row in read_rows(folder / MANIFEST)}
    made = {path: row.get("made") if row.get("kind") == "original" else row for path, row in rows.items()}
    return {path: row for path, row in made.items() if row is not None}


def below_class(key: str, label: str) -> str:
    """What comes below the class folder in a key or path; all of it where a table, and no folder, tells the class."""
    return "/".join(key.split("/")[above_class(key, label) :])


def _encode(images: ImageSet, index: int) -> bytes:
    return encode_png(images.images[index])
