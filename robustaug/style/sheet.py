"""The contact sheet of a job: some images beside the paintings they took after and what became of them."""

from collections.abc import Callable, Iterable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from robustaug.data.content import Item
from robustaug.data.images import read_image, write_png
from robustaug.data.jobs import JobFolder
from robustaug.errors import RobustAugError
from robustaug.randomness import derive_seed
from robustaug.style.plan import Plan

SHEET = "contact_sheet.png"
_MOST_IMAGES, _MOST_VARIANTS = 12, 4
_CELL, _GAP, _TEXT = 144, 6, 12  # px: side of a picture, between pictures, height of the letters
_LINES = 2  # of text below a picture

Row = dict[str, Any]
Cell = tuple[list[Tensor], list[str]]  # pictures side by side, and the lines below them


def write_sheet(folder: JobFolder, plan: Plan) -> None:
    """Write ``contact_sheet.png``: a row an image, first the original, then each variant behind its painting.

    At most 12 images and 4 variants of each. Which images depends on the job's seed and their keys. Where there are no
    variants there is no sheet.

    Args:
        folder: a finished job.
        plan: of that job.

    Raises:
        RobustAugError: the sheet cannot be written.
    """
    chosen = _choose(folder.rows(), plan.settings.seed)
    if not chosen:
        return
    items = {item.key: item for item in plan.items if item.key in chosen}
    paintings = {painting.sha256: painting.image for painting in plan.bank.paintings}
    lines = []
    for key in sorted(chosen):
        cells: list[Cell] = [([_picture(partial(_original, items[key], plan))], [Path(key).name, items[key].label])]
        for row in chosen[key]:
            hashes = [row["style_sha256"]] if isinstance(row["style_sha256"], str) else row["style_sha256"]
            names = row["style"].replace("_", " ").split("+")
            cells.append(([paintings[digest] for digest in hashes], names))
            share = f"label {row['label_probability']:.2f}" if "label_probability" in row else ""
            image = _picture(partial(read_image, folder.path / row["path"], min_side=1))
            cells.append(([image], [f"{row['method']}, strength {row['strength']:g}", share]))
        lines.append(cells)
    write_png(folder.path / SHEET, _drawn(lines))


def _choose(rows: Iterable[Row], seed: int) -> dict[str, list[Row]]:
    """The rows of some images, few whatever the number of images: those whose key has the lowest random number."""
    chosen: dict[str, list[Row]] = {}
    ranks: dict[str, int] = {}
    for row in rows:
        key = row["source"]
        if key not in chosen:
            ranks[key] = derive_seed(seed, key, "contact sheet")
            chosen[key] = []
            if len(chosen) > _MOST_IMAGES:
                worst = max(ranks, key=ranks.__getitem__)
                del chosen[worst], ranks[worst]
        if key in chosen and len(chosen[key]) < _MOST_VARIANTS:
            chosen[key].append(row)
    return chosen


def _original(item: Item, plan: Plan) -> Tensor:
    return plan.settings.resized(item.load())


def _picture(read: Callable[[], Tensor]) -> Tensor:
    """A picture, or a grey square where it is gone by now."""
    try:
        return read()
    except RobustAugError:
        return torch.full((3, 16, 16), 200, dtype=torch.uint8)


def _drawn(lines: list[list[Cell]]) -> Tensor:
    width, height = _CELL + _GAP, _CELL + _GAP + _LINES * (_TEXT + 3)
    columns = max(map(len, lines))
    sheet = Image.new("RGB", (columns * width + _GAP, len(lines) * height + _GAP), "white")
    draw, font = ImageDraw.Draw(sheet), _font()
    for y, cells in enumerate(lines):
        for x, (pictures, texts) in enumerate(cells):
            left, top = _GAP + x * width, _GAP + y * height
            share = _CELL // len(pictures)
            for number, picture in enumerate(pictures):
                tile = _fitted(picture, share)
                sheet.paste(tile, (left + number * share + (share - tile.width) // 2, top + (_CELL - tile.height) // 2))
            for number, text in enumerate(_wrapped(texts, font)):
                draw.text((left, top + _CELL + 1 + number * (_TEXT + 3)), text, fill="black", font=font)
    return (
        torch.frombuffer(bytearray(sheet.tobytes()), dtype=torch.uint8)
        .view(sheet.height, sheet.width, 3)
        .permute(2, 0, 1)
    )


def _fitted(picture: Tensor, width: int) -> Image.Image:
    """A picture inside its cell: small ones by a whole factor, so that their pixels show as they are."""
    image = Image.fromarray(picture.permute(1, 2, 0).contiguous().numpy())
    scale = min(width / image.width, _CELL / image.height)
    if scale >= 1:
        return image.resize((image.width * int(scale), image.height * int(scale)), Image.Resampling.NEAREST)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, Image.Resampling.LANCZOS)


def _wrapped(texts: list[str], font: ImageFont.FreeTypeFont) -> list[str]:
    """The lines below a picture: one text may take the second line as well if it has it to itself."""
    texts = ["".join(letter if letter.isprintable() else "?" for letter in text) for text in texts if text]
    if len(texts) == 1:
        first = _cut(texts[0], font, "")
        if first != texts[0] and " " in first:
            first = first.rpartition(" ")[0]
        texts = [first, texts[0][len(first) :].strip()]
    return [_cut(text, font, "…") for text in texts[:_LINES]]


def _cut(text: str, font: ImageFont.FreeTypeFont, mark: str) -> str:
    """Text as wide as a picture at most; where it was cut, the mark ends it."""
    if font.getlength(text) <= _CELL:
        return text
    while text and font.getlength(text + mark) > _CELL:
        text = text[:-1]
    return text + mark


def _font() -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib carries: Latin, Greek, Cyrillic and more."""
    found = find_spec("matplotlib")
    assert found is not None  # a dependency
    assert found.origin is not None
    return ImageFont.truetype(str(Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"), _TEXT)
