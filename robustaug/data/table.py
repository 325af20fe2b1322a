"""A table of images that the user gives: a CSV with a path in each row."""

import csv
import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from robustaug.errors import RobustAugError
from robustaug.files import sha256

_KEYS = ("path", "source")


@dataclass(frozen=True)
class Table:
    """What a file says of images.

    Attributes:
        path: of the file.
        sha256: of its bytes.
        names: of the columns beside the path, in the file's order.
        values: key of an image to a text for each column; an empty one is not known.
    """

    path: Path
    sha256: str
    names: tuple[str, ...]
    values: Mapping[str, tuple[str, ...]]


def read_table(path: Path, what: str) -> Table:
    """Read a CSV in UTF-8 with a head, a column ``path`` or ``source`` (keys as in ``ImageSet``), and others.

    In an image folder keys are the files' paths below it: ``shirt/001.jpg`` or ``train/shirt/001.jpg``.

    Args:
        path: the file.
        what: the other columns hold, for messages: attributes or labels.

    Raises:
        RobustAugError: the file cannot be read, has no such column or no other one, a line of another length, or two
            lines for one image.
    """
    try:
        content = path.read_bytes()
        lines = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        rows = [(lines.line_num, [cell.strip() for cell in row]) for row in lines if any(cell.strip() for cell in row)]
    except OSError as error:
        raise RobustAugError(f"cannot read the {what} {path}: {error.strerror or error}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise RobustAugError(f"{path} is no CSV in UTF-8 ({error}); save it again as one") from error
    if len(rows) < 2:
        raise RobustAugError(f"{path} has no rows; it needs a head with path and {what}, and a line for each image")
    head = rows[0][1]
    key_column = _key_column(path, head, what)
    values: dict[str, tuple[str, ...]] = {}
    for number, row in rows[1:]:
        if len(row) != len(head):
            raise RobustAugError(f"{path}, line {number} has {len(row)} cells, the head has {len(head)}; mend the line")
        named = row[key_column]
        if "/" not in named:  # else a backslash is part of a name
            named = named.replace("\\", "/")
        key = PurePosixPath(named).as_posix()  # ./shirt/1.png is shirt/1.png
        cells = tuple(cell for column, cell in enumerate(row) if column != key_column)
        if key in values:
            differ = next((f" ('{a}' and '{b}')" for a, b in zip(values[key], cells, strict=True) if a != b), "")
            raise RobustAugError(f"{path}, line {number}: there are two rows for {key}{differ}; keep one of them")
        values[key] = cells
    return Table(path, sha256(content), tuple(name for name in head if name != head[key_column]), values)


def _key_column(path: Path, head: list[str], what: str) -> int:
    columns = [name for name in _KEYS if name in head]
    if len(columns) != 1:
        found = (
            "both a column path and a column source"
            if columns
            else f"no column path or source, its head is {', '.join(head)}"
        )
        raise RobustAugError(f"{path} has {found}; name the images in one of them")
    if len(head) < 2:
        raise RobustAugError(f"{path} has no column beside {columns[0]}; add one for the {what}")
    for name, uses in Counter(head).items():
        if uses > 1 or not name:
            raise RobustAugError(
                f"{path}: the column '{name}' {'stands twice' if name else 'has no name'}; rename or remove it"
            )
    return head.index(columns[0])
