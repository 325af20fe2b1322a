"""A folder of images as content for the batch job."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from robustaug.data.images import SUFFIXES, read_image
from robustaug.data.imageset import Skipped
from robustaug.errors import RobustAugError
from robustaug.files import sha256
from robustaug.style.job import Item

_PARTS = ("train", "validation", "val", "valid", "test")
_IGNORED = ("thumbs.db", "desktop.ini", "__macosx")


def folder_items(folder: Path) -> tuple[list[Item], list[Skipped]]:
    """All images of a folder tree, in the order of their paths, and the files that are none.

    Keys are paths below ``folder``; the label is the class folder: the first one, or the one below ``train``,
    ``validation`` or ``test``. Hidden files, Thumbs.db and desktop.ini are left out in silence.

    Args:
        folder: any tree of folders with images in it.

    Raises:
        RobustAugError: no such folder, or no images in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise RobustAugError(f"content folder {folder} {what}; name a folder with images in it")
    items: list[Item] = []
    skipped: list[Skipped] = []
    for path in _walk(folder):
        key = path.relative_to(folder).as_posix()
        if path.suffix.lower() not in SUFFIXES:
            skipped.append(Skipped(key, f"not an image file ({path.suffix or 'no suffix'})"))
            continue
        try:
            digest = sha256(path.read_bytes())
        except OSError as error:
            skipped.append(Skipped(key, f"cannot be read: {error.strerror or error}"))
            continue
        items.append(Item(key, _label(key), digest, partial(read_image, path)))
    if not items:
        raise RobustAugError(f"content folder {folder} holds no images; name a folder with images in it")
    return items, skipped


def _label(key: str) -> str:
    folders = key.split("/")[:-1]
    if len(folders) > 1 and folders[0].lower() in _PARTS:
        folders = folders[1:]
    return folders[0] if folders else ""


def _walk(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if _is_visible(name))
        yield from (Path(root) / name for name in sorted(names) if _is_visible(name))


def _is_visible(name: str) -> bool:
    return name[0] != "." and name.lower() not in _IGNORED
