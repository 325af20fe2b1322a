"""Image files in and out, whatever their colour mode, depth or orientation."""

import io
import warnings
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torchvision.transforms.v2 import functional

from robustaug.errors import RobustAugError
from robustaug.files import writing

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
MIN_SIDE = 8
MAX_SIDE = 16_384

# Named decoders only: Pillow's others include some that start external programs. PPM is what GTSRB comes in.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM")

# Such images are refused below with a line of our own.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def read_image(path: Path, *, min_side: int = MIN_SIDE) -> Tensor:
    """Read an image file as RGB bytes.

    EXIF orientation is applied, alpha is composited on white, 16 bits are scaled to 8, and of an animation the first
    frame is taken. Colour profiles are not applied.

    Returns:
        uint8, shape (3, H, W).

    Raises:
        RobustAugError: the file is missing, empty, truncated, no image, below ``min_side`` or above 16,384 px a side.
    """
    try:
        return decode_image(Path(path).read_bytes(), min_side=min_side)
    except OSError as error:
        raise RobustAugError(f"cannot read {path}: {error.strerror or error}") from error
    except RobustAugError as error:
        raise RobustAugError(f"cannot use {path}: {error}") from error


def decode_image(content: bytes, *, min_side: int = MIN_SIDE) -> Tensor:
    """``read_image`` on a file's bytes; the error then names the reason alone."""
    rgb = open_rgb(content, min_side=min_side).rgb
    return torch.from_numpy(np.array(rgb)).permute(2, 0, 1).contiguous()


class Opened(NamedTuple):
    """A decoded image and what its file said of it: Pillow's names of the format and of the mode before RGB."""

    rgb: Image.Image
    format: str
    mode: str


def open_rgb(content: bytes, *, min_side: int = MIN_SIDE) -> Opened:
    """The image of a file's bytes as ``decode_image`` sees it, with its format and mode.

    Raises:
        RobustAugError: as ``decode_image``.
    """
    try:
        with _open(content, min_side) as image:
            return Opened(_to_rgb(ImageOps.exif_transpose(image)), image.format or "", image.mode)
    except RobustAugError:
        raise
    except Exception as error:  # Pillow's decoders raise nearly everything on damaged files
        raise RobustAugError(_reason(error)) from error


def image_size(content: bytes, *, min_side: int = MIN_SIDE) -> tuple[int, int]:
    """(H, W) from the file's header, as ``decode_image`` would return the image, without decoding the pixels."""
    try:
        with _open(content, min_side) as image:
            turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
            return image.size if turned else (image.height, image.width)
    except RobustAugError:
        raise
    except Exception as error:
        raise RobustAugError(_reason(error)) from error


def write_png(path: Path, image: Tensor) -> None:
    """Write an image losslessly and atomically.

    Args:
        path: where to; folders are made.
        image: shape (3, H, W), uint8, or floating point in [0, 1], which is rounded to the nearest of 256 levels.

    Raises:
        RobustAugError: the file cannot be written, or the image has another shape or leaves [0, 1].
    """
    if image.ndim != 3 or image.shape[0] != 3:
        raise RobustAugError(f"cannot write {path}: an image has shape (3, H, W), got {tuple(image.shape)}")
    content = encode_png(image)
    with writing(Path(path)) as temporary:
        temporary.write_bytes(content)


def encode_png(image: Tensor) -> bytes:
    """What ``write_png`` writes."""
    content = io.BytesIO()
    pixels = to_uint8(image).permute(1, 2, 0).contiguous().cpu().numpy()
    # Run lengths are enough after PNG's own filters: on photos a third of the time for 1 or 2% more bytes.
    Image.fromarray(pixels).save(content, format="PNG", compress_type=zlib.Z_RLE)
    return content.getvalue()


def to_uint8(images: Tensor) -> Tensor:
    """Floating point images in [0, 1] as the nearest of 256 levels; uint8 stays as it is.

    Raises:
        RobustAugError: NaN, or values outside [0, 1].
    """
    if images.dtype == torch.uint8:
        return images
    values = images.detach().float()
    if not bool(((values >= 0) & (values <= 1)).all()):  # false for NaN, too
        raise RobustAugError("image values must lie in [0, 1] without NaN; scale or clamp the images first")
    return values.mul(255).round().to(torch.uint8)


def resize(images: Tensor, size: int) -> Tensor:
    """Bring the shorter side to ``size`` px with antialiasing and keep the central square.

    The square is cut out before it is resized, so that a long strip costs no more than a square.

    Args:
        images: uint8 or float, shape (3, H, W) or (N, 3, H, W).
        size: pixels.

    Returns:
        The same type, shape (..., 3, size, size).
    """
    height, width = images.shape[-2:]
    side = min(height, width)
    square: Tensor = functional.center_crop(images, [side, side])
    if side != size:
        square = functional.resize(square, [size, size], antialias=True)
    return square


def _open(content: bytes, min_side: int) -> Image.Image:
    if not content:
        raise RobustAugError("the file is empty")
    image = Image.open(io.BytesIO(content), formats=_FORMATS)
    width, height = image.size
    if min(width, height) < min_side:
        raise RobustAugError(f"{width}x{height} px is too small; at least {min_side} px a side are needed")
    if max(width, height) > MAX_SIDE or width * height > (Image.MAX_IMAGE_PIXELS or 1 << 62):
        raise RobustAugError(f"{width}x{height} px is too large; make it smaller first")
    return image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65_535:
            raise RobustAugError("32-bit integer pixels have no agreed range; save it with 8 or 16 bits")
        image = Image.fromarray(((values + 128) // 257).astype(np.uint8))  # Pillow's own conversion clips at 255
    elif image.mode == "F":
        raise RobustAugError("floating point pixels have no agreed range; save it with 8 or 16 bits")
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return image.convert("RGB")


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image, or of a format that is not supported"
    if isinstance(error, Image.DecompressionBombError):
        return "more pixels than is safe to decode; make it smaller first"
    return f"the image is damaged ({' '.join(str(error).split()) or type(error).__name__})"
