"""The content of a job: single images, read when their turn comes; a folder of them."""

import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor

from robustaug.data.images import SUFFIXES, decode_image
from robustaug.data.imageset import ImageSet, Skipped, identity
from robustaug.data.labels import Labels
from robustaug.data.names import NO_TEXT, PART_NAMES, check_class_names, is_visible, shown
from robustaug.errors import RobustAugError
from robustaug.files import sha256

# What this program itself writes beside images: whatever it wrote it takes without complaint.
_RECORDS = frozenset(
    {"job.json", "manifest.jsonl", "dropped.jsonl", "review.jsonl", "metadata.jsonl", "attributes.csv", "DATACARD.md",
     "README.md"}
)  # fmt: skip
_FOLDER = "a folder"


@dataclass(frozen=True, slots=True)
class Item:
    """One content image.

    Attributes:
        key: unique; with a class folder (``shirt/001.jpg``) that folder and the name are kept in the output.
        label: class name; "" for none.
        read: returns the file's bytes, or the image itself, uint8 (3, H, W); a RobustAugError makes the job go on
            without it.
        sha256: of the source, for provenance and to notice that it changed; "" takes that of what was read.
        from_table: whether a table gives the label, so that the key does not tell it.
    """

    key: str
    label: str
    read: Callable[[], bytes | Tensor]
    sha256: str = ""
    from_table: bool = False

    @property
    def identity(self) -> str:
        """As in ``ImageSet.identities``."""
        return identity(self.key, self.label) if self.from_table else self.key

    def load(self) -> Tensor:
        """The image, uint8 (3, H, W).

        Raises:
            RobustAugError: it cannot be read or is none.
        """
        return pixels(self.read())

    def digest(self, content: bytes | Tensor) -> str:
        """SHA-256 of the source, of which ``content`` was read."""
        return self.sha256 or sha256(content if isinstance(content, bytes) else content.numpy().tobytes())


def pixels(content: bytes | Tensor) -> Tensor:
    """What was read, as an image, uint8 (3, H, W).

    Raises:
        RobustAugError: it is none, or cannot be used.
    """
    return content if isinstance(content, Tensor) else decode_image(content)


def items_of(images: ImageSet) -> list[Item]:
    """The images of a set in memory."""
    names = [images.class_names[label] for label in images.labels.tolist()]
    return [
        Item(key, name, partial(_itself, image), digest, images.from_table)
        for key, name, digest, image in zip(images.keys, names, images.sha256, images.images, strict=True)
    ]


def _itself(image: Tensor) -> Tensor:
    return image


def folder_items(
    folder: Path, leave: Collection[str] = (), labels: Labels | None = None
) -> tuple[list[Item], list[Skipped]]:
    """All images of a folder tree, in the order of their paths, and the files that are none.

    Nothing is read yet. Keys are paths below ``folder``; the label is the class folder: the first one, or the one below
    ``train``, ``validation`` or ``test``. Links to folders are followed, but for those that lead back to where they
    came from. Hidden files, Thumbs.db, desktop.ini and the lists that this program writes beside images are left out in
    silence.

    Args:
        folder: any tree of folders with images in it.
        leave: classes to leave alone.
        labels: of the files, whose folders then mean nothing; None: the class folders tell them.

    Raises:
        RobustAugError: no such folder, no images in it, a class to leave alone that is not there, classes that
            differ only in case, or labels that miss files.
    """
    folder = Path(folder)
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise RobustAugError(f"content folder {folder} {what}; name a folder with images in it")
    items: list[Item] = []
    skipped: list[Skipped] = []
    left = set[str]()
    found = {Path(path).relative_to(folder).as_posix(): (path, problem) for path, problem in _walk(str(folder), ())}
    if "." in found:
        raise RobustAugError(f"content folder {folder} {found['.'][1]}; name a folder with images in it")
    if labels is not None:
        selected = set(labels.select(folder, found))
        found = {key: entry for key, entry in found.items() if entry[1] or key in selected}
    for key, (path, problem) in found.items():
        name = shown(key)
        suffix = Path(path).suffix
        label = _label(key) if labels is None else labels.of.get(key, "")
        if Path(path).name in _RECORDS:
            continue
        if label in leave:
            left.add(label)
        elif problem:
            skipped.append(Skipped(name, problem))
        elif suffix.lower() not in SUFFIXES:
            skipped.append(Skipped(name, f"not an image file ({suffix or 'no suffix'})"))
        elif name != key:
            skipped.append(Skipped(name, NO_TEXT))
        else:
            items.append(Item(key, label, partial(_read, path), from_table=labels is not None))
    if unknown := sorted(set(leave) - left):
        known = sorted({item.label for item in items if item.label} | left)
        raise RobustAugError(
            f"there is no class {unknown[0]!r} to leave alone in {folder}; it has {', '.join(known) or 'no classes'}"
        )
    if not items:
        raise RobustAugError(f"content folder {folder} holds no images; name a folder with images in it")
    check_class_names(folder, {item.label for item in items})  # on many file systems their variants would be one
    return items, skipped


def _label(key: str) -> str:
    folders = key.split("/")[:-1]
    if len(folders) > 1 and folders[0].lower() in PART_NAMES:
        folders = folders[1:]
    return folders[0] if folders else ""


def _walk(folder: str, above: tuple[tuple[int, int], ...]) -> Iterator[tuple[str, str]]:
    """Files below a folder, files first and each kind by name; and beside each why it cannot be used, or ""."""
    try:
        status = Path(folder).stat()
        here = (status.st_dev, status.st_ino)
        if here in above:
            yield folder, "a link that leads back to a folder around it"
            return
        with os.scandir(folder) as found:
            entries = sorted((entry for entry in found if is_visible(entry.name)), key=lambda entry: entry.name)
    except OSError as error:
        yield folder, f"cannot be read: {error.strerror or error}"
        return
    kinds = [(entry.path, _kind(entry)) for entry in entries]
    yield from ((path, problem) for path, problem in kinds if problem != _FOLDER)
    for path, kind in kinds:
        if kind == _FOLDER:
            yield from _walk(path, (*above, here))


def _kind(entry: os.DirEntry[str]) -> str:
    """A folder, or "" for a file, or why it is of no use."""
    try:
        if entry.is_dir():
            return _FOLDER
        if entry.is_file():
            return ""
        entry.stat()  # of a link that leads nowhere, this says so
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    return "neither a file nor a folder"


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise RobustAugError(f"cannot be read: {error.strerror or error}") from error
