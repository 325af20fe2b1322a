"""Attributes of images, such as the camera or the site: columns of a CSV that the user gives."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from robustaug.data.imageset import ImageSet
from robustaug.data.table import Table, read_table
from robustaug.errors import RobustAugError

MOST_VALUES = 50  # more make groups that nobody can read, and of too few images


class Attributes(Table):
    """A table whose columns are attributes; an empty value is not known."""

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
    """Read a table whose columns are attributes; see ``read_table``.

    Raises:
        RobustAugError: as ``read_table``; a column ``class``.
    """
    table = read_table(path, "attributes")
    if "class" in table.names:
        raise RobustAugError(f"{path}: the column 'class' is known from the data; rename or remove it")
    return Attributes(table.path, table.sha256, table.names, table.values)
