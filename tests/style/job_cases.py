"""What the tests of the batch job share."""

import json
from pathlib import Path
from typing import Any

from style_cases import photos

from robustaug.data.images import write_png

SIZES = [(16, 16), (20, 16), (16, 16), (17, 17), (16, 16), (20, 16)]


def small_content(folder: Path) -> Path:
    """Images of three sizes in two classes."""
    for number, size in enumerate(SIZES):
        write_png(folder / f"class{number % 2}" / f"{number}.png", photos(1, *size, seed=number)[0])
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    """All files, but for the one thing that may differ between two runs: the seconds that an image took."""
    found = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {
        name: _without_seconds(path) if path.suffix == ".jsonl" else path.read_bytes() for name, path in found.items()
    }


def _without_seconds(path: Path) -> bytes:
    rows: list[dict[str, Any]] = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        assert row.pop("seconds") >= 0
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
