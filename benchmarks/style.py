"""Style transfer by image size: seconds an image, and how far the style loss falls.

    python benchmarks/style.py CONTENT_DIR [--quick] [--json FILE]

CONTENT_DIR holds photos, in any folders; every size takes the first of them, evenly spread, in the embedded paintings.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from torch.nn import functional as F

from robustaug.data import read_image
from robustaug.data.images import SUFFIXES, resize
from robustaug.hardware import describe_hardware, describe_versions
from robustaug.style import Gatys, StyleBank

CASES = {28: 32, 64: 32, 128: 8, 224: 4}  # size in px: images in the batch


def contents(folder: Path, size: int, count: int) -> torch.Tensor:
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    images = [read_image(path) for path in files[:: max(1, len(files) // count)][:count]]
    square = [resize(image, min(image.shape[1:]))[None].float() / 255 for image in images]
    return torch.cat([F.interpolate(x, (size, size), mode="bicubic", antialias=True).clamp(0, 1) for x in square])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("content", type=Path, metavar="CONTENT_DIR")
    parser.add_argument("--quick", action="store_true", help="28 and 64 px only")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    paintings, style, rows = StyleBank.embedded().paintings, Gatys(), []
    print(f"{'size':>6} {'images':>6} {'s/image':>8} {'style loss falls to 1/':>24} {'content loss':>13}")
    for size, count in CASES.items():
        if arguments.quick and size > 64:
            break
        content = contents(arguments.content, size, count)
        chosen = [paintings[i % len(paintings)] for i in range(len(content))]
        style.run(content[:2], chosen[:2])  # warm-up
        began = time.perf_counter()
        result = style.run(content, chosen)
        seconds = (time.perf_counter() - began) / len(content)
        fall = result.losses["first_style_loss"] / result.losses["style_loss"]
        row = {
            "case": f"{size} px",
            "library": "robustaug",
            "mode": "gatys",
            "images_per_second": 1 / seconds,
            "style_loss": float(result.losses["style_loss"].median()),
            "content_loss": float(result.losses["content_loss"].median()),
            "smallest_fall": float(fall.min()),
            "largest_fall": float(fall.max()),
        }
        rows.append(row)
        falls = f"{row['smallest_fall']:.0f} to {row['largest_fall']:.0f}"
        print(f"{size:>6} {len(content):>6} {seconds:>8.2f} {falls:>24} {row['content_loss']:>13.2f}", flush=True)
    if arguments.json:
        content_json = {"hardware": describe_hardware(), "versions": describe_versions(), "rows": rows}
        arguments.json.write_text(json.dumps(content_json, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
