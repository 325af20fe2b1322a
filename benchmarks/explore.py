"""What `robustaug explore` finds of faults that were planted in real photos, and how long it looks.

    python benchmarks/explore.py FOLDER [--quick] [--json FILE]

FOLDER is an image folder with train/ and test/, for example CIFAR-10 written as files; it is linked or copied, never
changed. Planted into the copy, all at random:

    labels       2% of all images lie in the folder of another class
    duplicates   50 training images once more in test/, in turn saved again as JPEG of quality 75, made larger by half,
                 made smaller by a quarter, and lightened by 3%
    files        10 broken files: cut short, empty, text, zeros, the head of an image alone
    shortcut     in a second copy with 300 images a class, one class has a border of one colour

Precision is the share of what is listed that was planted, recall the share of what was planted that is listed. What is
listed and was not planted need not be wrong: real sets have duplicates and wrong labels of their own. The unchanged
folder is looked through as well, so that their number is known. The time is that of the whole command, in a process of
its own, on the copy with the faults.
"""

import argparse
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from measure import cell, timed, write_rows
from PIL import Image, ImageEnhance, ImageOps

Row = dict[str, Any]
WRONG, COPIES, BROKEN = 0.02, 50, 10
QUICK = 500  # images of each class and part
SHORTCUT = 300
BORDER = (150, 60, 40)


def link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def copy_tree(source: Path, target: Path, limit: int | None) -> dict[str, Path]:
    """Key to path of every image, at most ``limit`` of each class in each part."""
    files = {}
    for folder in sorted(source.glob("*/*/")):
        for path in sorted(folder.iterdir())[:limit]:
            key = path.relative_to(source).as_posix()
            link(path, target / key)
            files[key] = target / key
    return files


def plant_labels(files: dict[str, Path], root: Path, chance: random.Random) -> set[str]:
    """Move some images into another class's folder; returns their new keys."""
    classes = sorted({key.split("/")[1] for key in files})
    planted = set()
    for key in chance.sample(sorted(files), round(WRONG * len(files))):
        part, own, name = key.split("/")
        moved = f"{part}/{chance.choice([each for each in classes if each != own])}/moved_{own}_{name}"
        files.pop(key).rename(root / moved)
        files[moved] = root / moved
        planted.add(moved)
    return planted


def plant_copies(files: dict[str, Path], root: Path, chance: random.Random) -> set[frozenset[str]]:
    """Put changed copies of training images into the test part; returns the pairs of keys."""
    pairs = set()
    for number, key in enumerate(
        chance.sample(sorted(key for key in files if key.startswith("train/") and "moved_" not in key), COPIES)
    ):
        image = Image.open(files[key]).convert("RGB")
        way = number % 4
        if way in (1, 2):
            factor = 1.5 if way == 1 else 0.75
            image = image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.BICUBIC)
        elif way == 3:
            image = ImageEnhance.Brightness(image).enhance(1.03)
        copy = f"test/{key.split('/')[1]}/copy{number}.{'jpg' if way == 0 else 'png'}"
        image.save(root / copy, quality=75)
        pairs.add(frozenset((key, copy)))
    return pairs


def plant_broken(files: dict[str, Path], root: Path, chance: random.Random) -> set[str]:
    """Write broken files beside sound ones; returns their keys."""
    planted = set()
    for number, key in enumerate(chance.sample(sorted(files), BROKEN)):
        content = files[key].read_bytes()
        ways = [content[: len(content) // 2], b"", b"<html>404 Not Found</html>", b"\0" * 900, content[:40]]
        broken = f"{key.rpartition('/')[0]}/broken{number}{files[key].suffix}"
        (root / broken).write_bytes(ways[number % len(ways)])
        planted.add(broken)
    return planted


def explored(folder: Path, out: Path) -> tuple[float, dict[str, Any]]:
    """Seconds of the whole command, and what it wrote."""
    command = [sys.executable, "-m", "robustaug", "explore", str(folder), "--out", str(out)]
    seconds, _ = timed(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))
    return seconds, json.loads((out / "explore.json").read_text(encoding="utf-8"))


def scored(case: str, planted: Iterable[Any], listed: Iterable[Any], natural: int | None) -> Row:
    planted, listed = set(planted), set(listed)
    hits = len(planted & listed)
    row = {
        "case": case,
        "library": "robustaug",
        "mode": "planted",
        "planted": len(planted),
        "listed": len(listed),
        "precision": hits / len(listed) if listed else None,
        "recall": hits / len(planted),
        "listed_unchanged": natural,
    }
    print(
        f"{case:<12} {row['planted']:>8} {row['listed']:>8} {cell(row['precision'], 10, '{:.3f}')} "
        f"{row['recall']:>8.3f} {cell(natural, 18, '{:d}')}",
        flush=True,
    )
    return row


def straddling(facts: dict[str, Any]) -> list[frozenset[str]]:
    return [frozenset(group["keys"]) for group in facts["duplicates"]["groups"] if group["straddles"]]


def broken(facts: dict[str, Any]) -> list[str]:
    return [each["path"] for each in facts["findings"]["files"] if each["kind"] == "unreadable"]


def shortcut_row(source: Path, work: Path) -> Row:
    """One class of several is framed; which classes are said to be given away?"""
    files = copy_tree(source, work / "framed", SHORTCUT)
    Image.init()  # fills the table of suffixes
    framed = sorted({key.split("/")[1] for key in files})[0]
    for key, path in files.items():
        if key.split("/")[1] == framed:
            image = Image.open(path).convert("RGB")
            width = max(2, image.width // 16)
            content = io.BytesIO()
            ImageOps.expand(ImageOps.crop(image, width), width, BORDER).save(
                content, Image.EXTENSION[path.suffix.lower()]
            )
            path.unlink()  # a link's content is the original's
            path.write_bytes(content.getvalue())
    _, facts = explored(work / "framed", work / "framed_out")
    given = {name for each in facts["shortcuts"] if each["level"] == "strong" for name in each["gives_away"]}
    return scored("shortcut", {framed}, given, 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} images of each class and part")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    limit, chance = QUICK if arguments.quick else None, random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        copy_tree(arguments.folder, work / "clean", limit)
        _, clean = explored(work / "clean", work / "clean_out")
        files = copy_tree(arguments.folder, work / "data", limit)
        moved = plant_labels(files, work / "data", chance)
        pairs = plant_copies(files, work / "data", chance)
        cut = plant_broken(files, work / "data", chance)
        seconds, facts = explored(work / "data", work / "out")
        print(f"{'':<12} {'planted':>8} {'listed':>8} {'precision':>10} {'recall':>8} {'listed unchanged':>18}")
        doubted = [row["key"] for row in facts["labels"]["listed"]]
        rows = [
            scored("labels", moved, doubted, len(clean["labels"]["listed"])),
            scored("duplicates", pairs, straddling(facts), len(straddling(clean))),
            scored("files", cut, broken(facts), len(broken(clean))),
            shortcut_row(arguments.folder, work),
        ]
        n = facts["data"]["images"]
        print(f"{n} images in {seconds:.1f} s, {n / seconds:.0f} images/s: {facts['seconds']}")
        rows.append(
            {"case": "time", "library": "robustaug", "mode": "command", "images": n, "seconds": seconds,
             "images_per_second": n / seconds, "stages": facts["seconds"]}
        )  # fmt: skip
    write_rows(arguments.json, rows)


if __name__ == "__main__":
    main()
