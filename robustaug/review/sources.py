"""The original beside each variant, where it can be found: never another image than the one the variant was made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from torch import Tensor
from torchvision.transforms.v2 import functional

from robustaug.data.folder import find_parts
from robustaug.data.images import decode_image, encode_png
from robustaug.data.named import NAMED_SETS
from robustaug.data.names import subfolders
from robustaug.data.sources import load_images
from robustaug.errors import RobustAugError
from robustaug.files import read_toml, sha256
from robustaug.review.gallery import Gallery, Variant

_LONGEST = 1024  # px: of an original as the page shows it


@dataclass(frozen=True)
class Sources:
    """Where originals are: in a folder, or in memory.

    Attributes:
        name: Of the data; "" where they are not found.
        note: Why they are not shown; "" where they are.
        folder: Keys are paths below it.
        images: SHA-256 of an original to its pixels, uint8 (3, H, W).
        classes: Of the data: also those that no variant has, for a variant may show one of them.
    """

    name: str = ""
    note: str = ""
    folder: Path | None = None
    images: Mapping[str, Tensor] = field(default_factory=dict)
    classes: tuple[str, ...] = ()

    def png(self, variant: Variant) -> bytes:
        """The original of a variant as a PNG file of at most 1,024 px a side.

        Raises:
            RobustAugError: it is not there, is no image, or has changed since the variant was made.
        """
        if self.folder is None:
            image = self.images.get(variant.source_sha256)
            if image is None:
                raise RobustAugError(self.note or f"{variant.source} is not in {self.name}, or has changed")
            return encode_png(image)
        path = _find(self.folder, variant.source)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise RobustAugError(f"cannot read {path}: {error.strerror or error}") from error
        if sha256(content) != variant.source_sha256:
            raise RobustAugError(f"{variant.source} has changed since the variant was made")
        image = decode_image(content)
        sides = image.shape[1:]
        if max(sides) > _LONGEST:
            smaller = [max(1, round(side * _LONGEST / max(sides))) for side in sides]
            image = functional.resize(image, smaller, antialias=True)
        return encode_png(image)


def find_sources(gallery: Gallery, data: str | None, root: Path | None) -> Sources:
    """The originals: of ``data``, else of the data that the configuration of the run around the folder names.

    Args:
        gallery: The variants.
        data: An image folder or a named set; None leaves it to the run.
        root: Where named sets are kept.

    Raises:
        RobustAugError: ``data`` cannot be used, or a line of the manifest names a source outside any folder.
    """
    for variant in gallery.variants:
        parts = PurePosixPath(variant.source)
        if parts.is_absolute() or ".." in parts.parts or "\0" in variant.source:
            raise RobustAugError(
                f"the manifest in {gallery.folder} names the source {variant.source!r}, which lies outside any image "
                "folder; make the variants again"
            )
    if data is not None:
        return _open(gallery, data, root)
    config = gallery.folder.resolve().parent.parent / "config.toml"
    try:
        named = read_toml(config, "configuration").get("data") if config.is_file() else None
        if isinstance(named, dict) and isinstance(named.get("source"), str):
            return _open(gallery, named["source"], Path(named["root"]) if "root" in named else root)
    except RobustAugError as error:
        return Sources(note=f"The originals are not shown: {error}. Name their folder with --data.")
    return Sources(note="The originals are not shown: name the folder that the variants were made from with --data.")


def _open(gallery: Gallery, data: str, root: Path | None) -> Sources:
    if data not in NAMED_SETS:
        folder = Path(data).expanduser()
        if not folder.is_dir():
            raise RobustAugError(f"there is no image folder {data}; name the one that the variants were made from")
        if not any(_find(folder, variant.source).exists() for variant in gallery.variants):
            raise RobustAugError(
                f"{data} has none of the originals, such as {gallery.variants[0].source}; name the folder that the "
                "variants were made from"
            )
        try:
            classes = {path.name for part in find_parts(folder).values() for path in subfolders(part)}
        except OSError as error:
            raise RobustAugError(f"cannot read {error.filename or folder}: {error.strerror or error}") from error
        return Sources(data, folder=folder, classes=tuple(classes))
    images, _ = load_images(data, root=root)
    wanted = {variant.source_sha256 for variant in gallery.variants}
    found = {digest: image for digest, image in zip(images.sha256, images.images, strict=True) if digest in wanted}
    copies = {digest: image.clone() for digest, image in found.items()}
    return Sources(data, images=copies, classes=images.class_names)


def _find(folder: Path, source: str) -> Path:
    """The file of an original: variants that were made of the folder ``train`` name it without that folder."""
    path, below_train = folder / source, folder / "train" / source
    return below_train if below_train.exists() and not path.exists() else path
