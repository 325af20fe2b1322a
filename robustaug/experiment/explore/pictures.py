"""Pictures of the page about a data set: contact sheets, and single images as data addresses."""

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from robustaug.exploration.scan import Scan
from robustaug.files import write_bytes
from robustaug.randomness import sample_seeds

_CELL, _GAP, _COLUMNS = 64, 4, 8  # px, px, images in a row
_ALL, _MOST, _LEAST = 480, 24, 4  # images on all sheets together; on one at most; and at least
_NAME = re.compile(r"class_\d+\.png")


@dataclass(frozen=True)
class Sheet:
    """A contact sheet: its file, its class, how many images it shows, its size in px."""

    path: Path
    name: str
    shown: int
    width: int
    height: int


def draw_sheets(scan: Scan, folder: Path) -> list[Sheet]:
    """Write ``class_NNN.png`` for each class with images: some of them, chosen at random; those of an earlier job go.

    Raises:
        RobustAugError: a file cannot be written.
    """
    each = min(_MOST, max(_LEAST, _ALL // max(1, len(scan.class_names))))
    order = sample_seeds(0, scan.keys, "contact sheet").argsort()
    sheets = []
    for label, name in enumerate(scan.class_names):
        rows = order[scan.labels[order] == label][:each].tolist()
        if rows:
            sheet = _sheet(scan, rows)
            path = folder / f"class_{label:03}.png"
            write_bytes(path, _png(sheet))
            sheets.append(Sheet(path, name, len(rows), *sheet.size))
    written = {sheet.path for sheet in sheets}
    for path in folder.iterdir():
        if _NAME.fullmatch(path.name) and path not in written:
            path.unlink()
    return sheets


def address(scan: Scan, index: int) -> str:
    """The copy of an image, in the file's proportions, as a ``data:`` address."""
    return png_address(_png(_picture(scan, index)))


def png_address(content: bytes) -> str:
    """PNG bytes as a ``data:`` address."""
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def _sheet(scan: Scan, rows: Sequence[int]) -> Image.Image:
    columns, lines = min(_COLUMNS, len(rows)), -(-len(rows) // _COLUMNS)
    sheet = Image.new("RGB", (columns * (_CELL + _GAP) - _GAP, lines * (_CELL + _GAP) - _GAP), "white")
    for number, index in enumerate(rows):
        picture = _picture(scan, index)
        left, top = number % _COLUMNS * (_CELL + _GAP), number // _COLUMNS * (_CELL + _GAP)
        sheet.paste(picture, (left + (_CELL - picture.width) // 2, top + (_CELL - picture.height) // 2))
    return sheet


def _picture(scan: Scan, index: int) -> Image.Image:
    """The copy, which is a squeezed square, stretched to the file's proportions; small pixels stay visible."""
    height, width = (scan.sizes[index] / scan.sizes[index].max() * _CELL).round().clamp(min=1).to(torch.int64).tolist()
    copy = Image.fromarray(scan.images[index].permute(1, 2, 0).contiguous().numpy())
    small = max(scan.sizes[index].tolist()) <= _CELL
    return copy.resize((width, height), Image.Resampling.NEAREST if small else Image.Resampling.BILINEAR)


def _png(image: Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, format="PNG")
    return content.getvalue()
