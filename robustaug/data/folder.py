"""Image folders: ROOT/CLASS/* or ROOT/{train,validation,test}/CLASS/*; or any tree, with a table of labels."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from robustaug.data.decode import ImageFile, decode_files
from robustaug.data.images import SUFFIXES
from robustaug.data.imageset import Skipped
from robustaug.data.labels import Labels
from robustaug.data.names import NO_TEXT, PART_NAMES, check_class_names, shown, subfolders, visible
from robustaug.data.splits import Source, limit_per_class
from robustaug.errors import RobustAugError

_LAYOUT = "lay it out as ROOT/CLASS/image.png or ROOT/train/CLASS/image.png, or give a table of labels"


def read_folder(
    folder: Path, *, size: int | None, seed: int, limit: int | None, labels: Labels | None = None
) -> Source:
    """Read a labelled image folder; keys are the files' paths below ``folder``, in sorted order.

    Sub-folders of a class belong to the class. Files that cannot be used are listed as skipped and the rest goes on;
    hidden files, Thumbs.db and desktop.ini are left out in silence.

    Args:
        folder: the root.
        size: side of the square images in px, or None as in ``load_data``.
        seed: of the limit.
        limit: at most so many files of a class are read, in each part.
        labels: of the files, whose folders then mean nothing; None: the class folders tell them.

    Raises:
        RobustAugError: no such folder, no class folders or no images in it, classes that differ between the parts,
            labels that miss files.
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise RobustAugError(f"image folder {folder} {what}; name a folder with one sub-folder of images per class")
    try:
        if labels is None:
            parts = find_parts(folder)
            names = _class_names(folder, parts)
            files, skipped = _list_files(folder, parts, names)
        else:
            names = labels.names
            files, skipped = _list_labelled(folder, labels)
    except OSError as error:
        raise RobustAugError(f"cannot read {error.filename or folder}: {error.strerror or error}") from error
    if not files:
        where, hint = ("the class folders of ", _LAYOUT) if labels is None else ("", f"see {labels.path}")
        raise RobustAugError(f"no images in {where}{folder}; {hint}")
    files = _limited(files, limit, seed)
    images, unreadable = decode_files([file for _, file in files], names, size)
    if not len(images):
        reason = f"{unreadable[0].path}: {unreadable[0].reason}"
        raise RobustAugError(f"none of the {len(files)} images in {folder} can be used, for example {reason}")
    part_of = {file.key: part for part, file in files}
    given: dict[str, list[int]] = {part: [] for part in dict.fromkeys(part for part, _ in files) if part}
    for index, key in enumerate(images.keys):
        if part_of[key]:
            given[part_of[key]].append(index)
    return Source(str(folder), replace(images, from_table=labels is not None), given, tuple(skipped + unreadable))


def find_parts(folder: Path) -> dict[str, Path]:
    """Part ("train", "validation", "test") to its folder; an unsplit tree is the one part "".

    Raises:
        RobustAugError: two folders for one part.
    """
    inside = subfolders(folder)
    found = [path for path in inside if path.name.lower() in PART_NAMES and subfolders(path)]
    parts: dict[str, Path] = {}
    for path in found:
        part = PART_NAMES[path.name.lower()]
        if part in parts:
            raise RobustAugError(f"{folder} has both {parts[part].name}/ and {path.name}/; keep one of them")
        parts[part] = path
    # A class may be called "train": only several such folders, or nothing else beside them, make a split tree.
    is_split = len(found) == len(inside) or ("train" in parts and len(parts) > 1)
    return parts if parts and is_split else {"": folder}


def _class_names(folder: Path, parts: dict[str, Path]) -> tuple[str, ...]:
    names = {part: {path.name for path in subfolders(root)} for part, root in parts.items()}
    everything = set().union(*names.values())
    if not everything:
        has_images = any(path.suffix.lower() in SUFFIXES for path in visible(folder))
        what = "has images but no class folders" if has_images else "is empty"
        raise RobustAugError(f"image folder {folder} {what}; {_LAYOUT}")
    check_class_names(folder, everything)
    # Training goes first, because what it lacks is what cannot be learnt.
    for part in sorted(names, key=lambda part: part != "train"):
        missing = sorted(everything - names[part])
        if missing:
            other = next(name for name in names if missing[0] in names[name])
            raise RobustAugError(
                f"{folder}: class '{missing[0]}' is in {parts[other].name}/ but not in {parts[part].name}/; "
                "every part needs the same class folders"
            )
    return tuple(sorted(everything))


def _list_files(
    folder: Path, parts: dict[str, Path], names: tuple[str, ...]
) -> tuple[list[tuple[str, ImageFile]], list[Skipped]]:
    files: list[tuple[str, ImageFile]] = []
    skipped = [
        Skipped(str(path), "not in a class folder")
        for root in {folder, *parts.values()}
        for path in visible(root)
        if path.is_file() and path.suffix.lower() in SUFFIXES
    ]
    if "" not in parts:
        strangers = [path for path in subfolders(folder) if path not in parts.values()]
        skipped += [Skipped(str(path), "not one of train, validation and test") for path in strangers]
    for part, root in parts.items():
        for label, name in enumerate(names):
            for path in _walk(root / name):
                key = path.relative_to(folder).as_posix()
                if shown(key) != key:
                    skipped.append(Skipped(shown(str(path)), NO_TEXT))
                elif path.suffix.lower() in SUFFIXES:
                    files.append((part, ImageFile(path, key, label)))
                else:
                    skipped.append(_no_image(path))
    return files, sorted(skipped, key=lambda item: item.path)


def _list_labelled(folder: Path, labels: Labels) -> tuple[list[tuple[str, ImageFile]], list[Skipped]]:
    files: list[tuple[str, ImageFile]] = []
    skipped: list[Skipped] = []
    number = {name: label for label, name in enumerate(labels.names)}
    paths = {path.relative_to(folder).as_posix(): path for path in _walk(folder)}
    for key in labels.select(folder, paths):
        if shown(key) != key:
            skipped.append(Skipped(shown(str(paths[key])), NO_TEXT))
        elif paths[key].suffix.lower() in SUFFIXES:
            files.append((labels.part_of[key], ImageFile(paths[key], key, number[labels.of[key]])))
        else:
            skipped.append(_no_image(paths[key]))
    return files, skipped


def _no_image(path: Path) -> Skipped:
    return Skipped(str(path), f"not an image file ({path.suffix or 'no suffix'})")


def _limited(files: list[tuple[str, ImageFile]], limit: int | None, seed: int) -> list[tuple[str, ImageFile]]:
    """At most so many of a class, in each part."""
    by_part: dict[str, list[ImageFile]] = {}
    for part, file in files:
        by_part.setdefault(part, []).append(file)
    return [
        (part, found[index])
        for part, found in by_part.items()
        for index in limit_per_class([file.key for file in found], [file.label for file in found], limit, seed)
    ]


def _walk(folder: Path) -> Iterator[Path]:
    for path in visible(folder):
        if not path.is_dir():
            yield path
        elif not path.is_symlink():  # a link may point back up
            yield from _walk(path)
