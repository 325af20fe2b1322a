"""Attributes of images, such as the camera or the site: columns of a CSV that the user gives."""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from robustaug.data.imageset import ImageSet
from robustaug.errors import RobustAugError
from robustaug.files import sha256

MOST_VALUES = 50  # more make groups that nobody can read, and of too few images
_KEYS = ("path", "source")


@dataclass(frozen=True)
class Attributes:
    """What a file says of images.

    Attributes:
        path: of the file.
        sha256: of its bytes.
        names: of the attributes, in the file's order.
        values: key of an image to a text for each attribute; an empty one is not known.
    """

    path: Path
    sha256: str
    names: tuple[str, ...]
    values: Mapping[str, tuple[str, ...]]

    def of(self, images: ImageSet) -> dict[str, tuple[str, ...]]:
        """Attribute to its value for each image, in order."""
        rows = [self.values[key] for key in images.keys]
        return {name: tuple(row[column] for row in rows) for column, name in enumerate(self.names)}

    def check(self, keys: Iterable[str]) -> tuple[str, ...]:
        """Hold the file against the images that it is for.

        Args:
            keys: of all images that the attributes will be asked for.

        Returns:
            The paths in the file that are no such image: files that were skipped, a part that is not read, a misprint.

        Raises:
            RobustAugError: an image without a row, an attribute with one value or with more than ``MOST_VALUES``.
        """
        keys = list(keys)
        missing = [key for key in keys if key not in self.values]
        if missing:
            raise RobustAugError(
                f"{self.path} has no row for {len(missing)} of {len(keys)} images, the first is {missing[0]}; "
                "add a row for each, with an empty value where it is not known"
            )
        for column, name in enumerate(self.names):
            found = Counter(self.values[key][column] for key in keys)
            found.pop("", None)
            if len(found) < 2:
                has = f"one value ('{next(iter(found))}')" if found else "no value"
                raise RobustAugError(
                    f"{self.path}: attribute '{name}' has {has} for all images, so there are no groups to compare; "
                    "remove the column"
                )
            if len(found) > MOST_VALUES:
                raise RobustAugError(
                    f"{self.path}: attribute '{name}' has {len(found)} values; put them into at most {MOST_VALUES} "
                    "groups, or remove the column"
                )
        known = set(keys)
        return tuple(key for key in self.values if key not in known)


def read_attributes(path: Path) -> Attributes:
    """Read a CSV in UTF-8 with a head, a column ``path`` or ``source`` (keys as in ``ImageSet``), and attributes.

    In an image folder keys are the files' paths below it: ``shirt/001.jpg`` or ``train/shirt/001.jpg``.

    Raises:
        RobustAugError: the file cannot be read, has no such column or no other one, a line of another length, or two
            lines for one image.
    """
    try:
        content = path.read_bytes()
        lines = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        rows = [(lines.line_num, [cell.strip() for cell in row]) for row in lines if any(cell.strip() for cell in row)]
    except OSError as error:
        raise RobustAugError(f"cannot read the attributes {path}: {error.strerror or error}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise RobustAugError(f"{path} is no CSV in UTF-8 ({error}); save it again as one") from error
    if len(rows) < 2:
        raise RobustAugError(f"{path} has no rows; it needs a head such as path,camera and a line for each image")
    head = rows[0][1]
    key_column = _key_column(path, head)
    values: dict[str, tuple[str, ...]] = {}
    for number, row in rows[1:]:
        if len(row) != len(head):
            raise RobustAugError(f"{path}, line {number} has {len(row)} cells, the head has {len(head)}; mend the line")
        named = row[key_column]
        if "/" not in named:  # else a backslash is part of a name
            named = named.replace("\\", "/")
        key = PurePosixPath(named).as_posix()  # ./shirt/1.png is shirt/1.png
        if key in values:
            raise RobustAugError(f"{path}, line {number}: there are two rows for {key}; keep one of them")
        values[key] = tuple(cell for column, cell in enumerate(row) if column != key_column)
    names = tuple(name for column, name in enumerate(head) if column != key_column)
    return Attributes(path, sha256(content), names, values)


def _key_column(path: Path, head: list[str]) -> int:
    columns = [name for name in _KEYS if name in head]
    if len(columns) != 1:
        what = "both a column path and a column source" if columns else "no column path or source"
        raise RobustAugError(f"{path} has {what}; name the images in one of them")
    if len(head) < 2:
        raise RobustAugError(f"{path} has no column beside {columns[0]}; add one for each attribute")
    for name, uses in Counter(head).items():
        if uses > 1 or not name or name == "class":
            what = "is known from the data" if name == "class" else "has no name" if not name else "stands twice"
            raise RobustAugError(f"{path}: the column '{name}' {what}; rename or remove it")
    return head.index(columns[0])
