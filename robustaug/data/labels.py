"""Labels of images that lie in no class folders: columns of a CSV that the user gives."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from robustaug.data.images import SUFFIXES
from robustaug.data.names import PART_NAMES, check_class_names, is_visible, shown
from robustaug.data.table import Table, read_table
from robustaug.errors import RobustAugError

LABEL, SPLIT = "label", "split"


@dataclass(frozen=True)
class Labels:
    """A table of labels.

    Attributes:
        path: of the file.
        of: key of an image to its class.
        part_of: key of an image to "train", "validation" or "test", or to "" where the data are not split.
    """

    path: Path
    of: Mapping[str, str]
    part_of: Mapping[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        """The classes, in alphabetical order."""
        return tuple(sorted(set(self.of.values())))

    def select(self, folder: Path, keys: Iterable[str]) -> list[str]:
        """Hold the table against the files of a folder.

        Args:
            folder: for the message.
            keys: of all its files, which may be no images.

        Returns:
            Those of files that have a row, in the given order, and of images whose names are no text, which none can
            have. Other files are none of the table's business.

        Raises:
            RobustAugError: an image without a row, a row without a file.
        """
        keys = list(keys)
        images = [key for key in keys if PurePosixPath(key).suffix.lower() in SUFFIXES]
        if missing := [key for key in images if key not in self.of and shown(key) == key]:
            raise RobustAugError(
                f"{self.path} has no row for {len(missing)} of the {len(images)} images in {folder}, the first is "
                f"{missing[0]}; add a row for each, with its path below the folder"
            )
        if strangers := self.of.keys() - set(keys):
            raise RobustAugError(
                f"{self.path} has {len(strangers)} of {len(self.of)} rows without a file in {folder}, the first is "
                f"{min(strangers)}; name the folder that the paths begin in, or remove the rows"
            )
        nameless = {key for key in images if shown(key) != key}
        return [key for key in keys if key in self.of or key in nameless]


def read_labels(path: Path) -> Labels:
    """Read a CSV with a column ``path`` or ``source``, a column ``label`` and, where wanted, one ``split``.

    Other columns are left alone. Without a column ``split`` the parts are folders, where every path begins with one:
    ``train/001.jpg``, ``test/007.jpg``.

    Raises:
        RobustAugError: as ``read_table``; no column ``label``, an empty label, one that cannot name a folder, labels
            that differ only in case, an unknown part.
    """
    table = read_table(path, "labels")
    if LABEL not in table.names:
        raise RobustAugError(
            f"{path} has no column {LABEL}, it has {', '.join(table.names)}; call the column with the classes {LABEL}"
        )
    of = _column(table, LABEL)
    for key, label in of.items():
        # Jobs put variants into a folder of this name.
        if not label or not is_visible(label) or not label.isprintable() or "/" in label or "\\" in label:
            what = f"has the label '{shown(label)}', which cannot name a folder" if label else "has no label"
            raise RobustAugError(f"{path}: {key} {what}; change the label")
    check_class_names(path, of.values(), "labels")
    if SPLIT in table.names:
        parts = {key: part.lower() for key, part in _column(table, SPLIT).items()}
        for key, part in parts.items():
            if part not in PART_NAMES:
                raise RobustAugError(f"{path}: {key} has the {SPLIT} '{part}'; write train, validation or test")
    else:
        parts = {key: key.split("/")[0].lower() if "/" in key else "" for key in of}
        if not PART_NAMES.keys() >= set(parts.values()):
            return Labels(path, of, dict.fromkeys(of, ""))
    return Labels(path, of, {key: PART_NAMES[part] for key, part in parts.items()})


def _column(table: Table, name: str) -> dict[str, str]:
    column = table.names.index(name)
    return {key: row[column] for key, row in table.values.items()}
