"""A folder of images as content for the batch job."""

import heapq
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import torch

from robustaug.data.images import SUFFIXES, resize
from robustaug.data.imageset import ImageSet, Skipped
from robustaug.errors import RobustAugError
from robustaug.files import sha256
from robustaug.randomness import derive_seed
from robustaug.style.bank import MIN_OWN_SIDE, StyleBank
from robustaug.style.content import Item

_PARTS = ("train", "validation", "val", "valid", "test")
_IGNORED = ("thumbs.db", "desktop.ini", "__macosx")
_FOLDER = "a folder"
_OWN_SIDE = 192  # px: of images that serve as styles


def folder_items(folder: Path, leave: Collection[str] = ()) -> tuple[list[Item], list[Skipped]]:
    """All images of a folder tree, in the order of their paths, and the files that are none.

    Nothing is read yet. Keys are paths below ``folder``; the label is the class folder: the first one, or the one below
    ``train``, ``validation`` or ``test``. Links to folders are followed, but for those that lead back to where they
    came from. Hidden files, Thumbs.db and desktop.ini are left out in silence.

    Args:
        folder: any tree of folders with images in it.
        leave: classes to leave alone.

    Raises:
        RobustAugError: no such folder, no images in it, or a class to leave alone that is not there.
    """
    folder = Path(folder)
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise RobustAugError(f"content folder {folder} {what}; name a folder with images in it")
    items: list[Item] = []
    skipped: list[Skipped] = []
    left = set[str]()
    for path, problem in _walk(str(folder), ()):
        if problem and Path(path) == folder:
            raise RobustAugError(f"content folder {folder} {problem}; name a folder with images in it")
        key = Path(path).relative_to(folder).as_posix()
        shown = key.encode(errors="backslashreplace").decode()
        suffix = Path(path).suffix
        if _label(key) in leave:
            left.add(_label(key))
        elif problem:
            skipped.append(Skipped(shown, problem))
        elif suffix.lower() not in SUFFIXES:
            skipped.append(Skipped(shown, f"not an image file ({suffix or 'no suffix'})"))
        elif shown != key:
            skipped.append(Skipped(shown, "its name is not valid UTF-8; rename it"))
        else:
            items.append(Item(key, _label(key), partial(_read, path)))
    if unknown := sorted(set(leave) - left):
        known = sorted({item.label for item in items if item.label} | left)
        raise RobustAugError(
            f"there is no class {unknown[0]!r} to leave alone in {folder}; it has {', '.join(known) or 'no classes'}"
        )
    if not items:
        raise RobustAugError(f"content folder {folder} holds no images; name a folder with images in it")
    return items, skipped


def own_styles(items: Sequence[Item], *, other_class: bool = False, seed: int = 0, most: int = 256) -> StyleBank:
    """The images themselves as styles: a random choice of them, because a bank stays in memory.

    Args:
        items: the content; those that cannot be read or used are left out.
        other_class: give an image only such as no image of its own class is.
        seed: of the choice.
        most: how many at most.

    Raises:
        RobustAugError: no image can be used, or all are of one class.
    """
    chosen = heapq.nsmallest(most, items, key=lambda item: derive_seed(seed, item.key, "own styles"))
    images, used = [], []
    for item in chosen:
        with suppress(RobustAugError):  # the job lists it, when its turn comes
            image = item.load()
            if min(image.shape[1:]) >= MIN_OWN_SIDE:
                images.append(resize(image, _OWN_SIDE))
                used.append(item)
    if not used:
        raise RobustAugError("none of the images can serve as a style; name a folder of paintings")
    names = sorted({item.label for item in used})
    labels = torch.tensor([names.index(item.label) for item in used], dtype=torch.int64)
    keys = tuple(item.key for item in used)
    hashes = tuple(sha256(image.numpy().tobytes()) for image in images)
    return StyleBank.from_images(
        ImageSet(torch.stack(images), labels, keys, hashes, tuple(names)), other_class=other_class
    )


def _label(key: str) -> str:
    folders = key.split("/")[:-1]
    if len(folders) > 1 and folders[0].lower() in _PARTS:
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
            entries = sorted((entry for entry in found if _is_visible(entry.name)), key=lambda entry: entry.name)
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


def _is_visible(name: str) -> bool:
    return name[0] != "." and name.lower() not in _IGNORED


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise RobustAugError(f"cannot be read: {error.strerror or error}") from error
