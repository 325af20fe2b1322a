"""Makes ``corruption_references.npz``: what the authors' own code makes of one image, from the random numbers of ours.

Not a test, and nothing of it runs in the tests. It needs the authors' package (``pip install --no-deps
imagenet-c==0.0.3 wand``), ``opencv-python``, ``scikit-image`` and the ImageMagick library; run it as
``python tests/evaluation/corruption_references.py``. The file in the repository was made with ImageMagick 6.9.11 and
OpenCV 5.0.0. The package has ImageNet-C's sizes and parameters as literals, so they are replaced in its source.
"""

import importlib.util
import re
import types
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image

from robustaug import randomness
from robustaug.evaluation.corruptions import CORRUPTIONS, SEVERITIES

SEED, SIDE = 7, 20
FILE = Path(__file__).with_suffix(".npz")
# Those whose random numbers come one by one, and frost, which is not the authors', have tests of another kind.
COVERED = [name for name in CORRUPTIONS if name not in ("shot_noise", "impulse_noise", "frost")]


def authors_code(parameters: str) -> types.ModuleType:
    found = importlib.util.find_spec("imagenet_c").submodule_search_locations[0]
    source = (Path(found) / "corruptions.py").read_text()
    for old, new in (  # names that have changed since
        ("multichannel=True", "channel_axis=-1"),
        ("np.float_", "np.float64"),
        ("scipy.ndimage.interpolation", "scipy.ndimage"),
        ("from pkg_resources import resource_filename", ""),
        ("np.fromstring", "np.frombuffer"),
        ("224", str(SIDE)),
        ("244 *", f"{SIDE * 244 / 224} *"),
        ("mapsize=256", f"mapsize={1 << (SIDE - 1).bit_length()}"),
    ):
        source = source.replace(old, new)
    functions = source.split("\ndef ")
    for place, function in enumerate(functions):
        name = function.split("(")[0]
        if parameters == "cifar" and name in CORRUPTIONS:
            levels = [level[0] if len(level) == 1 else level for level in CORRUPTIONS[name].cifar]
            if name == "elastic_transform":
                levels = [tuple(SIDE * value for value in level) for level in levels]
            text = f"[np.arange(1, a, b) for a, b in {levels}]" if name == "zoom_blur" else str(levels)
            functions[place] = re.sub(
                r"c = \[.*?\]\s*\[severity - 1\]", f"c = {text}[severity - 1]", function, count=1, flags=re.DOTALL
            )
    module = types.ModuleType("authors")
    exec("\ndef ".join(functions), module.__dict__)
    return module


def unit_draws(name: str, level: tuple[float, ...]) -> list[np.ndarray]:
    """Our random numbers, normal or uniform in [0, 1), in the order in which the authors' function asks for them."""
    seed = torch.tensor([SEED])

    def fold(number: int) -> torch.Tensor:
        return randomness.fold(seed, number)

    match name:
        case "gaussian_noise":
            found = [randomness.normal(seed, (3, SIDE, SIDE))[0].permute(1, 2, 0)]
        case "motion_blur":
            found = [randomness.uniform(seed, (1,))[0, 0]]
        case "snow":
            found = [randomness.normal(seed, (1, SIDE, SIDE))[0, 0], randomness.uniform(fold(0), (1,))[0, 0]]
        case "fog":
            squares = [1 << k for k in range((SIDE - 1).bit_length())]
            found = [randomness.uniform(fold(3 * k + j), (n, n))[0] for k, n in enumerate(squares) for j in range(3)]
        case "elastic_transform":
            found = [randomness.uniform(seed, (3, 2))[0], *randomness.uniform(fold(0), (2, SIDE, SIDE))[0]]
        case "glass_blur":
            _, reach, rounds = level
            inner = range(SIDE - reach, reach, -1)
            shifts = [randomness.uniform(fold(k), (2, SIDE**2))[0] for k in range(rounds)]
            found = [shift[:, y * SIDE + x].flip(0) for shift in shifts for y in inner for x in inner]
        case _:
            found = []
    return [numbers.double().numpy() for numbers in found]


def main() -> None:
    image = Image.open(Path(__file__).parents[2] / "robustaug/style/assets/paintings/mary_cassatt_summertime_1894.jpg")
    image = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    arrays = {"image": np.array(image)}
    for parameters in ("cifar", "imagenet"):
        module = authors_code(parameters)
        for name in COVERED:
            for severity in SEVERITIES:
                queue = unit_draws(name, getattr(CORRUPTIONS[name], parameters)[severity - 1])
                fakes = {
                    "normal": lambda loc=0.0, scale=1.0, size=None, q=queue: loc + scale * q.pop(0),
                    "uniform": lambda low, high, size=None, q=queue: low + (high - low) * q.pop(0),
                    "randint": lambda low, high, size, q=queue: np.floor(q.pop(0) * (high - low)).astype(int) + low,
                }
                with patch.multiple(np.random, **fakes):
                    result = getattr(module, name)(image, severity)
                assert not queue, name
                arrays[f"{parameters}/{name}/{severity}"] = np.uint8(result)
    np.savez_compressed(FILE, **arrays)


if __name__ == "__main__":
    main()
