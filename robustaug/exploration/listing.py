"""Every file of a labelled image folder: what may be an image of a class, and what is odd before it is opened."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from robustaug.data.folder import find_parts
from robustaug.data.images import SUFFIXES
from robustaug.data.labels import Labels
from robustaug.data.names import NO_TEXT, check_class_names, shown, subfolders, visible
from robustaug.errors import RobustAugError

_LAYOUT = "lay it out as ROOT/CLASS/image.png or ROOT/train/CLASS/image.png, or give a table of labels"


@dataclass(frozen=True)
class Finding:
    """A file that deserves a look: its path below the folder, one of ``KINDS``, and why."""

    path: str
    kind: str
    reason: str


KINDS = {  # in the order in which they are told
    "unreadable": "cannot be used",
    "wrong suffix": "format and suffix differ",
    "link": "a link that leads elsewhere",
    "blank": "blank",
    "tiny": "much smaller than the others",
    "not an image": "not an image file",
    "misplaced": "not in a class folder",
}


@dataclass(frozen=True)
class Candidate:
    """A file with the suffix of an image in a class folder; ``key`` is its path below the root."""

    path: Path
    key: str
    part: str
    label: int


@dataclass(frozen=True)
class Listing:
    """What lies in an image folder; the part of an unsplit folder is the empty text."""

    class_names: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    findings: tuple[Finding, ...]


def list_folder(folder: Path, labels: Labels | None = None) -> Listing:
    """List ROOT/CLASS/* or ROOT/{train,validation,test}/CLASS/*, or what has labels, in the order of the paths.

    Unlike ``data.load_data`` this bears classes that a part lacks: a page about the data should show them.

    Raises:
        RobustAugError: no such folder, no class folders, no image in them, classes that differ only in case,
            labels that miss files.
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise RobustAugError(f"image folder {folder} {what}; name a folder with one sub-folder of images per class")
    try:
        return _listed(folder) if labels is None else _labelled(folder, labels)
    except OSError as error:
        raise RobustAugError(f"cannot read {error.filename or folder}: {error.strerror or error}") from error


def _listed(folder: Path) -> Listing:
    parts = find_parts(folder)
    names = sorted({path.name for root in parts.values() for path in subfolders(root)})
    check_class_names(folder, names)
    candidates: list[Candidate] = []
    findings = [_finding(folder, path, "misplaced", "not in a class folder") for path in _loose_images(folder, parts)]
    inside = folder.resolve()
    for part, root in parts.items():
        for label, name in enumerate(names):
            for path in _walk(root / name) if (root / name).is_dir() else ():
                if (odd := _odd_link(path, inside)) is not None:
                    findings.append(_finding(folder, path, "link", odd))
                if path.is_dir():
                    continue
                if path.suffix.lower() in SUFFIXES:
                    candidates.append(Candidate(path, _key(folder, path), part, label))
                else:
                    findings.append(_no_image(folder, path))
    if not candidates:
        what = "no images in the class folders of" if names else "no class folders in"
        raise RobustAugError(f"{what} {folder}; {_LAYOUT}")
    return Listing(tuple(names), tuple(candidates), tuple(findings))


def _labelled(folder: Path, labels: Labels) -> Listing:
    candidates: list[Candidate] = []
    inside, number = folder.resolve(), {name: label for label, name in enumerate(labels.names)}
    found = {path.relative_to(folder).as_posix(): path for path in _walk(folder)}
    selected = labels.select(folder, [key for key, path in found.items() if not path.is_dir()])
    findings = [
        _finding(folder, path, "link", odd)
        for key, path in found.items()
        if (path.is_dir() or key in labels.of) and (odd := _odd_link(path, inside)) is not None
    ]
    for key in selected:
        path = found[key]
        if path.suffix.lower() not in SUFFIXES:
            findings.append(_no_image(folder, path))
        elif key in labels.of:
            candidates.append(Candidate(path, key, labels.part_of[key], number[labels.of[key]]))
        else:
            findings.append(_finding(folder, path, "unreadable", NO_TEXT))
    if not candidates:
        raise RobustAugError(f"no images in {folder}; see {labels.path}")
    return Listing(labels.names, tuple(candidates), tuple(findings))


def _walk(folder: Path) -> Iterator[Path]:
    """All files below a folder, and the links to folders, which nobody follows: they may lead back up."""
    for path in visible(folder):
        if path.is_symlink() or not path.is_dir():
            yield path
        else:
            yield from _walk(path)


def _loose_images(folder: Path, parts: dict[str, Path]) -> list[Path]:
    return [
        path
        for root in sorted({folder, *parts.values()})
        for path in visible(root)
        if path.is_file() and path.suffix.lower() in SUFFIXES
    ]


def _odd_link(path: Path, inside: Path) -> str | None:
    if not path.is_symlink():
        return None
    target = path.resolve()
    if not target.exists():
        return "leads nowhere"
    if target.is_dir():
        return "leads to a folder; its images are not used"
    return None if target.is_relative_to(inside) else f"leads out of the folder, to {shown(os.fspath(target))}"


def _no_image(folder: Path, path: Path) -> Finding:
    return _finding(folder, path, "not an image", f"its suffix is {path.suffix or 'missing'}")


def _finding(folder: Path, path: Path, kind: str, reason: str) -> Finding:
    return Finding(_key(folder, path), kind, reason)


def _key(folder: Path, path: Path) -> str:
    return shown(path.relative_to(folder).as_posix())
