"""Every image decoded once: what its file says, a small copy of its pixels, its hashes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePath
from typing import NamedTuple

import imagehash
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from robustaug.data.decode import check_memory, parallel
from robustaug.data.images import image_size, open_rgb
from robustaug.data.imageset import ImageSet
from robustaug.data.splits import Source, limit_per_class
from robustaug.errors import RobustAugError
from robustaug.exploration.listing import KINDS, Candidate, Finding, Listing
from robustaug.files import sha256

SIDES = (32, 64)  # px, of the small copies: the first where the images are hardly larger
_HARDLY = 1.5
_LOOKED_AT = 200  # files, for the choice of the copies' side
_SHARP_SIDE = 256  # px: sharpness is that of the centre, at the file's own resolution
_BLANK = 2.0  # levels of 255: smaller deviations are noise of the encoder
_TINY = 0.25  # of the median side
_SUFFIXES = {
    "PNG": {".png"},
    "JPEG": {".jpg", ".jpeg"},
    "WEBP": {".webp"},
    "BMP": {".bmp"},
    "TIFF": {".tif", ".tiff"},
    "GIF": {".gif"},
}


@dataclass(frozen=True)
class Scan:
    """N images that could be decoded, and the files that deserve a look.

    Attributes:
        name: of the data set.
        class_names: what the labels stand for.
        keys: a name for each image.
        parts: "train", "validation", "test", or "" where the data are not split.
        labels: int64 (N,).
        images: small copies of the whole images, squeezed into squares: uint8 (N, 3, S, S), RGB.
        sizes: height and width of the files' images in px, int64 (N, 2).
        bytes: the files' sizes, int64 (N,); zeros where there are no files.
        formats: Pillow's names; empty texts where there are no files.
        modes: Pillow's names of the colour modes.
        sharpness: variance of the Laplacian of the luma in levels of 255, at the files' own resolution, float32 (N,).
        digests: the SHA-256 of each image's pixels, shortened.
        hashes: ImageHash's ``phash`` of the copies, bool (N, 64).
        findings: files that deserve a look.
        listed: how many files were looked at.
    """

    name: str
    class_names: tuple[str, ...]
    keys: tuple[str, ...]
    parts: tuple[str, ...]
    labels: Tensor
    images: Tensor
    sizes: Tensor
    bytes: Tensor
    formats: tuple[str, ...]
    modes: tuple[str, ...]
    sharpness: Tensor
    digests: tuple[str, ...]
    hashes: Tensor
    findings: tuple[Finding, ...]
    listed: int

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def has_files(self) -> bool:
        """Whether the images come from files of their own."""
        return any(self.formats)

    @cached_property
    def blank(self) -> Tensor:
        """Which images are of one colour, bool (N,)."""
        return torch.cat([part.flatten(2).float().std(2).amax(1) < _BLANK for part in torch.split(self.images, 2048)])


class _Look(NamedTuple):
    height: int
    width: int
    bytes: int
    format: str
    mode: str
    sharpness: float
    digest: str
    hash: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]


def scan_folder(folder: Path, listing: Listing, *, limit: int | None = None, seed: int = 0) -> Scan:
    """Decode the images of a folder in a thread pool; what cannot be decoded becomes a finding.

    Args:
        folder: for its name.
        listing: what lies in it.
        limit: at most so many images of a class, in each part.
        seed: of the limit.

    Raises:
        RobustAugError: none of the images can be used, or the copies would not fit into memory.
    """
    found = _limited(listing.candidates, limit, seed)
    side = _side_of_copies(found)
    check_memory(len(found), (side, side))
    copies = np.empty((len(found), side, side, 3), dtype=np.uint8)

    def look(index: int) -> _Look | str:
        try:
            content = found[index].path.read_bytes()
            opened = open_rgb(content)
        except RobustAugError as error:
            return str(error)
        except OSError as error:
            return f"cannot be read: {error.strerror or error}"
        copies[index], looked = _look(opened.rgb, side)
        return looked._replace(bytes=len(content), format=opened.format, mode=opened.mode)

    looks = list(parallel(look, range(len(found)), "Looking at images"))
    kept = [index for index, looked in enumerate(looks) if not isinstance(looked, str)]
    broken = [
        Finding(found[index].key, "unreadable", looked) for index, looked in enumerate(looks) if isinstance(looked, str)
    ]
    if not kept:
        example = f"{broken[0].path}: {broken[0].reason}"
        raise RobustAugError(f"none of the {len(found)} images in {folder} can be used, for example {example}")
    images = torch.from_numpy(copies).permute(0, 3, 1, 2)
    return _scan(
        str(folder),
        listing.class_names,
        [found[index] for index in kept],
        images if len(kept) == len(found) else images[kept],
        [looked for looked in looks if not isinstance(looked, str)],
        (*listing.findings, *broken),
        listed=len(found) + sum(finding.kind != "link" for finding in listing.findings),
    )


def scan_source(source: Source) -> Scan:
    """The same of a named set, which is in memory and has no files."""
    images: ImageSet = source.images
    side = SIDES[min(images.images.shape[2:]) > _HARDLY * SIDES[0]]
    copies = np.empty((len(images), side, side, 3), dtype=np.uint8)
    part_of = {index: part for part, indices in source.given.items() for index in indices}
    rows = [
        Candidate(Path(key), key, part_of.get(index, ""), label)
        for index, (key, label) in enumerate(zip(images.keys, images.labels.tolist(), strict=True))
    ]

    def look(index: int) -> _Look:
        rgb = Image.fromarray(images.images[index].permute(1, 2, 0).contiguous().numpy())
        copies[index], looked = _look(rgb, side)
        return looked

    looks = list(parallel(look, range(len(images)), "Looking at images"))
    broken = tuple(Finding(skipped.path, "unreadable", skipped.reason) for skipped in source.skipped)
    small = torch.from_numpy(copies).permute(0, 3, 1, 2)
    return _scan(source.name, images.class_names, rows, small, looks, broken, listed=len(rows) + len(broken))


def _look(rgb: Image.Image, side: int) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.uint8]], _Look]:
    small = rgb if rgb.size == (side, side) else rgb.resize((side, side), Image.Resampling.BILINEAR)
    digest = sha256(b"%dx%d" % rgb.size + rgb.tobytes())[:16]
    hashed = imagehash.phash(small).hash.reshape(-1)
    looked = _Look(rgb.height, rgb.width, 0, "", rgb.mode, _sharpness(rgb), digest, hashed)
    return np.asarray(small), looked


def _sharpness(rgb: Image.Image) -> float:
    """Variance of the Laplacian (Pech-Pacheco et al. 2000, section 2) of the luma of the centre, in levels of 255."""
    left, top = max(0, (rgb.width - _SHARP_SIDE) // 2), max(0, (rgb.height - _SHARP_SIDE) // 2)
    if left or top:
        rgb = rgb.crop((left, top, left + min(rgb.width, _SHARP_SIDE), top + min(rgb.height, _SHARP_SIDE)))
    luma = np.asarray(rgb.convert("L")).astype(np.float32)
    inner = luma[1:-1, 1:-1]
    return float((luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * inner).var())


def _scan(
    name: str,
    class_names: tuple[str, ...],
    rows: Sequence[Candidate],
    images: Tensor,
    looks: Sequence[_Look],
    findings: Sequence[Finding],
    *,
    listed: int,
) -> Scan:
    scan = Scan(
        name,
        class_names,
        tuple(row.key for row in rows),
        tuple(row.part for row in rows),
        torch.tensor([row.label for row in rows], dtype=torch.int64),
        images.contiguous(),
        torch.tensor([(looked.height, looked.width) for looked in looks], dtype=torch.int64),
        torch.tensor([looked.bytes for looked in looks], dtype=torch.int64),
        tuple(looked.format for looked in looks),
        tuple(looked.mode for looked in looks),
        torch.tensor([looked.sharpness for looked in looks]),
        tuple(looked.digest for looked in looks),
        torch.from_numpy(np.stack([looked.hash for looked in looks])),
        (),
        listed,
    )
    order = list(KINDS)
    ordered = sorted((*findings, *_suspicious(scan)), key=lambda finding: (order.index(finding.kind), finding.path))
    return replace(scan, findings=tuple(ordered))


def _suspicious(scan: Scan) -> list[Finding]:
    """Images that can be read and are still odd."""
    sides = scan.sizes.amin(1)
    usual = int(sides.median())
    findings = []
    for index, (key, kind) in enumerate(zip(scan.keys, scan.formats, strict=True)):
        suffix = PurePath(key).suffix.lower()
        if kind and suffix not in _SUFFIXES.get(kind, ()):
            findings.append(Finding(key, "wrong suffix", f"holds {kind}, but is called {suffix}"))
        if int(sides[index]) < _TINY * usual:
            height, width = scan.sizes[index].tolist()
            findings.append(Finding(key, "tiny", f"{width}x{height} px, where the median shorter side is {usual} px"))
    return findings + [
        Finding(scan.keys[index], "blank", "all pixels have one colour")
        for index in scan.blank.nonzero()[:, 0].tolist()
    ]


def _limited(candidates: Sequence[Candidate], limit: int | None, seed: int) -> list[Candidate]:
    if limit is None:
        return list(candidates)
    by_part: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        by_part.setdefault(candidate.part, []).append(candidate)
    return [
        rows[index]
        for rows in by_part.values()
        for index in limit_per_class([row.key for row in rows], [row.label for row in rows], limit, seed)
    ]


def _side_of_copies(candidates: Sequence[Candidate]) -> int:
    """The small side where the median image is hardly larger, judged by some files from all over the set."""
    step = max(1, len(candidates) // _LOOKED_AT)
    sides = []
    for candidate in candidates[::step]:
        try:
            sides.append(min(image_size(candidate.path.read_bytes())))
        except (RobustAugError, OSError):
            continue
    return SIDES[bool(sides) and float(np.median(sides)) > _HARDLY * SIDES[0]]


def mean_grid(images: Tensor, cells: int) -> Tensor:
    """Mean colours of a grid of cells less the image's mean, in levels of 255: float32 (N, 3, cells, cells)."""
    grids = torch.cat([F.adaptive_avg_pool2d(part.float(), cells) for part in torch.split(images, 1024)])
    return grids - grids.mean((1, 2, 3), keepdim=True)
