"""Every colour mode has one right answer, every bad file one line."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from robustaug.data.images import image_size, read_image, resize, write_png
from robustaug.errors import RobustAugError


def flat(mode: str, color: object, size: tuple[int, int] = (9, 8)) -> Image.Image:
    return Image.new(mode, size, color)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "image", "expected"),
    [
        ("rgb.png", flat("RGB", (10, 20, 30)), (10, 20, 30)),
        ("rgb.bmp", flat("RGB", (10, 20, 30)), (10, 20, 30)),
        ("grey.png", flat("L", 77), (77, 77, 77)),
        ("bilevel.png", flat("1", 1), (255, 255, 255)),
        ("grey.gif", flat("L", 77), (77, 77, 77)),
        ("depth16.png", flat("I;16", 257 * 100), (100, 100, 100)),
        ("depth16_round.png", flat("I;16", 257 * 100 + 129), (101, 101, 101)),
        ("depth16_white.tif", flat("I;16", 65_535), (255, 255, 255)),
        ("depth32.tif", flat("I", 257 * 3), (3, 3, 3)),
        ("cmyk.tif", flat("CMYK", (0, 255, 255, 0)), (255, 0, 0)),
        ("cmyk.jpg", flat("CMYK", (0, 0, 0, 255)), (0, 0, 0)),
        ("half_alpha.png", flat("RGBA", (0, 0, 0, 128)), (127, 127, 127)),
        ("clear.png", flat("RGBA", (200, 0, 0, 0)), (255, 255, 255)),
        ("clear.webp", flat("RGBA", (200, 0, 0, 0)), (255, 255, 255)),
        ("grey_alpha.png", flat("LA", (0, 0)), (255, 255, 255)),
    ],
)
def test_modes_become_rgb(tmp_path: Path, name: str, image: Image.Image, expected: tuple[int, int, int]) -> None:
    image.save(tmp_path / name, **({"lossless": True} if name.endswith("webp") else {}))
    pixels = read_image(tmp_path / name)
    assert pixels.dtype == torch.uint8
    assert pixels.shape == (3, 8, 9)
    assert torch.equal(pixels, torch.tensor(expected, dtype=torch.uint8).view(3, 1, 1).expand(3, 8, 9))


def test_palette_and_its_transparent_colour(tmp_path: Path) -> None:
    image = flat("P", 0)
    image.putpalette([250, 0, 0, 0, 250, 0])
    image.putpixel((0, 0), 1)
    image.save(tmp_path / "opaque.png")
    image.save(tmp_path / "transparent.png", transparency=0)
    assert read_image(tmp_path / "opaque.png")[:, 1, 1].tolist() == [250, 0, 0]
    transparent = read_image(tmp_path / "transparent.png")
    assert transparent[:, 1, 1].tolist() == [255, 255, 255]
    assert transparent[:, 0, 0].tolist() == [0, 250, 0]


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    image = flat("RGB", (0, 0, 0), size=(10, 20))
    image.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise
    image.save(tmp_path / "turned.png", exif=exif)
    pixels = read_image(tmp_path / "turned.png")
    assert pixels.shape == (3, 10, 20)
    assert pixels[0].nonzero().tolist() == [[0, 19]]
    assert image_size((tmp_path / "turned.png").read_bytes()) == (10, 20)


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [flat("RGB", color) for color in ((255, 0, 0), (0, 255, 0))]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert read_image(tmp_path / "moving.gif")[:, 0, 0].tolist() == [255, 0, 0]


def truncated() -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, format="PNG")
    return buffer.getvalue()[:2000]


def png(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("1", (width, height)).save(buffer, format="PNG")
    return buffer.getvalue()


def tiff(mode: str, color: float) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (9, 9), color).save(buffer, format="TIFF")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"just text", "not an image"),
        (truncated(), "the image is damaged"),
        (png(1, 1), "1x1 px is too small; at least 8 px"),
        (png(16_385, 8), "16385x8 px is too large"),
        (png(11_000, 10_000), "11000x10000 px is too large"),
        (png(15_000, 15_000), "more pixels than is safe"),
        (tiff("F", 0.5), "floating point pixels"),
        (tiff("I", -5), "32-bit integer pixels"),
        (tiff("I", 70_000), "32-bit integer pixels"),
    ],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_bad_files_give_one_line(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    with pytest.raises(RobustAugError, match=reason) as caught:
        read_image(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_missing_file_and_smaller_limit(tmp_path: Path) -> None:
    with pytest.raises(RobustAugError, match=r"cannot read .*nothing.png: No such file"):
        read_image(tmp_path / "nothing.png")
    path = tmp_path / "dot.png"
    flat("RGB", (1, 2, 3), size=(1, 1)).save(path)
    assert read_image(path, min_side=1).flatten().tolist() == [1, 2, 3]
    flat("RGB", (1, 2, 3), size=(15, 40)).save(path)
    with pytest.raises(RobustAugError, match="at least 16 px"):
        read_image(path, min_side=16)


def test_write_png_round_trip_and_rounding(tmp_path: Path) -> None:
    image = torch.arange(3 * 8 * 9, dtype=torch.uint8).view(3, 8, 9)
    write_png(tmp_path / "new" / "bytes.png", image)
    assert torch.equal(read_image(tmp_path / "new" / "bytes.png"), image)
    # 0.4999 and 0.5001 of a level lie on either side of the rounding.
    write_png(tmp_path / "float.png", (image.clamp(1, 254).double() + torch.tensor(0.4999)) / 255)
    assert torch.equal(read_image(tmp_path / "float.png"), image.clamp(1, 254))
    write_png(tmp_path / "float.png", (image.clamp(1, 254).double() - torch.tensor(0.4999)) / 255)
    assert torch.equal(read_image(tmp_path / "float.png"), image.clamp(1, 254))


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (torch.full((3, 8, 8), 1.01), r"must lie in \[0, 1\]"),
        (torch.full((3, 8, 8), float("nan")), r"must lie in \[0, 1\]"),
        (torch.zeros(8, 8), r"shape \(3, H, W\)"),
    ],
)
def test_write_png_refuses_and_leaves_nothing(tmp_path: Path, image: torch.Tensor, reason: str) -> None:
    with pytest.raises(RobustAugError, match=reason):
        write_png(tmp_path / "x.png", image)
    assert list(tmp_path.iterdir()) == []


def test_write_png_to_an_impossible_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RobustAugError, match="cannot write"):
        write_png(tmp_path / "file" / "x.png", torch.zeros(3, 8, 8))


def test_resize_keeps_the_centre_and_averages() -> None:
    strip = torch.zeros(3, 4, 12, dtype=torch.uint8)
    strip[:, :, 4:8] = 200  # the central square
    assert torch.equal(resize(strip, 4), torch.full((3, 4, 4), 200, dtype=torch.uint8))
    # Lines of one pixel in eight: plain interpolation would step over them, antialiasing keeps their mean.
    lines = (torch.arange(64) % 8 == 0).mul(200).to(torch.uint8).expand(2, 3, 64, 64)
    small = resize(lines, 8)
    assert small.shape == (2, 3, 8, 8)
    assert (small[..., 1:-1].float() - 200 / 8).abs().max() <= 1
    assert resize(strip.float() / 255, 9).shape == (3, 9, 9)
