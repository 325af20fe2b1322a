"""PGD of this library beside torchattacks, Foolbox and ART: speed, robust accuracy, verdicts and memory.

    python benchmarks/attacks.py [CHECKPOINT DATA] [--eps 0.3] [--quick] [--json FILE]

All libraries attack the same images of the same model with the same steps, batch and threads, one after the other in
each round; a row is the median over the rounds, its ratios medians of the rounds' ratios. The bare loop is forward,
input gradient, sign and clamp in plain float32, nothing else. Without CHECKPOINT, an undefended PreActResNet-18 of
width 64 is trained for a minute on digits of 32 px: enough for speed and for early exit. With a defended CHECKPOINT,
the verdicts say more.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import torch
from measure import cell, timed, write_rows
from torch import Tensor, nn
from torch.nn import functional as F

from robustaug.attacks import PGD, ThreatModel
from robustaug.attacks.oracle import undisturbed
from robustaug.data import load_data
from robustaug.hardware import autocast, default_device, resolve_precision
from robustaug.models import build_model, load_checkpoint

Run = Callable[[], Tensor]
Row = dict[str, Any]
BARE = ("bare loop", "float32", "fixed")


def bare_loop(model: nn.Module, images: Tensor, labels: Tensor, eps: float, steps: int) -> Tensor:
    low, high = (images - eps).clamp_min(0), (images + eps).clamp_max(1)
    point = low + (high - low) * torch.rand_like(images)
    for _ in range(steps):
        point.requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(model(point), labels, reduction="sum"), point)
        point = torch.clamp(point.detach() + 2.5 * eps / steps * gradient.sign(), low, high)
    return point


def torchattacks_pgd(model: nn.Module, images: Tensor, labels: Tensor, eps: float, steps: int) -> Tensor:
    import torchattacks  # noqa: PLC0415

    return torchattacks.PGD(model, eps=eps, alpha=2.5 * eps / steps, steps=steps)(images, labels)


def foolbox_pgd(model: nn.Module, images: Tensor, labels: Tensor, eps: float, steps: int) -> Tensor:
    import foolbox  # noqa: PLC0415

    attack = foolbox.attacks.LinfPGD(abs_stepsize=2.5 * eps / steps, steps=steps)
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device=images.device)
    return attack.run(wrapped, images, foolbox.criteria.Misclassification(labels), epsilon=eps)


def art_pgd(model: nn.Module, images: Tensor, labels: Tensor, eps: float, steps: int) -> Tensor:
    from art.attacks.evasion import ProjectedGradientDescentPyTorch  # noqa: PLC0415
    from art.estimators.classification import PyTorchClassifier  # noqa: PLC0415

    classes = model(images[:1]).shape[1]
    kind = "gpu" if images.is_cuda else "cpu"
    classifier = PyTorchClassifier(
        model, nn.CrossEntropyLoss(), images.shape[1:], classes, clip_values=(0, 1), device_type=kind
    )
    attack = ProjectedGradientDescentPyTorch(
        classifier, eps=eps, eps_step=2.5 * eps / steps, max_iter=steps, num_random_init=1, batch_size=len(images),
        verbose=False,
    )  # fmt: skip
    return torch.from_numpy(attack.generate(images.cpu().numpy(), labels.cpu().numpy())).to(images.device)


PEERS = {"torchattacks": torchattacks_pgd, "foolbox": foolbox_pgd, "art": art_pgd}


def undefended(data: str, size: int, width: int, steps: int) -> nn.Module:
    """A PreActResNet-18 trained plainly for a few steps."""
    train = load_data(data, size=size).train
    device = default_device()
    model = build_model("preact_resnet18", len(train.class_names), (size, size), width=width).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    generator = torch.Generator().manual_seed(0)
    for step in range(steps):
        rows = torch.randperm(len(train), generator=generator)[:128]
        batch = train.select(rows)
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / steps)
        with autocast(resolve_precision("auto", device), device):
            logits = model(batch.float_images(device))
        loss = F.cross_entropy(logits.float(), batch.labels.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Which samples are classified rightly, in float32."""
    with torch.no_grad():
        return torch.cat([model(part) for part in images.split(250)]).argmax(1) == labels


def ways(
    model: nn.Module, images: Tensor, labels: Tensor, eps: float, steps: int, compiled: bool
) -> dict[tuple[str, str, str], Run]:
    """Every way to attack these images, by library, mode, and "fixed" steps or "early" exit."""
    given = (model, images, labels)
    found: dict[tuple[str, str, str], Run] = {BARE: lambda: bare_loop(*given, eps, steps)}
    for name, peer in PEERS.items():
        if find_spec(name) is None:
            print(f"{name} is not installed: skipped")
        else:
            found[name, "float32", "fixed"] = partial(peer, *given, eps, steps)
    pgd = PGD(ThreatModel("linf", eps), steps=steps)
    own = {"float32": pgd, "auto": replace(pgd, precision="auto")}
    if compiled:
        own["auto compiled"] = replace(pgd, precision="auto", compiled=True)
    for mode, attack in own.items():
        for ending, chosen in (("fixed", attack), ("early", replace(attack, early_exit=True))):
            found["robustaug", mode, ending] = lambda chosen=chosen: chosen(*given).images  # type: ignore[misc]
    return found


def compare(
    case: str, model: nn.Module, images: Tensor, labels: Tensor, runs: dict[tuple[str, str, str], Run], rounds: int
) -> list[Row]:
    seconds: dict[tuple[str, str, str], list[float]] = {way: [] for way in runs}
    correct: dict[tuple[str, str, str], Tensor] = {}
    for way, run in runs.items():
        if "compiled" in way[1]:
            run()  # the compiler's time is not the attack's
    for _ in range(rounds):
        for way, run in runs.items():
            taken, adversarial = timed(run)
            seconds[way].append(taken)
            correct[way] = accuracy(model, adversarial, labels)

    def ratio(way: tuple[str, str, str], other: str) -> float | None:
        theirs = seconds.get((other, "float32", "fixed"))
        if theirs is None or way not in seconds:
            return None
        return median(b / a for a, b in zip(seconds[way], theirs, strict=True))

    print(f"{'':<28} |{'fixed steps':^47} |{'early exit':^37}")
    names = "images/s  /bare /torchatt. /foolbox robust differ | images/s /torchatt. robust differ"
    print(f"{'library':<13} {'mode':<14} | {names}")
    rows: list[Row] = []
    plain = correct.get(("robustaug", "float32", "fixed"))
    for library, mode, _ in [way for way in runs if way[2] == "fixed"]:
        fixed, early = (library, mode, "fixed"), (library, mode, "early")
        row: Row = {"case": case, "library": library, "mode": mode}
        for name, way in (("", fixed), ("early_exit_", early)):
            known = way in runs
            row[f"{name}images_per_second"] = len(images) / median(seconds[way]) if known else None
            row[f"{name}ratio_to_bare"] = ratio(way, BARE[0])
            row[f"{name}ratio_to_torchattacks"] = ratio(way, "torchattacks")
            row[f"{name}ratio_to_foolbox"] = ratio(way, "foolbox")
            row[f"{name}robust_accuracy"] = float(correct[way].float().mean()) if known else None
            differs = known and plain is not None and library == "robustaug"
            row[f"{name}verdicts_differ"] = float((correct[way] != plain).float().mean()) if differs else None
        rows.append(row)
        cells = [
            cell(row["images_per_second"], 8, "{:.1f}"),
            cell(row["ratio_to_bare"], 6, "{:.2f}"),
            cell(row["ratio_to_torchattacks"], 10, "{:.2f}"),
            cell(row["ratio_to_foolbox"], 8, "{:.2f}"),
            cell(row["robust_accuracy"], 6, "{:.1%}"),
            cell(row["verdicts_differ"], 6, "{:.2%}"),
            "|",
            cell(row["early_exit_images_per_second"], 8, "{:.1f}"),
            cell(row["early_exit_ratio_to_torchattacks"], 10, "{:.2f}"),
            cell(row["early_exit_robust_accuracy"], 6, "{:.1%}"),
            cell(row["early_exit_verdicts_differ"], 6, "{:.2%}"),
        ]
        print(f"{library:<13} {mode:<14} | " + " ".join(cells), flush=True)
    return rows


def peak_memory(mode: str, width: int, batch: int) -> float:
    """Bytes that one training step, or one PGD-10, adds at its peak, in a process of its own."""
    device = default_device()
    model = build_model("preact_resnet18", 10, (32, 32), width=width).to(device)
    images, labels = torch.rand(batch, 3, 32, 32, device=device), torch.zeros(batch, dtype=torch.int64, device=device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9)
    before = _peak(device)
    if mode == "training step":
        for _ in range(2):
            F.cross_entropy(model(images), labels).backward()
            optimizer.step()
            optimizer.zero_grad()
    else:
        PGD(ThreatModel("linf", 8 / 255), precision=mode, steps=10)(model, images, labels)  # type: ignore[arg-type]
    return _peak(device) - before


def _peak(device: torch.device) -> float:
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    status = Path("/proc/self/status").read_text(encoding="ascii")  # ru_maxrss would be the parent's as well
    return float(status.split("VmHWM:")[1].split()[0]) * 1024


def compare_memory(width: int, batch: int) -> list[Row]:
    rows: list[Row] = []
    for mode in ("training step", "float32", "auto"):
        command = [sys.executable, __file__, "--peak-of", mode, "--width", str(width), "--batch", str(batch)]
        peak = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])
        rows.append({"case": "peak memory", "library": "robustaug", "mode": mode, "peak_bytes": peak})
        print(f"{mode:<20} {peak / 2**20:>9.0f} MiB {peak / rows[0]['peak_bytes']:>9.2f} of a training step")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, nargs="?", metavar="CHECKPOINT")
    parser.add_argument("data", nargs="?", default="mnist5k", metavar="DATA")
    parser.add_argument("--train-on", metavar="DATA", default="mnist5k", help="without CHECKPOINT; default: mnist5k")
    parser.add_argument("--eps", default=None, help="default: 0.3 for mnist5k, else 8/255")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--without", nargs="*", default=[], metavar="LIBRARY", help="leave these peers out")
    parser.add_argument("--own", action="store_true", help="only this library: verdicts on many images")
    parser.add_argument("--compiled", action="store_true", help="also through torch.compile")
    parser.add_argument("--quick", action="store_true", help="one round, width 16")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.width = 1, 16
    if arguments.peak_of:
        print(peak_memory(arguments.peak_of, arguments.width, arguments.batch))
        return
    device = default_device()
    if arguments.checkpoint is None:
        data, size = arguments.train_on, 32
        model = undefended(data, size, arguments.width, steps=60)
        name = f"PreActResNet-18, width {arguments.width}, trained plainly"
    else:
        loaded = load_checkpoint(arguments.checkpoint)
        data, size = arguments.data, loaded.image_size[0]
        model, name = loaded.model.to(device).eval(), f"{loaded.model.spec.name} {arguments.checkpoint.parent.name}"
    test = load_data(data, size=size).test
    given = arguments.eps or ("0.3" if data == "mnist5k" else "8/255")
    eps = float(ThreatModel("linf", given).eps)  # type: ignore[arg-type]
    batch = test.select(torch.arange(min(arguments.batch, len(test))))
    images, labels = batch.float_images(device), batch.labels.to(device)
    clean = accuracy(model, images, labels).float().mean()
    case = f"PGD-{arguments.steps}, linf {given}, {name}"
    print(f"{case}; {len(images)} test images of {Path(data).name}, clean {clean:.1%}")
    print(f"{torch.get_num_threads()} threads, {arguments.rounds} rounds; /name: speed over that library's")
    with undisturbed(model):
        runs = ways(model, images, labels, eps, arguments.steps, arguments.compiled)
        runs = {way: run for way, run in runs.items() if way[0] not in arguments.without}
        if arguments.own:
            runs = {way: run for way, run in runs.items() if way[0] == "robustaug"}
        rows = compare(case, model, images, labels, runs, arguments.rounds)
    if arguments.checkpoint is None:
        rows += compare_memory(arguments.width, arguments.batch)
    write_rows(arguments.json, rows)


if __name__ == "__main__":
    main()
