"""AutoAttack of this library beside its authors' code (pyautoattack): robust accuracy after each stage, and time.

    python benchmarks/autoattack.py CHECKPOINT DATA [--samples 1000] [--folds 5] [--float32] [--json FILE]

The samples, the first of the test part, are cut into folds; on each fold both libraries run alone, one after the other,
with the same model, batch, threads and budget. The ratio is the median of the folds' ratios, accuracies are over all
samples. Norm and eps are those that the checkpoint was trained for.
"""

import argparse
import logging
import re
import time
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from measure import write_rows
from torch import Tensor, nn

from robustaug.attacks import ThreatModel
from robustaug.attacks.autoattack import AutoAttack
from robustaug.data import load_data
from robustaug.experiment.subject import threat_of
from robustaug.hardware import default_device
from robustaug.models import load_checkpoint

REFERENCE_NORMS = {"linf": "Linf", "l2": "L2", "l1": "L1"}


class Run(NamedTuple):
    """One library on one fold."""

    seconds: float
    stands: Tensor
    after: dict[str, float]
    forward_passes: int


class Counter(nn.Module):
    """Counts the images that pass."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.count = inner, 0

    def forward(self, images: Tensor) -> Tensor:
        self.count += len(images)
        logits: Tensor = self.inner(images)
        return logits


def reference(model: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel, mode: str) -> Run:  # noqa: ARG001
    import pyautoattack  # noqa: PLC0415

    counter, lines = Counter(model), logging.Handler()
    told: list[str] = []
    lines.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("auto-attack")
    logger.handlers, logger.propagate = [lines], False
    logger.setLevel(logging.DEBUG)
    attack = pyautoattack.AutoAttack(
        counter, norm=REFERENCE_NORMS[threat.norm], eps=threat.eps, seed=0, device=images.device
    )
    began = time.perf_counter()
    adversarial, _ = attack.run_standard_evaluation(images, labels, batch_size=len(images))
    seconds = time.perf_counter() - began
    after = dict(re.findall(r"robust accuracy after (\S+): (\S+)%", "\n".join(told)))
    (clean,) = re.findall(r"initial accuracy: (\S+)%", "\n".join(told))
    known = {"clean": float(clean) / 100, **{name.lower(): float(value) / 100 for name, value in after.items()}}
    for name in ("apgd-ce", "apgd-t", "fab-t", "square"):  # it stops where nothing stands
        known.setdefault(name, 0.0)
    with torch.no_grad():
        stands = model(adversarial).argmax(1) == labels
    return Run(seconds, stands, known, counter.count)


def ours(model: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel, mode: str) -> Run:
    precision, _, compiled = mode.partition(" ")
    attack = AutoAttack(threat, precision, compiled=bool(compiled))  # type: ignore[arg-type]
    began = time.perf_counter()
    result = attack(model, images, labels)
    seconds = time.perf_counter() - began
    return Run(seconds, ~result.success, result.robust_accuracy, result.forward_passes)


def in_words(after: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.1%}" for name, value in after.items())


def summary(way: tuple[str, str], runs: dict[tuple[str, str], list[Run]]) -> dict[str, Any]:
    """One row of the table: printed, and returned."""
    found, theirs = runs[way], runs.get(("pyautoattack", "float32"))
    stands = torch.cat([run.stands for run in found])
    seconds = sum(run.seconds for run in found)
    shares = [len(run.stands) / len(stands) for run in found]
    after = {
        name: sum(run.after[name] * share for run, share in zip(found, shares, strict=True)) for name in found[0].after
    }
    row: dict[str, Any] = {
        "library": way[0],
        "mode": way[1],
        "seconds": seconds,
        "images_per_second": len(stands) / seconds,
        "forward_passes": sum(run.forward_passes for run in found),
        "robust_accuracy": float(stands.float().mean()),
        "robust_accuracy_after": after,
        "ratio_to_pyautoattack": None,
    }
    alone = ""
    if theirs is not None:
        row["ratio_to_pyautoattack"] = median(b.seconds / a.seconds for a, b in zip(found, theirs, strict=True))
        reference_stands = torch.cat([run.stands for run in theirs])
        row["only_this_breaks"] = int((reference_stands & ~stands).sum())
        row["only_reference_breaks"] = int((stands & ~reference_stands).sum())
        alone = f"{row['only_this_breaks']} or {row['only_reference_breaks']}"
    print(
        f"{way[0]:<13} {way[1]:<14} {seconds:>8.1f} {row['ratio_to_pyautoattack'] or float('nan'):>6.2f} "
        f"{row['forward_passes']:>9} {row['robust_accuracy']:>7.1%}  {alone}"
    )
    print(f"    after {in_words(after)}", flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    parser.add_argument("data", metavar="DATA")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--float32", action="store_true", help="also this library in float32 throughout")
    parser.add_argument("--compiled", action="store_true", help="also this library through torch.compile")
    parser.add_argument("--own", action="store_true", help="without the reference")
    parser.add_argument("--quick", action="store_true", help="40 samples, two folds")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.samples, arguments.folds = 40, 2
    loaded = load_checkpoint(arguments.checkpoint)
    threat = threat_of(loaded, None, None)
    device = default_device()
    model = loaded.model.to(device).eval().requires_grad_(False)
    test = load_data(arguments.data, size=loaded.image_size[0]).test
    samples = test.select(torch.arange(min(arguments.samples, len(test))))
    images, labels = samples.float_images(device), samples.labels.to(device)

    libraries = {("robustaug", "auto"): ours}
    if arguments.float32:
        libraries["robustaug", "float32"] = ours
    if arguments.compiled:
        libraries["robustaug", "auto compiled"] = ours
        ours(model, images[:100], labels[:100], threat, "auto compiled")  # the compiler's time is not the attack's
    if find_spec("pyautoattack") is None:
        print("pyautoattack is not installed: skipped")
    elif not arguments.own:
        libraries["pyautoattack", "float32"] = reference
    subject = f"{loaded.model.spec.name}, {len(labels)} test images of {Path(arguments.data).name}"
    case = f"AutoAttack standard, {threat}, {subject}"
    print(case)
    print(f"{torch.get_num_threads()} threads, {arguments.folds} folds; ratio: times as fast as pyautoattack")
    runs: dict[tuple[str, str], list[Run]] = {way: [] for way in libraries}
    for part, answers in zip(images.chunk(arguments.folds), labels.chunk(arguments.folds), strict=True):
        for way, run in libraries.items():
            done = run(model, part, answers, threat, way[1])
            runs[way].append(done)
            print(f"  {way[0]:<13} {way[1]:<14} {done.seconds:>8.1f} s  {in_words(done.after)}", flush=True)
    head = f"{'library':<13} {'mode':<14} {'seconds':>8} {'ratio':>6} {'passes':>9} {'robust':>7}"
    print(f"{head}  broken by it or pyautoattack alone")
    rows = [{"case": case, **summary(way, runs)} for way in runs]
    write_rows(arguments.json, rows)


if __name__ == "__main__":
    main()
