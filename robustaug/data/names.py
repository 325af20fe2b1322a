"""Names of files, classes and parts: which count, and which are refused."""

from collections.abc import Iterable
from pathlib import Path

from robustaug.errors import RobustAugError

PART_NAMES = {"train": "train", "validation": "validation", "val": "validation", "valid": "validation", "test": "test"}
NO_TEXT = "its name is not valid UTF-8; rename it"
_IGNORED = frozenset({"thumbs.db", "desktop.ini", "__macosx"})


def check_class_names(where: Path, names: Iterable[str], what: str = "class folders") -> None:
    """Refuse class names that differ in case alone, which other file systems take for one, and those that are no text.

    Args:
        where: the folder or file that they stand in, for the message.
        names: of the classes.
        what: they are there, for the message.

    Raises:
        RobustAugError: names them.
    """
    seen: dict[str, str] = {}
    for name in sorted(names):
        if shown(name) != name:
            raise RobustAugError(f"{where}: the name of the class folder {shown(name)} is not valid UTF-8; rename it")
        if (twin := seen.setdefault(name.casefold(), name)) != name:
            raise RobustAugError(f"{where}: the {what} '{twin}' and '{name}' differ only in case; rename or merge them")


def subfolders(folder: Path) -> list[Path]:
    """The folders that count, by name."""
    return [path for path in visible(folder) if path.is_dir()]


def visible(folder: Path) -> list[Path]:
    """Everything in a folder but hidden files and those that systems leave behind, by name."""
    return sorted(path for path in folder.iterdir() if is_visible(path.name))


def shown(name: str) -> str:
    """A name that may be written as UTF-8, whatever bytes it is made of."""
    return name.encode(errors="backslashreplace").decode()


def is_visible(name: str) -> bool:
    """Whether a file or folder of this name counts: it is not hidden, and no system left it behind."""
    return name[0] != "." and name.lower() not in _IGNORED


def above_class(key: str, label: str) -> int:
    """How many folders of a key there are down to that of its class; 0 where the class is none of its folders.

    The class folder is the first one, or the one below ``train``, ``validation`` or ``test``.
    """
    folders = key.split("/")[:-1]
    if folders[:1] == [label]:
        return 1
    return 2 if folders[1:2] == [label] and folders[0].lower() in PART_NAMES else 0
