"""The style job over a whole data set: its rate beside that of the bare transfer, its memory, and what survives faults.

    python benchmarks/style_job.py [--method adain] [--decoder FILE] [--quick] [--json FILE]

All images are made here: 64 px, PNG, in ten classes, smooth colours with noise on them, so that they compress as badly
as photos. The bare transfer calls the method on the same batches, held in memory, and nothing else; the job reads,
hashes, transfers, writes PNG files, manifest and contact sheet. Both run in turn, a row is the median over the rounds.
Peak memory is that of a process of its own. Killed jobs are the command line's, killed with SIGKILL.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from measure import write_rows
from torch import Tensor
from torch.nn import functional as F

from robustaug.data.images import write_png
from robustaug.hardware import default_device
from robustaug.style import (
    AdaIN,
    Gatys,
    StyleBank,
    StyleSettings,
    StyleTransfer,
    TargetCache,
    folder_items,
    load_encoder,
)
from robustaug.style.job import stylize

Row = dict[str, Any]
SIDE = 64
# Of Gatys, so that it ends today: what is measured is the job around it.
FEW_STEPS = StyleSettings(SIDE, 96, ("conv2_1",), ("conv1_1", "conv2_1"), 0.1, 0.0, 2, 0.05)


def images(count: int) -> Tensor:
    """Uint8 (count, 3, 64, 64)."""
    generator = torch.Generator().manual_seed(0)
    parts = []
    for start in range(0, count, 500):
        coarse = torch.rand(min(500, count - start), 3, 6, 6, generator=generator)
        smooth = F.interpolate(coarse, (SIDE, SIDE), mode="bicubic")
        noisy = smooth + 0.03 * torch.randn(smooth.shape, generator=generator)
        parts.append((noisy.clamp(0, 1) * 255).byte())
    return torch.cat(parts)


def write_content(folder: Path, count: int) -> Path:
    for number, image in enumerate(images(count)):
        write_png(folder / f"class{number % 10}" / f"{number:05}.png", image)
    return folder


def method(name: str, decoder: Path | None) -> StyleTransfer:
    encoder = load_encoder().to(default_device())
    return AdaIN(encoder=encoder, decoder=decoder) if name == "adain" else Gatys(encoder=encoder, settings=FEW_STEPS)


def bare_seconds(style: StyleTransfer, content: Tensor, bank: StyleBank, cache: TargetCache) -> float:
    size = style.images_at_once(SIDE, SIDE)
    batches = [(content[start : start + size] / 255).to(style.device) for start in range(0, len(content), size)]
    paintings = [[bank.paintings[i % len(bank)] for i in range(len(batch))] for batch in batches]
    began = time.perf_counter()
    for batch, given in zip(batches, paintings, strict=True):
        style.run(batch, given, cache=cache)
    return time.perf_counter() - began


def compare_rates(style: StyleTransfer, count: int, rounds: int, work: Path) -> list[Row]:
    items, _ = folder_items(write_content(work / "content", count))
    bank, cache, content = StyleBank.embedded(), TargetCache(), images(count)
    bare_seconds(style, content[:64], bank, cache)  # targets are in the cache, kernels are chosen
    bare, job = [], []
    for number in range(rounds):
        bare.append(bare_seconds(style, content, bank, cache))
        began = time.perf_counter()
        assert stylize(items, work / f"out{number}", bank, style).written == count
        job.append(time.perf_counter() - began)
    share = median(b / j for b, j in zip(bare, job, strict=True))
    print(f"{'':<24} {'images/s':>9} {'of bare':>8}")
    print(f"{'bare transfer':<24} {count / median(bare):>9.1f} {1:>8.1%}")
    print(f"{'the job':<24} {count / median(job):>9.1f} {share:>8.1%}", flush=True)
    case = f"{count} images, {SIDE} px"
    return [
        {
            "case": case,
            "library": "robustaug",
            "mode": f"{style.name}, bare",
            "images_per_second": count / median(bare),
        },
        {
            "case": case,
            "library": "robustaug",
            "mode": f"{style.name}, job",
            "images_per_second": count / median(job),
            "ratio_to_bare": share,
        },
    ]


def peak_memory(style: StyleTransfer, content: Path, out: Path) -> float:
    """Bytes that this process has held at most, once a job is done."""
    stylize(folder_items(content)[0], out, StyleBank.embedded(), style)
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return float(status.split("VmHWM:")[1].split()[0]) * 1024


def compare_memory(options: Sequence[str], counts: Sequence[int], work: Path) -> list[Row]:
    rows: list[Row] = []
    for count in counts:
        folder = write_content(work / f"content{count}", count)
        command = [sys.executable, __file__, *options, "--peak-of", str(folder)]
        peak = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])
        rows.append({"case": "peak memory", "library": "robustaug", "mode": f"{count} images", "peak_bytes": peak})
        print(
            f"{f'{count} images':<24} {peak / 2**20:>9.0f} MiB {peak / rows[0]['peak_bytes']:>8.3f} of the first",
            flush=True,
        )
    return rows


def tree(folder: Path) -> dict[str, bytes]:
    """All files, without the seconds that an image took."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".jsonl":
            rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            found[path.name] = json.dumps([{**row, "seconds": 0} for row in rows]).encode()
        elif path.is_file():
            found[str(path.relative_to(folder))] = path.read_bytes()
    return found


def kill(options: Sequence[str], count: int, kills: int, work: Path) -> Row:
    """Jobs killed at random moments, two times each, and then left to end."""
    content = write_content(work / "to_kill", count)

    def run(out: Path, delay: float | None) -> bool:
        command = [sys.executable, "-m", "robustaug", "stylize", str(content), str(out), *options]
        job = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        if delay is not None:
            try:
                job.wait(delay)
            except subprocess.TimeoutExpired:
                os.kill(job.pid, signal.SIGKILL)
        return job.wait() == -signal.SIGKILL

    began = time.perf_counter()
    run(work / "whole", None)
    seconds, chance, seen, same, folders = time.perf_counter() - began, random.Random(0), 0, 0, 0
    whole = tree(work / "whole")
    while seen < kills:
        out = work / f"killed{folders}"
        seen += sum(run(out, chance.uniform(0, seconds)) for _ in range(2))
        run(out, None)
        same, folders = same + (tree(out) == whole), folders + 1
    print(f"{seen} kills, {count} images: {same} of {folders} trees identical to the uninterrupted one", flush=True)
    return {
        "case": "killed",
        "library": "robustaug",
        "mode": "SIGKILL",
        "kills": seen,
        "trees": folders,
        "identical": same,
    }


def damage(style: StyleTransfer, good: int, bad: int, work: Path) -> Row:
    content = write_content(work / "damaged", good)
    sound = (content / "class0" / "00000.png").read_bytes()
    ways = [b"", b"\0" * 500, b"no image", sound[:700], sound[:8], sound[20:], sound[: len(sound) // 2]]
    for number in range(bad):
        (content / f"class{number % 10}" / f"bad{number:04}.png").write_bytes(ways[number % len(ways)])
    result = stylize(folder_items(content)[0], work / "out_damaged", StyleBank.embedded(), style)
    listed = sum(Path(item.path).name.startswith("bad") for item in result.skipped)
    print(f"{bad} damaged among {good}: {result.written} done, {listed} listed", flush=True)
    mode = f"{bad} damaged among {good}"
    return {"case": "damaged", "library": "robustaug", "mode": mode, "done": result.written, "listed": listed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", choices=("adain", "gatys"), default="adain")
    parser.add_argument("--decoder", type=Path, metavar="FILE", help="of AdaIN; default: the embedded one")
    parser.add_argument("--only", choices=("rate", "memory", "kills", "damage"), help="one part of it")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--quick", action="store_true", help="a tenth of the images, a fifth of the kills, one round")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--peak-of", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.images, arguments.kills, arguments.rounds = arguments.images // 10, arguments.kills // 5, 1
    count, style = arguments.images, method(arguments.method, arguments.decoder)
    options = ["--method", arguments.method]
    options += [] if arguments.decoder is None else ["--decoder", str(arguments.decoder)]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if arguments.peak_of:
            print(peak_memory(style, arguments.peak_of, work / "out"))
            return
        print(f"{style.name}, {SIDE} px, {torch.get_num_threads()} threads")
        rows: list[Row] = []
        if arguments.only in (None, "rate"):
            rows += compare_rates(style, count, arguments.rounds, work)
        if arguments.only in (None, "memory"):
            rows += compare_memory(options, (count // 4, count * 5 // 2), work)
        if arguments.only in (None, "damage"):
            rows.append(damage(style, count, count // 10, work))
        if arguments.only in (None, "kills"):
            of_gatys = ["--size", str(SIDE), "--set", "steps=2"] if arguments.method == "gatys" else []
            rows.append(kill([*options, *of_gatys], count, arguments.kills, work))
    write_rows(arguments.json, rows)


if __name__ == "__main__":
    main()
