"""The manifest of a folder of variants, whoever reads it: training, review, composing."""

from pathlib import Path, PurePosixPath
from typing import Any

from robustaug.data.jobs import MANIFEST
from robustaug.data.rows import read_rows
from robustaug.errors import RobustAugError

TEXTS = ("path", "source", "source_sha256", "label", "kind")


def read_manifest(folder: Path) -> dict[str, dict[str, Any]]:
    """Path to line of every variant, in the order of their paths; of two lines with one path the later counts.

    Raises:
        RobustAugError: no variants, a line that lacks a text, or a path that leads out of the folder.
    """
    manifest, inside = folder / MANIFEST, folder.resolve()
    rows: dict[str, dict[str, Any]] = {}
    for row in read_rows(manifest):
        for name in TEXTS:
            if not isinstance(row.get(name), str):
                raise RobustAugError(f"{manifest}: a line has no text under '{name}'; make the variants again")
        if not _is_inside(inside, row["path"]):
            raise RobustAugError(
                f"{manifest}: {row['path']} lies outside the folder or goes there; only files inside it are used"
            )
        rows[row["path"]] = row
    if not rows:
        raise RobustAugError(f"no variants in {folder}: {MANIFEST} is missing or empty; make them first")
    return {path: rows[path] for path in sorted(rows)}


def _is_inside(folder: Path, name: str) -> bool:
    path = PurePosixPath(name)
    if str(path) != name or ".." in Path(path).parts:
        return False  # even a way out and back in: the paths of copies are made of this one
    try:
        return (folder / path).resolve().is_relative_to(folder)
    except (OSError, RuntimeError, ValueError):  # too long, links in a circle, a zero byte
        return False
